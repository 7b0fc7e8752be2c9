/* tensor/product.c - tiles of many products over the threads. */
#include "tensor/product.h"

#include <stdatomic.h>
#include <string.h>

enum { TILE_M = 512, TILE_N = 128, TILE_BACK = 256, TILE_16 = 512, FEW_ROWS = 16 };  /* up to FEW_ROWS rows a strip of W is not worth packing (docs/speed.md) */

struct run { sy_engine *e; const sy_gemm_job *job; int n; _Atomic int failed; };

/* A product that packs both operands, backward or in bfloat16: square tiles. */
static int tile_m(const sy_gemm_job *j) { return j->bf16 ? TILE_16 : j->rows ? TILE_M : TILE_BACK; }
static int tile_n(const sy_gemm_job *j) { return j->bf16 ? TILE_16 : j->rows ? TILE_N : TILE_BACK; }

static int tiles(const sy_gemm_job *j)
{
    if (j->M <= 0 || j->N <= 0) return 0;
    int m = tile_m(j), n = tile_n(j);
    return ((j->M + m - 1) / m) * ((j->N + n - 1) / n);
}

/* --- weights in stored formats ------------------------------------------------------------------------------------------------ */

void sy_weight_read(sy_wtype type, const void *data, size_t from, size_t n, sy_real *out)
{
    if (type == SY_W_REAL) {
        memcpy(out, (const sy_real *)data + from, n * sizeof *out);
        return;
    }
    const uint8_t *src = (const uint8_t *)data + sy_wtype_bytes(type, from);
#ifdef SY_DOUBLE
    float part[SY_BLOCK_MAX];                        /* a multiple of every block */
    for (size_t i = 0; i < n; i += SY_BLOCK_MAX) {
        size_t k = n - i < SY_BLOCK_MAX ? n - i : SY_BLOCK_MAX;
        sy_wtype_read(type, src + sy_wtype_bytes(type, i), k, part);
        for (size_t v = 0; v < k; v++) out[i + v] = (sy_real)part[v];
    }
#else
    sy_wtype_read(type, src, n, out);
#endif
}

/* C[m,n] of a tile, Y = X W^T: the rows of W that one panel holds are decoded together, used for all rows of X, and forgotten. */
static bool stored_forward(struct run *r, const sy_gemm_job *j, int m, int n, int n0, const sy_real *A, sy_real *C, int worker)
{
    const sy_kernels *k = r->e->k;
    sy_arena *s = &r->e->scratch[worker];
    sy_mark mark = sy_arena_mark(s);
    size_t K = (size_t)j->K, nr = (size_t)k->nr;
    sy_real *W = sy_arena_alloc(s, nr * K * sizeof *W), *panel = m > FEW_ROWS ? sy_arena_alloc(s, nr * K * sizeof *panel) : NULL;
    bool done = W && (panel || m <= FEW_ROWS);
    for (int at = 0; done && at < n; at += (int)nr) {
        int rows = n - at < (int)nr ? n - at : (int)nr;
        for (int i = 0; i < rows; i++) sy_weight_read(j->type, j->B, (size_t)(n0 + at + i) * j->bks, K, W + (size_t)i * K);
        if (panel) {
            k->pack(rows, j->K, W, K, panel);
            k->gemm_panels(m, rows, j->K, A, j->ars, panel, C + at, j->ldc, j->acc);
        } else k->gemm_rows(m, rows, j->K, A, j->ars, W, K, C + at, j->ldc, j->acc);
    }
    sy_arena_release(s, mark);
    return done;
}

/* C[m,n] of a tile, dX = dY W: the contraction runs over the rows of W, a few at a time; each piece goes on with the chains where the one
 * before it left them. The first column of a tile is a multiple of every block. */
static bool stored_back(struct run *r, const sy_gemm_job *j, int m, int n, int n0, const sy_real *A, sy_real *C, int worker)
{
    enum { ROWS = 64 };
    sy_arena *s = &r->e->scratch[worker];
    sy_mark mark = sy_arena_mark(s);
    sy_real *W = sy_arena_alloc(s, (size_t)ROWS * (size_t)n * sizeof *W);
    for (int at = 0; W && (at < j->K || at == 0); at += ROWS) {       /* at least once: an empty sum is zero */
        int rows = j->K - at < ROWS ? j->K - at : ROWS;
        for (int i = 0; i < rows; i++) sy_weight_read(j->type, j->B, (size_t)(at + i) * j->bks + (size_t)n0, (size_t)n, W + (size_t)i * (size_t)n);
        r->e->k->gemm(m, n, rows, A + (size_t)at * j->aks, j->ars, j->aks, W, (size_t)n, C, j->ldc, j->acc || at);
    }
    sy_arena_release(s, mark);
    return W != NULL;
}

