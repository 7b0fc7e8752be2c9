/* model/tokenizer_parts.h - what a tokenizer is made of; for the files that build, read and write one. */
#ifndef SY_TOKENIZER_PARTS_H
#define SY_TOKENIZER_PARTS_H

#include "model/bpe.h"
#include "model/pretoken.h"
#include "model/tokenizer.h"

#define SY__EOT_TEXT "<|endoftext|>"
enum { SY__MAX_CUTS = 8 };

typedef enum {                          /* of an id */
    SY__RAW = 1,                        /* tokenizer.json spells it as plain text, not in byte-level characters; BPE cannot give it */
    SY__SPECIAL = 2,
} sy__mark;

typedef struct sy__added {              /* a token that is found in the text before BPE */
    int  id;
    bool special, normalized, lstrip, rstrip, single_word;
} sy__added;

typedef struct sy__pattern { const char *text; size_t n; const sy__added *added; } sy__pattern;
typedef struct sy__matcher {            /* finds the longest added token at a place */
    sy_buf text;
    sy__pattern *pattern;               /* sorted by bytes, so that a prefix comes first */
    int n, ordinary;                    /* how many; how many of them are not special */
    int first[257];                     /* patterns that begin with byte c: first[c] .. first[c+1]-1 */
} sy__matcher;

struct sy_tokenizer {
    int            vocab, model;        /* ids; ids of the BPE vocabulary, which come first */
    sy_buf         text;                /* the bytes of every id, each with a NUL behind */
    size_t        *first;               /* [vocab+1] where they begin */
    unsigned char *mark;                /* [vocab] of sy__mark */
    unsigned char *whole;               /* [vocab] this text, as a word, becomes this id: spares the merges */
    sy__texts      words;               /* ids of the BPE vocabulary that are neither raw nor special, by their bytes */
    size_t         longest;             /* bytes of the longest of them */
    sy__bpe        bpe;
    bool           ignore_merges;       /* a word that is in the vocabulary is its id, whatever the merges give */
    bool           nfc, prefix_space;   /* put a space before every text that has none */
    sy__cut       *cut[SY__MAX_CUTS];   /* one after the other, each on the pieces of the one before */
    int            cuts;
    sy__added     *added;               /* [n_added] in the order of the file */
    int            n_added;
    sy__matcher    raw, normalized;     /* before and after normalisation */
    int            eot;
    bool           plain;               /* every byte is an id of its own, nothing else can happen */
    char           id[33];
};

/* An empty tokenizer with room for so many ids, merges and added tokens; closed by sy_tokenizer_close in any state. */
sy_status sy__tokenizer_new(sy_tokenizer **out, int most_ids, int most_merges, int most_added, sy_err *err);
/* The next id, with its bytes; `model` counts it as a part of the BPE vocabulary. Memory that runs out is told by sy__tokenizer_seal. */
void      sy__tokenizer_add(sy_tokenizer *t, const char *bytes, size_t n, int marks, bool model);
/* Sets the symbols of bytes, so that merges can be looked up. Ordinary texts of the vocabulary must differ. */
sy_status sy__tokenizer_index(sy_tokenizer *t, sy_err *err);
/* Once ids, merges, added tokens and steps are in: everything that follows from them. */
sy_status sy__tokenizer_seal(sy_tokenizer *t, sy_err *err);
void      sy__tokenizer_digest(sy_tokenizer *t);     /* t->id; a part of seal, again when `eot` has changed */
/* Appends what stands in a tokenizer.json. */
void      sy__tokenizer_write(const sy_tokenizer *t, sy_buf *out);
/* Text of any id, special or not. */
const char *sy__tokenizer_text(const sy_tokenizer *t, int id, size_t *n);

/* The spelling of a byte in tokenizer.json (GPT-2's): printable ones of Latin-1 are themselves, the others U+0100 and up in order. */
uint32_t  sy__byte_letter(int byte);
int       sy__letter_byte(uint32_t cp);              /* -1: spells no byte */

/* Of the added tokens that are looked for before normalisation, or after it. SY_EFORMAT: the same text twice. */
sy_status sy__matcher_open(sy__matcher *m, const sy_tokenizer *t, bool normalized, sy_err *err);
void      sy__matcher_close(sy__matcher *m);
/* The next match in s[from..n): its pattern and place; NULL: none. */
const sy__pattern *sy__matcher_next(const sy__matcher *m, const char *s, size_t n, size_t from, size_t *at);

#endif
