/* model/template_methods.c - methods of texts, dicts and lists, what a loop and a cycler can be asked, and the functions that every template has. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <utf8proc.h>

#include "core/clock.h"
#include "core/utf8.h"
#include "model/template_parts.h"

typedef sy_status method(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out);

static bool given(sy__val v) { return v.kind != SY__ABSENT && v.kind != SY__NONE; }

static sy_status need_text(sy__run *r, const char *what, sy__val v, const sy__text **out)
{
    if (v.kind != SY__TEXT) return sy__t_fail(r, SY_EFORMAT, "%s needs a text, not %s", what, sy__t_type(v));
    *out = v.text;
    return SY_OK;
}

static sy_status need_int(sy__run *r, const char *what, sy__val v, int64_t otherwise, int64_t *out)
{
    *out = otherwise;
    if (!given(v)) return SY_OK;
    if (v.kind != SY__INT && v.kind != SY__BOOL) return sy__t_fail(r, SY_EFORMAT, "%s needs a whole number, not %s", what, sy__t_type(v));
    *out = v.kind == SY__INT ? v.i : v.b;
    return SY_OK;
}

static sy_status part(sy__run *r, const sy__text *t, size_t from, size_t n, sy__val *out)
{
    return sy__t_text(r, t->s + from, t->m ? t->m + from : NULL, n, out);
}

/* --- case -------------------------------------------------------------------------------------------------------------------------------------- */

static bool is_letter(uint32_t cp)
{
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_LU: case UTF8PROC_CATEGORY_LL: case UTF8PROC_CATEGORY_LT: case UTF8PROC_CATEGORY_LM: case UTF8PROC_CATEGORY_LO: return true;
    default: return false;
    }
}

static bool has_upper(uint32_t cp) { return utf8proc_category((utf8proc_int32_t)cp) == UTF8PROC_CATEGORY_LU; }
static bool has_lower(uint32_t cp) { return utf8proc_category((utf8proc_int32_t)cp) == UTF8PROC_CATEGORY_LL; }
static bool has_case(uint32_t cp) { return has_upper(cp) || has_lower(cp) || utf8proc_category((utf8proc_int32_t)cp) == UTF8PROC_CATEGORY_LT; }

sy_status sy__t_case(sy__run *r, const sy__text *t, sy__case how, sy__val *out)
{
    sy__out o = { 0 };
    bool inside = false;                             /* of a word, for the title */
    for (size_t at = 0; at < t->n && r->status == SY_OK; ) {
        uint32_t cp;
        char buf[8], m[8];
        int k = sy_utf8_next(t->s + at, t->n - at, &cp);
        if (k < 0) k = -k;
        bool up = how == SY__UPPER || (how == SY__CAPITALIZE && !at) || (how == SY__TITLE && !inside) || (how == SY__SWAP && has_lower(cp));
        bool keep = how == SY__SWAP && !has_upper(cp) && !has_lower(cp);
        inside = has_case(cp);
        int n;
        if (up && cp == 0xDF) n = snprintf(buf, sizeof buf, how == SY__UPPER || how == SY__SWAP ? "SS" : "Ss");
        else {
            utf8proc_int32_t to = keep ? (utf8proc_int32_t)cp : up ? how == SY__UPPER || how == SY__SWAP ? utf8proc_toupper((utf8proc_int32_t)cp) : utf8proc_totitle((utf8proc_int32_t)cp)
                                                           : utf8proc_tolower((utf8proc_int32_t)cp);
            n = sy_utf8_put((uint32_t)to, buf);
        }
        memset(m, t->m ? t->m[at] : 0, sizeof m);
        sy__t_put(r, &o, buf, t->m ? m : NULL, (size_t)n);
        at += (size_t)k;
    }
    return sy__t_done(r, &o, out);
}

#define CASE(fn, how) \
    static sy_status fn(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out) { (void)a, (void)c; return sy__t_case(r, of.text, how, out); }
CASE(m_lower, SY__LOWER)
CASE(m_upper, SY__UPPER)
CASE(m_capitalize, SY__CAPITALIZE)
CASE(m_title, SY__TITLE)
CASE(m_swapcase, SY__SWAP)
#undef CASE

/* All letters meet `yes`, and there is at least one. */
static sy_status all_letters(sy__run *r, const sy__text *t, bool (*yes)(uint32_t), sy__val *out)
{
    bool all = t->n > 0;
    for (size_t at = 0; at < t->n && all; ) {
        uint32_t cp;
        int k = sy_utf8_next(t->s + at, t->n - at, &cp);
        all = yes(cp);
        at += (size_t)(k < 0 ? -k : k);
    }
    *out = sy__t_bool(all);
    return sy__t_step(r, t->n / 16);
}

static bool is_digit(uint32_t cp) { return utf8proc_category((utf8proc_int32_t)cp) == UTF8PROC_CATEGORY_ND; }
static bool is_numeric(uint32_t cp)
{
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)cp);
    return k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
}
static bool is_alnum(uint32_t cp) { return is_letter(cp) || is_numeric(cp); }

#define ALL(fn, yes) \
    static sy_status fn(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out) { (void)a, (void)c; return all_letters(r, of.text, yes, out); }
