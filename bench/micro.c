/* bench/micro.c - how fast the kernels are on one core, beside what the core can do.
 *
 *   micro [set, - for the best] [seconds a number, default 0.2] [forward | dX | dW | decode | int8 | rest] [rows]
 *
 * Builds with the library alone; OpenBLAS is opened at run time when it is there, with one thread:
 *   cmake --preset release && cmake --build --preset release
 *   gcc -O2 -std=c17 -D_GNU_SOURCE -Isrc bench/micro.c build/release/libswitchyard.a -lutf8proc -ldl -lm -o micro
 *
 * Each number is the median of 7 timings that are taken in turn with those of the other candidates in its row, so that a neighbour
 * on the machine falls on all of them; time is the thread's own; the FMA peak is measured in the same turns. OpenBLAS takes CPUs newer
 * than itself for old ones: look at the core that it names, and set OPENBLAS_CORETYPE (SkylakeX has AVX-512) where it is wrong.
 * Forward rows show packed panels, panels packed in the call, and weights as they lie; backward products are cut into tiles. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/int8.h"
#include "kernels/peak.h"

enum { TURNS = 7, MOST = 8 };
enum { ROW_MAJOR = 101, NO_TRANS = 111, TRANS = 112 };
typedef void sgemm_fn(int, int, int, int, int, int, float, const float *, int, const float *, int, float, float *, int);

static const sy_kernels *k;
static sgemm_fn *blas;
static double seconds = 0.2;
static const char *only;
static int only_rows;
static bool wanted(const char *part) { return !only || strcmp(only, part) == 0; }

static double now(void)                 /* time this thread had a core */
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int up(const void *a, const void *b) { double x = *(const double *)a, y = *(const double *)b; return (x > y) - (x < y); }
static double median(double *x, int n) { qsort(x, (size_t)n, sizeof *x, up); return x[n / 2]; }

static float *room(size_t n)
{
    float *p = aligned_alloc(2 << 20, (n * sizeof *p + (2 << 20) - 1) / (2 << 20) * (2 << 20));
    if (!p) { fprintf(stderr, "no memory for %zu floats\n", n); exit(1); }
    for (size_t i = 0; i < n; i++) p[i] = (float)((double)(i * 2654435761u % 2001) / 1000 - 1);
    return p;
}

typedef struct job { int R, F, D; float *X, *W, *dY, *dX, *dW, *Y, *panels; } job;
typedef void call_fn(const job *);
static int least(int a, int b) { return a < b ? a : b; }

static void forward_panels(const job *j) { k->gemm_panels(j->R, j->F, j->D, j->X, (size_t)j->D, j->panels, j->Y, (size_t)j->F, false); }
static void forward_packing(const job *j)
{
    enum { N = 128 };
    for (int n = 0; n < j->F; n += N) {
        k->pack(least(N, j->F - n), j->D, j->W + (size_t)n * (size_t)j->D, (size_t)j->D, j->panels + (size_t)n * (size_t)j->D);
        k->gemm_panels(j->R, least(N, j->F - n), j->D, j->X, (size_t)j->D, j->panels + (size_t)n * (size_t)j->D, j->Y + n, (size_t)j->F, false);
    }
}
static void forward_rows(const job *j) { k->gemm_rows(j->R, j->F, j->D, j->X, (size_t)j->D, j->W, (size_t)j->D, j->Y, (size_t)j->F, false); }
static void forward_blas(const job *j) { blas(ROW_MAJOR, NO_TRANS, TRANS, j->R, j->F, j->D, 1, j->X, j->D, j->W, j->D, 0, j->Y, j->F); }

static void tiled(int M, int N, int K, const float *A, size_t ars, size_t aks, const float *B, size_t bks, float *C, size_t ldc, bool acc, int tm, int tn)
{
    for (int n = 0; n < N; n += tn)
        for (int m = 0; m < M; m += tm)
            k->gemm(least(tm, M - m), least(tn, N - n), K, A + (size_t)m * ars, ars, aks, B + n, bks, C + (size_t)m * ldc + n, ldc, acc);
}
#define TILED(name, tm, tn)                                                                                                                     \
    static void dx_##name(const job *j) { tiled(j->R, j->D, j->F, j->dY, (size_t)j->F, 1, j->W, (size_t)j->D, j->dX, (size_t)j->D, false, tm, tn); } \
    static void dw_##name(const job *j) { tiled(j->F, j->D, j->R, j->dY, 1, (size_t)j->F, j->X, (size_t)j->D, j->dW, (size_t)j->D, true, tm, tn); }
