/* kernels/vector_int8.h - products on eight-bit activations over vectors of W lanes; a set's file says what a vector is and includes this last.
 *
 * W rows of weights run side by side, a lane each: a vector holds four consecutive codes of W rows, and meets four values of an activation that
 * are the same in every lane. So nothing is summed across lanes, and one row of activations or many run the same steps: few use a block of W
 * rows while its codes are in registers; for many some blocks are laid out in scratch before all rows pass over them. Rows of weights that fill no
 * vector go to the plain set, which gives the same bits.
 *
 * A set with an own way for many rows defines PIECES_ONLY and gets the weights' part and the rows' alone.
 *
 * Before the include a set defines SET, W, MR (rows of activations that pass together), WIDE (what is added to eight-bit codes to make them
 * unsigned; 0 where the set multiplies signed ones) and these, all static inline:
 *   i_columns(l, at, out): 16 bytes at ROW(l, at, r) of W rows: lane r of out[i] is bytes 4i .. 4i+3 of row r;  i_gather(l, at): the first four
 *   i_set, i_add, i_sub, i_mul, i_and, i_or, i_xor of 32-bit lanes;  i_shl, i_shr (logical), i_shlv, i_sra, i_sra16 (16-bit lanes);  i_less(a, b, yes, no)
 *    i_pick(v, table of 16 bytes): the table's byte at each byte 0 .. 15 of v;  i_move(v, bytes): in each lane, byte i becomes byte bytes[i] (-1: zero)
 *   i_dot(s, u, x): s + sum of four products in each lane, u unsigned and at most 63, x signed;  i_dot_wide: the same for codes of eight bits
 *   i_pairs(s, a, b): s + sum of two products of 16-bit halves
 *   f_of_int, f_of_half(v): the F16 in the lower half of each lane;  f_of_bits, f_set, f_mul, f_fma, f_fnma, f_load, f_store
 *   q_group(x, n, q, by): q = integers nearest to x by, n a multiple of 32;  q_largest(x, n): bits of the largest magnitude */
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

enum { SPREAD = 1024, VECS_32 = 9 };    /* columns laid out at once, at most 20 KiB; vectors of a block of 32 values */

/* ---- weights ---- */

INLINE size_t bytes_of(const sy_wtype t)                     /* of a block, known where the type is */
{
    switch (t) {
#define X(name, id, block, bytes) case SY_W_##name: return bytes;
    SY_WTYPE_LIST(X)
#undef X
    default: return 0;
    }
}

/* F16 scale at byte `at` of each row. */
INLINE fvec half_at(const lines *l, size_t at) { return f_of_half(i_gather(l, at)); }

/* 2^(e - 128); the two smallest are denormal. */
INLINE fvec power_at(const lines *l, size_t at)
{
    ivec e = i_and(i_gather(l, at), i_set(255)), two = i_set(2);
    return f_of_bits(i_less(e, two, i_shlv(i_set(0x200000), e), i_shl(i_sub(e, i_set(1)), 23)));
}

INLINE void nibbles(const lines *l, size_t at, ivec *q)
{
    ivec b[4], low = i_set(0x0f0f0f0f);
    i_columns(l, at, b);
    UNROLL for (int i = 0; i < 4; i++) {
        q[i] = i_and(b[i], low);
        q[4 + i] = i_and(i_shr(b[i], 4), low);
    }
}

/* A block of 32 values: codes [8], scale. The codes are off by `offset_of` from what they stand for. */
static const int8_t iq4_up[16] = { -127 + WIDE, -104 + WIDE, -83 + WIDE, -65 + WIDE, -49 + WIDE, -35 + WIDE, -22 + WIDE, -10 + WIDE,
                                   (int8_t)(1 + WIDE), (int8_t)(13 + WIDE), (int8_t)(25 + WIDE), (int8_t)(38 + WIDE), (int8_t)(53 + WIDE), (int8_t)(69 + WIDE),
                                   (int8_t)(89 + WIDE), (int8_t)(113 + WIDE) };
static const int8_t mxfp4_up[16] = { 12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0 };

INLINE int  offset_of(const sy_wtype t) { return t == SY_W_Q4_0 ? 8 : t == SY_W_MXFP4 ? 12 : WIDE; }
INLINE bool is_wide(const sy_wtype t)   { return t == SY_W_Q8_0 || t == SY_W_IQ4_NL; }

