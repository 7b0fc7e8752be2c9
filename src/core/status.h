/* core/status.h - what a call returns, and the sentence that goes with it.
 *
 * Every call that can fail returns a sy_status and fills a sy_err that the caller owns. The text is written where the
 * failure is found, with the numbers; callers add the place on the way up. Nothing here prints, exits or aborts. */
#ifndef SY_STATUS_H
#define SY_STATUS_H

#include <stdarg.h>

#define SY_STATUS_LIST(X)                                                  \
    X(SY_OK,       0, "done")                                              \
    X(SY_EARG,    -1, "bad argument or option")                            \
    X(SY_ENOMEM,  -2, "out of memory")                                     \
    X(SY_EIO,     -3, "input or output failed")                            \
    X(SY_EFORMAT, -4, "malformed file")                                    \
    X(SY_ESHAPE,  -5, "sizes do not fit")                                  \
    X(SY_EUNSUP,  -6, "not supported")                                     \
    X(SY_ENUM,    -7, "not a finite number")                               \
    X(SY_ESTOP,   -8, "stopped on request")                                \
    X(SY_EEXIST,  -9, "already there")                                     \
    X(SY_ENOENT, -10, "not found")                                         \
    X(SY_ELEDGER,-11, "tensors unaccounted for")

typedef enum {
#define X(name, value, text) name = value,
    SY_STATUS_LIST(X)
#undef X
} sy_status;

typedef struct sy_err {
    sy_status status;
    char      text[1024];               /* one sentence, no newline; cut at the end when longer */
} sy_err;

#if defined __GNUC__
#define SY_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define SY_PRINTF(fmt, args)
#endif

/* The name of a status ("bad argument or option"); never NULL. */
const char *sy_status_text(sy_status status);
/* Writes the sentence and returns `status`; `err` may be NULL. Control characters and bytes that are not UTF-8 become '?'. */
sy_status sy_fail(sy_err *err, sy_status status, const char *fmt, ...) SY_PRINTF(3, 4);
/* Puts "fmt: " before the sentence in `err` and returns `status`; does nothing for SY_OK. */
sy_status sy_within(sy_err *err, sy_status status, const char *fmt, ...) SY_PRINTF(3, 4);

#define SY_TRY(call) do { sy_status sy_try_ = (call); if (sy_try_ != SY_OK) return sy_try_; } while (0)
#define SY_COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif
