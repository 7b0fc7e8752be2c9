/* kernels/vector.h - the kernels once more, over vectors of W floats; a set's file says what a vector is and includes this last.
 *
 * Before the include a set defines its name as SET, W, MR (rows of a tile), WIDE(mr) (panels of a tile of mr rows), the types vec (W
 * floats) and mask (W lanes), and these, all static inline:
 *   m_first(n): the first n lanes, n clipped to 0..W;  m_or, m_any
 *   v_load v_store, v_loadm v_storem (lanes off: zero, untouched), v_set, v_add v_sub v_mul v_div v_sqrt, v_fma = a b + c, v_fnma = c - a b
 *   v_min v_max (the second operand when either is NaN), v_lt v_le v_nan -> mask, v_sel(m, a, b) = m ? a : b, v_abs, v_copysign(of, sign)
 *   v_round (to nearest), v_pow2(x, n) = x 2^n for integral n in -126..128, v_hsum v_hmax (a fixed tree)
 *   v_columns(w, ld, out): the W x W block at w, rows ld apart; out[k] = column k
 *   v_squares(x, d) : d[0..1] += squares of the lower, upper half of x, in double;  d_hsum(d)
 *
 * Products. A tile is mr rows x NR = 2 W columns; its sums live in registers and move over K blocks of KC through C, which is exact,
 * so each output is one chain of fused multiply-adds with k ascending, in every path below. What callers should know:
 *   - M in multiples of MR and N in multiples of NR waste nothing; other sizes cost only their own tail, rows are never padded.
 *   - a call works in blocks of MC x NC outputs, so a tile of the caller should be at least that: forward from panels 128 x 256 or
 *     512 x 128, dX and dW 256 x 256 or larger (both pack B, dW packs A too: each is read again for every NC columns or MC_ROWS rows).
 *   - up to MR rows against panels or rows of W run with k whole; below IN_PLACE rows dX packs nothing.
 * A product uses 400 KiB of stack. */

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

enum { NR = 2 * W, KC = 256, MC = 16 * MR, MC_ROWS = 4 * MC, NC = 256, IN_PLACE = 24 };
enum { STRIP = KC * MR + 16, PANEL = KC * NR + 16 };    /* 64 bytes more than they hold: strips and panels must not share cache sets */

/* Asks for a line that will be read soon; an address past the end of its array harms nothing. The hardware follows four streams well and
 * one, or sixteen rows that end soon, badly. */
INLINE void v_ahead(const float *p) { __builtin_prefetch(p, 0, 2); }

static int least(int a, int b) { return a < b ? a : b; }

/* ---- products ---- */

/* C[mr,n] (+)= A[mr,K] B[K,n], n <= panels * NR. Panel p of B starts at B + p * next and has rows bks apart; `bare` B has no
 * readable columns past n. */
INLINE void tile(const int mr, const int panels, const bool bare, int K, const float *A, size_t ars, size_t aks,
                 const float *B, size_t bks, size_t next, float *C, size_t ldc, bool acc, int n)
{
    vec c[8][8];
    mask on[8];
    const bool whole = n == panels * NR, far = K > KC;       /* k whole: few rows, so B comes from far away */
    UNROLL for (int j = 0; j < 2 * panels; j++) on[j] = m_first(n - j * W);
    UNROLL for (int i = 0; i < mr; i++)
        UNROLL for (int j = 0; j < 2 * panels; j++)
            c[i][j] = !acc ? v_set(0) : whole ? v_load(C + (size_t)i * ldc + j * W) : v_loadm(on[j], C + (size_t)i * ldc + j * W);
    if (mr == MR) UNROLL for (int i = 0; i < mr; i++)        /* the strip below comes next: its C is on the way while this one computes */
        UNROLL for (int j = 0; j < 2; j++) v_ahead(C + (size_t)(mr + i) * ldc + j * W);
    for (int k = 0; k < K; k++) {
        vec b[8];
        if (!bare && mr > 2 && far) UNROLL for (int j = 0; j < 2 * panels; j++) v_ahead(B + (size_t)(j / 2) * next + (size_t)(j % 2) * W + 128 * NR);
        UNROLL for (int j = 0; j < 2 * panels; j++) {
            const float *p = B + (size_t)(j / 2) * next + (size_t)(j % 2) * W;
            b[j] = bare ? v_loadm(on[j], p) : v_load(p);
        }
        UNROLL for (int i = 0; i < mr; i++) {
            vec a = v_set(A[(size_t)i * ars]);
            UNROLL for (int j = 0; j < 2 * panels; j++) c[i][j] = v_fma(a, b[j], c[i][j]);
        }
        A += aks;
        B += bks;
    }
    UNROLL for (int i = 0; i < mr; i++)
        UNROLL for (int j = 0; j < 2 * panels; j++)
            if (whole) v_store(C + (size_t)i * ldc + j * W, c[i][j]);
            else v_storem(on[j], C + (size_t)i * ldc + j * W, c[i][j]);
}

