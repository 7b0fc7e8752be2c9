/* data/shard.h - the tokens of one group of files, in a file that is mapped. Private to data/.
 *
 * Layout, little-endian, every section at a multiple of 8: header (256 bytes); ids [tokens] of 2 or 4 bytes; first token of each document
 * [docs + 1] and first byte of each document [docs + 1], 8 bytes each; where a token is masked, one bit a token, lowest bit first, 1 =
 * counts in the loss. A cache file is named by the hash of all that went into it, written beside its place and renamed; it
 * is checked whole when opened, and made anew when anything in it is off. */
#ifndef SY_DATA_SHARD_H
#define SY_DATA_SHARD_H

#include "core/map.h"
#include "data/source.h"
#include "model/chat.h"

typedef struct sy__shard_header {
    char     magic[8];
    uint32_t version, id_bytes;
    uint64_t tokens, docs, text_bytes, masked;
    uint64_t files, skipped, empty;
    uint64_t file_bytes, sum;           /* size of the file, and the checksum of all behind the header */
    uint32_t vocab, spare;
    uint8_t  key[32];                   /* of tokenizer, options and files */
    uint8_t  check[32];                 /* SHA-256 of the header up to here */
} sy__shard_header;

enum { SY__SHARD_HEAD = 256 };
_Static_assert(sizeof(sy__shard_header) <= SY__SHARD_HEAD, "the header fits its place");

typedef struct sy__shard {
    sy_map                  map;        /* who read of it asks sy_map_status: the file may be cut under us */
    sy__shard_header        h;          /* a copy */
    const void             *ids;
    const uint64_t         *doc_token, *doc_byte;   /* [docs + 1] */
    const uint8_t          *mask;       /* NULL: every token counts */
    const char             *path;       /* of the cache file, "" when the tokens are in memory only; in the arena */
    bool                    cached;     /* found, not made */
} sy__shard;

typedef struct sy__shard_job {          /* what to read and with what */
    const sy__group       *group;
    const sy_data_options *options;
    const sy_tokenizer    *tok;
    const char            *cache_dir;
    void                 (*progress)(void *arg, const char *domain, double share);
    void                  *arg;
    sy_arena              *arena;
    const sy_chat         *chat;        /* how conversations are written, or NULL: as lines */
    const sy_specials     *specials;    /* with chat: of the tokenizer */
} sy__shard_job;

sy_status sy__shard_open(sy__shard *out, const sy__shard_job *job, sy_err *err);
void      sy__shard_close(sy__shard *s);

/* Checks a mapped file against `key` and points at its parts, the map then being the shard's; SY_EFORMAT says what is off. */
sy_status sy__shard_check(sy__shard *out, const sy_map *map, const uint8_t key[32], uint32_t vocab, sy_err *err);

static inline uint32_t sy__shard_id(const sy__shard *s, uint64_t i)
{
    return s->h.id_bytes == 2 ? ((const uint16_t *)s->ids)[i] : ((const uint32_t *)s->ids)[i];
}
static inline bool sy__shard_counts(const sy__shard *s, uint64_t i) { return !s->mask || (s->mask[i / 8] >> i % 8 & 1); }

#endif
