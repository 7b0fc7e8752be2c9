/* tensor/ops/attention.c - blocked attention with an online softmax (Milakov and Gimelshein, arXiv:1805.02867; the blocking:
 * Dao et al., arXiv:2205.14135), grouped KV heads (Ainslie et al., arXiv:2305.13245), sliding windows, packed documents.
 *
 * The order of one query row depends on its position in its segment and on nothing else, so training, prefill and decode give
 * the same bits. Keys go in blocks of 64 counted from the start of the segment; four blocks are a chunk with its own running maximum
 * m, sum l and output O; chunks merge in order. A block that a query cannot see does not touch it; in a block that it sees in
 * part, the hidden keys enter with weight zero, which changes no finite sum (the sign of a zero is settled at the end).
 *
 *   forward   S = Q K^T;  m' = max(m, scale max S);  P = exp(scale S - m');  a = exp(m - m');  l = a l + sum P;  O = a O + P V
 *             out = O / l;  lse = m + log l, kept for backward
 *             a task has up to 64 queries under all heads of a KV head; where such tiles are few, every chunk is a task of its own
 *   backward  D = rowsum(dO O);  P = exp(scale S - lse);  dV += P^T dO;  dS = scale P (dO V^T - D);  dQ += dS K;  dK += dS^T Q
 *             one task has all of a segment's KV head: key blocks ascend, in each the heads of the group, in each the queries; where such
 *             tasks are few, one has a block of keys (dK, dV) or of a head's queries (dQ), and each sum keeps that order.
 *   softcap   c tanh(scale S / c) stands for scale S; dS gets its derivative 1 - tanh^2.
 *   sink      a logit z of the head joins m and l when all chunks are merged, so lse counts it; its value is zero: dz = -sum exp(z - lse) D. */
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "tensor/ops/span.h"

enum { BLOCK = 64, CHUNK = 4 };                     /* keys of a block, blocks of a chunk */
enum { FEW_ROWS = 8, STRIP = 16 };                  /* up to FEW_ROWS rows packing keys does not pay; queries of a strip along the diagonal */

struct attn { sy_attn a; const sy_segment *seg; int n_seg; };

/* Where keys or values of one segment and KV head lie: position p at x + p * stride. */
struct keys { const sy_real *x; size_t stride; };

static struct keys keys_of(const sy_node *n, const sy_segment *s, int kv, bool values)
{
    const struct attn *a = n->arg;
    size_t w = (size_t)(values ? a->a.value_dim : a->a.head_dim), wide = (size_t)a->a.n_kv_heads * w;
    if (s->k && values) return (struct keys){ s->v + (size_t)kv * s->v_head_stride, s->v_stride };
    if (s->k) return (struct keys){ s->k + (size_t)kv * s->head_stride, s->stride };
    return (struct keys){ n->in[values ? 2 : 1]->x + (size_t)s->row * wide + (size_t)kv * w, wide };
}

/* The keys lo .. hi-1 that a query at position p sees within k0 .. k1-1; none: lo = hi, still within. */
static void visible(const sy_attn *a, int p, int k0, int k1, int *lo, int *hi)
{
    *lo = k0;
    *hi = k1;
    if (a->causal && *hi > p + 1) *hi = p + 1;
    if (a->window && *lo < p - a->window + 1) *lo = p - a->window + 1;
    if (*lo > k1) *lo = k1;
    if (*hi < *lo) *hi = *lo;
}

/* First key that a query at position p sees. */
static int first_seen(const sy_attn *a, int p) { return a->window && p >= a->window ? p - a->window + 1 : 0; }

static size_t wide(const sy_kernels *k, int hd) { return (size_t)((BLOCK + k->nr - 1) / k->nr * k->nr) * (size_t)hd; }   /* panels of a block */

static uint64_t pairs(const struct attn *a)         /* (query, key) pairs that meet */
{
    uint64_t n = 0;
    for (int i = 0; i < a->n_seg; i++)
        for (int q = 0; q < a->seg[i].n; q++) {
            int p = a->seg[i].pos0 + q, all = a->seg[i].pos0 + a->seg[i].n;
            n += (uint64_t)((a->a.causal ? p + 1 : all) - first_seen(&a->a, p));
        }
    return n;
}

/* ---- forward ---- */

/* One task: up to 64 queries of a segment times the query heads of one KV head, stacked as rows (head by head). */
struct tile {
    const sy_kernels *k;
    const sy_attn *a;
    const sy_segment *seg;
    int kv, q0, p0, n, rows;            /* KV head; first query in the segment and its position; queries; rows = queries times heads */
    int from, end;                      /* first block of keys, end of the keys */
    sy_real *q, *s, *o, *out;           /* [rows,hd], [rows,64], [rows,vd] of the chunk, [rows,vd] merged */
    sy_real *m, *l, *top, *sum;         /* [rows] of the chunk, [rows] merged */
};

static size_t tile_values(int rows, int hd, int vd) { return (size_t)rows * ((size_t)hd + 2 * (size_t)vd + BLOCK + 4) + 16 * 8; }