TILED(128, 128, 128)
TILED(256, 256, 256)
TILED(512, 512, 128)
TILED(whole, 1 << 20, 1 << 20)
static void dx_blas(const job *j) { blas(ROW_MAJOR, NO_TRANS, NO_TRANS, j->R, j->D, j->F, 1, j->dY, j->F, j->W, j->D, 0, j->dX, j->D); }
static void dw_blas(const job *j) { blas(ROW_MAJOR, TRANS, NO_TRANS, j->F, j->D, j->R, 1, j->dY, j->F, j->X, j->D, 1, j->dW, j->D); }

typedef struct column { const char *name; call_fn *call; int least_rows, most_rows; } column;

static void product(const char *form, const column *c, int n, const job *j)
{
    double t[MOST][TURNS], peak[TURNS], ops = 2.0 * j->R * j->F * j->D;
    for (int turn = 0; turn < TURNS; turn++) {
        peak[turn] = 2 * sy_peak_fma(k, seconds / TURNS / 4);
        for (int i = 0; i < n; i++) {
            if (j->R < c[i].least_rows || j->R > c[i].most_rows || (!blas && strstr(c[i].name, "BLAS"))) continue;
            int reps = 0;
            c[i].call(j);
            double start = now(), took;
            do { c[i].call(j); reps++; } while ((took = now() - start) < seconds / TURNS);
            t[i][turn] = took / reps;
        }
    }
    double top = median(peak, TURNS);
    printf("%-8s %5d x %4d x %4d ", form, j->R, j->F, j->D);
    for (int i = 0; i < n; i++) {
        if (j->R < c[i].least_rows || j->R > c[i].most_rows || (!blas && strstr(c[i].name, "BLAS"))) { printf(" %9s      ", "-"); continue; }
        double g = ops / median(t[i], TURNS);
        printf(" %9.1f %3.0f%% ", g * 1e-9, 100 * g / top);
    }
    printf("  peak %.1f\n", top * 1e-9);
    fflush(stdout);
}

static void products(void)
{
    static const int rows[] = { 1, 8, 64, 512, 4096 }, sizes[][2] = { { 512, 512 }, { 1024, 2048 }, { 8192, 512 } };
    enum { ALL = 1 << 30 };
    static const column fwd[] = { { "panels", forward_panels, 1, ALL }, { "packing", forward_packing, 1, ALL }, { "as it lies", forward_rows, 1, 8 }, { "OpenBLAS", forward_blas, 1, ALL } };
    static const column dx[] = { { "128x128", dx_128, 1, ALL }, { "256x256", dx_256, 256, ALL }, { "512x128", dx_512, 256, ALL }, { "whole", dx_whole, 1, ALL }, { "OpenBLAS", dx_blas, 1, ALL } };
    static const column dw[] = { { "128x128", dw_128, 1, ALL }, { "256x256", dw_256, 1, ALL }, { "512x128", dw_512, 1, ALL }, { "whole", dw_whole, 1, ALL }, { "OpenBLAS", dw_blas, 1, ALL } };
    static const struct { const char *form; const column *c; int n; } forms[] = { { "forward", fwd, 4 }, { "dX", dx, 5 }, { "dW", dw, 5 } };
    for (int f = 0; f < 3; f++) {
        if (!wanted(forms[f].form)) continue;
        printf("\n%-8s %5s   %4s   %4s ", "GFLOP/s", "rows", "F", "D");
        for (int i = 0; i < forms[f].n; i++) printf(" %9s      ", forms[f].c[i].name);
        printf("\n");
        for (size_t s = 0; s < SY_COUNT(sizes); s++)
            for (size_t r = 0; r < SY_COUNT(rows); r++) {
                if (only_rows && rows[r] != only_rows) continue;
                size_t R = (size_t)rows[r], F = (size_t)sizes[s][0], D = (size_t)sizes[s][1];
                job j = { (int)R, (int)F, (int)D, room(R * D), room(F * D), room(R * F), room(R * D), room(F * D), room(R * F), room((F + 128) * D) };
                k->pack((int)F, (int)D, j.W, D, j.panels);
                product(forms[f].form, forms[f].c, forms[f].n, &j);
                free(j.X); free(j.W); free(j.dY); free(j.dX); free(j.dW); free(j.Y); free(j.panels);
            }
    }
}