INLINE void spread_32(const sy_wtype t, const lines *l, ivec *v)
{
    if (t == SY_W_Q8_0) {
        i_columns(l, 2, v);
        i_columns(l, 18, v + 4);
        if (WIDE) UNROLL for (int i = 0; i < 8; i++) v[i] = i_xor(v[i], i_set((int)0x80808080));
    } else nibbles(l, t == SY_W_MXFP4 ? 1 : 2, v);
    if (t == SY_W_IQ4_NL) UNROLL for (int i = 0; i < 8; i++) v[i] = i_pick(v[i], iq4_up);
    if (t == SY_W_MXFP4) UNROLL for (int i = 0; i < 8; i++) v[i] = i_pick(v[i], mxfp4_up);
    v[8] = i_of_f(t == SY_W_MXFP4 ? power_at(l, 0) : half_at(l, 0));
}

/* Formats of 256 values come in a head and four pieces of 16 vectors, 64 columns each, so that few rows can use a piece while it is in registers.
 *   Q4_K, Q5_K   a piece is two runs of 32 columns; head: scales [8], offsets [4] as pairs of 16 bits, scale of the scales, scale of the offsets
 *   Q6_K         a piece is four runs of 16 columns, `k6_run` says which; head: scales [8] as pairs of 16 bits, scale of the scales */
enum { PIECE = 16, K4_HEAD = 8 + 4 + 2, K6_HEAD = 8 + 1, K4_VECS = K4_HEAD + 4 * PIECE, K6_VECS = K6_HEAD + 4 * PIECE };

INLINE void k4_head(const lines *l, ivec *h)
{
    const int8_t byte[4][4] = { { 0, -1, -1, -1 }, { 1, -1, -1, -1 }, { 2, -1, -1, -1 }, { 3, -1, -1, -1 } }, pair[2][4] = { { 0, -1, 1, -1 }, { 2, -1, 3, -1 } };
    ivec b[4], six = i_set(0x3f3f3f3f), low = i_set(0x0f0f0f0f), top = i_set(0x30303030);
    i_columns(l, 0, b);                                      /* d and dmin, then twelve bytes of scales and offsets */
    ivec scale[2] = { i_and(b[1], six), i_or(i_and(b[3], low), i_and(i_shr(b[1], 2), top)) };
    ivec off[2] = { i_and(b[2], six), i_or(i_and(i_shr(b[3], 4), low), i_and(i_shr(b[2], 2), top)) };
    UNROLL for (int j = 0; j < 8; j++) h[j] = i_move(scale[j / 4], byte[j % 4]);
    UNROLL for (int j = 0; j < 4; j++) h[8 + j] = i_move(off[j / 2], pair[j % 2]);
    h[12] = i_of_f(f_of_half(b[0]));
    h[13] = i_of_f(f_of_half(i_shr(b[0], 16)));
}

/* fifth [8]: bit r of a byte belongs to run r. */
INLINE void k4_fifth(const sy_wtype t, const lines *l, ivec *fifth)
{
    if (t == SY_W_Q4_K) return;
    i_columns(l, 16, fifth);
    i_columns(l, 32, fifth + 4);
}

INLINE void k4_piece(const sy_wtype t, const lines *l, int j, const ivec *fifth, ivec *v)
{
    const size_t at = (t == SY_W_Q5_K ? 48 : 16) + 32 * (size_t)j;
    ivec half[8];
    UNROLL for (int part = 0; part < 2; part++) {
        nibbles(l, at + 16 * (size_t)part, half);
        UNROLL for (int i = 0; i < 4; i++) v[4 * part + i] = half[i], v[8 + 4 * part + i] = half[4 + i];
    }
    if (t == SY_W_Q5_K) UNROLL for (int i = 0; i < 16; i++) v[i] = i_or(v[i], i_and(i_shl(i_shr(fifth[i % 8], 2 * j + i / 8), 4), i_set(0x10101010)));
}

INLINE void k6_head(const lines *l, ivec *h)
{
    const int8_t pair[2][4] = { { -1, 0, -1, 1 }, { -1, 2, -1, 3 } };
    ivec s[4];
    i_columns(l, 192, s);
    UNROLL for (int j = 0; j < 8; j++) h[j] = i_sra16(i_move(s[j / 2], pair[j % 2]), 8);
    h[8] = i_of_f(f_of_half(i_shr(i_gather(l, 206), 16)));
}

