/* kernels/quant_fit.c - writing rows as blocks: scales and integers with the least weighted squared error that a search finds.
 *
 * A run of values that shares a scale is written as x ~ s L[q] (one scale; L are integers or a table) or x ~ s q - m (scale and offset).
 * For fixed integers the best s and m are least squares; for fixed s and m the best integers are the nearest. Both steps alternate from
 * several first scales (Lloyd 1982), and the least error wins. Formats with scales of scales then round those, and two steps alternate
 * until neither gains: each run tries the neighbours of its rounded scale and offset, all runs together solve for the block's own factors. */
#include "kernels/quant.h"

#include <float.h>

#include "kernels/quant_layout.h"

enum { RUN = 32, ROUNDS = 8, PASSES = 6 };
static const float TINY = 1e-30f;                    /* a scale below it is none: its inverse must not overflow */

static float f16_near(float x) { return sy_f16_to(sy_f16_of(x > 65504 ? 65504 : x < -65504 ? -65504 : x)); }    /* never an infinity */
static void  put16(uint8_t *b, float x) { uint16_t h = sy_f16_of(x); b[0] = (uint8_t)h; b[1] = (uint8_t)(h >> 8); }

/* --- one scale: x ~ s L[q] -------------------------------------------------------------------------------------------------- */

typedef struct levels { int lo, hi; const int8_t *table; } levels;     /* integers lo .. hi, or 16 ascending values, lo and hi their ends */

static inline int nearest(const levels *g, float v, float *l)       /* of the number v: index or integer, and the level itself */
{
    v = v < (float)g->lo ? (float)g->lo : v > (float)g->hi ? (float)g->hi : v;
    if (g->table) {                                  /* halving the 15 midpoints */
        int k = 0;
        for (int step = 8; step; step /= 2) k += 2 * v > (float)(g->table[k + step - 1] + g->table[k + step]) ? step : 0;
        *l = (float)g->table[k];
        return k;
    }
    int q = (int)(v - (float)g->lo + 0.5f) + g->lo;
    *l = (float)q;
    return q;
}

static float inverse(float s) { return fabsf(s) < TINY ? 0 : 1 / s; }

/* The nearest integers under scale s, and the error that they leave. Sums run in eight lanes: n is a multiple of 8. */
static float write_one(const levels *g, int n, const float *x, const float *w, float s, int *q, float *l)
{
    float e[8] = { 0 }, inv = inverse(s);
    for (int i = 0; i < n; i += 8)
        for (int k = 0; k < 8; k++) {
            q[i + k] = nearest(g, x[i + k] * inv, &l[i + k]);
            float r = x[i + k] - s * l[i + k];
            e[k] += w[i + k] * r * r;
        }
    return ((e[0] + e[1]) + (e[2] + e[3])) + ((e[4] + e[5]) + (e[6] + e[7]));
}

/* The best scale for the integers that are nearest under scale s; returns by how much it lowers the error of writing zeros. */
static float solve_one(const levels *g, int n, const float *x, const float *w, float s, float *better)
{
    float xl[8] = { 0 }, ll[8] = { 0 }, inv = inverse(s), a = 0, b = 0, l;
    for (int i = 0; i < n; i += 8)
        for (int k = 0; k < 8; k++) {
            nearest(g, x[i + k] * inv, &l);
            float wl = w[i + k] * l;
            xl[k] += wl * x[i + k];
            ll[k] += wl * l;
        }
    for (int k = 0; k < 8; k++) a += xl[k], b += ll[k];
    *better = b > 0 ? a / b : 0;
    return b > 0 ? a * a / b : 0;
}

