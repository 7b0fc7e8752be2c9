/* core/method.c - looking methods up and making their state. */
#include "core/method.h"

#include <string.h>

static const char *const words[] = {
#define X(name, word, what) word,
    SY_KIND_LIST(X)
#undef X
};

const char *sy_kind_word(sy_kind kind) { return kind < SY_KINDS ? words[kind] : "?"; }

static const sy_method *by_name(const sy_method *const *list, sy_kind kind, const char *key)
{
    for (; list && *list; list++)
        if ((*list)->kind == kind && !strcmp((*list)->name, key)) return *list;
    return NULL;
}

sy_status sy_method_find(const sy_methods *m, sy_kind kind, const char *key, const sy_method **method, const sy_preset **preset, sy_err *err)
{
    const sy_preset *p = m->presets;
    const sy_method *found = by_name(m->extra, kind, key);
    if (!found) found = by_name(m->list, kind, key);
    if (found) { *method = found; *preset = NULL; return SY_OK; }
    for (; p && p->name; p++)
        if (p->kind == kind && !strcmp(p->name, key) && (found = by_name(m->list, kind, p->method))) {
            *method = found;
            *preset = p;
            return SY_OK;
        }
    const char *names[512];
    int n = 0;
    for (const sy_method *const *l = m->list; l && *l && n < 500; l++) if ((*l)->kind == kind) names[n++] = (*l)->name;
    for (const sy_method *const *l = m->extra; l && *l && n < 500; l++) if ((*l)->kind == kind) names[n++] = (*l)->name;
    for (p = m->presets; p && p->name && n < 500; p++) if (p->kind == kind) names[n++] = p->name;
    names[n] = NULL;
    const char *near = sy_nearest(key, names), *word = sy_kind_word(kind);
    if (near) return sy_fail(err, SY_ENOENT, "no %s is called '%s'; did you mean '%s'? (switchyard methods %s lists them)", word, key, near, word);
    return sy_fail(err, SY_ENOENT, "no %s is called '%s' (switchyard methods %s lists them)", word, key, word);
}

sy_status sy_method_make(const sy_methods *m, sy_kind kind, const char *text, sy_arena *a, const sy_method **method, void **state, sy_err *err)
{
    char key[64];
    size_t n = strcspn(text, ":");
    const char *values = text[n] ? text + n + 1 : "";
    if (!n || n >= sizeof key) return sy_fail(err, SY_EARG, "%s '%.80s': write key or key:option=value,...", sy_kind_word(kind), text);
    memcpy(key, text, n);
    key[n] = 0;
    const sy_method *found;
    const sy_preset *preset;
    SY_TRY(sy_method_find(m, kind, key, &found, &preset, err));
    void *s = sy_arena_zalloc(a, found->size ? found->size : 1);
    if (!s) return sy_fail(err, SY_ENOMEM, "%s %s: no memory for its state", sy_kind_word(kind), key);
    sy_opt_defaults(found->opts, s);
    if (preset) SY_TRY(sy_within(err, sy_opt_parse(found->opts, s, preset->values, a, NULL, err), "preset %s", key));
    SY_TRY(sy_within(err, sy_opt_parse(found->opts, s, values, a, NULL, err), "%s %s", sy_kind_word(kind), key));
    *method = found;
    *state = s;
    return SY_OK;
}

char *sy_method_text(const sy_method *method, const void *state, bool all, sy_arena *a)
{
    char *list = sy_opt_list(method->opts, state, all, a);
    if (!list) return NULL;
    return *list ? sy_arena_printf(a, "%s:%s", method->name, list) : sy_arena_strdup(a, method->name);
}
