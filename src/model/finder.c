/* model/finder.c - places in a text. */
#include "model/finder.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "core/alloc.h"
#include "core/utf8.h"
#include "model/pretoken.h"

/* --- sets ------------------------------------------------------------------------------------------------------------------ */

uint32_t sy__category(uint32_t cp) { return 1u << utf8proc_category((utf8proc_int32_t)cp); }

bool sy__set_has(const sy__set *s, uint32_t cp)
{
    if (cp < 128) return (s->ascii[cp / 64] >> cp % 64 & 1) != s->negated;
    if (s->has) return s->has(cp) != s->negated;
    bool in = (s->categories && s->categories & sy__category(cp)) || (s->space && sy__is_space(cp));
    int lo = 0, hi = in ? 0 : s->n;
    while (lo < hi) {                                /* the last range that begins at cp or before */
        int mid = lo + (hi - lo) / 2;
        if (s->range[mid].lo <= cp) lo = mid + 1;
        else hi = mid;
    }
    return (in || (lo && cp <= s->range[lo - 1].hi)) != s->negated;
}

bool sy__set_range(sy__set *s, uint32_t lo, uint32_t hi)
{
    for (uint32_t c = lo; c <= hi && c < 128; c++) s->ascii[c / 64] |= (uint64_t)1 << c % 64;
    if (hi < 128) return true;
    if (lo < 128) lo = 128;
    int at = 0, gone = 0;
    while (at < s->n && s->range[at].hi + 1 < lo) at++;
    for (; at + gone < s->n && s->range[at + gone].lo <= hi + 1; gone++) {       /* one with those that it touches */
        if (s->range[at + gone].lo < lo) lo = s->range[at + gone].lo;
        if (s->range[at + gone].hi > hi) hi = s->range[at + gone].hi;
    }
    if (s->n + 1 - gone > SY__MOST_RANGES) return false;
    memmove(&s->range[at + 1], &s->range[at + gone], (size_t)(s->n - at - gone) * sizeof *s->range);
    s->range[at].lo = lo;
    s->range[at].hi = hi;
    s->n += 1 - gone;
    return true;
}

void sy__set_categories(sy__set *s, uint32_t categories)
{
    s->categories |= categories;
    for (uint32_t c = 0; c < 128; c++) if (sy__category(c) & categories) sy__set_range(s, c, c);
}

void sy__set_spaces(sy__set *s)
{
    s->space = true;
    for (uint32_t c = 0; c < 128; c++) if (sy__is_space(c)) sy__set_range(s, c, c);
}

/* --- expressions that are one set ------------------------------------------------------------------------------------------- */

/* [lead?] set{least,most}: most of the expressions that are applied one after the other. */
typedef struct simple {
    sy__set set;
    char    lead;                       /* ' ': one may come before; 's': any white space; 0: nothing */
    int     least, most;                /* most 0: without end */
} simple;

struct reading { const char *s; bool fine; };

static uint32_t next_char(struct reading *r)
{
    uint32_t cp;
    size_t n = strlen(r->s);
    if (!n) { r->fine = false; return 0; }
    int len = sy_utf8_next(r->s, n, &cp);
    r->s += len < 0 ? -len : len;
    return cp;
}

static bool take_text(struct reading *r, const char *text)
{
    size_t n = strlen(text);
    if (strncmp(r->s, text, n)) return false;
    r->s += n;
    return true;
}

