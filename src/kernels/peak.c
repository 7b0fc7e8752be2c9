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

/* Work done a second, in the best of the stretches; `some` does a little and says how much that was. */
static double best_of(double seconds, double (*some)(void *), void *arg)
{
    double best = 0;
    for (int s = 0; s < STRETCHES; s++) {
        double done = 0, start = now(), took;
        do done += some(arg);
        while ((took = now() - start) < seconds / STRETCHES);
        if (done / took > best) best = done / took;
    }
    return best;
}

enum { ROUNDS = 2000 };                 /* of chains between two looks at the clock */

static double some_fma(void *k)
{
    sy_real r = 1;
    double done = (double)((const sy_kernels *)k)->spin(ROUNDS, &r);
    sink = r;
    return done;
}

static double some_bf16(void *k) { return (double)((const sy_kernels *)k)->spin16(ROUNDS); }

static double some_int8(void *k)
{
    int x = 0x01020301;
    double done = (double)((const sy_int8 *)k)->spin(ROUNDS, &x);
    sink = (sy_real)x;
    return done;
}

double sy_peak_fma(const sy_kernels *k, double seconds)  { return best_of(seconds, some_fma, (void *)k); }
double sy_peak_bf16(const sy_kernels *k, double seconds) { return best_of(seconds, some_bf16, (void *)k); }
double sy_peak_int8(const sy_int8 *k, double seconds)    { return best_of(seconds, some_int8, (void *)k); }

struct read { const sy_kernels *k; const sy_real *x; size_t n, at; };

static double some_read(void *arg)
{
    enum { BLOCK = 1 << 16 };
    struct read *r = arg;
    size_t some = r->n - r->at < BLOCK ? r->n - r->at : BLOCK;
    sink = r->k->sum(some, r->x + r->at);
    r->at = r->at + some < r->n ? r->at + some : 0;
    return (double)(some * sizeof *r->x);
}

double sy_peak_read(const sy_kernels *k, const void *buffer, size_t bytes, double seconds)
{
    struct read r = { k, buffer, bytes / sizeof *r.x, 0 };
    return r.n ? best_of(seconds, some_read, &r) : 0;
}

struct copy { void *to; const void *from; size_t bytes; };

static double some_copy(void *arg)
{
    const struct copy *c = arg;
    memcpy(c->to, c->from, c->bytes);
    return (double)c->bytes;
}

double sy_peak_copy(void *to, const void *from, size_t bytes, double seconds)
{
    return bytes ? best_of(seconds, some_copy, &(struct copy){ to, from, bytes }) : 0;
}
