/* core/pool.h - one pool of threads for a whole engine.
 *
 * Tasks are numbered; who runs which is not fixed, so a task must own what it writes. Workers spin shortly, then sleep on a
 * futex; the caller works too. Default size: min(affinity mask, floor(cgroup quota), physical cores). */
#ifndef SY_POOL_H
#define SY_POOL_H

#include <stddef.h>

#include "core/status.h"

typedef struct sy_pool sy_pool;

/* threads: 0 = the default. Never more than 256. */
sy_status sy_pool_open(sy_pool **out, int threads, sy_err *err);
void      sy_pool_close(sy_pool *p);                  /* NULL is fine */
int       sy_pool_threads(const sy_pool *p);
int       sy_pool_default_threads(void);
/* What the default follows from. */
typedef struct sy_pool_limits { int cpus, cores, quota; } sy_pool_limits;   /* of the affinity mask; of the container, 0 = none */
void      sy_pool_look(sy_pool_limits *out);
/* Calls fn(arg, task, worker) for task = 0 .. tasks-1, worker = 0 .. threads-1, and returns when all are done. A call from inside
 * a task runs on the calling thread, under that task's worker number. p = NULL runs everything on the calling thread. One caller
 * at a time; a task must return (no jump out of it). */
void      sy_pool_run(sy_pool *p, int tasks, void (*fn)(void *arg, int task, int worker), void *arg);

#endif
