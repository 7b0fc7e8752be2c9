/* model/template_value.c - the values of a template, with Python's notions of truth, equality and order. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/utf8.h"
#include "model/template_parts.h"

/* --- memory, steps, failures --------------------------------------------------------------------------------------------------- */

sy_status sy__t_fail(sy__run *r, sy_status status, const char *fmt, ...)
{
    char text[900];
    va_list ap;
    if (r->status != SY_OK) return r->status;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return r->status = sy__template_fail(r->t, r->line, status, r->err, "%s", text);
}

void *sy__t_alloc(sy__run *r, size_t bytes)
{
    enum { BLOCK = 1 << 14 };
    size_t need = (bytes + 15) & ~(size_t)15;
    if (r->status != SY_OK) return NULL;
    if (need < bytes || need > r->left) {
        bool small = need < BLOCK / 4;
        size_t take = small ? BLOCK : need;
        if (take < bytes || r->arena.used + take > r->most_memory || r->arena.used + take < take) {
            sy__t_fail(r, SY_ESHAPE, "the values take more than %zu MiB of memory", r->most_memory >> 20);
            return NULL;
        }
        char *p = sy_arena_zalloc(&r->arena, take);
        if (!p) {
            sy__t_fail(r, SY_ENOMEM, "no memory for the values");
            return NULL;
        }
        if (!small) return p;
        r->bump = p;
        r->left = take;
    }
    void *p = r->bump;
    r->bump += need;
    r->left -= need;
    return p;
}

sy_status sy__t_step(sy__run *r, size_t n)
{
    r->steps += n;
    return r->steps > r->most_steps ? sy__t_fail(r, SY_ESHAPE, "the template takes more than %llu steps", (unsigned long long)r->most_steps) : r->status;
}

sy_status sy__t_enter(sy__run *r)
{
    if (++r->depth > SY__DEPTH) return sy__t_fail(r, SY_ESHAPE, "calls and values are nested more than %d deep", SY__DEPTH);
    return sy__t_step(r, 1);
}

/* --- making values --------------------------------------------------------------------------------------------------------------- */

sy__val sy__t_int(int64_t i) { return (sy__val){ .kind = SY__INT, .i = i }; }
sy__val sy__t_bool(bool b) { return (sy__val){ .kind = SY__BOOL, .b = b }; }
sy__val sy__t_none(void) { return (sy__val){ .kind = SY__NONE }; }

sy_status sy__t_undefined(sy__run *r, sy__val *out, const char *fmt, ...)
{
    char text[200];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    size_t k = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    char *copy = sy__t_alloc(r, k + 1);
    if (!copy) return r->status;
    memcpy(copy, text, k);
    *out = (sy__val){ .kind = SY__UNDEFINED, .name = copy };
    return SY_OK;
}

sy_status sy__t_text(sy__run *r, const char *s, const char *m, size_t n, sy__val *out)
{
    sy__text *t = sy__t_alloc(r, sizeof *t);
    if (!t) return r->status;
    *t = (sy__text){ .s = s, .m = m, .n = n };
    *out = (sy__val){ .kind = SY__TEXT, .text = t };
    return SY_OK;
}

sy_status sy__t_copy(sy__run *r, const char *s, sy__val *out)
{
    size_t n = strlen(s);
    char *copy = sy__t_alloc(r, n + 1);
    if (!copy) return r->status;
    memcpy(copy, s, n);
    return sy__t_text(r, copy, NULL, n, out);
}

sy_status sy__t_seq(sy__run *r, sy__form form, size_t room, sy__val *out)
{
    sy__seq *s = sy__t_alloc(r, sizeof *s);
    if (!s) return r->status;
    s->form = form;
    s->room = room;
    if (room && !(s->v = sy__t_alloc(r, room * sizeof *s->v))) return r->status;
    *out = (sy__val){ .kind = SY__SEQ, .seq = s };
    return SY_OK;
}

sy_status sy__t_push(sy__run *r, sy__seq *s, sy__val v)
{
    if (s->n == s->room) {
        size_t room = s->room ? 2 * s->room : 4;
        sy__val *more = sy__t_alloc(r, room * sizeof *more);
        if (!more) return r->status;
        if (s->n) memcpy(more, s->v, s->n * sizeof *more);
        s->v = more;
        s->room = room;
    }
    s->v[s->n++] = v;
    return sy__t_step(r, 1);
}

