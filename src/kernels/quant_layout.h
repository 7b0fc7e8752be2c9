/* kernels/quant_layout.h - pieces of the block layouts that reading and writing share. */
#ifndef SY_QUANT_LAYOUT_H
#define SY_QUANT_LAYOUT_H

#include "kernels/half.h"

static inline float sy_f16_at(const uint8_t *b) { return sy_f16_to((uint16_t)(b[0] | b[1] << 8)); }
static inline uint32_t sy_u32_at(const uint8_t *b) { return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24; }

extern const int8_t sy__iq4_level[16];               /* of IQ4_NL and IQ4_XS, ascending */
extern const int8_t sy__mxfp4_level[16];

/* Q4_K, Q5_K: twelve bytes hold eight six-bit scales and eight six-bit offsets: those of runs 0..3 whole in bytes 0..3 and 4..7, those of
 * runs 4..7 with their low halves in bytes 8..11 and their two high bits on top of bytes 0..7. */
static inline void sy__k4_scale(const uint8_t *s, int j, int *sc, int *mn)
{
    if (j < 4) *sc = s[j] & 63, *mn = s[j + 4] & 63;
    else *sc = (s[j + 4] & 15) | s[j - 4] >> 6 << 4, *mn = s[j + 4] >> 4 | s[j] >> 6 << 4;
}

static inline void sy__k4_put(uint8_t *s, int j, int sc, int mn)       /* into zeroed bytes */
{
    if (j < 4) s[j] |= (uint8_t)sc, s[j + 4] |= (uint8_t)mn;
    else {
        s[j + 4] = (uint8_t)((sc & 15) | (mn & 15) << 4);
        s[j - 4] |= (uint8_t)(sc >> 4 << 6);
        s[j] |= (uint8_t)(mn >> 4 << 6);
    }
}

/* Q3_K: sixteen six-bit scales, stored plus 32: low halves in bytes 0..7 (0..7 low, 8..15 high), two high bits in bytes 8..11. */
static inline int sy__q3_scale(const uint8_t *s, int j) { return (s[j % 8] >> (j / 8 * 4) & 15) | (s[8 + j % 4] >> (j / 4 * 2) & 3) << 4; }

static inline void sy__q3_put(uint8_t *s, int j, int sc)
{
    s[j % 8] |= (uint8_t)((sc & 15) << (j / 8 * 4));
    s[8 + j % 4] |= (uint8_t)(sc >> 4 << (j / 4 * 2));
}

#endif
