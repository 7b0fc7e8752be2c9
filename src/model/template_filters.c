/* model/template_filters.c - filters ("x | name") and tests ("x is name"). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/number.h"
#include "model/template_parts.h"

typedef sy_status filter(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out);

static bool given(sy__val v) { return v.kind != SY__ABSENT && v.kind != SY__NONE; }
static bool whole(sy__val v) { return v.kind == SY__INT || v.kind == SY__BOOL; }
static int64_t int_of(sy__val v) { return v.kind == SY__BOOL ? v.b : v.i; }
static sy__val text_val(const sy__text *t) { return (sy__val){ .kind = SY__TEXT, .text = t }; }

static sy_status need_whole(sy__run *r, const char *what, sy__val v, int64_t otherwise, int64_t *out)
{
    *out = otherwise;
    if (!given(v)) return SY_OK;
    if (!whole(v)) return sy__t_fail(r, SY_EFORMAT, "%s must be a whole number, not %s", what, sy__t_type(v));
    *out = int_of(v);
    return SY_OK;
}

/* --- text --------------------------------------------------------------------------------------------------------------------------------- */

static sy_status f_lower(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    const sy__text *t = NULL;
    (void)a, (void)c;
    SY_TRY(sy__t_str(r, of, &t));
    return sy__t_case(r, t, SY__LOWER, out);
}

static sy_status f_upper(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    const sy__text *t = NULL;
    (void)a, (void)c;
    SY_TRY(sy__t_str(r, of, &t));
    return sy__t_case(r, t, SY__UPPER, out);
}

static sy_status f_capitalize(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    const sy__text *t = NULL;
    (void)a, (void)c;
    SY_TRY(sy__t_str(r, of, &t));
    return sy__t_case(r, t, SY__CAPITALIZE, out);
}

/* Words begin behind - ( { [ < and white space; unlike str.title(), which knows letters only. */
static sy_status f_title(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    const sy__text *t = NULL;
    sy__out o = { 0 };
    (void)a, (void)c;
    SY_TRY(sy__t_str(r, of, &t));
    for (size_t at = 0, end; at < t->n && r->status == SY_OK; at = end) {
        size_t space = sy__t_lead(t->s + at, t->n - at);
        bool cut = space || strchr("-({[<", t->s[at]);
        end = at + (space ? space : sy__t_offset(t->s + at, t->n - at, 1));
        while (!cut && end < t->n && t->s[end] && !strchr("-({[<", t->s[end]) && !sy__t_lead(t->s + end, t->n - end)) end += sy__t_offset(t->s + end, t->n - end, 1);
        sy__text word = { t->s + at, t->m ? t->m + at : NULL, end - at };
        sy__val v;
        size_t first = cut ? word.n : sy__t_offset(word.s, word.n, 1);
        sy__text head = { word.s, word.m, first }, tail = { word.s + first, word.m ? word.m + first : NULL, word.n - first };
        v = text_val(&head);
        if (!cut) SY_TRY(sy__t_case(r, &head, SY__UPPER, &v));
        sy__t_put(r, &o, v.text->s, v.text->m, v.text->n);
        SY_TRY(sy__t_case(r, &tail, SY__LOWER, &v));
        sy__t_put(r, &o, v.text->s, v.text->m, v.text->n);
    }
    return sy__t_done(r, &o, out);
}

static sy_status f_trim(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    const sy__text *t = NULL;
    (void)c;
    SY_TRY(sy__t_str(r, of, &t));
    sy__method m = { text_val(t), "strip" };
    return sy__t_method(r, &m, &(sy__call){ .pos = (sy__val *)a, .n = given(a[0]) }, out);
}

static sy_status f_replace(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    const sy__text *t = NULL, *old = NULL, *new = NULL;
    int64_t most;
    (void)c;
    SY_TRY(sy__t_str(r, of, &t));
    SY_TRY(sy__t_str(r, a[0], &old));
    SY_TRY(sy__t_str(r, a[1], &new));
    SY_TRY(need_whole(r, "count", a[2], -1, &most));
    return sy__t_replace(r, t, old, new, most, out);
}

static sy_status f_string(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    const sy__text *t = NULL;
    (void)a, (void)c;
    SY_TRY(sy__t_str(r, of, &t));
    *out = text_val(t);
    return SY_OK;
}

static sy_status f_safe(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out) { return f_string(r, of, a, c, out); }

static sy_status f_escape(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    static const char special[] = "&<>'\"", *const instead[] = { "&amp;", "&lt;", "&gt;", "&#39;", "&#34;" };
    const sy__text *t = NULL;
    sy__out o = { 0 };
    (void)a, (void)c;
    SY_TRY(sy__t_str(r, of, &t));
    for (size_t at = 0, end; at < t->n && r->status == SY_OK; at = end) {
        const char *p = t->s[at] ? strchr(special, t->s[at]) : NULL;
        for (end = at + 1; !p && end < t->n && !(t->s[end] && strchr(special, t->s[end])); end++) continue;
        if (p) sy__t_puts(r, &o, instead[p - special]);
        else sy__t_put(r, &o, t->s + at, t->m ? t->m + at : NULL, end - at);
    }
    return sy__t_done(r, &o, out);
}

static sy_status f_indent(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    const sy__text *t = NULL, *by = NULL;
    sy__out o = { 0 };
    sy__val lines, width = a[0].kind == SY__ABSENT ? sy__t_int(4) : a[0];
    (void)c;
    if (of.kind != SY__TEXT) return sy__t_fail(r, SY_EFORMAT, "indent needs a text, not %s%s%s", sy__t_type(of), of.kind == SY__UNDEFINED ? ": " : "", of.kind == SY__UNDEFINED ? of.name : "");
    t = of.text;
    if (whole(width)) {
        sy__val space = { .kind = SY__TEXT, .text = &(sy__text){ " ", NULL, 1 } };
        SY_TRY(sy__t_math(r, '*', space, width, &width));
    }
    if (width.kind != SY__TEXT) return sy__t_fail(r, SY_EFORMAT, "the width of indent is a %s", sy__t_type(width));
    by = width.text;
    SY_TRY(sy__t_lines(r, t, false, &lines));
    bool ends = t->n && t->s[t->n - 1] == '\n', first = sy__t_true(a[1]), blank = sy__t_true(a[2]);
    for (size_t i = 0; i < lines.seq->n + (ends || !lines.seq->n); i++) {        /* the text counts as if a line break stood behind it */
        sy__text none = { "", NULL, 0 };
        const sy__text *line = i < lines.seq->n ? lines.seq->v[i].text : &none;
        if (i) sy__t_puts(r, &o, "\n");
        if (i ? line->n || blank : first) sy__t_put(r, &o, by->s, by->m, by->n);
        sy__t_put(r, &o, line->s, line->m, line->n);
    }
    return sy__t_done(r, &o, out);
}