static float fit_one(const levels *g, int n, const float *x, const float *w)
{
    float top = 0, scale = 0, most = -1, s;
    for (int i = 0; i < n; i++) if (fabsf(x[i]) > fabsf(top)) top = x[i];
    if (fabsf(top) < TINY) return 0;
    int wide = g->hi - g->lo < 16 ? 10 : 5;          /* few levels: clipping and rounding trade more, look further */
    for (int side = 0; side < 2; side++)             /* the largest value at the lower or at the upper end */
        for (int k = -wide; k <= wide; k++) {
            float gain = solve_one(g, n, x, w, top / ((float)(side ? g->hi : g->lo) * (1 + 0.3f * (float)k / (float)wide)), &s);
            if (gain > most) most = gain, scale = s;
        }
    for (int r = 0; r < ROUNDS; r++) {
        float gain = solve_one(g, n, x, w, scale, &s);
        if (!(gain > most)) break;
        most = gain, scale = s;
    }
    return scale;
}

/* --- scale and offset: x ~ s q - m, q in 0..top ------------------------------------------------------------------------------ */

static inline int nearest_two(float x, float inv, float m, int top)
{
    float v = (x + m) * inv;
    v = v < 0 ? 0 : v > (float)top ? (float)top : v;
    return (int)(v + 0.5f);
}

static float write_two(int n, const float *x, const float *w, float s, float m, int top, int *q)
{
    float e[8] = { 0 }, inv = inverse(s);
    for (int i = 0; i < n; i += 8)
        for (int k = 0; k < 8; k++) {
            q[i + k] = nearest_two(x[i + k], inv, m, top);
            float r = x[i + k] - (s * (float)q[i + k] - m);
            e[k] += w[i + k] * r * r;
        }
    return ((e[0] + e[1]) + (e[2] + e[3])) + ((e[4] + e[5]) + (e[6] + e[7]));
}

typedef struct run { int n, top; bool down; const float *x, *w; double sw, sx; } run;    /* down: the offset must not be negative */

/* Least squares for the integers that are nearest under s and m, which become the solution; returns by how much it lowers the error. */
static double solve_two(const run *r, float *s, float *m)
{
    float q1[8] = { 0 }, q2[8] = { 0 }, xq[8] = { 0 }, inv = inverse(*s);
    double sq = 0, sqq = 0, sxq = 0;
    for (int i = 0; i < r->n; i += 8)
        for (int k = 0; k < 8; k++) {
            float q = (float)nearest_two(r->x[i + k], inv, *m, r->top), wq = r->w[i + k] * q;
            q1[k] += wq;
            q2[k] += wq * q;
            xq[k] += wq * r->x[i + k];
        }
    for (int k = 0; k < 8; k++) sq += q1[k], sqq += q2[k], sxq += xq[k];
    double det = r->sw * sqq - sq * sq, a = 0, c = r->sx / r->sw;     /* x ~ a q + c */
    if (det > 1e-6 * r->sw * sqq) {
        a = (r->sw * sxq - r->sx * sq) / det;
        c = (sqq * r->sx - sq * sxq) / det;
    }
    if (r->down && (c > 0 || a < 0)) {
        c = 0;
        a = sqq > 0 ? sxq / sqq : 0;
    }
    *s = (float)a;
    *m = (float)-c;
    return a * sxq + c * r->sx;
}

static void fit_two(run *r, float *scale, float *offset)
{
    float lo = r->x[0], hi = r->x[0];
    r->sw = r->sx = 0;
    for (int i = 0; i < r->n; i++) {
        if (r->x[i] < lo) lo = r->x[i];
        if (r->x[i] > hi) hi = r->x[i];
        r->sw += r->w[i];
        r->sx += (double)r->w[i] * r->x[i];
    }
    if (r->down && lo > 0) lo = 0;
    *scale = 0;
    *offset = -lo;
    if (hi - lo < TINY) return;
    int wide = r->top < 4 ? 9 : 7;
    float reach = r->top < 4 ? 0.6f : r->top < 16 ? 0.2f : 0.1f, s, m;
    double most = -1, gain;
    for (int k = -wide; k <= wide; k++) {
        s = (hi - lo) / ((float)r->top * (1 + reach * (float)k / (float)wide)), m = -lo;
        gain = solve_two(r, &s, &m);
        if (gain > most) most = gain, *scale = s, *offset = m;
    }
    for (int i = 0; i < ROUNDS; i++) {
        s = *scale, m = *offset;
        gain = solve_two(r, &s, &m);
        if (!(gain > most)) break;
        most = gain, *scale = s, *offset = m;
    }
    if (*scale < 0) *scale = 0;
}

