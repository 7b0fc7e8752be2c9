/* cli/cmd_doctor.c - switchyard doctor: what this machine gives the engine, and whether the engine works here. */
#include <math.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <utf8proc.h>
#include <zstd.h>

#include "build_info.h"
#include "cli/cli.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/json.h"
#include "core/pool.h"
#include "core/random.h"
#include "methods.h"
#include "tensor/product.h"

typedef struct line { const char *key; char value[400]; bool bad; } line;
typedef struct report { line l[40]; int n; bool bad; } report;

static void note(report *r, bool good, const char *key, const char *fmt, ...) SY_PRINTF(4, 5);
static void note(report *r, bool good, const char *key, const char *fmt, ...)
{
    if (r->n == (int)SY_COUNT(r->l)) return;
    line *l = &r->l[r->n++];
    va_list ap;
    l->key = key;
    l->bad = !good;
    r->bad |= !good;
    va_start(ap, fmt);
    vsnprintf(l->value, sizeof l->value, fmt, ap);
    va_end(ap);
}

/* --- the machine ------------------------------------------------------------------------------------------------------------ */

/* The value of the first line of a file that begins with `key`, without blanks in front; "" when there is none. */
static char *value_of(const char *path, const char *key, char *buf, size_t size)
{
    FILE *f = fopen(path, "r");
    *buf = 0;
    for (char text[1024]; f && !*buf && fgets(text, sizeof text, f); )
        if (!strncmp(text, key, strlen(key))) {
            const char *v = text + strlen(key);
            v += strspn(v, " \t:");
            snprintf(buf, size, "%.*s", (int)strcspn(v, "\n"), v);
        }
    if (f) fclose(f);
    return buf;
}

static void machine(report *r)
{
    static const char untold[] = "not told by this system";
    char model[200], total[64], avail[64], huge[100];
    struct utsname u = { 0 };
    sy_pool_limits lim;
    uname(&u);
    sy_pool_look(&lim);
    note(r, true, "system", "%s %s %s", u.sysname, u.release, u.machine);
    note(r, true, "cpu", "%s", *value_of("/proc/cpuinfo", "model name", model, sizeof model) ? model : untold);
    char quota[64] = "no container quota";
    if (lim.quota) snprintf(quota, sizeof quota, "a container quota of %d", lim.quota);
    note(r, true, "threads", "%d by default: %d CPUs in the affinity mask, on %d cores, and %s", sy_pool_default_threads(), lim.cpus, lim.cores, quota);
    double all = strtod(value_of("/proc/meminfo", "MemTotal", total, sizeof total), NULL) / 1048576, left = strtod(value_of("/proc/meminfo", "MemAvailable", avail, sizeof avail), NULL) / 1048576;
    if (all > 0) note(r, left > 0.25, "memory", "%.1f GiB, %.1f GiB available", all, left);
    else note(r, true, "memory", "%s", untold);
    note(r, true, "huge pages", "%s", *value_of("/sys/kernel/mm/transparent_hugepage/enabled", "", huge, sizeof huge) ? huge : untold);
}

static void libraries(report *r)
{
    char pcre[64];
    pcre2_config(PCRE2_CONFIG_VERSION, pcre);
    note(r, true, "switchyard", "%s (%s), %s, %s", SY_VERSION, SY_COMMIT, SY_COMPILER, SY_REAL_NAME);
    note(r, true, "libraries", "jansson %s, pcre2 %s, utf8proc %s, zstd %s", jansson_version_str(), pcre, utf8proc_version(), ZSTD_versionString());
}

/* Where tokenised text would be cached: below the folder of a run, else here. */
static void folders(report *r)
{
    const char *tmp = getenv("TMPDIR"), *dir[] = { ".", tmp && *tmp ? tmp : "/tmp" };
    for (int i = 0; i < 2; i++) {
        char path[1100];
        sy_err err = { 0 };
        snprintf(path, sizeof path, "%s/.switchyard-doctor-%ld", dir[i], (long)getpid());
        sy_status st = sy_file_write(path, "ok", 2, &err);
        int64_t left = sy_disk_free(path);
        unlink(path);
        if (st == SY_OK) note(r, true, i ? "temporary" : "folder", "%s can be written, %.1f GB free", dir[i], (double)left / 1e9);
        else note(r, i == 1, i ? "temporary" : "folder", "%s", err.text);
    }
}

/* --- the self-test ---------------------------------------------------------------------------------------------------------- */

enum { M = 67, N = 131, K = 259 };

static void fill(sy_real *x, int n, uint64_t key)
{
    for (int i = 0; i < n; i++) x[i] = (sy_real)(2 * sy_draw(key, (uint64_t)i, 0) - 1);
}

/* The largest difference of a product through the whole engine from a sum in double, per sqrt(K). */
static sy_status product(sy_engine *e, const sy_real *A, const sy_real *W, sy_real *C, const double *want, double *worst, sy_err *err)
{
    sy_gemm_job job = { .M = M, .N = N, .K = K, .A = A, .ars = K, .aks = 1, .B = W, .bks = K, .rows = true, .C = C, .ldc = N };
    SY_TRY(sy_gemm_all(e, &job, 1, err));
    *worst = 0;
    for (int i = 0; i < M * N; i++) {
        double d = fabs((double)C[i] - want[i]) / sqrt(K);
        if (!(d <= *worst)) *worst = d;              /* NaN, too */
    }
    return SY_OK;
}

