/* model/words.h - pieces of text to ids: the models beside byte-level BPE. Constant once they are filled.
 *
 *   BPE over characters (with <0xNN> for what has no id, or an unknown token), Unigram (the split of highest score), WordPiece
 *   (from the left the longest that there is), WordLevel (all or nothing).
 *
 * Knows nothing of files, of normalisation or of special tokens. */
#ifndef SY_WORDS_OF_MODELS_H
#define SY_WORDS_OF_MODELS_H

#include "model/bpe.h"
#include "model/flow.h"

/* --- ids that are being collected --------------------------------------------------------------------------------------------------- */

typedef struct sy__ids {
    int32_t *id;
    sy__at  *span;                      /* [n] characters of each, when they are asked for */
    size_t   n, room;
    bool     spans, grows;              /* what does not grow belongs to the caller */
    bool     lenient;                   /* letters without an id are left out and counted, as the `tokenizers` package does; else refused */
    size_t   dropped;
} sy__ids;

sy_status sy__ids_need(sy__ids *k, size_t more, sy_err *err);
/* Bytes from .. to-1 of the piece become the id; there is room. */
static inline void sy__ids_put(sy__ids *k, const sy__piece *p, int32_t id, size_t from, size_t to)
{
    if (k->spans) k->span[k->n] = p->at && from < to && to <= p->n ? (sy__at){ p->at[from].begin, p->at[to - 1].end } : (sy__at){ (uint32_t)from, (uint32_t)to };
    k->id[k->n++] = id;
}

/* --- texts by their bytes -------------------------------------------------------------------------------------------------------------- */

typedef struct sy__trie {
    uint64_t *slot;                     /* node << 32 | byte << 24 | child, by open addressing; 0: empty */
    size_t    mask, nodes, room;
    uint32_t  root[256];                /* children of node 0 */
    int32_t  *value;                    /* [nodes] -1: no text ends here */
} sy__trie;

enum { SY__TRIE_NODES = (1 << 24) - 1 };
sy_status sy__trie_open(sy__trie *t, sy_err *err);
/* SY_EUNSUP: more nodes than SY__TRIE_NODES. A text that is there already gets the new value. */
sy_status sy__trie_add(sy__trie *t, const char *s, size_t n, int32_t value, sy_err *err);
uint32_t  sy__trie_step(const sy__trie *t, uint32_t node, unsigned char byte);       /* 0: nowhere */
void      sy__trie_close(sy__trie *t);

/* --- models ------------------------------------------------------------------------------------------------------------------------------ */

typedef enum { SY__BYTE_BPE, SY__CHAR_BPE, SY__UNIGRAM, SY__WORDPIECE, SY__WORDLEVEL } sy__model_kind;

typedef struct sy__words {
    sy__model_kind kind;
    const sy__texts *texts;             /* borrowed: ids by their spelling */
    const sy__bpe *bpe;                 /* borrowed: merges */
    int32_t   unk;                      /* -1: none */
    int32_t   byte_id[256];             /* of <0x00> .. <0xFF>, -1: none */
    bool      byte_fallback, fuse_unk;
    char     *prefix, *suffix;          /* of what continues a word, of what ends it; NULL: none */
    int32_t **page;                     /* [0x1100] ids of single characters, 256 a page, of CHAR_BPE without prefix and suffix */
    sy__trie  trie;                     /* of UNIGRAM, WORDPIECE */
    uint32_t  inside;                   /* WORDPIECE: the node behind the prefix; 0: no text begins so */
    double   *score;                    /* UNIGRAM [ids] */
    double    unk_score;
    size_t    most_chars;               /* WORDPIECE: longer words are unknown */
} sy__words;

typedef struct sy__work { sy__room merges, symbols; sy_buf text; } sy__work;          /* working memory of one caller; zeroed before */
void      sy__work_free(sy__work *w);

void      sy__words_close(sy__words *m);
/* The page table of a char-level model: id of a character. */
sy_status sy__words_char(sy__words *m, uint32_t cp, int32_t id, sy_err *err);
/* A piece of at least a byte, of UTF-8. SY_EUNSUP: it holds what has no id, and the model has no unknown token. */
sy_status sy__words_encode(const sy__words *m, const sy__piece *p, sy__work *w, sy__ids *out, sy_err *err);

#endif
