/* core/json.c - parsing with limits, and writing. */
#include "core/json.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <string.h>

#include "core/alloc.h"
#include "core/file.h"
#include "core/number.h"
#include "core/option.h"
#include "core/utf8.h"

enum { MAX_DEPTH = 512 };

/* Jansson does not survive a failed allocation while it reads: it takes some for bad syntax, loses elements, and after a failed growth of its
 * token buffer it writes past another (2.14). So the reader is left at once, by a jump, and all that it had taken is given back: the blocks of
 * a document form a ring while it is read. Afterwards every block is a ring of its own, and free is safe from any thread. */
typedef struct block { struct block *prev, *next; } block;      /* 16 bytes in front of what Jansson sees: its alignment stays */
static _Thread_local struct reading { block ring; jmp_buf out; json_t *made; bool starved; } *reading;

static void *json_alloc(size_t n)
{
    block *b = n <= SIZE_MAX - sizeof *b ? sy_malloc(sizeof *b + n) : NULL;
    if (!b && reading) longjmp(reading->out, 1);
    if (!b) return NULL;
    b->prev = b->next = b;
    if (reading) {
        block *at = &reading->ring;
        *b = (block){ at, at->next };
        at->next = at->next->prev = b;
    }
    return b + 1;
}

static void json_free(void *p)
{
    if (!p) return;
    block *b = (block *)p - 1;
    b->prev->next = b->next;
    b->next->prev = b->prev;
    sy_free(b);
}

static void use_our_heap(void) { json_set_alloc_funcs(json_alloc, json_free); }

static void begin(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, use_our_heap);
}

json_t *sy_json_object(void) { begin(); return json_object(); }
json_t *sy_json_array(void) { begin(); return json_array(); }

/* json_loadb; *starved: memory ran out, nothing is left behind. */
static json_t *load(const char *text, size_t n, bool *starved, json_error_t *e)
{
    struct reading r = { .ring = { &r.ring, &r.ring } };
    reading = &r;
    if (setjmp(r.out) == 0) r.made = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, e);
    else r.starved = true;
    reading = NULL;
    for (block *b = r.ring.next, *next; b != &r.ring; b = next) {
        next = b->next;
        b->prev = b->next = b;
        if (r.starved) sy_free(b);
    }
    *starved = r.starved;
    return r.made;
}

/* Deepest nesting of brackets outside of strings. */
static int depth_of(const char *s, size_t n)
{
    int depth = 0, most = 0;
    bool quoted = false;
    for (size_t i = 0; i < n; i++) {
        if (quoted) {
            if (s[i] == '\\') i++;
            else if (s[i] == '"') quoted = false;
        } else if (s[i] == '"') quoted = true;
        else if (s[i] == '{' || s[i] == '[') { if (++depth > most) most = depth; }
        else if (s[i] == '}' || s[i] == ']') depth--;
    }
    return most;
}

sy_status sy_json_parse(json_t **out, const char *text, size_t n, const char *file, sy_err *err)
{
    begin();
    json_error_t e;
    bool starved;
    if (depth_of(text, n) > MAX_DEPTH) return sy_fail(err, SY_EFORMAT, "%s: brackets are nested deeper than %d", file, MAX_DEPTH);
    json_t *v = load(text, n, &starved, &e);
    if (starved) return sy_fail(err, SY_ENOMEM, "%s: no memory for its JSON", file);
    if (!v && !memchr(text, '\n', n)) return sy_fail(err, SY_EFORMAT, "%s: column %d: %s", file, e.column, e.text);     /* a line of a larger file */
    if (!v) return sy_fail(err, SY_EFORMAT, "%s: line %d, column %d: %s", file, e.line, e.column, e.text);
    *out = v;
    return SY_OK;
}

sy_status sy_json_read(json_t **out, const char *path, size_t limit, sy_err *err)
{
    sy_buf b = { 0 };
    sy_status st = sy_file_read(path, limit, &b, err);
    if (st == SY_OK) st = b.n ? sy_json_parse(out, b.data, b.n, path, err) : sy_fail(err, SY_EFORMAT, "%s is empty", path);
    sy_buf_free(&b);
    return st;
}

/* --- keys of an object ---------------------------------------------------------------------------------------------------- */

/* The value, or NULL where it is absent or null; *st says whether that is a failure. */
static json_t *value_of(const json_t *o, const char *file, const char *key, bool must, sy_status *st, sy_err *err)
{
    json_t *v = json_object_get(o, key);
    *st = SY_OK;
    if (v && !json_is_null(v)) return v;
    if (must) *st = sy_fail(err, SY_EFORMAT, "%s: the key '%s' is missing", file, key);
    return NULL;
}

static const char *type_name(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "a list";
    case JSON_STRING: return "a text";
    case JSON_INTEGER: case JSON_REAL: return "a number";
    case JSON_TRUE: case JSON_FALSE: return "true or false";
    case JSON_NULL: break;
    }
    return "null";
}

static sy_status wrong_type(const json_t *v, const char *file, const char *key, const char *want, sy_err *err)
{
    return sy_fail(err, SY_EFORMAT, "%s: '%s' must be %s, it is %s", file, key, want, type_name(v));
}

sy_status sy_json_get_int(const json_t *o, const char *file, const char *key, bool must, long long lo, long long hi, long long *out, sy_err *err)
{
    sy_status st;
    json_t *v = value_of(o, file, key, must, &st, err);
    if (!v) return st;
    if (!json_is_integer(v)) return wrong_type(v, file, key, "a whole number", err);
    long long n = json_integer_value(v);
    if (n < lo || n > hi) return sy_fail(err, SY_EFORMAT, "%s: '%s' is %lld, outside %lld .. %lld", file, key, n, lo, hi);
    *out = n;
    return SY_OK;
}

