/* model/template_text.c - values as text: str(), repr(), json.dumps() and "..." % of Python. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "core/number.h"
#include "core/utf8.h"
#include "model/template_parts.h"

/* --- text that grows --------------------------------------------------------------------------------------------------------------- */

void sy__t_put(sy__run *r, sy__out *o, const char *s, const char *m, size_t n)
{
    if (!n || sy__t_step(r, 1 + n / 16) != SY_OK) return;
    if (n > r->most_output - o->n) {
        sy__t_fail(r, SY_ESHAPE, "a text grows beyond %zu MiB", r->most_output >> 20);
        return;
    }
    if (n > o->room - o->n) {
        size_t room = o->room ? o->room : 64;
        while (room - o->n < n) room *= 2;
        char *t = sy__t_alloc(r, room), *u = sy__t_alloc(r, room);
        if (!t || !u) return;
        if (o->n) {
            memcpy(t, o->s, o->n);
            memcpy(u, o->m, o->n);
        }
        o->s = t;
        o->m = u;
        o->room = room;
    }
    memcpy(o->s + o->n, s, n);
    if (m) memcpy(o->m + o->n, m, n), o->marked = true;
    else memset(o->m + o->n, 0, n);
    o->n += n;
}

void sy__t_puts(sy__run *r, sy__out *o, const char *s) { sy__t_put(r, o, s, NULL, strlen(s)); }

sy_status sy__t_done(sy__run *r, sy__out *o, sy__val *out)
{
    return r->status == SY_OK ? sy__t_text(r, o->s ? o->s : "", o->marked ? o->m : NULL, o->n, out) : r->status;
}

/* --- numbers ------------------------------------------------------------------------------------------------------------------------ */

/* The shortest digits that read back as the same number; with an exponent below 1e-4 and from 1e16 on. */
char *sy__t_real(double v, char buf[40])
{
    char digits[40];
    if (isnan(v) || isinf(v)) {
        snprintf(buf, 40, "%s", isnan(v) ? "nan" : v < 0 ? "-inf" : "inf");
        return buf;
    }
    for (int p = 0; p <= 16; p++) {
        char *end;
        snprintf(digits, sizeof digits, "%.*e", p, v);
        for (char *c = digits; *c; c++) if (*c == ',') *c = '.';     /* whatever the program's locale */
        if (sy_real_read(digits, &end) == v) break;
    }
    char *e = strchr(digits, 'e');
    int exponent = atoi(e + 1), n = 0, k = 0;
    char d[32];
    for (const char *c = digits; c < e; c++) if (*c >= '0' && *c <= '9') d[n++] = *c;
    if (v < 0 || (v == 0 && signbit(v))) buf[k++] = '-';
    if (exponent < -4 || exponent >= 16) {
        k += sprintf(buf + k, "%c%s%.*s", d[0], n > 1 ? "." : "", n - 1, d + 1);
        sprintf(buf + k, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
        return buf;
    }
    if (exponent < 0) {
        k += sprintf(buf + k, "0.");
        for (int i = -1; i > exponent; i--) buf[k++] = '0';
        sprintf(buf + k, "%.*s", n, d);
        return buf;
    }
    for (int i = 0; i <= exponent || i < n; i++) {
        if (i == exponent + 1) buf[k++] = '.';
        buf[k++] = i < n ? d[i] : '0';
    }
    sprintf(buf + k, "%s", n <= exponent + 1 ? ".0" : "");
    return buf;
}

static void put_number(sy__run *r, sy__out *o, sy__val v)
{
    char buf[40];
    if (v.kind == SY__BOOL) sy__t_puts(r, o, v.b ? "True" : "False");
    else if (v.kind == SY__REAL) sy__t_puts(r, o, sy__t_real(v.r, buf));
    else {
        snprintf(buf, sizeof buf, "%lld", (long long)v.i);
        sy__t_puts(r, o, buf);
    }
}

/* --- repr ---------------------------------------------------------------------------------------------------------------------------- */

static bool printable(uint32_t cp)
{
    if (cp == ' ') return true;
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_CC: case UTF8PROC_CATEGORY_CF: case UTF8PROC_CATEGORY_CS: case UTF8PROC_CATEGORY_CO: case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL: case UTF8PROC_CATEGORY_ZP: case UTF8PROC_CATEGORY_ZS: return false;
    default: return true;
    }
}