/* Behind a backslash: a class goes into the set (true), a character to *cp. What is unknown ends the reading. */
static bool read_escape(struct reading *r, sy__set *set, uint32_t *cp)
{
    static const struct { const char *name; uint32_t categories; } known[] = {
        { "p{L}", SY__CATEGORY_L }, { "p{M}", SY__CATEGORY_M }, { "p{N}", SY__CATEGORY_N }, { "p{P}", SY__CATEGORY_P }, { "p{S}", SY__CATEGORY_S },
        { "p{Lu}", 1u << UTF8PROC_CATEGORY_LU }, { "p{Ll}", 1u << UTF8PROC_CATEGORY_LL }, { "p{Lt}", 1u << UTF8PROC_CATEGORY_LT }, { "p{Lm}", 1u << UTF8PROC_CATEGORY_LM },
        { "p{Lo}", 1u << UTF8PROC_CATEGORY_LO }, { "p{Nd}", 1u << UTF8PROC_CATEGORY_ND }, { "d", 1u << UTF8PROC_CATEGORY_ND },
    };
    for (size_t i = 0; i < SY_COUNT(known); i++)
        if (take_text(r, known[i].name)) { sy__set_categories(set, known[i].categories); return true; }
    if (take_text(r, "s")) { sy__set_spaces(set); return true; }
    uint32_t c = next_char(r);
    *cp = c == 'r' ? '\r' : c == 'n' ? '\n' : c == 't' ? '\t' : c;
    if (c >= 128 || ((c | 32) >= 'a' && (c | 32) <= 'z' && *cp == c) || (c >= '0' && c <= '9')) r->fine = false;
    return false;
}

static void read_class(struct reading *r, sy__set *set)
{
    set->negated = take_text(r, "^");
    for (bool first = true; r->fine && (first || *r->s != ']'); first = false) {
        uint32_t lo = next_char(r), hi;
        if (lo == '[' || (lo == '&' && *r->s == '&')) r->fine = false;
        if (lo == '\\' && read_escape(r, set, &lo)) continue;
        hi = lo;
        if (r->s[0] == '-' && r->s[1] && r->s[1] != ']') {
            r->s++;
            hi = next_char(r);
            if (hi == '[' || (hi == '\\' && read_escape(r, set, &hi))) r->fine = false;
        }
        if (hi < lo || !sy__set_range(set, lo, hi)) r->fine = false;
    }
    r->s += r->fine;                    /* the bracket */
}

static void read_count(struct reading *r, simple *x)
{
    x->least = x->most = 1;
    if (take_text(r, "+")) x->most = 0;
    else if (take_text(r, "{")) {
        char *end;
        long lo = strtol(r->s, &end, 10), hi = lo;
        if (*end == ',') hi = strtol(end + 1, &end, 10);
        if (*end != '}' || lo < 1 || hi < lo || hi > 1000) r->fine = false;
        else r->s = end + 1;
        x->least = (int)lo;
        x->most = (int)hi;
    }
}

static bool read_simple(const char *regex, simple *x)
{
    struct reading r = { regex, true };
    uint32_t cp;
    *x = (simple){ 0 };
    if (take_text(&r, " ?")) x->lead = ' ';
    else if (take_text(&r, "\\s?")) x->lead = 's';
    if (!*r.s || strchr("(|.^$?*+{", *r.s)) return false;
    if (take_text(&r, "[")) read_class(&r, &x->set);
    else {
        cp = next_char(&r);
        if (cp != '\\' || !read_escape(&r, &x->set, &cp)) r.fine &= sy__set_range(&x->set, cp, cp);
    }
    read_count(&r, x);
    return r.fine && !*r.s;
}

static size_t match_simple(const simple *x, const char *s, size_t n)
{
    size_t from[2] = { 0, 0 }, starts = 1;
    uint32_t cp;
    if (x->lead) {
        int len = sy_utf8_next(s, n, &cp);
        if (len > 0 && (x->lead == ' ' ? cp == ' ' : sy__is_space(cp))) from[0] = (size_t)len, starts = 2;
    }
    for (size_t k = 0; k < starts; k++) {
        size_t i = from[k];
        int count = 0;
        while (i < n && (!x->most || count < x->most)) {
            int len = sy_utf8_next(s + i, n - i, &cp);
            if (!sy__set_has(&x->set, cp)) break;
            i += (size_t)(len < 0 ? -len : len);
            count++;
        }
        if (count >= x->least) return i;
    }
    return 0;
}

