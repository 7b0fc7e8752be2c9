/* core/option_json.c - between option rows and JSON. */
#include "core/option_json.h"

#include "core/words.h"

static sy_status list_text(json_t *v, const char *file, const char *key, sy_arena *a, const char **out, sy_err *err)
{
    size_t n = json_array_size(v);
    const char **word = sy_arena_array(a, n + 1, sizeof *word);
    *out = NULL;
    for (size_t i = 0; i < n && word; i++)
        if (!(word[i] = json_string_value(json_array_get(v, i)))) return sy_fail(err, SY_EFORMAT, "%s: '%s' must be a list of texts", file, key);
    if (word) *out = sy_words_join(a, word, (int)n);
    return SY_OK;
}

sy_status sy_opt_json_text(json_t *v, const char *file, const char *key, sy_arena *a, const char **out, sy_err *err)
{
    const char *text;
    if (json_is_string(v)) text = sy_arena_strdup(a, json_string_value(v));
    else if (json_is_integer(v)) text = sy_arena_printf(a, "%lld", (long long)json_integer_value(v));
    else if (json_is_real(v)) text = sy_arena_printf(a, "%.17g", json_real_value(v));
    else if (json_is_boolean(v)) text = json_is_true(v) ? "true" : "false";
    else if (json_is_array(v)) SY_TRY(list_text(v, file, key, a, &text, err));
    else return sy_fail(err, SY_EFORMAT, "%s: '%s' has no plain value", file, key);
    if (!text) return sy_fail(err, SY_ENOMEM, "%s: no memory for '%s'", file, key);
    *out = text;
    return SY_OK;
}

struct writing { sy_json *j; const void *s; };

static void write_row(const sy_opt *row, size_t at, int index, void *arg)
{
    (void)index;
    const struct writing *w = arg;
    const char *f = (const char *)w->s + at;
    char buf[64];
    sy_json_key(w->j, row->name);
    switch (row->type) {
    case SY_OPT_INT: sy_json_int(w->j, *(const int *)f); break;
    case SY_OPT_REAL: sy_json_real(w->j, *(const double *)f); break;
    case SY_OPT_BOOL: sy_json_bool(w->j, *(const bool *)f); break;
    case SY_OPT_TEXT: sy_json_text(w->j, *(const char *const *)f); break;
    default: sy_json_text(w->j, sy_opt_print(row, w->s, at, buf, sizeof buf)); break;
    }
}

void sy_opt_json_write(const sy_opt *rows, const void *s, sy_json *j) { sy_opt_each(rows, write_row, &(struct writing){ j, s }); }
