/* tensor/engine.c - opening an engine, and cutting loops over its threads. */
#include "tensor/engine.h"

#include <string.h>

#include "core/alloc.h"

sy_status sy_engine_init(sy_engine *e, int threads, const char *kernels, const sy_methods *methods, sy_err *err)
{
    *e = (sy_engine){ 0 };
    if (methods) e->methods = *methods;
    sy_status st = sy_kernels_pick(kernels, &e->k, err);
    if (st == SY_OK) st = sy_pool_open(&e->pool, threads, err);
    if (st == SY_OK) {
        e->threads = sy_pool_threads(e->pool);
        e->scratch = sy_calloc((size_t)e->threads, sizeof *e->scratch);
        if (!e->scratch) st = sy_fail(err, SY_ENOMEM, "no memory for the scratch of %d threads", e->threads);
    }
    if (st != SY_OK) sy_engine_uninit(e);
    return st;
}

void sy_engine_uninit(sy_engine *e)
{
    for (int i = 0; e->scratch && i < e->threads; i++) sy_arena_free(&e->scratch[i]);
    sy_free(e->scratch);
    sy_arena_free(&e->list);
    sy_free((void *)e->methods.extra);
    sy_pool_close(e->pool);
    *e = (sy_engine){ 0 };
}

sy_status sy_engine_register(sy_engine *e, const sy_method *m, sy_err *err)
{
    int n = 0;
    while (e->methods.extra && e->methods.extra[n]) n++;
    for (const sy_method *const *l = e->methods.list; l && *l; l++)
        if ((*l)->kind == m->kind && !strcmp((*l)->name, m->name)) return sy_fail(err, SY_EEXIST, "there is a built-in %s '%s'", sy_kind_word(m->kind), m->name);
    for (int i = 0; i < n; i++)
        if (e->methods.extra[i]->kind == m->kind && !strcmp(e->methods.extra[i]->name, m->name)) return sy_fail(err, SY_EEXIST, "a %s '%s' is registered already", sy_kind_word(m->kind), m->name);
    const sy_method **extra = sy_realloc((void *)e->methods.extra, ((size_t)n + 2) * sizeof *extra);
    if (!extra) return sy_fail(err, SY_ENOMEM, "no memory to register %s '%s'", sy_kind_word(m->kind), m->name);
    extra[n] = m;
    extra[n + 1] = NULL;
    e->methods.extra = extra;
    return SY_OK;
}

struct each { int n, per; void (*fn)(void *, int, int, int); void *arg; };

static void run_each(void *arg, int task, int worker)
{
    const struct each *x = arg;
    int from = task * x->per, to = from + x->per;
    x->fn(x->arg, from, to < x->n ? to : x->n, worker);
}

void sy_each(sy_engine *e, int n, double ops, void (*fn)(void *arg, int from, int to, int worker), void *arg)
{
    enum { TASK_OPS = 40000 };                       /* about 20 us of element-wise work */
    if (n <= 0) return;
    double total = ops * n;
    int tasks = e->threads * 4;
    if (total < (double)TASK_OPS * tasks) tasks = (int)(total / TASK_OPS);
    if (tasks > n) tasks = n;
    if (tasks <= 1 || e->threads == 1) { fn(arg, 0, n, 0); return; }
    struct each x = { n, (n + tasks - 1) / tasks, fn, arg };
    sy_pool_run(e->pool, (n + x.per - 1) / x.per, run_each, &x);
}
