/* tests/route/test_stats.c - statistics against numbers worked out by hand. */
#include "route/bed.h"

static void numbers(void **state)
{
    (void)state;
    sy_arena a = { 0 };
    sy_stats s;
    sy_expect_ok(sy_stats_init(&s, 3, 1, 2, &a, err));
    int first[] = { 0, 2, 4, 4, 5, 7 }, expert[] = { 1, 0, 0, ~2, 3, 2, 0 }, label[] = { 0, 0, 1, 1, 1 };
    uint8_t valid[] = { 1, 1, 1, 1, 0 };
    sy_real w[] = { 0.7, 0.3, 0.9, 0.1, 0.5, 9, 9 }, p[20];
    for (int i = 0; i < 20; i++) p[i] = i < 4 ? (sy_real)0.25 : i % 4 == 0;
    sy_tensor weight = { .x = w, .nd = 1, .dim = { 7 } }, probs = { .x = p, .nd = 2, .dim = { 5, 4 } };
    sy_route r = { .T = 5, .E = 3, .Z = 1, .n = 7, .first_slot = first, .expert = expert, .weight = &weight, .probs = &probs };
    sy_stats_add(&s, &r, label, valid);
    sy_stats_add(&s, &r, label, valid);                                   /* sums over batches */
    assert_int_equal(s.tokens, 8);
    assert_int_equal(s.slots, 10);
    assert_int_equal(s.dropped, 2);
    assert_int_equal(s.passed, 2);
    for (int e = 0; e < 4; e++) assert_int_equal(s.load[e], 2 * ((int[]){ 2, 1, 1, 1 })[e]);
    for (int i = 0; i < 8; i++) assert_int_equal(s.by_domain[i], 2 * ((int[]){ 2, 1, 1, 0, 0, 0, 0, 1 })[i]);
    for (int i = 0; i < 9; i++) assert_int_equal(s.co[i], 2 * ((int[]){ 0, 1, 1, 0, 0, 0, 0, 0, 0 })[i]);
    sy_expect_near("entropy", s.entropy, 2 * log(4), 1e-6, 0);
    sy_expect_near("top weight", s.top_weight, 2 * (0.7 + 0.9 + 0.5), 1e-6, 0);
    sy_expect_near("MaxVio = max load / mean load - 1", sy_stats_maxvio(&s), 2.0 / (4.0 / 3) - 1, 1e-12, 0);
    /* the domains share no expert, so I(domain; expert) = H(domain) with shares 4/5 and 1/5 */
    sy_expect_near("specialisation", sy_stats_specialisation(&s), -(0.8 * log(0.8) + 0.2 * log(0.2)) / log(2), 1e-12, 0);
    sy_stats_clear(&s);
    assert_int_equal(s.tokens, 0);
    assert_int_equal(s.load[0] + s.by_domain[0] + s.co[1], 0);
    sy_expect_near("MaxVio of nothing", sy_stats_maxvio(&s), 0, 0, 0);
    sy_expect_near("specialisation of nothing", sy_stats_specialisation(&s), 0, 0, 0);
    sy_arena_free(&a);
}

static void extremes(void **state)
{
    (void)state;
    sy_arena a = { 0 };
    sy_stats s;
    sy_expect_ok(sy_stats_init(&s, 2, 0, 2, &a, err));
    int64_t equal[] = { 5, 5, 5, 5 }, apart[] = { 7, 0, 0, 7 };
    memcpy(s.by_domain, equal, sizeof equal);
    sy_expect_near("every domain alike", sy_stats_specialisation(&s), 0, 1e-12, 0);
    memcpy(s.by_domain, apart, sizeof apart);
    sy_expect_near("one expert a domain", sy_stats_specialisation(&s), 1, 1e-12, 0);
    sy_expect_ok(sy_stats_init(&s, 2, 0, 0, &a, err));
    sy_expect_near("no domains", sy_stats_specialisation(&s), 0, 0, 0);
    sy_arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(numbers), cmocka_unit_test(extremes) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