static sy_status f_center(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    const sy__text *t = NULL;
    sy__val width = a[0].kind == SY__ABSENT ? sy__t_int(80) : a[0];
    (void)c;
    SY_TRY(sy__t_str(r, of, &t));
    sy__method m = { text_val(t), "center" };
    return sy__t_method(r, &m, &(sy__call){ .pos = &width, .n = 1 }, out);
}

static filter f_length;

static sy_status f_truncate(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    const sy__text *t = NULL, *end = NULL;
    static const sy__text dots = { "...", NULL, 3 };
    int64_t length, leeway;
    sy__out o = { 0 };
    SY_TRY(need_whole(r, "length", a[0], 255, &length));
    SY_TRY(need_whole(r, "leeway", a[3], 5, &leeway));
    end = &dots;
    if (given(a[2])) SY_TRY(sy__t_str(r, a[2], &end));
    if (of.kind != SY__TEXT) {                       /* a short list is short enough, too */
        SY_TRY(f_length(r, of, a, c, out));
        if (out->i > length + leeway) return sy__t_fail(r, SY_EFORMAT, "truncate needs a text, not %s", sy__t_type(of));
        *out = of;
        return SY_OK;
    }
    t = of.text;
    int64_t letters = (int64_t)sy__t_letters(t->s, t->n), tail = (int64_t)sy__t_letters(end->s, end->n);
    if (length < tail || leeway < 0) return sy__t_fail(r, SY_EFORMAT, "truncate to %lld letters, of which the end takes %lld", (long long)length, (long long)tail);
    *out = text_val(t);
    if (letters <= length + leeway) return SY_OK;
    size_t keep = sy__t_offset(t->s, t->n, (size_t)(length - tail));
    if (!sy__t_true(a[1])) {
        const char *space = memrchr(t->s, ' ', keep);
        if (space) keep = (size_t)(space - t->s);
    }
    sy__t_put(r, &o, t->s, t->m, keep);
    sy__t_put(r, &o, end->s, end->m, end->n);
    return sy__t_done(r, &o, out);
}

static sy_status f_wordcount(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    const sy__text *t = NULL;
    int64_t n = 0;
    bool in = false;
    (void)a, (void)c;
    SY_TRY(sy__t_str(r, of, &t));
    for (size_t i = 0; i < t->n; i++) {              /* runs of \w: letters beyond ASCII count as such */
        unsigned char b = (unsigned char)t->s[i];
        bool word = b >= 128 || b == '_' || (b >= '0' && b <= '9') || ((b | 32) >= 'a' && (b | 32) <= 'z');
        n += word && !in;
        in = word;
    }
    *out = sy__t_int(n);
    return sy__t_step(r, t->n / 16);
}

static sy_status f_urlencode(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    const sy__text *t = NULL;
    sy__out o = { 0 };
    (void)a, (void)c;
    if (of.kind == SY__SEQ || of.kind == SY__DICT) return sy__t_fail(r, SY_EUNSUP, "urlencode of a %s", sy__t_type(of));
    SY_TRY(sy__t_str(r, of, &t));
    for (size_t i = 0; i < t->n; i++) {
        char b = t->s[i], hex[4];
        bool plain = (b >= '0' && b <= '9') || ((b | 32) >= 'a' && (b | 32) <= 'z') || (b && strchr("_.-~/", b));
        if (plain) sy__t_put(r, &o, t->s + i, t->m ? t->m + i : NULL, 1);
        else snprintf(hex, sizeof hex, "%%%02X", (unsigned char)b), sy__t_puts(r, &o, hex);
    }
    return sy__t_done(r, &o, out);
}

static sy_status f_format(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    const sy__text *t = NULL;
    sy__val args;
    (void)a;
    if (c->keys) return sy__t_fail(r, SY_EUNSUP, "format with named arguments");
    SY_TRY(sy__t_str(r, of, &t));
    SY_TRY(sy__t_seq(r, SY__TUPLE, (size_t)c->n, &args));
    for (int i = 0; i < c->n; i++) SY_TRY(sy__t_push(r, args.seq, c->pos[i]));
    return sy__t_percent(r, t, args, out);
}

/* A separator of json.dumps: the texts of a pair. */
static sy_status separator(sy__run *r, sy__val pair, size_t i, const sy__text **out)
{
    if (!given(pair)) return SY_OK;
    if (pair.kind != SY__SEQ || pair.seq->n != 2 || pair.seq->v[i].kind != SY__TEXT) return sy__t_fail(r, SY_EFORMAT, "tojson: separators are two texts");
    *out = pair.seq->v[i].text;
    return SY_OK;
}

static sy_status f_tojson(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    static const sy__text comma = { ", ", NULL, 2 }, short_comma = { ",", NULL, 1 }, colon = { ": ", NULL, 2 };
    sy__dump how = { .ascii = sy__t_true(a[0]), .sorted = sy__t_true(a[3]), .item = given(a[1]) ? &short_comma : &comma, .key = &colon };
    sy__val indent = a[1];
    sy__out o = { 0 };
    (void)c;
    if (given(indent) && whole(indent)) {
        sy__val space = { .kind = SY__TEXT, .text = &(sy__text){ " ", NULL, 1 } };
        SY_TRY(sy__t_math(r, '*', space, indent, &indent));
    }
    if (given(indent) && indent.kind != SY__TEXT) return sy__t_fail(r, SY_EFORMAT, "tojson: the indent is a %s", sy__t_type(indent));
    if (given(indent)) how.indent = indent.text;
    SY_TRY(separator(r, a[2], 0, &how.item));
    SY_TRY(separator(r, a[2], 1, &how.key));
    SY_TRY(sy__t_dump(r, &o, of, &how, 0));
    return sy__t_done(r, &o, out);
}

/* --- numbers -------------------------------------------------------------------------------------------------------------------------------- */