static void one_set(report *r, int threads, const char *name, const sy_real *A, const sy_real *W, sy_real *C, const double *want)
{
    sy_engine e = { 0 };
    sy_err err = { 0 };
    double worst = 0;
    int n = 0;
    sy_status st = sy_engine_init(&e, threads, name, &sy_builtin_methods, &err);
    if (st == SY_OK) st = product(&e, A, W, C, want, &worst, &err);
    bool exact = worst < 1e-5;                       /* rounding gives 1e-6, a wrong product 1 */
    for (double until = sy_now() + 0.25; st == SY_OK && sy_now() < until; n++) st = product(&e, A, W, C, want, &(double){ 0 }, &err);
    sy_engine_uninit(&e);
    if (st != SY_OK) note(r, false, "self-test", "kernels %s: %s", name, err.text);
    else note(r, exact, "self-test", "kernels %s: products %s (largest difference %.2g), %d in 0.25 s", name, exact ? "agree with plain sums" : "ARE WRONG", worst, n);
}

static sy_status self_test(sy_cli *cli, report *r, sy_err *err)
{
    sy_real *A = sy_arena_array(&cli->arena, M * K, sizeof *A), *W = sy_arena_array(&cli->arena, N * K, sizeof *W), *C = sy_arena_array(&cli->arena, M * N, sizeof *C);
    double *want = sy_arena_array(&cli->arena, M * N, sizeof *want);
    if (!A || !W || !C || !want) return sy_fail(err, SY_ENOMEM, "no memory for the self-test");
    fill(A, M * K, sy_key(1, SY_FOR_TEST, 0, 0, 0));
    fill(W, N * K, sy_key(2, SY_FOR_TEST, 0, 0, 0));
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++)
            for (int k = 0; k < K; k++) want[m * N + n] += (double)A[m * K + k] * (double)W[n * K + k];
    const sy_kernels *best = NULL;
    SY_TRY(sy_kernels_pick(NULL, &best, err));
    char sets[200] = "";
    for (int i = 0; sy_kernels_at(i); i++) snprintf(sets + strlen(sets), sizeof sets - strlen(sets), "%s%s", i ? ", " : "", sy_kernels_at(i)->name);
    note(r, true, "kernels", "%s run here; %s is used (SY_KERNELS chooses another)", sets, best->name);
    for (int i = 0; sy_kernels_at(i); i++) one_set(r, cli->threads, sy_kernels_at(i)->name, A, W, C, want);
    return SY_OK;
}

static sy_status print_json(const report *r, sy_err *err)
{
    sy_buf b = { 0 };
    sy_json j;
    sy_json_open(&j, &b, 2);
    sy_json_begin(&j, '{');
    sy_json_key(&j, "works"), sy_json_bool(&j, !r->bad);
    sy_json_key(&j, "findings");
    sy_json_begin(&j, '[');
    for (int i = 0; i < r->n; i++) {
        sy_json_begin(&j, '{');
        sy_json_key(&j, "of"), sy_json_text(&j, r->l[i].key);
        sy_json_key(&j, "says"), sy_json_text(&j, r->l[i].value);
        sy_json_key(&j, "good"), sy_json_bool(&j, !r->l[i].bad);
        sy_json_end(&j, '}');
    }
    sy_json_end(&j, ']');
    sy_json_end(&j, '}');
    bool failed = b.failed;
    if (!failed) puts(b.data);
    sy_buf_free(&b);
    return failed ? sy_fail(err, SY_ENOMEM, "no memory for the result") : SY_OK;
}

static sy_status run(sy_cli *cli, void *a, const char *const *words, int n, sy_err *err)
{
    (void)a, (void)words, (void)n;
    report *r = sy_arena_zalloc(&cli->arena, sizeof *r);
    if (!r) return sy_fail(err, SY_ENOMEM, "no memory for the report");
    libraries(r);
    machine(r);
    folders(r);
    SY_TRY(self_test(cli, r, err));
    if (cli->json) SY_TRY(print_json(r, err));
    else for (int i = 0; i < r->n; i++) printf("%s %-12s %s\n", r->l[i].bad ? "BAD " : "good", r->l[i].key, r->l[i].value);
    for (int i = 0; i < r->n; i++) if (r->l[i].bad) return sy_fail(err, SY_EUNSUP, "%s: %s", r->l[i].key, r->l[i].value);
    return SY_OK;
}

const sy_command sy_cmd_doctor = {
    .name = "doctor", .summary = "what this machine gives the engine, and whether it works here", .usage = "",
    .text = "Processor, kernel sets, threads, memory, versions, writable folders, and a self-test of a second: products of every kernel set against\n"
            "plain sums. The exit code is 1 when something is bad.",
    .example = "switchyard doctor --json", .run = run,
};
