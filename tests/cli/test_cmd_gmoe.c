/* switchyard gmoe as a user runs it: table, page, JSON, wrong use. */
#include "bed.h"

static void test_outputs(void **state)
{
    (void)state;
    if (run_out("gmoe exact --sizes 50,100 --reps 3 --near-only -q --html %s/rates.html", sy_test_dir())) fail_msg("%s", text());
    expect_said("## exact: Two experts, fitted by two");
    expect_said("| **slope** |");
    char *first = strdup(text());
    if (run("gmoe exact --sizes 50,100 --reps 3 --near-only -q -t 1 -o %s/rates.md", sy_test_dir())) fail_msg("%s", text());
    if (shell("grep -q '<!doctype html>' %s/rates.html && cat %s/rates.md", sy_test_dir(), sy_test_dir())) fail_msg("%s", text());
    assert_string_equal(text(), first);
    free(first);
    if (run_out("gmoe exact top1 --sizes 50,100 --reps 2 --near-only -q --json")) fail_msg("%s", text());
    json_t *v = said_json();
    assert_int_equal(json_array_size(json_object_get(v, "studies")), 2);
    json_decref(v);
}

static void test_wrong_use(void **state)
{
    static const struct { const char *args, *part; int code; } cases[] = {
        { "gmoe exat", "did you mean 'exact'?", 1 }, { "gmoe --sizes 5", "whole numbers from 10", 2 }, { "gmoe --sizes 100,", "whole numbers from 10", 2 }, { "gmoe --sizes 100,x", "whole numbers from 10", 2 },
        { "gmoe --near-only --starts 2", "exclude each other", 2 }, { "gmoe --reps 200000 --sizes 50", "1 to 100000", 2 },
    };
    (void)state;
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        int code = shell_in("wrong", "$SY %s -q", cases[i].args);
        if (code != cases[i].code || !strstr(text(), cases[i].part)) fail_msg("'%s' ends with %d (want %d) and says:\n%s(want '%s')", cases[i].args, code, cases[i].code, text(), cases[i].part);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_outputs), cmocka_unit_test(test_wrong_use) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
