/* model/safetensors.c - parsing with every size checked, converting numbers, writing atomically. */
#include "model/safetensors.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/file.h"
#include "core/json.h"

enum { MAX_HEADER = 100000000 };

static const struct { const char *name; int bits; } types[] = {
#define X(name, bits) { #name, bits },
    SY_DTYPE_LIST(X)
#undef X
};

const char *sy_dtype_name(sy_dtype t) { return t < SY_DTYPES ? types[t].name : "?"; }
int         sy_dtype_size(sy_dtype t) { return types[t].bits / 8; }

/* --- numbers ------------------------------------------------------------------------------------------------------------ */

static float f8_e4m3_to(uint8_t x)                   /* no infinities; 0x7f is NaN */
{
    int e = x >> 3 & 15, m = x & 7;
    float f = (x & 127) == 127 ? NAN : e ? ldexpf(1 + (float)m / 8, e - 7) : ldexpf((float)m / 8, -6);
    return x & 128 ? -f : f;
}

static sy_status convert(const sy_st_tensor *t, size_t from, size_t n, double *d, float *f, sy_err *err)
{
    if (from > t->n || n > t->n - from) return sy_fail(err, SY_ESHAPE, "tensor %s has %zu values, %zu from %zu were asked for", t->name, t->n, n, from);
    size_t each = (size_t)sy_dtype_size(t->type);
    const uint8_t *p = sy_st_bytes(t, from * each, n * each);
    if (!p) return sy_fail(err, SY_ENOMEM, "no address space for %zu bytes of tensor %s", n * each, t->name);
    if (t->type == SY_DT_F32 && f) { memcpy(f, p, n * 4); return SY_OK; }
#define EACH(T, expr) for (size_t i = 0; i < n; i++) { T x; memcpy(&x, p + i * sizeof x, sizeof x); if (f) f[i] = (float)(expr); else d[i] = (double)(expr); } return SY_OK
    switch (t->type) {
    case SY_DT_F32: EACH(float, x);
    case SY_DT_F64: EACH(double, x);
    case SY_DT_F16: EACH(uint16_t, sy_f16_to(x));
    case SY_DT_BF16: EACH(uint16_t, sy_bf16_to(x));
    case SY_DT_F8_E4M3: EACH(uint8_t, f8_e4m3_to(x));
    case SY_DT_BOOL: case SY_DT_U8: EACH(uint8_t, x);
    case SY_DT_I8: EACH(int8_t, x);
    case SY_DT_I16: EACH(int16_t, x);
    case SY_DT_U16: EACH(uint16_t, x);
    case SY_DT_I32: EACH(int32_t, x);
    case SY_DT_U32: EACH(uint32_t, x);
    default: break;
    }
#undef EACH
    return sy_fail(err, SY_EUNSUP, "tensor %s has type %s, which cannot be read as real numbers", t->name, sy_dtype_name(t->type));
}

const uint8_t *sy_st_bytes(const sy_st_tensor *t, size_t from, size_t n) { return t->data ? t->data + from : sy_map_view(t->in, t->at + from, n); }

sy_status sy_st_read_f32(const sy_st_tensor *t, size_t from, size_t n, float *out, sy_err *err) { return convert(t, from, n, NULL, out, err); }
sy_status sy_st_read_f64(const sy_st_tensor *t, size_t from, size_t n, double *out, sy_err *err) { return convert(t, from, n, out, NULL, err); }

/* --- reading ------------------------------------------------------------------------------------------------------------ */

static bool offset_of(json_t *v, uint64_t *out)      /* a JSON integer >= 0 */
{
    if (!json_is_integer(v) || json_integer_value(v) < 0) return false;
    *out = (uint64_t)json_integer_value(v);
    return true;
}

