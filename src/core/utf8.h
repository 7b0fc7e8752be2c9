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
/* Makes a text safe for a terminal and one line, in place: line ends become spaces, other control characters and malformed bytes
 * '?' (a name out of a file may hold escape sequences). Returns the text. */
char  *sy_utf8_clean(char *text);

#endif
