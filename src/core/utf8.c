/* core/utf8.c - Table 3-7 of the Unicode standard as ranges of the second byte. */
#include "core/utf8.h"

#include <string.h>

int sy_utf8_next(const char *text, size_t n, uint32_t *cp)
{
    const unsigned char *s = (const unsigned char *)text;
    unsigned char c = s[0], lo = 0x80, hi = 0xBF;
    int need;
    if (c < 0x80) { *cp = c; return 1; }
    if (c >= 0xC2 && c <= 0xDF) { need = 1; *cp = c & 31; }
    else if (c >= 0xE0 && c <= 0xEF) { need = 2; *cp = c & 15; if (c == 0xE0) lo = 0xA0; if (c == 0xED) hi = 0x9F; }
    else if (c >= 0xF0 && c <= 0xF4) { need = 3; *cp = c & 7; if (c == 0xF0) lo = 0x90; if (c == 0xF4) hi = 0x8F; }
    else { *cp = 0xFFFD; return -1; }
    for (int i = 1; i <= need; i++) {
        if ((size_t)i >= n || s[i] < lo || s[i] > hi) { *cp = 0xFFFD; return -i; }
        *cp = *cp << 6 | (s[i] & 63);
        lo = 0x80;
        hi = 0xBF;
    }
    return need + 1;
}

int sy_utf8_put(uint32_t cp, char out[4])
{
    if (cp > 0x10FFFF || (cp >= 0xD800 && cp <= 0xDFFF)) cp = 0xFFFD;
    if (cp < 0x80) { out[0] = (char)cp; return 1; }
    if (cp < 0x800) { out[0] = (char)(0xC0 | cp >> 6); out[1] = (char)(0x80 | (cp & 63)); return 2; }
    if (cp < 0x10000) {
        out[0] = (char)(0xE0 | cp >> 12); out[1] = (char)(0x80 | (cp >> 6 & 63)); out[2] = (char)(0x80 | (cp & 63));
        return 3;
    }
    out[0] = (char)(0xF0 | cp >> 18); out[1] = (char)(0x80 | (cp >> 12 & 63)); out[2] = (char)(0x80 | (cp >> 6 & 63)); out[3] = (char)(0x80 | (cp & 63));
    return 4;
}

size_t sy_utf8_tail(const char *s, size_t n)
{
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        unsigned char c = (unsigned char)s[n - back];
        if ((c & 0xC0) == 0x80) continue;            /* a continuation: look further */
        size_t want = c >= 0xF0 && c <= 0xF4 ? 4 : c >= 0xE0 && c <= 0xEF ? 3 : c >= 0xC2 && c <= 0xDF ? 2 : 1;
        uint32_t cp;
        return want > back && sy_utf8_next(s + n - back, back, &cp) == -(int)back ? back : 0;
    }
    return 0;
}

char *sy_utf8_clean(char *text)
{
    for (size_t i = 0, n = strlen(text); i < n; ) {
        uint32_t cp;
        int len = sy_utf8_next(text + i, n - i, &cp);
        size_t bytes = (size_t)(len > 0 ? len : -len);
        if (cp == '\n' || cp == '\r' || cp == '\t') text[i] = ' ';
        else if (len < 0 || cp < 32 || (cp >= 127 && cp < 160)) memset(text + i, '?', bytes);
        i += bytes;
    }
    return text;
}
