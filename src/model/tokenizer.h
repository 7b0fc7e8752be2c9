/* model/tokenizer.h - text to ids and back: bytes as ids, and what a tokenizer.json or a GGUF file describes. Constant once it is open: several
 * threads may encode at a time. */
#ifndef SY_TOKENIZER_H
#define SY_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/status.h"

typedef struct sy_tokenizer sy_tokenizer;

/* 256 ids, one a byte; with `eot` a 257th that ends documents. */
sy_status sy_tokenizer_open_bytes(sy_tokenizer **out, bool eot, sy_err *err);
/* A tokenizer.json, a folder that holds one, or a GGUF file. What it does not know it refuses by name (SY_EUNSUP). What lies beside a tokenizer.json counts
 * as in transformers (model/tokenizer_config.h). The token that ends documents is the eos_token of the tokenizer_config.json, without
 * one <|endoftext|>; GGUF names it. */
sy_status sy_tokenizer_load(sy_tokenizer **out, const char *path, sy_err *err);
/* The same from memory, without the tokenizer_config.json beside it; `name` names it in sentences. */
sy_status sy_tokenizer_from_memory(sy_tokenizer **out, const char *json, size_t n, const char *name, sy_err *err);
/* The tokenizer.ggml.* keys of a parsed GGUF file. */
struct sy_gguf;
sy_status sy_tokenizer_from_gguf(sy_tokenizer **out, const struct sy_gguf *g, sy_err *err);
/* Writes DIR/tokenizer.json and DIR/tokenizer_config.json, each atomically; the `tokenizers` package reads them and gives the same ids. What
 * was loaded is written back byte for byte, with the files that lay beside it: special tokens, chat templates. */
sy_status sy_tokenizer_save(const sy_tokenizer *t, const char *dir, sy_err *err);
void      sy_tokenizer_close(sy_tokenizer *t);                       /* NULL is fine */

int         sy_tokenizer_vocab(const sy_tokenizer *t);               /* ids are 0 .. vocab-1 */
int         sy_tokenizer_eot(const sy_tokenizer *t);                 /* the id that ends a document, -1: none */
const char *sy_tokenizer_id(const sy_tokenizer *t);                  /* 32 hex digits over all that decides ids; the same for equal tokenizers */
const char *sy_tokenizer_kind(const sy_tokenizer *t);                /* "bytes", "byte-level BPE", "BPE", "Unigram", "WordPiece", "WordLevel" */
const char *sy_tokenizer_notes(const sy_tokenizer *t);               /* what the file asks for and is left out by rule, as a sentence; NULL: nothing */
size_t      sy_tokenizer_most(const sy_tokenizer *t, size_t bytes);  /* most ids that so many bytes can give */
/* Bytes to ids; `id` has room for sy_tokenizer_most(t, n). Text of special tokens inside is ordinary text; added tokens that are not
 * special are found. Bytes that are not UTF-8 are kept by byte-level BPE, elsewhere they become U+FFFD. SY_EUNSUP: a byte or character of
 * the text is no id of this vocabulary, which has no unknown token either. */
sy_status   sy_tokenizer_encode(const sy_tokenizer *t, const char *text, size_t n, int32_t *id, size_t *ids, sy_err *err);
/* The same, but special tokens written out in the text become their ids: for templates and prompts of the program itself. */
sy_status   sy_tokenizer_encode_special(const sy_tokenizer *t, const char *text, size_t n, int32_t *id, size_t *ids, sy_err *err);

/* Encoding with all that can be asked of it. */
typedef enum {
    SY_TOKENS_SPECIAL = 1,              /* special tokens written out in the text become their ids */
    SY_TOKENS_FRAMED = 2,               /* the text gets the tokens that the post-processor puts around it (bos, eos, [CLS], [SEP]) */
    SY_TOKENS_SPANS = 4,                /* offsets, too */
    SY_TOKENS_AS_PACKAGE = 8,           /* what the `tokenizers` package does without a word: bytes that are not UTF-8 become U+FFFD, characters without an id are
                                         * left out and counted */
} sy_tokens_flags;
typedef struct sy_span { uint32_t begin, end; } sy_span;             /* characters of the text; what was put there: 0, 0 */
typedef struct sy_tokens {              /* zeroed before the first call; grows, and keeps its memory */
    int32_t *id;
    sy_span *span;                      /* with SY_TOKENS_SPANS */
    size_t   n, room;
    size_t   dropped;                   /* bytes that were left out */
} sy_tokens;
sy_status   sy_tokenizer_tokens(const sy_tokenizer *t, const char *text, size_t n, int flags, sy_tokens *out, sy_err *err);
void        sy_tokens_free(sy_tokens *k);

