/* float only */
/* tests/train/test_starved.c - an expert that gets no token for ten thousand steps while another gets all: nothing overflows or gets stuck, its weights only
 * decay, and when tokens come back it learns at once. Oracle: the product of the decays; the loss. */
#include "testing.h"

#include <math.h>

#include "bed.h"

enum { HUNGRY = 10000, AFTER = 200 };

/* All tokens to expert 0; from step HUNGRY on by their id. */
typedef struct { int64_t step; } stuck_state;

static sy_status stuck_before(void *state, const sy_site *at, const sy_step *st, sy_err *err)
{
    (void)at, (void)err;
    ((stuck_state *)state)->step = st->step;
    return SY_OK;
}

static sy_status stuck_select(void *state, sy_tape *t, const sy_route_in *in, sy_tensor *z, sy_route *out, sy_err *err)
{
    const stuck_state *s = state;
    (void)z;
    sy_tensor *g = sy_new(t, SY_DIM(in->T, out->E));
    SY_TRY(sy_tape_status(t, err));
    memset(g->x, 0, sy_numel(g) * sizeof *g->x);
    for (int i = 0; i < in->T; i++) g->x[i * out->E + (s->step < HUNGRY ? 0 : in->id[i] % out->E)] = 1;
    return sy_slots_dense(t, in, g, out, err);
}

static const sy_method stuck = { .kind = SY_ROUTER, .name = "stuck", .title = "all tokens to one expert", .size = sizeof(stuck_state),
    .hooks = &(const sy_router_hooks){ SY_ROUTER_ABI, .flags = SY_NOLOGITS | SY_NOPROBS, .before = stuck_before, .select = stuck_select } };

static void test_starved(void **state)
{
    (void)state;
    bed b;
    sy_stepper s;
    sy_step_result r;
    bed_open(&b, 1, "router=stuck balance='' hidden_size=8 num_hidden_layers=1 layers=sparse moe_intermediate_size=8 batch_size=1 lr=1e-3 lr_schedule=constant warmup_steps=0 weight_decay=0.1");
    sy_expect_ok(sy_engine_register(&b.eng, &stuck, err));
    b.c.train.steps = HUNGRY + AFTER;
    sy_model *m = bed_model(&b);
    bed_stepper(&b, m, &s);
    const sy_block *block = sy_model_block(m, 0);
    sy_real before[8 * 8], *w = NULL;
    const sy_param *p = block->site.expert[0];
    size_t one = (size_t)p->w.dim[1] * (size_t)p->w.dim[2];
    assert_true(block->site.n_expert > 0 && one == SY_COUNT(before) && p->w.dim[0] == 4);
    w = p->w.data;
    memcpy(before, w + 2 * one, sizeof before);
    double loss = 0;
    for (int i = 0; i < HUNGRY; i++) {
        sy_expect_ok(sy_stepper_run(&s, &r, err));
        if (r.skipped || !isfinite(r.loss) || !isfinite(r.grad_norm)) fail_msg("step %d: loss %g, gradient %g", i, r.loss, r.grad_norm);
        if (i >= HUNGRY - 100) loss += r.loss / 100;
    }
    assert_true(loss < 3.5);                                     /* the expert with all tokens learns */
    double decay = pow(1 - 1e-3 * 0.1, HUNGRY);
    for (size_t i = 0; i < one; i++) sy_expect_near("starved weight", (double)w[2 * one + i], (double)before[i] * decay, 1e-9, 1e-3);
    memcpy(before, w + 2 * one, sizeof before);
    double early = 0, late = 0;
    for (int i = 0; i < AFTER; i++) {
        sy_expect_ok(sy_stepper_run(&s, &r, err));
        if (r.skipped || !isfinite(r.loss)) fail_msg("step %d: loss %g", HUNGRY + i, r.loss);
        if (i < 10) early += r.loss / 10;
        if (i >= AFTER - 100) late += r.loss / 100;
    }
    double moved = 0;
    for (size_t i = 0; i < one; i++) moved = fmax(moved, fabs((double)w[2 * one + i] - (double)before[i]));
    assert_true(moved > 0.01 && moved < 1);                      /* no leap out of moments that have died away */
    assert_true(late < early);
    sy_stepper_close(&s);
    sy_model_free(m);
    bed_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_starved) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
