/* kernels/int8.c - products on eight-bit activations in plain C: the oracle of the other sets, and what finishes the rows that do not fill
 * a vector in them. */
#include "kernels/int8.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "kernels/quant_layout.h"

/* ---- activations ---- */

/* Bits of the largest magnitude: as integers they order like the numbers, NaN above all. */
static uint32_t largest(const float *x, int n)
{
    uint32_t top = 0;
    for (int i = 0; i < n; i++) {
        uint32_t u = sy_f32_bits(x[i]) & 0x7fffffff;
        if (u > top) top = u;
    }
    return top;
}

static void ref_quantise(sy_wtype t, size_t n, const float *x, void *row)
{
    int group = sy_int8_group(t);
    sy_int8_row r = sy_int8_at(t, n, row);
    int8_t *q = (int8_t *)r.q;
    for (size_t g = 0; g < n / (size_t)group; g++) {
        const float *from = x + g * (size_t)group;
        float top = sy_bits_f32(largest(from, group)), by = top < INFINITY && top >= 0x1p-100f ? 127 / top : 0;
        ((float *)r.d)[g] = top < 0x1p-100f ? 0 : top / 127;
        for (int i = 0; i < group; i++) q[g * (size_t)group + (size_t)i] = by > 0 ? (int8_t)lrintf(from[i] * by) : 0;
    }
    for (size_t i = 0; i < n / 16; i++) {
        int s = 0;
        for (int j = 0; j < 16; j++) s += q[16 * i + (size_t)j];
        ((int16_t *)r.sum16)[i] = (int16_t)s;
    }
    for (size_t i = 0; i < n / 32; i++) ((int16_t *)r.sum32)[i] = (int16_t)(r.sum16[2 * i] + r.sum16[2 * i + 1]);
}

/* ---- weights ---- */

/* The codes of a block, and what multiplies them: value = d scale[run] code - m offset[run], runs of 16 or of 32. */
typedef struct block { int8_t q[SY_BLOCK_MAX]; int scale[16], offset[8]; float d, m; } block;

static void nibbles(const uint8_t *b, const int8_t *level, int8_t *q)
{
    for (int i = 0; i < 16; i++) {
        q[i] = level[b[i] & 15];
        q[i + 16] = level[b[i] >> 4];
    }
}

static void k4_block(const uint8_t *b, block *w)
{
    w->d = sy_f16_at(b);
    w->m = sy_f16_at(b + 2);
    for (int j = 0; j < 8; j++) sy__k4_scale(b + 4, j, &w->scale[j], &w->offset[j]);
}

static void read_block(sy_wtype t, const uint8_t *b, block *w)
{
    static const int8_t centred[16] = { -8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7 };
    switch (t) {
    case SY_W_Q8_0:   w->d = sy_f16_at(b); memcpy(w->q, b + 2, 32); break;
    case SY_W_Q4_0:   w->d = sy_f16_at(b); nibbles(b + 2, centred, w->q); break;
    case SY_W_IQ4_NL: w->d = sy_f16_at(b); nibbles(b + 2, sy__iq4_level, w->q); break;
    case SY_W_MXFP4:  w->d = ldexpf(1, b[0] - 128); nibbles(b + 1, sy__mxfp4_level, w->q); break;
    case SY_W_Q4_K:
        k4_block(b, w);
        for (int j = 0; j < 8; j++) for (int i = 0; i < 32; i++) w->q[32 * j + i] = b[16 + j / 2 * 32 + i] >> (j % 2 * 4) & 15;
        break;
    case SY_W_Q5_K:
        k4_block(b, w);
        for (int j = 0; j < 8; j++)
            for (int i = 0; i < 32; i++) w->q[32 * j + i] = (int8_t)((b[48 + j / 2 * 32 + i] >> (j % 2 * 4) & 15) | (b[16 + i] >> j & 1) << 4);
        break;
    case SY_W_Q6_K:
        w->d = sy_f16_at(b + 208);
        for (int j = 0; j < 16; j++) w->scale[j] = (int8_t)b[192 + j];
        for (int j = 0; j < 8; j++) {
            const uint8_t *l = b + j / 4 * 64 + j % 2 * 32, *h = b + 128 + j / 4 * 32;
            for (int i = 0; i < 32; i++) w->q[32 * j + i] = (int8_t)(((l[i] >> (j % 4 / 2 * 4) & 15) | (h[i] >> (j % 4 * 2) & 3) << 4) - 32);
        }
        break;
    default: assert(!"a format without such products");
    }
}

static int dot(const int8_t *a, const int8_t *b, int n)
{
    int s = 0;
    for (int i = 0; i < n; i++) s += a[i] * b[i];
    return s;
}

/* One step of a chain: block number g meets the same block of a row. */
static float step(sy_wtype t, const block *w, const sy_int8_row *x, size_t g, float c)
{
    int group = sy_int8_group(t), S = 0, M = 0;
    const int8_t *q = x->q + g * (size_t)group;
    if (group == 32) return fmaf((float)dot(w->q, q, 32), w->d * x->d[g], c);
    if (t == SY_W_Q6_K) for (int j = 0; j < 16; j++) S += w->scale[j] * dot(w->q + 16 * j, q + 16 * j, 16);
    else for (int j = 0; j < 8; j++) {
        S += w->scale[j] * dot(w->q + 32 * j, q + 32 * j, 32);
        M += w->offset[j] * x->sum32[8 * g + (size_t)j];
    }
    c = fmaf((float)S, w->d * x->d[g], c);
    return t == SY_W_Q6_K ? c : fmaf((float)-M, w->m * x->d[g], c);
}

static void ref_product(sy_wtype t, int M, int N, int K, const void *X, size_t stride, const void *W, size_t ldw, float *C, size_t ldc, bool acc, const void *ahead)
{
    size_t group = (size_t)sy_int8_group(t), blocks = (size_t)K / group, bytes = sy_wtype_bytes(t, group);
    (void)ahead;
    for (int n = 0; n < N; n++) {
        if (!acc) for (int m = 0; m < M; m++) C[(size_t)m * ldc + (size_t)n] = 0;
        for (size_t g = 0; g < blocks; g++) {
            block w;
            read_block(t, (const uint8_t *)W + (size_t)n * ldw + g * bytes, &w);
            for (int m = 0; m < M; m++) {
                sy_int8_row x = sy_int8_at(t, (size_t)K, (const char *)X + (size_t)m * stride);
                float *c = C + (size_t)m * ldc + (size_t)n;
                *c = step(t, &w, &x, g, *c);
            }
        }
    }
}

static size_t ref_spin(size_t n, int *x)
{
    enum { CHAINS = 64 };
    unsigned c[CHAINS] = { 0 };
    for (size_t i = 0; i < n; i++) for (int j = 0; j < CHAINS; j++) c[j] += (c[j] & 127) * (uint8_t)*x;
    for (int j = 0; j < CHAINS; j++) *x ^= (int)c[j];
    return n * CHAINS;
}

const sy_int8 sy_int8_ref = { "ref", ref_quantise, ref_product, ref_spin };
