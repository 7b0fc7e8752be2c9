/* kernels/dispatch.c - which sets were built, and which of them this CPU runs.
 *
 * The vector sets exist for float on x86-64 only; each is one file, compiled with the flags of its set, and nothing else is: so
 * one binary runs everywhere. The build says SY_HAVE_<SET> for those it compiled; SY_DOUBLE has the plain set alone. */
#include <stdio.h>
#include <string.h>

#include "kernels/int8.h"
#include "kernels/pairs.h"

static bool always(void) { return true; }

#ifdef SY_HAVE_AVX2
extern const sy_kernels sy_kernels_avx2;
static bool has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#endif
#ifdef SY_HAVE_AVX512
extern const sy_kernels sy_kernels_avx512;
static bool has_avx512(void)            /* all of x86-64-v4: the compiler may use any of it */
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#endif
#ifdef SY_HAVE_AVX512BF16
extern const sy_kernels sy_kernels_avx512bf16;
static bool has_avx512bf16(void) { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }
#endif
#ifdef SY_HAVE_AMX
extern const sy_kernels sy_kernels_amx;
static bool has_amx(void)
{
    return has_avx512() && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-bf16") && sy__may_use_tiles();
}
#endif

#ifdef SY_HAVE_AVX2
extern const sy_int8 sy_int8_avx2;
#endif
#ifdef SY_HAVE_AVX512VNNI
extern const sy_int8 sy_int8_avx512vnni;
#endif
#ifdef SY_HAVE_AMX
extern const sy_int8 sy_int8_amx;
#endif

static const struct { const sy_kernels *k; bool (*runs)(void); } sets[] = {     /* slowest first */
    { &sy_kernels_ref, always },
#ifdef SY_HAVE_AVX2
    { &sy_kernels_avx2, has_avx2 },
#endif
#ifdef SY_HAVE_AVX512
    { &sy_kernels_avx512, has_avx512 },
#endif
#ifdef SY_HAVE_AVX512BF16
    { &sy_kernels_avx512bf16, has_avx512bf16 },
#endif
#ifdef SY_HAVE_AMX
    { &sy_kernels_amx, has_amx },
#endif
};

const sy_kernels *sy_kernels_at(int i)
{
    for (size_t s = 0; s < SY_COUNT(sets); s++)
        if (sets[s].runs() && i-- == 0) return sets[s].k;
    return NULL;
}

sy_status sy_kernels_pick(const char *name, const sy_kernels **out, sy_err *err)
{
    const sy_kernels *k, *found = NULL;
    for (int i = 0; (k = sy_kernels_at(i)); i++)
        if (!name || strcmp(name, k->name) == 0) found = k;     /* without a name: the last is the fastest */
    if (found) { *out = found; return SY_OK; }

    char list[64] = "";
    size_t used = 0;
    for (int i = 0; (k = sy_kernels_at(i)) && used < sizeof list; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", k->name);
    for (size_t s = 0; s < SY_COUNT(sets); s++)
        if (strcmp(name, sets[s].k->name) == 0) return sy_fail(err, SY_EUNSUP, "kernel set '%s' does not run on this CPU; it runs: %s", name, list);
    return sy_fail(err, SY_EUNSUP, "no kernel set '%s' in this build (%s); this CPU runs: %s", name, SY_REAL_NAME, list);
}

const sy_int8 *sy_int8_for(const sy_kernels *k)
{
    if (k == &sy_kernels_ref) return &sy_int8_ref;
#ifdef SY_HAVE_AMX
    if (k == &sy_kernels_amx && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("amx-int8")) return &sy_int8_amx;
#endif
#ifdef SY_HAVE_AVX512VNNI
    if (k != &sy_kernels_avx2 && __builtin_cpu_supports("avx512vnni")) return &sy_int8_avx512vnni;
#endif
#ifdef SY_HAVE_AVX2
    if (__builtin_cpu_supports("f16c")) return &sy_int8_avx2;
#endif
    return &sy_int8_ref;
}
