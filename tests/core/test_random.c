/* Random numbers. Oracles: the known answers of Philox 4x32-10 that its authors published; keys and draws of a separate
 * implementation in Python's whole numbers, which resumed runs rely on: these values never change. */
#include "testing.h"

#include <math.h>

#include "core/random.h"

static void known_answers(void **s)
{
    (void)s;
    static const struct { uint32_t counter[4], key[2], out[4]; } k[] = {
        { { 0, 0, 0, 0 }, { 0, 0 }, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { { ~0u, ~0u, ~0u, ~0u }, { ~0u, ~0u }, { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        { { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 }, { 0xa4093822, 0x299f31d0 }, { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
    };
    for (size_t i = 0; i < SY_COUNT(k); i++) {
        uint32_t out[4];
        sy_philox(k[i].counter, k[i].key, out);
        sy_test_case("known answer %zu", i);
        sy_expect_same("block", out, k[i].out, sizeof out);
    }
}

static void keys_and_draws_never_change(void **s)
{
    (void)s;
    static const struct { uint64_t seed; sy_purpose purpose; uint64_t a, b, c, key; double first, far; uint64_t below; } k[] = {
        { 0, SY_FOR_INIT, 0, 0, 0, 0x4bf7c71d9d861d98, 0x1.f0218b02a4165p-1, 0x1.94dd4b616d07fp-1, 599460100042 },
        { 1, SY_FOR_INIT, 0, 0, 0, 0x39abe577b5ced7c1, 0x1.21913a591ebb7p-1, 0x1.7304567d889f5p-1, 148272499618 },
        { 7, SY_FOR_ROUTE_BATCH, 3, 1099511627776, 123456789012, 0x42b3cb6d69582f8e, 0x1.3f3aa4b477eb7p-1, 0x1.331f142addcc2p-2, 665632036994 },
        { UINT64_MAX, SY_FOR_TEST, UINT64_MAX, UINT64_MAX, UINT64_MAX, 0x65f78a4b4f4782bd, 0x1.0ac00fce0543cp-3, 0x1.0f75766e5ee73p-1, 91108998723 },
    };
    for (size_t i = 0; i < SY_COUNT(k); i++) {
        sy_test_case("key %zu", i);
        uint64_t key = sy_key(k[i].seed, k[i].purpose, k[i].a, k[i].b, k[i].c);
        assert_true(key == k[i].key);
        assert_true(sy_draw(key, 0, 0) == k[i].first);
        assert_true(sy_draw(key, 8589934597, 9) == k[i].far);
        assert_true(sy_draw_below(key, 4, 2, 1000000000000) == k[i].below);
    }
}

static void every_part_of_a_key_counts(void **s)
{
    (void)s;
    uint64_t base = sy_key(5, SY_FOR_ROUTE, 1, 2, 3), other[] = {
        sy_key(6, SY_FOR_ROUTE, 1, 2, 3), sy_key(5, SY_FOR_SAMPLE, 1, 2, 3), sy_key(5, SY_FOR_ROUTE, 2, 2, 3), sy_key(5, SY_FOR_ROUTE, 1, 3, 3),
        sy_key(5, SY_FOR_ROUTE, 1, 2, 4), sy_key(5ull << 32, SY_FOR_ROUTE, 1, 2, 3), sy_key(5, SY_FOR_ROUTE, 1ull << 32, 2, 3), sy_key(5, SY_FOR_ROUTE, 2, 1, 3),
    };
    for (size_t i = 0; i < SY_COUNT(other); i++) assert_true(other[i] != base);
    assert_true(sy_draw(base, 1, 0) != sy_draw(base, 0, 1));
    assert_true(sy_draw(base, 1, 0) != sy_draw(base, 1ull << 32, 0));
}

static void distributions(void **s)                  /* bounds: five standard errors of n draws */
{
    (void)s;
    enum { N = 200000, K = 7 };
    uint64_t key = sy_key(sy_test_seed(), SY_FOR_TEST, 0, 0, 0);
    double sum = 0, square = 0, normal = 0, normal2 = 0, normal4 = 0;
    int count[K] = { 0 };
    for (uint64_t i = 0; i < N; i++) {
        double u = sy_draw(key, i, 0), z = sy_draw_normal(key, i, 1);
        assert_true(u > 0 && u < 1);
        assert_true(isfinite(z));
        sum += u; square += u * u; normal += z; normal2 += z * z; normal4 += z * z * z * z;
        count[sy_draw_below(key, i, 2, K)]++;
        assert_int_equal(sy_draw_below(key, i, 3, 1), 0);
    }
    sy_expect_near("mean", sum / N, 0.5, 5 * sqrt(1.0 / 12 / N), 0);
    sy_expect_near("mean square", square / N, 1.0 / 3, 5 * sqrt(4.0 / 45 / N), 0);
    sy_expect_near("normal mean", normal / N, 0, 5 * sqrt(1.0 / N), 0);
    sy_expect_near("normal variance", normal2 / N, 1, 5 * sqrt(2.0 / N), 0);
    sy_expect_near("normal fourth moment", normal4 / N, 3, 5 * sqrt(96.0 / N), 0);
    for (int i = 0; i < K; i++) sy_expect_near("share", (double)count[i] / N, 1.0 / K, 5 * sqrt(1.0 / K / N), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers), cmocka_unit_test(keys_and_draws_never_change), cmocka_unit_test(every_part_of_a_key_counts), cmocka_unit_test(distributions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
