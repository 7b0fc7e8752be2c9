/* tests/routers/test_hash.c - hash layers: the tables against slow loops, and the invariants of a router that learns nothing. */
#include "routers/contract.h"

#define TABLE "model.layers.3.mlp.gate.table"

static void contract_of(void **state)
{
    (void)state;
    contract_run(&(contract){ .key = "hash", .router = "hash", .more = { "hash:table=random,multi=2", "hash:table=bigram", "hash:table=bigram,multi=4,seed=3" }, .balance = "none" });
}

static void open(bed *B, const char *router, int E, const int64_t *counts)
{
    bed_open(B, BED_SPEC(.router = router, .E = E));
    sy_expect_ok(sy_block_learn(&B->b, 16, counts, NULL, err));
    bed_tokens(B, 0, 6, 20);
    bed_go(B, SY_TRAIN);
}

/* "same id -> same expert in any context", "no router parameter exists", "output weight exactly 1"; multi: one expert of each group */
static void invariants(void **state)
{
    (void)state;
    static const struct { const char *text; int E, multi; bool pair; } cases[] = { { "hash", 4, 1, false }, { "hash:table=random", 4, 1, false }, { "hash:multi=2", 8, 2, false }, { "hash:table=bigram", 4, 1, true } };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        bed B;
        int seen[17][16][8], M = cases[i].multi;
        sy_test_case("%s", cases[i].text);
        open(&B, cases[i].text, cases[i].E, contract_ids);
        memset(seen, -1, sizeof seen);
        for (int k = 0; k < B.params.n; k++) assert_true(!contract_of_router(B.params.p[k]) || !sy_param_trains(B.params.p[k]));
        for (int t = 0; t < B.T; t++) {
            assert_int_equal(B.route->first_slot[t + 1] - B.route->first_slot[t], M);
            for (int m = 0; m < M; m++) {
                int s = B.route->first_slot[t] + m, e = B.route->expert[s], *was = &seen[cases[i].pair ? B.back[0][t] + 1 : 0][B.id[t]][m];
                assert_true(B.route->weight->x[s] == 1);
                assert_in_range(e, m * cases[i].E / M, (m + 1) * cases[i].E / M - 1);
                if (*was >= 0) assert_int_equal(e, *was);
                *was = e;
            }
        }
        bed_expect_layer(&B);
        bed_close(&B);
    }
}

/* "sort ids by training frequency, give each in turn to the bucket with the smallest frequency sum so far"; unseen ids: id mod E */
static void balanced(void **state)
{
    (void)state;
    enum { E = 4 };
    bed B;
    int64_t sum[E] = { 0 }, total = 0;
    int order[16], want[16];
    bed_open(&B, BED_SPEC(.router = "hash", .E = E));
    B.b.site.nth = 0;                                         /* the first sparse layer takes the counts as they are */
    sy_expect_ok(sy_block_learn(&B.b, 16, contract_ids, NULL, err));
    for (int i = 0; i < 16; i++) order[i] = i, want[i] = i % E, total += contract_ids[i];
    for (int i = 0; i < 16; i++) for (int j = i + 1; j < 16; j++) if (contract_ids[order[j]] > contract_ids[order[i]]) { int k = order[i]; order[i] = order[j], order[j] = k; }
    for (int i = 0; i < 16 && contract_ids[order[i]]; i++) {
        int least = 0;
        for (int b = 1; b < E; b++) if (sum[b] < sum[least]) least = b;
        want[order[i]] = least;
        sum[least] += contract_ids[order[i]];
    }
    const sy_real *map = sy_params_find(&B.params, TABLE)->w.data;
    int64_t load[E] = { 0 }, most = 0;
    for (int id = 0; id < 16; id++) {
        load[(int)map[id]] += contract_ids[id];
        if (contract_ids[id] > 3) assert_int_equal((int)map[id], want[id]);           /* below, ids of equal count may change places */
        if (!contract_ids[id]) assert_int_equal((int)map[id], id % E);
    }
    for (int e = 0; e < E; e++) if (load[e] > most) most = load[e];
    assert_true((double)most * E / (double)total - 1 < 0.2);  /* "MaxVio < 0.2 on training text" */
    bed_close(&B);
}