static void put_marked(sy__run *r, sy__out *o, const char *s, char mark)
{
    char m[16];
    size_t n = strlen(s);
    memset(m, mark, sizeof m);
    sy__t_put(r, o, s, mark ? m : NULL, n);
}

static void text_repr(sy__run *r, sy__out *o, const sy__text *t)
{
    bool doubled = memchr(t->s, '\'', t->n) && !memchr(t->s, '"', t->n);
    char buf[16], quote[2] = { doubled ? '"' : '\'', 0 };
    uint32_t cp;
    sy__t_puts(r, o, quote);
    for (size_t at = 0; at < t->n && r->status == SY_OK; ) {
        int k = sy_utf8_next(t->s + at, t->n - at, &cp);
        char mark = t->m ? t->m[at] : 0;
        if (k < 0) k = -k;
        if (cp == (uint32_t)quote[0] || cp == '\\') snprintf(buf, sizeof buf, "\\%c", (int)cp);
        else if (cp == '\n' || cp == '\r' || cp == '\t') snprintf(buf, sizeof buf, "\\%c", cp == '\n' ? 'n' : cp == '\r' ? 'r' : 't');
        else if (!printable(cp)) snprintf(buf, sizeof buf, cp < 256 ? "\\x%02x" : cp < 65536 ? "\\u%04x" : "\\U%08x", cp);
        else snprintf(buf, sizeof buf, "%.*s", k, t->s + at);
        put_marked(r, o, buf, mark);
        at += (size_t)k;
    }
    sy__t_puts(r, o, quote);
}

static sy_status seq_repr(sy__run *r, sy__out *o, const sy__seq *s)
{
    if (s->form == SY__STREAM) {
        sy__t_puts(r, o, "<generator object ");
        sy__t_puts(r, o, s->label ? s->label : "");
        sy__t_puts(r, o, ">");
        return r->status;
    }
    if (s->form == SY__RANGE) {
        char buf[120];
        int64_t first = s->n ? s->v[0].i : 0, step = s->n > 1 ? s->v[1].i - first : 1;
        snprintf(buf, sizeof buf, step == 1 ? "range(%lld, %lld)" : "range(%lld, %lld, %lld)", (long long)first, (long long)(first + step * (int64_t)s->n), (long long)step);
        sy__t_puts(r, o, buf);
        return r->status;
    }
    bool tuple = s->form == SY__TUPLE;
    if (s->form == SY__VIEW) sy__t_puts(r, o, s->label), sy__t_puts(r, o, "(");
    sy__t_puts(r, o, tuple ? "(" : "[");
    for (size_t i = 0; i < s->n; i++) {
        if (i) sy__t_puts(r, o, ", ");
        SY_TRY(sy__t_repr(r, o, s->v[i]));
    }
    sy__t_puts(r, o, tuple ? s->n == 1 ? ",)" : ")" : "]");
    if (s->form == SY__VIEW) sy__t_puts(r, o, ")");
    return r->status;
}

static sy_status dict_repr(sy__run *r, sy__out *o, sy__val v)
{
    if (v.kind == SY__SPACE) sy__t_puts(r, o, "<Namespace ");
    sy__t_puts(r, o, "{");
    for (size_t i = 0; i < v.dict->n; i++) {
        if (i) sy__t_puts(r, o, ", ");
        SY_TRY(sy__t_repr(r, o, v.dict->key[i]));
        sy__t_puts(r, o, ": ");
        SY_TRY(sy__t_repr(r, o, v.dict->v[i]));
    }
    sy__t_puts(r, o, v.kind == SY__SPACE ? "}>" : "}");
    return r->status;
}

static void object_repr(sy__run *r, sy__out *o, sy__val v)
{
    sy__t_puts(r, o, "<");
    sy__t_puts(r, o, sy__t_type(v));
    if (v.kind == SY__MACRO && v.macro->node->name) {
        sy__t_puts(r, o, " '");
        sy__t_puts(r, o, v.macro->node->name);
        sy__t_puts(r, o, "'");
    }
    sy__t_puts(r, o, ">");
}

