/* report/curve.h - fewer points that still show every peak. */
#ifndef SY_CURVE_H
#define SY_CURVE_H

#include <stddef.h>

/* Chooses at most `room` (>= 4) of the n values for drawing and writes their indices, ascending, to keep; returns how many.
 * All are kept when they fit. Else the curve is cut into runs of equal length and each gives its smallest and largest finite
 * value, in their order; the first and last value stay. A run without finite values gives one of them, so that gaps show. */
size_t sy_curve_thin(const double *value, size_t n, size_t room, size_t *keep);

#endif