/* --- finders --------------------------------------------------------------------------------------------------------------- */

struct sy__finder {
    enum { FIND_SIMPLE, FIND_TEXT, FIND_CUT, FIND_SPACES_AT_END, FIND_PCRE } kind;
    simple      simple;
    sy__cut    *cut;
    char       *text;                   /* the literal text, or the expression */
    size_t      n;
    pcre2_code *code;
    bool        may_be_empty;
};

/* An expression may take this many steps of PCRE2 at one place, and so much memory: texts take linear time at worst. */
enum { MOST_STEPS = 20000, MOST_DEPTH = 20000, MOST_HEAP_KIB = 64 << 10, MOST_REGEX = 1 << 16 };

static void *pcre_alloc(size_t n, void *arg) { (void)arg; return sy_malloc(n); }
static void pcre_free(void *p, void *arg) { (void)arg; sy_free(p); }

static sy_status new_finder(sy__finder **out, const char *text, size_t n, sy_err *err)
{
    sy__finder *f = sy_calloc(1, sizeof *f);
    if (f && text && (f->text = sy_malloc(n + 1)) != NULL) {
        memcpy(f->text, text, n);
        f->text[n] = 0;
        f->n = n;
    }
    if (!f || (text && !f->text)) {
        sy__finder_close(f);
        return sy_fail(err, SY_ENOMEM, "no memory for a pattern");
    }
    *out = f;
    return SY_OK;
}

sy_status sy__finder_open_set(sy__finder **out, const sy__set *set, bool runs, sy_err *err)
{
    SY_TRY(new_finder(out, NULL, 0, err));
    (*out)->kind = FIND_SIMPLE;
    (*out)->simple = (simple){ .set = *set, .least = 1, .most = !runs };
    return SY_OK;
}

sy_status sy__finder_open_text(sy__finder **out, const char *text, size_t n, sy_err *err)
{
    SY_TRY(new_finder(out, text, n, err));
    (*out)->kind = FIND_TEXT;
    return SY_OK;
}

sy_status sy__finder_open_words(sy__finder **out, sy_err *err)
{
    SY_TRY(new_finder(out, NULL, 0, err));
    (*out)->kind = FIND_CUT;
    (*out)->cut = sy__cut_words;
    return SY_OK;
}

/* What means something else in the two dialects; NULL: nothing. */
static const char *foreign(const char *s)
{
    bool class = false;
    for (; *s; s++) {
        if (*s == '\\') {
            s++;
            if (!*s) return NULL;
            if (strchr("hHkgCKGQEXRyYO", *s)) return "a backslash before one of h H k g C K G Q E X R y Y O";
            continue;
        }
        if (class && s[0] == '&' && s[1] == '&') return "&& in a class";
        if (class && *s == '[' && s[1] != ':') return "a class in a class";
        if (*s == '[') class = true;
        if (*s == ']') class = false;
        if (!class && s[0] == '(' && s[1] == '?' && s[2] && !strchr(":=!<>i", s[2])) return "(? with something else than : = ! < > i";
        if (!class && s[0] == '(' && s[1] == '*') return "(*";
    }
    return NULL;
}

/* Line ends in an expression may be written as themselves. */
static sy_status plain_line_ends(const char *regex, sy_buf *out, sy_err *err)
{
    for (; *regex; regex++) {
        if (*regex == '\r') sy_buf_text(out, "\\r");
        else if (*regex == '\n') sy_buf_text(out, "\\n");
        else sy_buf_put(out, regex, 1);
    }
    return out->failed ? sy_fail(err, SY_ENOMEM, "no memory for a pattern") : SY_OK;
}

