/* Files. Oracle: the bytes on the disk. A fake table of system calls fails, splits or interrupts the n-th call, or cuts the power there:
 * from then on nothing works, and what was not synced is lost. */
#include "testing.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/file.h"

/* --- the fake table ----------------------------------------------------------------------------------------------------- */

typedef enum { NOTHING, ONE_ERROR, ERROR_FROM_NOW, POWER_CUT, SHORT } fault;

static struct {
    const sy_syscalls *real;
    fault fault;
    int   at, error, calls;             /* the call number `at` (1 = first) meets the fault */
    bool  off;                          /* the power is cut */
    struct { char path[1100]; bool dirty; } file[64];       /* by descriptor */
    struct { char path[1100]; } lost[64];                   /* written and not synced, by descriptor slot, after close */
    int   n_lost;
} fake;

/* True when this call fails, with errno set. */
static bool strikes(void)
{
    int n = ++fake.calls;
    if (fake.off) { errno = EIO; return true; }
    if (fake.fault == NOTHING || fake.fault == SHORT || n < fake.at) return false;
    if (fake.fault == ONE_ERROR && n != fake.at) return false;
    fake.off = fake.fault == POWER_CUT;
    errno = fake.fault == POWER_CUT ? EIO : fake.error;
    return true;
}

static int fake_open(const char *path, int flags, mode_t mode)
{
    if (strikes()) return -1;
    int fd = fake.real->open(path, flags, mode);
    assert_true(fd < 64);
    if (fd >= 0) {
        snprintf(fake.file[fd].path, sizeof fake.file[fd].path, "%s", path);
        fake.file[fd].dirty = false;
    }
    return fd;
}

static ssize_t fake_read(int fd, void *buf, size_t n) { return strikes() ? -1 : fake.real->read(fd, buf, fake.fault == SHORT && n > 3 ? 3 : n); }

static ssize_t fake_write(int fd, const void *buf, size_t n)
{
    if (strikes()) {                                 /* a full disk takes a part first */
        if (fake.error == ENOSPC && n > 1 && !fake.off && fake.fault == ERROR_FROM_NOW && fake.calls == fake.at) return fake.real->write(fd, buf, n / 2);
        return -1;
    }
    fake.file[fd].dirty = true;
    return fake.real->write(fd, buf, fake.fault == SHORT && n > 3 ? 3 : n);
}

static int fake_fsync(int fd)
{
    if (strikes()) return -1;
    fake.file[fd].dirty = false;
    return fake.real->fsync(fd);
}

static int fake_close(int fd)
{
    bool bad = strikes();
    int e = errno;
    fake.real->close(fd);                            /* gone in any case */
    if (fake.file[fd].dirty) memcpy(fake.lost[fake.n_lost++].path, fake.file[fd].path, sizeof fake.file[fd].path);
    fake.file[fd].dirty = false;
    errno = e;
    return bad ? -1 : 0;
}

static int fake_rename(const char *from, const char *to)
{
    if (fake.error != EINTR && strikes()) return -1; /* a rename is not interrupted */
    int r = fake.real->rename(from, to);
    for (int i = 0; i < fake.n_lost && r == 0; i++)
        if (!strcmp(fake.lost[i].path, from)) snprintf(fake.lost[i].path, sizeof fake.lost[i].path, "%s", to);
    return r;
}

static int fake_ftruncate(int fd, off_t size) { return strikes() ? -1 : fake.real->ftruncate(fd, size); }

static const sy_syscalls table = { fake_open, fake_read, fake_write, fake_fsync, fake_close, fake_rename, fake_ftruncate };

static void start(fault f, int at, int error)
{
    const sy_syscalls *real = fake.real ? fake.real : sy_file_calls;
    memset(&fake, 0, sizeof fake);
    fake.real = real;
    fake.fault = f;
    fake.at = at;
    fake.error = error;
    sy_file_calls = &table;
}