/* Numbers below what an F16 scale resolves can come out worse than zeros would; then zeros are written. */
static bool worse_than_zeros(float error, int n, const float *x, const float *w)
{
    float e = 0;
    for (int i = 0; i < n; i++) e += w[i] * x[i] * x[i];
    return !(error <= e);
}

/* --- blocks of 256 with rounded scales -------------------------------------------------------------------------------------- */

typedef struct block {                  /* what is written: q and the integers of the runs, times d (and dmin) */
    float d, dmin;
    int   sc[16], mn[16], q[256];
    float l[256], err[16], total;       /* levels of q; weighted squared errors */
} block;

static int clamp(float v, int lo, int hi) { return (int)lrintf(v < (float)lo ? (float)lo : v > (float)hi ? (float)hi : v); }

/* The 256 / n runs of n values, scales lo .. hi: from block factor d. */
static void refine_scales(const levels *g, int n, int lo, int hi, const float *x, const float *w, const float *s, float d, block *b)
{
    int runs = 256 / n;
    b->d = d;
    b->total = 0;
    for (int j = 0; j < runs; j++) {
        b->sc[j] = clamp(s[j] * inverse(d), lo, hi);
        b->total += b->err[j] = write_one(g, n, x + j * n, w + j * n, d * (float)b->sc[j], b->q + j * n, b->l + j * n);
    }
    for (int pass = 0; pass < PASSES; pass++) {
        float before = b->total;
        b->total = 0;
        for (int j = 0; j < runs; j++) {
            for (int by = -1; by <= 1; by += 2)      /* as far as it gains */
                for (int sc = b->sc[j] + by; sc >= lo && sc <= hi; sc += by) {
                    int q[RUN];
                    float l[RUN], e = write_one(g, n, x + j * n, w + j * n, b->d * (float)sc, q, l);
                    if (!(e < b->err[j])) break;
                    b->err[j] = e, b->sc[j] = sc;
                    memcpy(b->q + j * n, q, (size_t)n * sizeof *q);
                    memcpy(b->l + j * n, l, (size_t)n * sizeof *l);
                }
            b->total += b->err[j];
        }
        double xl = 0, ll = 0;                       /* d from everything that it multiplies */
        for (int i = 0; i < 256; i++) { double v = (double)b->l[i] * b->sc[i / n]; xl += w[i] * x[i] * v, ll += w[i] * v * v; }
        block t = *b;
        t.d = ll > 0 ? f16_near((float)(xl / ll)) : 0;
        t.total = 0;
        for (int j = 0; j < runs; j++) t.total += t.err[j] = write_one(g, n, x + j * n, w + j * n, t.d * (float)t.sc[j], t.q + j * n, t.l + j * n);
        if (t.total < b->total) *b = t;
        if (!(b->total < before * 0.9999f)) break;
    }
}

static void fit_scales(const levels *g, int n, int lo, int hi, const float *x, const float *w, block *b)
{
    static const float start[] = { 1, 0.8f, 0.6f };  /* with few levels a run of outliers may rather be clipped than make the others coarse */
    float s[16], top = 0;
    for (int j = 0; j < 256 / n; j++) {
        s[j] = fit_one(g, n, x + j * n, w + j * n);
        if (fabsf(s[j]) > fabsf(top)) top = s[j];
    }
    for (int i = 0; i < (g->hi - g->lo < 8 ? 3 : 1); i++) {
        block t;
        refine_scales(g, n, lo, hi, x, w, s, f16_near(start[i] * top / (float)lo), &t);      /* lo < 0 reaches one further than hi */
        if (i == 0 || t.total < b->total) *b = t;
    }
    if (worse_than_zeros(b->total, 256, x, w)) refine_scales(g, n, lo, hi, x, w, (float[16]){ 0 }, 0, b);
}