static sy_real *take(sy_real **at, size_t n)        /* n values on a border of 64 bytes (of 16 values) */
{
    sy_real *p = *at;
    *at += (n + 15) / 16 * 16;
    return p;
}

static void tile_open(struct tile *t, sy_real *room)
{
    size_t rows = (size_t)t->rows, vd = (size_t)t->a->value_dim;
    t->q = take(&room, rows * (size_t)t->a->head_dim);
    t->o = take(&room, rows * vd);
    t->out = take(&room, rows * vd);
    t->s = take(&room, rows * BLOCK);
    t->m = take(&room, rows);
    t->l = take(&room, rows);
    t->top = take(&room, rows);
    t->sum = take(&room, rows);
}

/* n raw dot products become capped scores. */
static void cap_row(const sy_attn *a, int n, sy_real *s)
{
    for (int j = 0; j < n; j++) s[j] = (sy_real)(a->softcap * tanh(a->scale * (double)s[j] / a->softcap));
}

/* Rows r .. r+rows-1 meet the n keys from k0 on: panels, or their rows K when panels is NULL. first: block of the chunk. */
static void meet_rows(struct tile *t, int r, int rows, const sy_real *panels, struct keys K, struct keys V, int k0, int n, bool first)
{
    int hd = t->a->head_dim, vd = t->a->value_dim;
    sy_real *q = t->q + (size_t)r * (size_t)hd, *o = t->o + (size_t)r * (size_t)vd, *S = t->s + (size_t)r * BLOCK, by = t->a->softcap != 0 ? 1 : (sy_real)t->a->scale;
    if (panels) t->k->gemm_panels(rows, n, hd, q, (size_t)hd, panels, S, BLOCK, false);
    else t->k->gemm_rows(rows, n, hd, q, (size_t)hd, K.x + (size_t)k0 * K.stride, K.stride, S, BLOCK, false);
    for (int i = 0; i < rows; i++) {
        int lo, hi;
        sy_real *s = S + (size_t)i * BLOCK;
        visible(t->a, t->p0 + (r + i) % t->n, k0, k0 + n, &lo, &hi);
        if (t->a->softcap != 0) cap_row(t->a, hi - lo, s + (lo - k0));
        sy_real a = t->k->attn_row(hi - lo, by, s + (lo - k0), &t->m[r + i], &t->l[r + i]);
        for (int j = 0; j < lo - k0; j++) s[j] = 0;
        for (int j = hi - k0; j < n; j++) s[j] = 0;
        if (!first && a != 1) t->k->scale((size_t)vd, a, o + (size_t)i * (size_t)vd, o + (size_t)i * (size_t)vd);
    }
    t->k->gemm(rows, vd, n, S, BLOCK, 1, V.x + (size_t)k0 * V.stride, V.stride, o, (size_t)vd, !first);
}

/* All rows meet one block, keys k0 .. k1-1. Along the diagonal strips of queries stop at the last key that one of them sees. */
static void meet(struct tile *t, const sy_real *panels, struct keys K, struct keys V, int k0, int k1, bool first)
{
    if (!t->a->causal || k1 <= t->p0 + 1) { meet_rows(t, 0, t->rows, panels, K, V, k0, k1 - k0, first); return; }
    for (int r0 = 0; r0 < t->rows; r0 += t->n)
        for (int i = 0; i < t->n; i += STRIP) {
            int rows = t->n - i < STRIP ? t->n - i : STRIP, end = t->p0 + i + rows;
            if (end > k1) end = k1;
            meet_rows(t, r0 + i, rows, panels, K, V, k0, end > k0 ? end - k0 : 0, first);
        }
}

/* Adds a chunk's (m, l, O) to what is merged; a row that saw nothing of the chunk stays as it is. */
static void merge(struct tile *t)
{
    size_t vd = (size_t)t->a->value_dim;
    for (int r = 0; r < t->rows; r++) {
        sy_real *o = t->o + (size_t)r * vd, *out = t->out + (size_t)r * vd, m = t->m[r];
        if (m == -(sy_real)INFINITY) continue;
        if (t->top[r] == -(sy_real)INFINITY) {
            memcpy(out, o, vd * sizeof *out);
            t->top[r] = m;
            t->sum[r] = t->l[r];
            continue;
        }
        sy_real top = m > t->top[r] || m != m ? m : t->top[r], e[2] = { t->top[r] - top, m - top };
        t->k->exp(2, e, e);
        t->k->scale(vd, e[0], out, out);
        t->k->axpy(vd, e[1], o, out);
        t->sum[r] = e[0] * t->sum[r] + e[1] * t->l[r];
        t->top[r] = top;
    }
}

struct fwd {
    sy_node *n;
    sy_real *room;                      /* `each` values a worker */
    size_t   each;
    int      tile;                      /* most queries of a task */
    sy_real *panels;                    /* keys of all segments with more than FEW_ROWS rows: at panels + at[segment], [KV][blocks] */
    size_t  *at;
    int      most;                      /* chunks of a tile at most, when chunks are tasks of their own; else 0 */
    int      pack_tasks;
    sy_real *part;                      /* [tiles, most] of part_each values: m, l, O */
    size_t   part_each;
};

