/* kernels/avx512.c - vectors of 16 floats: AVX-512 F, BW, DQ, VL. The kernels themselves are in vector.h. */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kernels/pairs.h"

#if !defined __AVX512F__ || !defined __AVX512DQ__
#error "kernels/avx512.c needs the flags of its set: -march=x86-64-v4"
#endif

#define SET avx512
#define W   16
#define MR  8
#define WIDE(mr) ((mr) <= 2 ? 4 : (mr) <= 4 ? 2 : 1)    /* 8 to 16 sums: enough chains for two units of latency 4 */

typedef __m512    vec;
typedef __m512d   dvec;
typedef __mmask16 mask;

static inline mask m_first(int n)         { return n <= 0 ? 0 : n >= W ? 0xffff : (mask)((1u << n) - 1); }
static inline mask m_or(mask a, mask b)   { return a | b; }
static inline bool m_any(mask m)          { return m != 0; }

static inline vec  v_load(const float *p)                   { return _mm512_loadu_ps(p); }
static inline void v_store(float *p, vec v)                 { _mm512_storeu_ps(p, v); }
static inline vec  v_loadm(mask m, const float *p)          { return _mm512_maskz_loadu_ps(m, p); }
static inline void v_storem(mask m, float *p, vec v)        { _mm512_mask_storeu_ps(p, m, v); }
static inline vec  v_set(float s)                           { return _mm512_set1_ps(s); }
static inline vec  v_add(vec a, vec b)                      { return _mm512_add_ps(a, b); }
static inline vec  v_sub(vec a, vec b)                      { return _mm512_sub_ps(a, b); }
static inline vec  v_mul(vec a, vec b)                      { return _mm512_mul_ps(a, b); }
static inline vec  v_div(vec a, vec b)                      { return _mm512_div_ps(a, b); }
static inline vec  v_sqrt(vec a)                            { return _mm512_sqrt_ps(a); }
static inline vec  v_fma(vec a, vec b, vec c)               { return _mm512_fmadd_ps(a, b, c); }
static inline vec  v_fnma(vec a, vec b, vec c)              { return _mm512_fnmadd_ps(a, b, c); }
static inline vec  v_min(vec a, vec b)                      { return _mm512_min_ps(a, b); }
static inline vec  v_max(vec a, vec b)                      { return _mm512_max_ps(a, b); }
static inline mask v_lt(vec a, vec b)                       { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
static inline mask v_le(vec a, vec b)                       { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
static inline mask v_nan(vec a)                             { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
static inline vec  v_sel(mask m, vec a, vec b)              { return _mm512_mask_blend_ps(m, b, a); }
static inline vec  v_abs(vec a)                             { return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a); }
static inline vec  v_copysign(vec of, vec sign)             { return _mm512_or_ps(v_abs(of), _mm512_and_ps(_mm512_set1_ps(-0.0f), sign)); }
static inline vec  v_round(vec a)                           { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
static inline vec  v_pow2(vec x, vec n)                     { return _mm512_scalef_ps(x, n); }

#define V_TREE(name, op8, op4)                                                                     \
    static inline float name(vec v)                                                                \
    {                                                                                              \
        __m256 a = op8(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));                   \
        __m128 b = op4(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));                    \
        b = op4(b, _mm_movehl_ps(b, b));                                                           \
        return _mm_cvtss_f32(op4(b, _mm_movehdup_ps(b)));                                          \
    }
V_TREE(v_hsum, _mm256_add_ps, _mm_add_ps)
V_TREE(v_hmax, _mm256_max_ps, _mm_max_ps)

/* Four rows, 4 apart, at four columns each fill the quarters of a vector straight from memory; what is left to do is a 4x4 turn within the
 * quarters, half of the shuffles that 16 whole rows would need. */
static inline void v_columns(const float *w, size_t ld, vec *out)
{
#define QUARTER(r) _mm_loadu_ps(w + (size_t)(r) * ld + 4 * q)
    _Pragma("GCC unroll 4") for (int q = 0; q < 4; q++) {
        vec t[4];
        _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++) {
            vec v = _mm512_castps128_ps512(QUARTER(i));
            v = _mm512_mask_broadcast_f32x4(v, 0x00f0, QUARTER(i + 4));
            v = _mm512_mask_broadcast_f32x4(v, 0x0f00, QUARTER(i + 8));
            t[i] = _mm512_mask_broadcast_f32x4(v, 0xf000, QUARTER(i + 12));
        }
        __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(t[0], t[1])), b = _mm512_castps_pd(_mm512_unpackhi_ps(t[0], t[1]));
        __m512d c = _mm512_castps_pd(_mm512_unpacklo_ps(t[2], t[3])), d = _mm512_castps_pd(_mm512_unpackhi_ps(t[2], t[3]));
        out[4 * q]     = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
        out[4 * q + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
        out[4 * q + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
        out[4 * q + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
    }
#undef QUARTER
}

static inline void v_squares(vec x, dvec *d)
{
    dvec lo = _mm512_cvtps_pd(_mm512_castps512_ps256(x)), hi = _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
    d[0] = _mm512_fmadd_pd(lo, lo, d[0]);
    d[1] = _mm512_fmadd_pd(hi, hi, d[1]);
}

static inline double d_hsum(const dvec *d)
{
    dvec s = _mm512_add_pd(d[0], d[1]);
    __m256d a = _mm256_add_pd(_mm512_castpd512_pd256(s), _mm512_extractf64x4_pd(s, 1));
    __m128d b = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return _mm_cvtsd_f64(_mm_add_sd(b, _mm_unpackhi_pd(b, b)));
}

#include "kernels/vector.h"

/* The same kernels with products in bfloat16 beside them. */
#ifdef SY_HAVE_AVX512BF16
TABLE(avx512bf16, .gemm16 = sy__gemm16_avx512bf16, .spin16 = sy__spin16_avx512bf16);
#endif
#ifdef SY_HAVE_AMX
TABLE(amx, .gemm16 = sy__gemm16_amx, .spin16 = sy__spin16_amx);
#endif
