/* Attention against a T x T loop in double, and the equal bits of training, prefill and decode, for every kernel set.
 *
 * Oracles: slow plain C in double for values and gradients (in double, gradients are test_grad's); another path of our own, bit for
 * bit, for packing, splits, caches and threads. */
#include "testing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/random.h"
#include "tensor/ops.h"

static const struct { sy_attn a; int T; bool sinks; const char *what; } cases[] = {
    { { 4, 2, 16, 0.25, 0, .causal = true }, 600, false, "three chunks, two heads a group" },
    { { 3, 3, 20, 0.3, 0, .causal = true }, 257, false, "one key in the second chunk" },
    { { 2, 1, 8, 0.4, 100, .causal = true }, 700, false, "a window of 100" },
    { { 4, 1, 64, 0.125, 1, .causal = true }, 130, false, "a window of one" },
    { { 2, 2, 33, 0.2, 300, .causal = true }, 513, false, "a window longer than a chunk, an odd head" },
    { { 2, 1, 24, 0.2, 0, .causal = false }, 300, false, "every query sees all" },
    { { 1, 1, 5, 0.5, 0, .causal = true }, 1, false, "one row" },
    { { 12, 1, 16, 0.25, 0, .causal = true }, 64, false, "twelve heads a group, one block" },
    { { 4, 2, 16, 0.25, 0, .causal = true }, 600, true, "sinks" },
    { { 2, 1, 8, 0.4, 100, .causal = true, .softcap = 1.5 }, 300, true, "sinks, a cap and a window" },
    { { 3, 3, 20, 0.3, 0, .causal = true, .value_dim = 12 }, 300, false, "values narrower than keys" },
    { { 4, 1, 24, 0.3, 0, .causal = true, .value_dim = 40, .softcap = 2 }, 270, false, "values wider than keys, a cap" },
    { { 2, 1, 24, 0.2, 0, .causal = false, .value_dim = 8 }, 130, true, "every query sees all, sinks" },
};

static void fill(sy_real *x, size_t n, int what)
{
    uint64_t key = sy_key(sy_test_seed(), SY_FOR_TEST, 31, (uint64_t)what, 0);
    for (size_t i = 0; i < n; i++) x[i] = (sy_real)(3 * sy_draw(key, i, 0) - 1.5);
}

static sy_real *filled(size_t n, int what)
{
    sy_real *x = malloc((n ? n : 1) * sizeof *x);
    assert_non_null(x);
    fill(x, n, what);
    return x;
}

/* A tensor of the tape with given values that wants a gradient. */
static sy_tensor *leaf(sy_tape *t, const sy_real *x, int rows, int cols)
{
    sy_tensor *a = sy_new(t, SY_DIM(rows, cols));
    sy_expect_ok(sy_tape_status(t, err));
    memcpy(a->x, x, (size_t)rows * (size_t)cols * sizeof *x);
    a->wants = true;
    return a;
}

static int width_of_value(const sy_attn *a) { return a->value_dim ? a->value_dim : a->head_dim; }

