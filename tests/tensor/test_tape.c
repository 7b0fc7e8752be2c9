/* tsan */
/* What holds for every op: errors stick, a loss that reaches an op without gradient is refused, a warm step asks the heap for
 * nothing, every failed allocation gives SY_ENOMEM, and the number of threads changes no bit.
 *
 * Oracle: invariants, and one thread for many. */
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/random.h"
#include "tensor/ops.h"

static void engine(sy_engine *e, int threads) { sy_expect_ok(sy_engine_init(e, threads, NULL, NULL, err)); }

/* ---- errors ---- */

static void first_error_sticks(void **state)
{
    (void)state;
    sy_engine e;
    engine(&e, 1);
    sy_tape t;
    sy_tape_init(&t, &e, true);
    sy_tensor *a = sy_sample_leaf(&t, -1, 1, SY_DIM(2, 3)), *b = sy_sample_leaf(&t, -1, 1, SY_DIM(3, 2));
    sy_tensor *bad = sy_add(&t, a, b);
    sy_tensor *y = sy_sum(&t, sy_mul(&t, bad, a));                                   /* goes on without harm */
    y = sy_cross_entropy(&t, sy_linear(&t, y, NULL, NULL), NULL, NULL, NULL);
    assert_ptr_equal(y, &t.empty);
    sy_err e1 = { 0 }, *err = &e1;
    sy_expect_fail(sy_tape_status(&t, err), SY_ESHAPE, "add: input 1 has 2 dimensions, 3 rows and 2 columns");
    sy_expect_fail(sy_backward(&t, y, err), SY_ESHAPE, "add: input 1");
    sy_tape_reset(&t);
    sy_expect_ok(sy_tape_status(&t, err));
    sy_tape_free(&t);
    sy_engine_uninit(&e);
}

static void opaque_f(sy_node *n) { memcpy(n->out->x, n->in[0]->x, sy_numel(n->out) * sizeof(sy_real)); }
static const sy_op opaque = { "opaque", opaque_f, NULL, "it counts", NULL };

static void no_gradient(void **state)
{
    (void)state;
    sy_engine e;
    engine(&e, 1);
    sy_tape t;
    sy_err e1 = { 0 }, *err = &e1;
    sy_tape_init(&t, &e, true);
    sy_tensor *x = sy_sample_leaf(&t, -1, 1, SY_DIM(2, 3));
    sy_node *n = sy_node_new(&t, &opaque, SY_IN(x), SY_NOW);
    n->out = sy_new_like(&t, x);
    sy_expect_fail(sy_backward(&t, sy_sum(&t, sy_apply(n)), err), SY_EUNSUP, "op opaque has no gradient: it counts");
    sy_tape_reset(&t);

    x = sy_sample_leaf(&t, -1, 1, SY_DIM(2, 3));                                     /* one that the loss does not reach is no error */
    n = sy_node_new(&t, &opaque, SY_IN(x), SY_NOW);
    n->out = sy_new_like(&t, x);
    sy_apply(n);
    sy_expect_ok(sy_backward(&t, sy_sum(&t, x), err));
    for (int i = 0; i < 6; i++) sy_expect_near("dx", (double)x->dx[i], 1, 0, 0);
    sy_tape_reset(&t);

    x = sy_sample_leaf(&t, -1, 1, SY_DIM(2, 3));                                     /* a stopped branch gives its value and no gradient */
    sy_expect_ok(sy_backward(&t, sy_sum(&t, sy_mul(&t, x, sy_stop(&t, x))), err));
    sy_expect_close("dx", x->dx, x->x, 6, 0, 0);
    sy_expect_fail(sy_backward(&t, sy_sum(&t, sy_stop(&t, x)), err), SY_EARG, "depends on no parameter");
    sy_expect_fail(sy_backward(&t, x, err), SY_ESHAPE, "a loss has one value, this has 6");
    sy_tape_free(&t);
    sy_engine_uninit(&e);
}

