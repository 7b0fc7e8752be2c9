/* kernels/avx2_int8.c - products on eight-bit activations with vectors of 8 rows: AVX2, FMA and F16C.
 *
 * Products of bytes are added in pairs to 16 bits, which holds codes of six bits whole; codes of eight bits are multiplied by their magnitude, with
 * their sign on the other side: 128 * 127 * 2 fits. */
#include <assert.h>
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kernels/int8.h"

#if !defined __AVX2__ || !defined __FMA__ || !defined __F16C__
#error "kernels/avx2_int8.c needs the flags of its set: -mavx2 -mfma -mf16c"
#endif

#define SET  avx2
#define W    8
#define MR   4
#define WIDE 0

#include "kernels/lines_int8.h"

typedef __m256i ivec;
typedef __m256  fvec;

static inline ivec i_set(int x)                  { return _mm256_set1_epi32(x); }
static inline ivec i_add(ivec a, ivec b)         { return _mm256_add_epi32(a, b); }
static inline ivec i_sub(ivec a, ivec b)         { return _mm256_sub_epi32(a, b); }
static inline ivec i_mul(ivec a, ivec b)         { return _mm256_mullo_epi32(a, b); }
static inline ivec i_and(ivec a, ivec b)         { return _mm256_and_si256(a, b); }
static inline ivec i_or(ivec a, ivec b)          { return _mm256_or_si256(a, b); }
static inline ivec i_xor(ivec a, ivec b)         { return _mm256_xor_si256(a, b); }
static inline ivec i_shl(ivec a, int n)          { return (ivec)((__v8su)a << n); }
static inline ivec i_shr(ivec a, int n)          { return (ivec)((__v8su)a >> n); }
static inline ivec i_shlv(ivec a, ivec n)        { return _mm256_sllv_epi32(a, n); }
static inline ivec i_sra(ivec a, int n)          { return (ivec)((__v8si)a >> n); }
static inline ivec i_sra16(ivec a, int n)        { return (ivec)((__v16hi)a >> n); }
static inline ivec i_less(ivec a, ivec b, ivec yes, ivec no) { return _mm256_blendv_epi8(no, yes, _mm256_cmpgt_epi32(b, a)); }
static inline ivec i_pick(ivec v, const int8_t *table) { return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)table)), v); }
static inline ivec i_dot(ivec s, ivec u, ivec x) { return i_add(s, _mm256_madd_epi16(_mm256_maddubs_epi16(u, x), _mm256_set1_epi16(1))); }
static inline ivec i_dot_wide(ivec s, ivec w, ivec x) { return i_dot(s, _mm256_abs_epi8(w), _mm256_sign_epi8(x, w)); }
static inline ivec i_pairs(ivec s, ivec a, ivec b) { return i_add(s, _mm256_madd_epi16(a, b)); }
static inline fvec f_of_bits(ivec v)             { return _mm256_castsi256_ps(v); }
static inline ivec i_of_f(fvec v)                { return _mm256_castps_si256(v); }
static inline fvec f_of_int(ivec v)              { return _mm256_cvtepi32_ps(v); }
static inline fvec f_set(float x)                { return _mm256_set1_ps(x); }
static inline fvec f_mul(fvec a, fvec b)         { return _mm256_mul_ps(a, b); }
static inline fvec f_fma(fvec a, fvec b, fvec c) { return _mm256_fmadd_ps(a, b, c); }
static inline fvec f_fnma(fvec a, fvec b, fvec c) { return _mm256_fnmadd_ps(a, b, c); }
static inline fvec f_load(const float *p)        { return _mm256_loadu_ps(p); }
static inline void f_store(float *p, fvec v)     { _mm256_storeu_ps(p, v); }

static inline fvec f_of_half(ivec v)
{
    v = _mm256_and_si256(v, i_set(0xffff));
    return _mm256_cvtph_ps(_mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1)));
}

static inline ivec i_move(ivec v, const int8_t *b) { return _mm256_shuffle_epi8(v, _mm256_broadcastsi128_si256(moves(b))); }

/* Two rows, 4 apart, fill the halves of a vector; what is left to do is a 4x4 turn within the halves. */
static inline void i_columns(const lines *l, size_t at, ivec *out)
{
#define HALF(r) _mm_loadu_si128(ROW(l, at, r))
    ivec t[4];
    _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++) t[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(HALF(i)), HALF(i + 4), 1);
    ivec a = _mm256_unpacklo_epi32(t[0], t[1]), b = _mm256_unpackhi_epi32(t[0], t[1]), c = _mm256_unpacklo_epi32(t[2], t[3]), d = _mm256_unpackhi_epi32(t[2], t[3]);
    out[0] = _mm256_unpacklo_epi64(a, c);
    out[1] = _mm256_unpackhi_epi64(a, c);
    out[2] = _mm256_unpacklo_epi64(b, d);
    out[3] = _mm256_unpackhi_epi64(b, d);
#undef HALF
}

static inline ivec i_gather(const lines *l, size_t at)
{
    int v[8];
    for (int r = 0; r < 8; r++) memcpy(&v[r], ROW(l, at, r), 4);
    return _mm256_setr_epi32(v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]);
}

static inline uint32_t q_largest(const float *x, size_t n)
{
    ivec top = i_set(0);
    for (size_t i = 0; i < n; i += W) top = _mm256_max_epu32(top, i_and(_mm256_loadu_si256((const __m256i *)(x + i)), i_set(0x7fffffff)));
    __m128i t = _mm_max_epu32(_mm256_castsi256_si128(top), _mm256_extracti128_si256(top, 1));
    t = _mm_max_epu32(t, _mm_shuffle_epi32(t, 0x4e));
    return (uint32_t)_mm_cvtsi128_si32(_mm_max_epu32(t, _mm_shuffle_epi32(t, 0xb1)));
}

static inline int sum_of(ivec v)
{
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

static inline void q_group(const float *x, size_t n, float by, int8_t *q, int16_t *sum32, int16_t *sum16)
{
    for (size_t i = 0; i < n; i += 32) {
        ivec v[4];
        for (int j = 0; j < 4; j++) v[j] = _mm256_cvtps_epi32(f_mul(f_load(x + i + 8 * j), f_set(by)));
        ivec b = _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));       /* groups of four: 0 2 4 6 | 1 3 5 7 */
        _mm256_storeu_si256((__m256i *)(q + i), _mm256_permutevar8x32_epi32(b, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
        int s = sum_of(i_add(v[0], v[1])), t = sum_of(i_add(v[2], v[3]));
        sum16[i / 16] = (int16_t)s;
        sum16[i / 16 + 1] = (int16_t)t;
        sum32[i / 32] = (int16_t)(s + t);
    }
}

#include "kernels/vector_int8.h"
