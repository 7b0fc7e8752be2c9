/* kernels/lines_int8.h - where rows of weights lie, for the sets of vector_int8.h; W lanes, a row each. */

/* W rows of weights: p[i] points into row 4i. What the compiler cannot see through stays in six registers; it would rather keep sixteen pointers. */
typedef struct lines { const uint8_t *p[W / 4]; size_t ld, ld3; } lines;
#define ROW(l, at, r) ((const __m128i *)((l)->p[(r) / 4] + ((r) % 4 == 3 ? (l)->ld3 : (size_t)((r) % 4) * (l)->ld) + (at)))

static inline lines lines_of(const uint8_t *w, size_t ld)
{
    lines l = { .ld = ld, .ld3 = 3 * ld };
    _Pragma("GCC unroll 4") for (int i = 0; i < W / 4; i++) {
        l.p[i] = w + 4 * (size_t)i * ld;
        __asm__("" : "+r"(l.p[i]));
    }
    __asm__("" : "+r"(l.ld3));
    return l;
}
static inline void lines_on(lines *l, size_t bytes) { _Pragma("GCC unroll 4") for (int i = 0; i < W / 4; i++) l->p[i] += bytes; }

/* What a shuffle of 16 bytes is told so that in each of their four lanes byte i becomes byte b[i], or zero for -1; the b are constants. */
static inline __m128i moves(const int8_t *b)
{
    uint32_t one = 0, keep = 0;
    _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++) {          /* known when it is compiled, at -O2 too */
        one |= (uint32_t)(b[i] < 0 ? 0x80 : b[i]) << 8 * i;
        keep |= (b[i] < 0 ? 0u : 0xffu) << 8 * i;
    }
    return _mm_setr_epi32((int)one, (int)(one | (0x04040404 & keep)), (int)(one | (0x08080808 & keep)), (int)(one | (0x0c0c0c0c & keep)));
}