/* Piece j: sixteen bytes of high bits, and those of each half of the low ones. */
INLINE void k6_piece(const lines *l, int j, ivec *v)
{
    ivec a[4], b[4], h[4], low = i_set(0x0f0f0f0f), two = i_set(0x30303030);
    const size_t at = 64 * (size_t)(j / 2) + 16 * (size_t)(j % 2);
    i_columns(l, at, a);
    i_columns(l, at + 32, b);
    i_columns(l, 128 + 32 * (size_t)(j / 2) + 16 * (size_t)(j % 2), h);
    UNROLL for (int i = 0; i < 4; i++) {
        v[i]      = i_or(i_and(a[i], low), i_and(i_shl(h[i], 4), two));
        v[4 + i]  = i_or(i_and(b[i], low), i_and(i_shl(h[i], 2), two));
        v[8 + i]  = i_or(i_and(i_shr(a[i], 4), low), i_and(h[i], two));
        v[12 + i] = i_or(i_and(i_shr(b[i], 4), low), i_and(i_shr(h[i], 2), two));
    }
}

INLINE int k6_run(int piece, int g) { return 8 * (piece / 2) + 2 * g + piece % 2; }
INLINE ivec k6_scale(const ivec *head, int run) { return i_sra(run % 2 ? head[run / 2] : i_shl(head[run / 2], 16), 16); }

INLINE bool is_k4(const sy_wtype t)   { return t == SY_W_Q4_K || t == SY_W_Q5_K; }
INLINE int  vecs_of(const sy_wtype t) { return t == SY_W_Q6_K ? K6_VECS : is_k4(t) ? K4_VECS : VECS_32; }

INLINE void spread(const sy_wtype t, const lines *l, ivec *v)
{
    ivec fifth[8];
    if (t == SY_W_Q6_K) {
        k6_head(l, v);
        for (int j = 0; j < 4; j++) k6_piece(l, j, v + K6_HEAD + PIECE * j);
    } else if (is_k4(t)) {
        k4_head(l, v);
        k4_fifth(t, l, fifth);
        for (int j = 0; j < 4; j++) k4_piece(t, l, j, fifth, v + K4_HEAD + PIECE * j);
    } else spread_32(t, l, v);
}

/* ---- activations pass ---- */

/* Rows of activations, `stride` bytes apart; the other numbers are where a row's parts begin (int8.h). */
typedef struct rows { const char *x; size_t stride, d, sum32, sum16; } rows;

INLINE rows rows_of(const sy_wtype t, size_t K, const char *X, size_t stride)
{
    sy_int8_row r = sy_int8_at(t, K, X);
    return (rows){ X, stride, (size_t)((const char *)r.d - X), (size_t)((const char *)r.sum32 - X), (size_t)((const char *)r.sum16 - X) };
}
INLINE const int8_t  *q_at(const rows *x, int m)     { return (const int8_t *)(x->x + (size_t)m * x->stride); }
INLINE const float   *d_at(const rows *x, int m)     { return (const float *)(x->x + (size_t)m * x->stride + x->d); }
INLINE const int16_t *sum32_at(const rows *x, int m) { return (const int16_t *)(x->x + (size_t)m * x->stride + x->sum32); }
INLINE const int16_t *sum16_at(const rows *x, int m) { return (const int16_t *)(x->x + (size_t)m * x->stride + x->sum16); }

INLINE ivec four(const int8_t *q) { int u; memcpy(&u, q, 4); return i_set(u); }
INLINE ivec two(const int16_t *s) { int u; memcpy(&u, s, 4); return i_set(u); }

/* Asks for the lines of n bytes at p. */
INLINE void ahead_of(const uint8_t *p, const size_t n) { UNROLL for (size_t i = 0; i < n; i += 64) __builtin_prefetch(p + i, 0, 3); }

#ifndef PIECES_ONLY

