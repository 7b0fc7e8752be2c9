/* model/template_lex.c - a template's text as tokens, with Jinja's rules for white space around tags. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/number.h"
#include "core/utf8.h"
#include "model/template_parts.h"

typedef struct lexer {
    sy_template *t;
    const char  *s;                     /* the text, line ends as \n; a NUL behind */
    size_t       n, at;
    int          line;
    size_t       counted;               /* lines were counted up to here */
    sy__token   *token;
    size_t       tokens, room;
    sy_err      *err;
} lexer;

sy_status sy__template_fail(const sy_template *t, int line, sy_status status, sy_err *err, const char *fmt, ...)
{
    char text[900];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return sy_fail(err, status, "%s, line %d: %s", t->name, line, text);
}

static int line_of(lexer *x, size_t at)
{
    for (; x->counted < at; x->counted++) x->line += x->s[x->counted] == '\n';
    return x->line;
}

static sy_status add(lexer *x, sy__token token)
{
    if (x->tokens == x->room) {
        size_t room = x->room ? 2 * x->room : 256;
        sy__token *more = sy_arena_array(&x->t->arena, room, sizeof *more);
        if (!more) return sy_fail(x->err, SY_ENOMEM, "no memory for the tokens of %s", x->t->name);
        if (x->tokens) memcpy(more, x->token, x->tokens * sizeof *more);
        x->token = more;
        x->room = room;
    }
    x->token[x->tokens++] = token;
    return SY_OK;
}

static sy_status add_text(lexer *x, int kind, size_t from, size_t end)
{
    char *s = sy_arena_alloc(&x->t->arena, end - from + 1);
    if (!s) return sy_fail(x->err, SY_ENOMEM, "no memory for the text of %s", x->t->name);
    memcpy(s, x->s + from, end - from);
    s[end - from] = 0;
    return add(x, (sy__token){ .kind = kind, .line = line_of(x, from), .s = s, .n = end - from });
}

/* --- numbers, names, strings ------------------------------------------------------------------------------------------------- */

static bool digit(char c) { return c >= '0' && c <= '9'; }
static bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

/* End of (\d+_)*\d+ that begins at `at`; `at` itself when there is none. */
static size_t digits(const lexer *x, size_t at)
{
    size_t end = at;
    while (digit(x->s[end]) || (x->s[end] == '_' && end > at && digit(x->s[end + 1]))) end++;
    return end;
}

static sy_status lex_real(lexer *x, size_t end)
{
    char few[400], *tail;
    size_t k = 0;
    for (size_t i = x->at; i < end; i++) if (x->s[i] != '_' && k + 1 < sizeof few) few[k++] = x->s[i];
    few[k] = 0;
    sy__token token = { .kind = SY__T_REAL, .line = line_of(x, x->at), .r = sy_real_read(few, &tail) };
    x->at = end;
    return add(x, token);
}

static sy_status lex_number(lexer *x)
{
    size_t end = digits(x, x->at), from = x->at;
    bool after_dot = from && x->s[from - 1] == '.';
    if (!after_dot) {
        size_t e = end;
        if (x->s[e] == '.' && digit(x->s[e + 1])) e = digits(x, e + 1);
        if (x->s[e] == 'e' || x->s[e] == 'E') {
            size_t sign = e + 1 + (x->s[e + 1] == '+' || x->s[e + 1] == '-');
            if (digit(x->s[sign])) e = digits(x, sign);
        }
        if (e > end) return lex_real(x, e);
    }
    int base = 10;
    char kind = (char)(x->s[from + 1] | 32);
    if (x->s[from] == '0' && (kind == 'x' || kind == 'o' || kind == 'b')) {
        base = kind == 'x' ? 16 : kind == 'o' ? 8 : 2;
        from += 2;
        end = from;
    } else if (x->s[from] == '0') {                  /* 0(_?0)*: no number begins with a zero */
        for (end = from + 1; x->s[end] == '0' || (x->s[end] == '_' && x->s[end + 1] == '0'); end++) continue;
    }
    int64_t v = 0;
    size_t at = from;
    for (;; at++) {
        char c = x->s[at];
        int d = digit(c) ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : 99;
        if (c == '_' && base != 10) continue;
        if (base == 10 ? at >= end : d >= base) break;
        if (c == '_') continue;
        if (__builtin_mul_overflow(v, base, &v) || __builtin_add_overflow(v, d, &v))
            return sy__template_fail(x->t, line_of(x, from), SY_EFORMAT, x->err, "a whole number has more than 64 bits");
    }
    if (at == from) return sy__template_fail(x->t, line_of(x, from), SY_EFORMAT, x->err, "a number without digits");
    sy__token token = { .kind = SY__T_INT, .line = line_of(x, x->at), .i = v };
    x->at = at;
    return add(x, token);
}

