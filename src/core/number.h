/* core/number.h - real numbers as text, the same in every locale (a program around the library may write 1,5). */
#ifndef SY_NUMBER_H
#define SY_NUMBER_H

#include <stddef.h>

/* The shortest text that reads back as the same bits ("0.1", "1e-05", "inf", "nan"); returns buf, 32 bytes suffice. */
char *sy_real_text(char *buf, size_t size, double v);
/* strtod with a point for a point. */
double sy_real_read(const char *text, char **end);

#endif
