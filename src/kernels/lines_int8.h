/* kernels/lines_int8.h - where rows of weights lie, for the sets of vector_int8.h; W lanes, a row each. */
/* W rows of weights: p[i] points into row 4i. What the compiler cannot see through stays in six registers; it would rather keep sixteen pointers. */
typedef struct lines { const uint8_t *p[W / 4]; size_t ld, ld3; } lines;
#define ROW(l, at, r) ((const __m128i *)((l)->p[(r) / 4] + ((r) % 4 == 3 ? (l)->ld3 : (size_t)((r) % 4) * (l)->ld) + (at)))

static inline lines lines_of(const uint8_t *w, size_t ld)
{
    lines l = { .ld = ld, .ld3 = 3 * ld };
    for (int i = 0; i < W / 4; i++) {
        l.p[i] = w + 4 * (size_t)i * ld;
        __asm__("" : "+r"(l.p[i]));
    }
    __asm__("" : "+r"(l.ld3));
    return l;
}
static inline void lines_on(lines *l, size_t bytes) { for (int i = 0; i < W / 4; i++) l->p[i] += bytes; }
