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

static const struct { sy_attn a; int T; const char *what; } cases[] = {
    { { 4, 2, 16, 0.25, 0, true }, 600, "three chunks, two heads a group" },
    { { 3, 3, 20, 0.3, 0, true }, 257, "one key in the second chunk" },
    { { 2, 1, 8, 0.4, 100, true }, 700, "a window of 100" },
    { { 4, 1, 64, 0.125, 1, true }, 130, "a window of one" },
    { { 2, 2, 33, 0.2, 300, true }, 513, "a window longer than a chunk, an odd head" },
    { { 2, 1, 24, 0.2, 0, false }, 300, "every query sees all" },
    { { 1, 1, 5, 0.5, 0, true }, 1, "one row" },
    { { 12, 1, 16, 0.25, 0, true }, 64, "twelve heads a group, one block" },
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

/* Values and, with dout, gradients by the formula, T x T, in double. */
static void slow(const sy_attn *a, int T, const sy_real *q, const sy_real *k, const sy_real *v, const sy_real *dout, sy_real *out, sy_real *dq, sy_real *dk, sy_real *dv)
{
    int hd = a->head_dim, g = a->n_heads / a->n_kv_heads;
    size_t ld = (size_t)(a->n_heads * hd), ldk = (size_t)(a->n_kv_heads * hd);
    double *p = malloc((size_t)T * sizeof *p), *dp = malloc((size_t)T * sizeof *dp), *gq = calloc((size_t)T * ld, sizeof *gq), *gk = calloc((size_t)T * ldk, sizeof *gk), *gv = calloc((size_t)T * ldk, sizeof *gv);
    assert_true(p && dp && gq && gk && gv);
    for (int h = 0; h < a->n_heads; h++)
        for (int i = 0; i < T; i++) {
            size_t oq = (size_t)i * ld + (size_t)(h * hd), ok = (size_t)(h / g * hd);
            double top = -INFINITY, sum = 0, dot = 0;
            for (int j = 0; j < T; j++) {
                bool sees = (!a->causal || j <= i) && (!a->window || j > i - a->window);
                p[j] = sees ? 0 : -INFINITY;
                for (int d = 0; sees && d < hd; d++) p[j] += a->scale * (double)q[oq + (size_t)d] * (double)k[(size_t)j * ldk + ok + (size_t)d];
                if (p[j] > top) top = p[j];
            }
            for (int j = 0; j < T; j++) sum += p[j] = exp(p[j] - top);
            for (int d = 0; d < hd; d++) {
                double o = 0;
                for (int j = 0; j < T; j++) o += p[j] / sum * (double)v[(size_t)j * ldk + ok + (size_t)d];
                out[oq + (size_t)d] = (sy_real)o;
            }
            if (!dout) continue;
            for (int j = 0; j < T; j++) {
                p[j] /= sum;
                dp[j] = 0;
                for (int d = 0; d < hd; d++) dp[j] += (double)dout[oq + (size_t)d] * (double)v[(size_t)j * ldk + ok + (size_t)d];
                dot += p[j] * dp[j];
            }
            for (int j = 0; j < T; j++)
                for (int d = 0; d < hd; d++) {
                    size_t at = (size_t)j * ldk + ok + (size_t)d;
                    double ds = a->scale * p[j] * (dp[j] - dot);
                    gv[at] += p[j] * (double)dout[oq + (size_t)d];
                    gq[oq + (size_t)d] += ds * (double)k[at];
                    gk[at] += ds * (double)q[oq + (size_t)d];
                }
        }
    for (size_t i = 0; dout && i < (size_t)T * ld; i++) dq[i] = (sy_real)gq[i];
    for (size_t i = 0; dout && i < (size_t)T * ldk; i++) { dk[i] = (sy_real)gk[i]; dv[i] = (sy_real)gv[i]; }
    free(p);
    free(dp);
    free(gq);
    free(gk);
    free(gv);
}

static void each_set(void (*fn)(sy_engine *e, int c), int threads)
{
    const sy_kernels *k;
    for (int s = 0; (k = sy_kernels_at(s)); s++)
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
    const sy_attn *a = &cases[c].a;
    int T = cases[c].T;
    size_t nq = (size_t)(T * a->n_heads * a->head_dim), nk = (size_t)(T * a->n_kv_heads * a->head_dim);
    sy_real *q = filled(nq, 0), *k = filled(nk, 1), *v = filled(nk, 2), *g = filled(nq, 3), *out = filled(nq, 0), *dq = filled(nq, 0), *dk = filled(nk, 0), *dv = filled(nk, 0);
    slow(a, T, q, k, v, g, out, dq, dk, dv);
    sy_tape t;
    sy_tape_init(&t, e, true);
    sy_tensor *tq = leaf(&t, q, T, a->n_heads * a->head_dim), *tk = leaf(&t, k, T, a->n_kv_heads * a->head_dim), *tv = leaf(&t, v, T, a->n_kv_heads * a->head_dim);
    sy_segment seg = { .n = T };
    sy_tensor *y = sy_attention(&t, tq, tk, tv, a, &seg, 1);
    sy_expect_ok(sy_tape_status(&t, err));
    double eps = sizeof(sy_real) == 8 ? 1e-13 : 2e-5;
    sy_expect_close("out", y->x, out, nq, eps, eps);
    sy_expect_ok(sy_backward_from(&t, y, g, err));
    sy_expect_close("dq", tq->dx, dq, nq, 4 * eps, 4 * eps);
    sy_expect_close("dk", tk->dx, dk, nk, 40 * eps, 4 * eps);
    sy_expect_close("dv", tv->dx, dv, nk, 40 * eps, 4 * eps);
    sy_tape_free(&t);
    free(q), free(k), free(v), free(g), free(out), free(dq), free(dk), free(dv);
}

static void values_and_gradients(void **state)
{
    (void)state;
    each_set(against_slow, 2);
}

/* Runs rows from .. to-1 of a document against a cache that holds nothing beyond position to-1 (what follows is NaN). */
static void with_cache(sy_engine *e, const sy_attn *a, const sy_real *q, const sy_real *k, const sy_real *v, int from, int to, sy_real *out)
{
    int hd = a->head_dim, KV = a->n_kv_heads;
    size_t ld = (size_t)(a->n_heads * hd), room = (size_t)to + 3, stride = (size_t)hd + 1, n = (size_t)KV * room * stride;
    sy_real *ck = malloc(n * sizeof *ck), *cv = malloc(n * sizeof *cv);                    /* [KV][position][hd + 1], an odd stride */
    assert_true(ck && cv);
    for (size_t i = 0; i < n; i++) ck[i] = cv[i] = (sy_real)NAN;
    for (int h = 0; h < KV; h++)
        for (int p = 0; p < to; p++) {
            size_t at = ((size_t)h * room + (size_t)p) * stride, row = ((size_t)p * (size_t)KV + (size_t)h) * (size_t)hd;
            memcpy(ck + at, k + row, (size_t)hd * sizeof *k);
            memcpy(cv + at, v + row, (size_t)hd * sizeof *v);
        }
    sy_tape t;
    sy_tape_init(&t, e, false);
    sy_segment seg = { .row = 0, .n = to - from, .pos0 = from, .k = ck, .v = cv, .stride = stride, .head_stride = room * stride };
    sy_tensor *tq = leaf(&t, q + (size_t)from * ld, to - from, (int)ld), *y = sy_attention(&t, tq, NULL, NULL, a, &seg, 1);
    sy_expect_ok(sy_tape_status(&t, err));
    memcpy(out + (size_t)from * ld, y->x, (size_t)(to - from) * ld * sizeof *out);
    sy_tape_free(&t);
    free(ck);
    free(cv);
}

static void same_bits(sy_engine *e, int c)
{
    const sy_attn *a = &cases[c].a;
    enum { BEFORE = 37 };                            /* rows of a neighbour packed in front */
    int T = cases[c].T, H = a->n_heads * a->head_dim, KV = a->n_kv_heads * a->head_dim;
    size_t nq = (size_t)(T * H), nk = (size_t)(T * KV);
    sy_real *q = filled(nq + (size_t)(BEFORE * H), 0), *k = filled(nk + (size_t)(BEFORE * KV), 1), *v = filled(nk + (size_t)(BEFORE * KV), 2), *one = malloc(nq * sizeof *one), *other = malloc(nq * sizeof *other);
    sy_real *q1 = q + BEFORE * H, *k1 = k + BEFORE * KV, *v1 = v + BEFORE * KV;
    assert_true(one && other);
    for (int h = 0; h < H; h += 3) v1[h % KV] = 0;   /* exact zeros: their sign must not depend on the path */

    sy_tape t;
    sy_tape_init(&t, e, true);
    sy_segment alone = { .n = T }, packed[] = { { .n = BEFORE }, { .row = BEFORE, .n = T } };
    sy_tensor *y = sy_attention(&t, leaf(&t, q1, T, H), leaf(&t, k1, T, KV), leaf(&t, v1, T, KV), a, &alone, 1);
    sy_expect_ok(sy_tape_status(&t, err));
    memcpy(one, y->x, nq * sizeof *one);
    y = sy_attention(&t, leaf(&t, q, T + BEFORE, H), leaf(&t, k, T + BEFORE, KV), leaf(&t, v, T + BEFORE, KV), a, packed, 2);
    sy_expect_ok(sy_tape_status(&t, err));
    sy_expect_same("packed behind a neighbour", y->x + BEFORE * H, one, nq * sizeof *one);
    sy_tape_free(&t);

    if (a->causal) {
        for (int p = 0; p < T; p++) with_cache(e, a, q1, k1, v1, p, p + 1, other);
        sy_expect_same("row by row", other, one, nq * sizeof *one);
        static const int parts[] = { 1, 64, 65, 130, 250, 256, 257, 511, 700 };
        int from = 0;
        for (size_t i = 0; i < SY_COUNT(parts) && from < T; i++) {
            int to = parts[i] < T ? parts[i] : T;
            with_cache(e, a, q1, k1, v1, from, to, other);
            from = to;
        }
        sy_expect_same("prefill in parts", other, one, nq * sizeof *one);
    }
    free(q), free(k), free(v), free(one), free(other);
}

static void equal_bits(void **state)
{
    (void)state;
    each_set(same_bits, 3);
}

/* Many requests in one call, each with its own cache, give what each gives alone. */
static void requests_together(void **state)
{
    (void)state;
    sy_engine e;
    sy_expect_ok(sy_engine_init(&e, 2, NULL, NULL, err));
    const sy_attn a = { 4, 2, 16, 0.25, 0, true };
    enum { N = 5, MOST = 300, H = 64, KV = 32 };
    static const int pos[N] = { 0, 299, 64, 255, 17 };
    sy_real *k = filled(MOST * KV, 1), *v = filled(MOST * KV, 2), *q = filled(N * H, 0), alone[N * H];
    sy_segment seg[N];
    for (int i = 0; i < N; i++) seg[i] = (sy_segment){ .row = i, .n = 1, .pos0 = pos[i], .k = k, .v = v, .stride = KV, .head_stride = 16 };
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
    static const struct { sy_attn a; sy_segment seg[2]; sy_status status; const char *says; } bad[] = {
        { { 3, 2, 4, 1, 0, true }, { { .n = 8 } }, SY_ESHAPE, "3 heads over 2 KV heads" },
        { { 2, 1, 4, 1, -1, true }, { { .n = 8 } }, SY_EARG, "window of -1" },
        { { 2, 1, 4, 1, 3, false }, { { .n = 8 } }, SY_EARG, "must be causal" },
        { { 2, 1, 4, 1, 0, true }, { { .n = 9 } }, SY_ESHAPE, "there are 8 rows" },
        { { 2, 1, 4, 1, 0, true }, { { .n = 5 }, { .row = 4, .n = 4 } }, SY_ESHAPE, "do not overlap" },
        { { 2, 1, 4, 1, 0, true }, { { .n = 8, .pos0 = 4 } }, SY_EARG, "position 4" },
        { { 2, 1, 4, 1, 0, true }, { { .n = 8, .k = x } }, SY_EARG, "no keys or no values" },
        { { 2, 1, 4, 1, 0, true }, { { .n = 8, .k = x, .v = x } }, SY_EUNSUP, "does not record" },
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
    const struct CMUnitTest tests[] = { cmocka_unit_test(values_and_gradients), cmocka_unit_test(equal_bits), cmocka_unit_test(requests_together), cmocka_unit_test(refusals) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
