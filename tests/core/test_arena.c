/* Arenas. Oracles: the counter of core/alloc.h, alignment, and patterns that must survive. */
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/arena.h"
#include "core/random.h"

/* One "step": sizes drawn from the seed, every block filled and read back at the end. */
static void use(sy_arena *a, uint64_t key, int blocks, uint64_t largest)
{
    unsigned char **p = sy_arena_array(a, (size_t)blocks, sizeof *p);
    size_t *n = sy_arena_array(a, (size_t)blocks, sizeof *n);
    assert_non_null(p);
    assert_non_null(n);
    for (int i = 0; i < blocks; i++) {
        n[i] = (size_t)sy_draw_below(key, (uint64_t)i, 0, largest);
        p[i] = sy_arena_alloc(a, n[i]);
        assert_non_null(p[i]);
        assert_int_equal((uintptr_t)p[i] % 64, 0);
        memset(p[i], i & 255, n[i]);
    }
    for (int i = 0; i < blocks; i++)
        for (size_t k = 0; k < n[i]; k++) assert_int_equal(p[i][k], i & 255);
}

static void steps_allocate_nothing_after_the_high_water(void **s)
{
    (void)s;
    sy_arena a = { 0 };
    uint64_t key = sy_key(sy_test_seed(), SY_FOR_TEST, 1, 0, 0);
    use(&a, key, 300, 4000);
    assert_true(a.grown > 1);                        /* several chunks: 600 KB do not fit the first */
    sy_arena_reset(&a);
    use(&a, key, 300, 4000);                         /* may take the one block of the high-water size */
    uint64_t calls = sy_alloc_calls();
    size_t grown = a.grown;
    for (int i = 0; i < 5; i++) {
        sy_arena_reset(&a);
        assert_int_equal(a.used, 0);
        use(&a, key, 300, 4000);
    }
    assert_int_equal(sy_alloc_calls(), calls);
    assert_int_equal(a.grown, grown);
    sy_arena_free(&a);
    assert_int_equal(a.used, 0);
    use(&a, key, 3, 100);                            /* usable again */
    sy_arena_free(&a);
}

static void scratch_allocates_nothing_after_the_first_round(void **s)
{
    (void)s;
    static const size_t sizes[][2] = { { 10, 10 }, { 70000, 10 }, { 10, 70000 }, { 200000, 900000 }, { 1 << 23, 1 << 20 } };
    for (size_t c = 0; c < SY_COUNT(sizes); c++) {
        sy_test_case("outer %zu, inner %zu", sizes[c][0], sizes[c][1]);
        sy_arena a = { 0 };
        uint64_t calls = 0;
        for (int round = 0; round < 8; round++) {
            if (round == 4) calls = sy_alloc_calls();
            sy_mark outer = sy_arena_mark(&a);
            char *p = sy_arena_alloc(&a, sizes[c][0]);
            memset(p, 1, sizes[c][0]);
            for (int k = 0; k < 3; k++) {
                sy_mark inner = sy_arena_mark(&a);
                memset(sy_arena_alloc(&a, sizes[c][1]), 2, sizes[c][1]);
                sy_arena_release(&a, inner);
            }
            assert_int_equal(p[sizes[c][0] - 1], 1);
            sy_arena_release(&a, outer);
            assert_int_equal(a.used, 0);
        }
        assert_int_equal(sy_alloc_calls(), calls);
        sy_arena_free(&a);
    }
}

static void release_keeps_the_largest_chunk(void **s)
{
    (void)s;
    sy_arena a = { 0 };
    sy_mark empty = sy_arena_mark(&a);
    sy_arena_alloc(&a, 1000);
    sy_arena_alloc(&a, 1 << 20);
    sy_arena_alloc(&a, 1 << 21);
    sy_arena_release(&a, empty);
    uint64_t calls = sy_alloc_calls();
    assert_non_null(sy_arena_alloc(&a, 1 << 21));
    assert_int_equal(sy_alloc_calls(), calls);
    sy_arena_free(&a);
}

static void impossible_requests_fail_and_stick(void **s)
{
    (void)s;
    sy_arena a = { 0 };
    static const size_t big[] = { SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 63, SIZE_MAX - 64, SIZE_MAX - 200, SIZE_MAX / 2 };
    for (size_t i = 0; i < SY_COUNT(big); i++) {
        a.failed = false;
        assert_null(sy_arena_alloc(&a, big[i]));
        assert_true(a.failed);
    }
    a.failed = false;
    assert_null(sy_arena_array(&a, SIZE_MAX / 2, 4));          /* the product wraps */
    assert_true(a.failed);
    assert_non_null(sy_arena_alloc(&a, 1));                     /* still usable */
    assert_true(a.failed);
    sy_arena_reset(&a);
    assert_false(a.failed);
    sy_alloc_fail_at(1, 1);
    assert_null(sy_arena_alloc(&a, 1 << 22));
    sy_alloc_fail_at(0, 0);
    assert_true(a.failed);
    sy_arena_free(&a);
}

static void texts_and_zeros(void **s)
{
    (void)s;
    sy_arena a = { 0 };
    memset(sy_arena_alloc(&a, 1000), 255, 1000);
    sy_arena_reset(&a);
    char *z = sy_arena_zalloc(&a, 1000);
    for (int i = 0; i < 1000; i++) assert_int_equal(z[i], 0);
    assert_string_equal(sy_arena_strdup(&a, "text"), "text");
    assert_string_equal(sy_arena_strdup(&a, ""), "");
    assert_string_equal(sy_arena_printf(&a, "%d-%s", 7, "x"), "7-x");
    assert_non_null(sy_arena_alloc(&a, 0));
    assert_ptr_not_equal(sy_arena_alloc(&a, 0), sy_arena_alloc(&a, 0));
    sy_arena_free(&a);
}

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
static void the_sanitizer_knows_what_is_handed_out(void **s)
{
    (void)s;
    sy_arena a = { 0 };
    char *p = sy_arena_alloc(&a, 10);
    sy_mark m = sy_arena_mark(&a);
    char *q = sy_arena_alloc(&a, 100), *r = sy_arena_alloc(&a, 1 << 20);
    assert_false(__asan_address_is_poisoned(p + 9));
    assert_true(__asan_address_is_poisoned(p + 10));
    assert_false(__asan_address_is_poisoned(r + (1 << 20) - 1));
    sy_arena_release(&a, m);
    assert_true(__asan_address_is_poisoned(q) && __asan_address_is_poisoned(r));
    assert_false(__asan_address_is_poisoned(p));
    sy_arena_reset(&a);
    sy_arena_reset(&a);
    assert_true(!a.top || __asan_address_is_poisoned(p));
    sy_arena_free(&a);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_allocate_nothing_after_the_high_water), cmocka_unit_test(scratch_allocates_nothing_after_the_first_round),
        cmocka_unit_test(release_keeps_the_largest_chunk), cmocka_unit_test(impossible_requests_fail_and_stick), cmocka_unit_test(texts_and_zeros),
#ifdef __SANITIZE_ADDRESS__
        cmocka_unit_test(the_sanitizer_knows_what_is_handed_out),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