static bool packs(const struct attn *a, const sy_segment *s) { return s->n * (a->a.n_heads / a->a.n_kv_heads) > FEW_ROWS; }
static int  first_block(const struct attn *a, const sy_segment *s) { return first_seen(&a->a, s->pos0) / BLOCK; }
static int  key_blocks(const struct attn *a, const sy_segment *s) { return packs(a, s) ? (s->pos0 + s->n + BLOCK - 1) / BLOCK - first_block(a, s) : 0; }

/* Panels of block b (counted from the segment's start), or NULL. */
static sy_real *panels_of(const struct fwd *f, const sy_segment *s, int kv, int b)
{
    const struct attn *a = f->n->arg;
    if (!packs(a, s)) return NULL;
    return f->panels + f->at[s - a->seg] + ((size_t)kv * (size_t)key_blocks(a, s) + (size_t)(b - first_block(a, s))) * wide(f->n->tape->eng->k, a->a.head_dim);
}

static void pack_task(void *arg, int task, int worker)
{
    (void)worker;
    const struct fwd *f = arg;
    const struct attn *a = f->n->arg;
    const sy_segment *s = a->seg;
    for (int n; task >= (n = key_blocks(a, s) * a->a.n_kv_heads); s++) task -= n;
    int kv = task % a->a.n_kv_heads, b = first_block(a, s) + task / a->a.n_kv_heads, k0 = b * BLOCK, end = s->pos0 + s->n;
    struct keys K = keys_of(f->n, s, kv, false);
    f->n->tape->eng->k->pack((end - k0 < BLOCK ? end - k0 : BLOCK), a->a.head_dim, K.x + (size_t)k0 * K.stride, K.stride, panels_of(f, s, kv, b));
}

/* Tile `index` of the op, its queries gathered, nothing met yet. */
static void tile_start(const struct fwd *f, int index, int worker, struct tile *t)
{
    const struct attn *a = f->n->arg;
    const sy_segment *s = a->seg;
    int KV = a->a.n_kv_heads, g = a->a.n_heads / KV, blocks;
    size_t hd = (size_t)a->a.head_dim, ld = (size_t)a->a.n_heads * hd;
    for (; index >= (blocks = (s->n + f->tile - 1) / f->tile) * KV; s++) index -= blocks * KV;
    int q0 = (blocks - 1 - index / KV) * f->tile, nq = s->n - q0 < f->tile ? s->n - q0 : f->tile;     /* late queries see most: first */
    *t = (struct tile){ .k = f->n->tape->eng->k, .a = &a->a, .seg = s, .kv = index % KV, .q0 = q0, .p0 = s->pos0 + q0, .n = nq, .rows = nq * g };
    t->end = a->a.causal ? t->p0 + nq : s->pos0 + s->n;
    t->from = first_seen(&a->a, t->p0) / BLOCK;
    tile_open(t, f->room + (size_t)worker * f->each);
    for (int r = 0; r < t->rows; r++) {
        memcpy(t->q + (size_t)r * hd, f->n->in[0]->x + (size_t)(s->row + q0 + r % nq) * ld + (size_t)(t->kv * g + r / nq) * hd, hd * sizeof *t->q);
        t->top[r] = -(sy_real)INFINITY;
        t->sum[r] = 0;
    }
}

static int chunks(const struct tile *t) { return (t->end + CHUNK * BLOCK - 1) / (CHUNK * BLOCK) - t->from / CHUNK; }

/* Meets the keys of the tile's chunk c, counted from the first that it sees. */
static void chunk_run(const struct fwd *f, struct tile *t, int c)
{
    struct keys K = keys_of(f->n, t->seg, t->kv, false), V = keys_of(f->n, t->seg, t->kv, true);
    int b0 = (t->from / CHUNK + c) * CHUNK, b1 = b0 + CHUNK;
    if (b0 < t->from) b0 = t->from;
    for (int r = 0; r < t->rows; r++) { t->m[r] = -(sy_real)INFINITY; t->l[r] = 0; }
    for (int b = b0; b < b1 && b * BLOCK < t->end; b++)
        meet(t, panels_of(f, t->seg, t->kv, b), K, V, b * BLOCK, (b + 1) * BLOCK < t->end ? (b + 1) * BLOCK : t->end, b == b0);
}

/* Writes the merged rows out. */
static void tile_end(const struct fwd *f, const struct tile *t)
{
    size_t vd = (size_t)t->a->value_dim, ld = (size_t)t->a->n_heads * vd, T = (size_t)sy_rows(f->n->out);
    sy_real *lse = f->n->aux;
    for (int r = 0; r < t->rows; r++) {
        size_t row = (size_t)(t->seg->row + t->q0 + r % t->n), h = (size_t)(t->kv * (t->a->n_heads / t->a->n_kv_heads) + r / t->n);
        sy_real *out = f->n->out->x + row * ld + h * vd, top = t->top[r], sum = t->sum[r], by = 1 / sum;
        bool none = top == -(sy_real)INFINITY;
        if (t->a->sinks && !none) {
            sy_real sink = t->a->sinks->x[h], both = sink > top ? sink : top, e[2] = { top - both, sink - both };
            t->k->exp(2, e, e);
            sum = e[0] * sum + e[1];
            by = e[0] / sum;
            top = both;
        }
        if (none) memset(out, 0, vd * sizeof *out);
        else t->k->scale(vd, by, t->out + (size_t)r * vd, out);
        for (size_t i = 0; i < vd; i++) out[i] += 0;    /* -0 becomes 0: keys of weight zero may have settled its sign or not */
        if (lse) lse[h * T + row] = none ? top : top + (sy_real)log((double)sum);
    }
}

