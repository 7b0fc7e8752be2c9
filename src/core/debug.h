/* core/debug.h - switches for debugging, in one list (core/debug.def), read from the environment by the program, once, at start.
 *
 * The library reads no environment by itself: the program hands the values on (sy_engine_init takes the kernel set). */
#ifndef SY_DEBUG_H
#define SY_DEBUG_H

#include "core/buffer.h"
#include "core/status.h"

typedef struct sy_debug {               /* a field a switch: the value that was given, a constant; NULL where none was */
#define SY_SWITCH(field, variable, values, help) const char *field;
#include "core/debug.def"
#undef SY_SWITCH
} sy_debug;

typedef struct sy_switch {
    const char *variable, *help;
    const char *const *values;          /* ends with NULL */
} sy_switch;
extern const sy_switch sy_switches[];                /* ends with a NULL variable */

/* An empty variable counts as not set; a value that is not in the list is SY_EARG with the choices. */
sy_status sy_debug_read(sy_debug *d, sy_err *err);
/* The list as `switchyard help debug` prints it. */
void sy_debug_help(sy_buf *out);

#endif