/* What a word is made of: marks, too, which PCRE2 leaves out. Outside of classes the package also takes some signs of Latin-1 for it. */
#define WORD_IN_CLASS "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24B6}-\\x{24E9}\\x{1F130}-\\x{1F149}\\x{1F150}-\\x{1F169}\\x{1F170}-\\x{1F189}"
#define WORD "\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}" WORD_IN_CLASS
static sy_status spell_words(const char *regex, sy_buf *out, sy_err *err)
{
    bool class = false;
    for (const char *s = regex; *s; s++) {
        if (*s == '[') class = true;
        if (*s == ']') class = false;
        if (*s != '\\' || !s[1]) { sy_buf_put(out, s, 1); continue; }
        s++;
        if (*s == 'w') sy_buf_text(out, class ? WORD_IN_CLASS : "[" WORD "]");
        else if (*s == 'W' && !class) sy_buf_text(out, "[^" WORD "]");
        else if (*s == 'b' && !class) sy_buf_text(out, "(?:(?<=[" WORD "])(?![" WORD "])|(?<![" WORD "])(?=[" WORD "]))");
        else if (*s == 'B' && !class) sy_buf_text(out, "(?:(?<=[" WORD "])(?=[" WORD "])|(?<![" WORD "])(?![" WORD "]))");
        else if (strchr("WbB", *s)) return sy_fail(err, SY_EUNSUP, "\"%.100s\" has \\%c in a class, which is not supported", regex, *s);
        else sy_buf_put(out, s - 1, 2);
    }
    return out->failed ? sy_fail(err, SY_ENOMEM, "no memory for a pattern") : SY_OK;
}

static sy_status compile(sy__finder *f, sy_err *err)
{
    int code;
    PCRE2_SIZE where;
    uint32_t empty = 0;
    PCRE2_UCHAR why[120];
    const char *strange = foreign(f->text);
    if (strange) return sy_fail(err, SY_EUNSUP, "\"%.100s\" has %s, which is not supported", f->text, strange);
    sy_buf spelled = { 0 };
    sy_status st = spell_words(f->text, &spelled, err);
    if (st != SY_OK) { sy_buf_free(&spelled); return st; }
    pcre2_general_context *g = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
    pcre2_compile_context *c = g ? pcre2_compile_context_create(g) : NULL;
    if (c) {
        pcre2_set_parens_nest_limit(c, 50);
        pcre2_set_newline(c, PCRE2_NEWLINE_LF);
        f->code = pcre2_compile((PCRE2_SPTR)spelled.data, spelled.n, PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | PCRE2_NO_UTF_CHECK, &code, &where, c);
    }
    pcre2_compile_context_free(c);
    pcre2_general_context_free(g);
    sy_buf_free(&spelled);
    if (!c || (!f->code && code == PCRE2_ERROR_NOMEMORY) || (!f->code && code == 121)) return sy_fail(err, SY_ENOMEM, "no memory for a pattern");
    if (!f->code) {
        pcre2_get_error_message(code, why, sizeof why);
        return sy_fail(err, SY_EFORMAT, "\"%.100s\" is no pattern: %s at byte %zu", f->text, (char *)why, (size_t)where);
    }
    pcre2_pattern_info(f->code, PCRE2_INFO_MATCHEMPTY, &empty);
    f->may_be_empty = empty;
    return SY_OK;
}

sy_status sy__finder_open_regex(sy__finder **out, const char *regex, sy_err *err)
{
    sy_buf b = { 0 };
    sy__finder *f = NULL;
    size_t n = strlen(regex);
    if (!n) return sy_fail(err, SY_EFORMAT, "\"\" is an empty pattern");
    if (n > MOST_REGEX) return sy_fail(err, SY_EUNSUP, "\"%.40s...\" has %zu bytes; %d is the most", regex, n, MOST_REGEX);
    sy_status st = new_finder(&f, regex, n, err);
    if (st == SY_OK) st = plain_line_ends(regex, &b, err);
    if (st == SY_OK) {
        if ((f->cut = sy__cut_of(b.data)) != NULL) f->kind = FIND_CUT;
        else if (!strcmp(b.data, "\\s+$")) f->kind = FIND_SPACES_AT_END;
        else if (read_simple(b.data, &f->simple)) f->kind = FIND_SIMPLE;
        else {
            f->kind = FIND_PCRE;
            st = compile(f, err);
        }
    }
    sy_buf_free(&b);
    if (st != SY_OK) { sy__finder_close(f); return st; }
    *out = f;
    return SY_OK;
}