static void first_nan_is_named(void **state)
{
    (void)state;
    sy_engine e;
    engine(&e, 1);
    e.check_nan = true;
    sy_tape t;
    sy_err e1 = { 0 }, *err = &e1;
    sy_tape_init(&t, &e, true);
    sy_tensor *x = sy_sample_leaf(&t, -1, 1, SY_DIM(2, 3)), *y = sy_affine(&t, x, 1, -2);
    sy_expect_ok(sy_tape_status(&t, err));
    sy_sum(&t, sy_exp(&t, sy_ln(&t, y)));
    sy_expect_fail(sy_tape_status(&t, err), SY_ENUM, "op ln made the first value that is not finite");
    sy_tape_free(&t);
    sy_engine_uninit(&e);
}

/* ---- every sample ---- */

/* Runs a sample forward and backward (out r with fixed r). */
static sy_status run(sy_tape *t, const sy_op *op, int variant, sy_tensor **out, sy_err *err)
{
    static sy_real r[4096];
    sy_tape_reset(t);
    *out = op->sample(t, variant);
    SY_TRY(sy_tape_status(t, err));
    if (!op->bwd || !(*out)->wants) return SY_OK;
    assert_true(sy_numel(*out) <= SY_COUNT(r));
    for (size_t i = 0; i < SY_COUNT(r); i++) r[i] = (sy_real)((int)(i * 7 % 11) - 5) / 4;
    return sy_backward_from(t, *out, r, err);
}

static bool has_variant(sy_engine *e, const sy_op *op, int variant)
{
    sy_tape t;
    sy_tape_init(&t, e, true);
    bool has = op->sample(&t, variant) != NULL;
    sy_tape_free(&t);
    return has;
}

#define EACH_SAMPLE(e, op, v) for (const sy_op *const *op_ = sy_ops, *op; (op = *op_); op_++) for (int v = 0; has_variant(e, op, v); v++)

static void warm_steps_allocate_nothing(void **state)
{
    (void)state;
    sy_engine e;
    engine(&e, 2);
    EACH_SAMPLE(&e, op, v) {
        sy_test_case("%s, variant %d", op->name, v);
        sy_tape t;
        sy_tensor *out;
        sy_tape_init(&t, &e, true);
        uint64_t before = 0;
        for (int step = 0; step < 4; step++) {
            if (step == 3) before = sy_alloc_calls();
            sy_expect_ok(run(&t, op, v, &out, err));
        }
        if (sy_alloc_calls() != before) fail_msg("%s, variant %d: the fourth step allocates %llu times", op->name, v, (unsigned long long)(sy_alloc_calls() - before));
        sy_tape_free(&t);
    }
    sy_engine_uninit(&e);
}

static void failed_allocations(void **state)
{
    (void)state;
    sy_engine whole;
    engine(&whole, 1);
    EACH_SAMPLE(&whole, op, v) {
        sy_test_case("%s, variant %d", op->name, v);
        for (int at = 1, done = 0; !done; at++) {
            sy_engine e;                             /* with cold scratch each time */
            engine(&e, 1);
            sy_tape t;
            sy_tensor *out;
            sy_err e1 = { 0 };
            sy_tape_init(&t, &e, true);
            sy_alloc_fail_at((uint64_t)at, at % 2);
            sy_status st = run(&t, op, v, &out, &e1);
            sy_alloc_fail_at(0, 0);
            if (st != SY_OK && st != SY_ENOMEM) fail_msg("%s, variant %d, allocation %d: %s", op->name, v, at, e1.text);
            done = st == SY_OK;
            if (at > 50) fail_msg("%s, variant %d: still failing at allocation %d", op->name, v, at);
            sy_expect_ok(run(&t, op, v, &out, err));                                  /* and the tape is as good as new */
            sy_tape_free(&t);
            sy_engine_uninit(&e);
        }
    }
    sy_engine_uninit(&whole);
}

