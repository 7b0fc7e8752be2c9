/* core/json.h - glue over Jansson: hostile text in, sentences out, and a writer.
 *
 * Jansson allocates through core/alloc.h. Depth is limited before its recursion, duplicate keys are refused. */
#ifndef SY_JSON_H
#define SY_JSON_H

#include <jansson.h>

#include "core/buffer.h"
#include "core/status.h"

/* Empty ones, NULL without memory; what is not read is made by these, so that no value lives on two heaps. Freed by json_decref. */
json_t *sy_json_object(void);
json_t *sy_json_array(void);

/* Parses n bytes; `file` names them in the sentence. The caller owns *out (json_decref). SY_EFORMAT: malformed, deeper than 512, a key twice. */
sy_status sy_json_parse(json_t **out, const char *text, size_t n, const char *file, sy_err *err);
sy_status sy_json_read(json_t **out, const char *path, size_t limit, sy_err *err);      /* a file of at most `limit` bytes */

/* One key of an object. Absent or null: *out stays as it is, which is fine unless it `must` be there. Another type or a value outside
 * lo .. hi is SY_EFORMAT, with file and key in the sentence. A whole number is a real number too. The text belongs to the object. */
sy_status sy_json_get_int(const json_t *o, const char *file, const char *key, bool must, long long lo, long long hi, long long *out, sy_err *err);
sy_status sy_json_get_real(const json_t *o, const char *file, const char *key, bool must, double lo, double hi, double *out, sy_err *err);
sy_status sy_json_get_bool(const json_t *o, const char *file, const char *key, bool must, bool *out, sy_err *err);
sy_status sy_json_get_text(const json_t *o, const char *file, const char *key, bool must, const char **out, sy_err *err);
/* SY_EARG for the first key that is not among the names (ended by NULL), with the nearest of them; SY_EFORMAT for what is no object. */
sy_status sy_json_known(const json_t *o, const char *file, const char *const *names, sy_err *err);

/* A writer on a buffer. Commas and quotes are its work; NaN and infinities become null; bytes that are not UTF-8 and NULs become U+FFFD. */
typedef struct sy_json {
    sy_buf *b;
    int     depth, indent;              /* indent 0: one line */
    bool    comma, after_key;
} sy_json;
void sy_json_open(sy_json *j, sy_buf *b, int indent);
void sy_json_begin(sy_json *j, char bracket);                        /* '{' or '[' */
void sy_json_end(sy_json *j, char bracket);                          /* '}' or ']' */
void sy_json_key(sy_json *j, const char *key);
void sy_json_text(sy_json *j, const char *text);                     /* NULL: null */
void sy_json_bytes(sy_json *j, const char *text, size_t n);
void sy_json_int(sy_json *j, long long v);
void sy_json_real(sy_json *j, double v);                             /* the shortest text that reads back the same */
void sy_json_bool(sy_json *j, bool v);
void sy_json_null(sy_json *j);

#endif