static void tile_task(void *arg, int task, int worker)
{
    const struct fwd *f = arg;
    struct tile t;
    tile_start(f, task, worker, &t);
    for (int c = 0; c < chunks(&t); c++) {
        chunk_run(f, &t, c);
        merge(&t);
    }
    tile_end(f, &t);
}

/* Few tiles with long contexts: a task a chunk, whose (m, l, O) waits in `part`; then a task a tile merges them in the same order. */
static void point_at_part(const struct fwd *f, int tile, int c, struct tile *t)
{
    sy_real *p = f->part + ((size_t)tile * (size_t)f->most + (size_t)c) * f->part_each;
    t->m = take(&p, (size_t)t->rows);
    t->l = take(&p, (size_t)t->rows);
    t->o = p;
}

static void chunk_task(void *arg, int task, int worker)
{
    const struct fwd *f = arg;
    struct tile t;
    int c = task % f->most;
    tile_start(f, task / f->most, worker, &t);
    if (c >= chunks(&t)) return;
    point_at_part(f, task / f->most, c, &t);
    chunk_run(f, &t, c);
}

static void merge_task(void *arg, int task, int worker)
{
    const struct fwd *f = arg;
    struct tile t;
    tile_start(f, task, worker, &t);
    for (int c = 0; c < chunks(&t); c++) {
        point_at_part(f, task, c, &t);
        merge(&t);
    }
    tile_end(f, &t);
}

/* Runs tasks over the pool, or here when all of them are little work, in multiply-adds of many rows. */
static void run_tasks(sy_engine *e, int tasks, uint64_t madds, void (*fn)(void *, int, int), void *arg)
{
    enum { SMALL = 1 << 19 };                           /* about 20 us */
    if (madds < SMALL) for (int i = 0; i < tasks; i++) fn(arg, i, 0);
    else sy_pool_run(e->pool, tasks, fn, arg);
}

/* Takes the scratch of a forward from the tape's arena; false without memory. */
static bool fwd_room(struct fwd *f, int tiles)
{
    const struct attn *a = f->n->arg;
    sy_tape *t = f->n->tape;
    int rows = f->tile * (a->a.n_heads / a->a.n_kv_heads), most = 0;
    f->at = sy_tape_alloc(t, (size_t)a->n_seg, sizeof *f->at);
    if (!f->at) return false;
    size_t blocks = 0, block = wide(t->eng->k, a->a.head_dim), threads = (size_t)t->eng->threads;
    for (int i = 0; i < a->n_seg; i++) {
        const sy_segment *s = &a->seg[i];
        int c = (s->pos0 + s->n) / (CHUNK * BLOCK) + 1;
        f->at[i] = blocks * block;
        blocks += (size_t)key_blocks(a, s) * (size_t)a->a.n_kv_heads;
        if (c > most) most = c;
    }
    f->pack_tasks = (int)blocks;
    f->each = (tile_values(rows, a->a.head_dim, a->a.value_dim) + 15) / 16 * 16;
    f->part_each = ((size_t)rows * ((size_t)a->a.value_dim + 2) + 16 * 3) / 16 * 16;
    if (most > 2 && threads > 1 && tiles < 2 * (int)threads) f->most = most;
    size_t parts = sy_mul_size((size_t)tiles * (size_t)f->most, f->part_each), all = sy_mul_size(threads, f->each) + sy_mul_size(blocks, block) + parts;
    f->room = sy_arena_alloc(&t->arena, sy_mul_size(all, sizeof *f->room));
    if (!f->room) { sy_tape_fail(t, SY_ENOMEM, "attention: no memory for %zu values of scratch", all); return false; }
    f->panels = f->room + threads * f->each;
    f->part = f->panels + blocks * block;
    return true;
}

