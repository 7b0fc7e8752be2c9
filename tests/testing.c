/* tests/testing.c - comparisons and the test's folder. */
#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"

/* Under the address sanitizer a request for too much memory is refused, as without it, instead of ending the test. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "allocator_may_return_null=1"; }

static char name_of_case[256] = "(no case)";

void sy_test_case(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name_of_case, sizeof name_of_case, fmt, ap);
    va_end(ap);
}

uint64_t sy_test_seed(void)
{
    const char *s = getenv("SY_SEED");
    return s ? strtoull(s, NULL, 10) : 20240229;
}

static char dir[256];
static void remove_dir(void) { sy_remove_tree(dir, NULL); }

const char *sy_test_dir(void)
{
    if (*dir) return dir;
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/sy-test-XXXXXX", tmp && *tmp ? tmp : P_tmpdir);
    if (!mkdtemp(dir)) fail_msg("no temporary folder can be made in %s", dir);
    atexit(remove_dir);
    return dir;
}

const char *sy_test_data(void)
{
    const char *d = getenv("SY_DATA");
    if (!d) d = "../shared/data";
    return sy_is_dir(d) ? d : NULL;
}

void sy_expect_near(const char *name, double got, double want, double atol, double rtol)
{
    if (!(fabs(got - want) <= atol + rtol * fabs(want)) && got != want)
        fail_msg("case '%s': %s is %.17g, want %.17g (difference %.3g, atol %g, rtol %g, seed %llu)", name_of_case, name, got, want, got - want, atol, rtol,
                 (unsigned long long)sy_test_seed());
}

void sy_expect_close(const char *name, const sy_real *got, const sy_real *want, size_t n, double atol, double rtol)
{
    char at[128];
    for (size_t i = 0; i < n; i++) {
        snprintf(at, sizeof at, "%s[%zu]", name, i);
        sy_expect_near(at, (double)got[i], (double)want[i], atol, rtol);
    }
}

void sy_expect_ids(const char *name, const int *got, const int *want, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (got[i] != want[i]) fail_msg("case '%s': %s[%zu] is %d, want %d (seed %llu)", name_of_case, name, i, got[i], want[i], (unsigned long long)sy_test_seed());
}

void sy_expect_same(const char *name, const void *got, const void *want, size_t bytes)
{
    const unsigned char *g = got, *w = want;
    for (size_t i = 0; i < bytes; i++)
        if (g[i] != w[i]) fail_msg("case '%s': %s differs from byte %zu on (%zu bytes)", name_of_case, name, i, bytes);
}

void sy_expect_fail_(sy_status got, sy_status want, const sy_err *err, const char *part, const char *call)
{
    if (got != want) fail_msg("case '%s': %s gave '%s' (%s), want '%s'", name_of_case, call, sy_status_text(got), got != SY_OK && err ? err->text : "", sy_status_text(want));
    if (part && (!err || !strstr(err->text, part))) fail_msg("case '%s': %s says '%s', which lacks '%s'", name_of_case, call, err ? err->text : "", part);
}
