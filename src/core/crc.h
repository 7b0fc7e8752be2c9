/* core/crc.h - CRC-32C (Castagnoli), and the masked form that TensorBoard's event files carry. */
#ifndef SY_CRC_H
#define SY_CRC_H

#include <stddef.h>
#include <stdint.h>

/* crc: 0 to begin, or what an earlier call gave, to go on. */
uint32_t sy_crc32c(uint32_t crc, const void *data, size_t n);
/* Rotated and offset, so that a checksum of data that holds checksums does not cancel. */
uint32_t sy_crc32c_masked(const void *data, size_t n);

#endif
