/* tests/infer/test_languages.c - parallel text, and routes of held-out text. Oracles: the definitions on the model's own distributions, sentence by sentence;
 * bounds and symmetries of the divergence; statistics that evaluation collects on its own way (route/stats.h). */
#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/file.h"
#include "data/evaluate.h"
#include "infer/languages.h"
#include "infer/observe.h"
#include "methods.h"

static sy_engine eng;
static sy_tokenizer *tok;
static sy_model *model;
static char dir[400];

static sy_model *model_of(const char *router)
{
    sy_spec s;
    sy_model *m;
    sy_spec_defaults(&s);
    s.vocab_size = 256, s.hidden_size = 32, s.num_hidden_layers = 3, s.num_attention_heads = 2, s.intermediate_size = 48, s.num_experts = 6;
    s.layers = "dense,sparse,sparse", s.router = router, s.max_position_embeddings = 48, s.initializer_range = 0.4;
    sy_expect_ok(sy_model_new(&m, &eng, &s, 0, 5, err));
    return m;
}

static int setup(void **state)
{
    (void)state;
    sy_expect_ok(sy_engine_init(&eng, 2, NULL, &sy_builtin_methods, err));
    sy_expect_ok(sy_tokenizer_open_bytes(&tok, false, err));
    snprintf(dir, sizeof dir, "%s", sy_test_dir());
    model = model_of("topk:top_k=2");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sy_model_free(model);
    sy_tokenizer_close(tok);
    sy_engine_uninit(&eng);
    return 0;
}

/* Writes a file and returns "NAME=PATH"; eight stand at a time. */
static const char *language(const char *name, const char *text)
{
    static char spec[8][600];
    static int turn;
    char *s = spec[turn++ % 8];
    snprintf(s, sizeof spec[0], "%s=%s/%s.txt", name, dir, name);
    sy_expect_ok(sy_file_write(strchr(s, '=') + 1, text, strlen(text), err));
    return s;
}

static const char one[] = "the cat sees a bird\nshe has two books\nit rains in the north\nnobody came\n";
static const char two[] = "die Katze sieht den Vogel\r\nsie hat zwei Buecher\r\nes regnet im Norden\r\nkeiner kam";      /* other ends of lines, none at the end */

/* --- measures --------------------------------------------------------------------------------------------------------------- */

static void divergence_is_bounded_and_symmetric(void **state)
{
    (void)state;
    static const double p[][4] = { { 1, 0, 0, 0 }, { 0, 1, 0, 0 }, { 0.25, 0.25, 0.25, 0.25 }, { 0.7, 0.1, 0.1, 0.1 }, { 0, 0, 0.5, 0.5 } };
    for (size_t i = 0; i < SY_COUNT(p); i++)
        for (size_t k = 0; k < SY_COUNT(p); k++) {
            double ha, hb, hc, hd, d = sy_jensen_shannon(p[i], p[k], 4, &ha, &hb), e = sy_jensen_shannon(p[k], p[i], 4, &hc, &hd);
            sy_test_case("%zu and %zu", i, k);
            sy_expect_near("symmetric", d, e, 1e-15, 0);
            assert_true(d >= 0 && d <= log(2) + 1e-15 && ha == hd && hb == hc);
            if (i == k) sy_expect_near("of itself", d, 0, 1e-15, 0);
        }
    double h[2];
    sy_expect_near("nothing in common", sy_jensen_shannon(p[0], p[1], 4, h, h + 1), log(2), 1e-15, 0);
    sy_expect_near("a point and the uniform", sy_jensen_shannon(p[0], p[2], 4, h, h + 1), 0.5 * log(8 / 5.0) + 0.5 * (0.25 * log(0.25 / 0.625) + 0.75 * log(2)), 1e-15, 0);
    sy_expect_near("entropy", h[1], log(4), 1e-15, 0);
    const double up[] = { 1, 5, 9, 11 }, down[] = { 4, 3, 2, 1 }, tied[] = { 1, 1, 2, 3 };
    sy_expect_near("same order", sy_spearman(up, up, 4), 1, 1e-15, 0);
    sy_expect_near("other order", sy_spearman(up, down, 4), -1, 1e-15, 0);
    sy_expect_near("ties", sy_spearman(up, tied, 4), 4.5 / sqrt(5 * 4.5), 1e-12, 0);
    assert_true(isnan(sy_spearman(up, (const double[]){ 2, 2, 2, 2 }, 4)));
}

/* --- sentences -------------------------------------------------------------------------------------------------------------- */

