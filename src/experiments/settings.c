/* experiments/settings.c - settings of a trial into a bed's options. */
#include <string.h>

#include "experiments/bed.h"

sy_status sy_bed_settings(const char *bed, const sy_opt *rows, void *options, const char *settings, sy_arena *a, sy_err *err)
{
    sy_opt_defaults(rows, options);
    for (const char *p = settings; *p; ) {                          /* blanks between settings; the values have commas of their own */
        char key[64], value[512];
        size_t k = strcspn(p, "="), n = p[k] ? strcspn(p + k + 1, " ") : 0;
        if (!p[k] || k >= sizeof key || n >= sizeof value) return sy_fail(err, SY_EARG, "settings of bed %s are malformed at '%.40s'", bed, p);
        memcpy(key, p, k), key[k] = 0;
        memcpy(value, p + k + 1, n), value[n] = 0;
        SY_TRY(sy_within(err, sy_opt_set(rows, options, key, value, a, NULL, err), "bed %s", bed));
        p += k + 1 + n;
        p += strspn(p, " ");
    }
    return SY_OK;
}
