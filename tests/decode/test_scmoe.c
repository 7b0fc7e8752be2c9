/* tests/decode/test_scmoe.c - self-contrast: the score against the formula on logits of whole passes, the invariants of the definition, caches that catch up. */
#include "decode/bed.h"

static void contract_of(void **state)
{
    (void)state;
    decode_contract_run(&(decode_contract){ "scmoe", "scmoe:cd_alpha=0.01", "cd_alpha=0,cd_beta=0", "no weaker routing" });
}

/* Logits of the last of n ids in one pass without a cache, by an override. */
static void logits_of(sy_model *m, int n, const sy_override *over, double *out)
{
    sy_tape t;
    int id[DECODE_ROOM], pos[DECODE_ROOM], seq[DECODE_ROOM] = { 0 }, last = n - 1;
    for (int i = 0; i < n; i++) id[i] = decode_id(i), pos[i] = i;
    sy_segment seg = { .n = n };
    uint64_t no = 0;
    sy_batch b = { .T = n, .n_seg = 1, .id = id, .pos = pos, .seq = seq, .seg = &seg, .seq_no = &no };
    sy_tape_init(&t, &decode_eng, false);
    sy_tensor *z = sy_model_logits(m, &t, sy_model_hidden(m, &t, &b, &(sy_run){ .mode = SY_SERVE, .over = over }), &last, 1);
    sy_expect_ok(sy_tape_status(&t, err));
    for (int v = 0; v < DECODE_V; v++) out[v] = (double)z->x[v];
    sy_tape_free(&t);
}

/* score(v) = (1+beta) l_s(v) - beta l_w(v) on { v : l_s(v) >= ln(alpha) + max l_s }, -inf outside; token by token with two caches equals passes without. */
static void formula(void **state)
{
    (void)state;
    static const struct { const char *router, *method; double alpha, beta, tt, st; int k, rank, n; } cases[] = {
        { "topk:top_k=2,norm_topk_prob=true", "scmoe", 0.1, 0.5, 1, 1, 2, 2, 1 },
        { "topk:top_k=2,norm_topk_prob=true", "scmoe:alpha=0.001,beta=2,rank=3,cd_tt=0.5,cd_st=2", 0.001, 2, 0.5, 2, 2, 3, 1 },
        { "topk:top_k=2", "scmoe:alpha=0,beta=0.25,rank=1,student_num_experts_per_tok=3", 0, 0.25, 1, 1, 2, 1, 3 },
        { "topk:top_k=2", "scmoe:alpha=0.01,rank=4", 0.01, 0.5, 1, 1, 2, 4, 1 },                                   /* "rank E means a uniformly random expert" */
        { "auxfree:top_k=2", "scmoe:alpha=0.01,num_experts_per_tok=3,rank=3", 0.01, 0.5, 1, 1, 3, 3, 1 },
    };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        char settings[120];
        sy_generator g;
        int rank[4];
        for (int k = 0; k < 4; k++) rank[k] = cases[i].rank + k;
        snprintf(settings, sizeof settings, "router='%s'", cases[i].router);
        sy_model *m = decode_model(settings);
        sy_test_case("%s, %s", cases[i].router, cases[i].method);
        decode_open(&g, m, cases[i].method);
        for (int n = 5; n < 14; n++) {
            double s[DECODE_V], w[DECODE_V], most = -INFINITY;
            sy_expect_ok(decode_feed(&g, n == 5 ? 0 : n - 1, n, err));
            logits_of(m, n, &(sy_override){ .k = cases[i].k }, s);
            logits_of(m, n, &(sy_override){ .n_ranks = cases[i].n, .ranks = rank }, w);
            for (int v = 0; v < DECODE_V; v++) most = fmax(most, s[v] / cases[i].tt);
            int left = 0;
            for (int v = 0; v < DECODE_V; v++) left += s[v] / cases[i].tt >= log(cases[i].alpha) + most;
            for (int v = 0; v < DECODE_V; v++) {
                bool in = s[v] / cases[i].tt >= log(cases[i].alpha) + most;
                if (!in) assert_true(isinf((double)g.logits[v]) && g.logits[v] < 0);
                else if (left > 1) sy_expect_near("score", (double)g.logits[v], (1 + cases[i].beta) * s[v] / cases[i].tt - cases[i].beta * w[v] / cases[i].st, 1e-5, 1e-5);
            }
        }
        sy_generator_close(&g);
        sy_model_free(m);
    }
}

/* beta=0 equals greedy token for token; weak = strong equals greedy for any beta; alpha=1 equals greedy. And other settings differ, or nothing would be tested. */
static void greedy(void **state)
{
    (void)state;
    static const struct { const char *method; bool same; } cases[] = {
        { "scmoe:beta=0", true }, { "scmoe:beta=3,rank=0,student_num_experts_per_tok=2,alpha=0", true }, { "scmoe:alpha=1,beta=10", true }, { "scmoe:beta=4,alpha=0.01", false },
    };
    sy_model *m = decode_model("");
    int want[24], got[24];
    decode_greedy(m, NULL, 6, want, 24);
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_test_case("%s", cases[i].method);
        decode_greedy(m, cases[i].method, 6, got, 24);
        if (cases[i].same) sy_expect_ids("greedy", got, want, 24);
        else assert_true(memcmp(got, want, sizeof want) != 0);
    }
    sy_model_free(m);
}

