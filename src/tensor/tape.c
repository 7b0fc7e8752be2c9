/* tensor/tape.c - making nodes, running them, and walking back. */
#include "tensor/tape.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/random.h"

#define X(name) extern const sy_op sy_op_##name;
#include "tensor/ops.def"
#undef X

const sy_op *const sy_ops[] = {
#define X(name) &sy_op_##name,
#include "tensor/ops.def"
#undef X
    NULL
};

void sy_tape_init(sy_tape *t, sy_engine *eng, bool record)
{
    *t = (sy_tape){ .eng = eng, .record = record, .int8 = eng->int8 && !record, .probe = { .leaf = -1 } };
}

void sy_tape_reset(sy_tape *t)
{
    sy_arena_reset(&t->arena);
    sy_arena_reset(&t->part);
    t->last = NULL;
    t->status = SY_OK;
    t->leaves = 0;
    t->holds = false;
    t->held = NULL;
}

void sy_tape_free(sy_tape *t)
{
    sy_arena_free(&t->arena);
    sy_arena_free(&t->part);
    t->last = NULL;
}

sy_status sy_tape_status(const sy_tape *t, sy_err *err)
{
    if (t->status != SY_OK && err) *err = t->err;
    return t->status;
}

sy_tensor *sy_tape_fail(sy_tape *t, sy_status status, const char *fmt, ...)
{
    if (t->status == SY_OK) {
        char text[sizeof t->err.text];
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(text, sizeof text, fmt, ap);
        va_end(ap);
        t->status = sy_fail(&t->err, status, "%s", text);
    }
    t->empty = (sy_tensor){ .nd = 1 };
    return &t->empty;
}

void *sy_tape_alloc(sy_tape *t, size_t count, size_t size)
{
    void *p = t->status == SY_OK ? sy_arena_array(&t->arena, count, size) : NULL;
    if (!p) sy_tape_fail(t, SY_ENOMEM, "no memory for %zu values of %zu bytes on the tape (%zu bytes in use)", count, size, t->arena.used);
    return p;
}

static sy_tensor *new_tensor(sy_tape *t, int nd, const int *dim, size_t size, void **data)
{
    if (t->status != SY_OK) return &t->empty;
    size_t n = 1;
    for (int d = 0; d < nd; d++) {
        if (dim[d] < 0) return sy_tape_fail(t, SY_ESHAPE, "dimension %d of a new tensor is %d", d, dim[d]);
        n = sy_mul_size(n, (size_t)dim[d]);
    }
    sy_tensor *a = sy_arena_zalloc(&t->arena, sizeof *a);
    *data = a ? sy_arena_alloc(&t->arena, sy_mul_size(n, size)) : NULL;
    if (!*data) return sy_tape_fail(t, SY_ENOMEM, "no memory for a tensor of %zu values (%zu bytes in use)", n, t->arena.used);
    a->nd = nd;
    memcpy(a->dim, dim, (size_t)nd * sizeof *dim);
    return a;
}

sy_tensor *sy_new(sy_tape *t, int nd, const int *dim)
{
    void *data;
    sy_tensor *a = new_tensor(t, nd, dim, sizeof(sy_real), &data);
    if (a != &t->empty) a->x = data;
    return a;
}

sy_tensor *sy_new_int(sy_tape *t, int nd, const int *dim)
{
    void *data;
    sy_tensor *a = new_tensor(t, nd, dim, sizeof(int32_t), &data);
    if (a != &t->empty) a->i = data;
    return a;
}

sy_tensor *sy_new_like(sy_tape *t, const sy_tensor *a) { return sy_new(t, a->nd, a->dim); }

sy_node *sy_node_new(sy_tape *t, const sy_op *op, int n_in, sy_tensor *const *in, int n_w, sy_weight *const *w)
{
    if (t->status != SY_OK) return NULL;
    sy_node *n = sy_arena_zalloc(&t->arena, sizeof *n);
    if (!n) { sy_tape_fail(t, SY_ENOMEM, "%s: no memory for its node", op->name); return NULL; }
    n->op = op;
    n->tape = t;
    n->bf16 = t->bf16;
    n->int8 = t->int8;
    n->n_in = n_in;
    n->n_w = n_w;
    for (int i = 0; i < n_in; i++) n->in[i] = in[i];
    for (int i = 0; i < n_w; i++) {
        n->w[i] = w[i];
        if (w[i]->type != SY_W_REAL && w[i]->dx) {
            sy_tape_fail(t, SY_EUNSUP, "%s: a weight of type %s cannot be trained; only what it multiplies gets a gradient", op->name, sy_wtype_name(w[i]->type));
            return NULL;
        }
    }
    return n;
}

void *sy_node_arg(sy_node *n, const void *arg, size_t size)
{
    n->arg = sy_tape_alloc(n->tape, 1, size);
    return n->arg ? memcpy(n->arg, arg, size) : NULL;
}

static bool finite_all(const sy_tensor *a)
{
    size_t n = a->x ? sy_numel(a) : 0;
    for (size_t i = 0; i < n; i++) if (!isfinite(a->x[i])) return false;
    return true;
}

