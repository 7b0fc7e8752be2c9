/* model/tokenizer_parts.h - what a tokenizer is made of; for the files that build, read and write one. */
#ifndef SY_TOKENIZER_PARTS_H
#define SY_TOKENIZER_PARTS_H

#include "core/json.h"
#include "model/normal.h"
#include "model/pretoken.h"
#include "model/tokenizer.h"
#include "model/words.h"

#define SY__EOT_TEXT "<|endoftext|>"
enum { SY__MAX_STEPS = 24 };

typedef enum {                          /* of an id */
    SY__RAW = 1,                        /* tokenizer.json spells it as plain text, not in byte-level characters; BPE cannot give it */
    SY__SPECIAL = 2,                    /* which BPE may give all the same: a word of the vocabulary that was named */
    SY__RESPELLED = 4,                  /* an added token that decodes to its normalised text, which is another */
    SY__HIDDEN = 8,                     /* left out of texts with the special tokens: the package knows those by the text that they decode to */
} sy__mark;

typedef struct sy__added {              /* a token that is found in the text before the model sees it */
    int  id;
    bool special, normalized, lstrip, rstrip, single_word;
} sy__added;

typedef struct sy__pattern {
    const char *text, *own;             /* what is looked for, n bytes; as the vocabulary spells it */
    size_t      n;
    const sy__added *added;
    bool        hidden;                 /* behind another one of the same text */
} sy__pattern;
typedef struct sy__matcher {            /* finds the longest added token at a place */
    sy_buf text;
    sy__pattern *pattern;               /* sorted by bytes, so that a prefix comes first */
    int n, ordinary, all;               /* how many are found; how many of them are not special; with the hidden ones, which come behind */
    int first[257];                     /* patterns that begin with byte c: first[c] .. first[c+1]-1 */
} sy__matcher;

/* What is done between the text and the model, one after the other, each step on the pieces of the one before. */
typedef enum {
    SY__STEP_NORMAL,                    /* rewrites; all of them come before the others */
    SY__STEP_TOKENS,                    /* added tokens that are looked for after normalisation */
    SY__STEP_SPLIT,                     /* cuts at matches */
    SY__STEP_CUT,                       /* cuts into the matches of a scanner that leaves no gaps */
    SY__STEP_BYTES,                     /* ByteLevel: a space in front, GPT-2's cut */
    SY__STEP_METASPACE,
    SY__STEP_CHUNKS,                    /* FixedLength: so many characters each */
} sy__step_kind;
typedef enum { SY__NEVER, SY__FIRST, SY__ALWAYS } sy__scheme;

typedef struct sy__step {
    sy__step_kind kind;
    sy__normal    normal;
    sy__finder   *find;                 /* of SPLIT */
    sy__behavior  behavior;
    bool          inverted, prefix, cuts;                /* inverted: of SPLIT; prefix: BYTES puts a space in front; cuts: BYTES or METASPACE cuts */
    sy__cut      *cut;
    sy__scheme    scheme;               /* METASPACE: where it stands in front */
    char          mark[5];              /* its character */
    size_t        length;               /* of CHUNKS */
} sy__step;

/* Decoders: lists of texts to lists of texts (model/tokenizer_decode.c). */
typedef enum {
    SY__DECODE_BYTES, SY__DECODE_METASPACE, SY__DECODE_WORDPIECE, SY__DECODE_BYTE_FALLBACK, SY__DECODE_FUSE, SY__DECODE_REPLACE, SY__DECODE_STRIP,
    SY__DECODE_SUFFIX, SY__DECODE_CTC,
} sy__decode_kind;
typedef struct sy__decode {
    sy__decode_kind kind;
    char       *text, *more;            /* prefix, suffix, mark, pad token; what replaces, the word delimiter */
    sy__finder *find;                   /* of REPLACE */
    bool        flag;                   /* cleanup; a first METASPACE mark stays */
    size_t      start, stop;            /* of STRIP */
} sy__decode;

/* What comes behind the model: offsets without their blanks, and the tokens that a text stands between. */
typedef enum { SY__POST_TRIM, SY__POST_TEMPLATE } sy__post_kind;
typedef struct sy__post {
    sy__post_kind kind;
    bool     prefix;                    /* TRIM: a blank in front of the whole was put there */
    int32_t *id;                        /* TEMPLATE [before + after] */
    int      before, after;
} sy__post;
enum { SY__MAX_POSTS = 8, SY__MAX_DECODES = 16 };

typedef struct sy__kept { char *name; sy_buf data; } sy__kept;      /* name: in the folder */

