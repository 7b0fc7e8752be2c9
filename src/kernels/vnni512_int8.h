/* kernels/vnni512_int8.h - what a vector is where AVX-512 and its dot products of bytes (VNNI) are: 16 rows; for the files of sets that include vector_int8.h. */
#define W    16
#define MR   8
#define WIDE 128

#include "kernels/lines_int8.h"

typedef __m512i ivec;
typedef __m512  fvec;

static inline ivec i_set(int x)                  { return _mm512_set1_epi32(x); }
static inline ivec i_add(ivec a, ivec b)         { return _mm512_add_epi32(a, b); }
static inline ivec i_sub(ivec a, ivec b)         { return _mm512_sub_epi32(a, b); }
static inline ivec i_mul(ivec a, ivec b)         { return _mm512_mullo_epi32(a, b); }
static inline ivec i_and(ivec a, ivec b)         { return _mm512_and_si512(a, b); }
static inline ivec i_or(ivec a, ivec b)          { return _mm512_or_si512(a, b); }
static inline ivec i_xor(ivec a, ivec b)         { return _mm512_xor_si512(a, b); }
static inline ivec i_shl(ivec a, int n)          { return (ivec)((__v16su)a << n); }
static inline ivec i_shr(ivec a, int n)          { return (ivec)((__v16su)a >> n); }
static inline ivec i_shlv(ivec a, ivec n)        { return _mm512_sllv_epi32(a, n); }
static inline ivec i_sra(ivec a, int n)          { return (ivec)((__v16si)a >> n); }
static inline ivec i_sra16(ivec a, int n)        { return (ivec)((__v32hi)a >> n); }
static inline ivec i_less(ivec a, ivec b, ivec yes, ivec no) { return _mm512_mask_blend_epi32(_mm512_cmplt_epi32_mask(a, b), no, yes); }
static inline ivec i_pick(ivec v, const int8_t *table) { return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)table)), v); }
static inline ivec i_dot(ivec s, ivec u, ivec x) { return _mm512_dpbusd_epi32(s, u, x); }
static inline ivec i_dot_wide(ivec s, ivec u, ivec x) { return _mm512_dpbusd_epi32(s, u, x); }
static inline ivec i_pairs(ivec s, ivec a, ivec b) { return _mm512_dpwssd_epi32(s, a, b); }
static inline fvec f_of_bits(ivec v)             { return _mm512_castsi512_ps(v); }
static inline ivec i_of_f(fvec v)                { return _mm512_castps_si512(v); }
static inline fvec f_of_int(ivec v)              { return _mm512_cvtepi32_ps(v); }
static inline fvec f_of_half(ivec v)             { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v)); }
static inline fvec f_set(float x)                { return _mm512_set1_ps(x); }
static inline fvec f_mul(fvec a, fvec b)         { return _mm512_mul_ps(a, b); }
static inline fvec f_fma(fvec a, fvec b, fvec c) { return _mm512_fmadd_ps(a, b, c); }
static inline fvec f_fnma(fvec a, fvec b, fvec c) { return _mm512_fnmadd_ps(a, b, c); }
static inline fvec f_load(const float *p)        { return _mm512_loadu_ps(p); }
static inline void f_store(float *p, fvec v)     { _mm512_storeu_ps(p, v); }

static inline ivec i_move(ivec v, const int8_t *b) { return _mm512_shuffle_epi8(v, _mm512_broadcast_i32x4(moves(b))); }

/* Rows 4 apart fill the quarters of a vector straight from memory; what is left to do is a 4x4 turn within the quarters. */
static inline void i_columns(const lines *l, size_t at, ivec *out)
{
#define QUARTER(r) _mm_loadu_si128(ROW(l, at, r))
    ivec t[4];
    _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++) {
        ivec v = _mm512_castsi128_si512(QUARTER(i));
        v = _mm512_mask_broadcast_i32x4(v, 0x00f0, QUARTER(i + 4));
        v = _mm512_mask_broadcast_i32x4(v, 0x0f00, QUARTER(i + 8));
        t[i] = _mm512_mask_broadcast_i32x4(v, 0xf000, QUARTER(i + 12));
    }
    ivec a = _mm512_unpacklo_epi32(t[0], t[1]), b = _mm512_unpackhi_epi32(t[0], t[1]), c = _mm512_unpacklo_epi32(t[2], t[3]), d = _mm512_unpackhi_epi32(t[2], t[3]);
    out[0] = _mm512_unpacklo_epi64(a, c);
    out[1] = _mm512_unpackhi_epi64(a, c);
    out[2] = _mm512_unpacklo_epi64(b, d);
    out[3] = _mm512_unpackhi_epi64(b, d);
#undef QUARTER
}

static inline ivec i_gather(const lines *l, size_t at)
{
    const ivec row = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_i32gather_epi32(_mm512_mullo_epi32(row, _mm512_set1_epi32((int)l->ld)), l->p[0] + at, 1);
}

static inline uint32_t q_largest(const float *x, size_t n)
{
    ivec top = i_set(0);
    for (size_t i = 0; i < n; i += W) top = _mm512_max_epu32(top, i_and(_mm512_loadu_si512(x + i), i_set(0x7fffffff)));
    return _mm512_reduce_max_epu32(top);
}

static inline void q_group(const float *x, size_t n, float by, int8_t *q, int16_t *sum32, int16_t *sum16)
{
    for (size_t i = 0; i < n; i += 32) {
        ivec a = _mm512_cvtps_epi32(f_mul(f_load(x + i), f_set(by))), b = _mm512_cvtps_epi32(f_mul(f_load(x + i + 16), f_set(by)));
        _mm_storeu_si128((__m128i *)(q + i), _mm512_cvtepi32_epi8(a));
        _mm_storeu_si128((__m128i *)(q + i + 16), _mm512_cvtepi32_epi8(b));
        int s = _mm512_reduce_add_epi32(a), t = _mm512_reduce_add_epi32(b);
        sum16[i / 16] = (int16_t)s;
        sum16[i / 16 + 1] = (int16_t)t;
        sum32[i / 32] = (int16_t)(s + t);
    }
}
