/* kernels/ref.c - the kernels in plain C, for float and double; the oracle of the other sets and the set of the gradient checks.
 *
 * Every sum runs over its index ascending, one product and one addition at a time (the build says -ffp-contract=off). Loops are
 * ordered so that a compiler can use vectors where that changes no bit. */
#include <math.h>

#include "kernels/kernels.h"

#ifdef SY_DOUBLE
#define R(name) name
#else
#define R(name) name##f                 /* R(exp) is expf */
#endif

enum { NR = 8 };

/* ---- products ---- */

static void ref_gemm(int M, int N, int K, const sy_real *A, size_t ars, size_t aks, const sy_real *B, size_t bks, sy_real *C, size_t ldc, bool acc)
{
    for (int m = 0; m < M; m++) {
        sy_real *c = C + (size_t)m * ldc;
        if (!acc) for (int n = 0; n < N; n++) c[n] = 0;
        for (int k = 0; k < K; k++) {
            sy_real a = A[(size_t)m * ars + (size_t)k * aks];
            const sy_real *b = B + (size_t)k * bks;
            for (int n = 0; n < N; n++) c[n] += a * b[n];
        }
    }
}

static void ref_pack(int N, int K, const sy_real *W, size_t ldw, sy_real *panels)
{
    for (int n0 = 0; n0 < N; n0 += NR)
        for (int k = 0; k < K; k++)
            for (int j = 0; j < NR; j++) *panels++ = n0 + j < N ? W[(size_t)(n0 + j) * ldw + k] : 0;
}

static void ref_gemm_panels(int M, int N, int K, const sy_real *A, size_t ars, const sy_real *panels, sy_real *C, size_t ldc, bool acc)
{
    for (int n = 0; n < N; n += NR)
        ref_gemm(M, N - n < NR ? N - n : NR, K, A, ars, 1, panels + (size_t)n * (K > 0 ? K : 0), NR, C + n, ldc, acc);
}

static void ref_gemm_rows(int M, int N, int K, const sy_real *A, size_t ars, const sy_real *W, size_t ldw, sy_real *C, size_t ldc, bool acc)
{
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++) {
            const sy_real *a = A + (size_t)m * ars, *w = W + (size_t)n * ldw;
            sy_real *c = C + (size_t)m * ldc + n, s = acc ? *c : 0;
            for (int k = 0; k < K; k++) s += a[k] * w[k];
            *c = s;
        }
}

/* ---- element by element ---- */

static void ref_add(size_t n, const sy_real *a, const sy_real *b, sy_real *y)    { for (size_t i = 0; i < n; i++) y[i] = a[i] + b[i]; }
static void ref_mul(size_t n, const sy_real *a, const sy_real *b, sy_real *y)    { for (size_t i = 0; i < n; i++) y[i] = a[i] * b[i]; }
static void ref_muladd(size_t n, const sy_real *a, const sy_real *b, sy_real *y) { for (size_t i = 0; i < n; i++) y[i] += a[i] * b[i]; }
static void ref_axpy(size_t n, sy_real s, const sy_real *x, sy_real *y)          { for (size_t i = 0; i < n; i++) y[i] += s * x[i]; }
static void ref_scale(size_t n, sy_real s, const sy_real *x, sy_real *y)         { for (size_t i = 0; i < n; i++) y[i] = s * x[i]; }
static void ref_exp(size_t n, const sy_real *x, sy_real *y)                      { for (size_t i = 0; i < n; i++) y[i] = R(exp)(x[i]); }

#define SQRT_HALF   ((sy_real)0.70710678118654752440)
#define GAUSS_SCALE ((sy_real)0.39894228040143267794)    /* 1 / sqrt(2 pi) */
#define TANH_SCALE  ((sy_real)0.79788456080286535588)    /* sqrt(2 / pi) */
#define TANH_CUBE   ((sy_real)0.044715)

static sy_real sigmoid(sy_real x) { return 1 / (1 + R(exp)(-x)); }

/* The argument of the tanh form of GELU, Hendrycks and Gimpel, arXiv:1606.08415, and its slope. Beyond 16 the tanh is 1 to the
 * last bit; holding x there keeps its square finite. NaN passes. */
static sy_real held(sy_real x)       { return x > 16 ? 16 : x < -16 ? -16 : x; }
static sy_real tanh_arg(sy_real x)   { return TANH_SCALE * (x + TANH_CUBE * x * x * x); }
static sy_real tanh_slope(sy_real x) { return TANH_SCALE * (1 + 3 * TANH_CUBE * x * x); }