ALL(m_isalpha, is_letter)
ALL(m_isdigit, is_digit)
ALL(m_isnumeric, is_numeric)
ALL(m_isalnum, is_alnum)
ALL(m_isspace, sy__t_is_space)
#undef ALL

static sy_status m_isascii(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    (void)r, (void)a, (void)c;
    bool ascii = true;
    for (size_t i = 0; i < of.text->n && ascii; i++) ascii = (unsigned char)of.text->s[i] < 128;
    *out = sy__t_bool(ascii);
    return SY_OK;
}

static sy_status one_case(sy__run *r, const sy__text *t, bool (*other)(uint32_t), bool (*wanted)(uint32_t), sy__val *out)
{
    bool any = false, all = true;
    for (size_t at = 0; at < t->n && all; ) {
        uint32_t cp;
        int k = sy_utf8_next(t->s + at, t->n - at, &cp);
        any |= wanted(cp);
        all = !other(cp) && utf8proc_category((utf8proc_int32_t)cp) != UTF8PROC_CATEGORY_LT;
        at += (size_t)(k < 0 ? -k : k);
    }
    *out = sy__t_bool(any && all);
    return sy__t_step(r, t->n / 16);
}

static sy_status m_islower(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out) { (void)a, (void)c; return one_case(r, of.text, has_upper, has_lower, out); }
static sy_status m_isupper(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out) { (void)a, (void)c; return one_case(r, of.text, has_lower, has_upper, out); }

/* --- ends of a text --------------------------------------------------------------------------------------------------------------------------- */

/* Letters of `chars` at the start (or the end) of a text, in bytes. */
static size_t strip_length(const char *s, size_t n, const sy__text *chars, bool end)
{
    size_t done = 0;
    while (done < n) {
        size_t k, at = done;
        if (end) {
            at = n - done - 1;
            while (at && ((unsigned char)s[at] & 0xC0) == 0x80) at--;
            k = n - done - at;
        } else k = sy__t_offset(s + at, n - at, 1);
        const char *p = chars->n >= k ? memmem(chars->s, chars->n, s + at, k) : NULL;
        if (!p) break;
        done += k;
    }
    return done;
}

static sy_status strip(sy__run *r, const sy__text *t, sy__val chars, bool left, bool right, sy__val *out)
{
    const sy__text *set = NULL;
    if (given(chars)) SY_TRY(need_text(r, "strip", chars, &set));
    size_t from = !left ? 0 : set ? strip_length(t->s, t->n, set, false) : sy__t_lead(t->s, t->n), n = t->n - from;
    if (right) n -= set ? strip_length(t->s + from, n, set, true) : sy__t_trail(t->s + from, n);
    SY_TRY(sy__t_step(r, 1 + (t->n - n) * (set ? 1 + set->n / 16 : 1)));
    return part(r, t, from, n, out);
}

static sy_status m_strip(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out) { (void)c; return strip(r, of.text, a[0], true, true, out); }
static sy_status m_lstrip(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out) { (void)c; return strip(r, of.text, a[0], true, false, out); }
static sy_status m_rstrip(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out) { (void)c; return strip(r, of.text, a[0], false, true, out); }

static bool begins(const sy__text *t, const sy__text *with) { return t->n >= with->n && !memcmp(t->s, with->s, with->n); }
static bool ends(const sy__text *t, const sy__text *with) { return t->n >= with->n && !memcmp(t->s + t->n - with->n, with->s, with->n); }

/* The part of a text between two counts of letters, as s[start:end]; *inside: the start lies in the text. */
static sy_status window(sy__run *r, const sy__text *t, sy__val start, sy__val stop, sy__text *out, size_t *from, bool *inside)
{
    int64_t n = (int64_t)sy__t_letters(t->s, t->n), i, j;
    SY_TRY(need_int(r, "a place in a text", start, 0, &i));
    SY_TRY(need_int(r, "a place in a text", stop, n, &j));
    if (i < 0) i = i + n < 0 ? 0 : i + n;
    if (j < 0) j = j + n < 0 ? 0 : j + n;
    if (j > n) j = n;
    *inside = i <= j;
    if (i > j) i = j;
    *from = sy__t_offset(t->s, t->n, (size_t)i);
    *out = (sy__text){ t->s + *from, t->m ? t->m + *from : NULL, sy__t_offset(t->s + *from, t->n - *from, (size_t)(j - i)) };
    return sy__t_step(r, t->n / 16);
}

static sy_status with_any(sy__run *r, sy__val of, const sy__val *a, bool (*meets)(const sy__text *, const sy__text *), sy__val *out)
{
    sy__text w;
    size_t from;
    bool inside, yes = false;
    const sy__text *with = NULL;
    SY_TRY(window(r, of.text, a[1], a[2], &w, &from, &inside));
    bool several = a[0].kind == SY__SEQ && a[0].seq->form == SY__TUPLE;
    for (size_t i = 0; i < (several ? a[0].seq->n : 1) && !yes; i++) {
        SY_TRY(need_text(r, "startswith or endswith", several ? a[0].seq->v[i] : a[0], &with));
        yes = inside && meets(&w, with);
    }
    *out = sy__t_bool(yes);
    return SY_OK;
}

static sy_status m_startswith(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out) { (void)c; return with_any(r, of, a, begins, out); }
static sy_status m_endswith(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out) { (void)c; return with_any(r, of, a, ends, out); }

