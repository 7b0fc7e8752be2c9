/* kernels/avx2.c - vectors of 8 floats: AVX2 and FMA. The kernels themselves are in vector.h. */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kernels/kernels.h"

#if !defined __AVX2__ || !defined __FMA__
#error "kernels/avx2.c needs the flags of its set: -mavx2 -mfma"
#endif

#define SET avx2
#define W   8
#define MR  6
#define WIDE(mr) ((mr) == 1 ? 4 : (mr) == 2 ? 2 : 1)    /* sixteen registers: at most 12 sums, 2 of B, one of A */

typedef __m256  vec;
typedef __m256d dvec;
typedef __m256i mask;                   /* all bits of a lane that is on */

static inline mask m_first(int n)         { return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }
static inline mask m_or(mask a, mask b)   { return _mm256_or_si256(a, b); }
static inline bool m_any(mask m)          { return _mm256_movemask_epi8(m) != 0; }

static inline vec  v_load(const float *p)                   { return _mm256_loadu_ps(p); }
static inline void v_store(float *p, vec v)                 { _mm256_storeu_ps(p, v); }
static inline vec  v_loadm(mask m, const float *p)          { return _mm256_maskload_ps(p, m); }
static inline void v_storem(mask m, float *p, vec v)        { _mm256_maskstore_ps(p, m, v); }
static inline vec  v_set(float s)                           { return _mm256_set1_ps(s); }
static inline vec  v_add(vec a, vec b)                      { return _mm256_add_ps(a, b); }
static inline vec  v_sub(vec a, vec b)                      { return _mm256_sub_ps(a, b); }
static inline vec  v_mul(vec a, vec b)                      { return _mm256_mul_ps(a, b); }
static inline vec  v_div(vec a, vec b)                      { return _mm256_div_ps(a, b); }
static inline vec  v_sqrt(vec a)                            { return _mm256_sqrt_ps(a); }
static inline vec  v_fma(vec a, vec b, vec c)               { return _mm256_fmadd_ps(a, b, c); }
static inline vec  v_fnma(vec a, vec b, vec c)              { return _mm256_fnmadd_ps(a, b, c); }
static inline vec  v_min(vec a, vec b)                      { return _mm256_min_ps(a, b); }
static inline vec  v_max(vec a, vec b)                      { return _mm256_max_ps(a, b); }
static inline mask v_lt(vec a, vec b)                       { return _mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_LT_OQ)); }
static inline mask v_le(vec a, vec b)                       { return _mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_LE_OQ)); }
static inline mask v_nan(vec a)                             { return _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q)); }
static inline vec  v_sel(mask m, vec a, vec b)              { return _mm256_blendv_ps(b, a, _mm256_castsi256_ps(m)); }
static inline vec  v_abs(vec a)                             { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
static inline vec  v_copysign(vec of, vec sign)             { return _mm256_or_ps(v_abs(of), _mm256_and_ps(_mm256_set1_ps(-0.0f), sign)); }
static inline vec  v_round(vec a)                           { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

static inline vec v_pow2(vec x, vec n)                      /* in two steps, each with an exponent that a float has */
{
    __m256i e = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(e, 1), one = _mm256_set1_epi32(127);
    __m256i rest = _mm256_sub_epi32(e, half);
    x = _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, one), 23)));
    return _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, one), 23)));
}

#define V_TREE(name, op)                                                                           \
    static inline float name(vec v)                                                                \
    {                                                                                              \
        __m128 b = op(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));                     \
        b = op(b, _mm_movehl_ps(b, b));                                                            \
        return _mm_cvtss_f32(op(b, _mm_movehdup_ps(b)));                                           \
    }
V_TREE(v_hsum, _mm_add_ps)
V_TREE(v_hmax, _mm_max_ps)

/* Two rows, 4 apart, at four columns each fill the halves of a vector; what is left to do is a 4x4 turn within the halves. */
static inline void v_columns(const float *w, size_t ld, vec *out)
{
#define QUARTER(r) _mm_loadu_ps(w + (size_t)(r) * ld + 4 * q)
    _Pragma("GCC unroll 2") for (int q = 0; q < 2; q++) {
        vec t[4];
        _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++) t[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(QUARTER(i)), QUARTER(i + 4), 1);
        __m256d a = _mm256_castps_pd(_mm256_unpacklo_ps(t[0], t[1])), b = _mm256_castps_pd(_mm256_unpackhi_ps(t[0], t[1]));
        __m256d c = _mm256_castps_pd(_mm256_unpacklo_ps(t[2], t[3])), d = _mm256_castps_pd(_mm256_unpackhi_ps(t[2], t[3]));
        out[4 * q]     = _mm256_castpd_ps(_mm256_unpacklo_pd(a, c));
        out[4 * q + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, c));
        out[4 * q + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(b, d));
        out[4 * q + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(b, d));
    }
#undef QUARTER
}

static inline void v_squares(vec x, dvec *d)
{
    dvec lo = _mm256_cvtps_pd(_mm256_castps256_ps128(x)), hi = _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1));
    d[0] = _mm256_fmadd_pd(lo, lo, d[0]);
    d[1] = _mm256_fmadd_pd(hi, hi, d[1]);
}

static inline double d_hsum(const dvec *d)
{
    dvec s = _mm256_add_pd(d[0], d[1]);
    __m128d b = _mm_add_pd(_mm256_castpd256_pd128(s), _mm256_extractf128_pd(s, 1));
    return _mm_cvtsd_f64(_mm_add_sd(b, _mm_unpackhi_pd(b, b)));
}

#include "kernels/vector.h"