/* A strip of mr <= MR rows against n columns: the widest tiles that there are, then single panels. */
typedef void strip_fn(int n, int K, const float *A, size_t ars, const float *B, size_t bks, size_t next, float *C, size_t ldc, bool acc);

#define STRIP_FN(name, mr, bare, ARS, AKS, BKS)                                                                               \
    static void name##mr(int n, int K, const float *A, size_t ars, const float *B, size_t bks, size_t next, float *C, size_t ldc, bool acc) \
    {                                                                                                                         \
        (void)ars; (void)bks;                                                                                                 \
        for (; WIDE(mr) > 1 && n > (WIDE(mr) - 1) * NR; n -= WIDE(mr) * NR, B += WIDE(mr) * next, C += WIDE(mr) * NR)         \
            tile(mr, WIDE(mr), bare, K, A, ARS, AKS, B, BKS, next, C, ldc, acc, least(n, WIDE(mr) * NR));                     \
        for (; n > 0; n -= NR, B += next, C += NR) tile(mr, 1, bare, K, A, ARS, AKS, B, BKS, next, C, ldc, acc, least(n, NR)); \
    }
#define STRIPS(name, ...) FOR_ROWS(STRIP_FN, name, __VA_ARGS__) static strip_fn *const name[] = { NULL, ROWS_LIST(name) };
#if MR == 8
#define FOR_ROWS(F, name, ...) F(name, 1, __VA_ARGS__) F(name, 2, __VA_ARGS__) F(name, 3, __VA_ARGS__) F(name, 4, __VA_ARGS__) \
                               F(name, 5, __VA_ARGS__) F(name, 6, __VA_ARGS__) F(name, 7, __VA_ARGS__) F(name, 8, __VA_ARGS__)
#define ROWS_LIST(name) name##1, name##2, name##3, name##4, name##5, name##6, name##7, name##8
#else
#define FOR_ROWS(F, name, ...) F(name, 1, __VA_ARGS__) F(name, 2, __VA_ARGS__) F(name, 3, __VA_ARGS__) F(name, 4, __VA_ARGS__) \
                               F(name, 5, __VA_ARGS__) F(name, 6, __VA_ARGS__)
#define ROWS_LIST(name) name##1, name##2, name##3, name##4, name##5, name##6
#endif

STRIPS(strip_rows,   false, ars, 1, NR)                 /* rows of A as they lie, B in panels */
STRIPS(strip_packed, false, 1, MR, NR)                  /* A packed [k][MR] */
STRIPS(strip_bare,   true,  ars, 1, bks)                /* B as it lies */

/* Rows of A as they lie against B in strips of columns `step` apart: cuts M into strips of nearly equal height. */
static void many_strips(strip_fn *const *strip, int M, int n, int K, const float *A, size_t ars, const float *B, size_t bks, size_t next, float *C, size_t ldc, bool acc)
{
    for (int left = (M + MR - 1) / MR, mr; left > 0; left--, M -= mr, A += mr * ars, C += mr * ldc) {
        mr = (M + left - 1) / left;
        strip[mr](n, K, A, ars, B, bks, next, C, ldc, acc);
    }
}

static void clear(int M, int N, float *C, size_t ldc)
{
    for (int m = 0; m < M; m++) memset(C + (size_t)m * ldc, 0, (size_t)(N > 0 ? N : 0) * sizeof *C);
}

static void vec_gemm_panels(int M, int N, int K, const float *A, size_t ars, const float *panels, float *C, size_t ldc, bool acc)
{
    if (K <= 0) { if (!acc) clear(M, N, C, ldc); return; }
    size_t next = (size_t)K * NR;
    if (M <= MR) { many_strips(strip_rows, M, N, K, A, ars, panels, NR, next, C, ldc, acc); return; }
    for (int n0 = 0; n0 < N; n0 += NC)              /* C [MC,NC] stays in the second cache while k moves, B [KC,NR] in the first while m moves */
        for (int m = 0; m < M; m += MC)
            for (int k = 0; k < K; k += KC)
                for (int n = n0; n < N && n < n0 + NC; n += NR)
                    many_strips(strip_rows, least(M - m, MC), least(N - n, NR), least(K - k, KC), A + (size_t)m * ars + k, ars,
                                panels + (size_t)(n / NR) * next + (size_t)k * NR, NR, 0, C + (size_t)m * ldc + n, ldc, acc || k);
}