static sy_status m_removeprefix(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    const sy__text *x = NULL;
    (void)c;
    SY_TRY(need_text(r, "removeprefix", a[0], &x));
    size_t k = begins(of.text, x) ? x->n : 0;
    return part(r, of.text, k, of.text->n - k, out);
}

static sy_status m_removesuffix(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    const sy__text *x = NULL;
    (void)c;
    SY_TRY(need_text(r, "removesuffix", a[0], &x));
    return part(r, of.text, 0, of.text->n - (ends(of.text, x) ? x->n : 0), out);
}

/* --- looking for a text ------------------------------------------------------------------------------------------------------------------------ */

static const char *last_of(const char *s, size_t n, const sy__text *x)
{
    for (size_t at = n >= x->n ? n - x->n + 1 : 0; at--; ) if (!memcmp(s + at, x->s, x->n)) return s + at;
    return NULL;
}

static const char *first_of(const char *s, size_t n, const sy__text *x) { return x->n ? memmem(s, n, x->s, x->n) : s; }

static sy_status find(sy__run *r, sy__val of, const sy__val *a, bool last, bool must, sy__val *out)
{
    const sy__text *x = NULL;
    sy__text w;
    size_t from;
    bool inside;
    SY_TRY(need_text(r, "find", a[0], &x));
    SY_TRY(window(r, of.text, a[1], a[2], &w, &from, &inside));
    const char *p = !inside ? NULL : last ? last_of(w.s, w.n, x) : first_of(w.s, w.n, x);
    if (!p && must) return sy__t_fail(r, SY_EFORMAT, "substring not found");
    *out = sy__t_int(p ? (int64_t)sy__t_letters(of.text->s, (size_t)(p - of.text->s)) : -1);
    return sy__t_step(r, w.n / 16 * (last ? 1 + x->n : 1));
}

static sy_status m_find(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out) { (void)c; return find(r, of, a, false, false, out); }
static sy_status m_rfind(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out) { (void)c; return find(r, of, a, true, false, out); }
static sy_status m_index(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out) { (void)c; return find(r, of, a, false, true, out); }
static sy_status m_rindex(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out) { (void)c; return find(r, of, a, true, true, out); }

static sy_status m_count(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    const sy__text *x = NULL;
    sy__text w;
    size_t from;
    bool inside;
    int64_t n = 0;
    (void)c;
    SY_TRY(need_text(r, "count", a[0], &x));
    SY_TRY(window(r, of.text, a[1], a[2], &w, &from, &inside));
    if (!inside) n = 0;
    else if (!x->n) n = (int64_t)sy__t_letters(w.s, w.n) + 1;
    else for (const char *p = w.s, *end = w.s + w.n; (p = memmem(p, (size_t)(end - p), x->s, x->n)) != NULL; p += x->n) n++;
    *out = sy__t_int(n);
    return SY_OK;
}

sy_status sy__t_replace(sy__run *r, const sy__text *t, const sy__text *old, const sy__text *new, int64_t most, sy__val *out)
{
    sy__out o = { 0 };
    size_t at = 0, done = 0;
    for (int64_t i = 0; most < 0 || i < most; i++) {
        size_t hit;
        if (old->n) {
            const char *p = memmem(t->s + at, t->n - at, old->s, old->n);
            if (!p) break;
            hit = (size_t)(p - t->s);
        } else if (i && at == t->n) break;           /* an empty text stands before each letter and at the end */
        else hit = at += i ? sy__t_offset(t->s + at, t->n - at, 1) : 0;
        sy__t_put(r, &o, t->s + done, t->m ? t->m + done : NULL, hit - done);
        sy__t_put(r, &o, new->s, new->m, new->n);
        SY_TRY(sy__t_step(r, 1));
        done = at = hit + old->n;
    }
    sy__t_put(r, &o, t->s + done, t->m ? t->m + done : NULL, t->n - done);
    return sy__t_done(r, &o, out);
}

static sy_status m_replace(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    const sy__text *old = NULL, *new = NULL;
    int64_t most;
    (void)c;
    SY_TRY(need_text(r, "replace", a[0], &old));
    SY_TRY(need_text(r, "replace", a[1], &new));
    SY_TRY(need_int(r, "replace", a[2], -1, &most));
    return sy__t_replace(r, of.text, old, new, most, out);
}

/* --- cutting ------------------------------------------------------------------------------------------------------------------------------------ */

static sy_status push_part(sy__run *r, const sy__text *t, size_t from, size_t n, sy__seq *list)
{
    sy__val v;
    SY_TRY(part(r, t, from, n, &v));
    return sy__t_push(r, list, v);
}

static void turn_around(sy__seq *s)
{
    for (size_t i = 0; i < s->n / 2; i++) {
        sy__val v = s->v[i];
        s->v[i] = s->v[s->n - 1 - i];
        s->v[s->n - 1 - i] = v;
    }
}

