/* core/option.c - reading, checking and printing options by their table. */
#include "core/option.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/number.h"

static int each(const sy_opt *rows, size_t base, int index, void (*fn)(const sy_opt *, size_t, int, void *), void *arg)
{
    for (; rows->type != SY_OPT_END; rows++)
        if (rows->type == SY_OPT_GROUP) index = each(rows->group, base + rows->at, index, fn, arg);
        else fn(rows, base + rows->at, index++, arg);
    return index;
}

void sy_opt_each(const sy_opt *rows, void (*fn)(const sy_opt *row, size_t at, int index, void *arg), void *arg)
{
    if (rows) each(rows, 0, 0, fn, arg);
}

static void set_default(const sy_opt *row, size_t at, int index, void *s)
{
    (void)index;
    char *f = (char *)s + at;
    switch (row->type) {
    case SY_OPT_INT: case SY_OPT_ENUM: *(int *)f = (int)row->def; break;
    case SY_OPT_REAL: *(double *)f = row->def; break;
    case SY_OPT_BOOL: *(bool *)f = row->def != 0; break;
    case SY_OPT_TEXT: *(const char **)f = row->text; break;
    case SY_OPT_END: case SY_OPT_GROUP: break;
    }
}

void sy_opt_defaults(const sy_opt *rows, void *s) { sy_opt_each(rows, set_default, s); }

struct find { const char *key; const sy_opt *row; size_t at; int index; };

static void match(const sy_opt *row, size_t at, int index, void *arg)
{
    struct find *f = arg;
    if (strcmp(f->key, row->name) && (!row->alias || strcmp(f->key, row->alias))) return;
    f->row = row; f->at = at; f->index = index;
}

const sy_opt *sy_opt_find(const sy_opt *rows, const char *key, size_t *at, int *index)
{
    struct find f = { .key = key };
    sy_opt_each(rows, match, &f);
    if (f.row && at) *at = f.at;
    if (f.row && index) *index = f.index;
    return f.row;
}

/* Levenshtein distance; words of more than 63 bytes are far from everything. */
static int distance(const char *a, const char *b)
{
    enum { MAX = 63 };
    size_t n = strlen(a), m = strlen(b);
    if (n > MAX || m > MAX) return INT_MAX;
    int d[MAX + 1];
    for (size_t j = 0; j <= m; j++) d[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int diag = d[0];
        d[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int up = d[j], best = diag + (a[i - 1] != b[j - 1]);
            if (up + 1 < best) best = up + 1;
            if (d[j - 1] + 1 < best) best = d[j - 1] + 1;
            diag = up;
            d[j] = best;
        }
    }
    return d[m];
}

const char *sy_nearest(const char *word, const char *const *names)
{
    const char *best = NULL;
    int least = (int)(strlen(word) / 3) + 2;         /* one edit, and one more for each three letters */
    for (; *names; names++) {
        int d = distance(word, *names);
        if (d > 1 && strlen(word) >= 3 && strlen(*names) >= 3 && (strstr(*names, word) || strstr(word, *names))) d = 1;
        if (d < least) { least = d; best = *names; }
    }
    return best;
}

struct names { const char *name[256]; int n; };

static void collect(const sy_opt *row, size_t at, int index, void *arg)
{
    (void)at, (void)index;
    struct names *l = arg;
    if (l->n < 253) l->name[l->n++] = row->name;
    if (row->alias && l->n < 253) l->name[l->n++] = row->alias;
}

static sy_status unknown(const sy_opt *rows, const char *key, sy_err *err)
{
    struct names l = { .n = 0 };
    sy_opt_each(rows, collect, &l);
    l.name[l.n] = NULL;
    const char *near = sy_nearest(key, l.name);
    if (near) return sy_fail(err, SY_EARG, "unknown option '%s'; did you mean '%s'?", key, near);
    return sy_fail(err, SY_EARG, l.n ? "unknown option '%s'" : "unknown option '%s': it takes none", key);
}