static sy_status f_abs(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    (void)a, (void)c;
    if (of.kind == SY__REAL) *out = (sy__val){ .kind = SY__REAL, .r = fabs(of.r) };
    else if (whole(of) && int_of(of) != INT64_MIN) *out = sy__t_int(llabs(int_of(of)));
    else return sy__t_fail(r, SY_EFORMAT, "abs needs a number, not %s", sy__t_type(of));
    return SY_OK;
}

/* int() and float() of Python on a text: spaces around, one _ between digits. False: no number. */
static bool clean_number(const sy__text *t, char buf[400], size_t *n)
{
    size_t lead = sy__t_lead(t->s, t->n), end = t->n - (lead < t->n ? sy__t_trail(t->s + lead, t->n - lead) : 0);
    *n = 0;
    for (size_t i = lead; i < end; i++) {
        bool between = t->s[i] == '_' && i > lead && i + 1 < end && t->s[i - 1] >= '0' && t->s[i - 1] <= '9' && t->s[i + 1] >= '0' && t->s[i + 1] <= '9';
        if (between) continue;
        if (t->s[i] <= ' ' || *n == 398) return false;
        buf[(*n)++] = t->s[i];
    }
    buf[*n] = 0;
    return *n > 0;
}

static bool read_int(const sy__text *t, int base, int64_t *out)
{
    char buf[400];
    size_t n;
    if (!clean_number(t, buf, &n)) return false;
    const char *p = buf + (*buf == '-' || *buf == '+');
    int prefix = p[0] == '0' ? (p[1] | 32) == 'x' ? 16 : (p[1] | 32) == 'o' ? 8 : (p[1] | 32) == 'b' ? 2 : 0 : 0;
    if (prefix && base == prefix) p += 2;
    int64_t v = 0;
    if (!*p) return false;
    for (; *p; p++) {
        int d = *p >= '0' && *p <= '9' ? *p - '0' : (*p | 32) >= 'a' && (*p | 32) <= 'z' ? (*p | 32) - 'a' + 10 : 99;
        if (d >= base || __builtin_mul_overflow(v, base, &v) || __builtin_sub_overflow(v, d, &v)) return false;     /* below zero, where there is one more */
    }
    if (*buf != '-' && v == INT64_MIN) return false;
    *out = *buf == '-' ? v : -v;
    return true;
}

static bool read_real(const sy__text *t, double *out)
{
    char buf[400], *end;
    size_t n;
    if (!clean_number(t, buf, &n)) return false;
    const char *p = buf + (*buf == '-' || *buf == '+');
    if (p[0] == '0' && (p[1] | 32) == 'x') return false;
    bool word = (*p | 32) >= 'a' && (*p | 32) <= 'z';
    if (word && strcasecmp(p, "inf") && strcasecmp(p, "infinity") && strcasecmp(p, "nan")) return false;
    *out = sy_real_read(buf, &end);
    return end == buf + n;
}

static sy_status f_int(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    int64_t base, v;
    double x = of.r;
    (void)c;
    SY_TRY(need_whole(r, "base", a[1], 10, &base));
    if (base < 2 || base > 36) return sy__t_fail(r, SY_EFORMAT, "int: a base of %lld", (long long)base);
    *out = a[0].kind == SY__ABSENT ? sy__t_int(0) : a[0];
    if (whole(of)) *out = sy__t_int(int_of(of));
    else if (of.kind == SY__TEXT && read_int(of.text, (int)base, &v)) *out = sy__t_int(v);
    else if ((of.kind == SY__REAL || (of.kind == SY__TEXT && read_real(of.text, &x))) && isfinite(x)) {
        if (!(fabs(x) < 0x1p63)) return sy__t_fail(r, SY_EFORMAT, "a whole number has more than 64 bits");
        *out = sy__t_int((int64_t)x);
    } else if (of.kind == SY__UNDEFINED) return sy__t_fail(r, SY_EFORMAT, "%s", of.name);
    return SY_OK;
}

static sy_status f_float(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    double x;
    (void)c;
    *out = a[0].kind == SY__ABSENT ? (sy__val){ .kind = SY__REAL, .r = 0 } : a[0];
    if (of.kind == SY__REAL) *out = of;
    else if (whole(of)) *out = (sy__val){ .kind = SY__REAL, .r = (double)int_of(of) };
    else if (of.kind == SY__TEXT && read_real(of.text, &x)) *out = (sy__val){ .kind = SY__REAL, .r = x };
    else if (of.kind == SY__UNDEFINED) return sy__t_fail(r, SY_EFORMAT, "%s", of.name);
    return SY_OK;
}

/* round() of Python: to the nearest decimal text, ties to even. */
static double round_near(double x, int digits)
{
    char buf[400], *end;
    if (!isfinite(x)) return x;
    if (digits < 0) {
        double p = pow(10, -digits);
        return rint(x / p) * p;
    }
    snprintf(buf, sizeof buf, "%.*f", digits > 60 ? 60 : digits, x);
    for (char *c = buf; *c; c++) if (*c == ',') *c = '.';
    return sy_real_read(buf, &end);
}

static sy_status f_round(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    int64_t digits;
    const sy__text *how = &(sy__text){ "common", NULL, 6 };
    (void)c;
    SY_TRY(need_whole(r, "precision", a[0], 0, &digits));
    if (given(a[1])) SY_TRY(sy__t_str(r, a[1], &how));
    if (digits < -300 || digits > 300) return sy__t_fail(r, SY_EFORMAT, "round to %lld digits", (long long)digits);
    if (of.kind != SY__REAL && !whole(of)) return sy__t_fail(r, SY_EFORMAT, "round needs a number, not %s", sy__t_type(of));
    double x = of.kind == SY__REAL ? of.r : (double)int_of(of), p = pow(10, (double)digits);
    bool common = how->n == 6 && !memcmp(how->s, "common", 6), up = how->n == 4 && !memcmp(how->s, "ceil", 4), down = how->n == 5 && !memcmp(how->s, "floor", 5);
    if (!common && !up && !down) return sy__t_fail(r, SY_EFORMAT, "round: the method must be common, ceil or floor");
    if (common && whole(of) && digits >= 0) *out = sy__t_int(int_of(of));
    else if (common && whole(of)) *out = sy__t_int((int64_t)round_near(x, (int)digits));
    else if (common) *out = (sy__val){ .kind = SY__REAL, .r = round_near(x, (int)digits) };
    else *out = (sy__val){ .kind = SY__REAL, .r = (up ? ceil(x * p) : floor(x * p)) / p };
    return SY_OK;
}

