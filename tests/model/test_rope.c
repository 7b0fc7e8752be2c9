/* tests/model/test_rope.c - frequencies of every kind of stretch against transformers' (tests/fixtures/rope.json); refusals; two bases. */
#include "testing.h"

#include <jansson.h>
#include <math.h>

#include "model/rope.h"

static void spec_of(sy_spec *s, const char *settings, sy_arena *a)
{
    sy_spec_defaults(s);
    s->vocab_size = 8;
    sy_expect_ok(sy_opt_parse(sy_spec_opts, s, settings, a, NULL, err));
    sy_expect_ok(sy_spec_check(s, err));
}

static void against_transformers(void **state)
{
    (void)state;
    json_error_t je;
    json_t *all = json_load_file("tests/fixtures/rope.json", 0, &je);
    if (!all) fail_msg("rope.json: %s", je.text);
    assert_true(json_array_size(all) > 20);
    for (size_t c = 0; c < json_array_size(all); c++) {
        json_t *x = json_array_get(all, c), *want = json_object_get(x, "inv_freq");
        const char *settings = json_string_value(json_object_get(x, "settings"));
        sy_arena a = { 0 };
        sy_spec s;
        double got[256], scale;
        sy_test_case("%s", settings);
        spec_of(&s, settings, &a);
        assert_int_equal(json_array_size(want), sy_spec_rotary(&s) / 2);
        sy_rope_fill(&s, false, (int)json_integer_value(json_object_get(x, "length")), got, &scale);
        sy_expect_near("scale", scale, json_number_value(json_object_get(x, "scale")), 1e-9, 1e-9);
        for (size_t i = 0; i < json_array_size(want); i++) sy_expect_near("inv_freq", got[i], json_number_value(json_array_get(want, i)), 0, 1e-6);      /* theirs are float32 */
        sy_arena_free(&a);
    }
    json_decref(all);
}

static void by_layer_and_length(void **state)
{
    (void)state;
    sy_arena a = { 0 };
    sy_spec s;
    double f[8], g[8], scale;
    spec_of(&s, "head_dim=16,rope_theta=1e6,rope_local_base_freq=10000,rope_type=linear,rope_factor=8,sliding_window=4", &a);
    sy_rope_fill(&s, true, 0, f, &scale);
    for (int i = 0; i < 8; i++) sy_expect_near("local", f[i], pow(10000, -i / 8.0), 0, 1e-14);
    sy_rope_fill(&s, false, 0, f, &scale);
    for (int i = 0; i < 8; i++) sy_expect_near("global", f[i], pow(1e6, -i / 8.0) / 8, 0, 1e-14);
    assert_false(sy_rope_by_length(&s));
    spec_of(&s, "head_dim=4,rope_type=longrope,rope_factor=4,original_max_position_embeddings=8,rope_short_factor='1 2',rope_long_factor='3 4',rope_short_mscale=1.5,rope_long_mscale=2.5", &a);
    assert_true(sy_rope_by_length(&s));
    sy_rope_fill(&s, false, 8, f, &scale);
    sy_expect_near("short mscale", scale, 1.5, 0, 0);
    sy_rope_fill(&s, false, 9, g, &scale);
    sy_expect_near("long mscale", scale, 2.5, 0, 0);
    sy_expect_near("long", f[0] / g[0], 3, 0, 1e-14);
    spec_of(&s, "head_dim=10,partial_rotary_factor=0.3,rope_theta=8", &a);             /* 3 of 10 values: two pairs of angles 8^(-2i/3) */
    assert_int_equal(sy_spec_rotary(&s), 4);
    sy_rope_fill(&s, false, 0, f, &scale);
    sy_expect_near("odd", f[1], 0.25, 0, 1e-14);
    sy_arena_free(&a);
}

static void refusals(void **state)
{
    (void)state;
    sy_err e = { 0 }, *err = &e;
    sy_arena a = { 0 };
    sy_spec s;
    spec_of(&s, "rope_type=longrope,rope_factor=4,original_max_position_embeddings=1,head_dim=4,rope_short_factor='1 2',rope_long_factor='3 4'", &a);
    sy_expect_fail(sy_rope_check(&s, err), SY_EARG, "original_max_position_embeddings 1");
    sy_spec_defaults(&s);
    s.vocab_size = 8;
    sy_expect_ok(sy_opt_parse(sy_spec_opts, &s, "head_dim=10,partial_rotary_factor=0.3,rope_type=yarn,rope_factor=4", &a, NULL, err));
    sy_expect_fail(sy_spec_check(&s, err), SY_ESHAPE, "rope_type yarn is about pairs, 3 values are odd");
    sy_arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(against_transformers), cmocka_unit_test(by_layer_and_length), cmocka_unit_test(refusals) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
