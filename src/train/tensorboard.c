/* train/tensorboard.c - the few protobuf fields of a scalar event, written by hand.
 *
 *   Event   { double wall_time = 1; int64 step = 2; Summary summary = 5; }
 *   Summary { Value value = 1; }   Value { string tag = 1; float simple_value = 2; } */
#include "train/tensorboard.h"

#include <string.h>

#include "core/clock.h"
#include "core/crc.h"

static size_t varint(uint8_t *out, uint64_t v)
{
    size_t n = 0;
    for (; v >= 128; v >>= 7) out[n++] = (uint8_t)(v | 128);
    out[n++] = (uint8_t)v;
    return n;
}

void sy_tb_scalar(sy_buf *b, int64_t step, const char *tag, double value)
{
    uint8_t val[160], event[224];
    size_t len = strlen(tag), v = 0, e = 0;
    double wall = sy_wall();
    float f = (float)value;
    if (len > 120) len = 120;                        /* one byte of length is enough below */
    val[v++] = 1 << 3 | 2, val[v++] = (uint8_t)len, memcpy(val + v, tag, len), v += len;
    val[v++] = 2 << 3 | 5, memcpy(val + v, &f, 4), v += 4;
    event[e++] = 1 << 3 | 1, memcpy(event + e, &wall, 8), e += 8;
    event[e++] = 2 << 3 | 0, e += varint(event + e, (uint64_t)step);
    event[e++] = 5 << 3 | 2, e += varint(event + e, v + 1 + (v < 128 ? 1 : 2));
    event[e++] = 1 << 3 | 2, e += varint(event + e, v);
    memcpy(event + e, val, v), e += v;
    uint64_t size = e;
    uint32_t crc = sy_crc32c_masked(&size, 8), body = sy_crc32c_masked(event, e);
    sy_buf_put(b, &size, 8);
    sy_buf_put(b, &crc, 4);
    sy_buf_put(b, event, e);
    sy_buf_put(b, &body, 4);
}
