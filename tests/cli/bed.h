/* tests/cli/bed.h - the program as a user runs it: a line, its exit code and what it said. */
#ifndef SY_TESTS_CLI_BED_H
#define SY_TESTS_CLI_BED_H

#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "core/buffer.h"
#include "core/file.h"
#include "core/json.h"

static sy_buf said;                     /* what the last line wrote; ends with NUL */

/* A line for bash, whose quotes stay as they are; "$SY" in it is the program. Its exit code; a line that ends by a signal fails the test. */
static inline int bed_line(const char *before, const char *line, const char *after)
{
    static const char pre[] = "unset SY_DATA SY_OUT SY_STEPS; export SY='" SY_BINARY "'; ";
    sy_buf b = { 0 };
    sy_buf_printf(&b, "%s%s%s%s", pre, before, line, after);
    assert_false(b.failed);
    setenv("TEST_LINE", b.data, 1);
    sy_buf_free(&b);
    FILE *p = popen("exec bash -c \"$TEST_LINE\" 2>&1", "r");
    assert_non_null(p);
    sy_buf_clear(&said);
    for (int c; (c = getc(p)) != EOF; ) sy_buf_put(&said, &(char){ (char)c }, 1);
    sy_buf_put(&said, "", 0);
    int status = pclose(p);
    if (!WIFEXITED(status)) fail_msg("'%s' ends by signal %d", line, WTERMSIG(status));
    return WEXITSTATUS(status);
}

#define BED_FORMAT(to) do { va_list ap_; va_start(ap_, fmt); int n_ = vsnprintf(to, sizeof to, fmt, ap_); va_end(ap_); assert_true(n_ >= 0 && n_ < (int)sizeof to); } while (0)

/* The program with these arguments, in the root of the tree; both its outputs are said. */
static inline int run(const char *fmt, ...) SY_PRINTF(1, 2);
static inline int run(const char *fmt, ...)
{
    char line[3000];
    BED_FORMAT(line);
    return bed_line("$SY ", line, "");
}

/* The same, but its standard output alone is said, unless it fails. */
static inline int run_out(const char *fmt, ...) SY_PRINTF(1, 2);
static inline int run_out(const char *fmt, ...)
{
    char line[3000], after[700];
    BED_FORMAT(line);
    snprintf(after, sizeof after, " 2>'%s/err' || { s=$?; cat '%s/err'; exit $s; }", sy_test_dir(), sy_test_dir());
    return bed_line("$SY ", line, after);
}

/* A line for bash in the root of the tree; both outputs are said. */
static inline int shell(const char *fmt, ...) SY_PRINTF(1, 2);
static inline int shell(const char *fmt, ...)
{
    char line[3000];
    BED_FORMAT(line);
    return bed_line("", line, "");
}

/* A line for bash in the folder DIR below the test's own (made when absent; "": the test's own); both outputs are said. */
static inline int shell_in(const char *dir, const char *fmt, ...) SY_PRINTF(2, 3);
static inline int shell_in(const char *dir, const char *fmt, ...)
{
    char line[3000], before[700];
    BED_FORMAT(line);
    snprintf(before, sizeof before, "mkdir -p '%s/%s' && cd '%s/%s' || exit 99; ", sy_test_dir(), dir, sy_test_dir(), dir);
    return bed_line(before, line, "");
}

static inline const char *text(void) { return said.data ? said.data : ""; }

static inline void expect_said(const char *part)
{
    if (!strstr(text(), part)) fail_msg("'%s' is not in:\n%s", part, text());
}

/* What was said, as JSON; the caller owns it. */
static inline json_t *said_json(void)
{
    json_t *v = NULL;
    sy_expect_ok(sy_json_parse(&v, text(), said.n, "what was said", err));
    return v;
}

/* Writes a file below the test's folder, with its folders; four paths stand at a time. */
static inline const char *put_bytes(const char *name, const char *what, size_t n)
{
    static char path[4][700];
    static int turn;
    char *p = path[turn++ % 4], dir[700];
    assert_true(snprintf(p, 700, "%s/%s", sy_test_dir(), name) < 700);
    snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(p, '/') - p), p);
    sy_expect_ok(sy_mkdirs(dir, err));
    sy_expect_ok(sy_file_write(p, what, n, err));
    return p;
}
static inline const char *put(const char *name, const char *what) { return put_bytes(name, what, strlen(what)); }

#endif
