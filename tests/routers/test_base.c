/* tests/routers/test_base.c - BASE: the auction against an exact assignment (Hungarian method), and the invariants of its definition. */
#include "routers/contract.h"

#define GATE "model.layers.3.mlp.gate.weight"

static void contract_of(void **state)
{
    (void)state;
    contract_run(&(contract){ .key = "base", .router = "base", .balance = "zloss" });     /* loads are even: switch would have no gradient */
}

/* The largest sum of S[t][t's column] over assignments of n tokens to n places: shortest augmenting paths in double. */
static double best_sum(const double *S, int n)
{
    double *u = calloc((size_t)n + 1, sizeof *u), *v = calloc((size_t)n + 1, sizeof *v), *least = malloc(((size_t)n + 1) * sizeof *least), sum = 0;
    int *p = calloc((size_t)n + 1, sizeof *p), *way = calloc((size_t)n + 1, sizeof *way);
    bool *used = malloc((size_t)n + 1);
    for (int i = 1; i <= n; i++) {
        int j0 = 0;
        p[0] = i;
        for (int j = 0; j <= n; j++) least[j] = INFINITY, used[j] = false;
        do {
            int i0 = p[j0], j1 = 0;
            double delta = INFINITY;
            used[j0] = true;
            for (int j = 1; j <= n; j++) {
                if (used[j]) continue;
                double cur = -S[(size_t)(i0 - 1) * n + j - 1] - u[i0] - v[j];
                if (cur < least[j]) least[j] = cur, way[j] = j0;
                if (least[j] < delta) delta = least[j], j1 = j;
            }
            for (int j = 0; j <= n; j++) if (used[j]) u[p[j]] += delta, v[j] -= delta; else least[j] -= delta;
            j0 = j1;
        } while (p[j0]);
        for (; j0; j0 = way[j0]) p[j0] = p[way[j0]];
    }
    for (int j = 1; j <= n; j++) sum += S[(size_t)(p[j] - 1) * n + j - 1];
    free(u), free(v), free(least), free(p), free(way), free(used);
    return sum;
}

/* A bed whose tokens are their scores: w is the identity. */
static void open(bed *B, int E, int N, double spread, uint64_t seed)
{
    bed_open(B, BED_SPEC(.router = "base", .D = E, .E = E));
    bed_tokens(B, 0, 1, N);
    sy_real *w = sy_params_find(&B->params, GATE)->w.data;
    for (int i = 0; i < E * E; i++) w[i] = i % (E + 1) == 0;
    for (int i = 0; i < N * E; i++) B->value[i] = (sy_real)(spread * sy_draw_normal(seed, (uint64_t)i, 0));
}

/* "the auction reaches > 0.995 of the optimum (scale: 0 = arbitrary balanced, 1 = exact optimum)", "each expert gets exactly q tokens" */
static void auction(void **state)
{
    (void)state;
    static const struct { int E, N; double spread; } cases[] = { { 4, 32, 1 }, { 8, 64, 0.1 }, { 16, 128, 1 }, { 4, 256, 5 }, { 8, 512, 0.3 }, { 2, 2, 1 }, { 16, 16, 1 } };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        bed B;
        int E = cases[i].E, N = cases[i].N, q = N / E, load[16] = { 0 };
        sy_test_case("%d experts, %d tokens, spread %g", E, N, cases[i].spread);
        open(&B, E, N, cases[i].spread, 40 + i);
        bed_go(&B, SY_TRAIN);
        double got = 0, any = 0, *S = malloc((size_t)N * N * sizeof *S);
        for (int t = 0; t < N; t++) {
            assert_int_equal(B.route->first_slot[t + 1] - B.route->first_slot[t], 1);
            got += (double)B.value[t * E + B.route->expert[t]];
            load[B.route->expert[t]]++;
            for (int j = 0; j < N; j++) S[(size_t)t * N + j] = (double)B.value[t * E + j / q];
            for (int e = 0; e < E; e++) any += (double)B.value[t * E + e] / E;
        }
        for (int e = 0; e < E; e++) assert_int_equal(load[e], q);
        double best = best_sum(S, N);
        if (!((got - any) / (best - any) > 0.995)) fail_msg("%.4f of the best", (got - any) / (best - any));
        free(S);
        bed_close(&B);
    }
}

