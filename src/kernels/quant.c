/* kernels/quant.c - what stored rows mean: one decoder a format, in plain C, each product rounded to float where the format's definition
 * rounds (scale times sub-scale first, then times the integer, then minus the offset).
 *
 * In the layouts below d and m are F16, written first or last as the struct of each format says; q is an element's integer. */
#include "kernels/quant.h"

#include <assert.h>
#include <ctype.h>

#include "kernels/half.h"
#include "kernels/quant_layout.h"
#include "kernels/real.h"

static const struct { const char *name; int id, block; size_t bytes; } types[SY_WTYPES] = {
    { "real", -1, 1, sizeof(sy_real) },
#define X(name, id, block, bytes) { #name, id, block, bytes },
    SY_WTYPE_LIST(X)
#undef X
};

const char *sy_wtype_name(sy_wtype t) { return (unsigned)t < SY_WTYPES ? types[t].name : "?"; }
int         sy_wtype_block(sy_wtype t) { return types[t].block; }
size_t      sy_wtype_bytes(sy_wtype t, size_t n) { return n / (size_t)types[t].block * types[t].bytes; }
int         sy_wtype_gguf(sy_wtype t) { return types[t].id; }

static bool same_word(const char *a, const char *b)
{
    while (*a && tolower((unsigned char)*a) == tolower((unsigned char)*b)) a++, b++;
    return !*a && !*b;
}

sy_wtype sy_wtype_named(const char *name)
{
    int t = SY_W_REAL + 1;
    while (t < SY_WTYPES && !same_word(name, types[t].name)) t++;
    return (sy_wtype)t;
}

sy_wtype sy_wtype_of_gguf(uint32_t id)
{
    int t = SY_W_REAL + 1;
    while (t < SY_WTYPES && (uint32_t)types[t].id != id) t++;
    return (sy_wtype)t;
}

/* --- 32 values a block ------------------------------------------------------------------------------------------------------- */

/* Sixteen bytes hold elements 0..15 in their low halves and 16..31 in their high ones. */
static void q8_0(const uint8_t *b, float *y)
{
    float d = sy_f16_at(b);
    for (int i = 0; i < 32; i++) y[i] = d * (float)(int8_t)b[2 + i];
}

static void q4_0(const uint8_t *b, float *y)
{
    float d = sy_f16_at(b);
    for (int i = 0; i < 16; i++) {
        y[i] = d * (float)((b[2 + i] & 15) - 8);
        y[i + 16] = d * (float)((b[2 + i] >> 4) - 8);
    }
}

static void q4_1(const uint8_t *b, float *y)
{
    float d = sy_f16_at(b), m = sy_f16_at(b + 2);
    for (int i = 0; i < 16; i++) {
        y[i] = d * (float)(b[4 + i] & 15) + m;
        y[i + 16] = d * (float)(b[4 + i] >> 4) + m;
    }
}

static void q5_0(const uint8_t *b, float *y)
{
    float d = sy_f16_at(b);
    uint32_t h = sy_u32_at(b + 2);                   /* fifth bit of element i at bit i */
    for (int i = 0; i < 16; i++) {
        y[i] = d * (float)((int)((b[6 + i] & 15u) | (h >> i & 1) << 4) - 16);
        y[i + 16] = d * (float)((int)((b[6 + i] >> 4) | (h >> (i + 16) & 1) << 4) - 16);
    }
}

static void q5_1(const uint8_t *b, float *y)
{
    float d = sy_f16_at(b), m = sy_f16_at(b + 2);
    uint32_t h = sy_u32_at(b + 4);
    for (int i = 0; i < 16; i++) {
        y[i] = d * (float)((b[8 + i] & 15u) | (h >> i & 1) << 4) + m;
        y[i + 16] = d * (float)((b[8 + i] >> 4) | (h >> (i + 16) & 1) << 4) + m;
    }
}

const int8_t sy__iq4_level[16] = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 };
const int8_t sy__mxfp4_level[16] = { 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12 };    /* twice the values of E2M1 */

static void levels(float d, const int8_t *level, const uint8_t *q, float *y)
{
    for (int i = 0; i < 16; i++) {
        y[i] = d * (float)level[q[i] & 15];
        y[i + 16] = d * (float)level[q[i] >> 4];
    }
}

static void iq4_nl(const uint8_t *b, float *y) { levels(sy_f16_at(b), sy__iq4_level, b + 2, y); }

/* OCP microscaling: a power of two for 32 values of four bits. */
static void mxfp4(const uint8_t *b, float *y) { levels(ldexpf(1, b[0] - 128), sy__mxfp4_level, b + 1, y); }

/* --- 256 values a block ------------------------------------------------------------------------------------------------------ */

static void q2_k(const uint8_t *b, float *y)         /* scales[16] (scale low, offset high) | qs[64] | d | dmin */
{
    float d = sy_f16_at(b + 80), dmin = sy_f16_at(b + 82);
    for (int j = 0; j < 16; j++) {                   /* runs of 16: half j/8, shift (j%8)/2, bytes of parity j%2 */
        const uint8_t *q = b + 16 + j / 8 * 32 + j % 2 * 16;
        float s = d * (float)(b[j] & 15), m = dmin * (float)(b[j] >> 4);
        for (int i = 0; i < 16; i++) *y++ = s * (float)(q[i] >> (j % 8 / 2 * 2) & 3) - m;
    }
}

