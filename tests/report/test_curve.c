/* Thinning of curves, against a slow look over all runs: bounds, order, extremes, gaps. */
#include <math.h>
#include <stdbool.h>

#include "core/random.h"
#include "report/curve.h"
#include "testing.h"

enum { MOST = 100003 };

static double value[MOST];
static size_t keep[MOST];

static void check(size_t n, size_t room)
{
    size_t k = sy_curve_thin(value, n, room, keep);
    double lo = INFINITY, hi = -INFINITY, kept_lo = INFINITY, kept_hi = -INFINITY;
    assert_true(k <= room);
    if (n <= room) assert_int_equal(k, n);
    for (size_t i = 0; i < n; i++)
        if (isfinite(value[i])) { lo = fmin(lo, value[i]); hi = fmax(hi, value[i]); }
    for (size_t i = 0; i < k; i++) {
        assert_true(keep[i] < n);
        if (i) assert_true(keep[i] > keep[i - 1]);
        if (isfinite(value[keep[i]])) { kept_lo = fmin(kept_lo, value[keep[i]]); kept_hi = fmax(kept_hi, value[keep[i]]); }
    }
    assert_true(lo == kept_lo && hi == kept_hi);
    if (n) assert_true(keep[0] == 0 && keep[k - 1] == n - 1);
}

static void test_bounds_order_extremes(void **state)
{
    static const size_t sizes[] = { 0, 1, 2, 3, 4, 5, 6, 7, 10, 999, 1000, 1001, 1002, 4096, MOST }, rooms[] = { 4, 5, 6, 7, 240, 1000 };
    (void)state;
    uint64_t key = sy_key(sy_test_seed(), SY_FOR_TEST, 1, 0, 0);
    for (size_t i = 0; i < MOST; i++) value[i] = sy_draw_normal(key, i, 0);
    for (size_t s = 0; s < SY_COUNT(sizes); s++)
        for (size_t r = 0; r < SY_COUNT(rooms); r++) {
            sy_test_case("%zu values into %zu", sizes[s], rooms[r]);
            check(sizes[s], rooms[r]);
        }
}

static void test_a_single_peak_stays(void **state)
{
    (void)state;
    for (size_t at = 1; at < 5000; at += 37) {
        sy_test_case("peak at %zu", at);
        for (size_t i = 0; i < 5000; i++) value[i] = i == at ? 1 : 0;
        check(5000, 100);
    }
}

static void test_gaps_stay_gaps(void **state)
{
    (void)state;
    sy_test_case("NaN in the middle and all over");
    for (size_t i = 0; i < 10000; i++) value[i] = i >= 4000 && i < 6000 ? NAN : (double)i;
    check(10000, 100);
    bool gap = false;
    for (size_t i = 0, k = sy_curve_thin(value, 10000, 100, keep); i < k; i++) gap |= isnan(value[keep[i]]);
    assert_true(gap);
    for (size_t i = 0; i < 10000; i++) value[i] = i % 2 ? INFINITY : NAN;
    check(10000, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounds_order_extremes),
        cmocka_unit_test(test_a_single_peak_stays),
        cmocka_unit_test(test_gaps_stay_gaps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
