/* Stored formats. Oracles: blocks and numbers of the gguf package, rows written by ggml itself (tests/ref/make_quant_fixtures.py); what the format
 * can hold; no search may do worse than its own first guess. */
#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/random.h"
#include "kernels/quant.h"
#include "model/safetensors.h"

static sy_map   map;
static sy_arena arena;
static sy_st    fix;

static int open_fixture(void **state)
{
    (void)state;
    sy_expect_ok(sy_map_open(&map, "tests/fixtures/quant.safetensors", err));
    sy_expect_ok(sy_st_parse(&fix, map.data, map.size, "quant.safetensors", &arena, err));
    return 0;
}

static int close_fixture(void **state)
{
    (void)state;
    sy_map_close(&map);
    sy_arena_free(&arena);
    return 0;
}

static const sy_st_tensor *find(const char *type, const char *what)
{
    char name[64];
    snprintf(name, sizeof name, "%s%s%s", type, *type ? "." : "", what);
    return sy_st_find(&fix, name);
}

/* Numbers of a fixture, aligned. */
static float *numbers(const sy_st_tensor *t)
{
    float *x = malloc(t->n * sizeof *x);
    assert_non_null(x);
    sy_expect_ok(sy_st_read_f32(t, 0, t->n, x, err));
    return x;
}

static void names(void **state)
{
    (void)state;
    assert_int_equal(sy_wtype_named("q4_k"), SY_W_Q4_K);
    assert_int_equal(sy_wtype_named("MXFP4"), SY_W_MXFP4);
    assert_int_equal(sy_wtype_named("q4"), SY_WTYPES);
    assert_int_equal(sy_wtype_named("real"), SY_WTYPES);
    assert_int_equal(sy_wtype_of_gguf(9), SY_WTYPES);
    for (int t = SY_W_REAL + 1; t < SY_WTYPES; t++) {
        assert_int_equal(sy_wtype_of_gguf((uint32_t)sy_wtype_gguf((sy_wtype)t)), t);
        assert_int_equal(sy_wtype_named(sy_wtype_name((sy_wtype)t)), t);
        assert_int_equal(SY_BLOCK_MAX % sy_wtype_block((sy_wtype)t), 0);
    }
}

static void reading(void **state)
{
    (void)state;
    for (int i = SY_W_REAL + 1; i < SY_WTYPES; i++) {
        sy_wtype type = (sy_wtype)i;
        const sy_st_tensor *blocks = find(sy_wtype_name(type), "blocks"), *values = find(sy_wtype_name(type), "values");
        assert_true(blocks && values);
        assert_int_equal(blocks->dim[1], sy_wtype_bytes(type, (size_t)sy_wtype_block(type)));
        float *want = numbers(values), *got = malloc(values->n * sizeof *got);
        assert_non_null(got);
        sy_wtype_read(type, blocks->data, values->n, got);
        for (size_t k = 0; k < values->n; k++)
            if (memcmp(&got[k], &want[k], 4) && !(isnan(got[k]) && isnan(want[k])))
                fail_msg("%s: value %zu of block %zu is %a, want %a", sy_wtype_name(type), k % (size_t)sy_wtype_block(type), k / (size_t)sy_wtype_block(type), (double)got[k], (double)want[k]);
        free(want);
        free(got);
    }
}

/* The formats with a plain rule: the same bytes as ggml. */
static void same_bytes(void **state)
{
    static const sy_wtype type[] = { SY_W_Q8_0, SY_W_Q4_0, SY_W_MXFP4 };
    static const char *const set[] = { "rows", "edges" };
    (void)state;
    for (size_t i = 0; i < SY_COUNT(type); i++)
        for (int k = 0; k < 2; k++) {
            const sy_st_tensor *in = find("", set[k]), *want = find(sy_wtype_name(type[i]), set[k]);
            float *x = numbers(in);
            uint8_t *got = malloc(want->bytes);
            assert_non_null(got);
            assert_int_equal(sy_wtype_bytes(type[i], in->n), want->bytes);
            sy_wtype_write(type[i], x, NULL, in->n, got);
            for (int64_t r = 0; r < want->dim[0]; r++) {
                sy_test_case("%s, %s, row %lld", sy_wtype_name(type[i]), set[k], (long long)r);
                sy_expect_same("bytes", got + r * want->dim[1], want->data + r * want->dim[1], (size_t)want->dim[1]);
            }
            free(x);
            free(got);
        }
}

static double error_of(sy_wtype type, const float *x, const float *importance, const float *count, size_t n)
{
    static uint8_t bytes[4096];
    static float y[512];
    double e = 0;
    sy_wtype_write(type, x, importance, n, bytes);
    sy_wtype_read(type, bytes, n, y);
    for (size_t i = 0; i < n; i++) e += (count ? (double)count[i] : 1) * ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
    return e;
}

