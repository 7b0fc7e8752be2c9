/* core/sha256.h - SHA-256 (FIPS 180-4), for keys of caches, identities of data and checksums that a user can compare with
 * `sha256sum`. Allocates nothing; not meant to be fast. */
#ifndef SY_SHA256_H
#define SY_SHA256_H

#include <stddef.h>
#include <stdint.h>

typedef struct sy_sha256 {
    uint32_t h[8];
    uint64_t bytes;
    unsigned char block[64];
} sy_sha256;

void sy_sha256_start(sy_sha256 *s);
void sy_sha256_add(sy_sha256 *s, const void *data, size_t bytes);
/* A text with its terminating zero, so that "ab","c" and "a","bc" differ. NULL counts as "". */
void sy_sha256_text(sy_sha256 *s, const char *text);
void sy_sha256_u64(sy_sha256 *s, uint64_t value);                /* little-endian */
void sy_sha256_end(sy_sha256 *s, unsigned char digest[32]);
char *sy_hex(const unsigned char *bytes, size_t n, char *out);   /* out has room for 2n+1; returns out */

#endif
