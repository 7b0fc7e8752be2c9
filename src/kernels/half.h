/* kernels/half.h - two-byte floats as bits: IEEE half (F16) and the upper half of a float (BF16). Rounding is to nearest even; a NaN stays
 * a NaN. The plain C reference: no instruction set is asked for. */
#ifndef SY_HALF_H
#define SY_HALF_H

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline float    sy_bits_f32(uint32_t u) { float f; memcpy(&f, &u, 4); return f; }
static inline uint32_t sy_f32_bits(float f) { uint32_t u; memcpy(&u, &f, 4); return u; }

static inline float sy_bf16_to(uint16_t x) { return sy_bits_f32((uint32_t)x << 16); }

static inline uint16_t sy_bf16_of(float x)
{
    uint32_t u = sy_f32_bits(x);
    if (isnan(x)) return (uint16_t)(u >> 16 | 64);   /* quiet, and never turned into an infinity */
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static inline float sy_f16_to(uint16_t x)
{
    uint32_t sign = (uint32_t)(x & 0x8000) << 16, e = x >> 10 & 31, m = x & 1023;
    if (e == 31) return sy_bits_f32(sign | 0x7f800000 | m << 13);
    if (e == 0) {
        float f = (float)m * 0x1p-24f;               /* zero or denormal */
        return sign ? -f : f;
    }
    return sy_bits_f32(sign | (e + 112) << 23 | m << 13);
}

static inline uint16_t sy_f16_of(float x)
{
    uint32_t u = sy_f32_bits(x), sign = u >> 16 & 0x8000;
    float a = fabsf(x);
    if (isnan(x)) return (uint16_t)(sign | 0x7e00);
    if (a >= 65520.0f) return (uint16_t)(sign | 0x7c00);
    if (a < 0x1p-14f) return (uint16_t)(sign | (uint32_t)lrintf(a * 0x1p24f));     /* nearest even by the rounding mode */
    u &= 0x7fffffff;
    return (uint16_t)(sign | ((u + 0xfff + (u >> 13 & 1)) - 0x38000000) >> 13);
}

#endif