static sy_real act_f(sy_act a, sy_real x)
{
    switch (a) {
    case SY_ACT_SILU:      return x / (1 + R(exp)(-x));
    case SY_ACT_GELU:      return x * (sy_real)0.5 * (1 + R(erf)(x * SQRT_HALF));
    case SY_ACT_GELU_TANH: return x * (sy_real)0.5 * (1 + R(tanh)(tanh_arg(held(x))));
    case SY_ACT_RELU:      return x <= 0 ? 0 : x;
    case SY_ACT_RELU2:     return x <= 0 ? 0 : x * x;
    case SY_ACT_SIGMOID:   return sigmoid(x);
    case SY_ACT_TANH:      return R(tanh)(x);
    case SY_ACTS:          break;
    }
    return (sy_real)NAN;                /* no such activation: cannot be missed */
}

static sy_real act_slope(sy_act a, sy_real x)
{
    switch (a) {
    case SY_ACT_SILU:    { sy_real s = sigmoid(x); return s * (1 + x * (1 - s)); }
    case SY_ACT_GELU:      return (sy_real)0.5 * (1 + R(erf)(x * SQRT_HALF)) + x * GAUSS_SCALE * R(exp)(x * x * (sy_real)-0.5);
    case SY_ACT_GELU_TANH: {
        sy_real h = held(x), t = R(tanh)(tanh_arg(h));
        return (sy_real)0.5 * (1 + t) + (sy_real)0.5 * h * (1 - t * t) * tanh_slope(h);
    }
    case SY_ACT_RELU:      return x <= 0 ? 0 : x > 0 ? 1 : x;       /* NaN passes */
    case SY_ACT_RELU2:     return x <= 0 ? 0 : 2 * x;
    case SY_ACT_SIGMOID: { sy_real s = sigmoid(x); return s * (1 - s); }
    case SY_ACT_TANH:    { sy_real t = R(tanh)(x); return 1 - t * t; }
    case SY_ACTS:          break;
    }
    return (sy_real)NAN;
}

static void ref_act(sy_act a, size_t n, const sy_real *x, sy_real *y)
{
    for (size_t i = 0; i < n; i++) y[i] = act_f(a, x[i]);
}

static void ref_act_b(sy_act a, size_t n, const sy_real *x, const sy_real *dy, sy_real *dx)
{
    for (size_t i = 0; i < n; i++) dx[i] += act_slope(a, x[i]) * dy[i];
}

static void ref_glu(sy_act a, size_t n, const sy_real *g, const sy_real *u, sy_real *h)
{
    for (size_t i = 0; i < n; i++) h[i] = act_f(a, g[i]) * u[i];
}

static void ref_glu_b(sy_act a, size_t n, const sy_real *g, const sy_real *u, const sy_real *dh, sy_real *dg, sy_real *du)
{
    for (size_t i = 0; i < n; i++) {    /* dg may be g, du may be u: read all first */
        sy_real f = act_f(a, g[i]), s = act_slope(a, g[i]), h = dh[i];
        dg[i] = h * u[i] * s;
        du[i] = h * f;
    }
}

/* ---- along a row ---- */

static sy_real ref_dot(size_t n, const sy_real *a, const sy_real *b)
{
    sy_real s = 0;
    for (size_t i = 0; i < n; i++) s += a[i] * b[i];
    return s;
}

static sy_real ref_sum(size_t n, const sy_real *x)
{
    sy_real s = 0;
    for (size_t i = 0; i < n; i++) s += x[i];
    return s;
}

static sy_real ref_max(size_t n, const sy_real *x)
{
    sy_real m = x[0];
    for (size_t i = 1; i < n; i++) if (!(x[i] <= m) && m == m) m = x[i];      /* a NaN enters, and stays */
    return m;
}

/* y = exp(x - m), returns the sum. */
static sy_real exp_row(int n, sy_real m, const sy_real *x, sy_real *y)
{
    sy_real s = 0;
    for (int i = 0; i < n; i++) { y[i] = R(exp)(x[i] - m); s += y[i]; }
    return s;
}

static void ref_softmax(int n, const sy_real *x, sy_real *y)
{
    if (n <= 0) return;
    sy_real s = exp_row(n, ref_max((size_t)n, x), x, y);
    ref_scale((size_t)n, 1 / s, y, y);
}

static void ref_softmax_b(int n, const sy_real *y, const sy_real *dy, sy_real *dx)
{
    if (n <= 0) return;
    sy_real s = ref_dot((size_t)n, y, dy);
    for (int i = 0; i < n; i++) dx[i] += y[i] * (dy[i] - s);
}

static void ref_rmsnorm(int n, double eps, const sy_real *x, const sy_real *w, sy_real *y, sy_real *rinv)
{
    sy_real r = (sy_real)(1 / sqrt((double)ref_dot((size_t)n, x, x) / n + eps));
    for (int i = 0; i < n; i++) y[i] = w ? x[i] * r * w[i] : x[i] * r;
    *rinv = r;
}