/* The 256 / n runs of n values with integers 0..top, scales and offsets 0..hi: from block factors d and dmin. */
static void refine_offsets(int n, int top, int hi, const float *x, const float *w, const float *s, const float *m, float d, float dmin, block *b)
{
    int runs = 256 / n;
    b->d = d, b->dmin = dmin;
    b->total = 0;
    for (int j = 0; j < runs; j++) {
        b->sc[j] = clamp(s[j] * inverse(d), 0, hi);
        b->mn[j] = clamp(m[j] * inverse(dmin), 0, hi);
        b->total += b->err[j] = write_two(n, x + j * n, w + j * n, d * (float)b->sc[j], dmin * (float)b->mn[j], top, b->q + j * n);
    }
    for (int pass = 0; pass < PASSES; pass++) {
        float before = b->total;
        b->total = 0;
        for (int j = 0; j < runs; j++) {
            for (int again = 1; again; ) {           /* neighbours of both, as far as they gain */
                int sc0 = b->sc[j], mn0 = b->mn[j];
                again = 0;
                for (int sc = sc0 - 1; sc <= sc0 + 1; sc++)
                    for (int mn = mn0 - 1; mn <= mn0 + 1; mn++) {
                        int q[RUN];
                        if (sc < 0 || sc > hi || mn < 0 || mn > hi || (sc == sc0 && mn == mn0)) continue;
                        float e = write_two(n, x + j * n, w + j * n, b->d * (float)sc, b->dmin * (float)mn, top, q);
                        if (!(e < b->err[j])) continue;
                        b->err[j] = e, b->sc[j] = sc, b->mn[j] = mn, again = 1;
                        memcpy(b->q + j * n, q, (size_t)n * sizeof *q);
                    }
            }
            b->total += b->err[j];
        }
        double uu = 0, uv = 0, vv = 0, xu = 0, xv = 0;       /* x ~ d u - dmin v */
        for (int i = 0; i < 256; i++) {
            double u = (double)b->sc[i / n] * b->q[i], v = b->mn[i / n], wi = w[i];
            uu += wi * u * u, uv += wi * u * v, vv += wi * v * v, xu += wi * x[i] * u, xv += wi * x[i] * v;
        }
        double det = uu * vv - uv * uv;
        block t = *b;
        if (det > 1e-9 * uu * vv) t.d = f16_near((float)((xu * vv - xv * uv) / det)), t.dmin = f16_near((float)((xu * uv - xv * uu) / det));
        else if (uu > 0) t.d = f16_near((float)(xu / uu));
        t.total = 0;
        for (int j = 0; j < runs; j++) t.total += t.err[j] = write_two(n, x + j * n, w + j * n, t.d * (float)t.sc[j], t.dmin * (float)t.mn[j], top, t.q + j * n);
        if (t.total < b->total && t.d >= 0 && t.dmin >= 0) *b = t;
        if (!(b->total < before * 0.9999f)) break;
    }
}

static void fit_offsets(int n, int top, int hi, const float *x, const float *w, block *b)
{
    static const float start[][2] = { { 1, 1 }, { 0.7f, 1 }, { 1, 0.7f }, { 0.6f, 0.6f }, { 0.4f, 0.7f } };
    float s[16], m[16], s_top = 0, m_top = 0;
    for (int j = 0; j < 256 / n; j++) {
        fit_two(&(run){ n, top, true, x + j * n, w + j * n, 0, 0 }, &s[j], &m[j]);
        if (s[j] > s_top) s_top = s[j];
        if (m[j] > m_top) m_top = m[j];
    }
    for (int i = 0; i < (hi < 16 ? 5 : 1); i++) {    /* sixteen scales alone: clipping the largest can pay */
        block t;
        refine_offsets(n, top, hi, x, w, s, m, f16_near(start[i][0] * s_top / (float)hi), f16_near(start[i][1] * m_top / (float)hi), &t);
        if (i == 0 || t.total < b->total) *b = t;
    }
    if (worse_than_zeros(b->total, 256, x, w)) refine_offsets(n, top, hi, x, w, (float[16]){ 0 }, (float[16]){ 0 }, 0, 0, b);
}