/* Values and gradients by the formula, T x T, in double. z [H]: sinks, or NULL. */
static void slow(const sy_attn *a, int T, const sy_real *q, const sy_real *k, const sy_real *v, const sy_real *z, const sy_real *dout, sy_real *out, sy_real *dq, sy_real *dk, sy_real *dv, sy_real *dz)
{
    int hd = a->head_dim, vd = width_of_value(a), g = a->n_heads / a->n_kv_heads;
    size_t ld = (size_t)(a->n_heads * hd), ldk = (size_t)(a->n_kv_heads * hd), ldo = (size_t)(a->n_heads * vd), ldv = (size_t)(a->n_kv_heads * vd);
    double *p = malloc((size_t)T * sizeof *p), *dp = malloc((size_t)T * sizeof *dp), *gq = calloc((size_t)T * ld, sizeof *gq), *gk = calloc((size_t)T * ldk, sizeof *gk), *gv = calloc((size_t)T * ldv, sizeof *gv);
    double *slope = malloc((size_t)T * sizeof *slope);
    assert_true(p && dp && gq && gk && gv && slope);
    for (int h = 0; h < a->n_heads; h++) {
        double gz = 0;
        for (int i = 0; i < T; i++) {
            size_t oq = (size_t)i * ld + (size_t)(h * hd), ok = (size_t)(h / g * hd), oo = (size_t)i * ldo + (size_t)(h * vd), ov = (size_t)(h / g * vd);
            double top = z ? (double)z[h] : -INFINITY, sum = 0, dot = 0;
            for (int j = 0; j < T; j++) {
                bool sees = (!a->causal || j <= i) && (!a->window || j > i - a->window);
                p[j] = sees ? 0 : -INFINITY;
                slope[j] = a->scale;
                for (int d = 0; sees && d < hd; d++) p[j] += a->scale * (double)q[oq + (size_t)d] * (double)k[(size_t)j * ldk + ok + (size_t)d];
                if (sees && a->softcap != 0) {
                    double th = tanh(p[j] / a->softcap);
                    p[j] = a->softcap * th;
                    slope[j] = a->scale * (1 - th * th);
                }
                if (p[j] > top) top = p[j];
            }
            if (z) sum = exp((double)z[h] - top);
            for (int j = 0; j < T; j++) sum += p[j] = exp(p[j] - top);
            for (int d = 0; d < vd; d++) {
                double o = 0;
                for (int j = 0; j < T; j++) o += p[j] / sum * (double)v[(size_t)j * ldv + ov + (size_t)d];
                out[oo + (size_t)d] = (sy_real)o;
            }
            for (int j = 0; j < T; j++) {
                p[j] /= sum;
                dp[j] = 0;
                for (int d = 0; d < vd; d++) dp[j] += (double)dout[oo + (size_t)d] * (double)v[(size_t)j * ldv + ov + (size_t)d];
                dot += p[j] * dp[j];
            }
            for (int j = 0; j < T; j++) {
                double ds = slope[j] * p[j] * (dp[j] - dot);
                for (int d = 0; d < vd; d++) gv[(size_t)j * ldv + ov + (size_t)d] += p[j] * (double)dout[oo + (size_t)d];
                for (int d = 0; d < hd; d++) {
                    size_t at = (size_t)j * ldk + ok + (size_t)d;
                    gq[oq + (size_t)d] += ds * (double)k[at];
                    gk[at] += ds * (double)q[oq + (size_t)d];
                }
            }
            if (z) gz -= exp((double)z[h] - top) / sum * dot;
        }
        dz[h] = (sy_real)gz;
    }
    for (size_t i = 0; i < (size_t)T * ld; i++) dq[i] = (sy_real)gq[i];
    for (size_t i = 0; i < (size_t)T * ldk; i++) dk[i] = (sy_real)gk[i];
    for (size_t i = 0; i < (size_t)T * ldv; i++) dv[i] = (sy_real)gv[i];
    free(p);
    free(dp);
    free(gq);
    free(gk);
    free(gv);
    free(slope);
}

static void each_set(void (*fn)(sy_engine *e, int c), int threads)
{
    const sy_kernels *k;
    for (int s = 0; (k = sy_kernels_at(s)) && !k->gemm16; s++)
        for (int c = 0; c < (int)SY_COUNT(cases); c++) {
            sy_engine e;
            sy_expect_ok(sy_engine_init(&e, threads, k->name, NULL, err));
            sy_test_case("%s, %s", cases[c].what, k->name);
            fn(&e, c);
            sy_engine_uninit(&e);
        }
}

static void against_slow(sy_engine *e, int c)
{
    sy_attn a = cases[c].a;
    int T = cases[c].T, H = a.n_heads, hd = a.head_dim, vd = width_of_value(&a);
    size_t nq = (size_t)(T * H * hd), nk = (size_t)(T * a.n_kv_heads * hd), nv = (size_t)(T * a.n_kv_heads * vd), no = (size_t)(T * H * vd);
    sy_real *q = filled(nq, 0), *k = filled(nk, 1), *v = filled(nv, 2), *g = filled(no, 3), *out = filled(no, 0), *dq = filled(nq, 0), *dk = filled(nk, 0), *dv = filled(nv, 0);
    sy_real *z = filled((size_t)H, 4), *dz = filled((size_t)H, 0);
    slow(&a, T, q, k, v, cases[c].sinks ? z : NULL, g, out, dq, dk, dv, dz);
    sy_tape t;
    sy_tape_init(&t, e, true);
    sy_tensor *tq = leaf(&t, q, T, H * hd), *tk = leaf(&t, k, T, a.n_kv_heads * hd), *tv = leaf(&t, v, T, a.n_kv_heads * vd);
    if (cases[c].sinks) a.sinks = leaf(&t, z, 1, H);
    sy_segment seg = { .n = T };
    sy_tensor *y = sy_attention(&t, tq, tk, tv, &a, &seg, 1);
    sy_expect_ok(sy_tape_status(&t, err));
    double eps = sizeof(sy_real) == 8 ? 1e-13 : 2e-5;
    sy_expect_close("out", y->x, out, no, eps, eps);
    sy_expect_ok(sy_backward_from(&t, y, g, err));
    sy_expect_close("dq", tq->dx, dq, nq, 4 * eps, 4 * eps);
    sy_expect_close("dk", tk->dx, dk, nk, 40 * eps, 4 * eps);
    sy_expect_close("dv", tv->dx, dv, nv, 40 * eps, 4 * eps);
    if (a.sinks) sy_expect_close("dsinks", a.sinks->dx, dz, (size_t)H, 40 * eps, 4 * eps);
    sy_tape_free(&t);
    free(q), free(k), free(v), free(g), free(out), free(dq), free(dk), free(dv), free(z), free(dz);
}

