/* tests/cli/test_cmd_data.c - switchyard data and corpus as a user runs them: exit codes, one sentence, JSON that parses. */
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "core/file.h"
#include "core/json.h"

static sy_buf said;                     /* both outputs of the last run */

static int run(const char *fmt, ...)
{
    char args[2000], line[4000];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(args, sizeof args, fmt, ap);
    va_end(ap);
    snprintf(line, sizeof line, "env -u SY_DATA %s %s 2>&1", SY_BINARY, args);
    FILE *p = popen(line, "r");
    assert_non_null(p);
    sy_buf_clear(&said);
    for (int c; (c = getc(p)) != EOF; ) sy_buf_put(&said, &(char){ (char)c }, 1);
    int status = pclose(p);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void expect_said(const char *part)
{
    if (!said.data || !strstr(said.data, part)) fail_msg("'%s' is not in:\n%s", part, said.data ? said.data : "(nothing)");
}

static const char *file(const char *name, const char *text)
{
    static char path[4][400];
    static int turn;
    char *p = path[turn++ % 4];
    snprintf(p, 400, "%s/%s", sy_test_dir(), name);
    sy_expect_ok(sy_file_write(p, text, strlen(text), err));
    return p;
}

static void test_preview(void **state)
{
    (void)state;
    const char *qa = file("qa.jsonl", "{\"prompt\":\"one plus one? \",\"completion\":\"two\"}\n{\"prompt\":\"ä\\u001b[31m \",\"completion\":\"b\\n\"}\n"
                                      "{\"text\":\"held out\"}\n");
    assert_int_equal(run("data preview --data %s --seq-len 32", qa), 0);
    expect_said("[[one plus one?]] two");            /* the mask is on labels: the blank before the answer already predicts it */
    expect_said("<end>");
    expect_said("\\x1B[31m");                        /* no escape of a file reaches the terminal */
    assert_null(memchr(said.data, 27, said.n));
    assert_int_equal(run("data preview --data %s --seq-len 32 --json", qa), 0);
    json_t *v;
    sy_expect_ok(sy_json_parse(&v, said.data, said.n, "preview", err));
    assert_int_equal(json_array_size(json_object_get(v, "domains")), 1);
    assert_true(json_array_size(json_object_get(v, "segments")) > 0);
    json_decref(v);
}

static void test_wrong(void **state)
{
    (void)state;
    const char *bad = file("bad.jsonl", "{\"text\":\"a\"}\n{\"body\":1}\n");
    const struct { int rc; const char *part, *args; } cases[] = {
        { 2, "no data", "data preview" },
        { 2, "data preview or data list", "data frobnicate" },
        { 1, "is not there", "data preview --data nowhere.txt" },
        { 2, "did you mean 'val_fraction'", "data preview --data x --set val_fracton=0.1" },
        { 2, "--from-system", "corpus" },
        { 2, "outside 1e5 .. 1e9", "corpus --from-system x --max-bytes 3" },
    };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_test_case("%s", cases[i].args);
        assert_int_equal(run("%s", cases[i].args), cases[i].rc);
        expect_said(cases[i].part);
        assert_ptr_equal(strchr(said.data, '\n'), said.data + said.n - 1);        /* one line */
    }
    assert_int_equal(run("data preview --data %s", bad), 1);
    expect_said("bad.jsonl' line 2 has neither 'text'");
}

static void test_list(void **state)
{
    (void)state;
    assert_int_equal(run("data list"), 0);
    expect_said("shakespeare");
    expect_said("missing");
    expect_said("name it by --data-dir or in SY_DATA");
    file("shakespeare.txt", "not it");
    assert_int_equal(run("data list --json --check --data-dir %s", sy_test_dir()), 0);
    json_t *v;
    sy_expect_ok(sy_json_parse(&v, said.data, said.n, "list", err));
    assert_true(json_array_size(v) >= 6);
    json_decref(v);
}

static int have_binary(void **state)
{
    (void)state;
    if (sy_file_exists(SY_BINARY)) return 0;
    printf("skipped: no program at %s\n", SY_BINARY);
    exit(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_preview), cmocka_unit_test(test_wrong), cmocka_unit_test(test_list) };
    int failed = cmocka_run_group_tests(tests, have_binary, NULL);
    sy_buf_free(&said);
    return failed;
}