static sy_status entry(const char *name, json_t *v, size_t size, const char *file, sy_st_tensor *t, sy_err *err)
{
    const char *type = json_string_value(json_object_get(v, "dtype"));
    json_t *shape = json_object_get(v, "shape"), *range = json_object_get(v, "data_offsets");
    uint64_t b, e;
    if (!json_is_object(v) || !type || !json_is_array(shape) || json_array_size(range) != 2)
        return sy_fail(err, SY_EFORMAT, "%s: tensor '%.200s' has no dtype, shape and data_offsets", file, name);
    for (t->type = 0; t->type < SY_DTYPES && strcmp(type, types[t->type].name); t->type++) { }
    if (t->type == SY_DTYPES) return sy_fail(err, SY_EUNSUP, "%s: tensor '%.200s' has the unknown dtype '%.40s'", file, name, type);
    if (json_array_size(shape) > SY_ST_DIMS) return sy_fail(err, SY_EUNSUP, "%s: tensor '%.200s' has %zu dimensions", file, name, json_array_size(shape));
    t->nd = (int)json_array_size(shape);
    t->n = 1;
    size_t product = 1;                              /* of the dimensions that are not 0: code that multiplies some of them must not wrap either */
    for (int d = 0; d < t->nd; d++) {
        uint64_t dim;
        if (!offset_of(json_array_get(shape, (size_t)d), &dim)) return sy_fail(err, SY_EFORMAT, "%s: tensor '%.200s': dimension %d is not a whole number", file, name, d);
        t->dim[d] = (int64_t)dim;
        t->n = sy_mul_size(t->n, dim);
        product = sy_mul_size(product, dim ? dim : 1);
    }
    if (product > SIZE_MAX / 8) return sy_fail(err, SY_EFORMAT, "%s: tensor '%.200s': its shape gives more values than memory can address", file, name);
    t->bytes = sy_mul_size(t->n, (size_t)sy_dtype_size(t->type));
    if (!offset_of(json_array_get(range, 0), &b) || !offset_of(json_array_get(range, 1), &e) || e < b || e > size)
        return sy_fail(err, SY_EFORMAT, "%s: tensor '%.200s' lies outside the file's %zu bytes of data", file, name, size);
    if (e - b != t->bytes) return sy_fail(err, SY_EFORMAT, "%s: tensor '%.200s' has %llu bytes of data, its shape needs %zu", file, name, (unsigned long long)(e - b), t->bytes);
    t->at = b;
    return SY_OK;
}

static int by_place(const void *a, const void *b)
{
    const sy_st_tensor *x = a, *y = b;
    if (x->at != y->at) return x->at < y->at ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}
static int by_name(const void *a, const void *b) { return strcmp(((const sy_st_tensor *)a)->name, ((const sy_st_tensor *)b)->name); }

static sy_status metadata(json_t *meta, const char *file, sy_st *out, sy_arena *a, sy_err *err)
{
    const char *key;
    json_t *v;
    size_t n = 0;
    if (!json_is_object(meta)) return sy_fail(err, SY_EFORMAT, "%s: __metadata__ is not an object", file);
    out->meta = sy_arena_array(a, 2 * json_object_size(meta) + 1, sizeof *out->meta);
    if (!out->meta) return sy_fail(err, SY_ENOMEM, "%s: no memory for its metadata", file);
    json_object_foreach(meta, key, v) {
        if (!json_is_string(v)) return sy_fail(err, SY_EFORMAT, "%s: __metadata__ '%.100s' is not a text", file, key);
        out->meta[n++] = sy_arena_strdup(a, key);
        out->meta[n++] = sy_arena_strdup(a, json_string_value(v));
    }
    for (size_t i = 0; i < n; i++) if (!out->meta[i]) return sy_fail(err, SY_ENOMEM, "%s: no memory for its metadata", file);
    return SY_OK;
}

