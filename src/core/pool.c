/* core/pool.c - workers that wait on one epoch word.
 *
 * A run publishes its job, moves the epoch and wakes the workers; everybody takes task numbers from one counter; the last worker to
 * leave wakes the caller. A worker spins about 35 us for the next epoch and then sleeps on a futex, so that idle threads
 * cost nothing and more threads than cores do not collapse (docs/speed.md). */
#include "core/pool.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/alloc.h"

enum { MAX_THREADS = 256, SPIN = 2000 };

typedef struct { sy_pool *pool; int index; } worker;

struct sy_pool {
    int              threads, started;
    _Atomic uint32_t epoch;                          /* futex word of the workers */
    _Atomic uint32_t working;                        /* workers that have not left the run; futex word of the caller */
    _Atomic int      next;                           /* next task */
    _Atomic int      stop;
    int              tasks;
    void           (*fn)(void *, int, int);
    void            *arg;
    pthread_t        thread[MAX_THREADS];
    worker           who[MAX_THREADS];
};

/* The pool whose task this thread runs, and under which number: a nested run stays on the thread and keeps the number, because
 * scratch memory belongs to numbers. */
static _Thread_local const sy_pool *inside;
static _Thread_local int inside_as;

static void relax(void)
{
#if defined __x86_64__
    __builtin_ia32_pause();
#endif
}

static void futex_wait(_Atomic uint32_t *word, uint32_t seen)
{
    syscall(SYS_futex, (uint32_t *)word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word) { syscall(SYS_futex, (uint32_t *)word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0); }

/* Waits until *word differs from `seen`. */
static void wait_change(_Atomic uint32_t *word, uint32_t seen)
{
    for (int i = 0; i < SPIN; i++) {
        if (atomic_load_explicit(word, memory_order_acquire) != seen) return;
        relax();
    }
    while (atomic_load_explicit(word, memory_order_acquire) == seen) futex_wait(word, seen);
}

static void take_tasks(sy_pool *p, int index)
{
    inside = p;
    inside_as = index;
    for (int t; (t = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed)) < p->tasks; ) p->fn(p->arg, t, index);
    inside = NULL;
}

static void *work(void *arg)
{
    worker *w = arg;
    sy_pool *p = w->pool;
    for (uint32_t seen = 0; ; ) {
        wait_change(&p->epoch, seen);
        seen = atomic_load_explicit(&p->epoch, memory_order_acquire);
        if (atomic_load_explicit(&p->stop, memory_order_relaxed)) return NULL;
        take_tasks(p, w->index);
        if (atomic_fetch_sub_explicit(&p->working, 1, memory_order_acq_rel) == 1) futex_wake(&p->working);
    }
}

void sy_pool_run(sy_pool *p, int tasks, void (*fn)(void *arg, int task, int worker), void *arg)
{
    if (!p || p->started == 0 || tasks <= 1 || inside) {
        int self = p && inside == p ? inside_as : 0;
        for (int t = 0; t < tasks; t++) fn(arg, t, self);
        return;
    }
    p->tasks = tasks;
    p->fn = fn;
    p->arg = arg;
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    atomic_store_explicit(&p->working, (uint32_t)p->started, memory_order_relaxed);
    atomic_fetch_add_explicit(&p->epoch, 1, memory_order_release);
    futex_wake(&p->epoch);
    take_tasks(p, 0);
    for (uint32_t left; (left = atomic_load_explicit(&p->working, memory_order_acquire)) != 0; ) wait_change(&p->working, left);
}

/* --- how many threads --------------------------------------------------------------------------------------------------- */

static long read_number(const char *path, const char *fmt, long *second)
{
    long a = -1;
    FILE *f = fopen(path, "r");
    if (!f) return -1;
    if (fscanf(f, fmt, &a, second) < 1) a = -1;
    fclose(f);
    return a;
}

/* Whole cores of a quota of q microseconds in each period, 0 = none. */
static int whole(long q, long period) { return q <= 0 || period <= 0 ? 0 : q < period ? 1 : (int)(q / period); }