sy_tensor *sy_apply(sy_node *n)
{
    sy_tape *t = n->tape;
    if (t->status != SY_OK) return &t->empty;
    n->op->fwd(n);
    if (t->status != SY_OK) return &t->empty;
    if (t->eng->check_nan && !finite_all(n->out))
        return sy_tape_fail(t, SY_ENUM, "op %s made the first value that is not finite%s%s", n->op->name, n->out->name ? ", in " : "", n->out->name ? n->out->name : "");
    bool wants = false;
    for (int i = 0; i < n->n_in; i++) wants |= n->in[i] && n->in[i]->wants;
    for (int i = 0; i < n->n_w; i++) wants |= n->w[i]->dx != NULL;
    if (t->record && wants && n->out->x) {
        n->out->wants = true;
        n->prev = t->last;
        t->last = n;
    }
    return n->out;
}

sy_real *sy_grad(sy_node *n, int in)
{
    sy_tensor *a = n->in[in];
    if (!a || !a->wants) return NULL;
    if (!a->dx) a->dx = sy_tape_alloc(n->tape, sy_numel(a), sizeof(sy_real));
    return a->dx;
}

sy_real *sy_grad_fresh(sy_node *n, int in, bool *fresh)
{
    sy_tensor *a = n->in[in];
    sy_tape *t = n->tape;
    *fresh = a && a->wants && !a->dx;
    if (!*fresh || t->status != SY_OK) return sy_grad(n, in);
    a->dx = sy_arena_alloc(&t->arena, sy_mul_size(sy_numel(a), sizeof(sy_real)));
    if (!a->dx) sy_tape_fail(t, SY_ENOMEM, "%s: no memory for a gradient of %zu values", n->op->name, sy_numel(a));
    return a->dx;
}

/* Whether the loss depends on what a node made. */
static bool reached(const sy_node *n)
{
    bool yes = n->out->dx != NULL;
    for (int i = 0; i < n->n_more; i++) yes |= n->more[i]->dx != NULL;
    return yes;
}

static void walk(sy_tape *t)
{
    for (sy_node *n = t->last; n && t->status == SY_OK; n = n->prev) {
        if (!reached(n)) continue;
        if (!n->op->bwd) sy_tape_fail(t, SY_EUNSUP, "op %s has no gradient: %s", n->op->name, n->op->no_grad ? n->op->no_grad : "none is defined");
        else n->op->bwd(n);
    }
    t->last = NULL;
}

static sy_status walk_back(sy_tape *t, sy_err *err)
{
    walk(t);
    return sy_tape_status(t, err);
}

sy_status sy_backward_from(sy_tape *t, sy_tensor *out, const sy_real *dout, sy_err *err)
{
    SY_TRY(sy_tape_status(t, err));
    if (!t->record || !out->wants) return sy_fail(err, SY_EARG, "backward from a tensor that depends on no parameter");
    size_t n = sy_numel(out);
    if (!out->dx) out->dx = sy_tape_alloc(t, n, sizeof(sy_real));
    SY_TRY(sy_tape_status(t, err));
    memcpy(out->dx, dout, n * sizeof(sy_real));
    return walk_back(t, err);
}

sy_status sy_backward(sy_tape *t, sy_tensor *loss, sy_err *err)
{
    SY_TRY(sy_tape_status(t, err));
    if (sy_numel(loss) != 1) return sy_fail(err, SY_ESHAPE, "a loss has one value, this has %zu", sy_numel(loss));
    const sy_real one = 1;
    return sy_backward_from(t, loss, &one, err);
}

/* --- parts that are computed again ------------------------------------------------------------------------------------------------ */

struct part { sy_part_fn fn; void *arg; sy_rounding rounds; };

/* The part's own memory takes the place of the step's, and gives it back. */
static void swap_arenas(sy_tape *t)
{
    sy_arena a = t->arena;
    t->arena = t->part;
    t->part = a;
}

static bool is_input(const sy_node *n, const sy_tensor *x)
{
    for (int i = 0; i < n->n_in; i++) if (n->in[i] == x) return true;
    return false;
}