/* A number of `most` digits of a base behind a backslash; -1: there is none, or too few. */
static long escape_number(const char *s, size_t n, int most, int base, bool all, size_t *used)
{
    long v = 0;
    int k = 0;
    for (; k < most && (size_t)k < n; k++) {
        char c = s[k];
        int d = digit(c) ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : 99;
        if (d >= base) break;
        v = v * base + d;
    }
    *used = (size_t)k;
    return k == 0 || (all && k < most) ? -1 : v;
}

/* Python's escapes. Writes what stands behind the backslash at s[0]; returns the bytes read, 0: malformed. */
static size_t unescape(const char *s, size_t n, char *out, size_t *k)
{
    static const char plain[] = "\\'\"abfnrtv", means[] = "\\'\"\a\b\f\n\r\t\v";
    const char *p = n > 1 && s[1] ? strchr(plain, s[1]) : NULL;
    size_t used;
    long v;
    if (p) {
        out[(*k)++] = means[p - plain];
        return 2;
    }
    if (n > 1 && s[1] == '\n') return 2;
    if (n > 1 && s[1] >= '0' && s[1] <= '7') {
        v = escape_number(s + 1, n - 1, 3, 8, false, &used);
        *k += (size_t)sy_utf8_put((uint32_t)v, out + *k);
        return 1 + used;
    }
    int most = n < 2 ? 0 : s[1] == 'x' ? 2 : s[1] == 'u' ? 4 : s[1] == 'U' ? 8 : 0;
    if (n > 1 && s[1] == 'N') return 0;
    if (!most) {
        out[(*k)++] = '\\';
        return 1;
    }
    v = escape_number(s + 2, n - 2, most, 16, true, &used);
    if (v < 0 || v > 0x10FFFF || (v >= 0xD800 && v < 0xE000)) return 0;
    *k += (size_t)sy_utf8_put((uint32_t)v, out + *k);
    return 2 + used;
}

static sy_status lex_string(lexer *x)
{
    char quote = x->s[x->at];
    size_t from = x->at + 1, end = from, k = 0;
    int line = line_of(x, x->at);
    while (end < x->n && x->s[end] != quote) end += x->s[end] == '\\' && end + 1 < x->n ? 2 : 1;
    if (end >= x->n) return sy__template_fail(x->t, line, SY_EFORMAT, x->err, "a text begins with %c and does not end", quote);
    char *out = sy_arena_alloc(&x->t->arena, end - from + 1);
    if (!out) return sy_fail(x->err, SY_ENOMEM, "no memory for the text of %s", x->t->name);
    for (size_t i = from; i < end; ) {
        if (x->s[i] != '\\') {
            out[k++] = x->s[i++];
            continue;
        }
        size_t used = unescape(x->s + i, end - i, out, &k);         /* never writes more than it reads */
        if (!used) return sy__template_fail(x->t, line_of(x, i), SY_EFORMAT, x->err, "'%.6s' in a text is no character", x->s + i);
        i += used;
    }
    out[k] = 0;
    x->at = end + 1;
    return add(x, (sy__token){ .kind = SY__T_STRING, .line = line, .s = out, .n = k });
}

