/* tests/routers/test_expertchoice.c - expert choice against a slow sort of each column, its invariants, and its thresholds when serving. */
#include "routers/contract.h"

#define GATE "model.layers.3.mlp.gate.weight"
#define THRESHOLD "model.layers.3.mlp.gate.threshold"

static void contract_of(void **state)
{
    (void)state;
    contract_run(&(contract){ .key = "expertchoice", .router = "expertchoice:capacity_factor=2", .more = { "expertchoice:capacity_factor=1.3,group=sequence,threshold_decay=0.5" },
                              .balance = "zloss" });              /* loads are even: switch would have no gradient */
}

/* Is token t among the C best of column e within tokens from .. to-1? */
static bool taken(const sy_real *p, const uint8_t *valid, int E, int from, int to, int t, int e, int C)
{
    int above = 0;
    for (int i = from; i < to; i++) above += valid[i] && (p[i * E + e] > p[t * E + e] || (p[i * E + e] == p[t * E + e] && i < t));
    return valid[t] && above < C;
}

/* "every expert processes exactly C tokens"; choices, weights and the layer from the definition */
static void columns(void **state)
{
    (void)state;
    static const struct { const char *text; double factor; bool sequence; } cases[] = {
        { "expertchoice", 2, false }, { "expertchoice:capacity_factor=1", 1, false }, { "expertchoice:capacity_factor=0.5,group=sequence", 0.5, true }, { "expertchoice:capacity_factor=8", 8, false },
    };
    enum { E = 8, SEQ = 6, LEN = 12, N = SEQ * LEN };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        bed B;
        sy_test_case("%s", cases[i].text);
        bed_open(&B, BED_SPEC(.router = cases[i].text, .E = E));
        bed_tokens(&B, 0, SEQ, LEN);
        B.valid = malloc(N);
        for (int t = 0; t < N; t++) B.valid[t] = t % 11 != 5;
        for (int d = 0; d < 6; d++) B.value[7 * 6 + d] = B.value[2 * 6 + d];      /* a tie: the earlier token wins */
        for (int mode = SY_TRAIN; mode <= SY_EVAL; mode++) {
            bed_go(&B, (sy_mode)mode);
            int load[E] = { 0 }, slots = 0;
            for (int t = 0; t < N; t++) {
                int from = cases[i].sequence ? t / LEN * LEN : 0, to = cases[i].sequence ? from + LEN : N, n = 0, have = 0;
                for (int k = from; k < to; k++) n += B.valid[k];
                int C = (int)fmax(1, rint(cases[i].factor * n / E));
                for (int e = 0; e < E; e++) have += taken(B.route->probs->x, B.valid, E, from, to, t, e, C);
                assert_int_equal(B.route->first_slot[t + 1] - B.route->first_slot[t], have);
                for (int s = B.route->first_slot[t]; s < B.route->first_slot[t + 1]; s++, slots++) {
                    int e = B.route->expert[s];
                    assert_true(taken(B.route->probs->x, B.valid, E, from, to, t, e, C));
                    sy_expect_near("weight = p", (double)B.route->weight->x[s], (double)B.route->probs->x[t * E + e], 0, 0);
                    load[e]++;
                }
            }
            for (int e = 1; e < E; e++) assert_int_equal(load[e], load[0]);
            assert_int_equal(slots, B.route->n);
            bed_expect_layer(&B);
        }
        bed_close(&B);
    }
}