/* The ids that the post-processor puts in front of a text (bos); borrowed. */
const int32_t *sy_tokenizer_before(const sy_tokenizer *t, size_t *n);
/* A text that a model goes on with: the ids in front, then those of the text; without any, the token that ends documents, behind which one begins. Room for
 * sy_tokenizer_most(t, n) + sy_tokenizer_front(t) ids. *ids 0: there is nothing to begin with. */
sy_status   sy_tokenizer_prompt(const sy_tokenizer *t, const char *text, size_t n, int32_t *id, size_t *ids, sy_err *err);
size_t      sy_tokenizer_front(const sy_tokenizer *t);               /* room that a prompt needs beside its text's */
/* SY_ESHAPE: a text could become an id for which a model of `rows` ids has no row. Special tokens that files beside the tokenizer add may lie behind; `file` is the model. */
sy_status   sy_tokenizer_fits(const sy_tokenizer *t, int rows, const char *file, sy_err *err);
/* Bytes that an id stands for in the middle of a text, and their number (0 for special tokens and ids that stand for nothing). Borrowed. */
const char *sy_tokenizer_piece(const sy_tokenizer *t, int id, size_t *n);
int         sy_tokenizer_bytes(const sy_tokenizer *t, int id);
/* Text of a special token ("<|endoftext|>"), NULL for ordinary ids. */
const char *sy_tokenizer_special(const sy_tokenizer *t, int id);
const char *sy_tokenizer_text(const sy_tokenizer *t, int id, size_t *n);             /* as the vocabulary spells it; byte-level: its bytes. NULL: no such id */
int         sy_tokenizer_find(const sy_tokenizer *t, const char *special);           /* id of a special token by its text, -1: none */
int         sy_tokenizer_lookup(const sy_tokenizer *t, const char *bytes, size_t n); /* id that stands for these bytes, -1: none; not for special tokens */
/* Appends the text of the ids; special tokens are left out. Bytes come back exactly as they went in, but for what the
 * tokenizer itself changes: a normalizer, spaces in front, spaces that an added token strips, unknown tokens. */
sy_status   sy_tokenizer_decode(const sy_tokenizer *t, const int32_t *id, size_t n, sy_buf *out, sy_err *err);
sy_status   sy_tokenizer_decode_special(const sy_tokenizer *t, const int32_t *id, size_t n, sy_buf *out, sy_err *err);       /* special tokens written out */

/* One id after the other: text as it becomes certain. A decoder that looks at its neighbours (a first space that goes, bytes that make a
 * character together) sees the ids that came before. */
typedef struct sy_decoder {
    const sy_tokenizer *tok;            /* borrowed */
    int32_t *id;                        /* those that still matter */
    size_t   n, room, shown;            /* `shown` of them have been told */
    sy_buf   before, now;               /* texts of the shown ones, of all */
    sy_buf   raw;                       /* what a later space may still change, where clean_up_tokenization_spaces asks for it */
    struct sy__decoding *work;
} sy_decoder;
/* `context`: ids that came before, for example of the prompt; their text is not told. */
sy_status   sy_decoder_open(sy_decoder *d, const sy_tokenizer *t, const int32_t *context, size_t n, sy_err *err);
sy_status   sy_decoder_feed(sy_decoder *d, int32_t id, sy_buf *out, sy_err *err);    /* appends */
sy_status   sy_decoder_end(sy_decoder *d, sy_buf *out, sy_err *err);                 /* what was held back */
void        sy_decoder_close(sy_decoder *d);

#endif
