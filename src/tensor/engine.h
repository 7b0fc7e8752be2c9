/* tensor/engine.h - what every op may use: threads, kernels, scratch, log, methods. No globals: one handle, passed down.
 *
 * An engine serves one caller at a time; two engines in one program are independent. */
#ifndef SY_ENGINE_H
#define SY_ENGINE_H

#include "core/arena.h"
#include "core/method.h"
#include "core/pool.h"
#include "kernels/kernels.h"

struct sy_log;

typedef struct sy_engine {
    sy_pool          *pool;             /* owned */
    int               threads;
    const sy_kernels *k;
    sy_arena         *scratch;          /* [threads] one a worker: mark, use, release inside one task */
    sy_arena          list;             /* of the list of products that runs: its tiles, its rounded rows */
    struct sy_log    *log;              /* borrowed; may be NULL */
    sy_methods        methods;          /* tables are borrowed; `extra` belongs to the engine */
    bool              int8;             /* forward passes that record nothing round activations to eight bits before they meet stored weights (product.h); false: exact */
    bool              check_nan;        /* SY_CHECK=nan: every op looks for the first value that is not finite */
} sy_engine;

/* threads 0 = default; kernels NULL = best of this CPU. methods is copied (its tables are borrowed). */
sy_status sy_engine_init(sy_engine *e, int threads, const char *kernels, const sy_methods *methods, sy_err *err);
void      sy_engine_uninit(sy_engine *e);                       /* copes with a zeroed engine */

/* Adds a method from outside the tree; borrowed until the engine is closed. SY_EEXIST: its kind has one of this name. */
sy_status sy_engine_register(sy_engine *e, const sy_method *m, sy_err *err);

/* Calls fn(arg, from, to, worker) for runs that cover 0..n-1. `ops` is the work of one item in elementary operations; below
 * about 20 us in all, everything runs on the calling thread. How the range is cut never changes a result. */
void sy_each(sy_engine *e, int n, double ops, void (*fn)(void *arg, int from, int to, int worker), void *arg);

#endif