/* --- lists ------------------------------------------------------------------------------------------------------------------------------------ */

static sy_status f_length(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    (void)a, (void)c;
    if (of.kind == SY__TEXT) {
        *out = sy__t_int((int64_t)sy__t_letters(of.text->s, of.text->n));
        return sy__t_step(r, of.text->n / 16);
    }
    if (of.kind == SY__SEQ && of.seq->form != SY__STREAM) *out = sy__t_int((int64_t)of.seq->n);
    else if (of.kind == SY__DICT) *out = sy__t_int((int64_t)of.dict->n);
    else if (of.kind == SY__UNDEFINED) *out = sy__t_int(0);
    else if (of.kind == SY__LOOP) *out = sy__t_int((int64_t)of.loop->items->n);
    else return sy__t_fail(r, SY_EFORMAT, "object of type '%s' has no length", sy__t_type(of));
    return SY_OK;
}

static sy_status f_default(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    (void)c;
    *out = of;
    if (of.kind != SY__UNDEFINED && !(sy__t_true(a[1]) && !sy__t_true(of))) return SY_OK;
    *out = a[0];
    return a[0].kind == SY__ABSENT ? sy__t_text(r, "", NULL, 0, out) : SY_OK;
}

static sy_status f_first(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    sy__seq *s = NULL;
    (void)a, (void)c;
    SY_TRY(sy__t_items(r, of, &s));
    if (!s->n) return sy__t_undefined(r, out, "no first item, the list is empty");
    *out = s->v[0];
    return SY_OK;
}

static sy_status f_last(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    sy__seq *s = NULL;
    (void)a, (void)c;
    if (of.kind == SY__SEQ && of.seq->form == SY__STREAM) return sy__t_fail(r, SY_EFORMAT, "a generator has no last item; make a list of it");
    SY_TRY(sy__t_items(r, of, &s));
    if (!s->n) return sy__t_undefined(r, out, "no last item, the list is empty");
    *out = s->v[s->n - 1];
    return SY_OK;
}

static sy_status f_list(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    sy__seq *s = NULL;
    (void)a, (void)c;
    SY_TRY(sy__t_items(r, of, &s));
    SY_TRY(sy__t_seq(r, SY__LIST, s->n, out));
    for (size_t i = 0; i < s->n; i++) SY_TRY(sy__t_push(r, out->seq, s->v[i]));
    return SY_OK;
}

static sy_status stream(sy__run *r, const char *label, sy__val *out)
{
    SY_TRY(sy__t_seq(r, SY__STREAM, 0, out));
    out->seq->label = label;
    return SY_OK;
}

static sy_status f_items(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    (void)a, (void)c;
    SY_TRY(stream(r, "do_items", out));
    if (of.kind == SY__UNDEFINED) return SY_OK;
    if (of.kind != SY__DICT) return sy__t_fail(r, SY_EFORMAT, "items: can only get item pairs from a mapping, not from a %s", sy__t_type(of));
    for (size_t i = 0; i < of.dict->n; i++) {
        sy__val pair;
        SY_TRY(sy__t_seq(r, SY__TUPLE, 2, &pair));
        SY_TRY(sy__t_push(r, pair.seq, of.dict->key[i]));
        SY_TRY(sy__t_push(r, pair.seq, of.dict->v[i]));
        SY_TRY(sy__t_push(r, out->seq, pair));
    }
    return SY_OK;
}

static sy_status f_reverse(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    sy__seq *s = NULL;
    (void)a, (void)c;
    if (of.kind == SY__TEXT) {
        sy__out o = { 0 };
        SY_TRY(sy__t_items(r, of, &s));
        for (size_t i = s->n; i--; ) sy__t_put(r, &o, s->v[i].text->s, s->v[i].text->m, s->v[i].text->n);
        return sy__t_done(r, &o, out);
    }
    SY_TRY(sy__t_items(r, of, &s));
    SY_TRY(stream(r, "reverse", out));
    for (size_t i = s->n; i--; ) SY_TRY(sy__t_push(r, out->seq, s->v[i]));
    return SY_OK;
}

/* x.a.b.0 as the text "a.b.0", or an index. */
static sy_status attribute(sy__run *r, sy__val of, sy__val path, sy__val *out)
{
    *out = of;
    if (path.kind != SY__TEXT) return path.kind == SY__NONE ? SY_OK : sy__t_item(r, of, path, out);
    for (size_t at = 0; at <= path.text->n; ) {
        const char *dot = memchr(path.text->s + at, '.', path.text->n - at);
        size_t end = dot ? (size_t)(dot - path.text->s) : path.text->n;
        sy__text part = { path.text->s + at, NULL, end - at };
        sy__val key = text_val(&part);
        int64_t i;
        bool digits = part.n > 0 && part.n < 18;
        for (size_t k = 0; k < part.n; k++) digits = digits && part.s[k] >= '0' && part.s[k] <= '9';
        if (digits && read_int(&part, 10, &i)) key = sy__t_int(i);
        SY_TRY(sy__t_item(r, *out, key, out));
        at = end + 1;
    }
    return SY_OK;
}

static sy_status f_join(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    sy__seq *s = NULL;
    sy__out o = { 0 };
    const sy__text *between = &(sy__text){ "", NULL, 0 };
    (void)c;
    if (a[0].kind != SY__ABSENT) SY_TRY(sy__t_str(r, a[0], &between));
    SY_TRY(sy__t_items(r, of, &s));
    for (size_t i = 0; i < s->n; i++) {
        sy__val v = s->v[i];
        if (given(a[1])) SY_TRY(attribute(r, v, a[1], &v));
        if (i) sy__t_put(r, &o, between->s, between->m, between->n);
        SY_TRY(sy__t_print(r, &o, v));
    }
    return sy__t_done(r, &o, out);
}

static sy_status f_attr(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    const sy__text *name = NULL;
    (void)c;
    SY_TRY(sy__t_str(r, a[0], &name));
    char *copy = sy__t_alloc(r, name->n + 1);        /* attributes only: no items of a dict */
    if (!copy) return r->status;
    memcpy(copy, name->s, name->n);
    if (of.kind == SY__DICT && !sy__t_is_method(of, copy)) return sy__t_undefined(r, out, "'dict object' has no attribute '%.60s'", copy);
    return sy__t_attr(r, of, copy, out);
}

