/* core/json.c - parsing with limits, and writing. */
#include "core/json.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/file.h"
#include "core/utf8.h"

enum { MAX_DEPTH = 512 };

/* Jansson's reader takes some failed allocations for bad syntax, so that they are noticed here. */
static _Thread_local bool starved;

static void *json_alloc(size_t n)
{
    void *p = sy_malloc(n);
    starved = starved || !p;
    return p;
}

static void use_our_heap(void) { json_set_alloc_funcs(json_alloc, sy_free); }

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
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, use_our_heap);
    json_error_t e;
    if (depth_of(text, n) > MAX_DEPTH) return sy_fail(err, SY_EFORMAT, "%s: brackets are nested deeper than %d", file, MAX_DEPTH);
    starved = false;
    json_t *v = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    if (!v && starved) return sy_fail(err, SY_ENOMEM, "%s: no memory for its JSON", file);
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
        if (c == '"' || c == '\\') { char e[2] = { '\\', (char)c }; sy_buf_put(j->b, e, 2); i++; }
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
    char buf[40];
    if (!isfinite(v)) { sy_json_null(j); return; }
    for (int p = 1; p <= 17; p++) {
        snprintf(buf, sizeof buf, "%.*g", p, v);
        if (strtod(buf, NULL) == v) break;
    }
    before_value(j);
    sy_buf_text(j->b, buf);
    if (!strpbrk(buf, ".en")) sy_buf_text(j->b, ".0");   /* stays a real number for typed readers */
}
