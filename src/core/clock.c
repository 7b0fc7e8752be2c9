/* core/clock.c */
#include "core/clock.h"

#include <time.h>

static double read_clock(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);                           /* cannot fail for these two */
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double sy_now(void) { return read_clock(CLOCK_MONOTONIC); }
double sy_wall(void) { return read_clock(CLOCK_REALTIME); }
