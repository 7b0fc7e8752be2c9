/* model/bpe.h - byte pair encoding of one word, and a table from byte strings to ids.
 *
 * BPE: a word begins as one symbol a byte; of all neighbouring pairs that are a merge, the one of lowest rank is joined, the leftmost of
 * equals first, until none is left. Knows nothing of files, Unicode or special tokens. Constant once it is filled. */
#ifndef SY_BPE_H
#define SY_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/buffer.h"
#include "core/status.h"

enum { SY__TOKEN_MAX = 4096 };                       /* bytes of the longest token that is learned, or read from a file */

/* --- byte strings to numbers --------------------------------------------------------------------------------------------- */

static inline uint64_t sy__load8(const char *s) { uint64_t v; memcpy(&v, s, 8); return v; }
static inline uint32_t sy__load4(const char *s) { uint32_t v; memcpy(&v, s, 4); return v; }

static inline uint64_t sy__hash(const char *s, size_t n)
{
    static const uint64_t k = 0x9E3779B97F4A7C15, l = 0xD6E8FEB86659FD93;
    uint64_t h = n * k, a, b = 0;
    for (; n > 16; s += 8, n -= 8) {
        h = (h ^ sy__load8(s)) * l;
        h ^= h >> 32;
    }
    if (n >= 8) { a = sy__load8(s); b = sy__load8(s + n - 8); }
    else if (n >= 4) { a = sy__load4(s); b = sy__load4(s + n - 4); }
    else a = n ? (uint64_t)(unsigned char)s[0] << 16 | (uint64_t)(unsigned char)s[n / 2] << 8 | (unsigned char)s[n - 1] : 0;
    h = (h ^ a) * l;
    h ^= h >> 32;
    h = (h ^ b) * k;
    return h ^ h >> 29;
}

/* Open addressing over texts that lie elsewhere: text i is what `at` says. */
typedef struct sy__texts {
    struct sy__text { uint32_t hash; int32_t number; } *slot;    /* number -1: empty */
    size_t mask, n;                                              /* slots - 1; texts inside, at most half of the slots */
    const char *(*at)(const void *owner, int32_t number, size_t *n);
    const void *owner;
} sy__texts;

sy_status sy__texts_open(sy__texts *t, size_t expected, const char *(*at)(const void *, int32_t, size_t *), const void *owner, sy_err *err);
int32_t   sy__texts_find(const sy__texts *t, const char *s, size_t n, uint64_t hash);           /* -1: not there */
sy_status sy__texts_add(sy__texts *t, int32_t number, uint64_t hash, sy_err *err);              /* the text is not there yet; grows */
sy_status sy__texts_set(sy__texts *t, const char *s, size_t n, int32_t number, sy_err *err);    /* that text has this number from now on */
void      sy__texts_close(sy__texts *t);

/* --- merges -------------------------------------------------------------------------------------------------------------- */

typedef struct sy__merge { int32_t left, right, id; } sy__merge;

typedef struct sy__bpe {
    int32_t    byte_id[256];                         /* the symbol of a byte, -1: the vocabulary has none */
    sy__merge *merge;                                /* [n_merges] by rank; room for half as many as there are slots */
    int        n_merges;
    struct sy__pair { uint64_t key; int32_t rank, id; } *pair;   /* open addressing, at most half full; rank -1: empty */
    int        shift;                                /* 64 - log2 of the slots */
    size_t     mask;
    bool       shared;                               /* several merges may have one rank: sy__bpe_rerank */
} sy__bpe;

sy_status sy__bpe_open(sy__bpe *b, int expected, sy_err *err);       /* no byte has a symbol yet */
/* The merge of the next rank; *twice: the rank that the pair has already, else -1 and the merge is in. */
sy_status sy__bpe_add(sy__bpe *b, sy__merge m, int *twice, sy_err *err);
void      sy__bpe_close(sy__bpe *b);

/* Merge i has rank[i] from now on; merges of one rank are equals, of which the leftmost goes first. */
void      sy__bpe_rerank(sy__bpe *b, const int32_t *rank);

typedef struct sy__room { void *p; size_t bytes; } sy__room;         /* working memory of one caller; zeroed before, sy_free(p) after */
/* One word of n bytes, all of which have symbols: its ids to `out`, which has room for n; their number in *ids. */
sy_status sy__bpe_word(const sy__bpe *b, const char *s, size_t n, sy__room *room, int32_t *out, size_t *ids, sy_err *err);
/* The same from symbols: joins them in place. at (may be NULL) [n] goes along: where each symbol begins. */
sy_status sy__bpe_join(const sy__bpe *b, int32_t *sym, uint32_t *at, size_t n, sy__room *room, size_t *left, sy_err *err);

#endif