/* The searched ones: in all no more error than ggml's own, on normal and on heavy-tailed rows; without importances row by row too. */
static void errors(void **state)
{
    const sy_st_tensor *in = find("", "rows");
    float *x = numbers(in), *importance = numbers(find("", "importance"));
    (void)state;
    for (int t = SY_W_REAL + 1; t < SY_WTYPES; t++)
        for (int weighted = 0; weighted < 2; weighted++) {
            const sy_st_tensor *theirs = find(sy_wtype_name((sy_wtype)t), weighted ? "error_weighted" : "error");
            double want[16], ours[2] = { 0, 0 }, sum[2] = { 0, 0 };
            if (!theirs) continue;
            sy_expect_ok(sy_st_read_f64(theirs, 0, 16, want, err));
            for (int r = 0; r < 16; r++) {
                const float *w = weighted ? importance : NULL;
                double e = error_of((sy_wtype)t, x + 512 * r, w, w, 512);
                ours[r / 8] += e, sum[r / 8] += want[r];
                if (e > want[r] * (weighted ? 1.1 : 1)) fail_msg("%s, row %d, %s: error %g, ggml's is %g", sy_wtype_name((sy_wtype)t), r, weighted ? "weighted" : "plain", e, want[r]);
            }
            for (int k = 0; k < 2; k++)
                if (ours[k] > sum[k]) fail_msg("%s, %s rows, %s: error %g in all, ggml's is %g", sy_wtype_name((sy_wtype)t), k ? "heavy-tailed" : "normal", weighted ? "weighted" : "plain", ours[k], sum[k]);
        }
    free(x);
    free(importance);
}

/* What matters is written better, at the cost of the rest. */
static void importances(void **state)
{
    const sy_st_tensor *in = find("", "rows");
    float *x = numbers(in), w[512];
    (void)state;
    for (int i = 0; i < 512; i++) w[i] = i % 4 ? 0.01f : 1;
    for (int t = SY_W_REAL + 1; t < SY_WTYPES; t++) {
        double with = 0, without = 0;
        for (int r = 0; r < 16; r++) with += error_of((sy_wtype)t, x + 512 * r, w, w, 512), without += error_of((sy_wtype)t, x + 512 * r, NULL, w, 512);
        bool plain = t <= SY_W_BF16 || t == SY_W_Q8_0 || t == SY_W_MXFP4;
        if (plain ? with != without : !(with < without)) fail_msg("%s: weighted error %g with importances, %g without", sy_wtype_name((sy_wtype)t), with, without);
    }
    sy_test_case("importances that say nothing");
    float none[512] = { 0 };
    for (int t = SY_W_REAL + 1; t < SY_WTYPES; t++) {
        double a = error_of((sy_wtype)t, x, none, NULL, 512);
        if (!(a < 0.02 * 512)) fail_msg("%s: error %g where no value matters", sy_wtype_name((sy_wtype)t), a);
    }
    free(x);
}

/* Numbers as they come: nothing is written that reads as NaN, and never worse than zeros (but for what the plain rules do). */
static void any_numbers(void **state)
{
    (void)state;
    uint64_t key = sy_key(sy_test_seed(), SY_FOR_TEST, 3, 0, 0);
    for (int t = SY_W_Q8_0; t < SY_WTYPES; t++)
        for (int c = 0; c < 300; c++) {
            float x[512], y[512];
            uint8_t bytes[4096];
            double zero = 0, e = 0;
            int power = (int)(80 * sy_draw(key, (uint64_t)c, 1)) - 64, kind = c % 5;
            for (int i = 0; i < 512; i++) {
                double u = 2 * sy_draw(key, (uint64_t)c * 512 + (uint64_t)i, 2) - 1;
                x[i] = (float)ldexp(kind == 0 ? u : kind == 1 ? (i % 97 ? 0.001 * u : u) : kind == 2 ? fabs(u) + 1 : kind == 3 ? (i < 256 ? u : 0) : 1, power);
            }
            if (sy_wtype_fits((sy_wtype)t, x, 512) < 512) continue;
            sy_wtype_write((sy_wtype)t, x, NULL, 512, bytes);
            sy_wtype_read((sy_wtype)t, bytes, 512, y);
            for (int i = 0; i < 512; i++) {
                if (!isfinite(y[i])) fail_msg("%s, case %d: %g is written as %g", sy_wtype_name((sy_wtype)t), c, (double)x[i], (double)y[i]);
                zero += (double)x[i] * (double)x[i], e += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
            }
            if (e > zero * 1.0001) fail_msg("%s, case %d (2^%d): error %g, zeros leave %g", sy_wtype_name((sy_wtype)t), c, power, e, zero);
        }
}

static void limits(void **state)
{
    static const struct { sy_wtype type; float x; size_t at; } cases[] = {
        { SY_W_F16, 65504, 1 }, { SY_W_F16, 65520, 0 }, { SY_W_F16, -1e5f, 0 }, { SY_W_F16, INFINITY, 1 }, { SY_W_F16, NAN, 1 }, { SY_W_BF16, 3e38f, 1 }, { SY_W_BF16, 3.4028e38f, 0 },
        { SY_W_F32, NAN, 1 }, { SY_W_Q8_0, NAN, 0 }, { SY_W_Q8_0, 127 * 65504.0f, 1 }, { SY_W_Q8_0, 1e8f, 0 }, { SY_W_Q4_K, -INFINITY, 0 }, { SY_W_Q4_K, 4e6f, 1 }, { SY_W_MXFP4, 3e38f, 1 },
        { SY_W_MXFP4, INFINITY, 0 }, { SY_W_Q4_1, 1e5f, 0 },
    };
    (void)state;
    for (size_t i = 0; i < SY_COUNT(cases); i++)
        if (sy_wtype_fits(cases[i].type, &cases[i].x, 1) != cases[i].at) fail_msg("%s: %g %s", sy_wtype_name(cases[i].type), (double)cases[i].x, cases[i].at ? "is refused" : "passes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names), cmocka_unit_test(reading), cmocka_unit_test(same_bytes), cmocka_unit_test(errors), cmocka_unit_test(importances), cmocka_unit_test(any_numbers), cmocka_unit_test(limits),
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
