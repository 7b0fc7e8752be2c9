/* tensor/product.c - tiles of many products over the threads. */
#include "tensor/product.h"

#include <stdatomic.h>
#include <string.h>

#include "kernels/int8.h"

enum { TILE_M = 512, TILE_N = 128, TILE_BACK = 256, TILE_16 = 512, TILE_8 = 64, TILE_FEW = 32, FEW_ROWS = 16 };  /* up to FEW_ROWS rows a strip of W is not worth packing (docs/speed.md) */

/* What a list knows of a job: the number of its first tile, and its rows rounded to eight bits, or NULL. */
typedef struct part { int first; const char *X; size_t stride; } part;
/* Tiles next .. end-1 are one thread's to begin with; who has no more takes from others. */
typedef struct share { _Alignas(64) _Atomic int next; int end; } share;

struct run { sy_engine *e; const sy_int8 *i8; const sy_gemm_job *job; part *part; int n; share *share; int shares; _Atomic int failed; };

bool sy_gemm_rounds(const sy_gemm_job *j)
{
#ifdef SY_DOUBLE
    (void)j;
    return false;
#else
    int group = j->int8 && j->rows && !j->bf16 && j->aks == 1 && j->K > 0 ? sy_int8_group(j->type) : 0;
    return group && j->K % group == 0;
#endif
}

/* A product that packs both operands, backward or in bfloat16: square tiles. With few rows reading W is the work: small pieces of it. */
static int tile_m(const sy_gemm_job *j) { return j->bf16 ? TILE_16 : j->rows ? TILE_M : TILE_BACK; }
static int tile_n(const sy_gemm_job *j) { return j->bf16 ? TILE_16 : sy_gemm_rounds(j) ? TILE_8 : !j->rows ? TILE_BACK : j->M <= FEW_ROWS ? TILE_FEW : TILE_N; }

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

/* Where a tile lies in its job: rows m0 .. m0+m-1 of C, columns n0 .. n0+n-1. */
typedef struct place { int m0, m, n0, n; } place;

static place place_of(const sy_gemm_job *j, int tile)
{
    int step = tile_m(j), across = tile_n(j), down = (j->M + step - 1) / step;
    place p = { .m0 = tile % down * step, .n0 = tile / down * across };      /* rows vary first: neighbours share the columns of W */
    p.m = j->M - p.m0 < step ? j->M - p.m0 : step;
    p.n = j->N - p.n0 < across ? j->N - p.n0 : across;
    return p;
}

/* The job of a tile. */
static int job_of(const struct run *r, int tile)
{
    int low = 0, high = r->n;                        /* first[low] <= tile < first[high] */
    while (high - low > 1) {
        int mid = low + (high - low) / 2;
        if (r->part[mid].first <= tile) low = mid;
        else high = mid;
    }
    return low;
}

#ifdef SY_DOUBLE
static void tile8(struct run *r, int i, const place *p, sy_real *C, int next) { (void)r, (void)i, (void)p, (void)C, (void)next; }
#else
static const char *rows_of_weight(const sy_gemm_job *j, int n0) { return (const char *)j->B + sy_wtype_bytes(j->type, (size_t)n0 * j->bks); }

/* `next`: the tile that this thread takes afterwards, most likely; its weights are asked for. -1: not known. */
static void tile8(struct run *r, int i, const place *p, sy_real *C, int next)
{
    const sy_gemm_job *j = &r->job[i], *after;
    const char *ahead = NULL;
    if (next >= 0) {
        int at = job_of(r, next);
        after = &r->job[at];
        if (r->part[at].X) ahead = rows_of_weight(after, place_of(after, next - r->part[at].first).n0);
    }
    r->i8->product(j->type, p->m, p->n, j->K, r->part[i].X + (size_t)p->m0 * r->part[i].stride, r->part[i].stride, rows_of_weight(j, p->n0), sy_wtype_bytes(j->type, j->bks), C, j->ldc, j->acc, ahead);
}
#endif