/* Takes the table away; true when the fault was met. What the power cut lost is lost. */
static bool finish(void)
{
    sy_file_calls = fake.real;
    for (int i = 0; fake.off && i < fake.n_lost; i++)
        if (sy_file_exists(fake.lost[i].path)) assert_int_equal(truncate(fake.lost[i].path, 1), 0);
    return fake.fault != NOTHING && fake.calls >= fake.at;
}

static char *in_dir(const char *name)
{
    static char path[4][512];
    static int turn;
    char *p = path[turn++ & 3];
    snprintf(p, sizeof path[0], "%s/%s", sy_test_dir(), name);
    return p;
}

static void expect_content(const char *path, const char *want, size_t n)
{
    sy_buf b = { 0 };
    sy_expect_ok(sy_file_read(path, 1 << 24, &b, err));
    assert_int_equal(b.n, n);
    if (n) sy_expect_same(path, b.data, want, n);
    sy_buf_free(&b);
}

static int names_in(const char *path)
{
    sy_arena a = { 0 };
    const char **names;
    int n = 0;
    sy_expect_ok(sy_dir_list(path, &a, &names, &n, err));
    sy_arena_free(&a);
    return n;
}

/* --- atomic writing ----------------------------------------------------------------------------------------------------- */

enum { BIG = 700001 };                               /* several blocks of the writer */
static char old_text[1000], new_text[BIG];

static void fill(void)
{
    memset(old_text, 'o', sizeof old_text);
    for (int i = 0; i < BIG; i++) new_text[i] = (char)('a' + i % 23);
}

static sy_status write_new(const char *path, sy_err *err)   /* small pieces, then a large one */
{
    sy_writer w;
    sy_status st = sy_writer_open(&w, path, err);
    for (size_t i = 0; st == SY_OK && i < 300000; i += 1000) st = sy_writer_put(&w, new_text + i, 1000, err);
    if (st == SY_OK) st = sy_writer_put(&w, new_text + 300000, BIG - 300000, err);
    if (st == SY_OK) st = sy_writer_close(&w, err);
    sy_writer_abandon(&w);
    sy_writer_abandon(&w);
    return st;
}

static void a_write_is_whole_or_nothing(void **s)
{
    (void)s;
    fill();
    static const struct { fault f; int error; const char *part; } faults[] = {
        { ONE_ERROR, EIO, NULL }, { ONE_ERROR, ENOSPC, "the disk is full" }, { ONE_ERROR, EDQUOT, "quota" }, { ONE_ERROR, EMFILE, "ulimit -n" },
        { ERROR_FROM_NOW, EIO, NULL }, { ERROR_FROM_NOW, ENOSPC, "the disk is full" }, { POWER_CUT, 0, NULL },
    };
    char *dir = in_dir("atomic"), path[600];
    sy_expect_ok(sy_mkdirs(dir, err));
    snprintf(path, sizeof path, "%s/file", dir);
    for (size_t f = 0; f < SY_COUNT(faults); f++)
        for (int at = 1; ; at++) {
            sy_test_case("fault %zu at call %d", f, at);
            sy_expect_ok(sy_file_write(path, old_text, sizeof old_text, err));
            sy_err e = { 0 };
            start(faults[f].f, at, faults[f].error);
            sy_status st = write_new(path, &e);
            bool met = finish();
            sy_buf b = { 0 };
            sy_expect_ok(sy_file_read(path, 1 << 24, &b, err));
            bool is_old = b.n == sizeof old_text && !memcmp(b.data, old_text, b.n), is_new = b.n == BIG && !memcmp(b.data, new_text, BIG);
            sy_buf_free(&b);
            if (!is_old && !is_new) fail_msg("fault %zu at call %d: the file is neither old nor new", f, at);
            if (st == SY_OK && !is_new) fail_msg("fault %zu at call %d: success, and the old file", f, at);
            if (st != SY_OK) {
                if (!strstr(e.text, "file")) fail_msg("'%s' does not name the file", e.text);
                if (faults[f].part && !strstr(e.text, faults[f].part)) fail_msg("'%s' lacks '%s'", e.text, faults[f].part);
            }
            if (faults[f].f != POWER_CUT) assert_int_equal(names_in(dir), 1);     /* no temporary file stays */
            else { sy_expect_ok(sy_remove_tree(dir, err)); sy_expect_ok(sy_mkdirs(dir, err)); }
            if (!met) { assert_int_equal(st, SY_OK); break; }
        }
}

