/* kernels/amx_int8.c - products on eight-bit activations of many rows on the tile unit (AMX-INT8); few rows go to the set of AVX-512 VNNI.
 *
 * A tile of 16 rows of activations is read where the rows lie; one of weights, 16 rows too, is what vector_int8.h lays out: a vector holds four columns
 * of 16 rows. The unit's sums are exact integers like all others, so every bit is that of the plain set.
 *   32 values      one tile of 32 columns a block, codes made signed
 *   Q4_K, Q5_K     a run's scale is its lower three bits and eight times its upper three; codes times either fit a byte, and a block is two sums over all of its
 *                  256 columns: S = S_low + 8 S_up
 * Q6_K goes to the set of AVX-512 VNNI. */
#include <assert.h>
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kernels/int8.h"

#define PIECES_ONLY
#define SET amx
#include "kernels/vnni512_int8.h"
#include "kernels/vector_int8.h"

enum { SIDE = SY_INT8_ROWS, LEAST = 9, SPREAD_K4 = 512 };      /* rows from which tiles are faster (docs/speed.md); columns laid out at once, 18 KiB like SPREAD of the others */
enum { K4_BLOCK = K4_HEAD + 8 * PIECE };             /* vectors of a block: head, then of each piece the lower products and the upper ones */

struct tile_config { uint8_t palette, start, zero[14]; uint16_t bytes[16]; uint8_t rows[16]; };

/* Sums in tiles 0 to 3, 16 rows; activations in 4 and 5, weights in 6 and 7, of `columns` columns. */
static void set_tiles(int columns)
{
    struct tile_config c = { .palette = 1 };
    for (int i = 0; i < 8; i++) {
        c.rows[i] = (uint8_t)(i < 6 ? SIDE : columns / 4);
        c.bytes[i] = (uint16_t)(i == 4 || i == 5 ? columns : 64);
    }
    _tile_loadconfig(&c);
}

/* ---- weights ---- */

INLINE void lay_32(const sy_wtype t, const lines *l, ivec *v)
{
    spread_32(t, l, v);
    UNROLL for (int i = 0; i < 8; i++) v[i] = _mm512_sub_epi8(v[i], _mm512_set1_epi8((char)offset_of(t)));
}

INLINE void lay_k4(const sy_wtype t, const lines *l, ivec *v)
{
    ivec fifth[8], code[PIECE];
    k4_head(l, v);
    k4_fifth(t, l, fifth);
    for (int j = 0; j < 4; j++) {
        ivec *low = v + K4_HEAD + 2 * PIECE * j, *up = low + PIECE;
        k4_piece(t, l, j, fifth, code);
        UNROLL for (int i = 0; i < PIECE; i++) {             /* 31 * 7 fits a byte: two of them are one product of 16 bits */
            ivec s = v[2 * j + i / 8], both = i_or(s, i_shl(s, 16));
            low[i] = _mm512_mullo_epi16(code[i], i_and(both, i_set(0x00070007)));
            up[i] = _mm512_mullo_epi16(code[i], i_and(i_shr(both, 3), i_set(0x00070007)));
        }
    }
}

/* ---- activations pass: 16 rows are read, m of them count ---- */

#define EACH_ROW UNROLL for (int r = 0; r < SIDE; r++)

/* Tiles are named by numbers that the compiler writes down as they stand here: sum u, activations a, weights w. */
#define SUM_32(u, a, w)                                                       \
    do {                                                                      \
        _tile_zero(u);                                                        \
        _tile_loadd(a, q_at(x, 0) + 32 * (b + i + u), x->stride);             \
        _tile_loadd(w, v + (i + u) * VECS_32, 64);                            \
        _tile_dpbssd(u, a, w);                                                \
        _tile_stored(u, sum[u], 64);                                          \
    } while (0)