/* B [K,n] as it lies -> panels of [K][NR], PANEL apart, lanes past n zero. */
static void pack_columns(int n, int K, const float *B, size_t bks, float *panels)
{
    mask lo = m_first(n % NR), hi = m_first(n % NR - W);
    for (int k = 0; k < K; k++, panels += NR, B += bks) {
        float *to = panels;
        int j = 0;
        for (; j + NR <= n; j += NR, to += PANEL) { v_store(to, v_load(B + j)); v_store(to + W, v_load(B + j + W)); }
        if (j < n) { v_store(to, v_loadm(lo, B + j)); v_store(to + W, v_loadm(hi, B + j + W)); }
    }
}

/* A[m*ars + k*aks] -> strips of [K][MR], STRIP apart. Lanes past M in the last strip are left as they are; nobody reads them. */
static void pack_rows(int M, int K, const float *A, size_t ars, size_t aks, float *strips)
{
    for (int k = 0; k < K; k++, A += aks, strips += MR) {
        int m = 0;
        if (ars == 1) for (; m + MR <= M; m += MR) memcpy(strips + (size_t)(m / MR) * STRIP, A + m, MR * sizeof *A);
        for (; m < M; m++) strips[(size_t)(m / MR) * STRIP + m % MR] = A[(size_t)m * ars];
    }
}

/* M <= MC_ROWS, N <= NC, K <= KC: B is packed once, A where it lies by columns. */
static void gemm_block(int M, int N, int K, const float *A, size_t ars, size_t aks, const float *B, size_t bks, float *C, size_t ldc, bool acc)
{
    _Alignas(64) float b[NC / NR * PANEL], a[MC / MR * STRIP];
    pack_columns(N, K, B, bks, b);
    for (int m0 = 0; m0 < M; m0 += MC) {
        int rows = least(M - m0, MC);
        const float *A0 = A + (size_t)m0 * ars;
        if (aks != 1) pack_rows(rows, K, A0, ars, aks, a);
        for (int n = 0; n < N; n += NR) {
            int wide = least(N - n, NR);
            const float *panel = b + (size_t)(n / NR) * PANEL;
            float *C0 = C + (size_t)m0 * ldc + n;
            if (aks == 1) many_strips(strip_rows, rows, wide, K, A0, ars, panel, NR, 0, C0, ldc, acc);
            else for (int m = 0; m < rows; m += MR)
                strip_packed[least(rows - m, MR)](wide, K, a + (size_t)(m / MR) * STRIP, 1, panel, NR, 0, C0 + (size_t)m * ldc, ldc, acc);
        }
    }
}

static void vec_gemm(int M, int N, int K, const float *A, size_t ars, size_t aks, const float *B, size_t bks, float *C, size_t ldc, bool acc)
{
    if (K <= 0) { if (!acc) clear(M, N, C, ldc); return; }
    if (aks == 1 && M < IN_PLACE) {
        for (int k = 0, step = M <= MR ? K : KC; k < K; k += step)
            for (int n = 0, cols = M <= MR ? N : NR; n < N; n += cols)
                many_strips(strip_bare, M, least(N - n, cols), least(K - k, step), A + k, ars, B + (size_t)k * bks + n, bks, NR, C + n, ldc, acc || k);
        return;
    }
    for (int m = 0; m < M; m += MC_ROWS)
        for (int n = 0; n < N; n += NC)
            for (int k = 0; k < K; k += KC)
                gemm_block(least(M - m, MC_ROWS), least(N - n, NC), least(K - k, KC), A + (size_t)m * ars + (size_t)k * aks, ars, aks,
                           B + (size_t)k * bks + n, bks, C + (size_t)m * ldc + n, ldc, acc || k);
}

/* v_columns of a block with rows < W or k < W; what is missing is zero. */
INLINE void some_columns(const float *w, size_t ld, int rows, int k, vec *out)
{
    _Alignas(64) float block[W * W];
    mask on = m_first(k);
    for (int r = 0; r < W; r++) v_store(block + r * W, r < rows ? v_loadm(on, w + (size_t)r * ld) : v_set(0));
    v_columns(block, W, out);
}

static void vec_pack(int N, int K, const float *W_, size_t ldw, float *panels)
{
    for (int n = 0; n < N; n += NR)
        for (int k = 0; k < K; k += W, panels += (size_t)least(K - k + W, W) * NR)
            for (int h = 0; h < 2; h++) {
                int rows = N - n - h * W, some = least(K - k, W);
                const float *w = W_ + (size_t)(n + h * W) * ldw + k;
                vec t[W];
                if (rows >= W && some == W) v_columns(w, ldw, t);
                else some_columns(w, ldw, rows, some, t);
                for (int j = 0; j < some; j++) v_store(panels + (size_t)j * NR + h * W, t[j]);
            }
}

