/* core/clock.h - the two clocks. */
#ifndef SY_CLOCK_H
#define SY_CLOCK_H

double sy_now(void);                                 /* seconds from some fixed moment; never jumps, for durations */
double sy_wall(void);                                /* seconds since 1970 (UTC); may jump, for stamps in files */

#endif
