/* core/memory.c - /proc/meminfo and the limits of control groups, version 2 and 1. */
#include "core/memory.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static double number_in(const char *path)            /* NaN: not there, or the word "max" */
{
    double v = NAN;
    FILE *f = fopen(path, "r");
    if (!f) return NAN;
    if (fscanf(f, "%lf", &v) != 1) v = NAN;
    fclose(f);
    return v;
}

static double available(void)
{
    char line[128];
    double kb = INFINITY;
    FILE *f = fopen("/proc/meminfo", "r");
    if (!f) return INFINITY;
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %lf", &kb) == 1) break;
    fclose(f);
    return kb * 1024;
}

/* What one group leaves; its page cache can be given back, so it does not count. */
static double left_of(const char *dir, const char *max, const char *now, const char *cache_key)
{
    char path[1200], line[128];
    double cache = 0, v;
    snprintf(path, sizeof path, "%s/%s", dir, max);
    double limit = number_in(path);
    snprintf(path, sizeof path, "%s/%s", dir, now);
    double used = number_in(path);
    if (isnan(limit) || isnan(used) || limit > 1e18) return INFINITY;
    snprintf(path, sizeof path, "%s/memory.stat", dir);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, cache_key, strlen(cache_key)) && sscanf(line + strlen(cache_key), " %lf", &v) == 1) cache += v;
    if (f) fclose(f);
    double left = limit - used + cache;
    return left > 0 ? left : 0;
}

double sy_memory_left(void)
{
    char line[1100], dir[1100];
    double left = available(), here;
    FILE *f = fopen("/proc/self/cgroup", "r");
    while (f && fgets(line, sizeof line, f)) {
        char *path = strchr(line, ':'), *end;
        if (!path || !(path = strchr(path + 1, ':'))) continue;
        bool v2 = !strncmp(line, "0::", 3), v1 = strstr(line, ":memory:") != NULL;
        if (!v1 && !v2) continue;
        path[strcspn(path, "\n")] = 0;
        for (path++; ; *end = 0) {                   /* the group, then its parents */
            snprintf(dir, sizeof dir, "/sys/fs/cgroup%s%s", v1 ? "/memory" : "", strcmp(path, "/") ? path : "");
            here = v2 ? left_of(dir, "memory.max", "memory.current", "inactive_file") : left_of(dir, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file");
            if (here < left) left = here;
            if (!(end = strrchr(path, '/'))) break;
        }
    }
    if (f) fclose(f);
    return left;
}
