/* model/gguf.c - a cursor that cannot leave the file, tables over what it found, and a writer that counts what it was promised. */
#include "model/gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"

enum { MAX_KEYS = 1 << 20, MAX_TENSORS = 1 << 20, MAX_KEY = 65535, MAX_NAME = 63, MAX_ELEMENTS = 1 << 26, MAX_ALIGNMENT = 1 << 20 };
static const uint64_t MAX_TEXT = 1u << 30;

static const struct { const char *name; int bytes; } value_types[] = {
#define X(name, text, bytes) { text, bytes },
    SY_GGUF_TYPE_LIST(X)
#undef X
};

/* Tensor types that are only copied: known by size. */
static const struct { uint32_t id; const char *name; int block, bytes; } other_types[] = {
    { 16, "IQ2_XXS", 256, 66 }, { 17, "IQ2_XS", 256, 74 }, { 18, "IQ3_XXS", 256, 98 }, { 19, "IQ1_S", 256, 50 }, { 21, "IQ3_S", 256, 110 }, { 22, "IQ2_S", 256, 82 },
    { 24, "I8", 1, 1 }, { 25, "I16", 1, 2 }, { 26, "I32", 1, 4 }, { 27, "I64", 1, 8 }, { 28, "F64", 1, 8 }, { 29, "IQ1_M", 256, 56 }, { 34, "TQ1_0", 256, 54 },
    { 35, "TQ2_0", 256, 66 }, { 40, "NVFP4", 64, 36 }, { 41, "Q1_0", 128, 18 },
};

const char *sy_gguf_type_name(sy_gguf_type t) { return (unsigned)t < SY_GGUF_TYPES ? value_types[t].name : "?"; }

static bool type_size(uint32_t id, sy_wtype *type, size_t *block, size_t *bytes)
{
    *type = sy_wtype_of_gguf(id);
    if (*type != SY_WTYPES) {
        *block = (size_t)sy_wtype_block(*type);
        *bytes = sy_wtype_bytes(*type, *block);
        return true;
    }
    for (size_t i = 0; i < SY_COUNT(other_types); i++)
        if (other_types[i].id == id) {
            *block = (size_t)other_types[i].block;
            *bytes = (size_t)other_types[i].bytes;
            return true;
        }
    return false;
}

const char *sy_gguf_tensor_type(uint32_t id)
{
    sy_wtype t = sy_wtype_of_gguf(id);
    if (t != SY_WTYPES) return sy_wtype_name(t);
    for (size_t i = 0; i < SY_COUNT(other_types); i++) if (other_types[i].id == id) return other_types[i].name;
    return "?";
}

/* --- reading ------------------------------------------------------------------------------------------------------------ */

typedef struct cursor {
    const uint8_t *at, *end;            /* what is seen of the file */
    size_t         beyond;              /* bytes of it behind the end */
    bool           more;                /* it ended there: look again at a longer head */
    const char    *file;
    sy_arena      *a;
    sy_err        *err;
} cursor;