static void values_and_gradients(void **state)
{
    (void)state;
    each_set(against_slow, 2);
}

/* A cache [KV][position][stride] of the first n rows of x [.., KV, w]; NaN elsewhere. */
static sy_real *cache_of(const sy_real *x, int KV, int w, int n, size_t room, size_t stride)
{
    size_t all = (size_t)KV * room * stride;
    sy_real *c = malloc(all * sizeof *c);
    assert_non_null(c);
    for (size_t i = 0; i < all; i++) c[i] = (sy_real)NAN;
    for (int h = 0; h < KV; h++)
        for (int p = 0; p < n; p++) memcpy(c + ((size_t)h * room + (size_t)p) * stride, x + ((size_t)p * (size_t)KV + (size_t)h) * (size_t)w, (size_t)w * sizeof *x);
    return c;
}

/* Runs rows from .. to-1 of a document against a cache that holds nothing beyond position to-1 (what follows is NaN). */
static void with_cache(sy_engine *e, const sy_attn *how, const sy_real *q, const sy_real *k, const sy_real *v, const sy_real *z, int from, int to, sy_real *out)
{
    sy_attn a = *how;
    int hd = a.head_dim, vd = width_of_value(&a), KV = a.n_kv_heads;
    size_t ld = (size_t)(a.n_heads * hd), ldo = (size_t)(a.n_heads * vd), room = (size_t)to + 3, kw = (size_t)hd + 1, vw = (size_t)vd + 2;     /* odd strides */
    sy_real *ck = cache_of(k, KV, hd, to, room, kw), *cv = cache_of(v, KV, vd, to, room, vw);
    sy_tape t;
    sy_tape_init(&t, e, false);
    if (z) a.sinks = leaf(&t, z, 1, a.n_heads);
    sy_segment seg = { .row = 0, .n = to - from, .pos0 = from, .k = ck, .v = cv, .stride = kw, .head_stride = room * kw, .v_stride = vw, .v_head_stride = room * vw };
    sy_tensor *tq = leaf(&t, q + (size_t)from * ld, to - from, (int)ld), *y = sy_attention(&t, tq, NULL, NULL, &a, &seg, 1);
    sy_expect_ok(sy_tape_status(&t, err));
    memcpy(out + (size_t)from * ldo, y->x, (size_t)(to - from) * ldo * sizeof *out);
    sy_tape_free(&t);
    free(ck);
    free(cv);
}

