/* tests/testing.h - what every test uses: cmocka, named cases, comparisons that say what differs.
 *
 * A failure prints case, index, both values, seed and tolerance. Seeds are fixed; SY_SEED=n replays another. */
#ifndef SY_TESTING_H
#define SY_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/status.h"
#include "kernels/real.h"

void     sy_test_case(const char *fmt, ...) SY_PRINTF(1, 2);        /* names what follows in every failure */
uint64_t sy_test_seed(void);
const char *sy_test_dir(void);                                       /* a fresh folder, removed at exit */
const char *sy_test_data(void);                                      /* folder of real data ($SY_DATA or ../shared/data), NULL when absent: skip and say so */

/* |got - want| <= atol + rtol |want|; NaN on either side fails */
void sy_expect_close(const char *name, const sy_real *got, const sy_real *want, size_t n, double atol, double rtol);
void sy_expect_near(const char *name, double got, double want, double atol, double rtol);
void sy_expect_ids(const char *name, const int *got, const int *want, size_t n);
void sy_expect_same(const char *name, const void *got, const void *want, size_t bytes);   /* equal bits */
/* The call must be SY_OK, else its sentence is printed; or must be `status` with `part` in its sentence. */
#define sy_expect_ok(call) do { sy_err e_ = { 0 }; sy_err *err = &e_; sy_status s_ = (call); if (s_ != SY_OK) fail_msg("%s: %s (%s)", #call, e_.text, sy_status_text(s_)); (void)err; } while (0)
#define sy_expect_fail(call, want, part) sy_expect_fail_((call), (want), err, (part), #call)
void sy_expect_fail_(sy_status got, sy_status want, const sy_err *err, const char *part, const char *call);

#endif