struct sy_tokenizer {
    int            vocab, model, own;   /* ids; ids of the model's vocabulary, which come first; ids without what other files add */
    sy_buf         text;                /* the text of every id, each with a NUL behind; byte-level: its bytes */
    size_t        *first;               /* [vocab+1] where they begin */
    unsigned char *mark;                /* [vocab] of sy__mark */
    unsigned char *whole;               /* [vocab] this text, as a word, becomes this id: spares the merges */
    sy_buf         shown;               /* not byte-level: what each id adds to a text that has begun, each with a NUL behind */
    size_t        *shown_at;            /* [vocab+1]; NULL: the texts are what is shown */
    sy__texts      texts;               /* ids of the model that are not raw, by their text */
    size_t         longest;             /* bytes of the longest of them */
    sy__bpe        bpe;
    sy__words      words;               /* the model; its kind says which */
    bool           byte_level;          /* BPE over bytes: texts are bytes, not letters that spell them */
    bool           ignore_merges;       /* a word that is in the vocabulary is its id, whatever the merges give */
    bool           lossless;            /* bytes that are not UTF-8 go through */
    bool           origins;             /* a step must know where its piece begins in the text */
    sy__step       step[SY__MAX_STEPS];
    int            steps;
    sy__decode     decode[SY__MAX_DECODES];
    int            decodes;
    bool           joined_by_spaces;    /* there is no decoder */
    sy__post       post[SY__MAX_POSTS];
    int            posts;
    sy__added     *added;               /* [n_added] in the order of the file */
    int            n_added;
    sy__matcher    raw, normalized;     /* before and after normalisation */
    int            eot;
    bool           plain;               /* every byte is an id of its own, nothing else can happen */
    size_t         growth;              /* ids that a byte can become at most */
    sy_buf         extra;               /* what else decides ids, for the digest: parts of tokenizer.json that byte-level BPE does without */
    sy_buf         source;              /* the tokenizer.json that it came from, byte for byte; empty: made here */
    sy__kept      *kept;                /* [n_kept] files that lay beside it, saved beside it */
    int            n_kept;
    bool           cleans;              /* texts that come out lose spaces before punctuation */
    char          *notes;               /* what the file asks for and is left out by rule; NULL: nothing */
    char           id[33];
};

/* An empty tokenizer with room for so many ids, merges and added tokens; closed by sy_tokenizer_close in any state. */
sy_status sy__tokenizer_new(sy_tokenizer **out, int most_ids, int most_merges, int most_added, sy_err *err);
/* The next id, with its text; `model` counts it as a part of the model's vocabulary. Memory that runs out is told by sy__tokenizer_seal. */
void      sy__tokenizer_add(sy_tokenizer *t, const char *text, size_t n, int marks, bool model);
/* Sets the symbols of bytes, or of characters, so that merges can be looked up. Texts of the vocabulary must differ. */
sy_status sy__tokenizer_index(sy_tokenizer *t, sy_err *err);
/* ByteLevel's step of a byte-level tokenizer that is made here: GPT-2's cut. */
void      sy__tokenizer_gpt2(sy_tokenizer *t);
/* Once ids, merges, added tokens and steps are in: everything that follows from them. */
sy_status sy__tokenizer_seal(sy_tokenizer *t, sy_err *err);
void      sy__tokenizer_digest(sy_tokenizer *t);     /* t->id; a part of seal, again when `eot` has changed */
/* A tokenizer.json from memory with what lies beside it, NULL: nothing. */
struct sy_beside;
sy_status sy__tokenizer_parse(sy_tokenizer **out, const char *json, size_t n, const char *name, const struct sy_beside *beside, sy_err *err);
sy_status sy__tokenizer_keep(sy_tokenizer *t, const char *name, const char *data, size_t n, sy_err *err);      /* a file that is saved beside it */
sy_status sy__tokenizer_keep_templates(sy_tokenizer *t, const json_t *templates, sy_err *err);                 /* by name; instead of those that it had */
/* Appends what stands in a tokenizer.json. */
void      sy__tokenizer_write(const sy_tokenizer *t, sy_buf *out);
/* Text of any id, special or not. */
const char *sy__tokenizer_text(const sy_tokenizer *t, int id, size_t *n);

/* How an id enters the decoders: an added token that was normalised has that text. */
const char *sy__spelling(const sy_tokenizer *t, int id, size_t *n);

/* The spelling of a byte in tokenizer.json (GPT-2's): printable ones of Latin-1 are themselves, the others U+0100 and up in order. */
uint32_t  sy__byte_letter(int byte);
int       sy__letter_byte(uint32_t cp);              /* -1: spells no byte */

/* Of the added tokens that are looked for before normalisation, or after it. SY_EFORMAT: the same text twice. */
sy_status sy__matcher_open(sy__matcher *m, const sy_tokenizer *t, bool normalized, sy_err *err);
void      sy__matcher_close(sy__matcher *m);
/* The next match in s[from..n): its pattern and place; NULL: none. */
const sy__pattern *sy__matcher_next(const sy__matcher *m, const char *s, size_t n, size_t from, size_t *at);

/* A text through the normalisation alone, appended; what it is for added tokens. */
sy_status sy__normalise(const sy_tokenizer *t, const char *s, size_t n, sy_buf *out, sy_err *err);

/* *is: the file is a GGUF file; only then it is read. */
sy_status sy__tokenizer_load_gguf(sy_tokenizer **out, const char *path, bool *is, sy_err *err);
/* The tokenizer_config.json that says what the keys say beside the tokenizer, appended. With `t`, the tokenizer made of the keys, it changes no id of that. */
struct sy_gguf;
sy_status sy__gguf_config(const struct sy_gguf *g, const sy_tokenizer *t, sy_buf *out, sy_err *err);

void      sy__decode_close(sy__decode *d);
sy_status sy__find_shown(sy_tokenizer *t, sy_err *err);              /* t->shown; a part of seal */

#endif