sy_status sy__t_dict(sy__run *r, sy__vkind kind, sy__val *out)
{
    sy__dict *d = sy__t_alloc(r, sizeof *d);
    if (!d) return r->status;
    *out = (sy__val){ .kind = kind, .dict = d };
    return SY_OK;
}

/* --- dicts: few keys, in the order in which they came ----------------------------------------------------------------------------- */

static bool can_be_key(sy__val v)
{
    if (v.kind == SY__SEQ && v.seq->form == SY__TUPLE) {
        for (size_t i = 0; i < v.seq->n; i++) if (!can_be_key(v.seq->v[i])) return false;
        return true;
    }
    return v.kind != SY__SEQ && v.kind != SY__DICT;
}

static sy_status find_key(sy__run *r, const sy__dict *d, sy__val key, size_t *at)
{
    bool same = false;
    if (!can_be_key(key)) return sy__t_fail(r, SY_EFORMAT, "a %s cannot be a key", sy__t_type(key));
    for (*at = 0; *at < d->n; ++*at) {
        SY_TRY(sy__t_same(r, d->key[*at], key, &same));
        if (same) break;
    }
    return SY_OK;
}

sy_status sy__t_dict_set(sy__run *r, sy__dict *d, sy__val key, sy__val v)
{
    size_t at;
    SY_TRY(find_key(r, d, key, &at));
    if (at == d->room) {
        size_t room = d->room ? 2 * d->room : 4;
        sy__val *k = sy__t_alloc(r, room * sizeof *k), *w = sy__t_alloc(r, room * sizeof *w);
        if (!k || !w) return r->status;
        if (d->n) {
            memcpy(k, d->key, d->n * sizeof *k);
            memcpy(w, d->v, d->n * sizeof *w);
        }
        d->key = k;
        d->v = w;
        d->room = room;
    }
    if (at == d->n) d->key[d->n++] = key;
    d->v[at] = v;
    return SY_OK;
}

sy_status sy__t_dict_get(sy__run *r, const sy__dict *d, sy__val key, sy__val *out, bool *found)
{
    size_t at;
    SY_TRY(find_key(r, d, key, &at));
    *found = at < d->n;
    if (*found) *out = d->v[at];
    return SY_OK;
}

sy_status sy__t_dict_find(sy__run *r, const sy__dict *d, const char *name, sy__val *out, bool *found)
{
    sy__text t = { .s = name, .n = strlen(name) };
    return sy__t_dict_get(r, d, (sy__val){ .kind = SY__TEXT, .text = &t }, out, found);
}

/* --- what the caller gives ------------------------------------------------------------------------------------------------------- */

/* A role stands inside special tokens in some templates ("<|" ~ role ~ "|>"); a plain word can do no harm there. */
static bool is_role(const char *key, const json_t *v)
{
    if (strcmp(key, "role") || !json_is_string(v)) return false;
    const char *s = json_string_value(v);
    size_t n = json_string_length(v);
    return n > 0 && strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == n;
}

static sy_status json_text(sy__run *r, const char *s, size_t n, bool own, sy__val *out)
{
    char *copy = sy__t_alloc(r, n + 1), *m = own || !n ? NULL : sy__t_alloc(r, n);
    if (!copy || (!m && !own && n)) return r->status;
    memcpy(copy, s, n);
    if (m) memset(m, SY_FROM_INPUT, n);
    SY_TRY(sy__t_step(r, n / 16));
    return sy__t_text(r, copy, m, n, out);
}