static sy_status f_map(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    sy__seq *s = NULL;
    const sy__text *name = NULL;
    sy__val by[2] = { { .kind = SY__ABSENT }, { .kind = SY__ABSENT } };
    char word[64] = "";
    (void)a;
    SY_TRY(stream(r, "sync_do_map", out));
    if (!sy__t_true(of)) return SY_OK;
    if (!c->n) SY_TRY(sy__t_bind(r, "map", c, "attribute,default", 0, by));
    if (!c->n && by[0].kind == SY__ABSENT) return sy__t_fail(r, SY_EFORMAT, "map needs the name of a filter, or an attribute");
    if (c->n) {
        SY_TRY(sy__t_str(r, c->pos[0], &name));
        snprintf(word, sizeof word, "%.*s", (int)(name->n < 63 ? name->n : 63), name->s);
    }
    SY_TRY(sy__t_items(r, of, &s));
    sy__call rest = { .pos = c->pos ? c->pos + 1 : NULL, .n = c->n - 1, .key = c->key, .val = c->val, .keys = c->keys };
    for (size_t i = 0; i < s->n; i++) {
        sy__val v = s->v[i];
        if (c->n) SY_TRY(sy__t_filter(r, word, v, &rest, &v));
        else {
            SY_TRY(attribute(r, v, by[0], &v));
            if (v.kind == SY__UNDEFINED && given(by[1])) v = by[1];
        }
        SY_TRY(sy__t_push(r, out->seq, v));
    }
    return SY_OK;
}

/* select, reject, and both by attribute. */
static sy_status choose(sy__run *r, sy__val of, const sy__call *c, bool attr, bool want, sy__val *out)
{
    sy__seq *s = NULL;
    const sy__text *name = NULL;
    char word[64] = "";
    SY_TRY(stream(r, "select_or_reject", out));
    if (!sy__t_true(of)) return SY_OK;
    if (attr && !c->n) return sy__t_fail(r, SY_EFORMAT, "the name of an attribute is missing");
    if (c->n > attr) {
        SY_TRY(sy__t_str(r, c->pos[attr], &name));
        snprintf(word, sizeof word, "%.*s", (int)(name->n < 63 ? name->n : 63), name->s);
    }
    sy__call rest = { .pos = c->n > attr ? c->pos + attr + 1 : NULL, .n = c->n > attr ? c->n - attr - 1 : 0, .key = c->key, .val = c->val, .keys = c->keys };
    SY_TRY(sy__t_items(r, of, &s));
    for (size_t i = 0; i < s->n; i++) {
        sy__val v = s->v[i];
        bool yes;
        if (attr) SY_TRY(attribute(r, v, c->pos[0], &v));
        if (*word) SY_TRY(sy__t_test(r, word, v, &rest, &yes));
        else yes = sy__t_true(v);
        if (yes == want) SY_TRY(sy__t_push(r, out->seq, s->v[i]));
    }
    return SY_OK;
}

static sy_status f_select(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out) { (void)a; return choose(r, of, c, false, true, out); }
static sy_status f_reject(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out) { (void)a; return choose(r, of, c, false, false, out); }
static sy_status f_selectattr(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out) { (void)a; return choose(r, of, c, true, true, out); }
static sy_status f_rejectattr(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out) { (void)a; return choose(r, of, c, true, false, out); }

static sy_status f_sum(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    sy__seq *s = NULL;
    sy__val sum = a[1].kind == SY__ABSENT ? sy__t_int(0) : a[1];
    (void)c;
    SY_TRY(sy__t_items(r, of, &s));
    for (size_t i = 0; i < s->n; i++) {
        sy__val v = s->v[i];
        if (given(a[0])) SY_TRY(attribute(r, v, a[0], &v));
        SY_TRY(sy__t_math(r, '+', sum, v, &sum));
    }
    *out = sum;
    return SY_OK;
}

/* --- order ------------------------------------------------------------------------------------------------------------------------------------ */

typedef struct keyed { sy__val key, v; } keyed;

/* The value to compare by: an attribute, in lower case unless case matters. */
static sy_status key_of(sy__run *r, sy__val v, sy__val attr, bool cased, sy__val *out)
{
    *out = v;
    if (given(attr)) SY_TRY(attribute(r, v, attr, out));
    return !cased && out->kind == SY__TEXT ? sy__t_case(r, out->text, SY__LOWER, out) : SY_OK;
}

/* Merges sorted halves; stable. `down` keeps equal items in their order, too, as Python does. */
static sy_status merge_sort(sy__run *r, keyed *v, keyed *spare, size_t n, bool down)
{
    int order;
    if (n < 2) return SY_OK;
    size_t half = n / 2, a = 0, b = half, k = 0;
    SY_TRY(merge_sort(r, v, spare, half, down));
    SY_TRY(merge_sort(r, v + half, spare, n - half, down));
    while (a < half && b < n) {
        SY_TRY(down ? sy__t_order(r, v[a].key, v[b].key, "<", &order) : sy__t_order(r, v[b].key, v[a].key, "<", &order));
        spare[k++] = order == -1 ? v[b++] : v[a++];
    }
    while (a < half) spare[k++] = v[a++];
    while (b < n) spare[k++] = v[b++];
    memcpy(v, spare, n * sizeof *v);
    return sy__t_step(r, n);
}

/* apart: a key stands in a list of its own, where equal values (two that are undefined, too) need no order. */
static sy_status sort_by(sy__run *r, const sy__seq *s, sy__val attr, bool cased, bool down, bool apart, keyed **out)
{
    keyed *v = sy__t_alloc(r, (s->n + 1) * sizeof *v), *spare = sy__t_alloc(r, (s->n + 1) * sizeof *v);
    if (!v || !spare) return r->status;
    for (size_t i = 0; i < s->n; i++) {
        v[i].v = s->v[i];
        SY_TRY(key_of(r, s->v[i], attr, cased, &v[i].key));
        if (!apart) continue;
        sy__val list;
        SY_TRY(sy__t_seq(r, SY__LIST, 1, &list));
        SY_TRY(sy__t_push(r, list.seq, v[i].key));
        v[i].key = list;
    }
    *out = v;
    return merge_sort(r, v, spare, s->n, down);
}