static void interrupted_and_short_calls_are_no_failure(void **s)
{
    (void)s;
    fill();
    char *path = in_dir("interrupted");
    for (int at = 1; ; at++) {
        sy_test_case("EINTR at call %d", at);
        start(ONE_ERROR, at, EINTR);
        sy_err e = { 0 };
        sy_status st = write_new(path, &e);
        sy_buf b = { 0 };
        if (st == SY_OK) st = sy_file_read(path, 1 << 24, &b, &e);
        bool same = b.n == BIG && !memcmp(b.data, new_text, BIG);
        sy_buf_free(&b);
        bool met = finish();
        if (st != SY_OK) fail_msg("%s", e.text);
        assert_true(same);
        if (!met) break;
    }
    start(SHORT, 0, 0);
    sy_expect_ok(sy_file_write(path, new_text, 5000, err));
    expect_content(path, new_text, 5000);
    finish();
}

static void reading_fails_with_a_sentence(void **s)
{
    (void)s;
    fill();
    char *path = in_dir("to-read");
    sy_expect_ok(sy_file_write(path, new_text, BIG, err));
    for (int at = 1; ; at++) {
        sy_err e = { 0 };
        sy_buf b = { 0 };
        start(ONE_ERROR, at, EIO);
        sy_status st = sy_file_read(path, 1 << 24, &b, &e);
        bool met = finish();
        if (st == SY_OK) assert_int_equal(b.n, BIG);
        else { assert_int_equal(st, SY_EIO); assert_non_null(strstr(e.text, path)); }
        sy_buf_free(&b);
        if (!met) { assert_int_equal(st, SY_OK); break; }
        if (at <= 2) assert_int_equal(st, SY_EIO);   /* open, read; close does not matter */
    }
    sy_err e = { 0 }, *err = &e;
    sy_buf b = { 0 };
    sy_expect_fail(sy_file_read(path, BIG - 1, &b, err), SY_EFORMAT, "at most 700000");
    sy_expect_fail(sy_file_read(in_dir("absent"), 1, &b, err), SY_ENOENT, "cannot open");
    sy_buf_free(&b);
}