/* At runs of white space; from the right when `last`: what is left over stands in front, untouched at its own start. */
static sy_status split_space(sy__run *r, const sy__text *t, int64_t most, bool last, sy__seq *list)
{
    size_t from = 0, end = t->n;
    for (int64_t cuts = 0; ; cuts++) {
        if (last) end -= sy__t_trail(t->s, end);
        else from += sy__t_lead(t->s + from, t->n - from);
        if (from >= end) return SY_OK;
        if (cuts == most) return push_part(r, t, from, end - from, list);
        if (last) {
            size_t at = end;
            while (at && !sy__t_trail(t->s, at))
                for (at--; at && ((unsigned char)t->s[at] & 0xC0) == 0x80; at--) continue;
            SY_TRY(push_part(r, t, at, end - at, list));
            SY_TRY(sy__t_step(r, (end - at) / 8));
            end = at;
        } else {
            size_t at = from;
            while (at < t->n && !sy__t_lead(t->s + at, t->n - at)) at += sy__t_offset(t->s + at, t->n - at, 1);
            SY_TRY(push_part(r, t, from, at - from, list));
            SY_TRY(sy__t_step(r, (at - from) / 8));
            from = at;
        }
    }
}

static sy_status split_at(sy__run *r, const sy__text *t, const sy__text *by, int64_t most, bool last, sy__seq *list)
{
    size_t from = 0, end = t->n;
    for (int64_t cuts = 0; cuts != most; cuts++) {
        const char *p = last ? last_of(t->s, end, by) : memmem(t->s + from, t->n - from, by->s, by->n);
        if (!p) break;
        size_t at = (size_t)(p - t->s);
        if (last) {
            SY_TRY(push_part(r, t, at + by->n, end - at - by->n, list));
            end = at;
        } else {
            SY_TRY(push_part(r, t, from, at - from, list));
            from = at + by->n;
        }
    }
    return push_part(r, t, from, end - from, list);
}

static sy_status split(sy__run *r, sy__val of, const sy__val *a, bool last, sy__val *out)
{
    const sy__text *by = NULL;
    int64_t most;
    SY_TRY(need_int(r, "split", a[1], -1, &most));
    SY_TRY(sy__t_seq(r, SY__LIST, 0, out));
    if (!given(a[0])) SY_TRY(split_space(r, of.text, most, last, out->seq));
    else {
        SY_TRY(need_text(r, "split", a[0], &by));
        if (!by->n) return sy__t_fail(r, SY_EFORMAT, "split: the separator is empty");
        SY_TRY(split_at(r, of.text, by, most, last, out->seq));
    }
    if (last) turn_around(out->seq);
    return sy__t_step(r, of.text->n / 16);
}

static sy_status m_split(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out) { (void)c; return split(r, of, a, false, out); }
static sy_status m_rsplit(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out) { (void)c; return split(r, of, a, true, out); }

static sy_status partition(sy__run *r, sy__val of, const sy__val *a, bool last, sy__val *out)
{
    const sy__text *x = NULL, *t = of.text;
    SY_TRY(need_text(r, "partition", a[0], &x));
    if (!x->n) return sy__t_fail(r, SY_EFORMAT, "partition: the separator is empty");
    const char *p = last ? last_of(t->s, t->n, x) : first_of(t->s, t->n, x);
    size_t at = p ? (size_t)(p - t->s) : last ? 0 : t->n, n = p ? x->n : 0;
    SY_TRY(sy__t_seq(r, SY__TUPLE, 3, out));
    SY_TRY(push_part(r, t, 0, at, out->seq));
    SY_TRY(push_part(r, t, at, n, out->seq));
    return push_part(r, t, at + n, t->n - at - n, out->seq);
}

static sy_status m_partition(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out) { (void)c; return partition(r, of, a, false, out); }
static sy_status m_rpartition(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out) { (void)c; return partition(r, of, a, true, out); }

/* Bytes of the line break at s, 0: none. */
static size_t line_break(const char *s, size_t n)
{
    uint32_t cp;
    int k = n ? sy_utf8_next(s, n, &cp) : 0;
    if (k <= 0) return 0;
    if (cp == '\r') return n > 1 && s[1] == '\n' ? 2 : 1;
    return (cp >= 10 && cp <= 12) || (cp >= 28 && cp <= 30) || cp == 0x85 || cp == 0x2028 || cp == 0x2029 ? (size_t)k : 0;
}

sy_status sy__t_lines(sy__run *r, const sy__text *t, bool keep, sy__val *out)
{
    size_t from = 0, k;
    SY_TRY(sy__t_seq(r, SY__LIST, 0, out));
    for (size_t at = 0; at < t->n; ) {
        if (!(k = line_break(t->s + at, t->n - at))) {
            at++;
            continue;
        }
        SY_TRY(push_part(r, t, from, at - from + (keep ? k : 0), out->seq));
        from = at += k;
    }
    if (from < t->n) SY_TRY(push_part(r, t, from, t->n - from, out->seq));
    return sy__t_step(r, t->n / 8);
}

static sy_status m_splitlines(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out) { (void)c; return sy__t_lines(r, of.text, sy__t_true(a[0]), out); }

static sy_status m_join(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    sy__seq *s = NULL;
    sy__out o = { 0 };
    (void)c;
    SY_TRY(sy__t_items(r, a[0], &s));
    for (size_t i = 0; i < s->n; i++) {
        if (s->v[i].kind != SY__TEXT) return sy__t_fail(r, SY_EFORMAT, "join: item %zu is a %s, not a text", i, sy__t_type(s->v[i]));
        if (i) sy__t_put(r, &o, of.text->s, of.text->m, of.text->n);
        sy__t_put(r, &o, s->v[i].text->s, s->v[i].text->m, s->v[i].text->n);
    }
    return sy__t_done(r, &o, out);
}