static sy_status f_sort(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    sy__seq *s = NULL;
    keyed *v;
    (void)c;
    if (given(a[2]) && a[2].kind == SY__TEXT && memchr(a[2].text->s, ',', a[2].text->n)) return sy__t_fail(r, SY_EUNSUP, "sort by several attributes");
    SY_TRY(sy__t_items(r, of, &s));
    SY_TRY(sort_by(r, s, a[2], sy__t_true(a[1]), sy__t_true(a[0]), true, &v));
    SY_TRY(sy__t_seq(r, SY__LIST, s->n, out));
    for (size_t i = 0; i < s->n; i++) SY_TRY(sy__t_push(r, out->seq, v[i].v));
    return SY_OK;
}

static sy_status extreme(sy__run *r, sy__val of, const sy__val *a, bool largest, sy__val *out)
{
    sy__seq *s = NULL;
    sy__val key, best = { 0 };
    SY_TRY(sy__t_items(r, of, &s));
    if (!s->n) return sy__t_undefined(r, out, "no aggregated item, sequence was empty");
    for (size_t i = 0; i < s->n; i++) {
        int order = -1;
        SY_TRY(key_of(r, s->v[i], a[1], sy__t_true(a[0]), &key));
        if (i) SY_TRY(largest ? sy__t_order(r, best, key, "<", &order) : sy__t_order(r, key, best, "<", &order));
        if (order != -1) continue;
        best = key;
        *out = s->v[i];
    }
    return SY_OK;
}

static sy_status f_max(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out) { (void)c; return extreme(r, of, a, true, out); }
static sy_status f_min(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out) { (void)c; return extreme(r, of, a, false, out); }

static sy_status f_unique(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    sy__seq *s = NULL;
    sy__val seen, key, x;
    bool found;
    (void)c;
    SY_TRY(sy__t_items(r, of, &s));
    SY_TRY(stream(r, "sync_do_unique", out));
    SY_TRY(sy__t_dict(r, SY__DICT, &seen));
    for (size_t i = 0; i < s->n; i++) {
        SY_TRY(key_of(r, s->v[i], a[1], sy__t_true(a[0]), &key));
        SY_TRY(sy__t_dict_get(r, seen.dict, key, &x, &found));
        if (found) continue;
        SY_TRY(sy__t_dict_set(r, seen.dict, key, sy__t_none()));
        SY_TRY(sy__t_push(r, out->seq, s->v[i]));
    }
    return SY_OK;
}

static sy_status f_dictsort(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    sy__val pairs, path = sy__t_int(0);
    keyed *v;
    if (of.kind != SY__DICT) return sy__t_fail(r, SY_EFORMAT, "dictsort needs a dict, not %s", sy__t_type(of));
    if (given(a[1])) {
        if (a[1].kind != SY__TEXT || (strncmp(a[1].text->s, "key", a[1].text->n) && strncmp(a[1].text->s, "value", a[1].text->n)))
            return sy__t_fail(r, SY_EFORMAT, "dictsort: by is either 'key' or 'value'");
        path = sy__t_int(a[1].text->n == 5);
    }
    SY_TRY(f_items(r, of, NULL, c, &pairs));
    SY_TRY(sort_by(r, pairs.seq, path, sy__t_true(a[0]), sy__t_true(a[2]), false, &v));
    SY_TRY(sy__t_seq(r, SY__LIST, of.dict->n, out));
    for (size_t i = 0; i < of.dict->n; i++) SY_TRY(sy__t_push(r, out->seq, v[i].v));
    return SY_OK;
}

static sy_status f_groupby(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    sy__seq *s = NULL;
    keyed *v;
    sy__val group, members, grouper;
    (void)c;
    if (given(a[1])) return sy__t_fail(r, SY_EUNSUP, "groupby with a default");
    SY_TRY(sy__t_items(r, of, &s));
    SY_TRY(sort_by(r, s, a[0], sy__t_true(a[2]), false, false, &v));
    SY_TRY(sy__t_seq(r, SY__LIST, 0, out));
    for (size_t i = 0; i < s->n; ) {
        bool same = true;
        SY_TRY(sy__t_seq(r, SY__TUPLE, 2, &group));
        SY_TRY(sy__t_seq(r, SY__LIST, 0, &members));
        SY_TRY(attribute(r, v[i].v, a[0], &grouper));
        size_t first = i;
        while (i < s->n && same) {
            SY_TRY(sy__t_push(r, members.seq, v[i++].v));
            if (i < s->n) SY_TRY(sy__t_same(r, v[first].key, v[i].key, &same));
        }
        SY_TRY(sy__t_push(r, group.seq, grouper));
        SY_TRY(sy__t_push(r, group.seq, members));
        SY_TRY(sy__t_push(r, out->seq, group));
    }
    return SY_OK;
}

static sy_status f_batch(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    sy__seq *s = NULL;
    int64_t n;
    sy__val row = { 0 };
    (void)c;
    SY_TRY(need_whole(r, "batch", a[0], 1, &n));
    SY_TRY(sy__t_items(r, of, &s));
    SY_TRY(stream(r, "do_batch", out));
    for (size_t i = 0; i < s->n; i++) {
        if (!row.seq || (int64_t)row.seq->n == n) {
            SY_TRY(sy__t_seq(r, SY__LIST, 0, &row));
            SY_TRY(sy__t_push(r, out->seq, row));
        }
        SY_TRY(sy__t_push(r, row.seq, s->v[i]));
    }
    while (row.seq && given(a[1]) && (int64_t)row.seq->n < n) SY_TRY(sy__t_push(r, row.seq, a[1]));
    return SY_OK;
}

static sy_status f_slice(sy__run *r, sy__val of, const sy__val *a, const sy__call *c, sy__val *out)
{
    sy__seq *s = NULL;
    int64_t k;
    size_t at = 0;
    sy__val row;
    (void)c;
    SY_TRY(need_whole(r, "slice", a[0], 1, &k));
    SY_TRY(sy__t_items(r, of, &s));
    if (k < 1) return sy__t_fail(r, SY_EFORMAT, "slice into %lld lists", (long long)k);
    SY_TRY(stream(r, "sync_do_slice", out));
    for (int64_t i = 0; i < k; i++) {
        size_t n = s->n / (size_t)k + ((size_t)i < s->n % (size_t)k);
        SY_TRY(sy__t_seq(r, SY__LIST, 0, &row));
        for (size_t j = 0; j < n; j++) SY_TRY(sy__t_push(r, row.seq, s->v[at++]));
        if (given(a[1]) && (size_t)i >= s->n % (size_t)k) SY_TRY(sy__t_push(r, row.seq, a[1]));
        SY_TRY(sy__t_push(r, out->seq, row));
    }
    return SY_OK;
}