static void attention_f(sy_node *n)
{
    const struct attn *a = n->arg;
    sy_tape *t = n->tape;
    size_t T = (size_t)sy_rows(n->out), ld = (size_t)sy_cols(n->out);
    int longest = 1, covered = 0;
    for (int i = 0; i < a->n_seg; i++) {
        const sy_segment *s = &a->seg[i];
        memset(n->out->x + (size_t)covered * ld, 0, (size_t)(s->row - covered) * ld * sizeof(sy_real));    /* rows of no segment */
        covered = s->row + s->n;
        if (s->n > longest) longest = s->n;
    }
    memset(n->out->x + (size_t)covered * ld, 0, (T - (size_t)covered) * ld * sizeof(sy_real));
    if (t->record) {
        n->aux = sy_tape_alloc(t, T * (size_t)a->a.n_heads, sizeof(sy_real));
        if (!n->aux) return;
    }
    struct fwd f = { .n = n, .tile = longest < BLOCK ? longest : BLOCK };
    int tiles = 0;
    for (int i = 0; i < a->n_seg; i++) tiles += (a->seg[i].n + f.tile - 1) / f.tile * a->a.n_kv_heads;
    uint64_t madds = pairs(a) * (uint64_t)a->a.n_heads * (uint64_t)(a->a.head_dim + a->a.value_dim);
    t->madds += madds;
    for (int i = 0; i < a->n_seg; i++) {                    /* a few queries read keys and values once: each costs as much as ten multiply-adds */
        uint64_t read = 10 * (uint64_t)(a->seg[i].pos0 + a->seg[i].n) * (uint64_t)a->a.n_kv_heads * (uint64_t)(a->a.head_dim + a->a.value_dim);
        if (read > madds) madds = read;
    }
    sy_mark mark = sy_arena_mark(&t->arena);
    if (!fwd_room(&f, tiles)) return;
    run_tasks(t->eng, f.pack_tasks, madds, pack_task, &f);
    if (f.most) run_tasks(t->eng, tiles * f.most, madds, chunk_task, &f);
    run_tasks(t->eng, tiles, madds, f.most ? merge_task : tile_task, &f);
    sy_arena_release(&t->arena, mark);
}

/* ---- backward ---- */

struct bwd { sy_node *n; sy_real *dq, *dk, *dv, *dsink, *dot, *room; size_t each; };   /* dot [H,T] = rowsum(dO O); a gradient may be NULL */

/* Scores and dO V^T of the n keys that a row sees become probabilities and the gradient of the raw dot products. */
static void back_row(const struct attn *a, const sy_kernels *k, int n, sy_real lse, sy_real dot, sy_real *p, sy_real *ds)
{
    if (a->a.softcap == 0) { k->attn_row_b(n, (sy_real)a->a.scale, lse, dot, p, ds); return; }
    sy_real slope[BLOCK];
    cap_row(&a->a, n, p);
    for (int j = 0; j < n; j++) slope[j] = (sy_real)(a->a.scale * (1 - (double)p[j] / a->a.softcap * ((double)p[j] / a->a.softcap)));
    k->attn_row_b(n, 1, lse, dot, p, ds);
    k->mul((size_t)n, ds, slope, ds);
}

/* Queries q0 .. q0+nq-1 of head h against keys k0 .. k0+nk-1, whose panels are packed. */
static void back_block(const struct bwd *b, const sy_segment *seg, int h, int q0, int nq, int k0, int nk, const sy_real *kp, const sy_real *vp, sy_real *P, sy_real *dS)
{
    const struct attn *a = b->n->arg;
    const sy_kernels *k = b->n->tape->eng->k;
    int hd = a->a.head_dim, vd = a->a.value_dim, kv = h / (a->a.n_heads / a->a.n_kv_heads), T = sy_rows(b->n->out);
    size_t H = (size_t)a->a.n_heads, KV = (size_t)a->a.n_kv_heads, qrow = (size_t)(seg->row + q0), krow = (size_t)(seg->row + k0);
    size_t ldq = H * (size_t)hd, ldo = H * (size_t)vd, ldk = KV * (size_t)hd, ldv = KV * (size_t)vd;
    size_t q = qrow * ldq + (size_t)h * (size_t)hd, o = qrow * ldo + (size_t)h * (size_t)vd, kk = krow * ldk + (size_t)kv * (size_t)hd, vv = krow * ldv + (size_t)kv * (size_t)vd;
    const sy_real *Q = b->n->in[0]->x + q, *dO = b->n->out->dx + o, *K = b->n->in[1]->x + kk;
    const sy_real *lse = (const sy_real *)b->n->aux + (size_t)h * (size_t)T + qrow, *dot = b->dot + (size_t)h * (size_t)T + qrow;
    k->gemm_panels(nq, nk, hd, Q, ldq, kp, P, BLOCK, false);
    k->gemm_panels(nq, nk, vd, dO, ldo, vp, dS, BLOCK, false);
    for (int i = 0; i < nq; i++) {
        int lo, hi;
        sy_real *p = P + (size_t)i * BLOCK, *ds = dS + (size_t)i * BLOCK;
        visible(&a->a, q0 + i, k0, k0 + nk, &lo, &hi);
        if (lse[i] == -(sy_real)INFINITY) hi = lo;      /* a row without a key */
        back_row(a, k, hi - lo, lse[i], dot[i], p + (lo - k0), ds + (lo - k0));
        for (int j = 0; j < lo - k0; j++) p[j] = ds[j] = 0;
        for (int j = hi - k0; j < nk; j++) p[j] = ds[j] = 0;
    }
    if (b->dv) k->gemm(nk, vd, nq, P, 1, BLOCK, dO, ldo, b->dv + vv, ldv, true);
    if (b->dq) k->gemm(nq, hd, nk, dS, BLOCK, 1, K, ldk, b->dq + q, ldq, true);
    if (b->dk) k->gemm(nk, hd, nq, dS, 1, BLOCK, Q, ldq, b->dk + kk, ldk, true);
}