/* --- one writer a format: x and w [block], out zeroed ------------------------------------------------------------------------ */

static float largest(const float *x, int n)          /* the value of largest magnitude, the first of several */
{
    float top = 0;
    for (int i = 0; i < n; i++) if (fabsf(x[i]) > fabsf(top)) top = x[i];
    return top;
}

static void nibbles(uint8_t *out, const int *q)      /* 32 integers: 0..15 low, 16..31 high */
{
    for (int i = 0; i < 16; i++) out[i] = (uint8_t)((q[i] & 15) | (q[i + 16] & 15) << 4);
}

static void fifth_bits(uint8_t *out, const int *q)
{
    for (int i = 0; i < 32; i++) out[i / 8] |= (uint8_t)((q[i] >> 4 & 1) << i % 8);
}

static void w_q8_0(const float *x, const float *w, uint8_t *b)
{
    (void)w;
    float d = fabsf(largest(x, 32)) / 127, inv = d != 0 ? 1 / d : 0;
    put16(b, d);
    for (int i = 0; i < 32; i++) b[2 + i] = (uint8_t)(int8_t)roundf(x[i] * inv);
}

static void w_q4_0_plain(const float *x, uint8_t *b)
{
    float d = largest(x, 32) / -8, inv = d != 0 ? 1 / d : 0;
    int q[32];
    for (int i = 0; i < 32; i++) {
        int v = (int)(x[i] * inv + 8.5f);
        q[i] = v > 15 ? 15 : v;
    }
    put16(b, d);
    nibbles(b + 2, q);
}

/* One run with one scale that is itself written as F16. */
static float one_scale(const levels *g, const float *x, const float *w, int *q)
{
    float l[32], s = f16_near(fit_one(g, 32, x, w));
    if (worse_than_zeros(write_one(g, 32, x, w, s, q, l), 32, x, w)) write_one(g, 32, x, w, s = 0, q, l);
    return s;
}

static void w_q4_0(const float *x, const float *w, uint8_t *b)
{
    int q[32];
    put16(b, one_scale(&(levels){ -8, 7, NULL }, x, w, q));
    for (int i = 0; i < 32; i++) q[i] += 8;
    nibbles(b + 2, q);
}

static void w_q5_0(const float *x, const float *w, uint8_t *b)
{
    int q[32];
    put16(b, one_scale(&(levels){ -16, 15, NULL }, x, w, q));
    for (int i = 0; i < 32; i++) q[i] += 16;
    fifth_bits(b + 2, q);
    nibbles(b + 6, q);
}

static void w_iq4_nl(const float *x, const float *w, uint8_t *b)
{
    int q[32];
    put16(b, one_scale(&(levels){ -127, 113, sy__iq4_level }, x, w, q));
    nibbles(b + 2, q);
}

static void two_scales(int top, const float *x, const float *w, uint8_t *b, int *q)     /* d | m, x ~ d q + m */
{
    float s, m;
    fit_two(&(run){ 32, top, false, x, w, 0, 0 }, &s, &m);
    s = f16_near(s), m = f16_near(m);
    if (worse_than_zeros(write_two(32, x, w, s, m, top, q), 32, x, w)) write_two(32, x, w, s = 0, m = 0, top, q);
    put16(b, s);
    put16(b + 2, -m);
}

static void w_q4_1(const float *x, const float *w, uint8_t *b)
{
    int q[32];
    two_scales(15, x, w, b, q);
    nibbles(b + 4, q);
}

static void w_q5_1(const float *x, const float *w, uint8_t *b)
{
    int q[32];
    two_scales(31, x, w, b, q);
    fifth_bits(b + 4, q);
    nibbles(b + 8, q);
}

static void w_mxfp4(const float *x, const float *w, uint8_t *b)
{
    (void)w;
    float top = fabsf(largest(x, 32)), e = top > 0 ? floorf(log2f(top)) - 2 + 127 : 0;     /* 6 = 1.5 * 2^2 is the largest level */
    b[0] = (uint8_t)(e < 0 ? 0 : e > 254 ? 254 : e);
    float d = ldexpf(1, b[0] - 128);
    int q[32];
    for (int i = 0; i < 32; i++) {
        float least = FLT_MAX;
        q[i] = 0;
        for (int k = 0; k < 16; k++) {
            float r = fabsf((float)sy__mxfp4_level[k] * d - x[i]);
            if (r < least) least = r, q[i] = k;
        }
    }
    nibbles(b + 1, q);
}

