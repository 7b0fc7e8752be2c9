/* core/words.c - joining and splitting. */
#include "core/words.h"

#include <string.h>

char *sy_words_join(sy_arena *a, const char *const *word, int n)
{
    size_t size = 1;
    for (int i = 0; i < n; i++) size += 2 * strlen(word[i]) + 1;
    char *text = sy_arena_alloc(a, size), *to = text;
    if (!text) return NULL;
    for (int i = 0; i < n; i++) {
        if (to > text && *word[i]) *to++ = ' ';
        for (const char *c = word[i]; *c; c++) {
            if (*c == ' ' || *c == '\\') *to++ = '\\';
            *to++ = *c;
        }
    }
    *to = 0;
    return text;
}

sy_status sy_words_split(sy_arena *a, const char *text, const char *const **word, int *n, sy_err *err)
{
    size_t size = strlen(text);
    const char **list = sy_arena_array(a, size / 2 + 1, sizeof *list);
    char *to = sy_arena_alloc(a, size + 1);
    int k = 0;
    if (!list || !to) return sy_fail(err, SY_ENOMEM, "no memory for a list of words");
    for (const char *c = text + strspn(text, " "); *c; c += strspn(c, " ")) {
        list[k++] = to;
        for (; *c && *c != ' '; c++) {
            if (*c == '\\' && (c[1] == ' ' || c[1] == '\\')) c++;
            *to++ = *c;
        }
        *to++ = 0;
    }
    *word = list;
    *n = k;
    return SY_OK;
}
