/* tsan */
/* Mapped files. Oracle: the bytes on the disk; a file that is cut gives a status in every thread and never the end of the process; a program with
 * little address space reads through windows what one with enough maps whole. */
#include "testing.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/file.h"
#include "core/pool.h"

enum { SIZE = 1 << 20, TASKS = 64 };

static char bytes[SIZE];

static char *in_dir(const char *name)
{
    static char path[4][400];
    static int turn;
    char *p = path[turn++ % 4];
    snprintf(p, 400, "%s/%s", sy_test_dir(), name);
    return p;
}

static long sum_up(const sy_map *m)
{
    volatile long sum = 0;                           /* nobody else looks at it, and the pages are to be read */
    for (size_t i = 0; i < m->size; i += 512) sum += m->data[i];
    return sum;
}

static void *in_thread(void *arg)
{
    const sy_map *m = arg;
    sy_err e;
    long sum = sum_up(m);
    return sy_map_status(m, "the file", SY_OK, &e) == SY_EIO && sum >= 0 ? NULL : arg;
}

/* A quarter of the file for each task of the pool, forwards and backwards. */
static void read_part(void *arg, int task, int worker)
{
    const sy_map *m = arg;
    volatile long sum = 0;
    (void)worker;
    for (size_t i = 0; i < m->size / 4; i += 512) sum += m->data[(size_t)(task % 4) * (m->size / 4) + (task % 8 < 4 ? i : m->size / 4 - 1 - i)];
}

static void cut_while_it_is_read(void **state)
{
    static const off_t cuts[] = { 0, 5000, SIZE / 2, SIZE - 4096 };
    sy_err e = { 0 }, *err = &e;
    struct sigaction before, after;
    (void)state;
    sigaction(SIGBUS, NULL, &before);
    for (int i = 0; i < SIZE; i++) bytes[i] = (char)(1 + i % 100);
    for (size_t c = 0; c < SY_COUNT(cuts); c++)
        for (int how = 0; how < 3; how++) {
            char *path = in_dir("mapped");
            sy_map m, other;
            sy_test_case("cut to %ld, read by %s", (long)cuts[c], how == 0 ? "this thread" : how == 1 ? "four threads" : "a pool");
            sy_expect_ok(sy_file_write(path, bytes, SIZE, err));
            sy_expect_ok(sy_file_write(in_dir("other"), bytes, SIZE, err));
            sy_expect_ok(sy_map_open(&m, path, err));
            sy_expect_ok(sy_map_open(&other, in_dir("other"), err));
            sy_expect_same("map", m.data, bytes, SIZE);
            sy_expect_ok(sy_map_status(&m, path, SY_OK, err));
            assert_int_equal(truncate(path, cuts[c]), 0);
            if (how == 0) sum_up(&m);
            else if (how == 1) {
                pthread_t t[4];
                for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&t[i], NULL, in_thread, &m), 0);
                for (int i = 0; i < 4; i++) { void *bad; pthread_join(t[i], &bad); assert_null(bad); }
            } else {
                sy_pool *pool;
                sy_expect_ok(sy_pool_open(&pool, 4, err));
                for (int i = 0; i < 8; i++) sy_pool_run(pool, TASKS, read_part, &m);
                sy_pool_close(pool);
            }
            sy_expect_fail(sy_map_status(&m, path, SY_OK, err), SY_EIO, "was cut short");
            sy_expect_fail(sy_map_status(&m, path, SY_EFORMAT, err), SY_EIO, path);       /* over what zeros made of it */
            sum_up(&m);
            sy_expect_fail(sy_map_status(&m, path, SY_OK, err), SY_EIO, "run again");     /* for ever */
            sy_expect_same("what is left", m.data, bytes, (size_t)cuts[c]);
            sum_up(&other);
            sy_expect_ok(sy_map_status(&other, "other", SY_OK, err));
            assert_int_equal(sy_map_status(&other, "other", SY_ESHAPE, err), SY_ESHAPE);
            sy_map_close(&m);
            sy_map_close(&m);
            sy_map_close(&other);
        }
    sigaction(SIGBUS, NULL, &after);
    assert_true(before.sa_handler == after.sa_handler);
}

static volatile sig_atomic_t theirs;
static void their_handler(int sig) { (void)sig; theirs++; }

static void signals_that_are_not_ours(void **state)
{
    sy_map m;
    (void)state;
    struct sigaction mine = { .sa_handler = their_handler }, was;
    sigaction(SIGBUS, &mine, &was);
    sy_expect_ok(sy_file_write(in_dir("mapped"), bytes, SIZE, err));
    sy_expect_ok(sy_map_open(&m, in_dir("mapped"), err));
    raise(SIGBUS);                                   /* of nobody's map: it goes where it went before */
    assert_int_equal(theirs, 1);
    sy_map_close(&m);
    raise(SIGBUS);
    assert_int_equal(theirs, 2);
    sigaction(SIGBUS, &was, NULL);
}

