/* Declaring and filling parameters: what a flag takes away, and starting values that depend on seed and name alone.
 *
 * Oracle: invariants; mean and spread of the normal distribution. */
#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "tensor/tensor.h"

static void flags_decide_what_is_kept(void **state)
{
    (void)state;
    sy_arena arena = { 0 };
    static const struct { unsigned flags; bool train, gradient, touched; } cases[] = {
        { 0, true, true, false }, { SY_NODECAY, true, true, false }, { SY_FROZEN, true, false, false }, { SY_BUFFER, true, false, false },
        { SY_LAZY, true, true, true }, { 0, false, false, false },
    };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_test_case("flags %u, train %d", cases[i].flags, cases[i].train);
        sy_params all = { .arena = &arena, .train = cases[i].train };
        sy_param *p = sy_params_add(&all, "p", cases[i].flags, SY_COUNT(((int[]){ 3, 5, 2 })), (int[]){ 3, 5, 2 });
        assert_non_null(p);
        assert_int_equal(p->n, 30);
        assert_int_equal(p->w.nd, 3);
        assert_ptr_equal(p->leaf.x, p->w.data);
        assert_ptr_equal(p->leaf.dx, p->w.dx);
        assert_int_equal(p->leaf.wants, cases[i].gradient);
        assert_int_equal(p->w.dx != NULL && p->m != NULL && p->v != NULL, cases[i].gradient);
        assert_int_equal(p->touched != NULL, cases[i].touched);
        assert_int_equal(sy_param_trains(p), cases[i].gradient);
        for (int j = 0; j < 30; j++) assert_true(((sy_real *)p->w.data)[j] == 0);
    }
    sy_arena_free(&arena);
}

static void names_are_found_in_any_number(void **state)
{
    (void)state;
    sy_arena arena = { 0 };
    sy_params all = { .arena = &arena };
    char name[32];
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "layers.%d.w", i);                                /* copied: the buffer is used again */
        assert_non_null(sy_params_add(&all, name, 0, 1, &(int){ i + 1 }));
    }
    assert_int_equal(all.n, 200);
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "layers.%d.w", i);
        sy_param *p = sy_params_find(&all, name);
        assert_ptr_equal(p, all.p[i]);
        assert_int_equal(p->n, i + 1);
    }
    assert_null(sy_params_find(&all, "layers.200.w"));
    sy_arena_free(&arena);
}

static void starting_values(void **state)
{
    (void)state;
    sy_arena arena = { 0 };
    enum { N = 20001 };
    static const char *const order[2][3] = { { "a", "b", "c" }, { "c", "a", "b" } };
    sy_param *p[2][3];
    sy_pool *pool;
    sy_expect_ok(sy_pool_open(&pool, 3, err));
    for (int run = 0; run < 2; run++) {                                               /* the order of declaration and threads do not matter */
        sy_params all = { .arena = &arena, .pool = run ? pool : NULL };
        for (int i = 0; i < 3; i++) {
            sy_param *q = sy_params_add(&all, order[run][i], 0, 1, &(int){ N });
            assert_non_null(q);
            q->fresh = true;
            sy_param_normal(q, 5, 0.02);
            p[run][order[run][i][0] - 'a'] = q;
        }
    }
    sy_pool_close(pool);
    for (int i = 0; i < 3; i++) {
        const sy_real *w = p[0][i]->w.data;
        sy_expect_same("values of one name", w, p[1][i]->w.data, N * sizeof *w);
        assert_true(i == 0 || memcmp(w, p[0][0]->w.data, N * sizeof *w) != 0);
        double mean = 0, var = 0;
        for (int j = 0; j < N; j++) mean += (double)w[j] / N;
        for (int j = 0; j < N; j++) var += ((double)w[j] - mean) * ((double)w[j] - mean) / N;
        sy_expect_near("mean", mean, 0, 5 * 0.02 / sqrt(N), 0);                       /* five standard errors */
        sy_expect_near("standard deviation", sqrt(var), 0.02, 0, 5 / sqrt(2.0 * N));
    }
    sy_param_fill(p[0][0], 1.5);
    for (int j = 0; j < N; j++) assert_true(((sy_real *)p[0][0]->w.data)[j] == (sy_real)1.5);
    sy_arena_free(&arena);
}

static void sizes_and_memory_run_out(void **state)
{
    (void)state;
    sy_arena arena = { 0 };
    sy_params all = { .arena = &arena, .train = true };
    assert_null(sy_params_add(&all, "wraps", 0, 4, (int[]){ 1 << 30, 1 << 30, 1 << 30, 4 }));
    assert_null(sy_params_add(&all, "negative", 0, 2, (int[]){ -1, 3 }));
    assert_int_equal(all.n, 0);
    sy_arena_free(&arena);
    for (int at = 1;; at++) {
        sy_arena small = { 0 };
        sy_params some = { .arena = &small, .train = true };
        sy_alloc_fail_at((uint64_t)at, 1);
        int made = 0;
        while (made < 100 && sy_params_add(&some, "p", SY_LAZY, 2, (int[]){ 100, 10 })) made++;
        sy_alloc_fail_at(0, 0);
        assert_int_equal(some.n, made);
        sy_arena_free(&small);
        if (made == 100) break;
        assert_true(at < 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_decide_what_is_kept), cmocka_unit_test(names_are_found_in_any_number), cmocka_unit_test(starting_values), cmocka_unit_test(sizes_and_memory_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