INLINE void pass_32(int m, const ivec *v, size_t blocks, const rows *x, size_t b, float *C, size_t ldc, bool go_on)
{
    _Alignas(64) int sum[4][SIDE][W];
    fvec c[SIDE];
    EACH_ROW c[r] = go_on && r < m ? f_load(C + (size_t)r * ldc) : f_set(0);
    for (size_t i = 0; i < blocks; i += 4) {
        size_t n = blocks - i < 4 ? blocks - i : 4;
        SUM_32(0, 4, 6);
        if (n > 1) SUM_32(1, 5, 7);
        if (n > 2) SUM_32(2, 4, 6);
        if (n > 3) SUM_32(3, 5, 7);
        for (size_t u = 0; u < n; u++) {
            fvec d = f_of_bits(v[(i + u) * VECS_32 + 8]);
            EACH_ROW c[r] = f_fma(f_of_int(_mm512_load_si512(sum[u][r])), f_mul(d, f_set(d_at(x, r)[b + i + u])), c[r]);
        }
    }
    EACH_ROW if (r < m) f_store(C + (size_t)r * ldc, c[r]);
}

INLINE void pass_k4(int m, const ivec *v, size_t blocks, const rows *x, size_t b, float *C, size_t ldc, bool go_on)
{
    _Alignas(64) int sum[2][2][SIDE][W];
    fvec c[SIDE];
    EACH_ROW c[r] = go_on && r < m ? f_load(C + (size_t)r * ldc) : f_set(0);
    for (size_t i = 0; i < blocks; i++, v += K4_BLOCK, b++) {
        int (*low)[W] = sum[i % 2][0], (*up)[W] = sum[i % 2][1];
        const int8_t *q = q_at(x, 0) + 256 * b;
        const ivec *piece = v + K4_HEAD;
        _tile_zero(0);
        _tile_zero(1);
        for (int j = 0; j < 4; j++, q += 64, piece += 2 * PIECE) {
            _tile_loadd(4, q, x->stride);
            _tile_loadd(6, piece, 64);
            _tile_loadd(7, piece + PIECE, 64);
            _tile_dpbsud(0, 4, 6);
            _tile_dpbsud(1, 4, 7);
        }
        _tile_stored(0, low, 64);
        _tile_stored(1, up, 64);
        EACH_ROW {
            ivec s = i_add(_mm512_load_si512(low[r]), i_shl(_mm512_load_si512(up[r]), 3)), off = i_set(0);
            fvec d = f_set(d_at(x, r)[b]);
            UNROLL for (int j = 0; j < 4; j++) off = i_pairs(off, v[8 + j], two(sum32_at(x, r) + 8 * b + 2 * j));
            c[r] = f_fma(f_of_int(s), f_mul(f_of_bits(v[12]), d), c[r]);
            c[r] = f_fnma(f_of_int(off), f_mul(f_of_bits(v[13]), d), c[r]);
        }
    }
    EACH_ROW if (r < m) f_store(C + (size_t)r * ldc, c[r]);
}

/* 16 rows of weights against M rows: blocks are laid out in scratch, then tiles of all rows pass over them. */
INLINE void strip(const sy_wtype t, int M, size_t K, const char *X, size_t stride, const uint8_t *w, size_t ldw, const uint8_t *next, float *C, size_t ldc, bool acc)
{
    const size_t group = (size_t)sy_int8_group(t), bytes = bytes_of(t), all = K / group, most = (is_k4(t) ? SPREAD_K4 : SPREAD) / group, vecs = is_k4(t) ? K4_BLOCK : VECS_32;
    ivec v[(is_k4(t) ? SPREAD_K4 / 256 * K4_BLOCK : SPREAD / 32 * VECS_32)];
    lines l = lines_of(w, ldw);
    for (size_t b = 0; b < all; b += most) {
        size_t n = all - b < most ? all - b : most;
        for (size_t i = 0; i < n; i++, lines_on(&l, bytes)) {
            if (next) ahead_of(next + (b + i) * W * bytes, W * bytes);
            if (is_k4(t)) lay_k4(t, &l, v + i * vecs);
            else lay_32(t, &l, v + i * vecs);
        }
        for (int m = 0; m < M; m += SIDE) {
            rows x = rows_of(t, K, X + (size_t)m * stride, stride);
            float *c = C + (size_t)m * ldc;
            int left = M - m < SIDE ? M - m : SIDE;
            if (is_k4(t)) pass_k4(left, v, n, &x, b, c, ldc, acc || b);
            else pass_32(left, v, n, &x, b, c, ldc, acc || b);
        }
    }
}

