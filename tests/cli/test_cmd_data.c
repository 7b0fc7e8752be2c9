/* tests/cli/test_cmd_data.c - switchyard data and corpus as a user runs them: exit codes, one sentence, JSON that parses. */
#include "bed.h"

static void test_preview(void **state)
{
    (void)state;
    const char *qa = put("qa.jsonl", "{\"prompt\":\"one plus one? \",\"completion\":\"two\"}\n{\"prompt\":\"ä\\u001b[31m \",\"completion\":\"b\\n\"}\n"
                                      "{\"text\":\"held out\"}\n");
    assert_int_equal(run("data preview --data %s --seq-len 32", qa), 0);
    expect_said("[[one plus one?]] two");            /* the mask is on labels: the blank before the answer already predicts it */
    expect_said("<end>");
    expect_said("\\x1B[31m");                        /* no escape of a file reaches the terminal */
    assert_null(memchr(said.data, 27, said.n));
    assert_int_equal(run("data preview --data %s --seq-len 32 --json", qa), 0);
    json_t *v = said_json();
    assert_int_equal(json_array_size(json_object_get(v, "domains")), 1);
    assert_true(json_array_size(json_object_get(v, "segments")) > 0);
    json_decref(v);
}

static void test_wrong(void **state)
{
    (void)state;
    const char *bad = put("bad.jsonl", "{\"text\":\"a\"}\n{\"body\":1}\n");
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
    put("shakespeare.txt", "not it");
    assert_int_equal(run("data list --json --check --data-dir %s", sy_test_dir()), 0);
    json_t *v = said_json();
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