/* The CPU quota of our control group in whole cores, 0 = none: in version 2 the smallest of the group and those above it. */
static int quota(void)
{
    char group[512] = "/", path[600];
    FILE *f = fopen("/proc/self/cgroup", "r");
    for (char line[512]; f && fgets(line, sizeof line, f); )
        if (!strncmp(line, "0::/", 4)) snprintf(group, sizeof group, "%.*s", (int)strcspn(line + 3, "\n"), line + 3);
    if (f) fclose(f);
    int least = 0;
    for (char *slash = group; slash; ) {
        long period = 0;
        snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", group);
        long q = read_number(path, "%ld %ld", &period);
        int n = whole(q, period);
        if (n && (!least || n < least)) least = n;
        if ((slash = strrchr(group, '/'))) *slash = 0;
    }
    if (least) return least;
    long none;
    return whole(read_number("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "%ld", &none), read_number("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "%ld", &none));
}

/* Distinct (package, core) pairs among the CPUs of the mask; the CPUs themselves where the system does not tell. */
static int cores(const cpu_set_t *mask)
{
    long seen[CPU_SETSIZE];
    int n = 0, all = CPU_COUNT(mask);
    for (int c = 0; c < CPU_SETSIZE; c++) {
        char path[96];
        if (!CPU_ISSET(c, mask)) continue;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/core_id", c);
        long core = read_number(path, "%ld", &(long){ 0 });
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/physical_package_id", c);
        long id = (read_number(path, "%ld", &(long){ 0 }) << 20) + core;
        if (core < 0) return all;
        int i = 0;
        while (i < n && seen[i] != id) i++;
        if (i == n) seen[n++] = id;
    }
    return n ? n : all;
}

void sy_pool_look(sy_pool_limits *out)
{
    cpu_set_t mask;
    *out = (sy_pool_limits){ .quota = quota() };
    if (sched_getaffinity(0, sizeof mask, &mask) == 0) {
        out->cpus = CPU_COUNT(&mask);
        out->cores = cores(&mask);
    } else out->cpus = out->cores = (int)sysconf(_SC_NPROCESSORS_ONLN);         /* more CPUs than a cpu_set_t holds */
}

int sy_pool_default_threads(void)
{
    sy_pool_limits l;
    sy_pool_look(&l);
    int n = l.quota && l.quota < l.cores ? l.quota : l.cores;
    return n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : n;
}

sy_status sy_pool_open(sy_pool **out, int threads, sy_err *err)
{
    if (threads < 0 || threads > MAX_THREADS) return sy_fail(err, SY_EARG, "threads %d is outside 0 .. %d", threads, MAX_THREADS);
    sy_pool *p = sy_calloc(1, sizeof *p);
    if (!p) return sy_fail(err, SY_ENOMEM, "no memory for the thread pool");
    p->threads = threads ? threads : sy_pool_default_threads();
    sigset_t all, old;                               /* workers leave signals to the caller's threads, whose reads they shall interrupt */
    sigfillset(&all);
    for (const int *s = (const int[]){ SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGABRT, 0 }; *s; s++) sigdelset(&all, *s);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failed = 0;
    for (int i = 1; i < p->threads; i++) {
        p->who[i] = (worker){ p, i };
        if ((failed = pthread_create(&p->thread[i], NULL, work, &p->who[i]))) break;
        p->started++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failed) {
        sy_fail(err, SY_ENOMEM, "thread %d of %d cannot be started: %s; ask for fewer with --threads", p->started + 2, p->threads, strerror(failed));
        sy_pool_close(p);
        return SY_ENOMEM;
    }
    *out = p;
    return SY_OK;
}

void sy_pool_close(sy_pool *p)
{
    if (!p) return;
    atomic_store(&p->stop, 1);
    atomic_fetch_add(&p->epoch, 1);
    futex_wake(&p->epoch);
    for (int i = 1; i <= p->started; i++) pthread_join(p->thread[i], NULL);
    sy_free(p);
}

int sy_pool_threads(const sy_pool *p) { return p ? p->threads : 1; }