sy_status sy__t_repr(sy__run *r, sy__out *o, sy__val v)
{
    SY_TRY(sy__t_enter(r));
    switch (v.kind) {
    case SY__ABSENT: case SY__UNDEFINED: sy__t_puts(r, o, "Undefined"); break;
    case SY__NONE: sy__t_puts(r, o, "None"); break;
    case SY__BOOL: case SY__INT: case SY__REAL: put_number(r, o, v); break;
    case SY__TEXT: text_repr(r, o, v.text); break;
    case SY__SEQ: SY_TRY(seq_repr(r, o, v.seq)); break;
    case SY__DICT: case SY__SPACE: SY_TRY(dict_repr(r, o, v)); break;
    default: object_repr(r, o, v); break;
    }
    r->depth--;
    return r->status;
}

sy_status sy__t_print(sy__run *r, sy__out *o, sy__val v)
{
    if (v.kind == SY__TEXT) sy__t_put(r, o, v.text->s, v.text->m, v.text->n);
    else if (v.kind != SY__UNDEFINED) return sy__t_repr(r, o, v);
    return r->status;
}

sy_status sy__t_str(sy__run *r, sy__val v, const sy__text **out)
{
    sy__out o = { 0 };
    sy__val text = v;
    if (v.kind != SY__TEXT) {
        SY_TRY(sy__t_print(r, &o, v));
        SY_TRY(sy__t_done(r, &o, &text));
    }
    *out = text.text;
    return SY_OK;
}

/* --- JSON ---------------------------------------------------------------------------------------------------------------------------- */

static void json_letter(char buf[16], uint32_t cp, bool ascii, const char *s, int k)
{
    static const char plain[] = "\"\\\b\f\n\r\t", means[] = "\"\\bfnrt";
    const char *p = cp && cp < 128 ? strchr(plain, (int)cp) : NULL;
    if (p) snprintf(buf, 16, "\\%c", means[p - plain]);
    else if (cp < 32 || (ascii && cp > 126 && cp < 65536)) snprintf(buf, 16, "\\u%04x", cp);
    else if (ascii && cp >= 65536) snprintf(buf, 16, "\\u%04x\\u%04x", 0xD800 + ((cp - 65536) >> 10), 0xDC00 + ((cp - 65536) & 1023));
    else {
        memcpy(buf, s, (size_t)k);                   /* a copy by length: a NUL was escaped above */
        buf[k] = 0;
    }
}

static void dump_text(sy__run *r, sy__out *o, const sy__text *t, bool ascii)
{
    char buf[16];
    uint32_t cp;
    sy__t_puts(r, o, "\"");
    for (size_t at = 0, done = 0; at < t->n && r->status == SY_OK; done = at) {
        int k = 1;
        /* what goes through as it is goes in one piece */
        while (at < t->n && (unsigned char)t->s[at] >= 32 && (unsigned char)t->s[at] < 127 && t->s[at] != '"' && t->s[at] != '\\') at++;
        sy__t_put(r, o, t->s + done, t->m ? t->m + done : NULL, at - done);
        if (at == t->n) break;
        k = abs(sy_utf8_next(t->s + at, t->n - at, &cp));
        json_letter(buf, cp, ascii, t->s + at, k);
        put_marked(r, o, buf, t->m ? t->m[at] : 0);
        at += (size_t)k;
    }
    sy__t_puts(r, o, "\"");
}

static void new_line(sy__run *r, sy__out *o, const sy__dump *how, int level)
{
    if (!how->indent) return;
    sy__t_puts(r, o, "\n");
    for (int i = 0; i < level && r->status == SY_OK; i++) sy__t_put(r, o, how->indent->s, how->indent->m, how->indent->n);
}

static void put_text(sy__run *r, sy__out *o, const sy__text *t) { sy__t_put(r, o, t->s, t->m, t->n); }

static void json_number(sy__run *r, sy__out *o, sy__val v)
{
    if (v.kind == SY__BOOL) sy__t_puts(r, o, v.b ? "true" : "false");
    else if (v.kind == SY__REAL && (isnan(v.r) || isinf(v.r))) sy__t_puts(r, o, isnan(v.r) ? "NaN" : v.r < 0 ? "-Infinity" : "Infinity");
    else put_number(r, o, v);
}

static sy_status dump_key(sy__run *r, sy__out *o, sy__val key, const sy__dump *how)
{
    if (key.kind == SY__TEXT) dump_text(r, o, key.text, how->ascii);
    else if (key.kind == SY__NONE || key.kind == SY__BOOL || key.kind == SY__INT || key.kind == SY__REAL) {
        sy__t_puts(r, o, "\"");
        if (key.kind == SY__NONE) sy__t_puts(r, o, "null");
        else json_number(r, o, key);
        sy__t_puts(r, o, "\"");
    } else return sy__t_fail(r, SY_EFORMAT, "tojson: a key of type %s", sy__t_type(key));
    return r->status;
}