static sy_status set_field(const sy_opt *row, void *field, const char *value, sy_arena *a, sy_err *err)
{
    char *end;
    errno = 0;
    switch (row->type) {
    case SY_OPT_INT: {                               /* 1e6 and 6e4 are how people write step counts; a double holds every int */
        double v = sy_real_read(value, &end);
        if (end == value || *end || !(v == floor(v))) return sy_fail(err, SY_EARG, "option %s: '%.80s' is not a whole number", row->name, value);
        if (v < row->lo || v > row->hi || fabs(v) > INT_MAX)
            return sy_fail(err, SY_EARG, "option %s: %.80s is outside %.0f .. %.0f", row->name, value, row->lo, row->hi);
        *(int *)field = (int)v;
        return SY_OK;
    }
    case SY_OPT_REAL: {
        double v = sy_real_read(value, &end);
        if (end == value || *end) return sy_fail(err, SY_EARG, "option %s: '%.80s' is not a number", row->name, value);
        if (isinf(v) && errno == ERANGE) return sy_fail(err, SY_EARG, "option %s: %.80s is larger than any number", row->name, value);
        if (!(v >= row->lo && v <= row->hi))         /* NaN fits no range */
            return sy_fail(err, SY_EARG, "option %s: %.80s is outside %g .. %g", row->name, value, row->lo, row->hi);
        *(double *)field = v;
        return SY_OK;
    }
    case SY_OPT_BOOL:
        if (!strcmp(value, "true") || !strcmp(value, "1") || !strcmp(value, "on") || !strcmp(value, "yes")) *(bool *)field = true;
        else if (!strcmp(value, "false") || !strcmp(value, "0") || !strcmp(value, "off") || !strcmp(value, "no")) *(bool *)field = false;
        else return sy_fail(err, SY_EARG, "option %s: '%.80s' is neither true nor false", row->name, value);
        return SY_OK;
    case SY_OPT_ENUM: {
        size_t n = strlen(value);
        int i = 0;
        for (const char *w = row->text; ; i++) {
            size_t len = strcspn(w, "|");
            if (len == n && !memcmp(w, value, n)) { *(int *)field = i; return SY_OK; }
            if (!w[len]) break;
            w += len + 1;
        }
        return sy_fail(err, SY_EARG, "option %s: '%.80s' is not one of %s", row->name, value, row->text);
    }
    case SY_OPT_TEXT: {
        if (!*value && !row->text) { *(const char **)field = NULL; return SY_OK; }     /* as it is printed: not set */
        char *copy = sy_arena_strdup(a, value);
        if (!copy) return sy_fail(err, SY_ENOMEM, "option %s: no memory for its value", row->name);
        *(const char **)field = copy;
        return SY_OK;
    }
    case SY_OPT_END: case SY_OPT_GROUP: break;
    }
    return sy_fail(err, SY_EARG, "option %s has no type", row->name);
}

sy_status sy_opt_set(const sy_opt *rows, void *s, const char *key, const char *value, sy_arena *a, uint64_t *given, sy_err *err)
{
    size_t at = 0;
    int index = 0;
    const sy_opt *row = rows ? sy_opt_find(rows, key, &at, &index) : NULL;
    if (!row) return rows ? unknown(rows, key, err) : sy_fail(err, SY_EARG, "unknown option '%s': it takes none", key);
    SY_TRY(set_field(row, (char *)s + at, value, a, err));
    assert(!given || index < 64);                    /* a table with more rows needs another kind of mark */
    if (given) *given |= (uint64_t)1 << index;
    return SY_OK;
}

