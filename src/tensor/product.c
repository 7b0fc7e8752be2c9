/* tensor/product.c - tiles of many products over the threads. */
#include "tensor/product.h"

#include <stdatomic.h>

enum { TILE_M = 512, TILE_N = 128, TILE_BACK = 256, FEW_ROWS = 16 };     /* up to FEW_ROWS rows a strip of W is not worth packing (docs/speed.md) */

struct run { sy_engine *e; const sy_gemm_job *job; int n; _Atomic int failed; };

/* A backward product packs both operands: square tiles. */
static int tile_m(const sy_gemm_job *j) { return j->rows ? TILE_M : TILE_BACK; }
static int tile_n(const sy_gemm_job *j) { return j->rows ? TILE_N : TILE_BACK; }

static int tiles(const sy_gemm_job *j)
{
    if (j->M <= 0 || j->N <= 0) return 0;
    int m = tile_m(j), n = tile_n(j);
    return ((j->M + m - 1) / m) * ((j->N + n - 1) / n);
}

static void do_tile(struct run *r, const sy_gemm_job *j, int tile, int worker)
{
    const sy_kernels *k = r->e->k;
    int step = tile_m(j), across = tile_n(j), down = (j->M + step - 1) / step;
    int m0 = tile % down * step, n0 = tile / down * across;     /* rows vary first: neighbours share the columns of W */
    int m = j->M - m0 < step ? j->M - m0 : step, n = j->N - n0 < across ? j->N - n0 : across;
    const sy_real *A = j->A + (size_t)m0 * j->ars;
    sy_real *C = j->C + (size_t)m0 * j->ldc + n0;
    if (!j->rows) {
        k->gemm(m, n, j->K, A, j->ars, j->aks, j->B + n0, j->bks, C, j->ldc, j->acc);
        return;
    }
    const sy_real *W = j->B + (size_t)n0 * j->bks;
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
