/* kernels/real.h - the number that tensors are made of: float in use, double in the gradient-check build. */
#ifndef SY_REAL_H
#define SY_REAL_H

#ifdef SY_DOUBLE
typedef double sy_real;
#define SY_REAL_NAME "float64"
#else
typedef float sy_real;
#define SY_REAL_NAME "float32"
#endif

#endif