static void ref_rmsnorm_b(int n, const sy_real *x, const sy_real *w, sy_real rinv, const sy_real *dy, sy_real *dx, sy_real *dw)
{
    sy_real s = 0;
    for (int i = 0; i < n; i++) s += (w ? w[i] * dy[i] : dy[i]) * x[i];
    sy_real c = s * rinv * rinv / (sy_real)n;
    for (int i = 0; i < n; i++) dx[i] += ((w ? w[i] * dy[i] : dy[i]) - x[i] * c) * rinv;
    if (dw) for (int i = 0; i < n; i++) dw[i] += dy[i] * (x[i] * rinv);
}

static void ref_rope(int half, const sy_real *c, const sy_real *s, const sy_real *x, sy_real *y)
{
    for (int i = 0; i < half; i++) {
        sy_real a = x[i], b = x[i + half];
        y[i]        = a * c[i] - b * s[i];
        y[i + half] = b * c[i] + a * s[i];
    }
}

static sy_real ref_attn_row(int n, sy_real scale, sy_real *s, sy_real *m, sy_real *l)
{
    if (n <= 0) return 1;
    ref_scale((size_t)n, scale, s, s);
    sy_real old = *m, top = ref_max((size_t)n, s);
    if (top <= old) top = old;
    if (old != old) top = old;
    if (top == -(sy_real)INFINITY) {    /* all hidden so far: no weight anywhere, and nothing to rescale */
        for (int i = 0; i < n; i++) s[i] = 0;
        return 1;
    }
    sy_real a = R(exp)(old - top), sum = exp_row(n, top, s, s);
    *m = top;
    *l = a * *l + sum;
    return a;
}

static void ref_attn_row_b(int n, sy_real scale, sy_real lse, sy_real dot, sy_real *s, sy_real *dp)
{
    for (int i = 0; i < n; i++) {
        s[i] = R(exp)(s[i] * scale - lse);
        dp[i] = s[i] * (dp[i] - dot) * scale;
    }
}

static sy_real ref_xent_row(int V, sy_real *logits, bool want_p)
{
    if (V <= 0) return -(sy_real)INFINITY;
    sy_real m = ref_max((size_t)V, logits), s = 0;
    if (want_p) {
        s = exp_row(V, m, logits, logits);
        ref_scale((size_t)V, 1 / s, logits, logits);
    } else for (int i = 0; i < V; i++) s += R(exp)(logits[i] - m);
    return m + R(log)(s);
}

static void ref_adamw(size_t n, const sy_adamw *a, sy_real *w, const sy_real *g, sy_real *m, sy_real *v)
{
    /* w (1 - lr decay) - lr (m / bias1) / (sqrt(v / bias2) + eps), with the constants drawn together in double */
    sy_real clip = (sy_real)a->clip, b1 = (sy_real)a->beta1, b2 = (sy_real)a->beta2, c1 = (sy_real)(1 - a->beta1), c2 = (sy_real)(1 - a->beta2);
    sy_real keep = (sy_real)(1 - a->lr * a->weight_decay), step = (sy_real)(a->lr / a->bias1), root = (sy_real)(1 / sqrt(a->bias2)), eps = (sy_real)a->eps;
    for (size_t i = 0; i < n; i++) {
        sy_real d = clip * g[i];
        m[i] = b1 * m[i] + c1 * d;
        v[i] = b2 * v[i] + c2 * (d * d);
        w[i] = keep * w[i] - step * m[i] / (R(sqrt)(v[i]) * root + eps);
    }
}

static double ref_sumsq(size_t n, const sy_real *x)
{
    double s = 0;
    for (size_t i = 0; i < n; i++) s += (double)x[i] * (double)x[i];
    return s;
}

static size_t ref_spin(size_t n, sy_real *x)
{
    enum { CHAINS = 32 };               /* enough for a compiler's vectors */
    sy_real c[CHAINS], b = *x;
    for (int j = 0; j < CHAINS; j++) c[j] = (sy_real)j;
    for (size_t i = 0; i < n; i++) for (int j = 0; j < CHAINS; j++) c[j] = c[j] * (sy_real)0.5 + b;
    *x = ref_sum(CHAINS, c);
    return n * CHAINS;
}

const sy_kernels sy_kernels_ref = {
    .name = "ref", .nr = NR,
    .gemm = ref_gemm, .pack = ref_pack, .gemm_panels = ref_gemm_panels, .gemm_rows = ref_gemm_rows,
    .add = ref_add, .axpy = ref_axpy, .scale = ref_scale, .mul = ref_mul, .muladd = ref_muladd,
    .exp = ref_exp, .act = ref_act, .act_b = ref_act_b, .glu = ref_glu, .glu_b = ref_glu_b,
    .dot = ref_dot, .sum = ref_sum, .max = ref_max, .softmax = ref_softmax, .softmax_b = ref_softmax_b,
    .rmsnorm = ref_rmsnorm, .rmsnorm_b = ref_rmsnorm_b, .rope = ref_rope, .attn_row = ref_attn_row, .attn_row_b = ref_attn_row_b, .xent_row = ref_xent_row,
    .adamw = ref_adamw, .sumsq = ref_sumsq, .spin = ref_spin,
};