/* What one worker needs of scratch: [64,64] twice, and the panels of a block's keys and values. */
struct bwd_scratch { sy_real *P, *dS, *kp, *vp; };

static struct bwd_scratch scratch_of(const struct bwd *b, int worker)
{
    sy_real *room = b->room + (size_t)worker * b->each;
    struct bwd_scratch s = { take(&room, BLOCK * BLOCK), take(&room, BLOCK * BLOCK), take(&room, wide(b->n->tape->eng->k, ((const struct attn *)b->n->arg)->a.head_dim)), room };
    return s;
}

/* dot of a head's rows. */
static void back_dots(const struct bwd *b, const sy_segment *seg, int h)
{
    const struct attn *a = b->n->arg;
    size_t vd = (size_t)a->a.value_dim, ld = (size_t)a->a.n_heads * vd, T = (size_t)sy_rows(b->n->out);
    for (int i = seg->row; i < seg->row + seg->n; i++) {
        size_t o = (size_t)i * ld + (size_t)h * vd;
        b->dot[(size_t)h * T + (size_t)i] = b->n->tape->eng->k->dot(vd, b->n->out->dx + o, b->n->out->x + o);
    }
}

/* The block of keys from k0 on against the queries of heads h0 .. h1-1 that lie in from .. to-1, a multiple of 64 first: heads ascend, in each
 * the queries, so that every sum has one order whoever takes which part of it. */
static void back_keys(const struct bwd *b, const sy_segment *seg, int h0, int h1, int k0, int from, int to, struct bwd_scratch s)
{
    const struct attn *a = b->n->arg;
    const sy_kernels *k = b->n->tape->eng->k;
    int kv = h0 / (a->a.n_heads / a->a.n_kv_heads), nk = seg->n - k0 < BLOCK ? seg->n - k0 : BLOCK;
    struct keys K = keys_of(b->n, seg, kv, false), V = keys_of(b->n, seg, kv, true);
    if (a->a.causal && from < k0) from = k0;
    if (a->a.window && to > k0 + nk - 1 + a->a.window) to = k0 + nk - 1 + a->a.window;     /* the last key is seen up to there */
    if (from >= to) return;
    k->pack(nk, a->a.head_dim, K.x + (size_t)k0 * K.stride, K.stride, s.kp);
    k->pack(nk, a->a.value_dim, V.x + (size_t)k0 * V.stride, V.stride, s.vp);
    for (int h = h0; h < h1; h++)
        for (int q0 = from, n; q0 < to; q0 += n) {
            bool diagonal = a->a.causal && q0 < k0 + nk;
            n = diagonal ? STRIP : BLOCK;
            if (n > to - q0) n = to - q0;
            back_block(b, seg, h, q0, n, k0, diagonal && q0 + n < k0 + nk ? q0 + n - k0 : nk, s.kp, s.vp, s.P, s.dS);
        }
}

/* All of a segment's KV head. */
static void bwd_task(void *arg, int task, int worker)
{
    const struct bwd *b = arg;
    const struct attn *a = b->n->arg;
    const sy_segment *seg = &a->seg[task / a->a.n_kv_heads];
    int g = a->a.n_heads / a->a.n_kv_heads, h0 = task % a->a.n_kv_heads * g;
    for (int h = h0; h < h0 + g; h++) back_dots(b, seg, h);
    for (int k0 = 0; k0 < seg->n; k0 += BLOCK) back_keys(b, seg, h0, h0 + g, k0, 0, seg->n, scratch_of(b, worker));
}

/* Few KV heads and segments for many threads: dK and dV by blocks of keys, dQ by heads and blocks of queries. Scores are made twice, seven products
 * instead of five; each sum keeps its order, and so its bits. */
static void dots_task(void *arg, int task, int worker)
{
    const struct bwd *b = arg;
    const struct attn *a = b->n->arg;
    (void)worker;
    back_dots(b, &a->seg[task / a->a.n_heads], task % a->a.n_heads);
}

static int blocks_of(const sy_segment *s) { return (s->n + BLOCK - 1) / BLOCK; }

static void keys_task(void *arg, int task, int worker)
{
    struct bwd b = *(const struct bwd *)arg;
    const struct attn *a = b.n->arg;
    const sy_segment *seg = a->seg;
    int g = a->a.n_heads / a->a.n_kv_heads;
    for (int n; task >= (n = blocks_of(seg) * a->a.n_kv_heads); seg++) task -= n;
    int h0 = task % a->a.n_kv_heads * g;
    b.dq = NULL;
    back_keys(&b, seg, h0, h0 + g, task / a->a.n_kv_heads * BLOCK, 0, seg->n, scratch_of(&b, worker));     /* early keys are seen by most: first */
}

static void queries_task(void *arg, int task, int worker)
{
    struct bwd b = *(const struct bwd *)arg;
    const struct attn *a = b.n->arg;
    const sy_segment *seg = a->seg;
    for (int n; task >= (n = blocks_of(seg) * a->a.n_heads); seg++) task -= n;
    int h = task % a->a.n_heads, q0 = (blocks_of(seg) - 1 - task / a->a.n_heads) * BLOCK, q1 = q0 + BLOCK < seg->n ? q0 + BLOCK : seg->n;
    b.dk = b.dv = NULL;
    for (int k0 = 0; k0 < (a->a.causal ? q1 : seg->n); k0 += BLOCK) back_keys(&b, seg, h, h + 1, k0, q0, q1, scratch_of(&b, worker));
}