static void writers_respect_what_stands_there(void **s)
{
    (void)s;
    sy_err e = { 0 }, *err = &e;
    char *target = in_dir("target"), *link = in_dir("link");
    struct stat st;
    sy_expect_ok(sy_file_write(target, "old", 3, err));
    assert_int_equal(chmod(target, 0600), 0);
    assert_int_equal(symlink(target, link), 0);
    sy_expect_ok(sy_file_write(link, "new", 3, err));
    assert_int_equal(lstat(link, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    expect_content(target, "new", 3);
    assert_int_equal(stat(target, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);

    sy_expect_fail(sy_file_write("/dev/null", "x", 1, err), SY_EARG, "is a device");
    sy_expect_fail(sy_file_write(sy_test_dir(), "x", 1, err), SY_EARG, "is a folder");
    sy_expect_fail(sy_file_write(in_dir("no/such/folder"), "x", 1, err), SY_ENOENT, "cannot write");
    char longest[3000];
    memset(longest, 'p', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    sy_expect_fail(sy_file_write(longest, "x", 1, err), SY_EARG, "too long");

    char temp[600], *victim = in_dir("victim");      /* somebody planted a link where the temporary file goes */
    sy_expect_ok(sy_file_write(victim, "keep", 4, err));
    snprintf(temp, sizeof temp, "%s.tmp.%ld", target, (long)getpid());
    assert_int_equal(symlink(victim, temp), 0);
    sy_expect_ok(sy_file_write(target, "newer", 5, err));
    expect_content(victim, "keep", 4);
    expect_content(target, "newer", 5);
    sy_writer w;
    sy_expect_ok(sy_writer_open(&w, target, err));
    sy_expect_ok(sy_writer_put(&w, "gone", 4, err));
    sy_writer_abandon(&w);
    sy_expect_fail(sy_writer_put(&w, "x", 1, err), SY_EIO, "could not be written");
    sy_expect_fail(sy_writer_close(&w, err), SY_EIO, "could not be written");
    expect_content(target, "newer", 5);
}

static void a_real_limit_on_the_size(void **s)       /* the kernel's own refusal, in the middle of a write */
{
    (void)s;
    fill();
    struct rlimit was, now;
    char *path = in_dir("limited");
    sy_expect_ok(sy_file_write(path, old_text, sizeof old_text, err));
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &was);
    now = was;
    now.rlim_cur = 400000;
    setrlimit(RLIMIT_FSIZE, &now);
    sy_err e = { 0 };
    sy_status st = write_new(path, &e);
    setrlimit(RLIMIT_FSIZE, &was);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(st, SY_EIO);
    assert_non_null(strstr(e.text, "untouched"));
    expect_content(path, old_text, sizeof old_text);
}

/* --- adding and cutting ------------------------------------------------------------------------------------------------- */

static void additions(void **s)
{
    (void)s;
    sy_err e = { 0 }, *err = &e;
    char *path = in_dir("lines");
    sy_expect_ok(sy_file_append(path, "one\n", 4, err));
    sy_expect_ok(sy_file_append(path, "two\n", 4, err));
    expect_content(path, "one\ntwo\n", 8);
    start(ERROR_FROM_NOW, 2, ENOSPC);                /* half of the line, then no more: and no cutting back either */
    sy_expect_fail(sy_file_append(path, "three\n", 6, err), SY_EIO, "a part of what was added");
    finish();
    sy_expect_ok(sy_file_cut(path, 8, err));
    start(ONE_ERROR, 2, ENOSPC);
    sy_expect_fail(sy_file_append(path, "three\n", 6, err), SY_EIO, "the disk is full");
    finish();
    expect_content(path, "one\ntwo\n", 8);
    start(ONE_ERROR, 2, EINTR);
    sy_expect_ok(sy_file_append(path, "three\n", 6, err));
    finish();
    sy_expect_ok(sy_file_sync(path, err));
    sy_expect_ok(sy_file_cut(path, 14, err));
    expect_content(path, "one\ntwo\nthree\n", 14);
    sy_expect_ok(sy_file_cut(path, 4, err));
    expect_content(path, "one\n", 4);
    sy_expect_fail(sy_file_cut(path, 5, err), SY_EFORMAT, "has 4 bytes, it must have at least 5");
    sy_expect_fail(sy_file_cut(in_dir("absent"), 5, err), SY_ENOENT, "missing");
    sy_expect_fail(sy_file_sync(in_dir("absent"), err), SY_ENOENT, "cannot open");
    start(ONE_ERROR, 1, EIO);
    sy_expect_fail(sy_file_sync(path, err), SY_EIO, "cannot open");
    finish();
    sy_expect_fail(sy_file_append(sy_test_dir(), "x", 1, err), SY_EIO, "cannot write");
    sy_expect_fail(sy_file_append("/dev/null", "x", 1, err), SY_EARG, "is a device");
    assert_int_equal(sy_file_size(path), 4);
    assert_int_equal(sy_file_size(sy_test_dir()), -1);
    assert_true(sy_disk_free(path) > 0);
    assert_int_equal(sy_disk_free(in_dir("no/such/folder/x")), -1);
}

/* --- what is no file ---------------------------------------------------------------------------------------------------- */

static sy_status swallow(void *arg, const char *data, size_t n, sy_err *err) { (void)data, (void)err; *(size_t *)arg += n; return SY_OK; }

static void pipes_folders_devices(void **s)
{
    (void)s;
    char *fifo = in_dir("fifo");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    const struct { const char *path, *part; } cases[] = { { fifo, "is a pipe" }, { sy_test_dir(), "is a folder" }, { "/dev/zero", "is a device" } };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_test_case("%s", cases[i].path);
        sy_err e = { 0 }, *err = &e;
        sy_map m;
        sy_buf b = { 0 };
        size_t n = 0;
        sy_expect_fail(sy_map_open(&m, cases[i].path, err), SY_EARG, cases[i].part);
        assert_null(m.data);
        sy_expect_fail(sy_file_read(cases[i].path, 100, &b, err), SY_EARG, cases[i].part);
        sy_expect_fail(sy_file_each(cases[i].path, swallow, &n, err), SY_EARG, cases[i].part);
        sy_buf_free(&b);
    }
}

static sy_status stop_at(void *arg, const char *data, size_t n, sy_err *err)
{
    (void)data;
    return (*(size_t *)arg += n) > 300000 ? sy_fail(err, SY_ESTOP, "enough") : SY_OK;
}

static void piece_by_piece(void **s)
{
    (void)s;
    fill();
    sy_err e = { 0 }, *err = &e;
    char *path = in_dir("pieces");
    size_t n = 0;
    sy_expect_ok(sy_file_write(path, new_text, BIG, err));
    sy_expect_ok(sy_file_each(path, swallow, &n, err));
    assert_int_equal(n, BIG);
    n = 0;
    sy_expect_fail(sy_file_each(path, stop_at, &n, err), SY_ESTOP, "enough");
    start(ONE_ERROR, 3, EIO);
    sy_expect_fail(sy_file_each(path, swallow, &n, err), SY_EIO, "cannot read");
    finish();
    sy_expect_ok(sy_file_write(path, "", 0, err));
    n = 0;
    sy_expect_ok(sy_file_each(path, swallow, &n, err));
    assert_int_equal(n, 0);
}

/* --- folders ------------------------------------------------------------------------------------------------------------ */

static void folders(void **s)
{
    (void)s;
    sy_err e = { 0 }, *err = &e;
    char *deep = in_dir("a/b//c"), buf[16];
    sy_expect_ok(sy_mkdirs(deep, err));
    sy_expect_ok(sy_mkdirs(deep, err));
    assert_true(sy_is_dir(deep));
    sy_expect_ok(sy_file_write(in_dir("a/z"), "", 0, err));
    sy_expect_ok(sy_file_write(in_dir("a/B"), "", 0, err));
    sy_expect_fail(sy_mkdirs(in_dir("a/z"), err), SY_EEXIST, "is not a folder");
    sy_expect_fail(sy_mkdirs(in_dir("a/z/y"), err), SY_EIO, "cannot make the folder");
    sy_expect_fail(sy_mkdirs("", err), SY_EARG, "empty");
    sy_arena a = { 0 };
    const char **names;
    int n;
    sy_expect_ok(sy_dir_list(in_dir("a"), &a, &names, &n, err));
    assert_int_equal(n, 3);
    assert_string_equal(names[0], "B");
    assert_string_equal(names[1], "b");
    assert_string_equal(names[2], "z");
    sy_expect_ok(sy_dir_list(in_dir("a/b/c"), &a, &names, &n, err));
    assert_int_equal(n, 0);
    sy_expect_fail(sy_dir_list(in_dir("a/z"), &a, &names, &n, err), SY_EIO, "cannot read the folder");
    sy_expect_fail(sy_dir_list(in_dir("none"), &a, &names, &n, err), SY_ENOENT, "cannot read the folder");
    sy_arena_free(&a);

    sy_expect_ok(sy_path(buf, sizeof buf, "a", "b", err));
    assert_string_equal(buf, "a/b");
    sy_expect_ok(sy_path(buf, sizeof buf, "/", "b", err));
    assert_string_equal(buf, "/b");
    sy_expect_ok(sy_path(buf, sizeof buf, "", "b", err));
    assert_string_equal(buf, "b");
    sy_expect_fail(sy_path(buf, sizeof buf, "0123456789", "abcde", err), SY_EARG, "too long");

    sy_expect_ok(sy_mkdirs(in_dir("outside"), err)); /* a link to a folder is removed, what it points at is not */
    sy_expect_ok(sy_file_write(in_dir("outside/keep"), "k", 1, err));
    char *outside = in_dir("outside"), *link = in_dir("a/b/link");
    assert_int_equal(symlink(outside, link), 0);
    assert_int_equal(symlink("/no/such/place", in_dir("a/b/dangling")), 0);
    assert_int_equal(symlink(".", in_dir("a/b/loop")), 0);
    sy_expect_ok(sy_remove_tree(in_dir("a"), err));
    assert_false(sy_file_exists(in_dir("a")));
    expect_content(in_dir("outside/keep"), "k", 1);
    sy_expect_ok(sy_remove_tree(in_dir("a"), err));
    assert_int_equal(symlink(outside, in_dir("to-outside")), 0);
    sy_expect_ok(sy_remove_tree(in_dir("to-outside"), err));
    expect_content(in_dir("outside/keep"), "k", 1);
}

static void a_folder_appears_whole(void **s)
{
    (void)s;
    for (int at = 1; ; at++) {
        sy_test_case("power cut at call %d", at);
        sy_expect_ok(sy_remove_tree(in_dir("step-1"), err));
        sy_expect_ok(sy_remove_tree(in_dir("step-1.part"), err));
        sy_expect_ok(sy_mkdirs(in_dir("step-1.part"), err));
        char *from = in_dir("step-1.part"), *to = in_dir("step-1");
        sy_err e = { 0 };
        start(POWER_CUT, at, 0);
        sy_status st = sy_file_write(in_dir("step-1.part/weights"), "w", 1, &e);
        if (st == SY_OK) st = sy_dir_publish(from, to, &e);
        bool met = finish();
        if (sy_is_dir(to)) expect_content(in_dir("step-1/weights"), "w", 1);
        if (st == SY_OK) assert_true(sy_is_dir(to) && !sy_file_exists(from));
        if (!met) { assert_int_equal(st, SY_OK); break; }
    }
    sy_err e = { 0 }, *err = &e;
    sy_expect_ok(sy_mkdirs(in_dir("again"), err));
    sy_expect_fail(sy_dir_publish(in_dir("again"), in_dir("step-1"), err), SY_EEXIST, "already there");
    sy_expect_fail(sy_dir_publish(in_dir("absent"), in_dir("step-2"), err), SY_ENOENT, "cannot open");
}

/* --- memory ------------------------------------------------------------------------------------------------------------- */

static void without_memory(void **s)
{
    (void)s;
    fill();
    char *path = in_dir("memory");
    for (int sticky = 0; sticky < 2; sticky++)
        for (uint64_t n = 1; ; n++) {
            sy_test_case("allocation %llu fails%s", (unsigned long long)n, sticky ? ", and all later ones" : "");
            sy_expect_ok(sy_file_write(path, old_text, sizeof old_text, err));
            uint64_t before = sy_alloc_calls();
            sy_err e = { 0 };
            sy_buf b = { 0 };
            sy_arena a = { 0 };
            const char **names;
            int count;
            size_t bytes = 0;
            sy_alloc_fail_at(n, sticky);
            sy_status st = write_new(path, &e);
            if (st == SY_OK) st = sy_file_read(path, 1 << 24, &b, &e);
            if (st == SY_OK) st = sy_file_each(path, swallow, &bytes, &e);
            if (st == SY_OK) st = sy_dir_list(sy_test_dir(), &a, &names, &count, &e);
            sy_alloc_fail_at(0, 0);
            bool reached = sy_alloc_calls() - before >= n;
            sy_buf_free(&b);
            sy_arena_free(&a);
            assert_int_equal(st, reached ? SY_ENOMEM : SY_OK);
            if (reached) assert_non_null(strstr(e.text, "no memory"));
            if (!reached) break;
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_write_is_whole_or_nothing), cmocka_unit_test(interrupted_and_short_calls_are_no_failure), cmocka_unit_test(reading_fails_with_a_sentence),
        cmocka_unit_test(writers_respect_what_stands_there), cmocka_unit_test(a_real_limit_on_the_size), cmocka_unit_test(additions),
        cmocka_unit_test(pipes_folders_devices), cmocka_unit_test(piece_by_piece), cmocka_unit_test(folders), cmocka_unit_test(a_folder_appears_whole), cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