static sy_status json_any(sy__run *r, const json_t *v, bool own, sy__val *out)
{
    sy__val item, name;
    const char *key;
    json_t *member;
    switch (json_typeof(v)) {
    case JSON_NULL: *out = sy__t_none(); return SY_OK;
    case JSON_TRUE: case JSON_FALSE: *out = sy__t_bool(json_is_true(v)); return SY_OK;
    case JSON_INTEGER: *out = sy__t_int(json_integer_value(v)); return SY_OK;
    case JSON_REAL: *out = (sy__val){ .kind = SY__REAL, .r = json_real_value(v) }; return SY_OK;
    case JSON_STRING: return json_text(r, json_string_value(v), json_string_length(v), own, out);
    case JSON_ARRAY:
        SY_TRY(sy__t_seq(r, SY__LIST, json_array_size(v), out));
        for (size_t i = 0; i < json_array_size(v); i++) {
            SY_TRY(sy__t_json(r, json_array_get(v, i), own, &item));
            SY_TRY(sy__t_push(r, out->seq, item));
        }
        return SY_OK;
    case JSON_OBJECT: break;
    }
    SY_TRY(sy__t_dict(r, SY__DICT, out));
    size_t n = json_object_size(v);
    if (!(out->dict->key = sy__t_alloc(r, n * sizeof *out->dict->key)) || !(out->dict->v = sy__t_alloc(r, n * sizeof *out->dict->v))) return r->status;
    out->dict->room = n;
    json_object_foreach((json_t *)v, key, member) {              /* a parser that refuses a key twice has read it */
        SY_TRY(json_text(r, key, strlen(key), own, &name));
        SY_TRY(sy__t_json(r, member, own || is_role(key, member), &item));
        out->dict->key[out->dict->n] = name;
        out->dict->v[out->dict->n++] = item;
    }
    return SY_OK;
}

sy_status sy__t_json(sy__run *r, const json_t *v, bool own, sy__val *out)
{
    SY_TRY(sy__t_enter(r));
    SY_TRY(json_any(r, v, own, out));
    r->depth--;
    return SY_OK;
}

/* --- looking at values ------------------------------------------------------------------------------------------------------------- */

const char *sy__t_type(sy__val v)
{
    static const char *const forms[] = { "list", "tuple", "generator", "view", "range" };
    switch (v.kind) {
    case SY__ABSENT: case SY__UNDEFINED: return "Undefined";
    case SY__NONE: return "NoneType";
    case SY__BOOL: return "bool";
    case SY__INT: return "int";
    case SY__REAL: return "float";
    case SY__TEXT: return "str";
    case SY__SEQ: return forms[v.seq->form];
    case SY__DICT: return "dict";
    case SY__SPACE: return "Namespace";
    case SY__MACRO: return "Macro";
    case SY__LOOP: return "LoopContext";
    case SY__GLOBAL: return "function";
    case SY__METHOD: return "method";
    case SY__WHEEL: break;
    }
    return "Cycler";
}

bool sy__t_true(sy__val v)
{
    switch (v.kind) {
    case SY__ABSENT: case SY__UNDEFINED: case SY__NONE: return false;
    case SY__BOOL: return v.b;
    case SY__INT: return v.i != 0;
    case SY__REAL: return v.r != 0;
    case SY__TEXT: return v.text->n != 0;
    case SY__SEQ: return v.seq->form == SY__STREAM || v.seq->n != 0;
    case SY__DICT: return v.dict->n != 0;
    default: return true;
    }
}

static bool number(sy__val v) { return v.kind == SY__BOOL || v.kind == SY__INT || v.kind == SY__REAL; }
static double real_of(sy__val v) { return v.kind == SY__REAL ? v.r : v.kind == SY__INT ? (double)v.i : v.b; }
static int64_t int_of(sy__val v) { return v.kind == SY__BOOL ? v.b : v.i; }

/* A whole number and a float, exactly: the float is cut only where it has no fraction and fits. */
static int compare_numbers(sy__val a, sy__val b)
{
    if (a.kind != SY__REAL && b.kind != SY__REAL) {
        int64_t x = int_of(a), y = int_of(b);
        return x < y ? -1 : x > y;
    }
    double x = real_of(a), y = real_of(b);
    if (x != x || y != y) return 2;
    if (x == y && a.kind != b.kind && x > -0x1p63 && x < 0x1p63) {
        int64_t i = a.kind == SY__REAL ? (int64_t)x : int_of(a), j = b.kind == SY__REAL ? (int64_t)y : int_of(b);
        return i < j ? -1 : i > j;
    }
    return x < y ? -1 : x > y;
}