/* emitted token always satisfies l_s >= ln(alpha) + max l_s, whatever the sampler does. */
static void plausible(void **state)
{
    (void)state;
    sy_generator g, strong;
    sy_model *m = decode_model("");
    sy_sample_options o;
    sy_opt_defaults(sy_sample_opts, &o);
    o.do_sample = true, o.temperature = 5, o.top_k = 0, o.top_p = 1;
    decode_open(&g, m, "scmoe:alpha=0.2,beta=1.5");
    decode_open(&strong, m, NULL);
    sy_expect_ok(decode_feed(&g, 0, 4, err));
    sy_expect_ok(decode_feed(&strong, 0, 4, err));
    for (int i = 0; i < 40; i++) {
        int id;
        double most = -INFINITY;
        sy_expect_ok(sy_sample(&g.sampler, &o, g.logits, g.n, &id, err));
        for (int v = 0; v < DECODE_V; v++) most = fmax(most, (double)strong.logits[v]);
        assert_true((double)strong.logits[id] >= log(0.2) + most - 1e-6);
        if (g.n == DECODE_ROOM) break;
        sy_expect_ok(sy_generator_feed(&g, &id, 1, NULL, err));
        sy_expect_ok(sy_generator_feed(&strong, &id, 1, NULL, err));
    }
    sy_generator_close(&g), sy_generator_close(&strong);
    sy_model_free(m);
}

/* with V' of one token no weak run is needed (skip it: identical output): the cache of the weak run catches up, bit for bit, and the skipped passes are not paid for. */
static void catches_up(void **state)
{
    (void)state;
    sy_generator lazy, eager, plain;
    sy_model *m = decode_model("");
    int skipped = 0;
    decode_open(&lazy, m, "scmoe:alpha=0.5");
    decode_open(&eager, m, "scmoe:alpha=0.5");
    decode_open(&plain, m, NULL);
    for (int i = 0; i < 30; i++) {
        int id = decode_id(i);
        uint64_t before = lazy.madds, alone = plain.madds;
        sy_generator_rewind(&eager, 0);
        sy_expect_ok(sy_generator_feed(&lazy, &id, 1, NULL, err));
        sy_expect_ok(sy_generator_feed(&plain, &id, 1, NULL, err));
        sy_expect_ok(decode_feed(&eager, 0, i + 1, err));                       /* everything anew: nothing was skipped on the way */
        sy_expect_same("scores", lazy.logits, eager.logits, DECODE_V * sizeof(sy_real));
        int left = 0;
        for (int v = 0; v < DECODE_V; v++) left += !isinf((double)lazy.logits[v]);
        skipped += left == 1;
        if (left == 1) assert_int_equal(lazy.madds - before, plain.madds - alone);
        else assert_true(lazy.madds - before > plain.madds - alone);
    }
    assert_in_range(skipped, 1, 29);
    sy_generator_close(&lazy), sy_generator_close(&eager), sy_generator_close(&plain);
    sy_model_free(m);
}

static void refusals(void **state)
{
    (void)state;
    static const struct { const char *settings, *method; sy_status status; const char *part; bool at_read; } cases[] = {
        { "", "scmoe:rank=5", SY_EARG, "places are 0 .. 3, and 4 is a random expert", false },
        { "", "scmoe:rank=3,student_num_experts_per_tok=3", SY_EARG, "ends at 5", false },
        { "", "scmoe:num_experts_per_tok=5", SY_EARG, "exceeds the 4 experts", false },
        { "", "scmoe:alpha=2", SY_EARG, "outside 0 .. 1", false },
        { "", "scmo", SY_ENOENT, "did you mean 'scmoe'", false },
        { "router=hash", "scmoe:alpha=0", SY_EUNSUP, "does not take experts by their place", true },
        { "router=thor", "scmoe:alpha=0", SY_EUNSUP, "does not take experts by their place", true },
    };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_generator g;
        sy_err e = { 0 }, *err = &e;
        sy_model *m = decode_model(cases[i].settings);
        sy_test_case("%s, %s", cases[i].settings, cases[i].method);
        decode_open(&g, m, NULL);
        sy_status st = sy_generator_decode(&g, cases[i].method, err);
        if (cases[i].at_read && st == SY_OK) st = decode_feed(&g, 0, 3, err);
        sy_expect_fail(st, cases[i].status, cases[i].part);
        sy_generator_close(&g);
        sy_model_free(m);
    }
    sy_generator g;
    sy_err e = { 0 }, *err = &e;
    sy_model *m = decode_model("");
    decode_open(&g, m, "scmoe");
    sy_expect_fail(sy_generator_feed(&g, (int[]){ 1, 2 }, 2, &(sy_override){ .k = 1 }, err), SY_EUNSUP, "num_experts_per_tok");
    sy_generator_close(&g);
    decode_open(&g, m, NULL);
    sy_expect_ok(decode_feed(&g, 0, 3, err));
    sy_expect_fail(sy_generator_decode(&g, "scmoe", err), SY_EARG, "too late");
    sy_generator_close(&g);
    sy_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(contract_of), cmocka_unit_test(formula), cmocka_unit_test(greedy), cmocka_unit_test(plausible), cmocka_unit_test(catches_up), cmocka_unit_test(refusals) };
    return cmocka_run_group_tests(tests, decode_engine, decode_engine_end);
}
