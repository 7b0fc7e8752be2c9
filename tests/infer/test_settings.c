/* tests/infer/test_settings.c - generation_config.json. Oracle: transformers' meaning of its keys, written out; typical sampling against a plain sort. */
#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "infer/settings.h"
#include "model/gguf.h"

static const char *folder(const char *text)
{
    static char dir[400], path[512];
    snprintf(dir, sizeof dir, "%s", sy_test_dir());
    snprintf(path, sizeof path, "%s/generation_config.json", dir);
    sy_expect_ok(sy_file_write(path, text, strlen(text), err));
    return dir;
}

static void keys_are_honoured_or_named(void **state)
{
    (void)state;
    sy_arena a = { 0 };
    sy_generate_options o;
    sy_settings s;
    sy_opt_defaults(sy_generate_opts, &o);
    sy_expect_ok(sy_settings_read(folder("{\"do_sample\": true, \"temperature\": 0.6, \"top_k\": 20, \"top_p\": 0.95, \"min_p\": 0.1, \"typical_p\": 0.9, \"repetition_penalty\": 1.05, "
                                         "\"max_new_tokens\": 7, \"eos_token_id\": [5, 6, 7], \"pad_token_id\": 5, \"bos_token_id\": 1, \"transformers_version\": \"5\", \"num_beams\": 1, "
                                         "\"no_repeat_ngram_size\": 3, \"penalty_alpha\": 0.6, \"guidance_scale\": null}"), &o, 0, &s, &a, err));
    assert_true(o.sample.do_sample && o.sample.temperature == 0.6 && o.sample.top_k == 20 && o.sample.top_p == 0.95 && o.sample.min_p == 0.1 && o.sample.typical_p == 0.9);
    assert_true(o.sample.repetition_penalty == 1.05 && o.max_new_tokens == 7);
    sy_expect_ids("eos", s.eos, (const int[]){ 5, 6, 7 }, 3);
    assert_int_equal(s.n_eos, 3);
    assert_string_equal(s.left_out, "no_repeat_ngram_size, penalty_alpha");
    sy_test_case("what the command line gives stays");
    int index = 0;
    size_t at;
    sy_opt_defaults(sy_generate_opts, &o);
    assert_non_null(sy_opt_find(sy_generate_opts, "top_k", &at, &index));
    o.sample.top_k = 3;
    sy_expect_ok(sy_settings_read(folder("{\"do_sample\": true, \"top_k\": 20, \"eos_token_id\": 2}"), &o, (uint64_t)1 << index, &s, &a, err));
    assert_true(o.sample.top_k == 3 && s.n_eos == 1 && s.eos[0] == 2 && !s.left_out);
    sy_test_case("silence means greedy, a temperature then means nothing");
    sy_expect_ok(sy_settings_read(folder("{\"temperature\": 0.0}"), &o, 0, &s, &a, err));
    assert_true(!o.sample.do_sample && o.sample.temperature == 1);
    sy_test_case("no file");
    sy_opt_defaults(sy_generate_opts, &o);
    sy_expect_ok(sy_settings_read("tests/fixtures", &o, 0, &s, &a, err));
    assert_true(o.sample.do_sample && !s.n_eos);
    sy_arena_free(&a);
}

/* A GGUF file names what ends a text by up to three keys; ids are said once, and the largest number says that there is none. */
static void ends_of_gguf_files(void **state)
{
    (void)state;
    static const struct { int64_t eos, eot, eom; int want[3], n; } cases[] = {
        { 2, 3, 4, { 2, 3, 4 }, 3 }, { 2, -1, -1, { 2 }, 1 }, { 2, 2, 5, { 2, 5 }, 2 }, { -1, 7, -1, { 7 }, 1 }, { UINT32_MAX, 3, UINT32_MAX, { 3 }, 1 }, { -1, -1, -1, { 0 }, 0 },
    };
    static const char *const keys[] = { "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id" };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        const int64_t id[3] = { cases[i].eos, cases[i].eot, cases[i].eom };
        char path[512];
        sy_gguf_writer w;
        sy_arena a = { 0 };
        sy_generate_options o;
        sy_settings s;
        sy_test_case("case %zu", i);
        snprintf(path, sizeof path, "%s/ends.gguf", sy_test_dir());
        sy_expect_ok(sy_gguf_writer_open(&w, path, err));
        sy_gguf_put_text(&w, "general.architecture", "llama", 5);
        for (int k = 0; k < 3; k++) if (id[k] >= 0) sy_gguf_put_u32(&w, keys[k], (uint32_t)id[k]);
        sy_expect_ok(sy_gguf_writer_begin(&w, err));
        sy_expect_ok(sy_gguf_writer_close(&w, err));
        sy_opt_defaults(sy_generate_opts, &o);
        sy_expect_ok(sy_settings_read(path, &o, 0, &s, &a, err));
        assert_int_equal(s.n_eos, cases[i].n);
        sy_expect_ids("eos", s.eos, cases[i].want, (size_t)s.n_eos);
        sy_arena_free(&a);
    }
}