/* Fills the table of tensors; at counts from the first byte of data. */
static sy_status entries(json_t *head, size_t size, const char *file, sy_st *out, sy_arena *a, sy_err *err)
{
    const char *key;
    json_t *v;
    out->t = sy_arena_array(a, json_object_size(head) + 1, sizeof *out->t);
    if (!out->t) return sy_fail(err, SY_ENOMEM, "%s: no memory for %zu tensors", file, json_object_size(head));
    json_object_foreach(head, key, v) {
        if (!strcmp(key, "__metadata__")) { SY_TRY(metadata(v, file, out, a, err)); continue; }
        sy_st_tensor *t = &out->t[out->n];
        SY_TRY(entry(key, v, size, file, t, err));
        if (!(t->name = sy_arena_strdup(a, key))) return sy_fail(err, SY_ENOMEM, "%s: no memory for names", file);
        out->n++;
    }
    qsort(out->t, (size_t)out->n, sizeof *out->t, by_place);
    size_t at = 0;
    for (int i = 0; i < out->n; i++) {
        const sy_st_tensor *t = &out->t[i];
        if (t->at != at) return sy_fail(err, SY_EFORMAT, "%s: tensor '%.200s' leaves a hole or overlaps the one before it", file, t->name);
        at += t->bytes;
    }
    if (at != size) return sy_fail(err, SY_EFORMAT, "%s: %zu bytes at the end belong to no tensor; the file is damaged or of another kind", file, size - at);
    qsort(out->t, (size_t)out->n, sizeof *out->t, by_name);
    return SY_OK;
}

static sy_status parse_header(sy_st *out, const char *text, size_t n, size_t size, const char *file, sy_arena *a, sy_err *err)
{
    json_t *head;
    SY_TRY(sy_json_parse(&head, text, n, file, err));
    sy_status st = json_is_object(head) ? entries(head, size, file, out, a, err) : sy_fail(err, SY_EFORMAT, "%s: its header is not a JSON object", file);
    json_decref(head);
    return st;
}

/* data: the whole, or NULL: m gives it through windows. */
static sy_status parse(sy_st *out, const uint8_t *data, size_t size, sy_map *m, const char *file, sy_arena *a, sy_err *err)
{
    uint64_t n;
    *out = (sy_st){ 0 };
    if (size < 8) return sy_fail(err, SY_EFORMAT, "%s: %zu bytes are too few for a safetensors file", file, size);
    const uint8_t *head = data ? data : sy_map_view(m, 0, 8);
    if (!head) return sy_fail(err, SY_ENOMEM, "no address space to look at %s", file);
    memcpy(&n, head, 8);
    if (n > MAX_HEADER || n > size - 8)
        return sy_fail(err, SY_EFORMAT, "%s: its header claims %llu bytes, the file has %zu; it is truncated or not a safetensors file", file, (unsigned long long)n, size);
    head = data ? data : sy_map_view(m, 0, 8 + (size_t)n);
    if (!head) return sy_fail(err, SY_ENOMEM, "no address space for the header of %s, %llu bytes", file, (unsigned long long)n);
    SY_TRY(parse_header(out, (const char *)head + 8, (size_t)n, size - 8 - (size_t)n, file, a, err));
    for (int i = 0; i < out->n; i++) {
        sy_st_tensor *t = &out->t[i];
        t->at += 8 + (size_t)n;
        t->data = data ? data + t->at : NULL;
        t->in = m;
    }
    return SY_OK;
}

sy_status sy_st_parse(sy_st *out, const uint8_t *data, size_t size, const char *file, sy_arena *a, sy_err *err) { return parse(out, data, size, NULL, file, a, err); }

sy_status sy_st_open(sy_st *out, sy_map *m, const char *file, sy_arena *a, sy_err *err)
{
    return sy_map_status(m, file, parse(out, m->data, m->size, m, file, a, err), err);
}

const sy_st_tensor *sy_st_find(const sy_st *s, const char *name)
{
    sy_st_tensor key = { .name = name };
    return s->n ? bsearch(&key, s->t, (size_t)s->n, sizeof *s->t, by_name) : NULL;
}

const char *sy_st_meta(const sy_st *s, const char *key)
{
    for (int i = 0; s->meta && s->meta[i]; i += 2)
        if (!strcmp(s->meta[i], key)) return s->meta[i + 1];
    return NULL;
}

/* --- writing ------------------------------------------------------------------------------------------------------------ */

