/* float only */
/* tests/cli/test_cmd_bench.c - switchyard bench, each subcommand on a model of a few thousand weights. Oracles: relations between the numbers that it prints. */
#include "bed.h"

#include <math.h>

#define TINY "--seconds 0.002 -r 3 -t 1 -q --set vocab_size=40 --set hidden_size=16 --set num_hidden_layers=2 --set num_attention_heads=2 --set num_experts=4 --set moe_intermediate_size=8"

static double number(json_t *v, const char *key)
{
    json_t *n = json_object_get(v, key);
    if (!json_is_number(n)) fail_msg("no number '%s' in %s", key, text());
    return json_number_value(n);
}

static void test_rows(void **state)
{
    static const struct { const char *name, *flags; double tokens; } cases[] = { { "train", "-b 2 -l 8", 16 }, { "train", "-b 2 -l 8 --bf16", 16 }, { "prefill", "-l 8", 8 }, { "decode", "-l 8", 1 }, { "decode", "-l 8 --exact", 1 }, { "batch", "-l 4 -b 5", 5 } };
    (void)state;
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_test_case("%s", cases[i].name);
        if (run_out("bench %s %s --json " TINY, cases[i].name, cases[i].flags)) fail_msg("%s", text());
        json_t *v = said_json();
        double seconds = number(v, "seconds"), per_s = number(v, "tokens_per_s"), flops = number(v, "flops_per_token"), peak = number(v, "peak_flops");
        assert_string_equal(json_string_value(json_object_get(v, "bench")), cases[i].name);
        assert_true(seconds > 0 && number(v, "fastest") > 0 && number(v, "fastest") <= seconds);
        sy_expect_near("tokens a second", per_s, cases[i].tokens / seconds, 0, 1e-9);
        sy_expect_near("share of the peak", number(v, "share_of_flops"), per_s * flops / peak, 0, 1e-9);
        assert_true(number(v, "peak_read") > 0 && number(v, "threads") == 1);
        assert_true(json_is_string(json_object_get(v, "kernels")) && json_is_string(json_object_get(v, "commit")));
        assert_true(number(v, "peak_int8") > 0);
        bool served = strcmp(cases[i].name, "train") != 0;
        assert_int_equal(json_object_size(v), served ? 16 : 13);
        if (served) {
            sy_expect_near("share of reading", number(v, "share_of_read"), per_s * number(v, "bytes_per_token") / number(v, "peak_read"), 0, 1e-9);
            sy_expect_near("share of the bytes' peak", number(v, "share_of_int8"), per_s * flops / number(v, "peak_int8"), 0, 1e-9);
        }
        json_decref(v);
    }
}

static void test_peak(void **state)
{
    (void)state;
    if (run_out("bench peak --seconds 0.002 -t 1 --json")) fail_msg("%s", text());
    json_t *v = said_json();
    assert_string_equal(json_string_value(json_object_get(v, "bench")), "peak");
    assert_true(number(v, "peak_flops") > 1e6 && number(v, "peak_read") > 1e6);
    assert_null(json_object_get(v, "tokens_per_s"));
    json_decref(v);
    if (run_out("bench peak --seconds 0.002 -t 1")) fail_msg("%s", text());
    expect_said("GFLOP/s float32 FMA");
    if (run_out("bench decode -l 4 --csv " TINY)) fail_msg("%s", text());
    const char *row = strchr(text(), '\n');
    assert_true(row && !strncmp(text(), "bench,tokens_per_s,", 19) && !strncmp(row + 1, "decode,", 7));
    int head = 0, body = 0;
    for (const char *c = text(); c < row; c++) head += *c == ',';
    for (const char *c = row; *c; c++) body += *c == ',';
    assert_true(head == 16 && body == 16);
}

static void test_wrong_use(void **state)
{
    static const struct { const char *args, *part; int code; } cases[] = {
        { "bench", "something is missing", 2 }, { "bench walk --seconds 0.002", "there are peak, train, prefill, decode, batch", 2 }, { "bench train model.gguf", "takes no model", 2 }, { "bench decode model.gguf --set hidden_size=8", "model.gguf is as it is", 2 }, { "bench peak --seconds 0", "GFLOP", 0 },
        { "bench peak --seconds 100", "outside 0.001 .. 60", 2 }, { "bench train -r 1000", "at most 100", 2 }, { "bench train -b -3", "not a whole number of 0 or more", 2 },
        { "bench train --seconds 0.002 -b 1000000 -l 1000000", "is too large", 2 }, { "bench train --seconds 0.002 --set hiden_size=3", "did you mean 'hidden_size'", 2 },
        { "bench train --seconds 0.002 --set hidden_size", "write KEY=VALUE", 2 }, { "bench train --seconds 0.002 --set hidden_size=33", "33 is not a multiple", 2 }, { "bench prefill --seconds 0.002 -l 64 --set max_position_embeddings=32", "takes 32 positions; give a smaller --length", 2 },
    };
    (void)state;
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        int code = run("%s -t 1", cases[i].args);
        if (code != cases[i].code || !strstr(text(), cases[i].part)) fail_msg("'%s' ends with %d (want %d) and says:\n%s(want '%s')", cases[i].args, code, cases[i].code, text(), cases[i].part);
    }
}

/* Bytes of a token, of a model whose parts are counted by hand: 2 of 4 experts, one row of the embedding, the router and the norms in float32, keys and values. */
static void test_bytes(void **state)
{
    (void)state;
    enum { D = 64, E = 4, K = 2, F = 32, V = 40, L = 2 };
    if (run("bench decode --seconds 0.002 -r 2 -l 4 -t 1 -q --json --set vocab_size=40 --set hidden_size=64 --set num_hidden_layers=2 --set num_attention_heads=2 --set num_experts=4 --set moe_intermediate_size=32")) fail_msg("%s", text());
    json_t *v = said_json();
    double context = 4 + 2 + 1, weights = L * (K * 3.0 * F * D + 4.0 * D * D + E * D + 2 * D) + D + (double)V * D + D;      /* the last D: a row of the embedding */
    sy_expect_near("bytes", number(v, "bytes_per_token"), 4 * (weights + L * 2.0 * D * context), 0, 1e-9);
    json_decref(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_rows), cmocka_unit_test(test_bytes), cmocka_unit_test(test_peak), cmocka_unit_test(test_wrong_use) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