static void nothing_and_too_much(void **state)
{
    sy_err e = { 0 }, *err = &e;
    sy_map m;
    (void)state;
    sy_expect_ok(sy_file_write(in_dir("empty"), "", 0, err));
    sy_expect_ok(sy_map_open(&m, in_dir("empty"), err));
    assert_true(m.size == 0 && sy_map_view(&m, 0, 0) != NULL);
    sy_map_close(&m);
    sy_expect_fail(sy_map_open(&m, in_dir("absent"), err), SY_ENOENT, "cannot open");
    sy_expect_fail(sy_map_open_windows(&m, in_dir("absent"), err), SY_ENOENT, "cannot open");
    char *path = in_dir("sparse");
    sy_expect_ok(sy_file_write(path, "", 0, err));
    if (truncate(path, (off_t)1 << 35) != 0) { print_message("no sparse files here: left out\n"); return; }
    sy_expect_ok(sy_map_open(&m, path, err));
    assert_int_equal(m.data[((size_t)1 << 35) - 1], 0);
    sy_map_close(&m);
    unlink(path);
}

/* --- little address space ----------------------------------------------------------------------------------------------------- */

#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__       /* whose shadow memory needs terabytes */

/* 3 GB with a mark in every 256 MB, and one on each side of a border between windows. */
static const size_t HUGE = (size_t)3 << 30;

static void write_mark(const char *path, size_t at)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseeko(f, (off_t)at, SEEK_SET), 0);
    assert_int_equal(fwrite(&at, 1, sizeof at, f), sizeof at);
    assert_int_equal(fclose(f), 0);
}

static int wrong(int line, const sy_err *e) { fprintf(stderr, "line %d: %s\n", line, e->text); return 1; }
#define CHECK(x) do { if (!(x)) return wrong(__LINE__, err); } while (0)

static int with_a_gigabyte(const char *path)
{
    sy_err e = { 0 }, *err = &e;
    sy_map m;
    size_t got;
    struct rlimit r = { (rlim_t)1 << 30, (rlim_t)1 << 30 };
    CHECK(setrlimit(RLIMIT_AS, &r) == 0);
    CHECK(sy_map_open(&m, path, err) == SY_ENOMEM && strstr(e.text, "3.22 GB") && strstr(e.text, "ulimit -v"));
    for (int pass = 0; pass < 2; pass++) {
        CHECK(sy_map_open_windows(&m, path, err) == SY_OK && m.size == HUGE && !m.data);
        const uint8_t *head = sy_map_head(&m, 100000);
        CHECK(head);
        for (size_t at = 0; at < HUGE; at += (size_t)256 << 20) {
            const uint8_t *p = sy_map_view(&m, at, sizeof got);
            CHECK(p);
            memcpy(&got, p, sizeof got);
            CHECK(got == at);
        }
        const uint8_t *p = sy_map_view(&m, HUGE - 8, 8);
        CHECK(p && memcmp(p, &(size_t){ HUGE - 8 }, 8) == 0);
        CHECK((p = sy_map_view(&m, 4094, 100 << 20)) != NULL);            /* longer than a window, from the middle of a page */
        memcpy(&got, p + ((64 << 20) - 4094), sizeof got);
        CHECK(got == 64 << 20);
        CHECK(sy_map_view(&m, 0, (size_t)2 << 30) == NULL);
        CHECK(head[0] == 0 && sy_map_status(&m, path, SY_OK, err) == SY_OK);
        sy_map_close(&m);
    }
    CHECK(sy_map_open_windows(&m, path, err) == SY_OK);
    const uint8_t *p = sy_map_view(&m, HUGE / 2, 8);
    CHECK(p && truncate(path, (off_t)4096) == 0);
    long sum = p[0] + p[4096];
    p = sy_map_view(&m, 0, 8);
    CHECK(p && sum == 0 && sy_map_status(&m, path, SY_OK, err) == SY_EIO && strstr(e.text, "was cut short"));    /* also after another window was opened */
    sy_map_close(&m);
    return 0;
}

static void little_address_space(void **state)
{
    char *path = in_dir("huge");
    (void)state;
    sy_expect_ok(sy_file_write(path, "", 0, err));
    if (truncate(path, (off_t)HUGE) != 0) { print_message("no sparse files here: left out\n"); return; }
    for (size_t at = 0; at < HUGE; at += (size_t)256 << 20) write_mark(path, at);
    write_mark(path, 64 << 20);
    write_mark(path, HUGE - 8);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) _exit(with_a_gigabyte(path));
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how));
    assert_int_equal(WEXITSTATUS(how), 0);
    unlink(path);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_while_it_is_read), cmocka_unit_test(signals_that_are_not_ours), cmocka_unit_test(nothing_and_too_much),
#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
        cmocka_unit_test(little_address_space),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