static int compare_text(const sy__text *a, const sy__text *b)        /* code points and UTF-8 have the same order */
{
    int c = memcmp(a->s, b->s, a->n < b->n ? a->n : b->n);
    return c ? (c < 0 ? -1 : 1) : a->n < b->n ? -1 : a->n > b->n;
}

static bool comparable_forms(const sy__seq *a, const sy__seq *b) { return a->form == b->form && (a->form == SY__LIST || a->form == SY__TUPLE || a->form == SY__RANGE); }

static sy_status same_seq(sy__run *r, const sy__seq *a, const sy__seq *b, bool *out)
{
    *out = a == b;
    if (*out || !comparable_forms(a, b) || a->n != b->n) return SY_OK;
    *out = true;
    for (size_t i = 0; i < a->n && *out; i++) SY_TRY(sy__t_same(r, a->v[i], b->v[i], out));
    return SY_OK;
}

static sy_status same_dict(sy__run *r, const sy__dict *a, const sy__dict *b, bool *out)
{
    *out = a == b;
    if (*out || a->n != b->n) return SY_OK;
    *out = true;
    for (size_t i = 0; i < a->n && *out; i++) {
        sy__val other = { .kind = SY__ABSENT };
        SY_TRY(sy__t_dict_get(r, b, a->key[i], &other, out));
        if (*out) SY_TRY(sy__t_same(r, a->v[i], other, out));
    }
    return SY_OK;
}

static sy_status same(sy__run *r, sy__val a, sy__val b, bool *out)
{
    *out = false;
    if (number(a) && number(b)) *out = compare_numbers(a, b) == 0;
    if (a.kind != b.kind || number(a)) return SY_OK;
    switch (a.kind) {
    case SY__ABSENT: case SY__UNDEFINED: case SY__NONE: *out = true; break;
    case SY__TEXT:
        *out = a.text->n == b.text->n && !memcmp(a.text->s, b.text->s, a.text->n);
        return sy__t_step(r, *out ? a.text->n / 16 : 0);
    case SY__SEQ: return same_seq(r, a.seq, b.seq, out);
    case SY__DICT: return same_dict(r, a.dict, b.dict, out);
    case SY__METHOD: *out = a.method == b.method; break;
    case SY__GLOBAL: *out = !strcmp(a.name, b.name); break;
    case SY__MACRO: *out = a.macro == b.macro; break;
    case SY__LOOP: *out = a.loop == b.loop; break;
    case SY__SPACE: *out = a.dict == b.dict; break;
    default: *out = a.wheel == b.wheel; break;
    }
    return SY_OK;
}

sy_status sy__t_same(sy__run *r, sy__val a, sy__val b, bool *out)
{
    SY_TRY(sy__t_enter(r));
    SY_TRY(same(r, a, b, out));
    r->depth--;
    return SY_OK;
}

static sy_status order_seq(sy__run *r, const sy__seq *a, const sy__seq *b, const char *sign, int *out)
{
    for (size_t i = 0; i < a->n && i < b->n; i++) {
        bool equal;
        SY_TRY(sy__t_same(r, a->v[i], b->v[i], &equal));
        if (!equal) return sy__t_order(r, a->v[i], b->v[i], sign, out);
    }
    *out = a->n < b->n ? -1 : a->n > b->n;
    return SY_OK;
}

sy_status sy__t_order(sy__run *r, sy__val a, sy__val b, const char *sign, int *out)
{
    SY_TRY(sy__t_enter(r));
    if (number(a) && number(b)) *out = compare_numbers(a, b);
    else if (a.kind == SY__TEXT && b.kind == SY__TEXT) *out = compare_text(a.text, b.text);
    else if (a.kind == SY__SEQ && b.kind == SY__SEQ && comparable_forms(a.seq, b.seq) && a.seq->form != SY__RANGE) SY_TRY(order_seq(r, a.seq, b.seq, sign, out));
    else if (a.kind == SY__UNDEFINED || b.kind == SY__UNDEFINED) return sy__t_fail(r, SY_EFORMAT, "%s", a.kind == SY__UNDEFINED ? a.name : b.name);
    else return sy__t_fail(r, SY_EFORMAT, "'%s' is not supported between %s and %s", sign, sy__t_type(a), sy__t_type(b));
    r->depth--;
    return SY_OK;
}