void sy__finder_close(sy__finder *f)
{
    if (!f) return;
    pcre2_code_free(f->code);
    sy_free(f->text);
    sy_free(f);
}

bool sy__finder_may_be_empty(const sy__finder *f) { return f->may_be_empty; }
bool sy__finder_slow(const sy__finder *f) { return f->kind == FIND_PCRE; }
sy__cut *sy__finder_cut(const sy__finder *f) { return f->kind == FIND_CUT && f->cut != sy__cut_deepseek3 && f->cut != sy__cut_words ? f->cut : NULL; }

/* --- finding --------------------------------------------------------------------------------------------------------------- */

typedef struct pcre_room { pcre2_general_context *g; pcre2_match_context *c; pcre2_match_data *m; } pcre_room;

void sy__find_free(void *room)
{
    pcre_room *r = room;
    if (!r) return;
    pcre2_match_data_free(r->m);
    pcre2_match_context_free(r->c);
    pcre2_general_context_free(r->g);
    sy_free(r);
}

static sy_status open_room(void **room, sy_err *err)
{
    pcre_room *r = sy_calloc(1, sizeof *r);
    *room = r;
    if (r) r->g = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
    if (r && r->g) r->c = pcre2_match_context_create(r->g);
    if (r && r->c) r->m = pcre2_match_data_create(1, r->g);
    if (!r || !r->m) return sy_fail(err, SY_ENOMEM, "no memory to match a pattern");
    pcre2_set_match_limit(r->c, MOST_STEPS);
    pcre2_set_depth_limit(r->c, MOST_DEPTH);
    pcre2_set_heap_limit(r->c, MOST_HEAP_KIB);
    return SY_OK;
}

static sy_status find_pcre(const sy__finder *f, void **room, const char *s, size_t n, size_t from, size_t *at, size_t *end, bool *found, sy_err *err)
{
    if (!*room) SY_TRY(open_room(room, err));
    pcre_room *r = *room;
    int rc = pcre2_match(f->code, (PCRE2_SPTR)s, n, from, PCRE2_NO_UTF_CHECK, r->m, r->c);
    *found = rc >= 0;
    if (rc == PCRE2_ERROR_NOMATCH) return SY_OK;
    if (rc == PCRE2_ERROR_NOMEMORY) return sy_fail(err, SY_ENOMEM, "no memory to match a pattern");
    if (rc < 0) return sy_fail(err, SY_EUNSUP, "the pattern \"%.100s\" takes more than %d steps or %d KiB at one place of this text; the tokenizer needs another pattern, or the text a line break", f->text, MOST_STEPS, MOST_HEAP_KIB);
    PCRE2_SIZE *v = pcre2_get_ovector_pointer(r->m);
    *at = v[0];
    *end = v[1] < v[0] ? v[0] : v[1];                /* \K in a look-ahead */
    return SY_OK;
}

/* \s+$ for a $ that is the end of any line: the run of white space up to the end of the text, else up to its last line end. */
static bool find_spaces_at_end(const char *s, size_t n, size_t from, size_t *at, size_t *end)
{
    for (size_t i = from; i < n; ) {
        size_t last = 0, j = i;
        uint32_t cp;
        for (int len; j < n && (len = sy_utf8_next(s + j, n - j, &cp)) > 0 && sy__is_space(cp); j += (size_t)len)
            if (s[j] == '\n' && j > i) last = j;
        *at = i;
        *end = j == n ? n : last;
        if (j > i && *end) return true;
        if (j == i) {
            int len = sy_utf8_next(s + j, n - j, &cp);
            j += (size_t)(len < 0 ? -len : len);
        }
        i = j;
    }
    return false;
}