static void q3_k(const uint8_t *b, float *y)         /* hmask[32] | qs[64] | scales[12] | d */
{
    float d = sy_f16_at(b + 108);
    for (int j = 0; j < 16; j++) {
        const uint8_t *q = b + 32 + j / 8 * 32 + j % 2 * 16, *h = b + j % 2 * 16;
        float s = d * (float)(sy__q3_scale(b + 96, j) - 32);
        for (int i = 0; i < 16; i++) {
            int v = q[i] >> (j % 8 / 2 * 2) & 3;
            *y++ = s * (float)(v - (h[i] >> (j / 2) & 1 ? 0 : 4));      /* the third bit counts when it is clear */
        }
    }
}

static void q4_k(const uint8_t *b, float *y)         /* d | dmin | scales[12] | qs[128] */
{
    float d = sy_f16_at(b), dmin = sy_f16_at(b + 2);
    for (int j = 0; j < 8; j++) {                    /* runs of 32: bytes of group j/2, low halves first */
        const uint8_t *q = b + 16 + j / 2 * 32;
        int sc, mn;
        sy__k4_scale(b + 4, j, &sc, &mn);
        float s = d * (float)sc, m = dmin * (float)mn;
        for (int i = 0; i < 32; i++) *y++ = s * (float)(q[i] >> (j % 2 * 4) & 15) - m;
    }
}

static void q5_k(const uint8_t *b, float *y)         /* d | dmin | scales[12] | qh[32] | qs[128] */
{
    float d = sy_f16_at(b), dmin = sy_f16_at(b + 2);
    for (int j = 0; j < 8; j++) {
        const uint8_t *q = b + 48 + j / 2 * 32, *h = b + 16;
        int sc, mn;
        sy__k4_scale(b + 4, j, &sc, &mn);
        float s = d * (float)sc, m = dmin * (float)mn;
        for (int i = 0; i < 32; i++) *y++ = s * (float)((q[i] >> (j % 2 * 4) & 15) | (h[i] >> j & 1) << 4) - m;
    }
}

static void q6_k(const uint8_t *b, float *y)         /* ql[128] | qh[64] | int8 scales[16] | d */
{
    float d = sy_f16_at(b + 208);
    for (int j = 0; j < 8; j++) {                    /* runs of 32: half j/4; ql bytes of parity j%2, low halves for j%4 < 2; qh shift 2(j%4) */
        const uint8_t *l = b + j / 4 * 64 + j % 2 * 32, *h = b + 128 + j / 4 * 32;
        for (int i = 0; i < 32; i++) {
            float s = d * (float)(int8_t)b[192 + 2 * j + i / 16];
            *y++ = s * (float)(((l[i] >> (j % 4 / 2 * 4) & 15) | (h[i] >> (j % 4 * 2) & 3) << 4) - 32);
        }
    }
}

static void iq4_xs(const uint8_t *b, float *y)       /* d | u16 scales_h | scales_l[4] | qs[128] */
{
    float d = sy_f16_at(b);
    unsigned high = b[2] | (unsigned)b[3] << 8;
    for (int j = 0; j < 8; j++) {
        int s = (b[4 + j / 2] >> (j % 2 * 4) & 15) | (high >> 2 * j & 3) << 4;
        levels(d * (float)(s - 32), sy__iq4_level, b + 8 + 16 * j, y + 32 * j);
    }
}

void sy_wtype_read(sy_wtype t, const void *src, size_t n, float *out)
{
    static void (*const decode[SY_WTYPES])(const uint8_t *, float *) = {
        [SY_W_Q8_0] = q8_0, [SY_W_Q4_0] = q4_0, [SY_W_Q4_1] = q4_1, [SY_W_Q5_0] = q5_0, [SY_W_Q5_1] = q5_1, [SY_W_Q2_K] = q2_k, [SY_W_Q3_K] = q3_k,
        [SY_W_Q4_K] = q4_k, [SY_W_Q5_K] = q5_k, [SY_W_Q6_K] = q6_k, [SY_W_IQ4_NL] = iq4_nl, [SY_W_IQ4_XS] = iq4_xs, [SY_W_MXFP4] = mxfp4 };
    const uint8_t *b = src;
    size_t block = (size_t)types[t].block;
    assert(t > SY_W_REAL && t < SY_WTYPES && n % block == 0);
    switch (t) {
    case SY_W_F32: memcpy(out, b, n * 4); break;
    case SY_W_F16: for (size_t i = 0; i < n; i++) out[i] = sy_f16_at(b + 2 * i); break;
    case SY_W_BF16: for (size_t i = 0; i < n; i++) out[i] = sy_bf16_to((uint16_t)(b[2 * i] | b[2 * i + 1] << 8)); break;
    default: for (size_t i = 0; i < n; i += block, b += types[t].bytes) decode[t](b, out + i);
    }
}
