/* tests/cli/test_cmd_reproduce.c - switchyard reproduce with a share of the steps that takes a second: the list, the page, the store. */
#include "bed.h"

static void test_list(void **state)
{
    (void)state;
    assert_int_equal(run("reproduce"), 0);
    expect_said("topk ");
    expect_said("(lm-tiny)");
    expect_said("auxfree ");
}

static void test_page(void **state)
{
    (void)state;
    sy_buf page = { 0 }, again = { 0 };
    char path[600];
    snprintf(path, sizeof path, "%s/page.md", sy_test_dir());
    if (run("reproduce auxfree --budget 0.002 --seeds 2 --no-tuning --store %s/store -o %s -t 1", sy_test_dir(), path)) fail_msg("%s", text());
    sy_expect_ok(sy_file_read(path, 1 << 20, &page, err));
    static const char *const parts[] = { "# auxfree: ", "| arm | lr x | coefficient | loss, mean (sd) | maxvio | specialisation |", "\n| auxloss | 1 | 0.1 | ", "\n| auxfree | 1 | 0.001 | ", "\n| none | 1 | | ",
                                         "2 seeds; all arms share seeds and data.", "**auxfree against auxloss**: ", "**none against auxloss**: ", "every run has 0.2 % of its steps", "Nothing was tuned",
                                         "\nMade by `switchyard reproduce auxfree` --seeds 2 --budget 0.002 --no-tuning (version " };
    for (size_t i = 0; i < SY_COUNT(parts); i++) if (!strstr(page.data, parts[i])) fail_msg("'%s' is not in:\n%s", parts[i], page.data);
    assert_int_equal(shell("ls %s/store | wc -l | grep -qx 6", sy_test_dir()), 0);
    sy_test_case("from the store, on standard output");
    if (run_out("reproduce auxfree --budget 0.002 --seeds 2 --no-tuning --store %s/store -t 1 -q", sy_test_dir())) fail_msg("%s", text());
    assert_string_equal(text(), page.data);
    sy_test_case("tuned");
    if (run_out("reproduce auxfree --budget 0.0005 --seeds 1 --store %s/store -t 1 -q", sy_test_dir())) fail_msg("%s", text());
    expect_said("Each arm was tuned");
    assert_int_equal(shell("n=$(ls %s/store | wc -l); [ $n -ge $((6 + 9 + 9 + 3 + 3)) ] && [ $n -le $((6 + 9 + 9 + 3 + 3 + 3)) ]", sy_test_dir()), 0);     /* arms at their own values may be those of the tuning */
    sy_buf_free(&page);
    sy_buf_free(&again);
}

static void test_text(void **state)
{
    (void)state;
    sy_buf b = { 0 };
    for (int i = 0; i < 200; i++) sy_buf_printf(&b, "line %d has %d words\n", i, i * 7 % 13);
    const char *path = put("lines.txt", b.data);
    sy_buf_free(&b);
    if (run_out("reproduce topk --data own=%s --budget 0.001 --seeds 1 --no-tuning --store %s/lm -t 1 -q", path, sy_test_dir())) fail_msg("%s", text());
    expect_said("# topk: token-choice top-2 against a dense model");
    expect_said("\n| dense | 1 | | ");
    expect_said("with --data own=lines.txt --seeds 1 --budget 0.001 --no-tuning (version");
    expect_said("\n| arm | own |\n|---|---|\n| dense | ");
    sy_test_case("a run is known by its text, not by the path of it");
    const char *const again[][2] = { { "cp lines.txt moved.txt", "2" }, { "sed s/words/birds/ lines.txt > moved.txt", "4" } };
    for (size_t i = 0; i < SY_COUNT(again); i++) {
        if (shell_in("", "%s && $SY reproduce topk --data own=moved.txt --budget 0.001 --seeds 1 --no-tuning --store lm -t 1 -q", again[i][0])) fail_msg("%s", text());
        if (shell_in("", "ls lm | wc -l | grep -qx %s", again[i][1])) fail_msg("%s: %s", again[i][0], text());
    }
}

static void test_wrong_use(void **state)
{
    static const struct { const char *args, *part; int code; } cases[] = {
        { "reproduce toppk", "did you mean 'topk'?", 1 }, { "reproduce topk", "give --data", 2 }, { "reproduce auxfree --budget 2", "a budget of 2 is outside 0 .. 1", 2 },
        { "reproduce auxfree --budget x", "'x'", 2 }, { "reproduce auxfree --seeds 100", "at most 64", 2 }, { "reproduce auxfree --seeds -1", "not a whole number of 0 or more", 2 },
        { "reproduce auxfree topk", "too many words", 2 }, { "reproduce topk --data nowhere.txt", "is not there", 1 },
    };
    (void)state;
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        int code = shell_in("wrong", "$SY %s -t 1 -q", cases[i].args);
        if (code != cases[i].code || !strstr(text(), cases[i].part)) fail_msg("'%s' ends with %d (want %d) and says:\n%s(want '%s')", cases[i].args, code, cases[i].code, text(), cases[i].part);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_list), cmocka_unit_test(test_page), cmocka_unit_test(test_text), cmocka_unit_test(test_wrong_use) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
