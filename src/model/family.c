/* model/family.c - the list of families, in the order in which saving tries them: plain ones first, then those that transformers opens by itself. */
#include "model/family.h"

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