/* mr rows against W rows of weights at a time: a block of weights is turned in registers, then used as a panel. */
INLINE void rows_strip(const int mr, int N, int K, const float *A, size_t ars, const float *Wt, size_t ldw, float *C, size_t ldc, bool acc)
{
    for (int n = 0; n < N; n += W) {
        mask on = m_first(N - n);
        vec c[8], t[W];
        UNROLL for (int i = 0; i < mr; i++) c[i] = acc ? v_loadm(on, C + (size_t)i * ldc + n) : v_set(0);
        const float *w = Wt + (size_t)n * ldw;
        int k = 0;
        if (N - n >= W) for (; k + W <= K; k += W) {
            UNROLL for (int r = 0; r < W; r++) v_ahead(w + (size_t)r * ldw + k + 64);
            v_columns(w + k, ldw, t);
            UNROLL for (int j = 0; j < W; j++)
                UNROLL for (int i = 0; i < mr; i++) c[i] = v_fma(v_set(A[(size_t)i * ars + k + j]), t[j], c[i]);
        }
        for (; k < K; k += W) {
            int some = least(K - k, W);
            some_columns(w + k, ldw, N - n, some, t);
            for (int j = 0; j < some; j++)
                UNROLL for (int i = 0; i < mr; i++) c[i] = v_fma(v_set(A[(size_t)i * ars + k + j]), t[j], c[i]);
        }
        UNROLL for (int i = 0; i < mr; i++) v_storem(on, C + (size_t)i * ldc + n, c[i]);
    }
}

typedef void rows_fn(int N, int K, const float *A, size_t ars, const float *Wt, size_t ldw, float *C, size_t ldc, bool acc);
#define ROWS_FN(name, mr, _)                                                                                                          \
    static void name##mr(int N, int K, const float *A, size_t ars, const float *Wt, size_t ldw, float *C, size_t ldc, bool acc) \
    { rows_strip(mr, N, K, A, ars, Wt, ldw, C, ldc, acc); }
FOR_ROWS(ROWS_FN, rows_strip, )
static rows_fn *const rows_strips[] = { NULL, ROWS_LIST(rows_strip) };

static void vec_gemm_rows(int M, int N, int K, const float *A, size_t ars, const float *Wt, size_t ldw, float *C, size_t ldc, bool acc)
{
    for (int left = (M + MR - 1) / MR, mr; left > 0; left--, M -= mr, A += mr * ars, C += mr * ldc) {
        mr = (M + left - 1) / left;
        rows_strips[mr](N, K, A, ars, Wt, ldw, C, ldc, acc);
    }
}

/* ---- functions of a vector; a lane never looks at another, so equal values give equal bits in any place ---- */

/* exp within 1 ulp: x = n log 2 + r, |r| <= log(2)/2, e^r = 1 + r + r^2 q(r), q fitted by weighted minimax. Results below the smallest
 * normal number are zero: a denormal probability would cost a hundred cycles in every later product and buy nothing. */
INLINE vec v_exp(vec x)
{
    vec t = v_max(v_set(-88.0f), v_min(v_set(89.0f), x));
    vec n = v_round(v_mul(t, v_set(1.44269504f)));
    vec r = v_fnma(n, v_set(-1.90465429e-9f), v_fnma(n, v_set(0.693147182f), t));
    vec q = v_set(1.381446203e-03f);
    q = v_fma(q, r, v_set(8.368780883e-03f));
    q = v_fma(q, r, v_set(4.166839432e-02f));
    q = v_fma(q, r, v_set(1.666652010e-01f));
    q = v_fma(q, r, v_set(4.999999341e-01f));
    vec p = v_add(v_fma(v_mul(r, r), q, r), v_set(1));
    return v_sel(v_lt(x, v_set(-87.3365402f)), v_set(0), v_pow2(p, n));
}

/* tanh: an odd polynomial below 0.55, above it 1 - 2 / (e^2x + 1), which loses nothing there. */
INLINE vec v_tanh(vec x)
{
    vec a = v_abs(x), z = v_mul(a, a);
    vec p = v_set(-6.274224561e-03f);
    p = v_fma(p, z, v_set(2.107166758e-02f));
    p = v_fma(p, z, v_set(-5.385230684e-02f));
    p = v_fma(p, z, v_set(1.333258611e-01f));
    p = v_fma(p, z, v_set(-3.333331756e-01f));
    vec near = v_fma(v_mul(a, z), p, a);
    vec far = v_sub(v_set(1), v_div(v_set(2), v_add(v_exp(v_add(a, a)), v_set(1))));
    return v_copysign(v_sel(v_lt(a, v_set(0.55f)), near, far), x);
}