/* --- the table ---------------------------------------------------------------------------------------------------------------------------------- */

static const struct { const char *name; filter *fn; const char *params; int must; } filters[] = {    /* params NULL: the filter reads the call itself */
    { "abs", f_abs, "", 0 }, { "attr", f_attr, "name", 1 }, { "batch", f_batch, "linecount,fill_with", 1 }, { "capitalize", f_capitalize, "", 0 },
    { "center", f_center, "width", 0 }, { "count", f_length, "", 0 }, { "d", f_default, "default_value,boolean", 0 },
    { "default", f_default, "default_value,boolean", 0 }, { "dictsort", f_dictsort, "case_sensitive,by,reverse", 0 }, { "e", f_escape, "", 0 },
    { "escape", f_escape, "", 0 }, { "first", f_first, "", 0 }, { "float", f_float, "default", 0 }, { "forceescape", f_escape, "", 0 },
    { "format", f_format, NULL, 0 }, { "groupby", f_groupby, "attribute,default,case_sensitive", 1 }, { "indent", f_indent, "width,first,blank", 0 },
    { "int", f_int, "default,base", 0 }, { "items", f_items, "", 0 }, { "join", f_join, "d,attribute", 0 }, { "last", f_last, "", 0 },
    { "length", f_length, "", 0 }, { "list", f_list, "", 0 }, { "lower", f_lower, "", 0 }, { "map", f_map, NULL, 0 },
    { "max", f_max, "case_sensitive,attribute", 0 }, { "min", f_min, "case_sensitive,attribute", 0 }, { "reject", f_reject, NULL, 0 },
    { "rejectattr", f_rejectattr, NULL, 0 }, { "replace", f_replace, "old,new,count", 2 }, { "reverse", f_reverse, "", 0 },
    { "round", f_round, "precision,method", 0 }, { "safe", f_safe, "", 0 }, { "select", f_select, NULL, 0 }, { "selectattr", f_selectattr, NULL, 0 },
    { "slice", f_slice, "slices,fill_with", 1 }, { "sort", f_sort, "reverse,case_sensitive,attribute", 0 }, { "string", f_string, "", 0 },
    { "sum", f_sum, "attribute,start", 0 }, { "title", f_title, "", 0 }, { "tojson", f_tojson, "ensure_ascii,indent,separators,sort_keys", 0 },
    { "trim", f_trim, "chars", 0 }, { "truncate", f_truncate, "length,killwords,end,leeway", 0 }, { "unique", f_unique, "case_sensitive,attribute", 0 },
    { "upper", f_upper, "", 0 }, { "urlencode", f_urlencode, "", 0 }, { "wordcount", f_wordcount, "", 0 },
};
static const char *const filters_left_out[] = { "filesizeformat", "pprint", "random", "striptags", "urlize", "wordwrap", "xmlattr" };

static int find_filter(const char *name)
{
    for (size_t i = 0; i < SY_COUNT(filters); i++) if (!strcmp(filters[i].name, name)) return (int)i;
    return -1;
}

static sy_status run_filter(sy__run *r, int i, sy__val of, const sy__call *c, sy__val *out)
{
    sy__val a[4] = { { .kind = SY__ABSENT }, { .kind = SY__ABSENT }, { .kind = SY__ABSENT }, { .kind = SY__ABSENT } }, v = { 0 };
    if (filters[i].params) SY_TRY(sy__t_bind(r, filters[i].name, c, filters[i].params, filters[i].must, a));
    SY_TRY(filters[i].fn(r, of, a, c, &v));
    *out = v;
    return SY_OK;
}

sy_status sy__t_filter(sy__run *r, const char *name, sy__val of, const sy__call *c, sy__val *out)
{
    int i = find_filter(name);
    if (i < 0) {
        for (size_t k = 0; k < SY_COUNT(filters_left_out); k++)
            if (!strcmp(filters_left_out[k], name)) return sy__t_fail(r, SY_EUNSUP, "the filter '%s' is not among those of chat templates", name);
        return sy__t_fail(r, SY_EFORMAT, "no filter named '%.60s'", name);
    }
    SY_TRY(sy__t_enter(r));
    SY_TRY(run_filter(r, i, of, c, out));
    r->depth--;
    return r->status;
}

/* --- tests ---------------------------------------------------------------------------------------------------------------------------------------- */

/* Letters that have case: all of the wanted one, at least one. */
static sy_status cased(sy__run *r, sy__val v, sy__case how, bool *out)
{
    const sy__text *t = NULL;
    sy__method m;
    sy__val yes;
    SY_TRY(sy__t_str(r, v, &t));
    m = (sy__method){ text_val(t), how == SY__LOWER ? "islower" : "isupper" };
    SY_TRY(sy__t_method(r, &m, &(sy__call){ 0 }, &yes));
    *out = yes.b;
    return SY_OK;
}

static sy_status remainder_of(sy__run *r, sy__val v, sy__val by, int64_t want, bool *out)
{
    sy__val rest;
    SY_TRY(sy__t_math(r, '%', v, by, &rest));
    return sy__t_same(r, rest, sy__t_int(want), out);
}

typedef enum {
    IS_ODD, IS_EVEN, IS_DIVISIBLE, IS_DEFINED, IS_UNDEFINED, IS_FILTER, IS_TEST, IS_NONE, IS_BOOLEAN, IS_FALSE, IS_TRUE, IS_INTEGER, IS_FLOAT, IS_LOWER, IS_UPPER,
    IS_STRING, IS_MAPPING, IS_NUMBER, IS_SEQUENCE, IS_ITERABLE, IS_CALLABLE, IS_SAME_AS, IS_ESCAPED, IS_IN, IS_EQ, IS_NE, IS_GT, IS_GE, IS_LT, IS_LE,
} test_kind;

