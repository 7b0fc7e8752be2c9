/* tests/kernels/test_peak.c - probes of the machine's limits: numbers that can be true, in about the time asked for, and a copy that copies. Oracle: the clock. */
#include "testing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "kernels/peak.h"

static void test_fma(void **state)
{
    const sy_kernels *k;
    (void)state;
    for (int i = 0; (k = sy_kernels_at(i)); i++) {
        sy_test_case("%s", k->name);
        double began = sy_now(), v = sy_peak_fma(k, 0.02), took = sy_now() - began;
        assert_true(isfinite(v) && v > 1e6 && v < 1e13);
        assert_true(took >= 0.02 && took < 10);      /* the upper end is for a machine that does other things, too */
        assert_true(!k->spin16 == !k->gemm16);
        if (k->spin16) assert_true(sy_peak_bf16(k, 0.02) > 1e6 && sy_peak_bf16(k, 0.02) < 1e14);
        v = sy_peak_int8(sy_int8_for(k), 0.02);
        assert_true(isfinite(v) && v > 1e6 && v < 1e14);
    }
}

static void test_memory(void **state)
{
    enum { N = (1 << 20) + 3 };
    (void)state;
    unsigned char *from = malloc(N), *to = malloc(N);
    assert_true(from && to);
    for (int i = 0; i < N; i++) from[i] = (unsigned char)(i * 31 + i / 251);
    memset(to, 0, N);
    double began = sy_now(), read = sy_peak_read(sy_kernels_at(0), from, N, 0.01);
    assert_true(isfinite(read) && read > 1e6 && sy_now() - began >= 0.01);
    double copy = sy_peak_copy(to, from, N, 0.01);
    assert_true(isfinite(copy) && copy > 1e6);
    sy_expect_same("copy", to, from, N);
    free(from);
    free(to);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_fma), cmocka_unit_test(test_memory) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