/* erf: x p(x^2) below 1; above it 1 - e^g(x) with g fitted to log erfc on 1..4, and erf(4) is 1 in float. */
INLINE vec v_erf(vec x)
{
    vec a = v_abs(x), z = v_mul(a, a), t = v_min(v_set(4), a);
    vec p = v_set(7.853853273e-05f);
    p = v_fma(p, z, v_set(-8.010191178e-04f));
    p = v_fma(p, z, v_set(5.188327407e-03f));
    p = v_fma(p, z, v_set(-2.685381179e-02f));
    p = v_fma(p, z, v_set(1.128358515e-01f));
    p = v_fma(p, z, v_set(-3.761262582e-01f));
    p = v_fma(p, z, v_set(1.283791661e-01f));           /* 2/sqrt(pi) - 1: the 1 is added exactly */
    vec near = v_fma(a, p, a);
    vec g = v_set(1.855760006e-04f);
    g = v_fma(g, t, v_set(-2.939626307e-03f));
    g = v_fma(g, t, v_set(2.180539231e-02f));
    g = v_fma(g, t, v_set(-1.030375192e-01f));
    g = v_fma(g, t, v_set(-6.382255085e-01f));
    g = v_fma(g, t, v_set(-1.127040135e+00f));
    g = v_fma(g, t, v_set(-3.536956854e-04f));
    vec far = v_sub(v_set(1), v_exp(g));
    return v_copysign(v_sel(v_lt(a, v_set(1)), near, far), x);
}

/* Activations and their slopes, as ref.c writes them. */
INLINE vec half_of(vec x)    { return v_mul(x, v_set(0.5f)); }
INLINE vec held(vec x)       { return v_max(v_set(-16), v_min(v_set(16), x)); }
INLINE vec tanh_arg(vec x)   { return v_mul(v_set(0.797884561f), v_fma(v_mul(v_set(0.044715f), v_mul(x, x)), x, x)); }
INLINE vec tanh_slope(vec x) { return v_mul(v_set(0.797884561f), v_fma(v_set(3 * 0.044715f), v_mul(x, x), v_set(1))); }

INLINE vec f_sigmoid(vec x)   { return v_div(v_set(1), v_add(v_set(1), v_exp(v_sub(v_set(0), x)))); }
INLINE vec f_silu(vec x)      { return v_div(x, v_add(v_set(1), v_exp(v_sub(v_set(0), x)))); }
INLINE vec f_gelu(vec x)      { return v_mul(half_of(x), v_add(v_set(1), v_erf(v_mul(x, v_set(0.707106781f))))); }
INLINE vec f_gelu_tanh(vec x) { return v_mul(half_of(x), v_add(v_set(1), v_tanh(tanh_arg(held(x))))); }
INLINE vec f_relu(vec x)      { return v_sel(v_le(x, v_set(0)), v_set(0), x); }
INLINE vec f_relu2(vec x)     { return v_sel(v_le(x, v_set(0)), v_set(0), v_mul(x, x)); }
INLINE vec f_tanh(vec x)      { return v_tanh(x); }

INLINE vec d_sigmoid(vec x)   { vec s = f_sigmoid(x); return v_mul(s, v_sub(v_set(1), s)); }
INLINE vec d_silu(vec x)      { vec s = f_sigmoid(x); return v_mul(s, v_fma(x, v_sub(v_set(1), s), v_set(1))); }
INLINE vec d_gelu(vec x)
{
    vec bell = v_mul(v_set(0.398942280f), v_exp(v_mul(v_mul(x, x), v_set(-0.5f))));
    return v_fma(x, bell, half_of(v_add(v_set(1), v_erf(v_mul(x, v_set(0.707106781f))))));
}
INLINE vec d_gelu_tanh(vec x)
{
    vec h = held(x), t = v_tanh(tanh_arg(h));
    return v_fma(v_mul(half_of(h), v_fnma(t, t, v_set(1))), tanh_slope(h), half_of(v_add(v_set(1), t)));
}
INLINE vec d_relu(vec x)      { return v_sel(v_le(x, v_set(0)), v_set(0), v_sel(v_nan(x), x, v_set(1))); }
INLINE vec d_relu2(vec x)     { return v_sel(v_le(x, v_set(0)), v_set(0), v_add(x, x)); }
INLINE vec d_tanh(vec x)      { vec t = v_tanh(x); return v_fnma(t, t, v_set(1)); }
INLINE vec f_none(vec x)      { (void)x; return v_set(NAN); }      /* no such activation: cannot be missed */
INLINE vec d_none(vec x)      { return f_none(x); }