/* --- width --------------------------------------------------------------------------------------------------------------------------------------- */

static sy_status pad(sy__run *r, const sy__text *t, const sy__val *a, int side, sy__val *out)
{
    int64_t width, letters = (int64_t)sy__t_letters(t->s, t->n);
    const sy__text *fill = &(sy__text){ " ", NULL, 1 };
    sy__out o = { 0 };
    SY_TRY(need_int(r, "a width", a[0], 0, &width));
    if (given(a[1])) SY_TRY(need_text(r, "a width", a[1], &fill));
    if (sy__t_letters(fill->s, fill->n) != 1) return sy__t_fail(r, SY_EFORMAT, "what fills a text must be one letter");
    int64_t space = width > letters ? width - letters : 0, left = side < 0 ? 0 : side > 0 ? space : space / 2 + (space & width & 1);
    for (int64_t i = 0; i < left && r->status == SY_OK; i++) sy__t_put(r, &o, fill->s, fill->m, fill->n);
    sy__t_put(r, &o, t->s, t->m, t->n);
    for (int64_t i = left; i < space && r->status == SY_OK; i++) sy__t_put(r, &o, fill->s, fill->m, fill->n);
    return sy__t_done(r, &o, out);
}

static sy_status m_ljust(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out) { (void)c; return pad(r, of.text, a, -1, out); }
static sy_status m_rjust(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out) { (void)c; return pad(r, of.text, a, 1, out); }
static sy_status m_center(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out) { (void)c; return pad(r, of.text, a, 0, out); }

static sy_status m_zfill(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    const sy__text *t = of.text;
    int64_t width, letters = (int64_t)sy__t_letters(t->s, t->n);
    bool sign = t->n && (*t->s == '-' || *t->s == '+');
    sy__out o = { 0 };
    (void)c;
    SY_TRY(need_int(r, "zfill", a[0], 0, &width));
    sy__t_put(r, &o, t->s, t->m, sign);
    for (int64_t i = letters; i < width && r->status == SY_OK; i++) sy__t_puts(r, &o, "0");
    sy__t_put(r, &o, t->s + sign, t->m ? t->m + sign : NULL, t->n - sign);
    return sy__t_done(r, &o, out);
}

/* "{} {0} {name}".format(...): plain fields. */
static sy_status m_format(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    const sy__text *t = of.text;
    sy__out o = { 0 };
    int next = 0;
    (void)a;
    for (size_t at = 0; at < t->n; at++) {
        char b = t->s[at];
        if (b != '{' && b != '}') {
            sy__t_put(r, &o, t->s + at, t->m ? t->m + at : NULL, 1);
            continue;
        }
        if (at + 1 < t->n && t->s[at + 1] == b) {
            sy__t_put(r, &o, t->s + at++, NULL, 1);
            continue;
        }
        const char *end = b == '{' ? memchr(t->s + at, '}', t->n - at) : NULL;
        if (!end) return sy__t_fail(r, SY_EFORMAT, "format: a single '%c'", b);
        const char *name = t->s + at + 1;
        size_t n = (size_t)(end - name);
        sy__val v = { .kind = SY__ABSENT };
        if (memchr(name, ':', n) || memchr(name, '!', n) || memchr(name, '.', n) || memchr(name, '[', n)) return sy__t_fail(r, SY_EUNSUP, "format: '{%.*s}' has more than a name", (int)(n < 40 ? n : 40), name);
        bool digits = n > 0 && n < 5;
        int i = 0;
        for (size_t k = 0; k < n && digits; k++) digits = name[k] >= '0' && name[k] <= '9', i = 10 * i + name[k] - '0';
        if (!n) i = next++;
        if ((!n || digits) && i < c->n) v = c->pos[i];
        for (int k = 0; k < c->keys; k++) if (strlen(c->key[k]) == n && !memcmp(c->key[k], name, n)) v = c->val[k];
        if (v.kind == SY__ABSENT) return sy__t_fail(r, SY_EFORMAT, "format: nothing is given for '{%.*s}'", (int)(n < 40 ? n : 40), name);
        SY_TRY(sy__t_print(r, &o, v));
        at += n + 1;
    }
    return sy__t_done(r, &o, out);
}

/* --- dicts, lists, loops ------------------------------------------------------------------------------------------------------------------------ */

static sy_status d_get(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    bool found;
    (void)c;
    SY_TRY(sy__t_dict_get(r, of.dict, a[0], out, &found));
    if (!found) *out = a[1].kind == SY__ABSENT ? sy__t_none() : a[1];
    return SY_OK;
}

static sy_status view(sy__run *r, const sy__dict *d, const char *label, sy__val *out)
{
    SY_TRY(sy__t_seq(r, SY__VIEW, d->n, out));
    out->seq->label = label;
    for (size_t i = 0; i < d->n; i++) {
        sy__val v = label[5] == 'k' ? d->key[i] : d->v[i];
        if (label[5] == 'i') {
            SY_TRY(sy__t_seq(r, SY__TUPLE, 2, &v));
            SY_TRY(sy__t_push(r, v.seq, d->key[i]));
            SY_TRY(sy__t_push(r, v.seq, d->v[i]));
        }
        SY_TRY(sy__t_push(r, out->seq, v));
    }
    return SY_OK;
}