static void run_bwd(struct bwd *b, uint64_t madds)
{
    const struct attn *a = b->n->arg;
    sy_engine *e = b->n->tape->eng;
    int tasks = a->n_seg * a->a.n_kv_heads, blocks = 0;
    for (int i = 0; i < a->n_seg; i++) blocks += blocks_of(&a->seg[i]);
    if (10 * tasks >= 7 * e->threads || blocks < 2 * a->n_seg) { run_tasks(e, tasks, madds, bwd_task, b); return; }
    run_tasks(e, a->n_seg * a->a.n_heads, madds, dots_task, b);
    if (b->dk || b->dv) run_tasks(e, blocks * a->a.n_kv_heads, madds, keys_task, b);
    if (b->dq) run_tasks(e, blocks * a->a.n_heads, madds, queries_task, b);
}

/* The sink of head h against all rows, in their order; rows of no segment have dot 0, rows without a key have lse -inf. */
static void back_sinks(void *arg, int from, int to, int worker)
{
    (void)worker;
    const struct bwd *b = arg;
    size_t T = (size_t)sy_rows(b->n->out);
    for (int h = from; h < to; h++) {
        const sy_real *lse = (const sy_real *)b->n->aux + (size_t)h * T, *dot = b->dot + (size_t)h * T;
        double sink = (double)b->n->in[3]->x[h], sum = 0;
        for (size_t i = 0; i < T; i++)
            if (dot[i] != 0 && lse[i] != -(sy_real)INFINITY) sum += exp(sink - (double)lse[i]) * (double)dot[i];
        b->dsink[h] -= (sy_real)sum;
    }
}

static void attention_b(sy_node *n)
{
    const struct attn *a = n->arg;
    sy_tape *t = n->tape;
    struct bwd b = { .n = n, .dq = sy_grad(n, 0), .dk = sy_grad(n, 1), .dv = sy_grad(n, 2), .dsink = sy_grad(n, 3) };
    if (t->status != SY_OK) return;
    sy_mark mark = sy_arena_mark(&t->arena);
    b.dot = sy_tape_alloc(t, (size_t)sy_rows(n->out) * (size_t)a->a.n_heads, sizeof(sy_real));
    b.each = (2 * BLOCK * BLOCK + wide(t->eng->k, a->a.head_dim) + wide(t->eng->k, a->a.value_dim) + 16 * 4) / 16 * 16;
    b.room = sy_tape_alloc(t, sy_mul_size((size_t)t->eng->threads, b.each), sizeof(sy_real));
    if (t->status != SY_OK) return;
    uint64_t madds = pairs(a) * (uint64_t)a->a.n_heads * (uint64_t)(3 * a->a.head_dim + 2 * a->a.value_dim);
    t->madds += madds;
    run_bwd(&b, madds);
    if (b.dsink) sy_each(t->eng, a->a.n_heads, 20.0 * sy_rows(n->out), back_sinks, &b);
    sy_arena_release(&t->arena, mark);
}

static sy_tensor *attention_sample(sy_tape *t, int variant)
{
    static const sy_segment whole[] = { { .row = 0, .n = 7 } }, two[] = { { .row = 0, .n = 3 }, { .row = 4, .n = 3 } }, blocks[] = { { .row = 0, .n = 70 } }, chunks[] = { { .row = 0, .n = 260 } };
    static const struct { sy_attn a; const sy_segment *seg; int n_seg, T; bool sinks; } cases[] = {
        { { 2, 2, 4, 0.5, 0, .causal = true }, whole, 1, 7, false },     { { 4, 2, 3, 0.6, 0, .causal = true }, two, 2, 8, false },      /* row 3 and row 7 belong to no segment */
        { { 2, 1, 4, 0.5, 3, .causal = true }, whole, 1, 7, false },     { { 2, 1, 4, 0.5, 0, .causal = false }, two, 2, 7, false },
        { { 1, 1, 2, 0.7, 0, .causal = true }, blocks, 1, 70, false },   { { 2, 1, 2, 0.7, 9, .causal = true }, blocks, 1, 70, false },  /* two blocks, and a window over their border */
        { { 1, 1, 1, 1.0, 0, .causal = true }, chunks, 1, 260, false },                                                                  /* two chunks */
        { { 4, 2, 3, 0.6, 0, .causal = true }, two, 2, 8, true },        { { 2, 1, 2, 0.7, 9, .causal = true }, blocks, 1, 70, true },
        { { 2, 2, 4, 0.5, 0, .causal = true, .softcap = 0.8 }, whole, 1, 7, false },
        { { 2, 1, 5, 0.5, 0, .causal = true, .value_dim = 2 }, two, 2, 7, false },
        { { 2, 2, 2, 0.5, 4, .causal = true, .value_dim = 5, .softcap = 1.5 }, whole, 1, 7, true },
        { { 2, 1, 4, 0.5, 0, .causal = false, .value_dim = 3 }, two, 2, 7, true },
    };
    if (variant >= (int)SY_COUNT(cases)) return NULL;
    sy_attn a = cases[variant].a;
    int T = cases[variant].T, vd = a.value_dim ? a.value_dim : a.head_dim;
    sy_tensor *q = sy_sample_leaf(t, -2, 2, SY_DIM(T, a.n_heads * a.head_dim));
    sy_tensor *k = sy_sample_leaf(t, -2, 2, SY_DIM(T, a.n_kv_heads * a.head_dim));
    sy_tensor *v = sy_sample_leaf(t, -1, 1, SY_DIM(T, a.n_kv_heads * vd));
    if (cases[variant].sinks) a.sinks = sy_sample_leaf(t, -1, 1, SY_DIM(a.n_heads));
    return sy_attention(t, q, k, v, &a, cases[variant].seg, cases[variant].n_seg);
}