/* The same tile in bfloat16, in any form. Of a stored weight as much becomes numbers at a time as the kernels pack at a time; the chains go on. */
static bool tile16(struct run *r, const sy_gemm_job *j, int m, int n, int n0, const sy_real *A, sy_real *C, int worker)
{
    enum { STEP = 512 };                             /* values of a row, or rows: a multiple of every block */
    sy_arena *s = &r->e->scratch[worker];
    sy_mark mark = sy_arena_mark(s);
    bool stored = j->type != SY_W_REAL;
    char *work = sy_arena_alloc(s, SY_GEMM16_WORK + 64);
    sy_real *W = stored ? sy_arena_alloc(s, (size_t)STEP * (size_t)n * sizeof *W) : NULL;
    bool done = work && (W || !stored);
    if (done) work += (64 - (uintptr_t)work % 64) % 64;
    for (int k0 = 0, step = stored ? STEP : j->K > 0 ? j->K : 1; done && (k0 < j->K || !k0); k0 += step) {       /* at least once: an empty sum is zero */
        int some = j->K - k0 < step ? j->K - k0 : step;
        size_t ld = j->bks, from = j->rows ? (size_t)n0 * ld + (size_t)k0 : (size_t)k0 * ld + (size_t)n0;
        const sy_real *B = stored ? W : (const sy_real *)j->B + from;
        if (stored) {
            int high = j->rows ? n : some, wide = j->rows ? some : n;
            for (int i = 0; i < high; i++) sy_weight_read(j->type, j->B, from + (size_t)i * ld, (size_t)wide, W + (size_t)i * (size_t)wide);
            ld = (size_t)wide;
        }
        sy_gemm16(r->e->k, m, n, some, A + (size_t)k0 * j->aks, j->ars, j->aks, B, j->rows ? 1 : ld, j->rows ? ld : 1, C, j->ldc, j->acc || k0, work);
    }
    sy_arena_release(s, mark);
    return done;
}

static void do_tile(struct run *r, const sy_gemm_job *j, int tile, int worker)
{
    const sy_kernels *k = r->e->k;
    int step = tile_m(j), across = tile_n(j), down = (j->M + step - 1) / step;
    int m0 = tile % down * step, n0 = tile / down * across;     /* rows vary first: neighbours share the columns of W */
    int m = j->M - m0 < step ? j->M - m0 : step, n = j->N - n0 < across ? j->N - n0 : across;
    const sy_real *A = j->A + (size_t)m0 * j->ars;
    sy_real *C = j->C + (size_t)m0 * j->ldc + n0;
    if (j->bf16) {
        if (!tile16(r, j, m, n, n0, A, C, worker)) r->failed = 1;
        return;
    }
    if (j->type != SY_W_REAL) {
        bool done = j->rows ? stored_forward(r, j, m, n, n0, A, C, worker) : stored_back(r, j, m, n, n0, A, C, worker);
        if (!done) r->failed = 1;
        return;
    }
    const sy_real *B = j->B;
    if (!j->rows) {
        k->gemm(m, n, j->K, A, j->ars, j->aks, B + n0, j->bks, C, j->ldc, j->acc);
        return;
    }
    const sy_real *W = B + (size_t)n0 * j->bks;
    if (j->panels) {                                            /* TILE_N is a multiple of every set's nr */
        k->gemm_panels(m, n, j->K, A, j->ars, j->panels + (size_t)n0 * j->K, C, j->ldc, j->acc);
        return;
    }
    if (m <= FEW_ROWS) {
        k->gemm_rows(m, n, j->K, A, j->ars, W, j->bks, C, j->ldc, j->acc);
        return;
    }
    sy_arena *s = &r->e->scratch[worker];
    sy_mark mark = sy_arena_mark(s);
    size_t wide = (size_t)((n + k->nr - 1) / k->nr) * k->nr;
    sy_real *panels = sy_arena_alloc(s, wide * j->K * sizeof *panels);
    if (panels) {
        k->pack(n, j->K, W, j->bks, panels);
        k->gemm_panels(m, n, j->K, A, j->ars, panels, C, j->ldc, j->acc);
    } else r->failed = 1;
    sy_arena_release(s, mark);
}

static void run_tile(void *arg, int task, int worker)
{
    struct run *r = arg;
    const sy_gemm_job *j = r->job;
    for (int t; task >= (t = tiles(j)); j++) task -= t;
    do_tile(r, j, task, worker);
}

uint64_t sy_gemm_madds(const sy_gemm_job *job, int n)
{
    uint64_t s = 0;
    for (int i = 0; i < n; i++) s += (uint64_t)(job[i].M > 0 ? job[i].M : 0) * job[i].N * job[i].K;
    return s;
}

sy_status sy_gemm_all(sy_engine *e, const sy_gemm_job *job, int n, sy_err *err)
{
    enum { SMALL = 1 << 19 };                                   /* multiply-adds that one thread does in about 20 us */
    struct run r = { .e = e, .job = job, .n = n };
    int all = 0;
    for (int i = 0; i < n; i++) all += tiles(&job[i]);
    if (sy_gemm_madds(job, n) < SMALL) for (int i = 0; i < all; i++) run_tile(&r, i, 0);
    else sy_pool_run(e->pool, all, run_tile, &r);
    return r.failed ? sy_fail(err, SY_ENOMEM, "no memory to pack a strip of weights") : SY_OK;
}

bool sy_node_gemm(sy_node *n, sy_gemm_job *job, int jobs)
{
    sy_err err;
    for (int i = 0; i < jobs; i++) job[i].bf16 = n->bf16;
    n->tape->madds += sy_gemm_madds(job, jobs);
    sy_status st = sy_gemm_all(n->tape->eng, job, jobs, &err);
    if (st != SY_OK) sy_tape_fail(n->tape, st, "%s: %s", n->op->name, err.text);
    return st == SY_OK;
}