/* The order of the keys: an index each. */
static sy_status sorted_keys(sy__run *r, const sy__dict *d, size_t **out)
{
    size_t *at = sy__t_alloc(r, (d->n + 1) * sizeof *at);
    if (!at) return r->status;
    for (size_t i = 0; i < d->n; i++) {
        size_t k = i;
        for (; k; k--) {
            int order;
            SY_TRY(sy__t_order(r, d->key[i], d->key[at[k - 1]], "<", &order));
            if (order != -1) break;
            at[k] = at[k - 1];
        }
        at[k] = i;
    }
    *out = at;
    return SY_OK;
}

static sy_status dump_dict(sy__run *r, sy__out *o, const sy__dict *d, const sy__dump *how, int level)
{
    size_t *at = NULL;
    if (how->sorted) SY_TRY(sorted_keys(r, d, &at));
    sy__t_puts(r, o, "{");
    for (size_t i = 0; i < d->n; i++) {
        size_t k = at ? at[i] : i;
        if (i) put_text(r, o, how->item);
        new_line(r, o, how, level + 1);
        SY_TRY(dump_key(r, o, d->key[k], how));
        put_text(r, o, how->key);
        SY_TRY(sy__t_dump(r, o, d->v[k], how, level + 1));
    }
    if (d->n) new_line(r, o, how, level);
    sy__t_puts(r, o, "}");
    return r->status;
}

static sy_status dump_seq(sy__run *r, sy__out *o, const sy__seq *s, const sy__dump *how, int level)
{
    sy__t_puts(r, o, "[");
    for (size_t i = 0; i < s->n; i++) {
        if (i) put_text(r, o, how->item);
        new_line(r, o, how, level + 1);
        SY_TRY(sy__t_dump(r, o, s->v[i], how, level + 1));
    }
    if (s->n) new_line(r, o, how, level);
    sy__t_puts(r, o, "]");
    return r->status;
}

sy_status sy__t_dump(sy__run *r, sy__out *o, sy__val v, const sy__dump *how, int level)
{
    SY_TRY(sy__t_enter(r));
    switch (v.kind) {
    case SY__NONE: sy__t_puts(r, o, "null"); break;
    case SY__BOOL: case SY__INT: case SY__REAL: json_number(r, o, v); break;
    case SY__TEXT: dump_text(r, o, v.text, how->ascii); break;
    case SY__SEQ:
        if (v.seq->form == SY__LIST || v.seq->form == SY__TUPLE) {
            SY_TRY(dump_seq(r, o, v.seq, how, level));
            break;
        } /* fallthrough */
    default:
        if (v.kind != SY__DICT) return sy__t_fail(r, SY_EFORMAT, "tojson: a value of type %s is no JSON%s%s", sy__t_type(v), v.kind == SY__UNDEFINED ? ": " : "", v.kind == SY__UNDEFINED ? v.name : "");
        SY_TRY(dump_dict(r, o, v.dict, how, level));
    }
    r->depth--;
    return r->status;
}

/* --- "..." % args --------------------------------------------------------------------------------------------------------------------- */

static sy_status next_value(sy__run *r, sy__val args, size_t *used, sy__val *out)
{
    if (args.kind == SY__SEQ && args.seq->form == SY__TUPLE) {
        if (*used == args.seq->n) return sy__t_fail(r, SY_EFORMAT, "not enough arguments for the format");
        *out = args.seq->v[(*used)++];
        return SY_OK;
    }
    if ((*used)++) return sy__t_fail(r, SY_EFORMAT, "not enough arguments for the format");
    *out = args;
    return SY_OK;
}