sy_status sy_json_get_real(const json_t *o, const char *file, const char *key, bool must, double lo, double hi, double *out, sy_err *err)
{
    sy_status st;
    json_t *v = value_of(o, file, key, must, &st, err);
    if (!v) return st;
    if (!json_is_number(v)) return wrong_type(v, file, key, "a number", err);
    double r = json_number_value(v);
    if (!(r >= lo && r <= hi)) return sy_fail(err, SY_EFORMAT, "%s: '%s' is %g, outside %g .. %g", file, key, r, lo, hi);
    *out = r;
    return SY_OK;
}

sy_status sy_json_get_bool(const json_t *o, const char *file, const char *key, bool must, bool *out, sy_err *err)
{
    sy_status st;
    json_t *v = value_of(o, file, key, must, &st, err);
    if (!v) return st;
    if (!json_is_boolean(v)) return wrong_type(v, file, key, "true or false", err);
    *out = json_is_true(v);
    return SY_OK;
}

sy_status sy_json_get_text(const json_t *o, const char *file, const char *key, bool must, const char **out, sy_err *err)
{
    sy_status st;
    json_t *v = value_of(o, file, key, must, &st, err);
    if (!v) return st;
    if (!json_is_string(v)) return wrong_type(v, file, key, "a text", err);
    *out = json_string_value(v);
    return SY_OK;
}

sy_status sy_json_known(const json_t *o, const char *file, const char *const *names, sy_err *err)
{
    if (!json_is_object(o)) return sy_fail(err, SY_EFORMAT, "%s: an object { ... } is wanted, not %s", file, type_name(o));
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)o, key, v) {
        const char *const *n = names;
        while (*n && strcmp(*n, key)) n++;
        if (*n) continue;
        const char *near = sy_nearest(key, names);
        return near ? sy_fail(err, SY_EARG, "%s: unknown key '%.80s'; did you mean '%s'?", file, key, near)
                    : sy_fail(err, SY_EARG, "%s: unknown key '%.80s'", file, key);
    }
    return SY_OK;
}

/* --- writing ------------------------------------------------------------------------------------------------------------ */

void sy_json_open(sy_json *j, sy_buf *b, int indent) { *j = (sy_json){ .b = b, .indent = indent }; }

static void newline(sy_json *j)
{
    if (!j->indent) return;
    sy_buf_put(j->b, "\n", 1);
    for (int i = 0; i < j->depth * j->indent; i++) sy_buf_put(j->b, " ", 1);
}

static void before_value(sy_json *j)
{
    if (j->after_key) { j->after_key = false; return; }
    if (j->comma) sy_buf_put(j->b, ",", 1);
    if (j->depth) newline(j);
    j->comma = true;
}

void sy_json_begin(sy_json *j, char bracket)
{
    before_value(j);
    sy_buf_put(j->b, &bracket, 1);
    j->depth++;
    j->comma = false;
}

void sy_json_end(sy_json *j, char bracket)
{
    j->depth--;
    if (j->comma) newline(j);
    sy_buf_put(j->b, &bracket, 1);
    j->comma = true;
}

static void quote(sy_json *j, const char *s, size_t n)
{
    static const char hex[] = "0123456789abcdef";
    sy_buf_put(j->b, "\"", 1);
    for (size_t i = 0; i < n; ) {
        unsigned char c = (unsigned char)s[i];
        if (!c) { sy_buf_text(j->b, "\xef\xbf\xbd"); i++; }          /* our reader, like many, takes no NUL */
        else if (c == '"' || c == '\\') { char e[2] = { '\\', (char)c }; sy_buf_put(j->b, e, 2); i++; }
        else if (c == '\n') { sy_buf_put(j->b, "\\n", 2); i++; }
        else if (c == '\t') { sy_buf_put(j->b, "\\t", 2); i++; }
        else if (c == '\r') { sy_buf_put(j->b, "\\r", 2); i++; }
        else if (c < 32 || c == 127) { char e[6] = { '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] }; sy_buf_put(j->b, e, 6); i++; }
        else {
            uint32_t cp;
            int len = sy_utf8_next(s + i, n - i, &cp);
            if (len > 0) sy_buf_put(j->b, s + i, (size_t)len);
            else sy_buf_put(j->b, "\xEF\xBF\xBD", 3);
            i += (size_t)(len > 0 ? len : -len);
        }
    }
    sy_buf_put(j->b, "\"", 1);
}

void sy_json_key(sy_json *j, const char *key)
{
    before_value(j);
    quote(j, key, strlen(key));
    sy_buf_put(j->b, ": ", j->indent ? 2 : 1);
    j->after_key = true;
}

void sy_json_bytes(sy_json *j, const char *text, size_t n) { before_value(j); quote(j, text, n); }
void sy_json_text(sy_json *j, const char *text) { if (text) sy_json_bytes(j, text, strlen(text)); else sy_json_null(j); }
void sy_json_int(sy_json *j, long long v) { before_value(j); sy_buf_printf(j->b, "%lld", v); }
void sy_json_bool(sy_json *j, bool v) { before_value(j); sy_buf_text(j->b, v ? "true" : "false"); }
void sy_json_null(sy_json *j) { before_value(j); sy_buf_text(j->b, "null"); }

void sy_json_real(sy_json *j, double v)
{
    char buf[32];
    if (!isfinite(v)) { sy_json_null(j); return; }
    before_value(j);
    sy_buf_text(j->b, sy_real_text(buf, sizeof buf, v));
    if (!strpbrk(buf, ".en")) sy_buf_text(j->b, ".0");   /* stays a real number for typed readers */
}