/* "permuting the tokens permutes the output" and "changing a LATER token may change an EARLIER token's output (assert that it does: the gate is not causal)" */
static void couples(void **state)
{
    (void)state;
    enum { N = 24 };
    bed A, B;
    bed_open(&A, BED_SPEC(.router = "expertchoice:capacity_factor=1")), bed_open(&B, BED_SPEC(.router = "expertchoice:capacity_factor=1"));
    assert_int_equal(A.b.flags & (SY_COUPLES | SY_PEEKS), SY_COUPLES | SY_PEEKS);
    bed_tokens(&A, 0, 1, N), bed_tokens(&B, 0, 1, N);
    for (int t = 0; t < N; t++) memcpy(B.value + 6 * t, A.value + 6 * (N - 1 - t), 6 * sizeof(sy_real));
    bed_go(&A, SY_TRAIN), bed_go(&B, SY_TRAIN);
    for (int t = 0; t < N; t++) sy_expect_close("permuted", B.y->x + 6 * t, A.y->x + 6 * (N - 1 - t), 6, BED_TOL, BED_TOL);
    sy_real before[N * 6];
    memcpy(before, A.y->x, sizeof before);
    int earlier = 0, serving = 0;
    for (int d = 0; d < 6; d++) A.value[6 * (N - 1) + d] *= -3;
    bed_go(&A, SY_TRAIN);
    for (int i = 0; i < 6 * (N - 1); i++) earlier += A.y->x[i] != before[i];
    assert_true(earlier > 0);
    sy_expect_ok(sy_block_after(&A.b, 0, 1, 0, err));
    bed_go(&A, SY_SERVE);
    memcpy(before, A.y->x, sizeof before);
    for (int d = 0; d < 6; d++) A.value[6 * (N - 1) + d] *= -2;
    bed_go(&A, SY_SERVE);
    for (int i = 0; i < 6 * (N - 1); i++) serving += A.y->x[i] != before[i];
    assert_int_equal(serving, 0);
    bed_close(&A), bed_close(&B);
}

/* The running mean of the C-th largest p: two micro-batches are one step, a thrown-away step leaves nothing, evaluation and a second run move nothing. */
static void thresholds(void **state)
{
    (void)state;
    enum { E = 4, N = 20, C = 10 };
    bed B;
    double want[E] = { 0 }, last[2][E];
    bed_open(&B, BED_SPEC(.router = "expertchoice:threshold_decay=0.75"));
    const sy_real *th = sy_params_find(&B.params, THRESHOLD)->w.data;
    for (int step = 0; step < 3; step++) {
        sy_expect_ok(sy_block_before(&B.b, step, 3, 0, err));
        for (int micro = 0; micro < 2; micro++) {
            bed_tokens(&B, 5 * step + 2 * micro, 2, N / 2);
            bed_go(&B, SY_EVAL);
            bed_go(&B, SY_TRAIN);
            for (int e = 0; e < E; e++)
                for (int t = 0; t < N; t++) {
                    int above = 0;
                    for (int i = 0; i < N; i++) above += B.route->probs->x[i * E + e] > B.route->probs->x[t * E + e];
                    if (above == C - 1) last[micro][e] = (double)B.route->probs->x[t * E + e];
                }
            bed_keep(&B);
            sy_expect_ok(bed_run(&B, SY_TRAIN, &B.again, err));
        }
        if (step == 1) continue;                              /* not finite: the optimiser was not called */
        sy_expect_ok(sy_block_after(&B.b, step, 3, 0, err));
        for (int e = 0; e < E; e++) {
            double mean = (last[0][e] + last[1][e]) / 2;
            want[e] = step ? want[e] + 0.25 * (mean - want[e]) : mean;
            sy_expect_near("threshold", (double)th[e], want[e], 1e-6, 0);
        }
    }
    bed_go(&B, SY_SERVE);
    for (int t = 0, s = 0; t < N; t++)
        for (int e = 0; e < E; e++) {
            bool has = false;
            for (s = B.route->first_slot[t]; s < B.route->first_slot[t + 1]; s++) has |= B.route->expert[s] == e;
            assert_int_equal(has, B.route->probs->x[t * E + e] >= th[e]);
        }
    bed_close(&B);
}

static void refusals(void **state)
{
    (void)state;
    bed_refused(BED_SPEC(.router = "expertchoice:capacity_factor=5"), SY_EARG, "a token has at most the 4 experts");
    bed_refused(BED_SPEC(.router = "expertchoice", .Z = 1, .zero = "null"), SY_EUNSUP, "1 zero-cost experts");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(contract_of), cmocka_unit_test(columns), cmocka_unit_test(couples), cmocka_unit_test(thresholds), cmocka_unit_test(refusals) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