/* mr rows meet block number b, laid out at v; c [mr] go on. */
INLINE void meet_32(const sy_wtype t, const int mr, const ivec *v, const rows *x, size_t b, fvec *c)
{
    ivec s[MR], q[8];
    UNROLL for (int j = 0; j < 8; j++) q[j] = v[j];
    fvec d = f_of_bits(v[8]);
    UNROLL for (int m = 0; m < mr; m++) {
        s[m] = i_set(-offset_of(t) * sum32_at(x, m)[b]);
        UNROLL for (int j = 0; j < 8; j++) s[m] = is_wide(t) ? i_dot_wide(s[m], q[j], four(q_at(x, m) + 32 * b + 4 * j)) : i_dot(s[m], q[j], four(q_at(x, m) + 32 * b + 4 * j));
    }
    UNROLL for (int m = 0; m < mr; m++) c[m] = f_fma(f_of_int(s[m]), f_mul(d, f_set(d_at(x, m)[b])), c[m]);
}

/* n vectors of codes from v on, columns from `at` on: all[m] += scale * sum. */
INLINE void run_of(const int mr, const int n, const ivec *v, ivec scale, const rows *x, size_t at, ivec *all)
{
    UNROLL for (int m = 0; m < mr; m++) {
        ivec s = i_set(0);
        UNROLL for (int j = 0; j < n; j++) s = i_dot(s, v[j], four(q_at(x, m) + at + 4 * j));
        all[m] = i_add(all[m], i_mul(s, scale));
    }
}

INLINE void k4_meets(const int mr, const ivec *piece, const ivec *head, int j, const rows *x, size_t b, ivec *all)
{
    UNROLL for (int g = 0; g < 2; g++) run_of(mr, 8, piece + 8 * g, head[2 * j + g], x, 256 * b + 64 * (size_t)j + 32 * (size_t)g, all);
}

INLINE void k6_meets(const int mr, const ivec *piece, const ivec *head, int j, const rows *x, size_t b, ivec *all)
{
    UNROLL for (int g = 0; g < 4; g++) run_of(mr, 4, piece + 4 * g, k6_scale(head, k6_run(j, g)), x, 256 * b + 16 * (size_t)k6_run(j, g), all);
}

/* The sums of a block are whole: offsets, scales, one step of each chain. */
INLINE void k4_end(const int mr, const ivec *head, const rows *x, size_t b, const ivec *all, fvec *c)
{
    UNROLL for (int m = 0; m < mr; m++) {
        ivec off = i_set(0);
        UNROLL for (int j = 0; j < 4; j++) off = i_pairs(off, head[8 + j], two(sum32_at(x, m) + 8 * b + 2 * j));
        c[m] = f_fma(f_of_int(all[m]), f_mul(f_of_bits(head[12]), f_set(d_at(x, m)[b])), c[m]);
        c[m] = f_fnma(f_of_int(off), f_mul(f_of_bits(head[13]), f_set(d_at(x, m)[b])), c[m]);
    }
}

INLINE void k6_end(const int mr, const ivec *head, const rows *x, size_t b, const ivec *all, fvec *c)
{
    UNROLL for (int m = 0; m < mr; m++) {
        ivec off = i_set(0);
        UNROLL for (int j = 0; j < 8; j++) off = i_pairs(off, head[j], two(sum16_at(x, m) + 16 * b + 2 * j));
        c[m] = f_fma(f_of_int(i_sub(all[m], i_shl(off, 5))), f_mul(f_of_bits(head[8]), f_set(d_at(x, m)[b])), c[m]);
    }
}

/* mr rows meet block number b, laid out at v. */
INLINE void meet(const sy_wtype t, const int mr, const ivec *v, const rows *x, size_t b, fvec *c)
{
    ivec all[MR];
    UNROLL for (int m = 0; m < mr; m++) all[m] = i_set(0);
    if (t == SY_W_Q6_K) {
        for (int j = 0; j < 4; j++) k6_meets(mr, v + K6_HEAD + PIECE * j, v, j, x, b, all);
        k6_end(mr, v, x, b, all, c);
    } else if (is_k4(t)) {
        for (int j = 0; j < 4; j++) k4_meets(mr, v + K4_HEAD + PIECE * j, v, j, x, b, all);
        k4_end(mr, v, x, b, all, c);
    } else meet_32(t, mr, v, x, b, c);
}