static void w_q2_k(const float *x, const float *w, uint8_t *b)
{
    block k;
    fit_offsets(16, 3, 15, x, w, &k);
    for (int j = 0; j < 16; j++) {
        uint8_t *q = b + 16 + j / 8 * 32 + j % 2 * 16;
        b[j] = (uint8_t)(k.sc[j] | k.mn[j] << 4);
        for (int i = 0; i < 16; i++) q[i] |= (uint8_t)(k.q[16 * j + i] << (j % 8 / 2 * 2));
    }
    put16(b + 80, k.d);
    put16(b + 82, k.dmin);
}

static void w_q3_k(const float *x, const float *w, uint8_t *b)
{
    block k;
    fit_scales(&(levels){ -4, 3, NULL }, 16, -32, 31, x, w, &k);
    for (int j = 0; j < 16; j++) {
        uint8_t *q = b + 32 + j / 8 * 32 + j % 2 * 16, *h = b + j % 2 * 16;
        sy__q3_put(b + 96, j, k.sc[j] + 32);
        for (int i = 0; i < 16; i++) {
            int v = k.q[16 * j + i] + 4;
            q[i] |= (uint8_t)((v & 3) << (j % 8 / 2 * 2));
            h[i] |= (uint8_t)(v >> 2 << (j / 2));
        }
    }
    put16(b + 108, k.d);
}

static void w_q4_k(const float *x, const float *w, uint8_t *b)
{
    block k;
    fit_offsets(32, 15, 63, x, w, &k);
    put16(b, k.d);
    put16(b + 2, k.dmin);
    for (int j = 0; j < 8; j++) {
        sy__k4_put(b + 4, j, k.sc[j], k.mn[j]);
        for (int i = 0; i < 32; i++) b[16 + j / 2 * 32 + i] |= (uint8_t)(k.q[32 * j + i] << (j % 2 * 4));
    }
}

static void w_q5_k(const float *x, const float *w, uint8_t *b)
{
    block k;
    fit_offsets(32, 31, 63, x, w, &k);
    put16(b, k.d);
    put16(b + 2, k.dmin);
    for (int j = 0; j < 8; j++) {
        sy__k4_put(b + 4, j, k.sc[j], k.mn[j]);
        for (int i = 0; i < 32; i++) {
            int v = k.q[32 * j + i];
            b[48 + j / 2 * 32 + i] |= (uint8_t)((v & 15) << (j % 2 * 4));
            b[16 + i] |= (uint8_t)(v >> 4 << j);
        }
    }
}

static void w_q6_k(const float *x, const float *w, uint8_t *b)
{
    block k;
    fit_scales(&(levels){ -32, 31, NULL }, 16, -128, 127, x, w, &k);
    for (int j = 0; j < 8; j++) {
        uint8_t *l = b + j / 4 * 64 + j % 2 * 32, *h = b + 128 + j / 4 * 32;
        for (int i = 0; i < 32; i++) {
            int v = k.q[32 * j + i] + 32;
            l[i] |= (uint8_t)((v & 15) << (j % 4 / 2 * 4));
            h[i] |= (uint8_t)(v >> 4 << (j % 4 * 2));
        }
    }
    for (int j = 0; j < 16; j++) b[192 + j] = (uint8_t)(int8_t)k.sc[j];
    put16(b + 208, k.d);
}

static void w_iq4_xs(const float *x, const float *w, uint8_t *b)
{
    block k;
    unsigned high = 0;
    fit_scales(&(levels){ -127, 113, sy__iq4_level }, 32, -32, 31, x, w, &k);
    for (int j = 0; j < 8; j++) {
        int s = k.sc[j] + 32;
        high |= (unsigned)(s >> 4) << 2 * j;
        b[4 + j / 2] |= (uint8_t)((s & 15) << (j % 2 * 4));
        nibbles(b + 8 + 16 * j, k.q + 32 * j);
    }
    put16(b, k.d);
    b[2] = (uint8_t)high;
    b[3] = (uint8_t)(high >> 8);
}

