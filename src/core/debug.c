/* core/debug.c */
#include "core/debug.h"

#include <stdlib.h>
#include <string.h>

#define WORDS(...) { __VA_ARGS__, NULL }
#define SY_SWITCH(field, variable, values, help) static const char *const field##_values[] = WORDS values;
#include "core/debug.def"
#undef SY_SWITCH

const sy_switch sy_switches[] = {
#define SY_SWITCH(field, variable, values, help) { variable, help, field##_values },
#include "core/debug.def"
#undef SY_SWITCH
    { 0 }
};

static sy_status read_switch(const sy_switch *s, const char **out, sy_err *err)
{
    const char *given = getenv(s->variable);
    if (!given || !*given) return SY_OK;
    sy_buf all = { 0 };
    for (const char *const *v = s->values; *v; v++) {
        if (!strcmp(*v, given)) { *out = *v; sy_buf_free(&all); return SY_OK; }
        sy_buf_printf(&all, "%s%s", v == s->values ? "" : ", ", *v);
    }
    sy_fail(err, SY_EARG, "the environment variable %s is '%.80s'; it can be %s, or not set", s->variable, given, all.failed ? "?" : all.data);
    sy_buf_free(&all);
    return SY_EARG;
}

sy_status sy_debug_read(sy_debug *d, sy_err *err)
{
    sy_debug got = { 0 };
    const sy_switch *s = sy_switches;
#define SY_SWITCH(field, variable, values, help) SY_TRY(read_switch(s++, &got.field, err));
#include "core/debug.def"
#undef SY_SWITCH
    *d = got;
    return SY_OK;
}

void sy_debug_help(sy_buf *out)
{
    for (const sy_switch *s = sy_switches; s->variable; s++) {
        sy_buf_printf(out, "  %s=", s->variable);
        for (const char *const *v = s->values; *v; v++) sy_buf_printf(out, "%s%s", v == s->values ? "" : "|", *v);
        sy_buf_printf(out, "\n      %s\n", s->help);
    }
}