/* Tables differ between seeds and between groups; they are the same again from the same seed. */
static void seeds(void **state)
{
    (void)state;
    static const char *const text[] = { "hash:table=random", "hash:table=random", "hash:table=random,seed=1", "hash:table=random,multi=2" };
    sy_real map[4][2][16];
    for (size_t i = 0; i < SY_COUNT(text); i++) {
        bed B;
        open(&B, text[i], i == 3 ? 8 : 4, contract_ids);
        memcpy(map[i], sy_params_find(&B.params, TABLE)->w.data, (i == 3 ? 2 : 1) * sizeof map[i][0]);
        bed_close(&B);
    }
    sy_expect_same("the same seed", map[0][0], map[1][0], sizeof map[0][0]);
    assert_true(memcmp(map[0][0], map[2][0], sizeof map[0][0]));
    assert_true(memcmp(map[3][0], map[3][1], sizeof map[3][0]));
}

/* dispersed: "clusters of E similar tokens, spread over the E buckets": four far groups of four ids each; every group meets every expert once */
static void dispersed(void **state)
{
    (void)state;
    enum { V = 16, E = 4, D = 3 };
    bed B;
    sy_real table[V * D];
    sy_weight embed = { .type = SY_W_REAL, .nd = 2, .dim = { V, D }, .data = table };
    for (int id = 0; id < V; id++)
        for (int d = 0; d < D; d++) table[id * D + d] = (sy_real)(10 * sy_draw_normal(1, (uint64_t)(id % 4 * D + d), 0) + 0.1 * sy_draw_normal(2, (uint64_t)(id * D + d), 0));
    bed_open(&B, BED_SPEC(.router = "hash:table=dispersed", .E = E));
    sy_expect_ok(sy_block_learn(&B.b, V, contract_ids, &embed, err));
    const sy_real *map = sy_params_find(&B.params, TABLE)->w.data;
    for (int g = 0; g < 4; g++) {
        int met = 0;
        for (int id = g; id < V; id += 4) met |= 1 << (int)map[id];
        assert_int_equal(met, 15);
    }
    bed_close(&B);
}

static void refusals(void **state)
{
    (void)state;
    bed_refused(BED_SPEC(.router = "hash:multi=3"), SY_EARG, "multi 3 does not divide the 4 experts");
    bed_refused(BED_SPEC(.router = "hash", .balance = { "switch" }, .n_balance = 1), SY_EUNSUP, "router hash declares that it has none");
    bed B;
    sy_err e = { 0 }, *err = &e;
    bed_open(&B, BED_SPEC(.router = "hash"));
    sy_expect_ok(sy_block_learn(&B.b, 16, NULL, NULL, err));  /* no text: id mod buckets */
    for (int id = 0; id < 16; id++) assert_true(((sy_real *)sy_params_find(&B.params, TABLE)->w.data)[id] == id % 4);
    bed_tokens(&B, 0, 1, 4);
    B.id[2] = 99;
    sy_status st = bed_run(&B, SY_TRAIN, NULL, err);
    sy_expect_fail(st, SY_EARG, "token 2 has id 99");
    bed_close(&B);
    bed_open(&B, BED_SPEC(.router = "hash:table=dispersed"));
    st = sy_block_learn(&B.b, 16, contract_ids, NULL, err);
    sy_expect_fail(st, SY_EARG, "needs an embedding");
    bed_close(&B);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(contract_of), cmocka_unit_test(invariants), cmocka_unit_test(balanced), cmocka_unit_test(seeds), cmocka_unit_test(dispersed), cmocka_unit_test(refusals) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
