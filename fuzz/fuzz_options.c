/* fuzz_options - any text as "key=value,...": parsed or refused; what is parsed prints as a list that sets the same values again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/option.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct inner { double factor; bool on; } inner;
typedef struct outer { int count, word; double real; bool flag; const char *text; inner in; } outer;

static const sy_opt inner_rows[] = {
    SY_REAL(inner, factor, "capacity", 0, 0, 1e9, "a factor"),
    SY_BOOL(inner, on, NULL, true, "a switch"),
    { 0 }
};
static const sy_opt rows[] = {
    SY_INT (outer, count, "top_k", 2, -2147483647, 2147483647, "a count"),
    SY_ENUM_(outer, word, NULL, 1, "none|top|all", "a word"),
    SY_REAL(outer, real, NULL, 0.5, -1e308, 1e308, "a number"),
    SY_BOOL(outer, flag, NULL, false, "a flag"),
    SY_TEXT(outer, text, "t", "plain", "a text"),
    SY_OPTS(outer, in, inner_rows),
    { 0 }
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sy_arena a = { 0 };
    sy_err err = { 0 };
    outer x = { 0 }, y = { 0 };
    uint64_t given = 0;
    char *text = sy_arena_alloc(&a, size + 1);
    if (!text) abort();
    memcpy(text, data, size);
    text[size] = 0;
    sy_opt_defaults(rows, &x);
    sy_opt_defaults(rows, &y);
    if (sy_opt_parse(rows, &x, text, &a, &given, &err) != SY_OK) {
        if (!*err.text || strchr(err.text, '\n')) abort();
    } else {
        char *list = sy_opt_list(rows, &x, false, &a);
        if (!list || sy_opt_parse(rows, &y, list, &a, NULL, &err) != SY_OK) abort();
        if (x.count != y.count || x.word != y.word || memcmp(&x.real, &y.real, sizeof x.real) || x.flag != y.flag || strcmp(x.text, y.text)
            || memcmp(&x.in.factor, &y.in.factor, sizeof x.in.factor) || x.in.on != y.in.on) abort();
    }
    sy_arena_free(&a);
    return 0;
}