/* N that E does not divide, padding among the tokens, equal scores, scores that are not finite: still at most ceil(n / E) tokens an expert, each once. */
static void awkward(void **state)
{
    (void)state;
    static const struct { int E, N; const char *what; } cases[] = { { 4, 30, "30 tokens" }, { 8, 3, "fewer tokens than experts" }, { 3, 31, "padding" }, { 4, 32, "equal" }, { 4, 32, "huge" }, { 4, 32, "not finite" } };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        bed B;
        int E = cases[i].E, N = cases[i].N, load[8] = { 0 }, n = 0;
        sy_test_case("%s", cases[i].what);
        open(&B, E, N, 1, 60 + i);
        if (i == 2) { B.valid = malloc((size_t)N); for (int t = 0; t < N; t++) B.valid[t] = t % 3 != 1; }
        for (int k = 0; i == 3 && k < N * E; k++) B.value[k] = 0.25;
        for (int k = 0; i == 4 && k < N * E; k++) B.value[k] = B.value[k] * 1000 + 100000;
        if (i == 5) B.value[7 * E] = NAN, B.value[9 * E + 1] = -INFINITY;             /* every score of such a token is NaN or infinite */
        bed_go(&B, SY_TRAIN);
        for (int t = 0; t < N; t++) {
            bool valid = !B.valid || B.valid[t];
            assert_int_equal(B.route->first_slot[t + 1] - B.route->first_slot[t], valid);
            if (valid) load[B.route->expert[B.route->first_slot[t]]]++, n++;
        }
        for (int k = 0; k < E; k++) assert_true(load[k] <= (n + E - 1) / E);
        bed_close(&B);
    }
}

/* "S + constant gives the same assignment"; "at init (FF2 = 0) y = x exactly": the block adds nothing to the residual; "eval equals argmax" */
static void invariants(void **state)
{
    (void)state;
    bed A, B;
    open(&A, 8, 64, 1, 5), open(&B, 8, 64, 1, 5);
    for (int i = 0; i < 8 * 64; i++) A.value[i] = (sy_real)(rint((double)A.value[i] * 64) / 64), B.value[i] = A.value[i] + 4;    /* exact sums */
    bed_go(&A, SY_TRAIN), bed_go(&B, SY_TRAIN);
    sy_expect_ids("S + 4", B.route->expert, A.route->expert, 64);
    for (int i = 0; i < 64; i++) sy_expect_near("weight", (double)A.route->weight->x[i], 1 / (1 + exp(-(double)A.value[8 * i + A.route->expert[i]])), 1e-6, 0);
    bed_expect_layer(&A);
    bed_go(&A, SY_EVAL);
    for (int t = 0; t < 64; t++) for (int e = 0; e < 8; e++) assert_true(A.value[8 * t + A.route->expert[t]] >= A.value[8 * t + e]);
    sy_param_fill(sy_params_find(&A.params, "model.layers.3.mlp.experts.{e}.down_proj.weight"), 0);
    bed_go(&A, SY_TRAIN);
    for (int i = 0; i < 8 * 64; i++) assert_true(A.y->x[i] == 0);
    bed_close(&A), bed_close(&B);
}

/* Centroids start orthogonal, of length 0.1: rows where there are no more experts than columns, columns else. */
static void orthogonal(void **state)
{
    (void)state;
    static const int dims[][2] = { { 6, 4 }, { 6, 6 }, { 3, 8 } };
    for (size_t i = 0; i < SY_COUNT(dims); i++) {
        bed B;
        int D = dims[i][0], E = dims[i][1], n = D < E ? D : E, len = D < E ? E : D;
        sy_test_case("%d experts of width %d", E, D);
        bed_open(&B, BED_SPEC(.router = "base", .D = D, .E = E));
        const sy_real *w = sy_params_find(&B.params, GATE)->w.data;
        for (int a = 0; a < n; a++)
            for (int b = 0; b <= a; b++) {
                double dot = 0;
                for (int k = 0; k < len; k++) dot += D < E ? (double)w[k * D + a] * (double)w[k * D + b] : (double)w[a * D + k] * (double)w[b * D + k];
                sy_expect_near("product", dot, a == b ? 0.01 : 0, 1e-8, 0);
            }
        bed_close(&B);
    }
}

static void refusals(void **state)
{
    (void)state;
    bed_refused(BED_SPEC(.router = "base", .Z = 1, .zero = "null"), SY_EUNSUP, "1 zero-cost experts");
    bed B;
    sy_err e = { 0 }, *err = &e;
    bed_open(&B, BED_SPEC(.router = "base"));
    bed_tokens(&B, 0, 1, 4);
    B.over = &(const sy_override){ .k = 2 };
    sy_status st = bed_run(&B, SY_TRAIN, NULL, err);
    sy_expect_fail(st, SY_EUNSUP, "does not choose by a number of experts");
    bed_close(&B);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(contract_of), cmocka_unit_test(auction), cmocka_unit_test(awkward), cmocka_unit_test(invariants), cmocka_unit_test(orthogonal), cmocka_unit_test(refusals) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
