/* model/tokenizer_read.h - reading the JSON of tokenizers: every field is known, of its type, and named in sentences. */
#ifndef SY_TOKENIZER_READ_H
#define SY_TOKENIZER_READ_H

#include "core/json.h"
#include "model/tokenizer_parts.h"

typedef struct sy__reader {
    const char   *file;
    sy_tokenizer *t;
    sy_buf        b, c;                 /* working memory: texts that are being turned from letters into bytes */
} sy__reader;

/* A text of the file for a sentence: cut short, without control characters. */
const char *sy__shown(char out[64], const char *s);
const char *sy__json_type(const json_t *v);          /* "an object", "missing" */
/* Is `v` of the wanted kind? '{' '[' '"' 'i' (whole number) 'n' (number) 'b' (bool), with '?' behind: null or missing is fine, too. */
sy_status   sy__expect(const sy__reader *r, const json_t *v, const char *kind, const char *where, sy_err *err);
/* The value of a key, of that kind; *out is NULL for null and missing. */
sy_status   sy__get(const sy__reader *r, const json_t *o, const char *where, const char *key, const char *kind, json_t **out, sy_err *err);
sy_status   sy__get_bool(const sy__reader *r, const json_t *o, const char *where, const char *key, bool otherwise, bool *out, sy_err *err);
sy_status   sy__get_int(const sy__reader *r, const json_t *o, const char *where, const char *key, long long otherwise, long long lo, long long hi, long long *out, sy_err *err);
/* A text, from the heap; NULL for null and missing, or for an empty one. */
sy_status   sy__get_copy(const sy__reader *r, const json_t *o, const char *where, const char *key, bool must, char **out, sy_err *err);
sy_status   sy__only_keys(const sy__reader *r, json_t *o, const char *where, const char *const *keys, sy_err *err);

/* Steps and decoders of a tokenizer.json; t->byte_level is known. Behind the ids: what the post-processor does. (model/tokenizer_steps.c) */
sy_status   sy__read_steps(sy__reader *r, json_t *root, sy_err *err);
sy_status   sy__read_posts(sy__reader *r, json_t *root, sy_err *err);
/* Whether the last step before the model is ByteLevel, and the decoder is nothing else. */
bool        sy__bytes_at_both_ends(json_t *root);
/* Whether byte-level BPE needs no more than what its steps say: no part of the file but merges, tokens and cuts decides ids. */
bool        sy__steps_are_plain(const sy_tokenizer *t);

#endif