static const struct { const char *text, *part; } bad[] = {
    { "[]", "no JSON object" }, { "{\"eos_token_id\": -1}", "an id of 0 or more" }, { "{\"eos_token_id\": [1, \"a\"]}", "an id of 0 or more" }, { "{\"do_sample\": true, \"top_p\": 2}", "top_p" },
    { "{\"do_sample\": true, \"temperature\": \"hot\"}", "'temperature' is no number" }, { "{\"do_sample\": true, \"top_k\": 1.5}", "top_k" },
};

static void wrong_values_are_refused(void **state)
{
    (void)state;
    sy_arena a = { 0 };
    sy_generate_options o;
    sy_settings s;
    for (size_t i = 0; i < SY_COUNT(bad); i++) {
        sy_err err = { 0 };
        sy_test_case("%s", bad[i].text);
        sy_opt_defaults(sy_generate_opts, &o);
        sy_status st = sy_settings_read(folder(bad[i].text), &o, 0, &s, &a, &err);
        if (st == SY_OK || !strstr(err.text, bad[i].part) || !strstr(err.text, "generation_config.json")) fail_msg("'%s' is not in '%s'", bad[i].part, err.text);
    }
    sy_arena_free(&a);
}

enum { V = 12 };
typedef struct by_distance { double far, p; int id; } by_distance;

static int nearest(const void *a, const void *b)
{
    double x = ((const by_distance *)a)->far, y = ((const by_distance *)b)->far;
    return x < y ? -1 : x > y;
}

/* Every draw is among the ids that the definition keeps, and each of those is drawn. */
static void typical_sampling_keeps_what_its_definition_keeps(void **state)
{
    (void)state;
    static const sy_real logits[V] = { 3, 2.9f, 0.5f, -1, 2, 1.1f, 0, -2, 1.7f, -0.3f, 0.9f, 2.5f };
    for (double p = 0.1; p < 1; p += 0.2) {
        by_distance x[V];
        double z = 0, H = 0, sum = 0;
        bool keep[V] = { false }, drawn[V] = { false };
        sy_sampler s;
        sy_sample_options o;
        sy_test_case("p %g", p);
        for (int v = 0; v < V; v++) z += exp(logits[v]);
        for (int v = 0; v < V; v++) H -= exp(logits[v]) / z * (logits[v] - log(z));
        for (int v = 0; v < V; v++) x[v] = (by_distance){ fabs(-(logits[v] - log(z)) - H), exp(logits[v]) / z, v };
        qsort(x, V, sizeof *x, nearest);
        for (int i = 0; i < V; i++) {
            keep[x[i].id] = sum < p;
            sum += x[i].p;
        }
        sy_opt_defaults(sy_sample_opts, &o);
        o.typical_p = p;
        o.top_k = 0;
        sy_expect_ok(sy_sampler_open(&s, V, err));
        for (int i = 0; i < 4000; i++) {
            int id = -1;
            sy_expect_ok(sy_sample(&s, &o, logits, i, &id, err));
            if (!keep[id]) fail_msg("id %d is drawn, which is not typical", id);
            drawn[id] = true;
        }
        for (int v = 0; v < V; v++) assert_true(drawn[v] == keep[v]);
        sy_sampler_close(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(keys_are_honoured_or_named), cmocka_unit_test(ends_of_gguf_files), cmocka_unit_test(wrong_values_are_refused), cmocka_unit_test(typical_sampling_keeps_what_its_definition_keeps) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