/* One to eight rows against weights that come from memory: many matrices in turn, as in decoding. */
static void decoding(float *big, size_t bytes)
{
    enum { F = 2048, D = 2048 };
    size_t n = bytes / sizeof(float) / ((size_t)F * D);
    float *X = room(8 * D), *Y = room(8 * F);
    printf("\nweights from memory, %d x %d, %zu of them: GB/s of weights\n%4s %12s %12s %12s\n", F, D, n, "rows", "as they lie", "panels", "read alone");
    for (int R = 1; R <= 8; R *= 2) {
        double t[2][TURNS], read[TURNS];
        for (int turn = 0; turn < TURNS; turn++) {
            read[turn] = sy_peak_read(k, big, bytes, seconds);
            for (int way = 0; way < 2; way++) {
                size_t done = 0;
                double start = now(), took;
                do {
                    const float *w = big + done % n * ((size_t)F * D);
                    if (way == 0) k->gemm_rows(R, F, D, X, D, w, D, Y, F, false);
                    else k->gemm_panels(R, F, D, X, D, w, Y, F, false);         /* any numbers are panels of something */
                    done++;
                } while ((took = now() - start) < seconds || done < n);
                t[way][turn] = took / (double)done;
            }
        }
        printf("%4d", R);
        for (int way = 0; way < 2; way++) printf(" %12.1f", 4e-9 * F * D / median(t[way], TURNS));
        printf(" %12.1f\n", 1e-9 * median(read, TURNS));
    }
    free(X); free(Y);
}

/* Weights in stored formats against rows of eight-bit activations, from memory (all matrices in turn) and out of the second cache (one of them): GB/s of
 * blocks, and with many rows operations a second. Tiles are 128 rows of weights, as products cut them. */
static void stored(char *big, size_t bytes)
{
    enum { N = 512, K = 2048, TILE = 128 };
    static const sy_wtype types[] = { SY_W_Q8_0, SY_W_Q4_0, SY_W_MXFP4, SY_W_IQ4_NL, SY_W_Q4_K, SY_W_Q5_K, SY_W_Q6_K };
    static const int rows[] = { 1, 2, 4, 8, 16, 32, 128, 512 };
    const sy_int8 *q = sy_int8_for(k);
    float *X = room(512 * K), *Y = room(512 * N);
    printf("\nstored weights, %d x %d, set %s\n%-7s %4s %12s %12s %12s %12s\n", N, K, q->name, "", "rows", "memory GB/s", "cache GB/s", "cache GOP/s", "read alone");
    memset(big, 0x21, bytes);           /* scales of a usual size, whichever bytes they are */
    for (size_t i = 0; i < SY_COUNT(types); i++) {
        sy_wtype t = types[i];
        size_t ldw = sy_wtype_bytes(t, K), one = N * ldw, all = bytes / one, stride = sy_int8_bytes(t, K);
        char *x = aligned_alloc(64, 512 * stride);
        for (int m = 0; m < 512; m++) q->quantise(t, K, X + (size_t)m * K, x + (size_t)m * stride);
        for (size_t r = 0; r < SY_COUNT(rows); r++) {
            double time[2][TURNS], read[TURNS];
            if (only_rows && rows[r] != only_rows) continue;
            for (int turn = 0; turn < TURNS; turn++) {
                read[turn] = sy_peak_read(k, big, bytes, seconds);
                for (int cached = 0; cached < 2; cached++) {
                    size_t done = 0;
                    double start = now(), took;
                    do {
                        const char *w = big + (cached ? 0 : done % all * one);
                        for (int n = 0; n < N; n += TILE)
                            q->product(t, rows[r], TILE, K, x, stride, w + (size_t)n * ldw, ldw, Y + n, N, false, w + (size_t)(n + TILE) * ldw);
                        done++;
                    } while ((took = now() - start) < seconds);
                    time[cached][turn] = took / (double)done;
                }
            }
            double memory = median(time[0], TURNS), cache = median(time[1], TURNS);
            printf("%-7s %4d %12.1f %12.1f %12.1f %12.1f\n", sy_wtype_name(t), rows[r], 1e-9 * (double)one / memory, 1e-9 * (double)one / cache,
                   2e-9 * rows[r] * N * K / cache, 1e-9 * median(read, TURNS));
            fflush(stdout);
        }
        free(x);
    }
    free(X); free(Y);
}