sy_status sy_opt_parse(const sy_opt *rows, void *s, const char *list, sy_arena *a, uint64_t *given, sy_err *err)
{
    char key[128];
    while (*list) {
        list += strspn(list, " ");
        size_t k = strcspn(list, "=,");
        if (list[k] != '=' || !k || k >= sizeof key)
            return sy_fail(err, SY_EARG, "'%.*s': options are written key=value", (int)(k < 100 ? k : 100), list);
        memcpy(key, list, k);
        key[k] = 0;
        list += k + 1;
        char *value = sy_arena_alloc(a, strlen(list) + 1);
        if (!value) return sy_fail(err, SY_ENOMEM, "option %s: no memory for its value", key);
        size_t v = 0;
        if (*list == '\'') {
            for (list++; *list && (*list != '\'' || list[1] == '\''); list++) {     /* two quotes stand for one */
                list += *list == '\'';
                value[v++] = *list;
            }
            if (!*list) return sy_fail(err, SY_EARG, "option %s: the quote is not closed", key);
            list++;
        } else while (*list && *list != ',') value[v++] = *list++;
        value[v] = 0;
        if (*list == ',') list++;
        else if (*list) return sy_fail(err, SY_EARG, "option %s: a comma is missing after its quoted value", key);
        SY_TRY(sy_opt_set(rows, s, key, value, a, given, err));
    }
    return SY_OK;
}

char *sy_opt_print(const sy_opt *row, const void *s, size_t at, char *buf, size_t size)
{
    const char *f = (const char *)s + at;
    switch (row->type) {
    case SY_OPT_INT: snprintf(buf, size, "%d", *(const int *)f); break;
    case SY_OPT_BOOL: snprintf(buf, size, "%s", *(const bool *)f ? "true" : "false"); break;
    case SY_OPT_REAL: sy_real_text(buf, size, *(const double *)f); break;
    case SY_OPT_ENUM: {
        const char *w = row->text;
        for (int i = *(const int *)f; i > 0 && w[strcspn(w, "|")]; i--) w += strcspn(w, "|") + 1;
        snprintf(buf, size, "%.*s", (int)strcspn(w, "|"), w);
        break;
    }
    case SY_OPT_TEXT: snprintf(buf, size, "%s", *(const char *const *)f ? *(const char *const *)f : ""); break;
    case SY_OPT_END: case SY_OPT_GROUP: buf[0] = 0; break;
    }
    return buf;
}

static bool is_default(const sy_opt *row, const char *f)
{
    switch (row->type) {
    case SY_OPT_INT: case SY_OPT_ENUM: return *(const int *)f == (int)row->def;
    case SY_OPT_REAL: return memcmp(f, &row->def, sizeof row->def) == 0;          /* -0 is not 0: it must read back */
    case SY_OPT_BOOL: return *(const bool *)f == (row->def != 0);
    case SY_OPT_TEXT: {
        const char *v = *(const char *const *)f;
        return v == row->text || (v && row->text && !strcmp(v, row->text));
    }
    case SY_OPT_END: case SY_OPT_GROUP: break;
    }
    return true;
}

struct list { const void *s; bool all; sy_arena *a; char *text; };

static char *quoted(const char *text, sy_arena *a)
{
    char *copy = sy_arena_alloc(a, 2 * strlen(text) + 3), *c = copy;
    if (!copy) return NULL;
    *c++ = '\'';
    for (; *text; text++) {
        if (*text == '\'') *c++ = '\'';
        *c++ = *text;
    }
    *c++ = '\'';
    *c = 0;
    return copy;
}

static void append(const sy_opt *row, size_t at, int index, void *arg)
{
    (void)index;
    struct list *l = arg;
    if (!l->text || (!l->all && is_default(row, (const char *)l->s + at))) return;
    char buf[256];
    const char *value = buf;
    if (row->type != SY_OPT_TEXT) sy_opt_print(row, l->s, at, buf, sizeof buf);
    else if (!(value = *(const char *const *)((const char *)l->s + at))) value = "";
    else if (strchr(value, ',') || *value == '\'') value = quoted(value, l->a);
    l->text = value ? sy_arena_printf(l->a, "%s%s%s=%s", l->text, *l->text ? "," : "", row->name, value) : NULL;
}

char *sy_opt_list(const sy_opt *rows, const void *s, bool all, sy_arena *a)
{
    struct list l = { .s = s, .all = all, .a = a, .text = sy_arena_strdup(a, "") };
    sy_opt_each(rows, append, &l);
    return l.text;
}