#define FOR_ACT(a, DO) switch (a) { case SY_ACT_SILU: DO(silu) break; case SY_ACT_GELU: DO(gelu) break; case SY_ACT_GELU_TANH: DO(gelu_tanh) break; \
    case SY_ACT_RELU: DO(relu) break; case SY_ACT_RELU2: DO(relu2) break; case SY_ACT_SIGMOID: DO(sigmoid) break; case SY_ACT_TANH: DO(tanh) break;  \
    case SY_ACTS: DO(none) break; }

/* ---- element by element ----
 * EACH runs its statements for each vector of n values, the last one under a mask; LD and ST reach the vector at i. */
#define LD(p)      (whole ? v_load((p) + i) : v_loadm(tail, (p) + i))
#define ST(p, v)   do { if (whole) v_store((p) + i, (v)); else v_storem(tail, (p) + i, (v)); } while (0)
#define ELSE(v, w) (whole ? (v) : v_sel(tail, (v), (w)))                /* what lanes past the end count as */
#define EACH(n, ...) do {                                                                              \
        size_t i = 0;                                                                                  \
        mask tail = m_first(0);                                                                        \
        { enum { whole = 1 }; (void)tail; for (; i + W <= (n); i += W) { __VA_ARGS__ } }               \
        if (i < (n)) { enum { whole = 0 }; tail = m_first((int)((n) - i)); __VA_ARGS__ }               \
    } while (0)

static void vec_add(size_t n, const float *a, const float *b, float *y)    { EACH(n, ST(y, v_add(LD(a), LD(b)));); }
static void vec_mul(size_t n, const float *a, const float *b, float *y)    { EACH(n, ST(y, v_mul(LD(a), LD(b)));); }
static void vec_muladd(size_t n, const float *a, const float *b, float *y) { EACH(n, ST(y, v_fma(LD(a), LD(b), LD(y)));); }
static void vec_axpy(size_t n, float s, const float *x, float *y)          { EACH(n, ST(y, v_fma(v_set(s), LD(x), LD(y)));); }
static void vec_scale(size_t n, float s, const float *x, float *y)         { EACH(n, ST(y, v_mul(v_set(s), LD(x)));); }
static void vec_exp(size_t n, const float *x, float *y)                    { EACH(n, ST(y, v_exp(LD(x)));); }

static void vec_act(sy_act a, size_t n, const float *x, float *y)
{
#define DO(f) EACH(n, ST(y, f_##f(LD(x))););
    FOR_ACT(a, DO)
#undef DO
}

static void vec_act_b(sy_act a, size_t n, const float *x, const float *dy, float *dx)
{
#define DO(f) EACH(n, ST(dx, v_fma(d_##f(LD(x)), LD(dy), LD(dx))););
    FOR_ACT(a, DO)
#undef DO
}

static void vec_glu(sy_act a, size_t n, const float *g, const float *u, float *h)
{
#define DO(f) EACH(n, ST(h, v_mul(f_##f(LD(g)), LD(u))););
    FOR_ACT(a, DO)
#undef DO
}

static void vec_glu_b(sy_act a, size_t n, const float *g, const float *u, const float *dh, float *dg, float *du)
{
#define DO(f) EACH(n, vec x = LD(g), v = LD(u), h = LD(dh); ST(dg, v_mul(v_mul(h, v), d_##f(x))); ST(du, v_mul(h, f_##f(x))););
    FOR_ACT(a, DO)
#undef DO
}

/* ---- along a row ----
 * FOLD is EACH with an accumulator `s`, one of four in turn: vector j of the row goes to s_[j % 4] while whole groups of four last, the
 * rest to s_[0..2] and the tail to s_[3]; so the order depends on n alone, and four chains hide the latency of one. */
#define FOLD(n, start, ...)                                                                                               \
    vec s_[4] = { start, start, start, start };                                                                           \
    do {                                                                                                                  \
        size_t i = 0;                                                                                                     \
        mask tail = m_first(0);                                                                                           \
        { enum { whole = 1 }; (void)tail;                                                                                 \
          while (i + 4 * W <= (n)) UNROLL for (int j = 0; j < 4; j++, i += W) { vec s = s_[j]; __VA_ARGS__ s_[j] = s; }    \
          UNROLL for (int j = 0; j < 3; j++) if (i + W <= (n)) { vec s = s_[j]; __VA_ARGS__ s_[j] = s; i += W; } }         \
        if (i < (n)) { enum { whole = 0 }; vec s = s_[3]; tail = m_first((int)((n) - i)); __VA_ARGS__ s_[3] = s; }        \
    } while (0)