static size_t   left(const cursor *c) { return (size_t)(c->end - c->at) + c->beyond; }
static uint32_t u32_at(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static uint64_t u64_at(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v; }

static sy_status need(cursor *c, uint64_t n, const char *what)
{
    if (n <= (size_t)(c->end - c->at)) return SY_OK;
    c->more = n <= left(c);
    return sy_fail(c->err, SY_EFORMAT, "%s: %s needs %llu bytes, %zu are left; the file is truncated or damaged", c->file, what, (unsigned long long)n, left(c));
}

/* Length and bytes of a text; the cursor moves behind it. */
static sy_status skip_text(cursor *c, const char *what, uint64_t most, const uint8_t **text, uint64_t *n)
{
    SY_TRY(need(c, 8, what));
    *n = u64_at(c->at);
    c->at += 8;
    if (*n > most) return sy_fail(c->err, SY_EFORMAT, "%s: %s claims a text of %llu bytes, at most %llu are allowed", c->file, what, (unsigned long long)*n, (unsigned long long)most);
    SY_TRY(need(c, *n, what));
    *text = c->at;
    c->at += *n;
    return SY_OK;
}

/* A name becomes a C string: not empty, without control characters. */
static sy_status name_of(cursor *c, const char *what, uint64_t most, const char **out)
{
    const uint8_t *p;
    uint64_t n;
    SY_TRY(skip_text(c, what, most, &p, &n));
    if (n == 0) return sy_fail(c->err, SY_EFORMAT, "%s: %s has no name", c->file, what);
    for (uint64_t i = 0; i < n; i++) if (p[i] < 32 || p[i] == 127) return sy_fail(c->err, SY_EFORMAT, "%s: the name of %s holds a control character", c->file, what);
    if (!(*out = sy_arena_printf(c->a, "%.*s", (int)n, (const char *)p))) return sy_fail(c->err, SY_ENOMEM, "%s: no memory for names", c->file);
    return SY_OK;
}

static sy_status skip_elements(cursor *c, sy_gguf_key *k, const char *what)
{
    int each = value_types[k->elem].bytes;
    k->data = c->at;
    if (k->elem == SY_GGUF_TEXT) {
        for (uint64_t i = 0; i < k->n; i++) {
            const uint8_t *p;
            uint64_t n;
            SY_TRY(skip_text(c, what, MAX_TEXT, &p, &n));
        }
        return SY_OK;
    }
    SY_TRY(need(c, k->n * (uint64_t)each, what));    /* n is at most MAX_ELEMENTS: no wrap */
    c->at += k->n * (uint64_t)each;
    if (k->elem == SY_GGUF_BOOL)
        for (uint64_t i = 0; i < k->n; i++) if (k->data[i] > 1) return sy_fail(c->err, SY_EFORMAT, "%s: %s holds %d where a bool is 0 or 1", c->file, what, k->data[i]);
    return SY_OK;
}

static sy_status read_key(cursor *c, int i, sy_gguf_key *k)
{
    char what[128];
    snprintf(what, sizeof what, "key %d", i);
    SY_TRY(name_of(c, what, MAX_KEY, &k->key));
    snprintf(what, sizeof what, "key '%.100s'", k->key);
    SY_TRY(need(c, 4, what));
    uint32_t type = u32_at(c->at);
    c->at += 4;
    if (type >= SY_GGUF_TYPES) return sy_fail(c->err, SY_EFORMAT, "%s: %s has the unknown type %u", c->file, what, type);
    k->type = k->elem = (sy_gguf_type)type;
    k->n = 1;
    k->raw = c->at;
    if (type == SY_GGUF_ARRAY) {
        SY_TRY(need(c, 12, what));
        uint32_t elem = u32_at(c->at);
        k->n = u64_at(c->at + 4);
        c->at += 12;
        if (elem >= SY_GGUF_TYPES) return sy_fail(c->err, SY_EFORMAT, "%s: %s is an array of the unknown type %u", c->file, what, elem);
        if (elem == SY_GGUF_ARRAY) return sy_fail(c->err, SY_EUNSUP, "%s: %s is an array of arrays", c->file, what);
        if (k->n > MAX_ELEMENTS) return sy_fail(c->err, SY_EFORMAT, "%s: %s claims %llu elements, at most %d are allowed", c->file, what, (unsigned long long)k->n, MAX_ELEMENTS);
        k->elem = (sy_gguf_type)elem;
    }
    SY_TRY(skip_elements(c, k, what));
    k->bytes = (size_t)(c->at - k->raw);
    return SY_OK;
}

static sy_status read_info(cursor *c, int i, sy_gguf_tensor *t, uint64_t *offset)
{
    char what[128];
    size_t block, bytes;
    snprintf(what, sizeof what, "tensor %d", i);
    SY_TRY(name_of(c, what, MAX_NAME, &t->name));
    snprintf(what, sizeof what, "tensor '%s'", t->name);
    SY_TRY(need(c, 4, what));
    uint32_t nd = u32_at(c->at);
    c->at += 4;
    if (nd < 1 || nd > SY_GGUF_DIMS) return sy_fail(c->err, SY_EFORMAT, "%s: %s has %u dimensions, 1 to %d are possible", c->file, what, nd, SY_GGUF_DIMS);
    SY_TRY(need(c, 8 * (uint64_t)nd + 12, what));
    t->nd = (int)nd;
    t->n = 1;
    for (uint32_t d = 0; d < nd; d++) {
        uint64_t v = u64_at(c->at + 8 * d);
        if (v == 0 || v > INT64_MAX) return sy_fail(c->err, SY_EFORMAT, "%s: %s: dimension %u is %lld", c->file, what, d, (long long)v);
        t->dim[nd - 1 - d] = (int64_t)v;
        t->n = sy_mul_size(t->n, (size_t)v);
    }
    t->id = u32_at(c->at + 8 * nd);
    *offset = u64_at(c->at + 8 * nd + 4);
    c->at += 8 * nd + 12;
    if (t->n > SIZE_MAX / 16) return sy_fail(c->err, SY_EFORMAT, "%s: %s: its dimensions give more values than memory can address", c->file, what);
    if (!type_size(t->id, &t->type, &block, &bytes)) return sy_fail(c->err, SY_EUNSUP, "%s: %s has the unknown type %u", c->file, what, t->id);
    if ((uint64_t)t->dim[nd - 1] % block) return sy_fail(c->err, SY_EFORMAT, "%s: %s: rows of %lld values are no whole number of %s blocks of %zu", c->file, what, (long long)t->dim[nd - 1],
                                                         sy_gguf_tensor_type(t->id), block);
    t->bytes = t->n / block * bytes;
    return SY_OK;
}

static uint64_t padded(uint64_t n, uint64_t align) { return (n + align - 1) / align * align; }

/* Tensors lie in the order of their infos, each at the next multiple of the alignment. */
static sy_status place(cursor *c, sy_gguf *g, const uint64_t *offset, const uint8_t *start, sy_map *m)
{
    uint64_t head = padded((uint64_t)(c->at - start), g->alignment), size = (uint64_t)(c->end - start) + c->beyond, at = 0;
    if (g->n == 0) {                                 /* metadata alone: the padding may be missing */
        if (left(c) > g->alignment) return sy_fail(c->err, SY_EFORMAT, "%s: %zu bytes at the end belong to no tensor; the file is damaged", c->file, left(c));
        return SY_OK;
    }
    if (head > size) return sy_fail(c->err, SY_EFORMAT, "%s ends inside its table of tensors; it is truncated", c->file);
    size -= head;
    for (int i = 0; i < g->n; i++) {
        sy_gguf_tensor *t = &g->t[i];
        if (offset[i] != at) return sy_fail(c->err, SY_EFORMAT, "%s: tensor '%s' lies at %llu, it must follow the one before it at %llu", c->file, t->name, (unsigned long long)offset[i], (unsigned long long)at);
        if (at > size || t->bytes > size - at)
            return sy_fail(c->err, SY_EFORMAT, "%s: tensor '%s' ends at %llu of the data, the file has %llu bytes; it is truncated", c->file, t->name, (unsigned long long)(at + t->bytes), (unsigned long long)size);
        t->at = head + at;
        t->data = c->beyond ? NULL : start + t->at;
        t->in = m;
        at = padded(at + t->bytes, g->alignment);
    }
    if (size > at) return sy_fail(c->err, SY_EFORMAT, "%s: %llu bytes at the end belong to no tensor; the file is damaged", c->file, (unsigned long long)(size - at));
    return SY_OK;
}

static int by_text(const void *a, const void *b, void *names)
{
    const char *const *name = names;
    int c = strcmp(name[*(const int *)a], name[*(const int *)b]);
    return c ? c : *(const int *)a - *(const int *)b;
}

/* The order of names, and that none stands twice. */
static sy_status sort_names(cursor *c, const char **name, int n, const char *what, const int **out)
{
    int *order = sy_arena_array(c->a, (size_t)n + 1, sizeof *order);
    if (!order) return sy_fail(c->err, SY_ENOMEM, "%s: no memory for %d names", c->file, n);
    for (int i = 0; i < n; i++) order[i] = i;
    qsort_r(order, (size_t)n, sizeof *order, by_text, name);
    for (int i = 1; i < n; i++)
        if (!strcmp(name[order[i]], name[order[i - 1]])) return sy_fail(c->err, SY_EFORMAT, "%s: %s '%.200s' stands twice", c->file, what, name[order[i]]);
    *out = order;
    return SY_OK;
}

static sy_status count_of(cursor *c, const char *what, uint64_t most, uint64_t smallest, int *out)
{
    SY_TRY(need(c, 8, what));
    uint64_t n = u64_at(c->at);
    c->at += 8;
    if (n > most) return sy_fail(c->err, SY_EFORMAT, "%s claims %lld %s, at most %llu are possible; it is damaged or of the other byte order", c->file, (long long)n, what, (unsigned long long)most);
    if (n * smallest > left(c)) return sy_fail(c->err, SY_EFORMAT, "%s claims %llu %s, its %zu bytes have no room for them; it is truncated", c->file, (unsigned long long)n, what, left(c));
    *out = (int)n;
    return SY_OK;
}

static sy_status alignment_of(sy_gguf *g, sy_err *err)
{
    const sy_gguf_key *k = sy_gguf_key_find(g, "general.alignment");
    g->alignment = SY_GGUF_ALIGNMENT;
    if (!k) return SY_OK;
    if (k->type != SY_GGUF_U32) return sy_fail(err, SY_EFORMAT, "%s: key 'general.alignment' is of type %s, it must be u32", g->file, sy_gguf_type_name(k->type));
    g->alignment = u32_at(k->data);
    if (!g->alignment || (g->alignment & (g->alignment - 1)) || g->alignment > MAX_ALIGNMENT)
        return sy_fail(err, SY_EFORMAT, "%s: key 'general.alignment' is %u, it must be a power of two of at most %d", g->file, g->alignment, MAX_ALIGNMENT);
    return SY_OK;
}

static sy_status magic(cursor *c, sy_gguf *g)
{
    if (left(c) < 24) return sy_fail(c->err, SY_EFORMAT, "%s: %zu bytes are too few for a GGUF file", c->file, left(c));
    if (memcmp(c->at, "GGUF", 4)) return sy_fail(c->err, SY_EFORMAT, "%s does not begin with GGUF: it is another kind of file", c->file);
    g->version = u32_at(c->at + 4);
    c->at += 8;
    if (g->version && !(g->version & 0xffff)) return sy_fail(c->err, SY_EUNSUP, "%s is a GGUF file of the other byte order", c->file);
    if (g->version != 2 && g->version != 3) return sy_fail(c->err, SY_EUNSUP, "%s is a GGUF file of version %u; 2 and 3 are read", c->file, g->version);
    return SY_OK;
}

static sy_status parse(sy_gguf *out, cursor *c, sy_map *m)
{
    const uint8_t *start = c->at;
    sy_gguf g = { .file = c->file };
    int most = 0;
    SY_TRY(magic(c, &g));
    SY_TRY(count_of(c, "tensors", MAX_TENSORS, 8 + 1 + 4 + 8 + 12, &g.n));
    SY_TRY(count_of(c, "keys", MAX_KEYS, 8 + 1 + 4 + 1, &g.keys));
    most = g.n > g.keys ? g.n : g.keys;
    g.key = sy_arena_array(c->a, (size_t)g.keys + 1, sizeof *g.key);
    g.t = sy_arena_array(c->a, (size_t)g.n + 1, sizeof *g.t);
    uint64_t *offset = sy_arena_array(c->a, (size_t)g.n + 1, sizeof *offset);
    const char **name = sy_arena_array(c->a, (size_t)most + 1, sizeof *name);
    if (!g.key || !g.t || !offset || !name) return sy_fail(c->err, SY_ENOMEM, "%s: no memory for %d keys and %d tensors", c->file, g.keys, g.n);
    for (int i = 0; i < g.keys; i++) {
        SY_TRY(read_key(c, i, &g.key[i]));
        name[i] = g.key[i].key;
    }
    SY_TRY(sort_names(c, name, g.keys, "key", &g.key_by_name));
    SY_TRY(alignment_of(&g, c->err));
    for (int i = 0; i < g.n; i++) {
        SY_TRY(read_info(c, i, &g.t[i], &offset[i]));
        name[i] = g.t[i].name;
    }
    SY_TRY(sort_names(c, name, g.n, "tensor", &g.by_name));
    SY_TRY(place(c, &g, offset, start, m));
    *out = g;
    return SY_OK;
}

sy_status sy_gguf_parse(sy_gguf *out, const uint8_t *data, size_t size, const char *file, sy_arena *a, sy_err *err)
{
    return parse(out, &(cursor){ .at = data, .end = data + size, .file = file, .a = a, .err = err }, NULL);
}

/* A file that is read through windows tells nowhere how long its head is: the part that stays mapped grows until it holds it. */
sy_status sy_gguf_open(sy_gguf *out, sy_map *m, const char *file, sy_arena *a, sy_err *err)
{
    if (!m->window) return sy_map_status(m, file, parse(out, &(cursor){ .at = m->data, .end = m->data + m->size, .file = file, .a = a, .err = err }, m), err);
    for (size_t seen = 1 << 20; ; seen *= 4) {
        sy_mark mark = sy_arena_mark(a);
        if (seen > m->size) seen = m->size;
        const uint8_t *head = sy_map_head(m, seen);
        if (!head) return sy_fail(err, SY_ENOMEM, "no address space for the head of %s, %zu bytes so far", file, seen);
        cursor c = { .at = head, .end = head + seen, .beyond = m->size - seen, .file = file, .a = a, .err = err };
        sy_status st = sy_map_status(m, file, parse(out, &c, m), err);
        if (st != SY_EFORMAT || !c.more) return st;
        sy_arena_release(a, mark);
    }
}

const uint8_t *sy_gguf_bytes(const sy_gguf_tensor *t, size_t from, size_t n) { return t->data ? t->data + from : sy_map_view(t->in, t->at + from, n); }

sy_status sy_gguf_join(sy_gguf *out, const sy_gguf *g, int n, sy_arena *a, sy_err *err)
{
    cursor c = { .file = g[0].file, .a = a, .err = err };
    int all = 0;
    *out = g[0];
    if (n == 1) return SY_OK;
    for (int i = 0; i < n; i++) all += g[i].n;
    out->t = sy_arena_array(a, (size_t)all + 1, sizeof *out->t);
    const char **name = sy_arena_array(a, (size_t)all + 1, sizeof *name);
    if (!out->t || !name) return sy_fail(err, SY_ENOMEM, "%s: no memory for %d tensors", g[0].file, all);
    out->n = 0;
    for (int i = 0; i < n; i++)
        for (int t = 0; t < g[i].n; t++) name[out->n] = g[i].t[t].name, out->t[out->n++] = g[i].t[t];
    return sort_names(&c, name, all, "tensor of its parts", &out->by_name);
}

const sy_gguf_tensor *sy_gguf_find(const sy_gguf *g, const char *name)
{
    for (int lo = 0, hi = g->n; lo < hi; ) {
        int mid = lo + (hi - lo) / 2, c = strcmp(name, g->t[g->by_name[mid]].name);
        if (!c) return &g->t[g->by_name[mid]];
        if (c < 0) hi = mid;
        else lo = mid + 1;
    }
    return NULL;
}

const sy_gguf_key *sy_gguf_key_find(const sy_gguf *g, const char *key)
{
    for (int lo = 0, hi = g->keys; lo < hi; ) {
        int mid = lo + (hi - lo) / 2, c = strcmp(key, g->key[g->key_by_name[mid]].key);
        if (!c) return &g->key[g->key_by_name[mid]];
        if (c < 0) hi = mid;
        else lo = mid + 1;
    }
    return NULL;
}

static bool begins_as_gguf(sy_map *m)
{
    const uint8_t *head = m->size >= 4 ? sy_map_view(m, 0, 4) : NULL;
    return head && !memcmp(head, "GGUF", 4);
}

sy_status sy_gguf_look(const char *path, sy_status (*look)(void *arg, const sy_gguf *g, sy_err *err), void *arg, bool *is, sy_err *err)
{
    sy_map map;
    sy_arena a = { 0 };
    sy_gguf g;
    *is = false;
    SY_TRY(sy_map_open_windows(&map, path, err));
    sy_status st = SY_OK;
    if ((*is = begins_as_gguf(&map))) {
        st = sy_gguf_open(&g, &map, path, &a, err);
        if (st == SY_OK) st = look(arg, &g, err);
        st = sy_map_status(&map, path, st, err);
    }
    sy_arena_free(&a);
    sy_map_close(&map);
    return st;
}

/* --- values --------------------------------------------------------------------------------------------------------------- */

bool sy_gguf_elem_int(const sy_gguf_key *k, uint64_t i, int64_t *out)
{
    const uint8_t *p = k->data + i * (uint64_t)value_types[k->elem].bytes;
    switch (k->elem) {
#define READ(T) { T v; memcpy(&v, p, sizeof v); *out = (int64_t)v; return true; }
    case SY_GGUF_U8: READ(uint8_t)
    case SY_GGUF_I8: READ(int8_t)
    case SY_GGUF_U16: READ(uint16_t)
    case SY_GGUF_I16: READ(int16_t)
    case SY_GGUF_U32: READ(uint32_t)
    case SY_GGUF_I32: READ(int32_t)
    case SY_GGUF_I64: READ(int64_t)
    case SY_GGUF_U64: { uint64_t v = u64_at(p); *out = (int64_t)v; return v <= INT64_MAX; }
    default: return false;
    }
}

bool sy_gguf_elem_real(const sy_gguf_key *k, uint64_t i, double *out)
{
    const uint8_t *p = k->data + i * (uint64_t)value_types[k->elem].bytes;
    int64_t whole;
    if (k->elem == SY_GGUF_F32) { float v; memcpy(&v, p, 4); *out = (double)v; return true; }
    if (k->elem == SY_GGUF_F64) { memcpy(out, p, 8); return true; }
    if (!sy_gguf_elem_int(k, i, &whole)) return false;
    *out = (double)whole;
    return true;
}

const char *sy_gguf_next_text(const uint8_t **at, size_t *len)
{
    const char *text = (const char *)*at + 8;
    *len = (size_t)u64_at(*at);
    *at += 8 + *len;
    return text;
}

static sy_status key_of(const sy_gguf *g, const char *key, bool must, const char *want, const sy_gguf_key **k, sy_err *err)
{
    *k = sy_gguf_key_find(g, key);
    if (!*k) return must ? sy_fail(err, SY_EFORMAT, "%s has no key '%s'", g->file, key) : SY_OK;
    if ((*k)->type == SY_GGUF_ARRAY) return sy_fail(err, SY_EFORMAT, "%s: key '%s' is an array, it must be %s", g->file, key, want);
    return SY_OK;
}

sy_status sy_gguf_int(const sy_gguf *g, const char *key, bool must, int64_t lo, int64_t hi, int64_t *out, sy_err *err)
{
    const sy_gguf_key *k;
    int64_t v;
    SY_TRY(key_of(g, key, must, "a whole number", &k, err));
    if (!k) return SY_OK;
    if (k->type == SY_GGUF_U64 && u64_at(k->data) > INT64_MAX) return sy_fail(err, SY_EFORMAT, "%s: key '%s' is %llu, it must lie in %lld..%lld", g->file, key, (unsigned long long)u64_at(k->data), (long long)lo, (long long)hi);
    if (!sy_gguf_elem_int(k, 0, &v)) return sy_fail(err, SY_EFORMAT, "%s: key '%s' is of type %s, it must be a whole number", g->file, key, sy_gguf_type_name(k->type));
    if (v < lo || v > hi) return sy_fail(err, SY_EFORMAT, "%s: key '%s' is %lld, it must lie in %lld..%lld", g->file, key, (long long)v, (long long)lo, (long long)hi);
    *out = v;
    return SY_OK;
}

sy_status sy_gguf_real(const sy_gguf *g, const char *key, bool must, double lo, double hi, double *out, sy_err *err)
{
    const sy_gguf_key *k;
    double v;
    SY_TRY(key_of(g, key, must, "a number", &k, err));
    if (!k) return SY_OK;
    if (!sy_gguf_elem_real(k, 0, &v)) return sy_fail(err, SY_EFORMAT, "%s: key '%s' is of type %s, it must be a number", g->file, key, sy_gguf_type_name(k->type));
    if (!(v >= lo && v <= hi)) return sy_fail(err, SY_EFORMAT, "%s: key '%s' is %g, it must lie in %g..%g", g->file, key, v, lo, hi);
    *out = v;
    return SY_OK;
}

sy_status sy_gguf_bool(const sy_gguf *g, const char *key, bool must, bool *out, sy_err *err)
{
    const sy_gguf_key *k;
    SY_TRY(key_of(g, key, must, "a bool", &k, err));
    if (!k) return SY_OK;
    if (k->type != SY_GGUF_BOOL) return sy_fail(err, SY_EFORMAT, "%s: key '%s' is of type %s, it must be a bool", g->file, key, sy_gguf_type_name(k->type));
    *out = k->data[0] != 0;
    return SY_OK;
}

sy_status sy_gguf_text(const sy_gguf *g, const char *key, bool must, sy_arena *a, const char **out, sy_err *err)
{
    const sy_gguf_key *k;
    size_t n;
    SY_TRY(key_of(g, key, must, "a text", &k, err));
    if (!k) return SY_OK;
    if (k->type != SY_GGUF_TEXT) return sy_fail(err, SY_EFORMAT, "%s: key '%s' is of type %s, it must be a text", g->file, key, sy_gguf_type_name(k->type));
    const uint8_t *at = k->data;
    const char *p = sy_gguf_next_text(&at, &n);
    if (memchr(p, 0, n)) return sy_fail(err, SY_EFORMAT, "%s: key '%s' holds a NUL", g->file, key);
    char *copy = sy_arena_alloc(a, n + 1);
    if (!copy) return sy_fail(err, SY_ENOMEM, "%s: no memory for key '%s'", g->file, key);
    memcpy(copy, p, n);
    copy[n] = 0;
    *out = copy;
    return SY_OK;
}

sy_status sy_gguf_ends(const sy_gguf *g, int id[SY_GGUF_ENDS], int *n, sy_err *err)
{
    static const char *const keys[SY_GGUF_ENDS] = { "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id" };
    *n = 0;
    for (int i = 0; i < SY_GGUF_ENDS; i++) {
        int64_t v = -1;
        SY_TRY(sy_gguf_int(g, keys[i], false, -1, UINT32_MAX, &v, err));
        bool twice = v < 0 || v > INT32_MAX;         /* the largest number says that there is none */
        for (int k = 0; k < *n; k++) twice |= id[k] == v;
        if (!twice) id[(*n)++] = (int)v;
    }
    return SY_OK;
}

/* --- writing ------------------------------------------------------------------------------------------------------------ */

static void put_u32(sy_buf *b, uint32_t v) { sy_buf_put(b, &v, 4); }
static void put_u64(sy_buf *b, uint64_t v) { sy_buf_put(b, &v, 8); }
static void put_name(sy_buf *b, const char *v, size_t n) { put_u64(b, n); sy_buf_put(b, v, n); }

static void begin_key(sy_gguf_writer *g, const char *key, sy_gguf_type type)
{
    put_name(&g->keys, key, strlen(key));
    put_u32(&g->keys, (uint32_t)type);
    g->n_keys++;
}

sy_status sy_gguf_writer_open(sy_gguf_writer *g, const char *path, sy_err *err)
{
    *g = (sy_gguf_writer){ .w = { .fd = -1 } };
    return sy_writer_open(&g->w, path, err);
}

void sy_gguf_put_u32(sy_gguf_writer *g, const char *key, uint32_t v) { begin_key(g, key, SY_GGUF_U32); put_u32(&g->keys, v); }
void sy_gguf_put_f32(sy_gguf_writer *g, const char *key, float v) { begin_key(g, key, SY_GGUF_F32); sy_buf_put(&g->keys, &v, 4); }
void sy_gguf_put_bool(sy_gguf_writer *g, const char *key, bool v) { begin_key(g, key, SY_GGUF_BOOL); sy_buf_put(&g->keys, &(uint8_t){ v }, 1); }
void sy_gguf_put_text(sy_gguf_writer *g, const char *key, const char *v, size_t n) { begin_key(g, key, SY_GGUF_TEXT); put_name(&g->keys, v, n); }

void sy_gguf_put_array(sy_gguf_writer *g, const char *key, sy_gguf_type elem, uint64_t n)
{
    begin_key(g, key, SY_GGUF_ARRAY);
    put_u32(&g->keys, (uint32_t)elem);
    put_u64(&g->keys, n);
}

void sy_gguf_put_one(sy_gguf_writer *g, const char *key, sy_gguf_type type) { begin_key(g, key, type); }

void sy_gguf_elem(sy_gguf_writer *g, const void *bytes, size_t n) { sy_buf_put(&g->keys, bytes, n); }
void sy_gguf_elem_text(sy_gguf_writer *g, const char *v, size_t n) { put_name(&g->keys, v, n); }

void sy_gguf_put_key(sy_gguf_writer *g, const sy_gguf_key *k)
{
    begin_key(g, k->key, k->type);
    sy_buf_put(&g->keys, k->raw, k->bytes);
}

sy_status sy_gguf_put_tensor(sy_gguf_writer *g, const char *name, uint32_t id, int nd, const int64_t *dim, sy_err *err)
{
    sy_wtype type;
    size_t block, bytes, n = 1;
    if (!type_size(id, &type, &block, &bytes)) return sy_fail(err, SY_EUNSUP, "%s: tensor '%s' has the unknown type %u", g->w.path, name, id);
    if (strlen(name) > MAX_NAME) return sy_fail(err, SY_EFORMAT, "%s: '%s' is too long for the name of a tensor: at most %d bytes", g->w.path, name, MAX_NAME);
    if (nd < 1 || nd > SY_GGUF_DIMS) return sy_fail(err, SY_EUNSUP, "%s: tensor '%s' has %d dimensions, 1 to %d can be written", g->w.path, name, nd, SY_GGUF_DIMS);
    if ((uint64_t)dim[nd - 1] % block) return sy_fail(err, SY_ESHAPE, "%s: tensor '%s': rows of %lld values are no whole number of %s blocks of %zu", g->w.path, name, (long long)dim[nd - 1],
                                                      sy_gguf_tensor_type(id), block);
    put_name(&g->infos, name, strlen(name));
    put_u32(&g->infos, (uint32_t)nd);
    for (int d = nd; d-- > 0; ) {
        put_u64(&g->infos, (uint64_t)dim[d]);
        n = sy_mul_size(n, (size_t)dim[d]);
    }
    put_u32(&g->infos, id);
    put_u64(&g->infos, g->offset);
    if (g->n == g->room) {                           /* doubled: the old table stays in the arena */
        uint64_t *more = sy_arena_array(&g->arena, 2 * g->room + 64, sizeof *more);
        if (!more) return sy_fail(err, SY_ENOMEM, "no memory to write %s", g->w.path);
        if (g->n) memcpy(more, g->bytes, g->n * sizeof *more);
        g->bytes = more;
        g->room = 2 * g->room + 64;
    }
    g->bytes[g->n++] = n / block * bytes;
    g->offset = padded(g->offset + n / block * bytes, SY_GGUF_ALIGNMENT);
    return SY_OK;
}

static sy_status pad(sy_gguf_writer *g, uint64_t n, sy_err *err)
{
    static const uint8_t zero[SY_GGUF_ALIGNMENT];
    return sy_writer_put(&g->w, zero, (size_t)(padded(n, SY_GGUF_ALIGNMENT) - n), err);
}

/* Goes to the next tensor that has data left, padding behind each that is whole. */
static sy_status next_tensor(sy_gguf_writer *g, sy_err *err)
{
    while (g->left == 0 && g->at < g->n) {
        SY_TRY(pad(g, g->size, err));
        g->size = padded(g->size, SY_GGUF_ALIGNMENT);
        g->left = g->bytes[g->at++];
    }
    return SY_OK;
}

sy_status sy_gguf_writer_begin(sy_gguf_writer *g, sy_err *err)
{
    uint32_t head[2] = { 0x46554747, 3 };            /* "GGUF" */
    uint64_t count[2] = { g->n, g->n_keys };
    if (g->keys.failed || g->infos.failed) return sy_fail(err, SY_ENOMEM, "no memory for the head of %s", g->w.path);
    SY_TRY(sy_writer_put(&g->w, head, 8, err));
    SY_TRY(sy_writer_put(&g->w, count, 16, err));
    SY_TRY(sy_writer_put(&g->w, g->keys.data, g->keys.n, err));
    SY_TRY(sy_writer_put(&g->w, g->infos.data, g->infos.n, err));
    SY_TRY(pad(g, 24 + g->keys.n + g->infos.n, err));
    g->begun = true;
    return next_tensor(g, err);
}

sy_status sy_gguf_writer_data(sy_gguf_writer *g, const void *data, size_t n, sy_err *err)
{
    if (!g->begun || n > g->left) return sy_fail(err, SY_EARG, "%s: %zu bytes more than tensor %llu has", g->w.path, n - (size_t)g->left, (unsigned long long)g->at);
    SY_TRY(sy_writer_put(&g->w, data, n, err));
    g->left -= n;
    g->size += n;
    return next_tensor(g, err);
}

sy_status sy_gguf_writer_close(sy_gguf_writer *g, sy_err *err)
{
    if (!g->begun || g->left || g->at < g->n) return sy_fail(err, SY_EARG, "%s: tensor %llu of %llu is not written whole", g->w.path, (unsigned long long)g->at, (unsigned long long)g->n);
    SY_TRY(pad(g, g->size, err));
    SY_TRY(sy_writer_close(&g->w, err));
    sy_gguf_writer_abandon(g);                       /* the file stands; what is left is memory */
    return SY_OK;
}

void sy_gguf_writer_abandon(sy_gguf_writer *g)
{
    sy_writer_abandon(&g->w);
    sy_buf_free(&g->keys);
    sy_buf_free(&g->infos);
    sy_arena_free(&g->arena);
}
