/* double only */
/* Gradients of every op: central differences in double against backward, with a random gradient of the output.
 *
 * Every value of every leaf of every sample is moved by +-h. Oracle: finite differences of the op's own forward. */
#include "testing.h"

#include <math.h>
#include <string.h>

#include "core/random.h"
#include "route/route.h"
#include "tensor/ops.h"

enum { MOST = 4096 };                               /* values of one sample's output or leaf */

static const double H = 1e-5, TOLERANCE = 1e-6;

static void draw(sy_real *r, size_t n)
{
    uint64_t key = sy_key(sy_test_seed(), SY_FOR_TEST, 1000, 0, 0);
    for (size_t i = 0; i < n; i++) r[i] = (sy_real)(2 * sy_draw(key, i, 0) - 1);
}

/* sum of out r, with one value of one leaf moved. */
static double value_at(sy_tape *t, const sy_op *op, int variant, const sy_real *r, int leaf, size_t at, double delta)
{
    sy_tape_reset(t);
    t->probe = (sy_probe){ leaf, at, (sy_real)delta };
    sy_tensor *out = op->sample(t, variant);
    sy_expect_ok(sy_tape_status(t, err));
    double s = 0;
    for (size_t i = 0; i < sy_numel(out); i++) s += (double)out->x[i] * (double)r[i];
    return s;
}

static void check_leaf(sy_tape *t, const sy_op *op, int variant, const sy_real *r, int leaf, const sy_real *got, size_t n)
{
    double norm = 0, off = 0, scale = 0;
    static double want[MOST];
    for (size_t i = 0; i < n; i++) {
        want[i] = (value_at(t, op, variant, r, leaf, i, H) - value_at(t, op, variant, r, leaf, i, -H)) / (2 * H);
        norm += want[i] * want[i];
        off += (want[i] - (double)got[i]) * (want[i] - (double)got[i]);
        if (fabs(want[i]) > scale) scale = fabs(want[i]);
    }
    if (!(sqrt(off) <= TOLERANCE * sqrt(norm) + 1e-12)) fail_msg("%s, variant %d: gradient of leaf %d is off by %.3g of its norm %.3g", op->name, variant, leaf, sqrt(off), sqrt(norm));
    for (size_t i = 0; i < n; i++)
        if (!(fabs(want[i] - (double)got[i]) <= 10 * TOLERANCE * scale + 1e-11))
            fail_msg("%s, variant %d: leaf %d, value %zu: backward says %.12g, differences say %.12g (largest %.3g)", op->name, variant, leaf, i, (double)got[i], want[i], scale);
}

/* Backward adds: leaves that hold a gradient of 0.5 already end at that plus what they got. */
static void check_adds(sy_tape *t, const sy_op *op, int variant, const sy_real *r, sy_real got[][MOST], const size_t *n)
{
    sy_tape_reset(t);
    t->probe.leaf = -1;
    sy_tensor *out = op->sample(t, variant);
    for (int i = 0; i < t->leaves; i++) {
        sy_real **dx = t->leaf_w[i] ? &t->leaf_w[i]->dx : &t->leaf[i]->dx;
        if (!*dx) *dx = sy_tape_alloc(t, n[i], sizeof **dx);
        sy_expect_ok(sy_tape_status(t, err));
        for (size_t j = 0; j < n[i]; j++) (*dx)[j] = 0.5;
    }
    if (t->leaf[0] == out) return;                   /* no op ran */
    sy_expect_ok(sy_backward_from(t, out, r, err));
    for (int i = 0; i < t->leaves; i++)
        for (size_t j = 0; j < n[i]; j++) {
            double g = (double)(t->leaf_w[i] ? t->leaf_w[i]->dx : t->leaf[i]->dx)[j], want = (double)got[i][j] + 0.5;
            if (!(fabs(g - want) <= 1e-11 * (1 + fabs(want)))) fail_msg("%s, variant %d: leaf %d, value %zu: a gradient of 0.5 plus %.12g became %.12g", op->name, variant, i, j, (double)got[i][j], g);
        }
}

static void check_variant(sy_engine *e, const sy_op *op, int variant)
{
    static sy_real r[MOST], got[16][MOST];
    size_t n[16];
    sy_tape t;
    sy_tape_init(&t, e, true);
    sy_tensor *out = op->sample(&t, variant);
    sy_expect_ok(sy_tape_status(&t, err));
    assert_true(sy_numel(out) <= MOST);
    draw(r, sy_numel(out));
    sy_expect_ok(sy_backward_from(&t, out, r, err));
    int leaves = t.leaves;
    assert_true(leaves > 0);
    for (int i = 0; i < leaves; i++) {
        const sy_weight *w = t.leaf_w[i];
        const sy_tensor *x = w ? NULL : t.leaf[i];
        const sy_real *dx = w ? w->dx : x->dx;
        n[i] = 1;
        for (int d = 0; d < (w ? w->nd : x->nd); d++) n[i] *= (size_t)(w ? w->dim[d] : x->dim[d]);
        assert_true(n[i] <= MOST);
        for (size_t j = 0; j < n[i]; j++) got[i][j] = dx ? dx[j] : 0;
    }
    check_adds(&t, op, variant, r, got, n);
    for (int i = 0; i < leaves; i++) check_leaf(&t, op, variant, r, i, got[i], n[i]);
    sy_tape_free(&t);
}

static void check_ops(const sy_op *const *ops)
{
    sy_engine e;
    sy_expect_ok(sy_engine_init(&e, 1, NULL, NULL, err));
    for (; *ops; ops++) {
        const sy_op *op = *ops;
        assert_non_null(op->sample);
        if (!op->bwd && !op->no_grad) fail_msg("%s has neither a backward nor a reason for having none", op->name);
        int variants = 0;
        for (sy_tape t;; variants++) {               /* a sample beyond the last is NULL */
            sy_tape_init(&t, &e, false);
            sy_tensor *out = op->sample(&t, variants);
            sy_tape_free(&t);
            if (!out) break;
            sy_test_case("%s, variant %d", op->name, variants);
            if (op->bwd) check_variant(&e, op, variants);
        }
        if (!variants) fail_msg("%s has no sample", op->name);
    }
    sy_engine_uninit(&e);
}

static void every_op_of_the_tape(void **state)
{
    (void)state;
    check_ops(sy_ops);
}

static void every_op_of_the_route(void **state)
{
    (void)state;
    check_ops(sy_route_ops);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_op_of_the_tape), cmocka_unit_test(every_op_of_the_route) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