/* The same from the block itself: what is laid out stays in registers. Bytes at `next`, as many as W blocks have, are asked for bit by bit; NULL: none. */
INLINE void meet_direct(const sy_wtype t, const int mr, const lines *l, const rows *x, size_t b, const uint8_t *next, fvec *c)
{
    const size_t quarter = W * bytes_of(t) / 4;
    ivec all[MR], head[K4_HEAD], v[PIECE], fifth[8];
    UNROLL for (int m = 0; m < mr; m++) all[m] = i_set(0);
    if (t == SY_W_Q6_K) {
        k6_head(l, head);
        for (int j = 0; j < 4; j++) {
            if (next) ahead_of(next + (size_t)j * quarter, quarter);
            k6_piece(l, j, v);
            k6_meets(mr, v, head, j, x, b, all);
        }
        k6_end(mr, head, x, b, all, c);
    } else if (is_k4(t)) {
        k4_head(l, head);
        k4_fifth(t, l, fifth);
        for (int j = 0; j < 4; j++) {
            if (next) ahead_of(next + (size_t)j * quarter, quarter);
            k4_piece(t, l, j, fifth, v);
            k4_meets(mr, v, head, j, x, b, all);
        }
        k4_end(mr, head, x, b, all, c);
    } else {
        if (next) ahead_of(next, W * bytes_of(t));
        spread_32(t, l, v);
        meet_32(t, mr, v, x, b, c);
    }
}

/* mr rows of C, W columns, meet `blocks` blocks from number b on. */
INLINE void pass(const sy_wtype t, const int mr, const ivec *v, size_t blocks, const rows *x, size_t b, float *C, size_t ldc, bool go_on)
{
    fvec c[MR];
    UNROLL for (int m = 0; m < mr; m++) c[m] = go_on ? f_load(C + (size_t)m * ldc) : f_set(0);
    for (size_t i = 0; i < blocks; i++, v += vecs_of(t)) meet(t, mr, v, x, b + i, c);
    UNROLL for (int m = 0; m < mr; m++) f_store(C + (size_t)m * ldc, c[m]);
}

/* W rows of weights against mr rows of activations, few enough that a block is used at once. `next`: as many bytes that will be read afterwards, or NULL. */
INLINE void strip_direct(const sy_wtype t, const int mr, size_t K, const rows *x, const uint8_t *w, size_t ldw, const uint8_t *next, float *C, size_t ldc, bool acc)
{
    const size_t bytes = bytes_of(t), all = K / (size_t)sy_int8_group(t);
    fvec c[MR];
    UNROLL for (int m = 0; m < mr; m++) c[m] = acc ? f_load(C + (size_t)m * ldc) : f_set(0);
    lines l = lines_of(w, ldw);
    for (size_t b = 0; b < all; b++, lines_on(&l, bytes)) {
        meet_direct(t, mr, &l, x, b, next ? next + b * W * bytes : NULL, c);
    }
    UNROLL for (int m = 0; m < mr; m++) f_store(C + (size_t)m * ldc, c[m]);
}

/* The same against many rows: blocks are laid out in scratch, then all rows pass over them. */
INLINE void strip(const sy_wtype t, int M, size_t K, const char *X, size_t stride, const uint8_t *w, size_t ldw, const uint8_t *next, float *C, size_t ldc, bool acc)
{
    const size_t group = (size_t)sy_int8_group(t), bytes = bytes_of(t), all = K / group, most = SPREAD / group;
    ivec v[SPREAD / (is_k4(t) || t == SY_W_Q6_K ? 256 : 32) * vecs_of(t)];
    lines l = lines_of(w, ldw);
    for (size_t b = 0; b < all; b += most) {
        size_t n = all - b < most ? all - b : most;
        for (size_t i = 0; i < n; i++, lines_on(&l, bytes)) {
            if (next) ahead_of(next + (b + i) * W * bytes, W * bytes);
            spread(t, &l, v + i * (size_t)vecs_of(t));
        }
        for (int m = 0; m < M; ) {
            rows x = rows_of(t, K, X + (size_t)m * stride, stride);
            float *c = C + (size_t)m * ldc;
            switch (M - m) {
            case 1: pass(t, 1, v, n, &x, b, c, ldc, acc || b); m += 1; break;
            case 2: case 3: pass(t, 2, v, n, &x, b, c, ldc, acc || b); m += 2; break;
#if MR > 4
            case 4: case 5: case 6: case 7: pass(t, 4, v, n, &x, b, c, ldc, acc || b); m += 4; break;
#endif
            default: pass(t, MR, v, n, &x, b, c, ldc, acc || b); m += MR;
            }
        }
    }
}