static void same_bits(sy_engine *e, int c)
{
    sy_attn a = cases[c].a;
    enum { BEFORE = 37 };                            /* rows of a neighbour packed in front */
    int T = cases[c].T, H = a.n_heads * a.head_dim, KV = a.n_kv_heads * a.head_dim, HV = a.n_heads * width_of_value(&a), VV = a.n_kv_heads * width_of_value(&a);
    size_t no = (size_t)(T * HV);
    sy_real *q = filled((size_t)((T + BEFORE) * H), 0), *k = filled((size_t)((T + BEFORE) * KV), 1), *v = filled((size_t)((T + BEFORE) * VV), 2), *one = malloc(no * sizeof *one), *other = malloc(no * sizeof *other);
    sy_real *q1 = q + BEFORE * H, *k1 = k + BEFORE * KV, *v1 = v + BEFORE * VV, *sinks = filled((size_t)a.n_heads, 4), *z = cases[c].sinks ? sinks : NULL;
    assert_true(one && other);
    for (int h = 0; h < HV; h += 3) v1[h % VV] = 0;  /* exact zeros: their sign must not depend on the path */

    sy_tape t;
    sy_tape_init(&t, e, true);
    if (z) a.sinks = leaf(&t, z, 1, a.n_heads);
    sy_segment alone = { .n = T }, packed[] = { { .n = BEFORE }, { .row = BEFORE, .n = T } };
    sy_tensor *y = sy_attention(&t, leaf(&t, q1, T, H), leaf(&t, k1, T, KV), leaf(&t, v1, T, VV), &a, &alone, 1);
    sy_expect_ok(sy_tape_status(&t, err));
    memcpy(one, y->x, no * sizeof *one);
    y = sy_attention(&t, leaf(&t, q, T + BEFORE, H), leaf(&t, k, T + BEFORE, KV), leaf(&t, v, T + BEFORE, VV), &a, packed, 2);
    sy_expect_ok(sy_tape_status(&t, err));
    sy_expect_same("packed behind a neighbour", y->x + BEFORE * HV, one, no * sizeof *one);
    sy_tape_free(&t);

    if (a.causal) {
        for (int p = 0; p < T; p++) with_cache(e, &cases[c].a, q1, k1, v1, z, p, p + 1, other);
        sy_expect_same("row by row", other, one, no * sizeof *one);
        static const int parts[] = { 1, 64, 65, 130, 250, 256, 257, 511, 700 };
        int from = 0;
        for (size_t i = 0; i < SY_COUNT(parts) && from < T; i++) {
            int to = parts[i] < T ? parts[i] : T;
            with_cache(e, &cases[c].a, q1, k1, v1, z, from, to, other);
            from = to;
        }
        sy_expect_same("prefill in parts", other, one, no * sizeof *one);
    }
    free(q), free(k), free(v), free(one), free(other), free(sinks);
}

static void equal_bits(void **state)
{
    (void)state;
    each_set(same_bits, 3);
}

/* Gradients of q, k, v one behind the other, on so many threads. */
static sy_real *gradients(const char *kernels, int c, int threads, size_t *n)
{
    sy_engine e;
    sy_attn a = cases[c].a;
    int T = cases[c].T, H = a.n_heads * a.head_dim, KV = a.n_kv_heads * a.head_dim, HV = a.n_heads * width_of_value(&a), VV = a.n_kv_heads * width_of_value(&a);
    size_t nq = (size_t)(T * H), nk = (size_t)(T * KV), nv = (size_t)(T * VV);
    sy_real *q = filled(nq, 0), *k = filled(nk, 1), *v = filled(nv, 2), *g = filled((size_t)(T * HV), 3), *z = filled((size_t)a.n_heads, 4), *all = malloc((nq + nk + nv) * sizeof *all);
    sy_expect_ok(sy_engine_init(&e, threads, kernels, NULL, err));
    sy_tape t;
    sy_tape_init(&t, &e, true);
    if (cases[c].sinks) a.sinks = leaf(&t, z, 1, a.n_heads);
    sy_segment seg = { .n = T };
    sy_tensor *tq = leaf(&t, q, T, H), *tk = leaf(&t, k, T, KV), *tv = leaf(&t, v, T, VV);
    sy_tensor *y = sy_attention(&t, tq, tk, tv, &a, &seg, 1);
    sy_expect_ok(sy_tape_status(&t, err));
    sy_expect_ok(sy_backward_from(&t, y, g, err));
    memcpy(all, tq->dx, nq * sizeof *all);
    memcpy(all + nq, tk->dx, nk * sizeof *all);
    memcpy(all + nq + nk, tv->dx, nv * sizeof *all);
    *n = nq + nk + nv;
    sy_tape_free(&t);
    sy_engine_uninit(&e);
    free(q), free(k), free(v), free(g), free(z);
    return all;
}

/* One document with few KV heads is split by keys and by queries once there are threads enough; each sum keeps its order. */
static void gradients_on_threads(void **state)
{
    const sy_kernels *k;
    (void)state;
    for (int s = 0; (k = sy_kernels_at(s)) && !k->gemm16; s++)
        for (int c = 0; c < (int)SY_COUNT(cases); c++) {
            size_t n;
            sy_real *one = gradients(k->name, c, 1, &n);
            sy_test_case("%s, %s, 3 threads", cases[c].what, k->name);
            sy_real *more = gradients(k->name, c, 3, &n);
            sy_expect_same("gradients", more, one, n * sizeof *one);
            free(more);
            free(one);
        }
}

