/* tests/edits/test_perm.c - the learned order of experts: Sinkhorn's rounds and the mixed gate in double, the best assignment by trying all, and the search itself. */
#include "route/bed.h"
#include "train/optim.h"

#define R_NAME "model.layers.3.mlp.gate.perm.order_logits"
#define ORDER "model.layers.3.mlp.gate.perm.order"

enum { E = 4 };

static void open(bed *B, const char *router, const char *edit)
{
    bed_open(B, BED_SPEC(.router = router, .edit = { edit }, .n_edit = edit ? 1 : 0));
    bed_tokens(B, 0, 6, 8);
}

static void sinkhorn(const sy_real *R, double tau, int rounds, double *pi)
{
    for (int i = 0; i < E * E; i++) pi[i] = (double)R[i] / tau;
    for (int k = 0; k < 2 * rounds; k++)
        for (int i = 0; i < E; i++) {
            double sum = 0, most = -INFINITY;
            for (int j = 0; j < E; j++) most = fmax(most, pi[k % 2 ? j * E + i : i * E + j]);
            for (int j = 0; j < E; j++) sum += exp(pi[k % 2 ? j * E + i : i * E + j] - most);
            for (int j = 0; j < E; j++) pi[k % 2 ? j * E + i : i * E + j] -= most + log(sum);
        }
    for (int i = 0; i < E * E; i++) pi[i] = exp(pi[i]);
}

/* "Pi has row and column sums 1 within 1e-3"; g' = g Pi, scaled to the sum of g; the loss; at two steps of the schedule */
static void formulas(void **state)
{
    (void)state;
    static const struct { int64_t step; double tau; int rounds; } cases[] = { { 0, 0.05, 20 }, { 5, 0.05 * 0.1, 85 } };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        bed A, B;
        double pi[E * E], entropy = 0;
        sy_test_case("step %d of 10", (int)cases[i].step);
        open(&A, "topk", NULL), open(&B, "topk", "perm:perm_steps=10,tau_max=0.05,tau_min=0.0005,perm_entropy_reg=0.5");
        B.step = cases[i].step;
        bed_go(&A, SY_TRAIN), bed_go(&B, SY_TRAIN);
        sinkhorn(sy_params_find(&B.params, R_NAME)->w.data, cases[i].tau, cases[i].rounds, pi);
        for (int r = 0; r < E; r++) {
            double row = 0, col = 0;
            for (int c = 0; c < E; c++) row += pi[r * E + c], col += pi[c * E + r];
            sy_expect_near("row", row, 1, 1e-3, 0);
            sy_expect_near("column", col, 1, 1e-3, 0);
            for (int c = 0; c < E; c++) entropy -= pi[r * E + c] * log(pi[r * E + c] + 1e-6) + pi[r * E + c] / row * log(pi[r * E + c] / row + 1e-6);
        }
        sy_expect_near("entropy", bed_aux(&B, "perm.entropy"), 0.5 * entropy, 1e-5, 1e-4);
        for (int t = 0; t < B.T; t++) {
            double g[E] = { 0 }, sum = 0, moved = 0;
            for (int s = 2 * t; s < 2 * t + 2; s++) {
                sum += (double)A.route->weight->x[s];
                for (int l = 0; l < E; l++) g[l] += (double)A.route->weight->x[s] * pi[A.route->expert[s] * E + l];
            }
            for (int l = 0; l < E; l++) moved += g[l];
            for (int s = B.route->first_slot[t]; s < B.route->first_slot[t + 1]; s++) sy_expect_near("g'", (double)B.route->weight->x[s], g[B.route->expert[s]] * sum / moved, 1e-5, 1e-4);
        }
        bed_expect_layer(&B);
        bed_keep(&B);
        sy_expect_ok(bed_run(&B, SY_TRAIN, &B.again, err));
        sy_expect_ids("again", B.route->expert, B.again.expert, (size_t)B.again.n);
        bed_close(&A), bed_close(&B);
    }
}

