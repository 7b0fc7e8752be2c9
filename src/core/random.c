/* core/random.c - Philox 4x32-10 and what is made of it. */
#include "core/random.h"

#include <math.h>

void sy_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;                           /* the Weyl sequence of the key schedule */
        k1 += 0xBB67AE85u;
    }
    out[0] = c0; out[1] = c1; out[2] = c2; out[3] = c3;
}

static void block(uint64_t key, uint64_t pos, unsigned salt, uint32_t out[4])
{
    uint32_t c[4] = { (uint32_t)pos, (uint32_t)(pos >> 32), salt, 0 }, k[2] = { (uint32_t)key, (uint32_t)(key >> 32) };
    sy_philox(c, k, out);
}

uint64_t sy_key(uint64_t seed, sy_purpose purpose, uint64_t a, uint64_t b, uint64_t c)
{
    uint32_t k[2] = { (uint32_t)seed, (uint32_t)(seed >> 32) }, o[4];
    uint32_t first[4] = { (uint32_t)a, (uint32_t)(a >> 32), (uint32_t)purpose, 1 };
    sy_philox(first, k, o);
    k[0] = o[0]; k[1] = o[1];
    uint32_t second[4] = { (uint32_t)b ^ o[2], (uint32_t)(b >> 32) ^ o[3], (uint32_t)c, (uint32_t)(c >> 32) };
    sy_philox(second, k, o);
    return o[0] | (uint64_t)o[1] << 32;
}

static double unit(uint32_t lo, uint32_t hi)         /* 52 bits, centred in their cell: never 0 or 1 */
{
    uint64_t u = (uint64_t)hi << 32 | lo;
    return ((double)(u >> 12) + 0.5) * 0x1p-52;
}

double sy_draw(uint64_t key, uint64_t pos, unsigned salt)
{
    uint32_t o[4];
    block(key, pos, salt, o);
    return unit(o[0], o[1]);
}

void sy_draw_normals(uint64_t key, uint64_t pos, unsigned salt, double out[2])
{
    uint32_t o[4];
    block(key, pos, salt, o);
    double r = sqrt(-2 * log(unit(o[0], o[1]))), angle = 6.283185307179586476925 * unit(o[2], o[3]);
    out[0] = r * cos(angle);
    out[1] = r * sin(angle);
}

double sy_draw_normal(uint64_t key, uint64_t pos, unsigned salt)
{
    double pair[2];
    sy_draw_normals(key, pos, salt, pair);
    return pair[0];
}

uint64_t sy_draw_below(uint64_t key, uint64_t pos, unsigned salt, uint64_t n)
{
    uint32_t o[4];
    block(key, pos, salt, o);
    return (uint64_t)((unsigned __int128)(o[0] | (uint64_t)o[1] << 32) * n >> 64);
}
