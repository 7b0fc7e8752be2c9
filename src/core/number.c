/* core/number.c */
#include "core/number.h"

#include <locale.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static locale_t c_locale;                            /* a constant once made */
static void make_locale(void) { c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0); }

/* This thread's locale becomes "C"; gives the one before it. */
static locale_t enter(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_locale);
    return uselocale(c_locale);                      /* 0, should there be no memory for it, asks and changes nothing */
}

char *sy_real_text(char *buf, size_t size, double v)
{
    locale_t before = enter();
    for (int digits = 1; digits <= 17; digits++) {   /* 17 digits name every double */
        snprintf(buf, size, "%.*g", digits, v);
        if (v != v || strtod(buf, NULL) == v) break;
    }
    uselocale(before);
    return buf;
}

double sy_real_read(const char *text, char **end)
{
    locale_t before = enter();
    double v = strtod(text, end);
    uselocale(before);
    return v;
}
