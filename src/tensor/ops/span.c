/* tensor/ops/span.c - loops over a node's values, rows and columns. */
#include "tensor/ops/span.h"

#include "core/alloc.h"

enum { BLOCK = 1024 };                              /* values that stay together: one item of a loop over values */

enum pass { FORWARD, ADD, STORE };

static sy_span span_of(sy_node *n, enum pass pass)
{
    sy_span s = { .n = n, .k = n->tape->eng->k, .a = n->n_in ? n->in[0]->x : NULL, .b = n->n_in > 1 && n->in[1] ? n->in[1]->x : NULL,
                  .y = n->out->x, .rows = sy_rows(n->out), .cols = sy_cols(n->out) };
    if (pass == FORWARD) return s;
    s.dy = n->out->dx;
    if (n->n_in > 0) s.da = pass == STORE ? sy_grad_fresh(n, 0, &s.new_a) : sy_grad(n, 0);
    if (n->n_in > 1) s.db = pass == STORE ? sy_grad_fresh(n, 1, &s.new_b) : sy_grad(n, 1);     /* one tensor twice: the second adds */
    return s;
}

static void run_values(void *arg, int from, int to, int worker)
{
    (void)worker;
    const sy_span *s = arg;
    size_t all = (size_t)s->rows * (size_t)s->cols, at = (size_t)from * BLOCK, end = (size_t)to * BLOCK;
    s->fn(s, at, (end < all ? end : all) - at);
}

static void values(sy_node *n, double ops, enum pass pass, void (*fn)(const sy_span *, size_t, size_t))
{
    sy_span s = span_of(n, pass);
    s.fn = fn;
    if (n->tape->status != SY_OK) return;
    sy_each(n->tape->eng, (int)((sy_numel(n->out) + BLOCK - 1) / BLOCK), ops * BLOCK, run_values, &s);
}

void sy__values_f(sy_node *n, double ops, void (*fn)(const sy_span *, size_t, size_t)) { values(n, ops, FORWARD, fn); }
void sy__values_b(sy_node *n, double ops, void (*fn)(const sy_span *, size_t, size_t)) { values(n, ops, ADD, fn); }
void sy__values_store(sy_node *n, double ops, void (*fn)(const sy_span *, size_t, size_t)) { values(n, ops, STORE, fn); }

struct row_run { sy_span s; size_t room; };

static void run_rows(void *arg, int from, int to, int worker)
{
    const struct row_run *r = arg;
    sy_span s = r->s;
    if (r->room) s.tmp += (size_t)worker * r->room;
    s.fn(&s, (size_t)from, (size_t)(to - from));
}

static void rows(sy_node *n, double ops, size_t room, enum pass pass, void (*fn)(const sy_span *, size_t, size_t))
{
    struct row_run r = { span_of(n, pass), (room + 15) / 16 * 16 };
    sy_tape *t = n->tape;
    r.s.fn = fn;
    sy_mark mark = sy_arena_mark(&t->arena);
    if (room) r.s.tmp = sy_tape_alloc(t, sy_mul_size((size_t)t->eng->threads, r.room), sizeof(sy_real));
    if (t->status != SY_OK) return;
    sy_each(t->eng, r.s.rows, ops, run_rows, &r);
    if (room) sy_arena_release(&t->arena, mark);
}

void sy__rows_f(sy_node *n, double ops, size_t room, void (*fn)(const sy_span *, size_t, size_t)) { rows(n, ops, room, FORWARD, fn); }
void sy__rows_b(sy_node *n, double ops, size_t room, void (*fn)(const sy_span *, size_t, size_t)) { rows(n, ops, room, ADD, fn); }
void sy__rows_store(sy_node *n, double ops, size_t room, void (*fn)(const sy_span *, size_t, size_t)) { rows(n, ops, room, STORE, fn); }

struct col_run { const sy_kernels *k; int T, D; const sy_real *x, *y; const uint8_t *valid; sy_real *sum; };

static void run_cols(void *arg, int from, int to, int worker)
{
    (void)worker;
    const struct col_run *r = arg;
    for (int t = 0; t < r->T; t++) {
        size_t at = (size_t)t * (size_t)r->D + (size_t)from, n = (size_t)(to - from);
        if (r->valid && !r->valid[t]) continue;
        if (r->y) r->k->muladd(n, r->x + at, r->y + at, r->sum + from);
        else r->k->add(n, r->x + at, r->sum + from, r->sum + from);
    }
}

void sy__col_sums(sy_engine *e, int T, int D, const sy_real *x, const sy_real *y, const uint8_t *valid, sy_real *sum)
{
    struct col_run r = { e->k, T, D, x, y, valid, sum };
    sy_each(e, D, T, run_cols, &r);
}

sy_real *sy__room(sy_node *n, size_t a, size_t b)
{
    sy_tape *t = n->tape;
    if (t->status != SY_OK) return NULL;
    sy_real *p = sy_arena_alloc(&t->arena, sy_mul_size(sy_mul_size(a, b), sizeof *p));
    if (!p) sy_tape_fail(t, SY_ENOMEM, "%s: no memory for %zu x %zu values", n->op->name, a, b);
    return p;
}

bool sy__same(sy_tape *t, const char *op, int n, sy_tensor *const *a)
{
    if (t->status != SY_OK) return false;
    for (int i = 0; i < n; i++) {
        bool same = a[i]->nd == a[0]->nd;
        for (int d = 0; same && d < a[0]->nd; d++) same = a[i]->dim[d] == a[0]->dim[d];
        if (!a[i]->x) sy_tape_fail(t, SY_ESHAPE, "%s: input %d holds integers, not real values", op, i);
        else if (!same) sy_tape_fail(t, SY_ESHAPE, "%s: input %d has %d dimensions, %d rows and %d columns; the first has %d, %d and %d",
                                     op, i, a[i]->nd, sy_rows(a[i]), sy_cols(a[i]), a[0]->nd, sy_rows(a[0]), sy_cols(a[0]));
    }
    return t->status == SY_OK;
}

sy_tensor *sy__map(sy_tape *t, const sy_op *op, sy_tensor *x, const void *arg, size_t size)
{
    if (!sy__same(t, op->name, 1, &x)) return &t->empty;
    sy_node *n = sy_node_new(t, op, SY_IN(x), SY_NOW);
    if (!n || (arg && !sy_node_arg(n, arg, size))) return &t->empty;
    n->out = sy_new_like(t, x);
    return sy_apply(n);
}