#define FOLDED(op) op(op(s_[0], s_[1]), op(s_[2], s_[3]))

static float vec_dot(size_t n, const float *a, const float *b)
{
    FOLD(n, v_set(0), s = v_fma(LD(a), LD(b), s););
    return v_hsum(FOLDED(v_add));
}

static float vec_sum(size_t n, const float *x)
{
    FOLD(n, v_set(0), s = v_add(s, LD(x)););
    return v_hsum(FOLDED(v_add));
}

static float vec_max(size_t n, const float *x)
{
    mask bad = m_first(0);
    FOLD(n, v_set(-INFINITY), vec v = LD(x); bad = m_or(bad, v_nan(v)); s = v_max(ELSE(v, v_set(-INFINITY)), s););
    return m_any(bad) ? NAN : v_hmax(FOLDED(v_max));
}

/* y = exp(x - m), returns the sum. */
static float exp_row(size_t n, float m, const float *x, float *y)
{
    FOLD(n, v_set(0), vec e = v_exp(v_sub(LD(x), v_set(m))); ST(y, e); s = v_add(s, ELSE(e, v_set(0))););
    return v_hsum(FOLDED(v_add));
}

static void vec_softmax(int n, const float *x, float *y)
{
    if (n <= 0) return;
    float s = exp_row((size_t)n, vec_max((size_t)n, x), x, y);
    vec_scale((size_t)n, 1 / s, y, y);
}

static void vec_softmax_b(int n, const float *y, const float *dy, float *dx)
{
    if (n <= 0) return;
    vec d = v_set(vec_dot((size_t)n, y, dy));
    EACH((size_t)n, ST(dx, v_fma(LD(y), v_sub(LD(dy), d), LD(dx))););
}

static void vec_rmsnorm(int n, double eps, const float *x, const float *w, float *y, float *rinv)
{
    float r = (float)(1 / sqrt((double)vec_dot((size_t)n, x, x) / n + eps));
    if (w) EACH((size_t)n, ST(y, v_mul(v_mul(LD(x), v_set(r)), LD(w))););
    else vec_scale((size_t)n, r, x, y);
    *rinv = r;
}

static float dot3(size_t n, const float *a, const float *b, const float *c)
{
    FOLD(n, v_set(0), s = v_fma(v_mul(LD(a), LD(b)), LD(c), s););
    return v_hsum(FOLDED(v_add));
}

static void vec_rmsnorm_b(int n, const float *x, const float *w, float rinv, const float *dy, float *dx, float *dw)
{
    size_t N = n > 0 ? (size_t)n : 0;
    float along = w ? dot3(N, w, dy, x) : vec_dot(N, dy, x);
    vec r = v_set(rinv), c = v_set(along * rinv * rinv / (float)n);
    if (w) EACH(N, ST(dx, v_fma(v_fnma(LD(x), c, v_mul(LD(w), LD(dy))), r, LD(dx))););
    else EACH(N, ST(dx, v_fma(v_fnma(LD(x), c, LD(dy)), r, LD(dx))););
    if (dw) EACH(N, ST(dw, v_fma(LD(dy), v_mul(LD(x), r), LD(dw))););
}

static void vec_rope(int half, const float *c, const float *s, const float *x, float *y)
{
    const float *x2 = x + half;
    float *y2 = y + half;
    EACH((size_t)(half > 0 ? half : 0),
         vec a = LD(x), b = LD(x2), cs = LD(c), sn = LD(s);
         ST(y, v_fnma(b, sn, v_mul(a, cs)));
         ST(y2, v_fma(a, sn, v_mul(b, cs))););
}

/* x *= scale, returns the largest; NaN if one is there. */
static float scale_max(size_t n, float scale, float *x)
{
    mask bad = m_first(0);
    vec by = v_set(scale);
    FOLD(n, v_set(-INFINITY), vec v = v_mul(LD(x), by); ST(x, v); bad = m_or(bad, v_nan(v)); s = v_max(ELSE(v, v_set(-INFINITY)), s););
    return m_any(bad) ? NAN : v_hmax(FOLDED(v_max));
}