static int by_alignment(const void *a, const void *b)
{
    const sy_st_out *x = *(const sy_st_out *const *)a, *y = *(const sy_st_out *const *)b;
    int dx = sy_dtype_size(x->type), dy = sy_dtype_size(y->type);
    return dx != dy ? dy - dx : strcmp(x->name, y->name);
}

size_t sy_st_out_bytes(const sy_st_out *t)
{
    size_t n = (size_t)sy_dtype_size(t->type);
    for (int d = 0; d < t->nd; d++) n = sy_mul_size(n, (size_t)t->dim[d]);
    return n;
}

static void header(sy_buf *b, const sy_st_out *const *t, int n, const char *const *meta)
{
    sy_json j;
    uint64_t at = 0;
    sy_json_open(&j, b, 0);
    sy_json_begin(&j, '{');
    if (meta) {
        sy_json_key(&j, "__metadata__");
        sy_json_begin(&j, '{');
        for (; *meta; meta += 2) sy_json_key(&j, meta[0]), sy_json_text(&j, meta[1]);
        sy_json_end(&j, '}');
    }
    for (int i = 0; i < n; i++) {
        sy_json_key(&j, t[i]->name);
        sy_json_begin(&j, '{');
        sy_json_key(&j, "dtype"), sy_json_text(&j, sy_dtype_name(t[i]->type));
        sy_json_key(&j, "shape");
        sy_json_begin(&j, '[');
        for (int d = 0; d < t[i]->nd; d++) sy_json_int(&j, t[i]->dim[d]);
        sy_json_end(&j, ']');
        sy_json_key(&j, "data_offsets");
        sy_json_begin(&j, '[');
        sy_json_int(&j, (long long)at);
        sy_json_int(&j, (long long)(at += sy_st_out_bytes(t[i])));
        sy_json_end(&j, ']');
        sy_json_end(&j, '}');
    }
    sy_json_end(&j, '}');
    while (b->n % 8 && !b->failed) sy_buf_put(b, " ", 1);
}

static sy_status fill_from_memory(void *arg, int i, sy_writer *w, sy_err *err)
{
    const sy_st_out *t = (const sy_st_out *)arg + i;
    return sy_writer_put(w, t->data, sy_st_out_bytes(t), err);
}

sy_status sy_st_write(const char *path, const sy_st_out *t, int n, const char *const *meta, sy_err *err)
{
    return sy_st_write_each(path, t, n, meta, fill_from_memory, (void *)t, err);
}

sy_status sy_st_write_each(const char *path, const sy_st_out *t, int n, const char *const *meta, sy_st_fill fill, void *arg, sy_err *err)
{
    sy_arena a = { 0 };
    sy_buf head = { 0 };
    sy_writer w = { .fd = -1 };
    const sy_st_out **order = sy_arena_array(&a, (size_t)n + 1, sizeof *order);
    sy_status st = SY_OK;
    if (order) {
        for (int i = 0; i < n; i++) order[i] = &t[i];
        qsort(order, (size_t)n, sizeof *order, by_alignment);
        header(&head, order, n, meta);
    }
    uint64_t size = head.n;
    if (!order || head.failed) st = sy_fail(err, SY_ENOMEM, "no memory for the header of %s", path);
    if (st == SY_OK) st = sy_writer_open(&w, path, err);
    if (st == SY_OK) st = sy_writer_put(&w, &size, 8, err);
    if (st == SY_OK) st = sy_writer_put(&w, head.data, head.n, err);
    for (int i = 0; i < n && st == SY_OK; i++) {
        uint64_t before = w.written + w.pending.n;
        st = fill(arg, (int)(order[i] - t), &w, err);
        if (st == SY_OK && w.written + w.pending.n - before != sy_st_out_bytes(order[i]))
            st = sy_fail(err, SY_EARG, "%s: tensor '%s' got %llu bytes, its shape needs %zu", path, order[i]->name, (unsigned long long)(w.written + w.pending.n - before), sy_st_out_bytes(order[i]));
    }
    if (st == SY_OK) st = sy_writer_close(&w, err);
    sy_writer_abandon(&w);
    sy_buf_free(&head);
    sy_arena_free(&a);
    return st;
}
