/* report/curve.c - thinning of curves by the extremes of equal runs. */
#include "report/curve.h"

#include <math.h>

size_t sy_curve_thin(const double *value, size_t n, size_t room, size_t *keep)
{
    if (n <= room) {
        for (size_t i = 0; i < n; i++) keep[i] = i;
        return n;
    }
    size_t bins = (room - 2) / 2, inner = n - 2, k = 0;     /* first and last stand alone; n > room >= 4, so bins <= inner */
    keep[k++] = 0;
    for (size_t b = 0; b < bins; b++) {
        /* b * inner / bins without a product that could wrap */
        size_t from = 1 + inner / bins * b + inner % bins * b / bins, to = 1 + inner / bins * (b + 1) + inner % bins * (b + 1) / bins;
        size_t lo = from, hi = from;
        for (size_t i = from; i < to; i++) {
            if (!isfinite(value[i])) continue;
            if (!isfinite(value[lo]) || value[i] < value[lo]) lo = i;
            if (!isfinite(value[hi]) || value[i] > value[hi]) hi = i;
        }
        keep[k++] = lo < hi ? lo : hi;
        if (lo != hi) keep[k++] = lo < hi ? hi : lo;
    }
    keep[k++] = n - 1;
    return k;
}