static void do_tile(struct run *r, int tile, int next, int worker)
{
    const sy_kernels *k = r->e->k;
    int i = job_of(r, tile);
    const sy_gemm_job *j = &r->job[i];
    place p = place_of(j, tile - r->part[i].first);
    int m = p.m, n = p.n, n0 = p.n0;
    const sy_real *A = j->A + (size_t)p.m0 * j->ars;
    sy_real *C = j->C + (size_t)p.m0 * j->ldc + n0;
    if (r->part[i].X) {
        tile8(r, i, &p, C, next);
        return;
    }
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
    if (j->panels) {                                            /* both widths of tiles are multiples of every set's nr */
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

static void run_share(void *arg, int task, int worker)
{
    struct run *r = arg;
    for (int i = 0; i < r->shares; i++) {
        share *s = &r->share[(task + i) % r->shares];
        for (int t; (t = atomic_fetch_add_explicit(&s->next, 1, memory_order_relaxed)) < s->end; ) do_tile(r, t, t + 1 < s->end ? t + 1 : -1, worker);
    }
}

/* --- rows on eight bits ---------------------------------------------------------------------------------------------------------- */

#ifndef SY_DOUBLE
/* Rows that some jobs of a list read, one after the other; kept for one of the two sizes of groups. */
typedef struct rows { const sy_real *A; size_t ars, stride; int n, K; sy_wtype type; char *X; } rows;
struct rounding { struct run *r; const rows *rows; };

static void round_rows(void *arg, int from, int to, int worker)
{
    (void)worker;
    const struct rounding *x = arg;
    const rows *s = x->rows;
    int at = 0;
    for (int i = from; i < to; i++) {
        while (i >= at + s->n) at += s++->n;
        x->r->i8->quantise(s->type, (size_t)s->K, s->A + (size_t)(i - at) * s->ars, s->X + (size_t)(i - at) * s->stride);
    }
}

/* Finds job j's rows among n sets of rows, or lets one grow by them: its first row there. -1: they are new. */
static int row_in(rows *s, const sy_gemm_job *j)
{
    size_t one = j->ars * sizeof *j->A, at = (size_t)((const char *)j->A - (const char *)s->A);
    if (j->A < s->A || !one || s->ars != j->ars || s->K != j->K || sy_int8_group(s->type) != sy_int8_group(j->type) || at % one || at / one > (size_t)s->n) return -1;
    int first = (int)(at / one);
    if (first + j->M > s->n) s->n = first + j->M;
    return first;
}

/* Rounds what the jobs read, every row once. */
static bool round_all(struct run *r)
{
    sy_arena *a = &r->e->list;
    rows *s = sy_arena_alloc(a, (size_t)r->n * sizeof *s);
    int *which = sy_arena_alloc(a, (size_t)r->n * sizeof *which), *row = sy_arena_alloc(a, (size_t)r->n * sizeof *row), sets = 0, all = 0;
    if (!s || !which || !row) return false;
    for (int i = 0; i < r->n; i++) {
        const sy_gemm_job *j = &r->job[i];
        which[i] = -1;
        if (!tiles(j) || !sy_gemm_rounds(j)) continue;
        for (int k = sets - 1; k >= 0 && which[i] < 0; k--) if ((row[i] = row_in(&s[k], j)) >= 0) which[i] = k;
        if (which[i] >= 0) continue;
        s[sets] = (rows){ .A = j->A, .ars = j->ars, .stride = sy_int8_bytes(j->type, (size_t)j->K), .n = j->M, .K = j->K, .type = j->type };
        which[i] = sets++, row[i] = 0;
    }
    double values = 0;
    for (int k = 0; k < sets; k++) {
        size_t rows = (size_t)s[k].n * s[k].stride, behind = (SY_INT8_ROWS - 1) * s[k].stride;      /* kernels read whole tiles */
        if (!(s[k].X = sy_arena_alloc(a, rows + behind))) return false;
        memset(s[k].X + rows, 0, behind);
        all += s[k].n;
        values += (double)s[k].n * s[k].K;
    }
    if (sets) sy_each(r->e, all, values / all / 2, round_rows, &(struct rounding){ r, s });      /* two values an elementary operation */
    for (int i = 0; i < r->n; i++) if (which[i] >= 0) r->part[i].X = s[which[i]].X + (size_t)row[i] * s[which[i]].stride, r->part[i].stride = s[which[i]].stride;
    return true;
}
#else
static bool round_all(struct run *r) { (void)r; return true; }
#endif

/* --- lists ----------------------------------------------------------------------------------------------------------------------- */

uint64_t sy_gemm_madds(const sy_gemm_job *job, int n)
{
    uint64_t s = 0;
    for (int i = 0; i < n; i++) s += (uint64_t)(job[i].M > 0 ? job[i].M : 0) * job[i].N * job[i].K;
    return s;
}

/* About how long a job takes one thread, in multiply-adds of many rows: each byte of W is read, at the cost of two and a half. */
static double work_of(const sy_gemm_job *j)
{
    double madds = (double)sy_gemm_madds(j, 1), weights = j->M > 0 ? (double)j->N * j->K : 0;
    double read = 2.5 * weights * (j->type == SY_W_REAL ? sizeof(sy_real) : (double)sy_wtype_bytes(j->type, SY_BLOCK_MAX) / SY_BLOCK_MAX);
    return madds > read ? madds : read;
}

/* Numbers the tiles, gives each thread its share, and runs them. */
static bool run_list(struct run *r)
{
    enum { SMALL = 1 << 19 };                                   /* what one thread does in about 20 us */
    sy_arena *a = &r->e->list;
    int all = 0;
    bool rounds = false;
    double work = 0;
    r->part = sy_arena_array(a, (size_t)r->n + 1, sizeof *r->part);
    r->share = sy_arena_alloc(a, (size_t)r->e->threads * sizeof *r->share);
    if (!r->part || !r->share) return false;
    for (int i = 0; i < r->n; i++) {
        r->part[i].first = all;
        all += tiles(&r->job[i]);
        rounds |= sy_gemm_rounds(&r->job[i]);
        work += work_of(&r->job[i]);
    }
    r->part[r->n].first = all;
    if (rounds && !round_all(r)) return false;
    r->shares = work < SMALL || !all ? 1 : r->e->threads < all ? r->e->threads : all;
    for (int i = 0; i < r->shares; i++) r->share[i] = (share){ .next = (int)((int64_t)all * i / r->shares), .end = (int)((int64_t)all * (i + 1) / r->shares) };
    if (r->shares == 1) run_share(r, 0, 0);
    else sy_pool_run(r->e->pool, r->shares, run_share, r);
    return true;
}

sy_status sy_gemm_all(sy_engine *e, const sy_gemm_job *job, int n, sy_err *err)
{
    struct run r = { .e = e, .i8 = sy_int8_for(e->k), .job = job, .n = n };
    if (n <= 0) return SY_OK;
    bool done = run_list(&r);
    sy_arena_reset(&e->list);
    if (!done) return sy_fail(err, SY_ENOMEM, "no memory for a list of %d products", n);
    return r.failed ? sy_fail(err, SY_ENOMEM, "no memory to pack a strip of weights") : SY_OK;
}

/* --- products of nodes ------------------------------------------------------------------------------------------------------------ */

typedef struct sy_held { sy_gemm_job *job; int n; struct sy_held *next; } sy_held;

static bool run_jobs(sy_tape *t, const char *what, const sy_gemm_job *job, int jobs)
{
    sy_err err;
    sy_status st = sy_gemm_all(t->eng, job, jobs, &err);
    if (st != SY_OK) sy_tape_fail(t, st, "%s: %s", what, err.text);
    return st == SY_OK;
}

bool sy_node_gemm(sy_node *n, sy_gemm_job *job, int jobs)
{
    for (int i = 0; i < jobs; i++) job[i].bf16 = n->bf16, job[i].int8 = n->int8;
    n->tape->madds += sy_gemm_madds(job, jobs);
    return run_jobs(n->tape, n->op->name, job, jobs);
}

bool sy_node_gemm_held(sy_node *n, sy_gemm_job *job, int jobs)
{
    sy_tape *t = n->tape;
    if (!t->holds || t->eng->check_nan) return sy_node_gemm(n, job, jobs);      /* the check looks at outputs at once */
    for (int i = 0; i < jobs; i++) job[i].bf16 = n->bf16, job[i].int8 = n->int8;
    sy_held *h = sy_tape_alloc(t, 1, sizeof *h);
    if (!h || !(h->job = sy_tape_alloc(t, (size_t)jobs + 1, sizeof *job))) return false;
    memcpy(h->job, job, (size_t)jobs * sizeof *job);
    h->n = jobs;
    h->next = t->held;
    t->held = h;
    t->madds += sy_gemm_madds(job, jobs);
    return true;
}

void sy_hold(sy_tape *t) { t->holds = true; }

void sy_go(sy_tape *t)
{
    int n = 0;
    const sy_held *h = t->held;
    t->holds = false;
    t->held = NULL;
    if (!h || t->status != SY_OK) return;
    for (const sy_held *i = h; i; i = i->next) n += i->n;
    sy_gemm_job *all = sy_tape_alloc(t, (size_t)n + 1, sizeof *all);
    if (!all) return;
    for (int at = n; h; h = h->next) {                           /* in the order in which they came */
        at -= h->n;
        memcpy(all + at, h->job, (size_t)h->n * sizeof *all);
    }
    run_jobs(t, "products", all, n);
}
