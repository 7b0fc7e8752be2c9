/* model/shards.h - the tensors of a model folder: model.safetensors, or shards with an index where they are more than one file shall hold. */
#ifndef SY_SHARDS_H
#define SY_SHARDS_H

#include "model/safetensors.h"

static const uint64_t SY_SHARD_BYTES = 50000000000;  /* what one file holds at most where nothing else is said, as transformers 5 has it */

/* Writes DIR/model.safetensors, or DIR/model-00001-of-0000n.safetensors and so on, each with `most` bytes of tensors at most (0: SY_SHARD_BYTES) or one
 * larger tensor; tensors keep the order of t, none is cut. fill as for sy_st_write_each, with i of t; NULL: t[i].data. Each file appears whole or
 * not at all, the index last, and what stood in the folder before is taken away: at any moment the folder holds a whole set, the old or the
 * new one, or one that no reader takes for whole, since neither model.safetensors nor an index is there. */
sy_status sy_shards_write(const char *dir, const sy_st_out *t, int n, const char *const *meta, uint64_t most, sy_st_fill fill, void *arg, sy_err *err);
/* model.safetensors, a shard, or the index. */
bool      sy_is_shard(const char *name);

#endif