/* ---- threads ---- */

/* Larger shapes, so that the work is really cut. Each builds one loss out of leaves; variants until NULL. */
enum { T = 331, D = 203 };

static const int *some_rows(int end)
{
    static int id[T];
    for (int i = 0; i < T; i++) id[i] = (i * 37 + i / 5) % end;
    return id;
}

static sy_tensor *big(sy_tape *t, int what)
{
    static const sy_segment seg[] = { { .row = 0, .n = 200 }, { .row = 200, .n = 131 } };
    static const double freq[] = { 1, 0.3, 0.1, 0.01 };
    static int first[T + 1], pos[T];
    static sy_real c[T * D];
    static uint8_t valid[T];
    for (int i = 0; i <= T; i++) first[i] = 2 * i - (i > 5);
    for (int i = 0; i < T; i++) { pos[i] = i % 200; valid[i] = i % 3 != 0; }
    for (int i = 0; i < T * D; i++) c[i] = (sy_real)(i % 13) - 6;
    static int col[2 * T], label[T], experts[] = { 0, 100, 100, 180, T };
    for (int i = 0; i < 2 * T; i++) col[i] = i * 31 % D;
    for (int i = 0; i < T; i++) label[i] = i % 7 ? i * 13 % D : -1;
    sy_tensor *x = sy_sample_leaf(t, 0.1, 1.5, SY_DIM(T, D));
    switch (what) {
    case 0: return sy_add(t, x, x);
    case 1: return sy_div(t, x, sy_sample_leaf(t, 0.5, 1.5, SY_DIM(T, D)));
    case 2: return sy_add_bias(t, x, sy_sample_leaf(t, -1, 1, SY_DIM(D)));
    case 3: return sy_mul_cols(t, x, sy_sample_leaf(t, -1, 1, SY_DIM(D)));
    case 4: return sy_mul_rows(t, x, sy_sample_leaf(t, -1, 1, SY_DIM(T)));
    case 5: return sy_div_rows(t, x, sy_sample_leaf(t, 0.5, 1, SY_DIM(T)));
    case 6: return sy_activate(t, SY_ACT_GELU, x);
    case 7: return sy_glu(t, SY_ACT_SILU, x, sy_sample_leaf(t, -1, 1, SY_DIM(T, D)));
    case 8: return sy_softmax(t, x);
    case 9: return sy_logsumexp(t, x);
    case 10: return sy_rmsnorm(t, x, sy_sample_leaf(t, 0.5, 1.5, SY_DIM(D)), 1e-6);
    case 11: return sy_layernorm(t, x, sy_sample_leaf(t, 0.5, 1.5, SY_DIM(D)), sy_sample_leaf(t, -1, 1, SY_DIM(D)), 1e-6);
    case 12: return sy_rope_apply(t, sy_sample_leaf(t, -1, 1, SY_DIM(T, 160)), 8, pos, &(sy_rope){ 8, freq, 1, .interleaved = false });
    case 13: {
        sy_tensor *q = sy_sample_leaf(t, -2, 2, SY_DIM(T, 64)), *k = sy_sample_leaf(t, -2, 2, SY_DIM(T, 32));
        return sy_attention(t, q, k, sy_sample_leaf(t, -1, 1, SY_DIM(T, 32)), &(sy_attn){ 4, 2, 16, 0.25, 0, .causal = true }, seg, 2);
    }
    case 14: return sy_cross_entropy(t, x, sy_sample_weight(t, -1, 1, SY_DIM(D, D)), label, &(sy_xent){ .scale = 0.01, .smoothing = 0.1, .z_loss = 0.001 });
    case 15: return sy_sum(t, x);
    case 16: return sy_dot_const(t, x, c);
    case 17: return sy_sum_rows(t, x, valid);
    case 18: return sy_sum_cols(t, x);
    case 19: return sy_rows_gather(t, x, some_rows(40), T);
    case 20: return sy_rows_scatter(t, x, some_rows(40), 60);
    case 21: return sy_normalise_slots(t, sy_pick(t, x, first, col, first[T]), first, T, 1e-9);
    case 22: return sy_cols_concat(t, sy_cols_slice(t, x, 7, 100), x);
    case 23: return sy_dropout(t, sy_reshape(t, x, SY_DIM(D, T)), 0.2, 5);
    case 24: return sy_linear(t, x, sy_sample_weight(t, -1, 1, SY_DIM(150, D)), sy_sample_leaf(t, -1, 1, SY_DIM(150)));
    case 25: return sy_grouped(t, x, sy_sample_weight(t, -1, 1, SY_DIM(4, 70, D)), experts);
    case 26: return sy_matmul_nt(t, x, x);
    case 27: return sy_embed(t, sy_sample_weight(t, -1, 1, SY_DIM(50, D)), some_rows(50), T);
    case 28: return sy_mul_const(t, sy_exp(t, sy_square(t, sy_affine(t, x, 0.3, 1))), c);
    default: return NULL;
    }
}

