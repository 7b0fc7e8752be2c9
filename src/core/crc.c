/* core/crc.c - half a byte at a time: event files are small, and sixteen constants can be read. */
#include "core/crc.h"

uint32_t sy_crc32c(uint32_t crc, const void *data, size_t n)
{
    static const uint32_t half[16] = {               /* four steps of the reflected polynomial 0x82F63B78 */
        0x00000000, 0x105EC76F, 0x20BD8EDE, 0x30E349B1, 0x417B1DBC, 0x5125DAD3, 0x61C69362, 0x7198540D,
        0x82F63B78, 0x92A8FC17, 0xA24BB5A6, 0xB21572C9, 0xC38D26C4, 0xD3D3E1AB, 0xE330A81A, 0xF36E6F75,
    };
    const unsigned char *p = data;
    crc = ~crc;
    for (; n; n--) {
        crc ^= *p++;
        crc = crc >> 4 ^ half[crc & 15];
        crc = crc >> 4 ^ half[crc & 15];
    }
    return ~crc;
}

uint32_t sy_crc32c_masked(const void *data, size_t n)
{
    uint32_t crc = sy_crc32c(0, data, n);
    return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}
