/* tsan */
/* The pool. Oracle: sums and counts that any order of tasks must give; the thread sanitizer sees two threads under one number. */
#include "testing.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/pool.h"

enum { MOST = 64, TASKS = 1000 };

typedef struct job {
    sy_pool *pool;
    int      threads;
    int      done[TASKS];               /* how often each task ran; a task owns its place */
    long     by_worker[MOST];           /* plain, not atomic: a worker number belongs to one thread at a time */
    int      nested;                    /* tasks of an inner run, 0 = none */
} job;

static void inner(void *arg, int task, int worker)
{
    job *j = arg;
    (void)task;
    if (worker >= 0 && worker < j->threads) j->by_worker[worker]++;             /* else the sums do not add up: no assertion off the main thread */
}

static void outer(void *arg, int task, int worker)
{
    job *j = arg;
    j->done[task]++;
    long before = j->by_worker[worker]++;
    if (!j->nested) return;
    sy_pool_run(j->pool, j->nested, inner, j);
    if (j->by_worker[worker] != before + 1 + j->nested) j->done[task] = -1000;      /* the inner run was on this thread under this number */
}

static void run(int threads, int tasks, int nested, int repeats)
{
    sy_test_case("%d threads, %d tasks, %d nested", threads, tasks, nested);
    job *j = calloc(1, sizeof *j);
    sy_expect_ok(sy_pool_open(&j->pool, threads, err));
    j->threads = sy_pool_threads(j->pool);
    assert_int_equal(j->threads, threads);
    j->nested = nested;
    for (int r = 0; r < repeats; r++) sy_pool_run(j->pool, tasks, outer, j);
    long sum = 0;
    for (int t = 0; t < TASKS; t++) assert_int_equal(j->done[t], t < tasks ? repeats : 0);
    for (int w = 0; w < MOST; w++) sum += j->by_worker[w];
    assert_int_equal(sum, (long)tasks * repeats * (1 + nested));
    sy_pool_close(j->pool);
    free(j);
}

static void every_task_once(void **s)
{
    (void)s;
    for (int threads = 1; threads <= 8; threads++) {
        run(threads, 0, 0, 10);
        run(threads, 1, 0, 100);
        run(threads, threads, 0, 300);
        run(threads, TASKS, 0, 20);
    }
}

static void nested_runs_keep_the_number(void **s)
{
    (void)s;
    for (int threads = 1; threads <= 4; threads++) run(threads, 50, 7, 20);
}

static void more_threads_than_cores(void **s) { (void)s; run(MOST, 200, 0, 20); }

static void long_pauses_between_runs(void **s)       /* workers fall asleep and are woken */
{
    (void)s;
    job *j = calloc(1, sizeof *j);
    sy_expect_ok(sy_pool_open(&j->pool, 4, err));
    j->threads = 4;
    for (int r = 0; r < 20; r++) {
        sy_pool_run(j->pool, 8, outer, j);
        usleep(2000);
    }
    for (int t = 0; t < 8; t++) assert_int_equal(j->done[t], 20);
    sy_pool_close(j->pool);
    free(j);
}

static void without_a_pool(void **s)
{
    (void)s;
    job *j = calloc(1, sizeof *j);
    j->threads = 1;
    sy_pool_run(NULL, 10, outer, j);
    for (int t = 0; t < 10; t++) assert_int_equal(j->done[t], 1);
    assert_int_equal(j->by_worker[0], 10);
    assert_int_equal(sy_pool_threads(NULL), 1);
    sy_pool_close(NULL);
    free(j);
}

static void sizes(void **s)
{
    (void)s;
    sy_err e = { 0 }, *err = &e;
    sy_pool *p = NULL;
    sy_expect_fail(sy_pool_open(&p, -1, err), SY_EARG, "outside 0 .. 256");
    sy_expect_fail(sy_pool_open(&p, 257, err), SY_EARG, "257");
    assert_null(p);
    assert_in_range(sy_pool_default_threads(), 1, 256);
    assert_true(sy_pool_default_threads() <= sysconf(_SC_NPROCESSORS_CONF));
    sy_alloc_fail_at(1, 0);
    sy_expect_fail(sy_pool_open(&p, 2, err), SY_ENOMEM, "memory");
    sy_alloc_fail_at(0, 0);
}

static volatile sig_atomic_t got;
static pthread_t got_on;
static void on_signal(int sig) { (void)sig; got = 1; got_on = pthread_self(); }

static void signals_reach_the_caller(void **s)
{
    (void)s;
    sy_pool *p;
    struct sigaction old;
    sigaction(SIGUSR1, &(struct sigaction){ .sa_handler = on_signal }, &old);
    sy_expect_ok(sy_pool_open(&p, 8, err));
    sigset_t one, now;
    sigemptyset(&one);
    sigaddset(&one, SIGUSR1);
    for (int i = 0; i < 20; i++) {
        pthread_sigmask(SIG_BLOCK, &one, NULL);      /* no worker may take it while the caller does not */
        got = 0;
        kill(getpid(), SIGUSR1);
        usleep(200);
        assert_false(got);
        pthread_sigmask(SIG_UNBLOCK, &one, NULL);
        assert_true(got && pthread_equal(got_on, pthread_self()));
    }
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    assert_false(sigismember(&now, SIGINT));         /* the caller's own mask is as it was */
    sy_pool_close(p);
    sigaction(SIGUSR1, &old, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_once), cmocka_unit_test(nested_runs_keep_the_number), cmocka_unit_test(more_threads_than_cores),
        cmocka_unit_test(long_pauses_between_runs), cmocka_unit_test(without_a_pool), cmocka_unit_test(sizes), cmocka_unit_test(signals_reach_the_caller),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