/* Importances of one block: none are zero, so that every value counts a little; all alike where nothing is known. */
static void block_weights(const float *weight, int n, float *w)
{
    float sum = 0;
    for (int i = 0; weight && i < n; i++) sum += weight[i];
    for (int i = 0; i < n; i++) {
        if (!(sum > 0)) w[i] = 1;
        else {
            float v = weight[i] * ((float)n / sum);  /* mean 1: squares neither vanish nor overflow */
            w[i] = v < 1e-4f ? 1e-4f : v;
        }
    }
}

void sy_wtype_write(sy_wtype t, const float *x, const float *weight, size_t n, void *dst)
{
    static void (*const encode[SY_WTYPES])(const float *, const float *, uint8_t *) = {
        [SY_W_Q8_0] = w_q8_0, [SY_W_Q4_0] = w_q4_0, [SY_W_Q4_1] = w_q4_1, [SY_W_Q5_0] = w_q5_0, [SY_W_Q5_1] = w_q5_1, [SY_W_Q2_K] = w_q2_k, [SY_W_Q3_K] = w_q3_k,
        [SY_W_Q4_K] = w_q4_k, [SY_W_Q5_K] = w_q5_k, [SY_W_Q6_K] = w_q6_k, [SY_W_IQ4_NL] = w_iq4_nl, [SY_W_IQ4_XS] = w_iq4_xs, [SY_W_MXFP4] = w_mxfp4 };
    uint8_t *b = dst;
    size_t block = (size_t)sy_wtype_block(t), bytes = sy_wtype_bytes(t, block);
    float w[SY_BLOCK_MAX];
    switch (t) {
    case SY_W_F32: memcpy(b, x, n * 4); return;
    case SY_W_F16: for (size_t i = 0; i < n; i++) put16(b + 2 * i, x[i]); return;
    case SY_W_BF16: for (size_t i = 0; i < n; i++) { uint16_t h = sy_bf16_of(x[i]); memcpy(b + 2 * i, &h, 2); } return;
    default: break;
    }
    memset(b, 0, sy_wtype_bytes(t, n));
    for (size_t i = 0; i < n; i += block, b += bytes) {
        if (t == SY_W_Q4_0 && !weight) { w_q4_0_plain(x + i, b); continue; }
        block_weights(weight ? weight + i : NULL, (int)block, w);
        encode[t](x + i, w, b);
    }
}

size_t sy_wtype_fits(sy_wtype t, const float *x, size_t n)
{
    /* The largest magnitude: 65504, the largest F16, times the largest integers that multiply it. */
    static const float most[SY_WTYPES] = {
        [SY_W_Q8_0] = 127, [SY_W_Q4_0] = 8, [SY_W_Q4_1] = 1, [SY_W_Q5_0] = 16, [SY_W_Q5_1] = 1, [SY_W_Q2_K] = 15, [SY_W_Q3_K] = 31 * 3,
        [SY_W_Q4_K] = 63, [SY_W_Q5_K] = 63, [SY_W_Q6_K] = 127 * 31, [SY_W_IQ4_NL] = 113, [SY_W_IQ4_XS] = 31 * 113 };
    for (size_t i = 0; i < n; i++) {
        float a = fabsf(x[i]);
        bool ok = true;
        switch (t) {
        case SY_W_REAL: case SY_W_F32: break;
        case SY_W_F16: ok = !(a >= 65520.0f) || isinf(a); break;
        case SY_W_BF16: ok = isinf(a) || isnan(a) || !isinf(sy_bf16_to(sy_bf16_of(a))); break;
        case SY_W_MXFP4: ok = isfinite(a); break;
        default: ok = a <= 65504.0f * most[t];
        }
        if (!ok) return i;
    }
    return n;
}