INLINE void product_of(const sy_wtype t, int M, int N, int K, const void *X, size_t stride, const uint8_t *w, size_t ldw, float *C, size_t ldc, bool acc, const void *ahead)
{
    set_tiles(is_k4(t) ? 64 : 32);
    for (int n = 0; n < N; n += W, w += W * ldw) strip(t, M, (size_t)K, X, stride, w, ldw, n + W < N ? w + W * ldw : ahead, C + n, ldc, acc);
    _tile_release();
}

#define PRODUCT(t)                                                                                                                                      \
    static __attribute__((noinline)) void product_##t(int M, int N, int K, const void *X, size_t stride, const void *w, size_t ldw, float *C, size_t ldc, bool acc, const void *ahead) \
    {                                                                                                                                                    \
        product_of(SY_W_##t, M, N, K, X, stride, w, ldw, C, ldc, acc, ahead);                                                                            \
    }
PRODUCT(Q8_0) PRODUCT(Q4_0) PRODUCT(IQ4_NL) PRODUCT(MXFP4) PRODUCT(Q4_K) PRODUCT(Q5_K)

extern const sy_int8 sy_int8_avx512vnni;

static void quantise(sy_wtype t, size_t n, const float *x, void *row) { sy_int8_avx512vnni.quantise(t, n, x, row); }

static void product(sy_wtype t, int M, int N, int K, const void *X, size_t stride, const void *w, size_t ldw, float *C, size_t ldc, bool acc, const void *ahead)
{
    int whole = N / W * W;
    if (M < LEAST || K <= 0 || whole <= 0 || t == SY_W_Q6_K) {
        sy_int8_avx512vnni.product(t, M, N, K, X, stride, w, ldw, C, ldc, acc, ahead);
        return;
    }
    switch (t) {
#define CASE(t) case SY_W_##t: product_##t(M, whole, K, X, stride, w, ldw, C, ldc, acc, ahead); break;
    CASE(Q8_0) CASE(Q4_0) CASE(IQ4_NL) CASE(MXFP4) CASE(Q4_K) CASE(Q5_K)
    default: assert(!"a format without such products");
    }
    if (whole < N) sy_int8_ref.product(t, M, N - whole, K, X, stride, (const uint8_t *)w + (size_t)whole * ldw, ldw, C + whole, ldc, acc, NULL);
}

static size_t spin(size_t n, int *x)
{
    _Alignas(64) int8_t a[SIDE][64];
    _Alignas(64) int sum[SIDE][W];
    memset(a, *x & 7, sizeof a);
    set_tiles(64);
    _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
    _tile_loadd(4, a, 64); _tile_loadd(5, a, 64); _tile_loadd(6, a, 64); _tile_loadd(7, a, 64);
    for (size_t i = 0; i < n; i++) {
        _tile_dpbssd(0, 4, 6);
        _tile_dpbssd(1, 4, 7);
        _tile_dpbssd(2, 5, 6);
        _tile_dpbssd(3, 5, 7);
    }
    _tile_stored(0, sum, 64);
    _tile_release();
    *x ^= sum[0][0];
    return n * 4 * SIDE * SIDE * 64;
}

const sy_int8 sy_int8_amx = { "amx", quantise, product, spin };
