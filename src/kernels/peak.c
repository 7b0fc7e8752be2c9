/* kernels/peak.c - the limits, each the best of short stretches: a neighbour on the machine can only slow a stretch down.
 * Time is that of the thread, not of the wall, so that a turn lost to another process is not counted. */
#include "kernels/peak.h"

#include <string.h>
#include <time.h>

enum { STRETCHES = 8 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static volatile sy_real sink;           /* results go here, so that no compiler drops the work */

double sy_peak_fma(const sy_kernels *k, double seconds)
{
    double best = 0;
    for (int s = 0; s < STRETCHES; s++) {
        double done = 0, start = now(), took;
        do {
            sy_real r = 1;
            done += (double)k->spin(2000, &r);
            sink = r;
        } while ((took = now() - start) < seconds / STRETCHES);
        if (done / took > best) best = done / took;
    }
    return best;
}

double sy_peak_bf16(const sy_kernels *k, double seconds)
{
    double best = 0;
    for (int s = 0; s < STRETCHES; s++) {
        double done = 0, start = now(), took;
        do done += (double)k->spin16(2000);
        while ((took = now() - start) < seconds / STRETCHES);
        if (done / took > best) best = done / took;
    }
    return best;
}

double sy_peak_int8(const sy_int8 *k, double seconds)
{
    double best = 0;
    for (int s = 0; s < STRETCHES; s++) {
        double done = 0, start = now(), took;
        do {
            int x = 0x01020301;
            done += (double)k->spin(2000, &x);
            sink = (sy_real)x;
        } while ((took = now() - start) < seconds / STRETCHES);
        if (done / took > best) best = done / took;
    }
    return best;
}

double sy_peak_read(const sy_kernels *k, const void *buffer, size_t bytes, double seconds)
{
    enum { BLOCK = 1 << 16 };           /* reals between two looks at the clock */
    const sy_real *x = buffer;
    size_t n = bytes / sizeof *x, at = 0;
    double best = 0;
    if (n == 0) return 0;
    for (int s = 0; s < STRETCHES; s++) {
        double done = 0, start = now(), took;
        do {
            size_t some = n - at < BLOCK ? n - at : BLOCK;
            sink = k->sum(some, x + at);
            done += (double)(some * sizeof *x);
            at = at + some < n ? at + some : 0;
        } while ((took = now() - start) < seconds / STRETCHES);
        if (done / took > best) best = done / took;
    }
    return best;
}

double sy_peak_copy(void *to, const void *from, size_t bytes, double seconds)
{
    double best = 0;
    if (bytes == 0) return 0;
    for (int s = 0; s < STRETCHES; s++) {
        double done = 0, start = now(), took;
        do {
            memcpy(to, from, bytes);
            done += (double)bytes;
        } while ((took = now() - start) < seconds / STRETCHES);
        if (done / took > best) best = done / took;
    }
    return best;
}