const sy_op sy_op_attention = { "attention", attention_f, attention_b, NULL, attention_sample };

/* ---- checks ---- */

static bool segments_fit(sy_tape *t, int T, sy_tensor *k, sy_tensor *v, const sy_attn *a, const sy_segment *seg, int n_seg, bool wants)
{
    int end = 0;
    for (int i = 0; i < n_seg; i++) {
        const sy_segment *s = &seg[i];
        if (s->n < 0 || s->row < end || s->n > T - s->row)
            sy_tape_fail(t, SY_ESHAPE, "attention: segment %d has rows %d to %d; segments ascend, do not overlap, and there are %d rows", i, s->row, s->row + s->n - 1, T);
        else if (!s->k != !s->v || (!s->k && (!k || !v))) sy_tape_fail(t, SY_EARG, "attention: segment %d has no keys or no values", i);
        else if (s->k && wants) sy_tape_fail(t, SY_EUNSUP, "attention: segment %d takes its keys from a cache, which has no gradient; run it on a tape that does not record", i);
        else if (s->pos0 < 0 || (!s->k && s->pos0)) sy_tape_fail(t, SY_EARG, "attention: segment %d starts at position %d; that needs keys from a cache", i, s->pos0);
        else if (s->k && !a->causal) sy_tape_fail(t, SY_EUNSUP, "attention: segment %d has a cache, but a query that sees later positions cannot use one", i);
        if (t->status != SY_OK) return false;
        end = s->row + s->n;
    }
    return true;
}

sy_tensor *sy_attention(sy_tape *t, sy_tensor *q, sy_tensor *k, sy_tensor *v, const sy_attn *how, const sy_segment *seg, int n_seg)
{
    if (!sy__same(t, "attention", 1, &q)) return &t->empty;
    sy_attn filled = *how, *a = &filled;
    if (!a->value_dim) a->value_dim = a->head_dim;
    int T = sy_rows(q), hd = a->head_dim, vd = a->value_dim;
    if (a->n_heads < 1 || a->n_kv_heads < 1 || a->n_heads % a->n_kv_heads || hd < 1 || vd < 1 || sy_cols(q) != a->n_heads * hd)
        return sy_tape_fail(t, SY_ESHAPE, "attention: %d heads over %d KV heads of %d values, and %d columns of queries", a->n_heads, a->n_kv_heads, hd, sy_cols(q));
    for (int i = 0; i < 2; i++) {
        const sy_tensor *x = i ? v : k;
        int cols = a->n_kv_heads * (i ? vd : hd);
        if (x && (sy_rows(x) != T || sy_cols(x) != cols))
            return sy_tape_fail(t, SY_ESHAPE, "attention: %s are %d x %d, they must be %d x %d", i ? "values" : "keys", sy_rows(x), sy_cols(x), T, cols);
    }
    if (a->sinks && (!a->sinks->x || sy_numel(a->sinks) != (size_t)a->n_heads))
        return sy_tape_fail(t, SY_ESHAPE, "attention: %zu sinks for %d heads", a->sinks->x ? sy_numel(a->sinks) : 0, a->n_heads);
    if (!(a->softcap >= 0)) return sy_tape_fail(t, SY_EARG, "attention: scores capped at %g; a cap is positive, 0 means none", a->softcap);
    if (a->window < 0 || (a->window && !a->causal)) return sy_tape_fail(t, SY_EARG, "attention: a window of %d positions%s", a->window, a->causal ? "" : " looks back only, so attention must be causal");
    bool wants = q->wants || (k && k->wants) || (v && v->wants) || (a->sinks && a->sinks->wants);
    if (!segments_fit(t, T, k, v, a, seg, n_seg, t->record && wants)) return &t->empty;
    sy_node *n = sy_node_new(t, &sy_op_attention, SY_IN(q, k, v, a->sinks), SY_NOW);
    if (!n || !sy_node_arg(n, &(struct attn){ *a, seg, n_seg }, sizeof(struct attn))) return &t->empty;
    n->out = sy_new(t, SY_DIM(T, a->n_heads * vd));
    return sy_apply(n);
}