/* Everything that a run leaves: the output and all gradients, in one buffer. */
struct result { sy_real *x; size_t n; };

static void keep(struct result *r, const sy_real *x, size_t n)
{
    r->x = realloc(r->x, (r->n + n) * sizeof *x);
    assert_non_null(r->x);
    if (n) memcpy(r->x + r->n, x, n * sizeof *x);
    r->n += n;
}

static struct result all_of(sy_engine *e, const sy_op *op, int what)
{
    struct result r = { 0 };
    sy_tape t;
    sy_tape_init(&t, e, true);
    sy_tensor *out = op ? op->sample(&t, what) : big(&t, what);
    sy_expect_ok(sy_tape_status(&t, err));
    size_t n = sy_numel(out);
    if (out->i) for (size_t i = 0; i < n; i++) keep(&r, &(sy_real){ (sy_real)out->i[i] }, 1);
    else {
        keep(&r, out->x, n);
        sy_real *dout = malloc((n + 1) * sizeof *dout);
        assert_non_null(dout);
        for (size_t i = 0; i < n; i++) dout[i] = (sy_real)((int)(i * 7 % 11) - 5) / 4 + (sy_real)0.1;
        sy_expect_ok(sy_backward_from(&t, out, dout, err));
        free(dout);
        for (int i = 0; i < t.leaves; i++) {
            const sy_weight *w = t.leaf_w[i];
            size_t m = 1;
            for (int d = 0; d < (w ? w->nd : t.leaf[i]->nd); d++) m *= (size_t)(w ? w->dim[d] : t.leaf[i]->dim[d]);
            const sy_real *dx = w ? w->dx : t.leaf[i]->dx;
            if (dx) keep(&r, dx, m);
        }
    }
    sy_tape_free(&t);
    return r;
}

static void compare(sy_engine *e, const sy_op *op, int what)
{
    struct result one = all_of(&e[0], op, what);
    for (int i = 1; i < 3; i++) {
        struct result many = all_of(&e[i], op, what);
        assert_int_equal(many.n, one.n);
        sy_expect_same("output and gradients", many.x, one.x, one.n * sizeof *one.x);
        free(many.x);
    }
    free(one.x);
}

static void threads_change_no_bit(void **state)
{
    (void)state;
    const sy_kernels *k;
    for (int s = 0; (k = sy_kernels_at(s)); s++) {
        sy_engine e[3];
        for (int i = 0; i < 3; i++) sy_expect_ok(sy_engine_init(&e[i], i + 1, k->name, NULL, err));
        EACH_SAMPLE(&e[0], op, v) {
            sy_test_case("%s, variant %d, %s", op->name, v, k->name);
            compare(e, op, v);
        }
        for (int what = 0;; what++) {
            sy_tape t;
            sy_tape_init(&t, &e[0], false);
            bool has = big(&t, what) != NULL;
            sy_tape_free(&t);
            if (!has) break;
            sy_test_case("larger case %d, %s", what, k->name);
            compare(e, NULL, what);
        }
        for (int i = 0; i < 3; i++) sy_engine_uninit(&e[i]);
    }
}