INLINE void product_of(const sy_wtype t, int M, int N, int K, const void *X, size_t stride, const void *weights, size_t ldw, float *C, size_t ldc, bool acc, const void *ahead)
{
    const uint8_t *w = weights;
    rows x = rows_of(t, (size_t)K, X, stride);
    int n = 0;
    if (M <= 0) return;
    if (K > 0) for (; n + W <= N; n += W, w += W * ldw) {
        const uint8_t *next = n + 2 * W <= N ? w + W * ldw : ahead;
        if (M == 1) strip_direct(t, 1, (size_t)K, &x, w, ldw, next, C + n, ldc, acc);
        else if (M == 2) strip_direct(t, 2, (size_t)K, &x, w, ldw, next, C + n, ldc, acc);
        else if (M == 3) strip_direct(t, 3, (size_t)K, &x, w, ldw, next, C + n, ldc, acc);
        else if (M == 4) strip_direct(t, 4, (size_t)K, &x, w, ldw, next, C + n, ldc, acc);
        else strip(t, M, (size_t)K, X, stride, w, ldw, next, C + n, ldc, acc);
    }
    if (n < N) sy_int8_ref.product(t, M, N - n, K, X, stride, w, ldw, C + n, ldc, acc, NULL);
}

#define PRODUCT(t)                                                                                                                                      \
    static __attribute__((noinline)) void product_##t(int M, int N, int K, const void *X, size_t stride, const void *w, size_t ldw, float *C, size_t ldc, bool acc, const void *ahead) \
    {                                                                                                                                                    \
        product_of(SY_W_##t, M, N, K, X, stride, w, ldw, C, ldc, acc, ahead);                                                                            \
    }
PRODUCT(Q8_0) PRODUCT(Q4_0) PRODUCT(IQ4_NL) PRODUCT(MXFP4) PRODUCT(Q4_K) PRODUCT(Q5_K) PRODUCT(Q6_K)

static void product(sy_wtype t, int M, int N, int K, const void *X, size_t stride, const void *w, size_t ldw, float *C, size_t ldc, bool acc, const void *ahead)
{
    switch (t) {
#define CASE(t) case SY_W_##t: product_##t(M, N, K, X, stride, w, ldw, C, ldc, acc, ahead); break;
    CASE(Q8_0) CASE(Q4_0) CASE(IQ4_NL) CASE(MXFP4) CASE(Q4_K) CASE(Q5_K) CASE(Q6_K)
    default: assert(!"a format without such products");
    }
}

/* ---- activations ---- */

static void quantise(sy_wtype t, size_t n, const float *x, void *row)
{
    const size_t group = (size_t)sy_int8_group(t);
    sy_int8_row r = sy_int8_at(t, n, row);
    for (size_t g = 0; g < n / group; g++) {
        const float *from = x + g * group;
        uint32_t bits = q_largest(from, group);
        float top, by;
        memcpy(&top, &bits, 4);
        by = top < INFINITY && top >= 0x1p-100f ? 127 / top : 0;
        ((float *)r.d)[g] = top < 0x1p-100f ? 0 : top / 127;
        if (by > 0) q_group(from, group, by, (int8_t *)r.q + g * group, (int16_t *)r.sum32 + g * (group / 32), (int16_t *)r.sum16 + g * (group / 16));
        else {
            memset((int8_t *)r.q + g * group, 0, group);
            memset((int16_t *)r.sum32 + g * (group / 32), 0, group / 32 * sizeof(int16_t));
            memset((int16_t *)r.sum16 + g * (group / 16), 0, group / 16 * sizeof(int16_t));
        }
    }
}

static size_t spin(size_t n, int *x)
{
    enum { CHAINS = 12 };                                    /* two units of latency 5, and registers left for the factors */
    ivec c[CHAINS], a = i_set(*x & 0x3f3f3f3f), b = i_set(*x);
    UNROLL for (int j = 0; j < CHAINS; j++) c[j] = i_set(j);
    for (size_t i = 0; i < n; i++) UNROLL for (int j = 0; j < CHAINS; j++) c[j] = i_dot(c[j], a, b);
    UNROLL for (int j = 1; j < CHAINS; j++) c[0] = i_xor(c[0], c[j]);
    memcpy(x, &c[0], sizeof *x);
    return n * CHAINS * W * 4;
}

#define CONCAT(a, b) a##b
#define NAMED(a, b) CONCAT(a, b)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)
const sy_int8 NAMED(sy_int8_, SET) = { TEXT(SET), quantise, product, spin };
#endif
