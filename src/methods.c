/* methods.c - the tables of all methods and presets: the only file above all floors. */
#include "methods.h"

#define X(name) extern const sy_method sy_##name;
#include "methods.def"
#undef X

static const sy_method *const methods[] = {
#define X(name) &sy_##name,
#include "methods.def"
#undef X
    NULL
};

static const sy_preset presets[] = {
#define P(kind, name, method, values, with, paper) { SY_##kind, #name, #method, values, with, paper },
#include "presets.def"
#undef P
    { 0 }
};

const sy_methods sy_builtin_methods = { methods, presets, NULL };