static const struct { const char *name; test_kind kind; int args; } tests[] = {
    { "odd", IS_ODD, 0 }, { "even", IS_EVEN, 0 }, { "divisibleby", IS_DIVISIBLE, 1 }, { "defined", IS_DEFINED, 0 }, { "undefined", IS_UNDEFINED, 0 },
    { "filter", IS_FILTER, 0 }, { "test", IS_TEST, 0 }, { "none", IS_NONE, 0 }, { "boolean", IS_BOOLEAN, 0 }, { "false", IS_FALSE, 0 }, { "true", IS_TRUE, 0 },
    { "integer", IS_INTEGER, 0 }, { "float", IS_FLOAT, 0 }, { "lower", IS_LOWER, 0 }, { "upper", IS_UPPER, 0 }, { "string", IS_STRING, 0 },
    { "mapping", IS_MAPPING, 0 }, { "number", IS_NUMBER, 0 }, { "sequence", IS_SEQUENCE, 0 }, { "iterable", IS_ITERABLE, 0 }, { "callable", IS_CALLABLE, 0 },
    { "sameas", IS_SAME_AS, 1 }, { "escaped", IS_ESCAPED, 0 }, { "in", IS_IN, 1 }, { "==", IS_EQ, 1 }, { "eq", IS_EQ, 1 }, { "equalto", IS_EQ, 1 },
    { "!=", IS_NE, 1 }, { "ne", IS_NE, 1 }, { ">", IS_GT, 1 }, { "gt", IS_GT, 1 }, { "greaterthan", IS_GT, 1 }, { ">=", IS_GE, 1 }, { "ge", IS_GE, 1 },
    { "<", IS_LT, 1 }, { "lt", IS_LT, 1 }, { "lessthan", IS_LT, 1 }, { "<=", IS_LE, 1 }, { "le", IS_LE, 1 },
};

static bool known_name(sy__val v, bool filter_name)
{
    char word[64];
    if (v.kind != SY__TEXT || v.text->n > 63) return false;
    snprintf(word, sizeof word, "%.*s", (int)v.text->n, v.text->s);
    if (filter_name) return find_filter(word) >= 0;
    for (size_t i = 0; i < SY_COUNT(tests); i++) if (!strcmp(tests[i].name, word)) return true;
    return false;
}

static sy_status same_thing(sy__run *r, sy__val a, sy__val b, bool *out)
{
    *out = a.kind == b.kind;
    if (!*out) return SY_OK;
    if (a.kind == SY__REAL || a.kind == SY__TEXT) return sy__t_fail(r, SY_EUNSUP, "'sameas' of a %s", sy__t_type(a));
    if (a.kind == SY__SEQ) *out = a.seq == b.seq;
    else if (a.kind == SY__DICT) *out = a.dict == b.dict;
    else return sy__t_same(r, a, b, out);
    return SY_OK;
}

static sy_status ordered(sy__run *r, test_kind k, sy__val a, sy__val b, bool *out)
{
    int order;
    SY_TRY(sy__t_order(r, a, b, k == IS_GT ? ">" : k == IS_GE ? ">=" : k == IS_LT ? "<" : "<=", &order));
    *out = k == IS_GT ? order == 1 : k == IS_LT ? order == -1 : k == IS_GE ? order == 0 || order == 1 : order == 0 || order == -1;
    return SY_OK;
}

sy_status sy__t_test(sy__run *r, const char *name, sy__val v, const sy__call *c, bool *out)
{
    sy__val a = { .kind = SY__ABSENT };
    size_t i = 0;
    while (i < SY_COUNT(tests) && strcmp(tests[i].name, name)) i++;
    if (i == SY_COUNT(tests)) return sy__t_fail(r, SY_EFORMAT, "no test named '%.60s'", name);
    if (c->n != tests[i].args || c->keys) return sy__t_fail(r, SY_EFORMAT, "the test '%s' takes %d arguments, %d are given", name, tests[i].args, c->n + c->keys);
    if (c->n) a = c->pos[0];
    *out = false;
    switch (tests[i].kind) {
    case IS_ODD: return remainder_of(r, v, sy__t_int(2), 1, out);
    case IS_EVEN: return remainder_of(r, v, sy__t_int(2), 0, out);
    case IS_DIVISIBLE: return remainder_of(r, v, a, 0, out);
    case IS_DEFINED: *out = v.kind != SY__UNDEFINED; break;
    case IS_UNDEFINED: *out = v.kind == SY__UNDEFINED; break;
    case IS_FILTER: case IS_TEST: *out = known_name(v, tests[i].kind == IS_FILTER); break;
    case IS_NONE: *out = v.kind == SY__NONE; break;
    case IS_BOOLEAN: *out = v.kind == SY__BOOL; break;
    case IS_FALSE: *out = v.kind == SY__BOOL && !v.b; break;
    case IS_TRUE: *out = v.kind == SY__BOOL && v.b; break;
    case IS_INTEGER: *out = v.kind == SY__INT; break;
    case IS_FLOAT: *out = v.kind == SY__REAL; break;
    case IS_LOWER: return cased(r, v, SY__LOWER, out);
    case IS_UPPER: return cased(r, v, SY__UPPER, out);
    case IS_STRING: *out = v.kind == SY__TEXT; break;
    case IS_MAPPING: *out = v.kind == SY__DICT; break;
    case IS_NUMBER: *out = whole(v) || v.kind == SY__REAL; break;
    case IS_SEQUENCE: *out = v.kind == SY__TEXT || v.kind == SY__DICT || v.kind == SY__UNDEFINED || (v.kind == SY__SEQ && v.seq->form != SY__STREAM && v.seq->form != SY__VIEW); break;
    case IS_ITERABLE: *out = v.kind == SY__TEXT || v.kind == SY__SEQ || v.kind == SY__DICT || v.kind == SY__UNDEFINED || v.kind == SY__LOOP; break;
    case IS_CALLABLE: *out = v.kind == SY__MACRO || v.kind == SY__GLOBAL || v.kind == SY__METHOD || v.kind == SY__LOOP || (v.kind == SY__WHEEL && v.wheel->joins) || v.kind == SY__UNDEFINED; break;
    case IS_SAME_AS: return same_thing(r, v, a, out);
    case IS_ESCAPED: break;
    case IS_IN: return sy__t_contains(r, a, v, out);
    case IS_EQ: case IS_NE:
        SY_TRY(sy__t_same(r, v, a, out));
        *out ^= tests[i].kind == IS_NE;
        break;
    case IS_GT: case IS_GE: case IS_LT: case IS_LE: return ordered(r, tests[i].kind, v, a, out);
    }
    return SY_OK;
}