sy_status sy__t_contains(sy__run *r, sy__val in, sy__val v, bool *out)
{
    sy__val x;
    *out = false;
    switch (in.kind) {
    case SY__UNDEFINED: return SY_OK;
    case SY__TEXT:
        if (v.kind != SY__TEXT) return sy__t_fail(r, SY_EFORMAT, "'in <string>' requires a text on its left, not %s", sy__t_type(v));
        *out = !v.text->n || memmem(in.text->s, in.text->n, v.text->s, v.text->n) != NULL;
        return sy__t_step(r, in.text->n / 16);
    case SY__DICT: return sy__t_dict_get(r, in.dict, v, &x, out);
    case SY__SEQ:
        if (in.seq->form == SY__STREAM && in.seq->spent) return SY_OK;
        for (size_t i = 0; i < in.seq->n && !*out; i++) SY_TRY(sy__t_same(r, in.seq->v[i], v, out));
        if (in.seq->form == SY__STREAM) in.seq->spent = true;
        return SY_OK;
    default: return sy__t_fail(r, SY_EFORMAT, "a %s contains nothing", sy__t_type(in));
    }
}

sy_status sy__t_items(sy__run *r, sy__val v, sy__seq **out)
{
    sy__val list = { 0 }, one;
    size_t step;
    switch (v.kind) {
    case SY__SEQ:
        if (v.seq->form != SY__STREAM) { *out = v.seq; return SY_OK; }
        SY_TRY(sy__t_seq(r, SY__LIST, 0, &list));
        if (!v.seq->spent) list.seq->n = list.seq->room = v.seq->n, list.seq->v = v.seq->v;
        v.seq->spent = true;
        break;
    case SY__UNDEFINED: SY_TRY(sy__t_seq(r, SY__LIST, 0, &list)); break;
    case SY__DICT:
        SY_TRY(sy__t_seq(r, SY__LIST, 0, &list));
        list.seq->n = list.seq->room = v.dict->n;    /* a dict is never changed once a template sees it */
        list.seq->v = v.dict->key;
        break;
    case SY__TEXT:
        SY_TRY(sy__t_seq(r, SY__LIST, 0, &list));
        for (size_t at = 0; at < v.text->n; at += step) {
            step = sy__t_offset(v.text->s + at, v.text->n - at, 1);
            SY_TRY(sy__t_text(r, v.text->s + at, v.text->m ? v.text->m + at : NULL, step, &one));
            SY_TRY(sy__t_push(r, list.seq, one));
        }
        break;
    default: return sy__t_fail(r, SY_EFORMAT, "'%s' object is not iterable", sy__t_type(v));
    }
    *out = list.seq;
    return SY_OK;
}

/* --- letters: every text here is UTF-8 --------------------------------------------------------------------------------------------- */

size_t sy__t_letters(const char *s, size_t n)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++) k += ((unsigned char)s[i] & 0xC0) != 0x80;
    return k;
}

size_t sy__t_offset(const char *s, size_t n, size_t letters)
{
    size_t at = 0;
    for (; letters && at < n; letters--)
        for (at++; at < n && ((unsigned char)s[at] & 0xC0) == 0x80; at++) continue;
    return at;
}

bool sy__t_is_space(uint32_t cp)
{
    return (cp >= 9 && cp <= 13) || (cp >= 28 && cp <= 32) || cp == 0x85 || cp == 0xA0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 ||
           cp == 0x2029 || cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

size_t sy__t_lead(const char *s, size_t n)
{
    size_t at = 0;
    uint32_t cp;
    for (int k; at < n && (k = sy_utf8_next(s + at, n - at, &cp)) > 0 && sy__t_is_space(cp); at += (size_t)k) continue;
    return at;
}

size_t sy__t_trail(const char *s, size_t n)
{
    size_t end = n;
    uint32_t cp;
    while (end) {
        size_t at = end - 1;
        while (at && ((unsigned char)s[at] & 0xC0) == 0x80) at--;
        if (sy_utf8_next(s + at, end - at, &cp) < 0 || !sy__t_is_space(cp)) break;
        end = at;
    }
    return n - end;
}