static float vec_attn_row(int n, float scale, float *s, float *m, float *l)
{
    if (n <= 0) return 1;
    float old = *m, top = scale_max((size_t)n, scale, s), a = 1;
    if (top <= old) top = old;
    if (old != old) top = old;
    if (top == -INFINITY) {             /* all hidden so far: no weight anywhere, and nothing to rescale */
        memset(s, 0, (size_t)n * sizeof *s);
        return 1;
    }
    if (top != old) {                   /* else exp(0), which is 1 exactly; a whole vector is stored, because a masked one would stall the load */
        _Alignas(64) float e[W];
        v_store(e, v_exp(v_set(old - top)));
        a = e[0];
    }
    float sum = exp_row((size_t)n, top, s, s);
    *m = top;
    *l = a * *l + sum;
    return a;
}

static void vec_attn_row_b(int n, float scale, float lse, float dot, float *s, float *dp)
{
    vec by = v_set(scale), m = v_set(lse), d = v_set(dot);
    EACH((size_t)n, vec p = v_exp(v_sub(v_mul(LD(s), by), m)); ST(s, p); ST(dp, v_mul(v_mul(p, v_sub(LD(dp), d)), by)););
}

static float vec_xent_row(int V, float *logits, bool want_p)
{
    if (V <= 0) return -INFINITY;
    size_t n = (size_t)V;
    float m = vec_max(n, logits);
    if (!want_p) {
        FOLD(n, v_set(0), s = v_add(s, ELSE(v_exp(v_sub(LD(logits), v_set(m))), v_set(0))););
        return m + logf(v_hsum(FOLDED(v_add)));
    }
    float s = exp_row(n, m, logits, logits);
    vec_scale(n, 1 / s, logits, logits);
    return m + logf(s);
}

static void vec_adamw(size_t n, const sy_adamw *a, float *w, const float *g, float *m, float *v)
{
    vec clip = v_set((float)a->clip), b1 = v_set((float)a->beta1), b2 = v_set((float)a->beta2);
    vec c1 = v_set((float)(1 - a->beta1)), c2 = v_set((float)(1 - a->beta2)), keep = v_set((float)(1 - a->lr * a->weight_decay));
    vec step = v_set((float)(a->lr / a->bias1)), root = v_set((float)(1 / sqrt(a->bias2))), eps = v_set((float)a->eps);
    EACH(n,
         vec d = v_mul(clip, LD(g));
         vec m1 = v_fma(b1, LD(m), v_mul(c1, d)), v1 = v_fma(b2, LD(v), v_mul(c2, v_mul(d, d)));
         ST(m, m1);
         ST(v, v1);
         ST(w, v_sub(v_mul(keep, LD(w)), v_div(v_mul(step, m1), v_fma(v_sqrt(v1), root, eps)))););
}

static double vec_sumsq(size_t n, const float *x)
{
    dvec d[2] = { 0 };
    EACH(n, v_squares(LD(x), d););
    return d_hsum(d);
}

static size_t vec_spin(size_t n, float *x)
{
    enum { CHAINS = 12 };               /* two units of latency 4 want 8; 12 and two constants fit in 16 registers */
    vec c[CHAINS], a = v_set(0.5f), b = v_set(*x);
    UNROLL for (int j = 0; j < CHAINS; j++) c[j] = v_set((float)j);
    for (size_t i = 0; i < n; i++) UNROLL for (int j = 0; j < CHAINS; j++) c[j] = v_fma(c[j], a, b);
    UNROLL for (int j = 1; j < CHAINS; j++) c[0] = v_add(c[0], c[j]);
    *x = v_hsum(c[0]);
    return n * CHAINS * W;
}

#define TABLE_(set, ...) const sy_kernels sy_kernels_##set = {                                                                     \
    .name = #set, .nr = NR, .gemm = vec_gemm, .pack = vec_pack, .gemm_panels = vec_gemm_panels, .gemm_rows = vec_gemm_rows,   \
    .add = vec_add, .axpy = vec_axpy, .scale = vec_scale, .mul = vec_mul, .muladd = vec_muladd,                               \
    .exp = vec_exp, .act = vec_act, .act_b = vec_act_b, .glu = vec_glu, .glu_b = vec_glu_b,                                   \
    .dot = vec_dot, .sum = vec_sum, .max = vec_max, .softmax = vec_softmax, .softmax_b = vec_softmax_b,                       \
    .rmsnorm = vec_rmsnorm, .rmsnorm_b = vec_rmsnorm_b, .rope = vec_rope, .attn_row = vec_attn_row, .attn_row_b = vec_attn_row_b, .xent_row = vec_xent_row, \
    .adamw = vec_adamw, .sumsq = vec_sumsq, .spin = vec_spin, __VA_ARGS__ }
#define TABLE(set, ...) TABLE_(set, __VA_ARGS__)
TABLE(SET, );
