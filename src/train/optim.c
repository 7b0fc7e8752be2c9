/* train/optim.c - one flat pass over weights, gradients and moments, cut into blocks over the threads. */
#include "train/optim.h"

#include <math.h>
#include <string.h>

const sy_opt sy_optim_opts[] = {
    SY_REAL(sy_optim, lr, "learning_rate", 1e-3, 0, 10, "peak learning rate"),
    SY_ENUM_(sy_optim, lr_schedule, "lr_scheduler_type", 0, "cosine|wsd|constant", "shape of the learning rate after the warm-up"),
    SY_INT (sy_optim, warmup_steps, NULL, 100, 0, 1 << 30, "steps of linear warm-up"),
    SY_REAL(sy_optim, min_lr_ratio, NULL, 0.1, 0, 1, "the last learning rate as a share of the peak"),
    SY_REAL(sy_optim, decay_ratio, NULL, 0.2, 0, 1, "wsd: share of all steps in which the rate falls"),
    SY_REAL(sy_optim, beta1, "adam_beta1", 0.9, 0, 0.999999, "decay of the first moment"),
    SY_REAL(sy_optim, beta2, "adam_beta2", 0.95, 0, 0.999999, "decay of the second moment"),
    SY_REAL(sy_optim, adam_eps, "adam_epsilon", 1e-8, 0, 1, "added to the root of the second moment"),
    SY_REAL(sy_optim, weight_decay, NULL, 0.1, 0, 100, "decoupled decay of matrices; norms and biases do not decay"),
    SY_REAL(sy_optim, max_grad_norm, "clip", 1, 0, 1e9, "gradients are scaled down to this norm; 0 = never"),
    { 0 }
};

double sy_lr_at(const sy_optim *o, int64_t step, int64_t steps)
{
    const double pi = 3.14159265358979323846, low = o->lr * o->min_lr_ratio;
    if (step < o->warmup_steps) return o->lr * (double)(step + 1) / o->warmup_steps;
    double left = (double)(steps - 1 - step), span = (double)(steps - 1 - o->warmup_steps);
    switch ((sy_schedule)o->lr_schedule) {
    case SY_SCHED_COSINE: return span <= 0 ? low : low + (o->lr - low) * 0.5 * (1 - cos(pi * left / span));
    case SY_SCHED_WSD: {
        double fall = o->decay_ratio * (double)steps;
        return left >= fall ? o->lr : low + (o->lr - low) * left / fall;
    }
    case SY_SCHED_CONSTANT: break;
    }
    return o->lr;
}

enum { BLOCK = 1 << 14 };                            /* values: 64 KiB of each of the four arrays */

typedef struct flat {                                /* all trained parameters seen as blocks */
    sy_engine       *e;
    const sy_params *p;
    const sy_optim  *o;
    sy_adamw         a;
    double          *part;                           /* a sum for each block */
} flat;

static size_t blocks_of(const sy_param *p) { return sy_param_trains(p) ? (p->n + BLOCK - 1) / BLOCK : 0; }

static int all_blocks(const sy_params *p)
{
    size_t n = 0;
    for (int i = 0; i < p->n; i++) n += blocks_of(p->p[i]);
    return (int)n;
}

/* Calls fn for blocks from .. to-1 of the flat view. */
static void each_block(const flat *f, int from, int to, void (*fn)(const flat *, sy_param *, size_t at, size_t n, int block))
{
    int at = 0;
    for (int i = 0; i < f->p->n && at < to; i++) {
        sy_param *p = f->p->p[i];
        int n = (int)blocks_of(p);
        for (int b = at < from ? from - at : 0; b < n && at + b < to; b++) {
            size_t first = (size_t)b * BLOCK;
            fn(f, p, first, p->n - first < BLOCK ? p->n - first : BLOCK, at + b);
        }
        at += n;
    }
}

static void norm_block(const flat *f, sy_param *p, size_t at, size_t n, int block) { f->part[block] = f->e->k->sumsq(n, p->w.dx + at); }
static void zero_block(const flat *f, sy_param *p, size_t at, size_t n, int block) { (void)f, (void)block; memset(p->w.dx + at, 0, n * sizeof(sy_real)); }

static void update(const flat *f, sy_param *p, size_t at, size_t n)
{
    sy_adamw a = f->a;
    if (p->flags & SY_NODECAY || p->w.nd < 2) a.weight_decay = 0;
    f->e->k->adamw(n, &a, (sy_real *)p->w.data + at, p->w.dx + at, p->m + at, p->v + at);
}

static void step_block(const flat *f, sy_param *p, size_t at, size_t n, int block)
{
    (void)block;
    if (!(p->flags & SY_LAZY)) { update(f, p, at, n); return; }
    size_t row = p->n / (size_t)p->w.dim[0];
    for (size_t i = at; i < at + n; ) {              /* runs of one row inside the block */
        size_t r = i / row, end = (r + 1) * row < at + n ? (r + 1) * row : at + n;
        if (p->touched[r]) update(f, p, i, end - i);
        i = end;
    }
}

static void run_norm(void *arg, int from, int to, int worker) { (void)worker; each_block(arg, from, to, norm_block); }
static void run_zero(void *arg, int from, int to, int worker) { (void)worker; each_block(arg, from, to, zero_block); }
static void run_step(void *arg, int from, int to, int worker) { (void)worker; each_block(arg, from, to, step_block); }

double sy_grad_norm(sy_engine *e, const sy_params *p)
{
    int n = all_blocks(p);
    sy_mark mark = sy_arena_mark(&e->scratch[0]);
    flat f = { .e = e, .p = p, .part = sy_arena_array(&e->scratch[0], (size_t)n, sizeof(double)) };
    double sum = NAN;                                /* without memory the norm is unknown */
    if (f.part) {
        sy_each(e, n, BLOCK, run_norm, &f);
        sum = 0;
        for (int i = 0; i < n; i++) sum += f.part[i];
    }
    sy_arena_release(&e->scratch[0], mark);
    return sqrt(sum);
}

const sy_param *sy_grad_broken(const sy_params *p)
{
    for (int i = 0; i < p->n; i++)
        for (size_t k = 0; sy_param_trains(p->p[i]) && k < p->p[i]->n; k++)
            if (!isfinite(p->p[i]->w.dx[k])) return p->p[i];
    return NULL;
}

void sy_grad_zero(sy_engine *e, const sy_params *p)
{
    flat f = { .e = e, .p = p };
    sy_each(e, all_blocks(p), BLOCK, run_zero, &f);
    for (int i = 0; i < p->n; i++)
        if (p->p[i]->touched) memset(p->p[i]->touched, 0, (size_t)p->p[i]->w.dim[0]);
}

void sy_optim_step(sy_engine *e, const sy_params *p, const sy_optim *o, double lr, int64_t t, double clip)
{
    flat f = { .e = e, .p = p, .o = o,
               .a = { .lr = lr, .beta1 = o->beta1, .beta2 = o->beta2, .eps = o->adam_eps, .weight_decay = o->weight_decay,
                      .bias1 = 1 - pow(o->beta1, (double)t), .bias2 = 1 - pow(o->beta2, (double)t), .clip = clip } };
    sy_each(e, all_blocks(p), 8.0 * BLOCK, run_step, &f);
}