/* Evaluation, serving, and training after perm_steps use the assignment of largest sum; "identity Pi changes nothing" */
static void assignment(void **state)
{
    (void)state;
    static const sy_mode modes[] = { SY_TRAIN, SY_EVAL, SY_SERVE };
    for (int seed = 0; seed < 20; seed++) {
        bed A, B;
        double best = -1e9;
        int want[E] = { 0 };
        sy_test_case("matrix %d", seed);
        open(&A, "topk:capacity_factor=0.6", NULL), open(&B, "topk:capacity_factor=0.6", seed % 2 ? "perm:perm_steps=0" : "perm:perm_steps=5");
        sy_param *R = sy_params_find(&B.params, R_NAME);
        sy_param_normal(R, (uint64_t)seed, 1);
        const sy_real *r = R->w.data;
        if (!seed) for (int i = 0; i < E * E; i++) ((sy_real *)R->w.data)[i] = i % (E + 1) == 0;
        for (int p = 0; p < 256; p++) {                       /* every map that is an order */
            int to[E] = { p & 3, p >> 2 & 3, p >> 4 & 3, p >> 6 }, used = 0;
            double sum = 0;
            for (int e = 0; e < E; e++) used |= 1 << to[e], sum += (double)r[e * E + to[e]];
            if (used == 15 && sum > best) best = sum, memcpy(want, to, sizeof to);
        }
        B.step = 7;
        sy_expect_ok(sy_block_before(&B.b, 7, 10, 0, err));
        assert_true(R->flags & SY_FROZEN);
        for (int e = 0; e < E; e++) assert_int_equal((int)((sy_real *)sy_params_find(&B.params, ORDER)->w.data)[e], want[e]);
        for (size_t m = 0; m < SY_COUNT(modes); m++) {
            bed_go(&A, modes[m]), bed_go(&B, modes[m]);
            for (int s = 0; s < A.route->n; s++) {
                int e = A.route->expert[s];
                assert_int_equal(B.route->expert[s], e < 0 ? ~want[~e] : want[e]);
                assert_true(B.route->weight->x[s] == A.route->weight->x[s]);
            }
            for (int t = 0; t < A.T; t++) for (int e = 0; e < E; e++) assert_true(B.route->probs->x[t * E + want[e]] == A.route->probs->x[t * E + e]);
            if (!seed) sy_expect_same("identity", B.y->x, A.y->x, (size_t)A.T * 6 * sizeof(sy_real));
        }
        bed_close(&A), bed_close(&B);
    }
}

/* "start from a gate whose experts are given in a wrong fixed order (experts frozen): with perm on, loss falls to the aligned value; without it, it stays" */
static void search(void **state)
{
    (void)state;
    static const int turn[E] = { 2, 0, 3, 1 };
    bed A, B;
    sy_optim o;
    sy_opt_defaults(sy_optim_opts, &o);
    o.weight_decay = 0;
    open(&A, "topk:norm_topk_prob=true", NULL), open(&B, "topk:norm_topk_prob=true", "perm:perm_steps=300,tau_max=0.05,tau_min=0.001");
    bed_tokens(&A, 0, 20, 8), bed_tokens(&B, 0, 20, 8);
    for (int i = 0; i < A.params.n; i++) {                    /* the same gate; A's expert turn[e] is B's expert e */
        sy_param *a = A.params.p[i], *b = sy_params_find(&B.params, a->name);
        size_t n = a->n / E;
        bool expert = strstr(a->name, "experts") != NULL;
        for (int e = 0; e < E; e++) memcpy((sy_real *)b->w.data + (size_t)e * n, (sy_real *)a->w.data + (size_t)(expert ? turn[e] : e) * n, n * sizeof(sy_real));
        b->flags |= SY_FROZEN;
    }
    bed_go(&A, SY_EVAL);
    sy_real *want = malloc((size_t)A.T * 6 * sizeof *want);
    memcpy(want, A.y->x, (size_t)A.T * 6 * sizeof *want);
    double first = 0, last = 0;
    for (B.step = 0; B.step <= 300; B.step++) {
        sy_expect_ok(sy_block_before(&B.b, B.step, 301, 0, err));
        sy_grad_zero(&B.eng, &B.params);
        bed_go(&B, SY_TRAIN);
        sy_tensor *target = sy_new(&B.tape, SY_DIM(B.T, 6));
        memcpy(target->x, want, (size_t)B.T * 6 * sizeof *want);
        sy_tensor *l = sy_mean(&B.tape, sy_square(&B.tape, sy_sub(&B.tape, B.y, target)));
        sy_expect_ok(sy_backward(&B.tape, l, err));
        if (B.step < 300) sy_optim_step(&B.eng, &B.params, &o, 5e-3, B.step + 1, 1);
        if (!B.step) first = (double)l->x[0];
        last = (double)l->x[0];
    }
    assert_true(first > 1e-3);
    sy_expect_near("loss at the end", last, 0, 1e-9, 0);
    const sy_real *order = sy_params_find(&B.params, ORDER)->w.data;
    for (int e = 0; e < E; e++) assert_int_equal(turn[(int)order[e]], e);
    free(want);
    bed_close(&A), bed_close(&B);
}

static void refusals(void **state)
{
    (void)state;
    bed_refused(BED_SPEC(.edit = { "perm" }, .n_edit = 1, .Z = 2, .zero = "null"), SY_EUNSUP, "2 zero-cost experts");
    bed_refused(BED_SPEC(.edit = { "perm:tau_min=1" }, .n_edit = 1), SY_EARG, "tau_min 1 exceeds tau_max");
    bed_refused(BED_SPEC(.router = "softmoe", .edit = { "perm" }, .n_edit = 1), SY_EUNSUP, "edit perm reads a route and router softmoe");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(formulas), cmocka_unit_test(assignment), cmocka_unit_test(search), cmocka_unit_test(refusals) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
