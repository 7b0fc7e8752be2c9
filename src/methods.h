/* methods.h - the methods built into the engine; hand it to sy_engine_init. */
#ifndef SY_METHODS_H
#define SY_METHODS_H

#include "core/method.h"

extern const sy_methods sy_builtin_methods;

#endif