/* ---- gradients add up where a tensor is used twice, over tapes, and for the parameter that a weight and a leaf share ---- */

static void gradients_add(void **state)
{
    (void)state;
    sy_engine e;
    engine(&e, 1);
    sy_arena arena = { 0 };
    sy_params all = { .arena = &arena, .train = true };
    sy_param *w = sy_params_add(&all, "w", 0, SY_DIM(2, 2)), *frozen = sy_params_add(&all, "frozen", SY_FROZEN, SY_DIM(2, 2));
    assert_true(w && frozen && !frozen->w.dx);
    sy_param_fill(w, 2);
    sy_param_fill(frozen, 3);
    static const int id[] = { 0, 1 };
    for (int step = 1; step <= 2; step++) {
        sy_tape t;
        sy_tape_init(&t, &e, true);
        sy_tensor *x = sy_embed(&t, &w->w, id, 2);                                    /* x = w */
        sy_tensor *y = sy_add(&t, sy_linear(&t, x, &frozen->w, NULL), &w->leaf);      /* y = w f^T + w: d sum(y) / dw = 3 + 3 + 1 */
        sy_expect_ok(sy_backward(&t, sy_sum(&t, y), err));
        for (int i = 0; i < 4; i++) sy_expect_near("dw", (double)w->w.dx[i], 7 * step, 0, 0);
        assert_int_equal(t.madds, 8 + 8);                                             /* forward, and towards the input */
        sy_tape_free(&t);
    }
    sy_arena_free(&arena);
    sy_engine_uninit(&e);
}

/* ---- parts that are computed again ---- */

struct counted { sy_weight *w; int runs, replays; };

static int some_part(sy_tape *t, void *arg, sy_tensor *const *in, sy_tensor *out[SY_MAX_PART_OUT])
{
    struct counted *c = arg;
    c->runs++;
    c->replays += t->replay;
    sy_tensor *h = sy_linear(t, in[0], c->w, NULL), *g = sy_mul(t, h, sy_exp(t, in[0]));
    out[0] = sy_add(t, g, in[0]);
    out[1] = in[1];                                          /* an input that passes through */
    out[2] = sy_sum(t, h);
    out[3] = out[0];                                         /* the same once more */
    return 4;
}

/* Kept or computed again: the same gradients of inputs and weight to the last bit, whichever outputs the loss reads; the same count of products; the part runs twice. */
static void parts_again(void **state)
{
    (void)state;
    enum { N = 6 };
    sy_engine e;
    engine(&e, 2);
    for (int reads = 1; reads < 8; reads++) {
        sy_real got[2][3 * N * N];
        uint64_t madds[2];
        for (int again = 0; again < 2; again++) {
            sy_tape t;
            sy_test_case("outputs %d, %s", reads, again ? "computed again" : "kept");
            sy_tape_init(&t, &e, true);
            sy_tensor *x = sy_sample_leaf(&t, -1, 1, SY_DIM(N, N)), *y = sy_sample_leaf(&t, -1, 1, SY_DIM(N, N)), *out[SY_MAX_PART_OUT];
            struct counted c = { .w = sy_sample_weight(&t, -1, 1, SY_DIM(N, N)) };
            sy_tensor *in[] = { sy_affine(&t, x, 2, 0), sy_affine(&t, y, 3, 0) };
            if (again) assert_int_equal(sy_recompute(&t, some_part, &c, 2, in, out), 4);
            else some_part(&t, &c, in, out);
            if (again) assert_ptr_equal(out[1], in[1]);
            assert_ptr_equal(out[0], out[3]);
            sy_tensor *loss = sy_sum(&t, sy_mul(&t, in[0], in[0]));      /* the input is read behind the part, too */
            if (reads & 1) loss = sy_add(&t, loss, sy_sum(&t, sy_mul(&t, out[0], out[1])));
            if (reads & 2) loss = sy_add(&t, loss, sy_mul(&t, out[2], out[2]));
            if (reads & 4) loss = sy_add(&t, loss, sy_sum(&t, sy_exp(&t, out[3])));
            sy_expect_ok(sy_backward(&t, loss, err));
            memset(got[again], 0, sizeof got[again]);
            memcpy(got[again], x->dx, N * N * sizeof(sy_real));
            if (y->dx) memcpy(got[again] + N * N, y->dx, N * N * sizeof(sy_real));
            memcpy(got[again] + 2 * N * N, c.w->dx, N * N * sizeof(sy_real));
            madds[again] = t.madds;
            assert_int_equal(c.runs, again ? 2 : 1);
            assert_int_equal(c.replays, again ? 1 : 0);
            assert_false(t.replay);
            sy_tape_free(&t);
        }
        sy_expect_same("gradients", got[1], got[0], sizeof got[0]);
        assert_int_equal(madds[1], madds[0]);
    }
    sy_engine_uninit(&e);
}