/* The rest, on rows that stay in the first or second cache: nanoseconds an element. */
static void rows_and_elements(void)
{
    enum { N = 4096, ROW = 512 };
    float *a = room(N), *b = room(N), *c = room(N), *d = room(N), *e = room(N), r, m, l;
    sy_adamw adam = { .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .bias1 = 1, .bias2 = 1, .clip = 1 };
    printf("\nns an element (rows of %d, elements in runs of %d)\n", ROW, N);
    for (size_t i = 0; i < N; i++) e[i] = 1;
#define TIME(name, n, ...) do { double t_[TURNS]; for (int turn = 0; turn < TURNS; turn++) { int reps = 0; double start = now(), took; \
        do { for (int z = 0; z < 16; z++) { __VA_ARGS__; } reps += 16; } while ((took = now() - start) < seconds / TURNS / 4); t_[turn] = took / reps / (n); } \
        printf("  %-12s %7.3f\n", name, 1e9 * median(t_, TURNS)); } while (0)
    TIME("add", N, k->add(N, a, b, c));
    TIME("exp", N, k->exp(N, a, c));
    TIME("silu", N, k->act(SY_ACT_SILU, N, a, c));
    TIME("gelu", N, k->act(SY_ACT_GELU, N, a, c));
    TIME("gelu_tanh", N, k->act(SY_ACT_GELU_TANH, N, a, c));
    TIME("tanh", N, k->act(SY_ACT_TANH, N, a, c));
    TIME("glu silu", N, k->glu(SY_ACT_SILU, N, a, b, c));
    TIME("glu_b silu", N, k->glu_b(SY_ACT_SILU, N, a, b, c, d, d));
    TIME("glu_b gelu", N, k->glu_b(SY_ACT_GELU, N, a, b, c, d, d));
    TIME("dot", ROW, r = k->dot(ROW, a, b); (void)r);
    TIME("max", ROW, r = k->max(ROW, a); (void)r);
    TIME("softmax", ROW, k->softmax(ROW, a, c));
    TIME("softmax_b", ROW, k->softmax_b(ROW, a, b, c));
    TIME("rmsnorm", ROW, k->rmsnorm(ROW, 1e-5, a, b, c, &r));
    TIME("rmsnorm_b", ROW, k->rmsnorm_b(ROW, a, b, 1e-3f, c, d, NULL));
    TIME("attn_row 64", 64, m = -1; l = 0; k->attn_row(64, 1, e, &m, &l));
    TIME("xent_row", N, k->xent_row(N, e, true));
    TIME("adamw", N, k->adamw(N, &adam, a, b, d, e));
    TIME("sumsq", N, r = (float)k->sumsq(N, a); (void)r);
    free(a); free(b); free(c); free(d); free(e);
}

int main(int argc, char **argv)
{
    sy_err err = { 0 };
    if (sy_kernels_pick(argc > 1 && strcmp(argv[1], "-") ? argv[1] : NULL, &k, &err) != SY_OK) { fprintf(stderr, "%s\n", err.text); return 1; }
    if (argc > 2 && !((seconds = atof(argv[2])) > 0)) { fprintf(stderr, "seconds: '%s' is not a positive number\n", argv[2]); return 2; }
    if (argc > 3) only = argv[3];
    if (argc > 4) only_rows = atoi(argv[4]);
    void *lib = dlopen("libopenblas.so.0", RTLD_NOW);
    void (*one)(int) = NULL;
    char *(*core)(void) = NULL;
    if (lib) { *(void **)&blas = dlsym(lib, "cblas_sgemm"); *(void **)&one = dlsym(lib, "openblas_set_num_threads"); }
    if (lib) *(void **)&core = dlsym(lib, "openblas_get_corename");
    if (one) one(1);
    double load[3] = { 0 };
    getloadavg(load, 3);
    size_t bytes = (size_t)1 << 30;
    float *big = room(bytes / sizeof *big);
    printf("set %s, load %.2f, FMA %.1f GFLOP/s, read %.1f GB/s, copy %.1f GB/s, OpenBLAS: %s\n", k->name, load[0], 2e-9 * sy_peak_fma(k, seconds),
           1e-9 * sy_peak_read(k, big, bytes, 4 * seconds), 1e-9 * sy_peak_copy(big, big + bytes / 8, bytes / 2, 4 * seconds), blas && core ? core() : blas ? "yes" : "none");
    products();
    if (wanted("decode")) decoding(big, bytes);
    if (wanted("int8")) stored((char *)big, bytes);
    free(big);
    if (wanted("rest")) rows_and_elements();
    getloadavg(load, 3);
    printf("\nload at the end %.2f\n", load[0]);
    return 0;
}
