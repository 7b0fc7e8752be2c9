/* model/pretoken_nfc.c - Unicode's normal form C (UAX #15).
 *
 * No code point below U+0300 changes or combines with what stands before it, so a text falls into groups that begin at such a code
 * point; only groups that hold others are worked on: decompose, order the marks, compose. Decomposition and composition are
 * utf8proc's; the ordering is ours, because a quadratic one is a trap for text with many marks. */
#include "model/pretoken.h"

#include <string.h>
#include <utf8proc.h>

#include "core/alloc.h"
#include "core/utf8.h"

enum { FIRST_CHANGING = 0x300, LEAD_OF_IT = 0xCC, MOST_PARTS = 4 };      /* a code point decomposes into at most four */

typedef struct { utf8proc_int32_t *x, *spare; size_t room; } letters;

static bool make_room(letters *l, size_t n)
{
    if (n <= l->room) return true;
    sy_free(l->x);
    *l = (letters){ .x = sy_malloc(sy_mul_size(n, 2 * sizeof *l->x)) };
    if (!l->x) return false;
    l->spare = l->x + n;
    l->room = n;
    return true;
}

static int mark_class(utf8proc_int32_t cp) { return utf8proc_get_property(cp)->combining_class; }

/* Stable counting sort of n marks by their combining class. */
static void order(utf8proc_int32_t *x, utf8proc_int32_t *spare, size_t n)
{
    size_t at[257] = { 0 };
    bool sorted = true;
    for (size_t i = 1; i < n && sorted; i++) sorted = mark_class(x[i - 1]) <= mark_class(x[i]);
    if (sorted) return;
    for (size_t i = 0; i < n; i++) at[mark_class(x[i]) + 1]++;
    for (int c = 0; c < 256; c++) at[c + 1] += at[c];
    for (size_t i = 0; i < n; i++) spare[at[mark_class(x[i])]++] = x[i];
    memcpy(x, spare, n * sizeof *x);
}

static bool group(letters *l, const char *s, size_t bytes, sy_buf *out)
{
    size_t n = 0;
    if (!make_room(l, bytes * MOST_PARTS)) return false;
    for (size_t i = 0; i < bytes; ) {
        uint32_t cp;
        int none = 0;
        i += (size_t)sy_utf8_next(s + i, bytes - i, &cp);
        n += (size_t)utf8proc_decompose_char((utf8proc_int32_t)cp, l->x + n, MOST_PARTS, UTF8PROC_DECOMPOSE | UTF8PROC_STABLE, &none);
    }
    for (size_t i = 0, end; i < n; i = end + 1) {
        for (end = i; end < n && mark_class(l->x[end]); end++) continue;
        order(l->x + i, l->spare, end - i);
    }
    n = (size_t)utf8proc_normalize_utf32(l->x, (utf8proc_ssize_t)n, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    for (size_t i = 0; i < n; i++) {
        char utf8[4];
        sy_buf_put(out, utf8, (size_t)sy_utf8_put((uint32_t)l->x[i], utf8));
    }
    return true;
}

bool sy__nfc_may_change(const char *s, size_t n)
{
    unsigned char most = 0;
    for (size_t i = 0; i < n; i++) most = (unsigned char)s[i] > most ? (unsigned char)s[i] : most;
    return most >= LEAD_OF_IT;
}

sy_status sy__nfc(const char *s, size_t n, sy_buf *out, sy_err *err)
{
    letters l = { 0 };
    size_t copied = 0, start = 0;                    /* s[copied..start) is to be copied as it is, s[start..i) is the open group */
    bool changing = false, ok = true;
    for (size_t i = 0; ok && i <= n; ) {
        uint32_t cp = 0;
        int len = i < n ? sy_utf8_next(s + i, n - i, &cp) : 1;
        if (i == n || len < 0 || cp < FIRST_CHANGING) {
            if (changing) {
                sy_buf_put(out, s + copied, start - copied);
                ok = group(&l, s + start, i - start, out);
                copied = i;
            }
            changing = false;
            start = len < 0 ? i + (size_t)-len : i;  /* malformed bytes are no part of a group */
        } else changing = true;
        i += (size_t)(len < 0 ? -len : len);
    }
    sy_buf_put(out, s + copied, n - copied);
    sy_free(l.x);
    return ok && !out->failed ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory to normalise a text of %zu bytes", n);
}