static void sentences_are_read(void **state)
{
    (void)state;
    sy_arena a = { 0 };
    sy_parallel p;
    const char *spec[] = { language("en", one), language("de", two) };
    sy_expect_ok(sy_parallel_read(&p, spec, 2, tok, 48, 0, &a, err));
    assert_true(p.languages == 2 && p.sentences == 4 && !p.empty && !p.too_long && !p.before);
    assert_string_equal(p.name[1], "de");
    assert_int_equal(p.n[4 + 2], strlen("es regnet im Norden"));
    for (int i = 0; i < p.n[4 + 2]; i++) assert_int_equal(p.id[4 + 2][i], "es regnet im Norden"[i]);
    sy_expect_ok(sy_parallel_read(&p, spec, 2, tok, 48, 3, &a, err));
    assert_int_equal(p.sentences, 3);
    spec[1] = language("fr", "\nlong enough that this line is over the positions of a model of twenty\nun\ndeux\n");
    sy_expect_ok(sy_parallel_read(&p, spec, 2, tok, 22, 0, &a, err));
    assert_true(p.sentences == 2 && p.empty == 1 && p.too_long == 1);
    assert_true(p.n[0] == 21 && p.n[1] == 11 && p.n[2] == 2 && p.n[3] == 4);       /* it rains in the north, nobody came; un, deux */
    sy_arena_free(&a);
}

static void wrong_sentences(void **state)
{
    (void)state;
    sy_err sentence = { 0 }, *err = &sentence;
    char folder[500];
    snprintf(folder, sizeof folder, "f=%s", dir);
    const char *en = language("en", one), *de = language("de", two), *less = language("less", "one\ntwo\n"), *none = language("none", ""), *blank = language("blank", "\n\n\n\n");
    const struct { const char *spec[3]; int n; sy_status st; const char *part; } cases[] = {
        { { en }, 1, SY_EARG, "give at least two" }, { { en, en }, 2, SY_EARG, "the language en is given twice" }, { { en, "german.txt" }, 2, SY_EARG, "write NAME=FILE" },
        { { en, "=x" }, 2, SY_EARG, "write NAME=FILE" }, { { en, "a b=x" }, 2, SY_EARG, "a blank in its name" }, { { en, "xx=/no/such/file" }, 2, SY_ENOENT, "/no/such/file" },
        { { en, folder }, 2, SY_EARG, "is a folder" }, { { en, de, less }, 3, SY_EFORMAT, "has 4 lines, " }, { { en, none }, 2, SY_EFORMAT, "compared line by line" },
        { { en, blank }, 2, SY_EFORMAT, "0 of 4 sentences can be used: 4 without text" },
    };
    for (size_t c = 0; c < SY_COUNT(cases); c++) {
        sy_arena a = { 0 };
        sy_parallel p;
        sy_test_case("%s", cases[c].part);
        sy_expect_fail(sy_parallel_read(&p, cases[c].spec, cases[c].n, tok, 48, 0, &a, err), cases[c].st, cases[c].part);
        sy_arena_free(&a);
    }
}

/* --- the run ---------------------------------------------------------------------------------------------------------------- */

static sy_languages run_over(const char *const *spec, int n, sy_arena *a, sy_analysis *routes)
{
    sy_parallel p;
    sy_languages x;
    sy_expect_ok(sy_parallel_read(&p, spec, n, tok, 48, 0, a, err));
    if (routes) sy_expect_ok(sy_analysis_open(routes, model, p.name, p.languages, err));
    sy_expect_ok(sy_languages_run(model, &p, &(sy_languages_options){ .tau = 0.05 }, routes, a, &x, err));
    return x;
}

/* pbar of one sentence in one sparse layer, run alone; counts of its experts are added to share. */
static void mean_of(const int *id, int n, int l, double *mean, double *share)
{
    sy_tape t;
    sy_route *routes[2];
    int pos[48], seq[48] = { 0 };
    sy_segment seg = { .n = n };
    uint64_t no = 0;
    for (int i = 0; i < n; i++) pos[i] = i;
    sy_batch b = { .T = n, .n_seg = 1, .id = id, .pos = pos, .seq = seq, .seg = &seg, .seq_no = &no };
    sy_tape_init(&t, &eng, false);
    sy_model_hidden(model, &t, &b, &(sy_run){ .mode = SY_SERVE, .routes = routes });
    sy_expect_ok(sy_tape_status(&t, err));
    for (int e = 0; e < 6; e++) mean[e] = 0;
    for (int i = 0; i < n; i++) {
        for (int e = 0; e < 6; e++) mean[e] += (double)routes[l]->probs->x[i * 6 + e] / n;
        for (int s = routes[l]->first_slot[i]; s < routes[l]->first_slot[i + 1]; s++) share[routes[l]->expert[s]]++;
    }
    sy_tape_free(&t);
}