/* One conversion, flags and width as C writes them. */
static sy_status convert(sy__run *r, sy__out *o, const char *spec, int width, int precision, char kind, bool left, sy__val v)
{
    char buf[512], fmt[40];
    if (strchr("sra", kind)) {
        sy__out one = { 0 };
        SY_TRY(kind == 's' ? sy__t_print(r, &one, v) : sy__t_repr(r, &one, v));
        size_t n = precision >= 0 ? sy__t_offset(one.s, one.n, (size_t)precision) : one.n, letters = sy__t_letters(one.s, n);
        for (size_t i = letters; !left && i < (size_t)width; i++) sy__t_puts(r, o, " ");
        sy__t_put(r, o, one.s, one.m, n);
        for (size_t i = letters; left && i < (size_t)width; i++) sy__t_puts(r, o, " ");
        return r->status;
    }
    bool real = strchr("eEfFgG", kind);
    if (v.kind != SY__BOOL && v.kind != SY__INT && v.kind != SY__REAL) return sy__t_fail(r, SY_EFORMAT, "%%%c needs a number, not %s", kind, sy__t_type(v));
    if (real) {
        snprintf(fmt, sizeof fmt, "%.30s%c", spec, kind);
        double x = v.kind == SY__REAL ? v.r : v.kind == SY__INT ? (double)v.i : v.b;
        snprintf(buf, sizeof buf, fmt, x);
    } else {
        if (v.kind == SY__REAL && (kind == 'x' || kind == 'X' || kind == 'o')) return sy__t_fail(r, SY_EFORMAT, "%%%c needs a whole number", kind);
        if (v.kind == SY__REAL && !(fabs(v.r) < 0x1p63)) return sy__t_fail(r, SY_EFORMAT, "a number has more than 64 bits");
        int64_t i = v.kind == SY__REAL ? (int64_t)v.r : v.kind == SY__INT ? v.i : v.b;
        if (i < 0 && kind != 'd') return sy__t_fail(r, SY_EUNSUP, "%%%c of a negative number", kind);
        snprintf(fmt, sizeof fmt, "%.30sll%c", spec, kind);
        snprintf(buf, sizeof buf, fmt, (long long)i);
    }
    sy__t_puts(r, o, buf);
    return r->status;
}

sy_status sy__t_percent(sy__run *r, const sy__text *f, sy__val args, sy__val *out)
{
    sy__out o = { 0 };
    size_t used = 0;
    for (size_t at = 0; at < f->n; ) {
        const char *next = memchr(f->s + at, '%', f->n - at);
        size_t stop = next ? (size_t)(next - f->s) : f->n;
        sy__t_put(r, &o, f->s + at, f->m ? f->m + at : NULL, stop - at);
        if (!next) break;
        char flags[6] = "", spec[32];                /* each flag once; numbers as numbers: zeros before them may go on for ever */
        size_t k = 0;
        int width = 0, precision = -1;
        sy__val v;
        for (at = stop + 1; at < f->n && f->s[at] && strchr("-+ #0", f->s[at]); at++)
            if (!strchr(flags, f->s[at])) flags[k++] = f->s[at];
        bool left = strchr(flags, '-');
        for (; at < f->n && f->s[at] >= '0' && f->s[at] <= '9' && width < 100; at++) width = 10 * width + f->s[at] - '0';
        if (at < f->n && f->s[at] == '.')
            for (precision = 0, at++; at < f->n && f->s[at] >= '0' && f->s[at] <= '9' && precision < 10; at++) precision = 10 * precision + f->s[at] - '0';
        k = (size_t)snprintf(spec, sizeof spec, "%%%s", flags);
        if (width) k += (size_t)snprintf(spec + k, sizeof spec - k, "%d", width);
        if (precision >= 0) snprintf(spec + k, sizeof spec - k, ".%d", precision);
        char kind = at < f->n ? f->s[at++] : 0;
        if (kind == '%') {
            sy__t_puts(r, &o, "%");
            continue;
        }
        if (kind == 'i' || kind == 'u') kind = 'd';
        if (!kind || !strchr("srdxXoeEfFgG", kind)) return sy__t_fail(r, SY_EFORMAT, "the format %.31s%c is not known", spec, kind > 32 && kind < 127 ? kind : '?');
        SY_TRY(next_value(r, args, &used, &v));
        SY_TRY(convert(r, &o, spec, width, precision, kind, left, v));
    }
    bool list = args.kind == SY__UNDEFINED || (args.kind == SY__SEQ && (args.seq->form == SY__LIST || args.seq->form == SY__RANGE));      /* like a dict, it may stay unused */
    if (args.kind == SY__SEQ && args.seq->form == SY__TUPLE ? used < args.seq->n : !used && args.kind != SY__DICT && !list)
        return sy__t_fail(r, SY_EFORMAT, "not all arguments are used by the format");
    return sy__t_done(r, &o, out);
}
