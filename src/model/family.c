/* model/family.c - the list of families, in the order in which saving tries them: plain ones first, then those that transformers opens by itself. */
#include "model/family.h"

#include <stdio.h>
#include <string.h>

#define FAMILIES(X)     \
    X(llama)            \
    X(mistral)          \
    X(qwen2)            \
    X(qwen3)            \
    X(gpt2)             \
    X(gpt_neox)         \
    X(bert)             \
    X(mixtral)          \
    X(qwen2_moe)        \
    X(qwen3_moe)        \
    X(olmoe)            \
    X(granitemoe)       \
    X(glm4_moe)         \
    X(phimoe)           \
    X(deepseek_v2)      \
    X(deepseek_v3)      \
    X(gpt_oss)          \
    X(deepseek)

#define X(name) extern const sy_family sy_family_##name;
FAMILIES(X)
#undef X

const sy_family *const sy_families[] = {
#define X(name) &sy_family_##name,
    FAMILIES(X)
#undef X
    NULL
};

const sy_family *sy_family_find(const char *name)
{
    for (const sy_family *const *f = sy_families; *f; f++) if (!strcmp((*f)->name, name)) return *f;
    return NULL;
}

/* What follows a pattern in a name, "" or ".more"; NULL: the name does not begin with it. */
static const char *after(const char *pattern, const char *name, char layer[12])
{
    while (*pattern) {
        if (!strncmp(pattern, "{l}", 3)) {
            size_t n = strspn(name, "0123456789");
            if (!n || n > 11) return NULL;
            snprintf(layer, 12, "%.*s", (int)n, name);
            pattern += 3;
            name += n;
        } else if (*pattern++ != *name++) return NULL;
    }
    return !*name || *name == '.' ? name : NULL;
}

int sy_family_modules(const sy_family *f, const char *own, sy_module_name out[SY_MODULE_NAMES])
{
    const char *rest, *best = own;
    char layer[12] = "";
    int n = 0;
    for (const sy_family_part *row = f ? f->modules : NULL; row && row->own; row++) if ((rest = after(row->own, own, layer)) && rest > best) best = rest;
    for (const sy_family_part *row = f ? f->modules : NULL; row && row->own && best > own && n < SY_MODULE_NAMES; row++) {
        if ((rest = after(row->own, own, layer)) != best || !*row->file) continue;
        const char *at = strstr(row->file, "{l}");
        int head = at ? (int)(at - row->file) : (int)strlen(row->file);
        out[n] = (sy_module_name){ .layout = row->layout, .part = row->part, .parts = row->parts };
        snprintf(out[n].name, sizeof out[n].name, "%.*s%s%s%s", head, row->file, at ? layer : "", at ? at + 3 : "", rest);
        n++;
    }
    if (best > own) return n;
    out[0] = (sy_module_name){ .parts = 0 };
    snprintf(out[0].name, sizeof out[0].name, "%s", own);
    return 1;
}