static sy_status lex_name(lexer *x)
{
    size_t end = x->at;
    while (letter(x->s[end]) || digit(x->s[end])) end++;
    SY_TRY(add_text(x, SY__T_NAME, x->at, end));
    x->at = end;
    return SY_OK;
}

static char operator_at(const char *s, size_t *n)
{
    static const struct { char text[3], op; } two[] = { { "==", 'E' }, { "!=", 'N' }, { ">=", 'G' }, { "<=", 'L' }, { "//", 'D' }, { "**", 'P' } };
    *n = 2;
    for (size_t i = 0; i < SY_COUNT(two); i++) if (s[0] == two[i].text[0] && s[1] == two[i].text[1]) return two[i].op;
    *n = 1;
    return s[0] && strchr("+-/*%~[](){}><=.:|,;", s[0]) ? s[0] : 0;
}

/* --- tags -------------------------------------------------------------------------------------------------------------------- */

static void skip_space(lexer *x) { x->at += sy__t_lead(x->s + x->at, x->n - x->at); }

static bool follows(const lexer *x, size_t at, const char *text) { return !strncmp(x->s + at, text, strlen(text)); }

/* The end of a tag at x->at with the white space that it takes along. `one` line break belongs to it when nothing says otherwise. */
static bool tag_end(lexer *x, const char *end, bool one, bool plus)
{
    size_t at = x->at;
    bool minus = x->s[at] == '-' && follows(x, at + 1, end);
    if (minus || (plus && x->s[at] == '+' && follows(x, at + 1, end))) {
        x->at = at + 1 + strlen(end);
        if (minus) skip_space(x);
        return true;
    }
    if (!follows(x, at, end)) return false;
    x->at = at + strlen(end);
    if (one && x->s[x->at] == '\n') x->at++;
    return true;
}

static sy_status lex_tag(lexer *x, bool block)
{
    int opened = line_of(x, x->at), deep = 0;
    char open[512];
    x->at += 2;
    if (x->s[x->at] == '-' || x->s[x->at] == '+') x->at++;
    SY_TRY(add(x, (sy__token){ .kind = block ? SY__T_BLOCK : SY__T_VARIABLE, .line = opened }));
    for (;;) {
        int line = line_of(x, x->at);
        if (!deep && tag_end(x, block ? "%}" : "}}", block, block)) return add(x, (sy__token){ .kind = block ? SY__T_BLOCK_END : SY__T_VARIABLE_END, .line = line });
        if (x->at >= x->n) return sy__template_fail(x->t, opened, SY_EFORMAT, x->err, "a tag begins here and does not end");
        char c = x->s[x->at], op;
        size_t n;
        if (sy__t_lead(x->s + x->at, x->n - x->at)) skip_space(x);
        else if (digit(c)) SY_TRY(lex_number(x));
        else if (letter(c)) SY_TRY(lex_name(x));
        else if (c == '"' || c == '\'') SY_TRY(lex_string(x));
        else if ((op = operator_at(x->s + x->at, &n)) != 0) {
            if (strchr("([{", op)) {
                if (deep == (int)sizeof open) return sy__template_fail(x->t, line, SY_ESHAPE, x->err, "more than %zu brackets are open", sizeof open);
                open[deep++] = op == '(' ? ')' : op == '[' ? ']' : '}';
            } else if (strchr(")]}", op) && (!deep || open[--deep] != op))
                return sy__template_fail(x->t, line, SY_EFORMAT, x->err, "a '%c' closes nothing", op);
            SY_TRY(add(x, (sy__token){ .kind = SY__T_OP, .line = line, .op = op }));
            x->at += n;
        } else return sy__template_fail(x->t, line, SY_EFORMAT, x->err, "a byte 0x%02x has no meaning in a tag", (unsigned char)c);
    }
}

static sy_status skip_comment(lexer *x)
{
    int line = line_of(x, x->at);
    for (x->at += 2; x->at < x->n; x->at++) if (tag_end(x, "#}", true, true)) return SY_OK;
    return sy__template_fail(x->t, line, SY_EFORMAT, x->err, "a comment begins here and does not end");
}