static void divergences_follow_their_definition(void **state)
{
    (void)state;
    sy_arena a = { 0 };
    sy_parallel p;
    sy_analysis routes;
    const char *spec[] = { language("en", one), language("de", two), language("same", one) };
    sy_languages x = run_over(spec, 3, &a, &routes);
    sy_expect_ok(sy_parallel_read(&p, spec, 3, tok, 48, 0, &a, err));
    assert_true(x.languages == 3 && x.layers == 2 && x.cols == 6 && x.sentences == 4 && isnan(x.middle));
    for (int l = 0; l < 2; l++) {
        double share[3][6] = { { 0 } }, pbar[3][4][6], tokens[3] = { 0 };
        for (int g = 0; g < 3; g++) for (int s = 0; s < 4; s++) mean_of(p.id[g * 4 + s], p.n[g * 4 + s], l, pbar[g][s], share[g]), tokens[g] += p.n[g * 4 + s];
        for (int g = 0; g < 3; g++) {
            double d = 0, square = 0, other = 0;
            for (int s = 0; s < 4; s++) {
                double ha, hb, js = sy_jensen_shannon(pbar[0][s], pbar[g][s], 6, &ha, &hb) / sqrt(ha * hb);
                d += js / 4, square += js * js / 4;
                if (s) js = sy_jensen_shannon(pbar[0][s - 1], pbar[g][s], 6, &ha, &hb) / sqrt(ha * hb), other += js / 3;
            }
            sy_test_case("layer %d, language %d", l, g);
            sy_expect_near("divergence", x.d[l * 3 + g], d, 1e-6, 1e-5);
            sy_expect_near("its error", x.d_error[l * 3 + g], sqrt((square - d * d) / 3), 1e-6, 1e-4);
            sy_expect_near("another sentence", x.other[l * 3 + g], other, 1e-6, 1e-5);
            double sum = 0;
            for (int e = 0; e < 6; e++) {
                sy_expect_near("share", x.share[(l * 3 + g) * 6 + e], share[g][e] / tokens[g], 1e-12, 0);
                sum += x.share[(l * 3 + g) * 6 + e];
            }
            sy_expect_near("shares sum to K", sum, 2, 1e-12, 0);
        }
        assert_true(x.d[l * 3 + 2] == 0 && x.d[l * 3] == 0 && x.d[l * 3 + 1] > 0);            /* "identical text D = 0" */
        int specific = 0;
        for (int e = 0; e < 6; e++) specific += (share[1][e] / tokens[1] + share[2][e] / tokens[2]) / 2 - share[0][e] / tokens[0] > 0.05;
        assert_int_equal(x.specific[l], specific);
    }
    assert_true(x.nats[0] == x.nats[2] && x.nats[0] > 30 && x.nats[1] > 30);
    assert_int_equal(routes.trace.n, 2 * (19 + 17 + 21 + 11) + 25 + 20 + 19 + 10);
    const char *turned[] = { spec[1], spec[0] };
    sy_languages y = run_over(turned, 2, &a, NULL);
    for (int l = 0; l < 2; l++) sy_expect_near("D symmetric", y.d[l * 2 + 1], x.d[l * 3 + 1], 1e-12, 1e-9);
    sy_analysis_close(&routes);
    sy_arena_free(&a);
}

static bool at_once(void *arg, double done, double all) { (void)arg; return done > all; }

static void languages_refused_and_without_memory(void **state)
{
    (void)state;
    sy_err sentence = { 0 }, *err = &sentence;
    sy_arena a = { 0 };
    sy_parallel p;
    sy_languages x;
    const char *spec[] = { language("en", one), language("de", two) };
    sy_model *hash = model_of("hash");
    sy_expect_ok(sy_parallel_read(&p, spec, 2, tok, 48, 0, &a, err));
    sy_expect_fail(sy_languages_run(hash, &p, &(sy_languages_options){ .tau = 0.3 }, NULL, &a, &x, err), SY_EUNSUP, "the router of layer 1 has no probabilities");
    sy_model_free(hash);
    sy_expect_fail(sy_languages_run(model, &p, &(sy_languages_options){ .seen = at_once }, NULL, &a, &x, err), SY_ESTOP, "stopped while en was read");
    sy_arena_free(&a);
    for (uint64_t n = 1;; n++) {
        sy_arena own = { 0 };
        sy_analysis routes = { 0 };
        uint64_t before = sy_alloc_calls();
        sy_alloc_fail_at(n, 1);
        sy_status st = sy_parallel_read(&p, spec, 2, tok, 48, 0, &own, err);
        if (st == SY_OK) st = sy_analysis_open(&routes, model, p.name, 2, err);
        if (st == SY_OK) st = sy_languages_run(model, &p, &(sy_languages_options){ .tau = 0.3 }, &routes, &own, &x, err);
        bool reached = sy_alloc_calls() - before >= n;
        sy_alloc_fail_at(0, 0);
        sy_analysis_close(&routes);
        sy_arena_free(&own);
        if (!reached) { assert_int_equal(st, SY_OK); break; }
        sy_test_case("allocation %llu and all that follow", (unsigned long long)n);
        sy_expect_near("status", st, SY_ENOMEM, 0, 0);
    }
}

