/* model/normal.h - what happens to text before it is cut: Unicode's normal forms, case, accents, replacements. Each step takes a piece
 * and writes another; linear time. Knows nothing of vocabularies. */
#ifndef SY_NORMAL_H
#define SY_NORMAL_H

#include "model/finder.h"

typedef enum {
    SY__NFC, SY__NFD, SY__NFKC, SY__NFKD, SY__LOWERCASE, SY__STRIP, SY__STRIP_ACCENTS, SY__REPLACE, SY__PREPEND, SY__NMT, SY__PRECOMPILED,
    SY__CLEAN, SY__SPACED_HAN, SY__STRIP_NONSPACING,                 /* parts of BertNormalizer */
    SY__LETTERS,                                                     /* bytes as letters (ByteLevel) */
} sy__normal_kind;

typedef struct sy__charsmap { uint32_t *unit; size_t units; char *text; size_t n; } sy__charsmap;    /* a double array, and what its values begin in */

typedef struct sy__normal {
    sy__normal_kind kind;
    bool         left, right;           /* of STRIP */
    sy__finder  *find;                  /* of REPLACE */
    char        *text;                  /* what REPLACE and PREPEND put; n bytes */
    size_t       n;
    sy__charsmap map;
} sy__normal;

void      sy__normal_close(sy__normal *op);
/* *changed false: the piece stays as it is, and nothing was written; else `out`, cleared before, holds the new text. */
sy_status sy__normal_apply(const sy__normal *op, void **room, const sy__piece *in, sy__flow *out, bool *changed, sy_err *err);
bool      sy__normal_keeps_begin(const sy__normal *op);              /* a text's first character never goes */
size_t    sy__normal_growth(const sy__normal *op);                   /* bytes that one byte may become at most; without what REPLACE and PREPEND put */

/* The table of a Precompiled normalizer: base64 of a size, a trie and texts. SY_EFORMAT: it is none. */
sy_status sy__charsmap_open(sy__charsmap *m, const char *base64, size_t n, sy_err *err);

#endif