static int other_part(sy_tape *t, void *arg, sy_tensor *const *in, sy_tensor *out[SY_MAX_PART_OUT])
{
    (void)arg;
    out[0] = sy_exp(t, in[0]);
    if (t->replay) out[1] = sy_exp(t, out[0]);
    return t->replay ? 2 : 1;
}

static int failing_part(sy_tape *t, void *arg, sy_tensor *const *in, sy_tensor *out[SY_MAX_PART_OUT])
{
    (void)arg;
    out[0] = sy_add(t, in[0], sy_sum(t, in[0]));
    return 1;
}

static int leaf_part(sy_tape *t, void *arg, sy_tensor *const *in, sy_tensor *out[SY_MAX_PART_OUT])
{
    (void)t, (void)in;
    out[0] = arg;
    return 1;
}

static void parts_refused(void **state)
{
    (void)state;
    sy_engine e;
    engine(&e, 1);
    sy_tape t;
    sy_err e1 = { 0 }, *err = &e1;
    sy_tensor *out[SY_MAX_PART_OUT];
    sy_tape_init(&t, &e, true);
    sy_tensor *x = sy_sample_leaf(&t, -1, 1, SY_DIM(2, 3));
    assert_int_equal(sy_recompute(&t, other_part, NULL, 1, &x, out), 1);
    sy_expect_fail(sy_backward(&t, sy_sum(&t, out[0]), err), SY_ESHAPE, "made 1 outputs at first and 2 when it was computed again");
    sy_tape_reset(&t);
    x = sy_sample_leaf(&t, -1, 1, SY_DIM(2, 3));
    assert_int_equal(sy_recompute(&t, failing_part, NULL, 1, &x, out), 0);
    sy_expect_fail(sy_tape_status(&t, err), SY_ESHAPE, "add: ");
    sy_tape_reset(&t);
    x = sy_sample_leaf(&t, -1, 1, SY_DIM(2, 3));
    sy_real held[6];
    sy_tensor leaf = *x;
    leaf.dx = held;
    assert_int_equal(sy_recompute(&t, leaf_part, &leaf, 1, &x, out), 0);
    sy_expect_fail(sy_tape_status(&t, err), SY_ESHAPE, "is a parameter");
    sy_tape_free(&t);
    sy_engine_uninit(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_error_sticks), cmocka_unit_test(no_gradient), cmocka_unit_test(first_nan_is_named), cmocka_unit_test(warm_steps_allocate_nothing),
        cmocka_unit_test(failed_allocations), cmocka_unit_test(threads_change_no_bit), cmocka_unit_test(gradients_add),
        cmocka_unit_test(parts_again), cmocka_unit_test(parts_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
