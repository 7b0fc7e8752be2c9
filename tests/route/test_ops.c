/* tests/route/test_ops.c - gradients of the folder's ops against central differences. */
/* double only */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/random.h"
#include "route/route.h"
#include "testing.h"

static double value(sy_tape *t, const sy_op *op, int variant, sy_probe probe, const double *c)
{
    double sum = 0;
    sy_tape_reset(t);
    t->leaves = 0;
    t->probe = probe;
    sy_tensor *y = op->sample(t, variant);
    sy_expect_ok(sy_tape_status(t, err));
    for (size_t i = 0; i < sy_numel(y); i++) sum += c[i] * (double)y->x[i];
    return sum;
}

static void check(sy_tape *t, const sy_op *op, int variant)
{
    enum { MOST = 4096 };
    static double c[MOST];
    sy_real g[MOST], *grad[16];
    size_t n[16], size;
    sy_tape_reset(t);
    t->leaves = 0;
    t->probe = (sy_probe){ .leaf = -1 };
    sy_tensor *y = op->sample(t, variant);
    sy_expect_ok(sy_tape_status(t, err));
    assert_true((size = sy_numel(y)) <= MOST);
    for (size_t i = 0; i < size; i++) g[i] = (sy_real)(c[i] = 2 * sy_draw(sy_test_seed(), i, 3) - 1);
    sy_expect_ok(sy_backward_from(t, y, g, err));
    int leaves = t->leaves;
    for (int l = 0; l < leaves; l++) {
        n[l] = sy_numel(t->leaf[l]);
        grad[l] = calloc(n[l] + 1, sizeof(sy_real));
        if (t->leaf[l]->dx) memcpy(grad[l], t->leaf[l]->dx, n[l] * sizeof(sy_real));
    }
    for (int l = 0; l < leaves; l++) {
        for (size_t i = 0; i < n[l]; i++) {
            double h = 1e-5, up = value(t, op, variant, (sy_probe){ l, i, (sy_real)h }, c), down = value(t, op, variant, (sy_probe){ l, i, (sy_real)-h }, c);
            char name[64];
            snprintf(name, sizeof name, "%s, variant %d, leaf %d, value %zu", op->name, variant, l, i);
            sy_expect_near(name, (double)grad[l][i], (up - down) / (2 * h), 1e-8, 1e-6);
        }
        free(grad[l]);
    }
}

static void all_ops(void **state)
{
    (void)state;
    sy_engine eng;
    sy_tape t;
    sy_expect_ok(sy_engine_init(&eng, 1, NULL, NULL, err));
    sy_tape_init(&t, &eng, true);
    for (const sy_op *const *op = sy_route_ops; *op; op++) {
        int variant = 0;
        for (;; variant++) {
            sy_test_case("%s, variant %d", (*op)->name, variant);
            sy_tape_reset(&t);
            t.leaves = 0;
            t.probe = (sy_probe){ .leaf = -1 };
            if (!(*op)->sample(&t, variant)) break;
            check(&t, *op, variant);
        }
        assert_true(variant > 1);
    }
    sy_tape_free(&t);
    sy_engine_uninit(&eng);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(all_ops) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