static sy_status d_items(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out) { (void)a, (void)c; return view(r, of.dict, "dict_items", out); }
static sy_status d_keys(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out) { (void)a, (void)c; return view(r, of.dict, "dict_keys", out); }
static sy_status d_values(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out) { (void)a, (void)c; return view(r, of.dict, "dict_values", out); }

static sy_status d_copy(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    (void)a, (void)c;
    SY_TRY(sy__t_dict(r, SY__DICT, out));
    for (size_t i = 0; i < of.dict->n; i++) SY_TRY(sy__t_dict_set(r, out->dict, of.dict->key[i], of.dict->v[i]));
    return SY_OK;
}

static sy_status l_copy(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    (void)a, (void)c;
    SY_TRY(sy__t_seq(r, of.seq->form, of.seq->n, out));
    for (size_t i = 0; i < of.seq->n; i++) SY_TRY(sy__t_push(r, out->seq, of.seq->v[i]));
    return SY_OK;
}

static sy_status l_count(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    int64_t n = 0;
    bool same;
    (void)c;
    for (size_t i = 0; i < of.seq->n; i++) {
        SY_TRY(sy__t_same(r, of.seq->v[i], a[0], &same));
        n += same;
    }
    *out = sy__t_int(n);
    return SY_OK;
}

static sy_status l_index(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    bool same = false;
    size_t i = 0;
    (void)c;
    for (; i < of.seq->n; i++) {
        SY_TRY(sy__t_same(r, of.seq->v[i], a[0], &same));
        if (same) break;
    }
    if (!same) return sy__t_fail(r, SY_EFORMAT, "index: the value is not in the list");
    *out = sy__t_int((int64_t)i);
    return SY_OK;
}

static sy_status loop_cycle(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    (void)a;
    if (!c->n) return sy__t_fail(r, SY_EFORMAT, "no items for cycling given");
    *out = c->pos[of.loop->at % (size_t)c->n];
    return SY_OK;
}

static sy_status loop_changed(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    sy__val now;
    bool same = false;
    (void)a;
    SY_TRY(sy__t_seq(r, SY__TUPLE, (size_t)c->n, &now));
    for (int i = 0; i < c->n; i++) SY_TRY(sy__t_push(r, now.seq, c->pos[i]));
    if (of.loop->seen) SY_TRY(sy__t_same(r, of.loop->last, now, &same));
    of.loop->seen = true;
    of.loop->last = now;
    *out = sy__t_bool(!same);
    return SY_OK;
}

static sy_status wheel_next(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    (void)r, (void)a, (void)c;
    *out = of.wheel->items->v[of.wheel->at];
    of.wheel->at = (of.wheel->at + 1) % of.wheel->items->n;
    return SY_OK;
}

static sy_status wheel_reset(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    (void)r, (void)a, (void)c;
    of.wheel->at = 0;
    *out = sy__t_none();
    return SY_OK;
}

/* --- the table ------------------------------------------------------------------------------------------------------------------------------------ */

enum { LIST_LIKE = 100 };               /* beside the kinds of values: lists and tuples */

static const struct { int of; const char *name; method *fn; const char *params; int must; } methods[] = {   /* params NULL: the method reads the call itself */
    { SY__TEXT, "capitalize", m_capitalize, "", 0 }, { SY__TEXT, "center", m_center, "width,fillchar", 1 }, { SY__TEXT, "count", m_count, "sub,start,end", 1 },
    { SY__TEXT, "endswith", m_endswith, "suffix,start,end", 1 }, { SY__TEXT, "find", m_find, "sub,start,end", 1 }, { SY__TEXT, "format", m_format, NULL, 0 },
    { SY__TEXT, "index", m_index, "sub,start,end", 1 }, { SY__TEXT, "isalnum", m_isalnum, "", 0 }, { SY__TEXT, "isalpha", m_isalpha, "", 0 },
    { SY__TEXT, "isascii", m_isascii, "", 0 }, { SY__TEXT, "isdecimal", m_isdigit, "", 0 }, { SY__TEXT, "isdigit", m_isdigit, "", 0 },
    { SY__TEXT, "islower", m_islower, "", 0 }, { SY__TEXT, "isnumeric", m_isnumeric, "", 0 }, { SY__TEXT, "isspace", m_isspace, "", 0 },
    { SY__TEXT, "isupper", m_isupper, "", 0 }, { SY__TEXT, "join", m_join, "iterable", 1 }, { SY__TEXT, "ljust", m_ljust, "width,fillchar", 1 },
    { SY__TEXT, "lower", m_lower, "", 0 }, { SY__TEXT, "lstrip", m_lstrip, "chars", 0 }, { SY__TEXT, "partition", m_partition, "sep", 1 },
    { SY__TEXT, "removeprefix", m_removeprefix, "prefix", 1 }, { SY__TEXT, "removesuffix", m_removesuffix, "suffix", 1 },
    { SY__TEXT, "replace", m_replace, "old,new,count", 2 }, { SY__TEXT, "rfind", m_rfind, "sub,start,end", 1 }, { SY__TEXT, "rindex", m_rindex, "sub,start,end", 1 },
    { SY__TEXT, "rjust", m_rjust, "width,fillchar", 1 }, { SY__TEXT, "rpartition", m_rpartition, "sep", 1 }, { SY__TEXT, "rsplit", m_rsplit, "sep,maxsplit", 0 },
    { SY__TEXT, "rstrip", m_rstrip, "chars", 0 }, { SY__TEXT, "split", m_split, "sep,maxsplit", 0 }, { SY__TEXT, "splitlines", m_splitlines, "keepends", 0 },
    { SY__TEXT, "startswith", m_startswith, "prefix,start,end", 1 }, { SY__TEXT, "strip", m_strip, "chars", 0 }, { SY__TEXT, "swapcase", m_swapcase, "", 0 },
    { SY__TEXT, "title", m_title, "", 0 }, { SY__TEXT, "upper", m_upper, "", 0 }, { SY__TEXT, "zfill", m_zfill, "width", 1 },
    { SY__DICT, "get", d_get, "key,default", 1 }, { SY__DICT, "items", d_items, "", 0 }, { SY__DICT, "keys", d_keys, "", 0 }, { SY__DICT, "values", d_values, "", 0 },
    { SY__DICT, "copy", d_copy, "", 0 }, { LIST_LIKE, "copy", l_copy, "", 0 }, { LIST_LIKE, "count", l_count, "value", 1 }, { LIST_LIKE, "index", l_index, "value", 1 },
    { SY__LOOP, "cycle", loop_cycle, NULL, 0 }, { SY__LOOP, "changed", loop_changed, NULL, 0 }, { SY__WHEEL, "next", wheel_next, "", 0 }, { SY__WHEEL, "reset", wheel_reset, "", 0 },
};