/* Where the text before a tag at `tag` ends, after what the tag takes away. */
static size_t text_end(const lexer *x, size_t from, size_t tag)
{
    char sign = x->s[tag + 2];
    if (sign == '-') return tag - sy__t_trail(x->s + from, tag - from);
    if (sign == '+' || x->s[tag + 1] == '{') return tag;
    size_t line = tag;
    while (line > from && x->s[line - 1] != '\n') line--;
    bool starts = line > from || !from || x->s[from - 1] == '\n';
    return starts && sy__t_lead(x->s + line, tag - line) == tag - line ? line : tag;
}

/* {% raw %} at x->at: *inside is where its text begins. */
static bool at_word(const lexer *x, size_t tag, const char *word, lexer *behind)
{
    *behind = *x;
    behind->at = tag + 2;
    if (x->s[behind->at] == '-' || x->s[behind->at] == '+') behind->at++;
    skip_space(behind);
    if (!follows(x, behind->at, word)) return false;
    behind->at += strlen(word);
    skip_space(behind);
    return tag_end(behind, "%}", !strcmp(word, "endraw"), !strcmp(word, "endraw"));
}

static sy_status lex_raw(lexer *x, size_t from)
{
    lexer behind;
    for (size_t at = from; at + 1 < x->n; at++) {
        if (x->s[at] != '{' || x->s[at + 1] != '%' || !at_word(x, at, "endraw", &behind)) continue;
        size_t end = text_end(x, from, at);
        if (end > from) SY_TRY(add_text(x, SY__T_DATA, from, end));
        x->at = behind.at;
        return SY_OK;
    }
    return sy__template_fail(x->t, line_of(x, x->at), SY_EFORMAT, x->err, "'raw' begins here and no 'endraw' follows");
}

static size_t next_tag(const lexer *x)
{
    for (size_t at = x->at; at + 1 < x->n; at++)
        if (x->s[at] == '{' && (x->s[at + 1] == '%' || x->s[at + 1] == '{' || x->s[at + 1] == '#')) return at;
    return x->n;
}

static sy_status lex_all(lexer *x)
{
    lexer behind;
    while (x->at < x->n) {
        size_t tag = next_tag(x), from = x->at, end = tag < x->n ? text_end(x, from, tag) : tag;
        if (end > from) SY_TRY(add_text(x, SY__T_DATA, from, end));
        x->at = tag;
        if (tag == x->n) break;
        char kind = x->s[tag + 1];
        if (kind == '#') SY_TRY(skip_comment(x));
        else if (kind == '%' && at_word(x, tag, "raw", &behind)) SY_TRY(lex_raw(x, behind.at));
        else SY_TRY(lex_tag(x, kind == '%'));
    }
    return add(x, (sy__token){ .kind = SY__T_END, .line = line_of(x, x->n) });
}

sy_status sy__template_lex(sy_template *t, const char *text, size_t n, sy__token **out, sy_err *err)
{
    char *s = sy_arena_alloc(&t->arena, n + 4);      /* NULs behind: three letters may be looked at anywhere */
    lexer x = { .t = t, .s = s, .line = 1, .err = err };
    uint32_t cp;
    if (!s) return sy_fail(err, SY_ENOMEM, "no memory for %s of %zu bytes", t->name, n);
    for (size_t i = 0; i < n; ) {
        int k = sy_utf8_next(text + i, n - i, &cp);
        if (k < 0) return sy_fail(err, SY_EFORMAT, "%s: byte %zu is not UTF-8", t->name, i);
        if (cp == '\r') s[x.n++] = '\n', i += i + 1 < n && text[i + 1] == '\n';
        else memcpy(s + x.n, text + i, (size_t)k), x.n += (size_t)k;
        i += (size_t)k;
    }
    if (x.n && s[x.n - 1] == '\n') x.n--;            /* a template's last line break is no part of it */
    memset(s + x.n, 0, 4);
    SY_TRY(lex_all(&x));
    *out = x.token;
    return SY_OK;
}
