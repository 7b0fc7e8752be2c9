/* tsan */
/* tests/route/test_plan.c - packing, gather and combine against slow loops; edges; equal bits for any number of threads. */
#include "route/bed.h"

typedef struct { int T, E, Z, null_from; int first[8], expert[16]; const char *what; } route_case;

static const route_case cases[] = {
    { 3, 3, 0, 3, { 0, 2, 4, 6 }, { 2, 0, 2, 1, 0, 2 }, "fixed K" },
    { 3, 4, 0, 4, { 0, 2, 4, 6 }, { 3, 0, 3, 0, 0, 3 }, "experts 1 and 2 are empty" },
    { 4, 3, 0, 3, { 0, 1, 2, 3, 4 }, { 1, 1, 1, 1 }, "all tokens to one expert" },
    { 1, 1, 0, 1, { 0, 1 }, { 0 }, "one token, one expert" },
    { 3, 2, 2, 4, { 0, 3, 3, 4 }, { 3, 0, 2, ~1 }, "zero-cost experts, a token that passes by, a dropped slot" },
    { 3, 2, 2, 2, { 0, 3, 3, 4 }, { 3, 0, 2, 1 }, "null experts get no row" },
    { 2, 2, 0, 2, { 0, 2, 4 }, { ~0, ~1, ~1, ~0 }, "every slot is dropped" },
    { 2, 2, 0, 2, { 0, 0, 0 }, { 0 }, "no slot at all" },
    { 0, 2, 0, 2, { 0 }, { 0 }, "no token" },
};

static sy_route route_of(const route_case *c)
{
    return (sy_route){ .T = c->T, .E = c->E, .Z = c->Z, .n = c->first[c->T], .first_slot = (int *)c->first, .expert = (int *)c->expert };
}

/* Rows by expert, inside an expert by slot: found by scanning all slots once for each expert. */
static void plans(void **state)
{
    (void)state;
    bed B;
    bed_open(&B, BED_SPEC(.E = 4));
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_test_case("%s", cases[i].what);
        sy_route r = route_of(&cases[i]);
        sy_plan *p = sy_plan_build(&B.tape, &r, cases[i].null_from);
        assert_non_null(p);
        int n = 0, row[16], slot[16];
        for (int s = 0; s < r.n; s++) row[s] = -1;
        for (int e = 0; e < r.E + r.Z; e++) {
            assert_int_equal(p->first[e], n);
            for (int s = 0; s < r.n && e < cases[i].null_from; s++) if (r.expert[s] == e) { row[s] = n; slot[n++] = s; }
        }
        assert_int_equal(p->first[r.E + r.Z], n);
        assert_int_equal(p->n, n);
        sy_expect_ids("row", p->row, row, (size_t)r.n);
        sy_expect_ids("slot", p->slot, slot, (size_t)n);
        for (int k = 0; k < n; k++) {
            int t = p->token[k];
            assert_true(r.first_slot[t] <= slot[k] && slot[k] < r.first_slot[t + 1]);
        }
    }
    bed_close(&B);
}

static void gather_combine(void **state)
{
    (void)state;
    bed B;
    bed_open(&B, BED_SPEC(.E = 4));
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_test_case("%s", cases[i].what);
        enum { D = 5 };
        sy_tape *t = &B.tape;
        sy_tape_reset(t);
        sy_route r = route_of(&cases[i]);
        sy_plan *p = sy_plan_build(t, &r, cases[i].null_from);
        sy_tensor *x = sy_new(t, SY_DIM(r.T, D)), *w = sy_new(t, SY_DIM(r.n));
        for (int k = 0; k < r.T * D; k++) x->x[k] = (sy_real)(k % 7 - 3);
        for (int k = 0; k < r.n; k++) w->x[k] = r.expert[k] < 0 ? (sy_real)NAN : (sy_real)(0.5 + k);      /* a dropped slot's weight is not read */
        sy_tensor *rows = sy_gather(t, x, p), *y = sy_combine(t, rows, w, p);
        sy_expect_ok(sy_tape_status(t, err));
        for (int k = 0; k < p->n * D; k++) assert_true(rows->x[k] == x->x[p->token[k / D] * D + k % D]);
        for (int k = 0; k < r.T * D; k++) {
            double want = 0;
            for (int s = r.first_slot[k / D]; s < r.first_slot[k / D + 1]; s++)
                if (r.expert[s] >= 0 && r.expert[s] < cases[i].null_from) want += (0.5 + s) * (double)x->x[k];
            sy_expect_near("y", (double)y->x[k], want, 1e-6, 1e-6);
        }
    }
    bed_close(&B);
}

/* Forward and backward of a layer large enough to be cut: equal bits with 1, 2 and 3 threads. */
static void threads(void **state)
{
    (void)state;
    sy_real *y[3] = { 0 }, *g[3] = { 0 }, *dx[3] = { 0 };
    enum { T = 600, D = 48 };
    size_t gn = 0;
    for (int n = 1; n <= 3; n++) {
        bed B;
        sy_err e;
        assert_int_equal(bed_try(&B, BED_SPEC(.router = "topk:top_k=3,norm_topk_prob=true", .D = D, .F = 40, .E = 8), n, true, &sy_builtin_methods, &e), SY_OK);
        bed_tokens(&B, 0, 4, T / 4);
        bed_go(&B, SY_TRAIN);
        y[n - 1] = malloc(T * D * sizeof(sy_real)), dx[n - 1] = malloc(T * D * sizeof(sy_real));
        memcpy(y[n - 1], B.y->x, T * D * sizeof(sy_real));
        sy_expect_ok(sy_backward_from(&B.tape, B.y, B.value, err));
        memcpy(dx[n - 1], B.x->dx, T * D * sizeof(sy_real));
        gn = sy_numel(&B.b.gate->leaf);
        g[n - 1] = malloc(gn * sizeof(sy_real));
        memcpy(g[n - 1], B.b.gate->w.dx, gn * sizeof(sy_real));
        bed_close(&B);
    }
    for (int n = 1; n < 3; n++) {
        sy_test_case("%d threads against 1", n + 1);
        sy_expect_same("y", y[n], y[0], T * D * sizeof(sy_real));
        sy_expect_same("dx", dx[n], dx[0], T * D * sizeof(sy_real));
        sy_expect_same("d gate", g[n], g[0], gn * sizeof(sy_real));
    }
    for (int n = 0; n < 3; n++) free(y[n]), free(g[n]), free(dx[n]);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(plans), cmocka_unit_test(gather_combine), cmocka_unit_test(threads) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