static int find_method(sy__val of, const char *name)
{
    bool list = of.kind == SY__SEQ && (of.seq->form == SY__LIST || of.seq->form == SY__TUPLE || of.seq->form == SY__RANGE);
    for (size_t i = 0; i < SY_COUNT(methods); i++)
        if ((methods[i].of == (int)of.kind || (list && methods[i].of == LIST_LIKE)) && !strcmp(methods[i].name, name) && !(of.kind == SY__WHEEL && of.wheel->joins)) return (int)i;
    return -1;
}

bool sy__t_is_method(sy__val of, const char *name) { return find_method(of, name) >= 0; }

sy_status sy__t_method(sy__run *r, const sy__method *m, const sy__call *c, sy__val *out)
{
    sy__val a[3] = { { .kind = SY__ABSENT }, { .kind = SY__ABSENT }, { .kind = SY__ABSENT } };
    int i = find_method(m->of, m->name);
    if (i < 0) return sy__t_fail(r, SY_EFORMAT, "'%s' object has no method '%.60s'", sy__t_type(m->of), m->name);
    if (methods[i].params) SY_TRY(sy__t_bind(r, methods[i].name, c, methods[i].params, methods[i].must, a));
    return methods[i].fn(r, m->of, a, c, out);
}

/* --- functions ------------------------------------------------------------------------------------------------------------------------------------ */

static sy_status g_range(sy__run *r, const sy__call *c, sy__val *out)
{
    sy__val a[3];
    int64_t from, to, step;
    SY_TRY(sy__t_bind(r, "range", c, "start,stop,step", 1, a));
    for (int i = 0; i < 3; i++) if (a[i].kind != SY__ABSENT && a[i].kind != SY__INT && a[i].kind != SY__BOOL) return sy__t_fail(r, SY_EFORMAT, "range needs whole numbers, not %s", sy__t_type(a[i]));
    SY_TRY(need_int(r, "range", a[0], 0, &from));
    SY_TRY(need_int(r, "range", a[1], 0, &to));
    SY_TRY(need_int(r, "range", a[2], 1, &step));
    if (a[1].kind == SY__ABSENT) to = from, from = 0;
    if (!step) return sy__t_fail(r, SY_EFORMAT, "range: the step is 0");
    __int128 span = step > 0 ? (__int128)to - from : (__int128)from - to, by = step > 0 ? step : -(__int128)step, n = span > 0 ? (span - 1) / by + 1 : 0;
    if (n > SY__RANGE_MOST) return sy__t_fail(r, SY_ESHAPE, "range of more than %d numbers", SY__RANGE_MOST);
    SY_TRY(sy__t_seq(r, SY__RANGE, (size_t)n, out));
    for (int64_t i = 0; i < (int64_t)n; i++) SY_TRY(sy__t_push(r, out->seq, sy__t_int(from + i * step)));
    return SY_OK;
}