/* Many requests in one call, each with its own cache, give what each gives alone. */
static void requests_together(void **state)
{
    (void)state;
    sy_engine e;
    sy_expect_ok(sy_engine_init(&e, 2, NULL, NULL, err));
    const sy_attn a = { 4, 2, 16, 0.25, 0, .causal = true };
    enum { N = 5, MOST = 300, H = 64, KV = 32 };
    static const int pos[N] = { 0, 299, 64, 255, 17 };
    sy_real *k = filled(MOST * KV, 1), *v = filled(MOST * KV, 2), *q = filled(N * H, 0), alone[N * H];
    sy_segment seg[N];
    for (int i = 0; i < N; i++) seg[i] = (sy_segment){ .row = i, .n = 1, .pos0 = pos[i], .k = k, .v = v, .stride = KV, .head_stride = 16, .v_stride = KV, .v_head_stride = 16 };
    sy_tape t;
    sy_tape_init(&t, &e, false);
    for (int i = 0; i < N; i++) {
        sy_segment s = seg[i];
        s.row = 0;
        sy_tensor *y = sy_attention(&t, leaf(&t, q + i * H, 1, H), NULL, NULL, &a, &s, 1);
        sy_expect_ok(sy_tape_status(&t, err));
        memcpy(alone + i * H, y->x, H * sizeof *alone);
    }
    sy_tensor *y = sy_attention(&t, leaf(&t, q, N, H), NULL, NULL, &a, seg, N);
    sy_expect_ok(sy_tape_status(&t, err));
    sy_expect_same("requests together", y->x, alone, sizeof alone);
    sy_tape_free(&t);
    free(q), free(k), free(v);
    sy_engine_uninit(&e);
}

static void refusals(void **state)
{
    (void)state;
    sy_engine e;
    sy_expect_ok(sy_engine_init(&e, 1, NULL, NULL, err));
    static sy_real x[8 * 8];
    static sy_tensor three = { .x = x, .nd = 1, .dim = { 3 } };
    static const struct { sy_attn a; sy_segment seg[2]; sy_status status; const char *says; } bad[] = {
        { { 3, 2, 4, 1, 0, .causal = true }, { { .n = 8 } }, SY_ESHAPE, "3 heads over 2 KV heads" },
        { { 2, 1, 4, 1, -1, .causal = true }, { { .n = 8 } }, SY_EARG, "window of -1" },
        { { 2, 1, 4, 1, 3, .causal = false }, { { .n = 8 } }, SY_EARG, "must be causal" },
        { { 2, 1, 4, 1, 0, .causal = true }, { { .n = 9 } }, SY_ESHAPE, "there are 8 rows" },
        { { 2, 1, 4, 1, 0, .causal = true }, { { .n = 5 }, { .row = 4, .n = 4 } }, SY_ESHAPE, "do not overlap" },
        { { 2, 1, 4, 1, 0, .causal = true }, { { .n = 8, .pos0 = 4 } }, SY_EARG, "position 4" },
        { { 2, 1, 4, 1, 0, .causal = true }, { { .n = 8, .k = x } }, SY_EARG, "no keys or no values" },
        { { 2, 1, 4, 1, 0, .causal = true }, { { .n = 8, .k = x, .v = x } }, SY_EUNSUP, "does not record" },
        { { 2, 1, 4, 1, 0, .causal = true, .value_dim = 3 }, { { .n = 8 } }, SY_ESHAPE, "values are 8 x 4, they must be 8 x 3" },
        { { 2, 1, 4, 1, 0, .causal = true, .softcap = -1 }, { { .n = 8 } }, SY_EARG, "capped at -1" },
        { { 2, 1, 4, 1, 0, .causal = true, .sinks = &three }, { { .n = 8 } }, SY_ESHAPE, "3 sinks for 2 heads" },
    };
    for (size_t i = 0; i < SY_COUNT(bad); i++) {
        sy_tape t;
        sy_tape_init(&t, &e, true);
        sy_test_case("refusal %zu", i);
        sy_tensor *q = leaf(&t, x, 8, 8), *k = leaf(&t, x, 8, 4), *v = leaf(&t, x, 8, 4);
        sy_attention(&t, q, k, v, &bad[i].a, bad[i].seg, bad[i].seg[1].n ? 2 : 1);
        sy_err e1 = { 0 }, *err = &e1;
        sy_expect_fail(sy_tape_status(&t, err), bad[i].status, bad[i].says);
        sy_tape_free(&t);
    }
    sy_engine_uninit(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(values_and_gradients), cmocka_unit_test(equal_bits), cmocka_unit_test(gradients_on_threads), cmocka_unit_test(requests_together), cmocka_unit_test(refusals) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