static void part_b(sy_node *n)
{
    const struct part *a = n->arg;
    sy_tape *t = n->tape;
    sy_tensor *out[SY_MAX_PART_OUT], in[SY_MAX_IN] = { 0 }, *leaf[SY_MAX_IN];
    sy_rounding was = { t->bf16, t->int8 };
    uint64_t madds = t->madds;
    for (int i = 0; i < n->n_in; i++) {              /* stand for the inputs: gradients go on where others have begun them */
        in[i] = *n->in[i];
        leaf[i] = &in[i];
    }
    sy_arena_reset(&t->part);
    swap_arenas(t);
    t->last = NULL;
    t->replay = true;
    sy_tape_rounds(t, a->rounds);
    int outs = a->fn(t, a->arg, leaf, out);
    sy_tape_rounds(t, was);
    t->replay = false;
    t->madds = madds;                                /* the same products were counted before */
    if (t->status == SY_OK && outs != 1 + n->n_more) sy_tape_fail(t, SY_ESHAPE, "a part of the pass made %d outputs at first and %d when it was computed again", 1 + n->n_more, outs);
    for (int i = 0; i < outs && t->status == SY_OK; i++) {
        const sy_tensor *kept = i ? n->more[i - 1] : n->out;
        if (kept->dx && !is_input(n, kept)) out[i]->dx = kept->dx;
    }
    walk(t);
    swap_arenas(t);
    for (int i = 0; i < n->n_in && t->status == SY_OK; i++) {
        size_t size = sy_numel(&in[i]) * sizeof(sy_real);
        if (!in[i].dx || in[i].dx == n->in[i]->dx) continue;
        n->in[i]->dx = sy_arena_alloc(&t->arena, size);
        if (n->in[i]->dx) memcpy(n->in[i]->dx, in[i].dx, size);
        else sy_tape_fail(t, SY_ENOMEM, "no memory for a gradient of %zu bytes", size);
    }
}

static const sy_op op_part = { .name = "part", .bwd = part_b };

/* A copy that stays of what lies in the part's memory; what is an input, or came before, is itself. */
static sy_tensor *keep(sy_tape *t, const sy_node *n, sy_tensor *const *made, sy_tensor *const *kept, int at)
{
    if (is_input(n, made[at])) return made[at];
    for (int i = 0; i < at; i++) if (made[i] == made[at]) return kept[i];
    if (made[at]->dx) return sy_tape_fail(t, SY_ESHAPE, "output %d of a part that is computed again is a parameter; only what the part makes can be its output", at);
    sy_tensor *a = sy_new_like(t, made[at]);
    if (t->status != SY_OK) return a;
    memcpy(a->x, made[at]->x, sy_numel(a) * sizeof(sy_real));
    a->wants = made[at]->wants;
    return a;
}

int sy_recompute(sy_tape *t, sy_part_fn fn, void *arg, int n_in, sy_tensor *const *in, sy_tensor *out[SY_MAX_PART_OUT])
{
    const struct part part = { fn, arg, { t->bf16, t->int8 } };
    sy_tensor *made[SY_MAX_PART_OUT];
    sy_node *n = sy_node_new(t, &op_part, n_in, in, SY_NOW), *last = t->last;
    if (!n || !sy_node_arg(n, &part, sizeof part)) return 0;
    sy_arena_reset(&t->part);
    swap_arenas(t);
    int outs = fn(t, arg, in, made);
    swap_arenas(t);
    t->last = last;
    n->more = sy_tape_alloc(t, (size_t)outs + 1, sizeof *n->more);
    bool wants = false;
    for (int i = 0; i < outs && t->status == SY_OK; i++) {
        out[i] = keep(t, n, made, out, i);
        wants |= out[i]->wants && !is_input(n, out[i]);
        if (i) n->more[i - 1] = out[i];
    }
    if (t->status != SY_OK) return 0;
    n->out = out[0];
    n->n_more = outs - 1;
    if (wants && t->record) {
        n->prev = t->last;
        t->last = n;
    }
    return outs;
}

static void sample_fill(sy_tape *t, sy_real *x, size_t n, double lo, double hi)
{
    uint64_t key = sy_key(7, SY_FOR_TEST, (uint64_t)t->leaves, 0, 0);
    for (size_t i = 0; i < n; i++) x[i] = (sy_real)(lo + (hi - lo) * sy_draw(key, i, 0));
    if (t->probe.leaf == t->leaves && t->probe.at < n) x[t->probe.at] += t->probe.delta;
}

static void sample_keep(sy_tape *t, sy_tensor *a, sy_weight *w)
{
    if (t->leaves == (int)SY_COUNT(t->leaf)) { sy_tape_fail(t, SY_EARG, "a sample makes more than %d leaves", t->leaves); return; }
    t->leaf[t->leaves] = a;
    t->leaf_w[t->leaves++] = w;
}

sy_tensor *sy_sample_leaf(sy_tape *t, double lo, double hi, int nd, const int *dim)
{
    sy_tensor *a = sy_new(t, nd, dim);
    if (t->status != SY_OK) return a;
    sample_fill(t, a->x, sy_numel(a), lo, hi);
    a->wants = true;
    sample_keep(t, a, NULL);
    return a;
}

sy_weight *sy_sample_weight(sy_tape *t, double lo, double hi, int nd, const int *dim)
{
    sy_weight *w = sy_tape_alloc(t, 1, sizeof *w);
    sy_tensor *a = sy_new(t, nd, dim);
    if (t->status != SY_OK) return w;
    sample_fill(t, a->x, sy_numel(a), lo, hi);
    w->nd = nd;
    memcpy(w->dim, dim, (size_t)nd * sizeof *dim);
    w->data = a->x;
    w->dx = sy_tape_alloc(t, sy_numel(a), sizeof(sy_real));
    sample_keep(t, NULL, w);
    return w;
}