/* dict() and namespace(): from a dict or pairs, then names. */
static sy_status make_dict(sy__run *r, const sy__call *c, sy__vkind kind, sy__val *out)
{
    sy__seq *pairs = NULL, *pair = NULL;
    sy__val key;
    SY_TRY(sy__t_dict(r, kind, out));
    if (c->n > 1) return sy__t_fail(r, SY_EFORMAT, "dict takes at most 1 argument, %d are given", c->n);
    if (c->n && c->pos[0].kind == SY__DICT)
        for (size_t i = 0; i < c->pos[0].dict->n; i++) SY_TRY(sy__t_dict_set(r, out->dict, c->pos[0].dict->key[i], c->pos[0].dict->v[i]));
    else if (c->n) {
        SY_TRY(sy__t_items(r, c->pos[0], &pairs));
        for (size_t i = 0; i < pairs->n; i++) {
            SY_TRY(sy__t_items(r, pairs->v[i], &pair));
            if (pair->n != 2) return sy__t_fail(r, SY_EFORMAT, "dict: element %zu has %zu values, not 2", i, pair->n);
            SY_TRY(sy__t_dict_set(r, out->dict, pair->v[0], pair->v[1]));
        }
    }
    for (int i = 0; i < c->keys; i++) {
        SY_TRY(sy__t_copy(r, c->key[i], &key));
        SY_TRY(sy__t_dict_set(r, out->dict, key, c->val[i]));
    }
    for (size_t i = 0; kind == SY__SPACE && i < out->dict->n; i++)
        if (out->dict->key[i].kind == SY__TEXT && out->dict->key[i].text->n && out->dict->key[i].text->s[0] == '_')
            return sy__t_fail(r, SY_EFORMAT, "a name in a namespace does not begin with _");
    return SY_OK;
}

static sy_status g_dict(sy__run *r, const sy__call *c, sy__val *out) { return make_dict(r, c, SY__DICT, out); }
static sy_status g_namespace(sy__run *r, const sy__call *c, sy__val *out) { return make_dict(r, c, SY__SPACE, out); }

static sy_status g_raise(sy__run *r, const sy__call *c, sy__val *out)
{
    sy__val what;
    const sy__text *t = NULL;
    (void)out;
    SY_TRY(sy__t_bind(r, "raise_exception", c, "message", 1, &what));
    SY_TRY(sy__t_str(r, what, &t));
    return sy__t_fail(r, SY_EFORMAT, "the template refuses the conversation: %.*s", (int)(t->n < 600 ? t->n : 600), t->s);
}

static sy_status g_strftime(sy__run *r, const sy__call *c, sy__val *out)
{
    sy__val format;
    const sy__text *f = NULL;
    char fmt[256], text[1024];
    struct tm tm;
    time_t now = r->now ? (time_t)r->now : time(NULL);
    SY_TRY(sy__t_bind(r, "strftime_now", c, "format", 1, &format));
    SY_TRY(need_text(r, "strftime_now", format, &f));
    if (f->n > 250 || memchr(f->s, 0, f->n)) return sy__t_fail(r, SY_EFORMAT, "strftime_now: a format of %zu bytes", f->n);
    snprintf(fmt, sizeof fmt, "%.*s.", (int)f->n, f->s);            /* never empty: 0 bytes then mean no room */
    if (!localtime_r(&now, &tm)) return sy__t_fail(r, SY_EFORMAT, "the clock has no date");
    size_t n = strftime(text, sizeof text, fmt, &tm);
    uint32_t cp;
    for (size_t i = 0; i + 1 < n; ) {                               /* the locale may write another encoding */
        int k = sy_utf8_next(text + i, n - 1 - i, &cp);
        if (k < 0) text[i] = '?';
        i += k < 0 ? 1 : (size_t)k;
    }
    if (!n) return sy__t_fail(r, SY_EFORMAT, "strftime_now: the date is longer than %zu bytes", sizeof text);
    text[n - 1] = 0;
    return sy__t_copy(r, text, out);
}

static sy_status make_wheel(sy__run *r, sy__val items, bool joins, sy__val *out)
{
    sy__wheel *w = sy__t_alloc(r, sizeof *w);
    if (!w) return r->status;
    *w = (sy__wheel){ .items = items.seq, .joins = joins };
    *out = (sy__val){ .kind = SY__WHEEL, .wheel = w };
    return SY_OK;
}

static sy_status g_cycler(sy__run *r, const sy__call *c, sy__val *out)
{
    sy__val items;
    if (!c->n || c->keys) return sy__t_fail(r, SY_EFORMAT, "cycler needs at least one item");
    SY_TRY(sy__t_seq(r, SY__TUPLE, (size_t)c->n, &items));
    for (int i = 0; i < c->n; i++) SY_TRY(sy__t_push(r, items.seq, c->pos[i]));
    return make_wheel(r, items, false, out);
}

static sy_status g_joiner(sy__run *r, const sy__call *c, sy__val *out)
{
    sy__val sep, items;
    SY_TRY(sy__t_bind(r, "joiner", c, "sep", 0, &sep));
    if (sep.kind == SY__ABSENT) SY_TRY(sy__t_copy(r, ", ", &sep));
    SY_TRY(sy__t_seq(r, SY__TUPLE, 1, &items));
    SY_TRY(sy__t_push(r, items.seq, sep));
    return make_wheel(r, items, true, out);
}

static const struct { const char *name; sy_status (*fn)(sy__run *r, const sy__call *c, sy__val *out); } globals[] = {
    { "range", g_range }, { "dict", g_dict }, { "namespace", g_namespace }, { "raise_exception", g_raise }, { "strftime_now", g_strftime },
    { "cycler", g_cycler }, { "joiner", g_joiner },
};

static int find_global(const char *name)
{
    for (size_t i = 0; i < SY_COUNT(globals); i++) if (!strcmp(globals[i].name, name)) return (int)i;
    return -1;
}

bool sy__t_is_global(const char *name) { return find_global(name) >= 0; }

sy_status sy__t_global(sy__run *r, const char *name, const sy__call *c, sy__val *out) { return globals[find_global(name)].fn(r, c, out); }
