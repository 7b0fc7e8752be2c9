/* model/gguf_files.h - one model as GGUF, in one file or split over several (NAME-00001-of-000NN.gguf), mapped. */
#ifndef SY_GGUF_FILES_H
#define SY_GGUF_FILES_H

#include "model/gguf_card.h"
#include "model/layout.h"
#include "model/model.h"
#include "tensor/product.h"

typedef struct sy_gguf_files {
    sy_arena arena;
    sy_map  *map;                       /* [n] */
    sy_gguf *g;                         /* [n]; the first holds the metadata */
    sy_gguf  all;                       /* the same as one: what a card is read from */
    bool   **taken;                     /* [n][tensors]: found by sy_gguf_piece */
    int      n;
} sy_gguf_files;

/* PATH is the file, or the first of several. whole: tensors are read where they lie; else files that the address space has no room for are read
 * through windows. */
sy_status sy_gguf_files_open(sy_gguf_files *f, const char *path, bool whole, sy_err *err);
/* st, or SY_EIO when a file was cut short while it was read: asked after whatever reads tensors or keys. */
sy_status sy_gguf_files_status(const sy_gguf_files *f, sy_status st, sy_err *err);
void      sy_gguf_files_close(sy_gguf_files *f);                    /* copes with a zeroed one */
const sy_gguf_tensor *sy_gguf_files_find(const sy_gguf_files *f, const char *name);
/* sy_gguf_card_read of these files, and that they hold about as much as their keys claim. */
sy_status sy_gguf_files_card(const sy_gguf_files *f, sy_gguf_card *c, sy_arena *a, sy_ledger *l, sy_err *err);
bool      sy_is_gguf(const char *path);                             /* a file whose name ends in .gguf */

typedef struct sy_gguf_source {         /* what a piece is read from */
    const sy_gguf_tensor *t;            /* NULL: no file has it */
    const sy_gguf_tensor *v;            /* kv_b of latent attention in the newer form of files: t holds each head's part for keys turned round, v that for values */
} sy_gguf_source;

/* Where piece e of a parameter lies. SY_ESHAPE: its dimensions are others than the spec's. Marks its tensors as taken. */
sy_status sy_gguf_piece(sy_gguf_files *f, const sy_gguf_card *c, const sy_param *p, int e, sy_place *at, sy_gguf_source *from, sy_err *err);
/* Rows row .. row+n-1 of such a piece as numbers. SY_EUNSUP for a type that cannot be read. */
sy_status sy_gguf_piece_rows(const sy_place *at, const sy_gguf_source *from, const sy_spec *s, int row, int n, sy_real *out, sy_err *err);
/* The row of the file in which row n of own stands. */
size_t    sy_gguf_row(const sy_place *at, int head_dim, int n);
/* What no piece took, with the rule that leaves it out or as unknown. */
sy_status sy_gguf_rest(const sy_gguf_files *f, const sy_gguf_card *c, sy_ledger *l, sy_err *err);

/* A model whose matrices are read where they lie in the mapped file, in the types they are stored in; rows of q and k that the file has permuted
 * are copied in order, norms and biases become numbers. For serving: SY_MODEL_TRAIN is refused. The ledger as for sy_model_load. */
sy_status sy_gguf_model_load(sy_model **out, sy_engine *eng, const char *path, unsigned how, sy_ledger *ledger, sy_err *err);

#endif