sy_status sy__find(const sy__finder *f, void **room, const char *s, size_t n, size_t from, size_t *at, size_t *end, bool *found, sy_err *err)
{
    *found = false;
    if (f->kind == FIND_PCRE) return find_pcre(f, room, s, n, from, at, end, found, err);
    if (f->kind == FIND_SPACES_AT_END) { *found = find_spaces_at_end(s, n, from, at, end); return SY_OK; }
    if (f->kind == FIND_TEXT) {
        const char *hit = from < n ? memmem(s + from, n - from, f->text, f->n) : NULL;
        *found = hit != NULL;
        if (hit) *at = (size_t)(hit - s), *end = *at + f->n;
        return SY_OK;
    }
    for (size_t i = from; i < n; ) {
        uint32_t cp;
        size_t len = f->kind == FIND_CUT ? f->cut(s + i, n - i) : match_simple(&f->simple, s + i, n - i);
        if (len) { *at = i; *end = i + len; *found = true; return SY_OK; }
        int k = sy_utf8_next(s + i, n - i, &cp);
        i += (size_t)(k < 0 ? -k : k);
    }
    return SY_OK;
}

/* --- cutting at matches ------------------------------------------------------------------------------------------------------ */

struct cutter { const sy__piece *p; sy__take *take; void *arg; };

static sy_status hand_on(const struct cutter *c, size_t from, size_t to, sy_err *err)
{
    if (from >= to) return SY_OK;
    sy__piece part = sy__part(c->p, from, to);
    return c->take(c->arg, &part, err);
}

/* The state between two stretches: what is not handed on yet, whether there is something, and whether the last was a match. */
struct held { size_t from, to; bool any, match; };

static sy_status stretch(const struct cutter *c, sy__behavior behavior, struct held *h, size_t from, size_t to, bool match, sy_err *err)
{
    bool join = false;
    switch (behavior) {
    case SY__REMOVED:  return match ? SY_OK : hand_on(c, from, to, err);
    case SY__ISOLATED: return hand_on(c, from, to, err);
    case SY__CONTIGUOUS:    join = h->any && match == h->match; break;
    case SY__WITH_PREVIOUS: join = h->any && match && !h->match; break;
    case SY__WITH_NEXT:     join = h->any && h->match && !match; break;       /* what is held is one match, alone */
    }
    if (!join && h->any) SY_TRY(hand_on(c, h->from, h->to, err));
    *h = (struct held){ join ? h->from : from, to, true, match };
    return SY_OK;
}

sy_status sy__split(const sy__finder *f, void **room, sy__behavior behavior, bool inverted, const sy__piece *p, sy__take *take, void *arg, sy_err *err)
{
    struct cutter c = { p, take, arg };
    struct held h = { 0 };
    size_t done = 0, look = 0;
    for (;;) {
        size_t at = 0, end = 0;
        bool found;
        SY_TRY(sy__find(f, room, p->s, p->n, look, &at, &end, &found, err));
        if (!found) break;
        if (at == end && at == done && done) {       /* an empty match right behind another is none */
            uint32_t cp;
            if (at >= p->n) break;
            int len = sy_utf8_next(p->s + at, p->n - at, &cp);
            look = at + (size_t)(len < 0 ? -len : len);
            continue;
        }
        if (at > done) SY_TRY(stretch(&c, behavior, &h, done, at, inverted, err));
        SY_TRY(stretch(&c, behavior, &h, at, end, !inverted, err));
        done = look = end;
        if (at == end) {
            uint32_t cp;
            if (at >= p->n) break;
            int len = sy_utf8_next(p->s + at, p->n - at, &cp);
            look = at + (size_t)(len < 0 ? -len : len);
        }
    }
    if (done < p->n) SY_TRY(stretch(&c, behavior, &h, done, p->n, inverted, err));
    return h.any ? hand_on(&c, h.from, h.to, err) : SY_OK;
}
