/* core/utf8.h - UTF-8, strictly: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef SY_UTF8_H
#define SY_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Length of the code point at s (n >= 1 bytes left), its value in *cp; or minus the length of the malformed part (the maximal
 * subpart, as Unicode recommends and Python's errors='replace' does), then *cp = U+FFFD. */
int    sy_utf8_next(const char *s, size_t n, uint32_t *cp);
int    sy_utf8_put(uint32_t cp, char out[4]);        /* bytes written; an invalid code point gives U+FFFD */
/* Bytes at the end of s that begin a code point which is not complete yet: 0..3. */
size_t sy_utf8_tail(const char *s, size_t n);

#endif