/* --- held-out text ---------------------------------------------------------------------------------------------------------- */

static sy_data *data_of(int seq_len)
{
    sy_data *data;
    sy_data_options o;
    char prose[500], code[500];
    sy_buf t = { 0 };
    for (int i = 0; i < 30; i++) sy_buf_printf(&t, "Sentence %d says nothing new.\n", i);
    snprintf(prose, sizeof prose, "%s/prose.txt", dir);
    sy_expect_ok(sy_file_write(prose, t.data, t.n, err));
    sy_buf_clear(&t);
    for (int i = 0; i < 20; i++) sy_buf_printf(&t, "int f%d(void) { return %d; }\n", i, i * i);
    snprintf(code, sizeof code, "%s/code.txt", dir);
    sy_expect_ok(sy_file_write(code, t.data, t.n, err));
    sy_buf_free(&t);
    sy_opt_defaults(sy_data_opts, &o);
    o.seq_len = seq_len;
    sy_expect_ok(sy_data_open(&data, &(sy_sources){ .eval = (const char *[]){ prose, code }, .n_eval = 2 }, &o, tok, 1, err));
    return data;
}

static void text_is_observed(void **state)
{
    (void)state;
    sy_data *data = data_of(40);
    const char *const names[] = { "prose", "code" };
    sy_arena arena = { 0 };
    sy_analysis a;
    sy_analysis_options o;
    sy_analysis_result r;
    sy_evaluation e;
    sy_err sentence = { 0 }, *err = &sentence;
    sy_opt_defaults(sy_analysis_opts, &o);
    sy_expect_ok(sy_analysis_open(&a, model, names, 2, err));
    sy_expect_ok(sy_observe(model, data, &(sy_observe_options){ .rows = 3 }, &a, err));
    sy_expect_ok(sy_analysis_make(&a, &o, NULL, NULL, &arena, &r, err));
    sy_expect_ok(sy_evaluate(model, data, 5, NULL, &e, &arena, err));
    for (int l = 0; l < 2; l++) {
        const sy_stats *want = &e.stats[l];
        const sy_layer_stats *got = &r.layer[l];
        assert_int_equal(r.number[l], l + 1);
        assert_true(got->tokens == want->tokens && got->slots == want->slots);
        for (int i = 0; i < 6; i++) assert_int_equal(got->load[i], want->load[i]);
        for (int i = 0; i < 12; i++) assert_int_equal(got->by_domain[i], want->by_domain[i]);
        for (int i = 0; i < 36; i++) assert_int_equal(got->co[i], want->co[i]);
        sy_expect_near("entropy", got->router_entropy, want->entropy / (double)want->tokens, 0, 1e-9);
        sy_expect_near("specialisation", got->specialisation, sy_stats_specialisation(want), 1e-12, 1e-9);
        sy_expect_near("MaxVio", got->maxvio, sy_stats_maxvio(want), 1e-12, 0);
    }
    assert_true(r.longest == 40 && r.tokens_of[0] + r.tokens_of[1] == r.tokens && r.docs_of[0] == (r.tokens_of[0] + 39) / 40);
    sy_analysis_close(&a);
    sy_expect_ok(sy_analysis_open(&a, model, names, 2, err));
    sy_expect_ok(sy_observe(model, data, &(sy_observe_options){ .rows = 3, .most_tokens = 90 }, &a, err));       /* two windows and a half */
    assert_int_equal(a.trace.n, 180);
    assert_true(sy_trace_tokens(&a.trace)[89].pos == 9 && sy_trace_tokens(&a.trace)[90].pos == 0 && sy_trace_tokens(&a.trace)[90].domain == 1 && sy_trace_tokens(&a.trace)[90].doc == 3);
    sy_analysis_close(&a);
    sy_expect_ok(sy_analysis_open(&a, model, names, 2, err));
    sy_expect_fail(sy_observe(model, data, &(sy_observe_options){ .rows = 3, .seen = at_once }, &a, err), SY_ESTOP, "stopped while prose was read");
    sy_analysis_close(&a);
    sy_data_close(data);
    sy_arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(divergence_is_bounded_and_symmetric), cmocka_unit_test(sentences_are_read), cmocka_unit_test(wrong_sentences), cmocka_unit_test(divergences_follow_their_definition),
        cmocka_unit_test(languages_refused_and_without_memory), cmocka_unit_test(text_is_observed),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
