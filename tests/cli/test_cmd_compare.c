/* float only */
/* switchyard compare as a user runs it: the table, the page, JSON, a league that was killed, wrong use. */
#include "bed.h"

#define QUICK "--budget 0.001 --seeds 2 --no-tuning -q"

static void test_outputs(void **state)
{
    (void)state;
    if (run_out("compare --only auxfree,hash " QUICK " --store %s/s --html %s/league.html", sy_test_dir(), sy_test_dir())) fail_msg("%s", text());
    static const char *const parts[] = { "# Routers on clustered regression", "## Two experts a token", "| topk, K = 1 |", "| auxfree |", "| hash |", "A quick look", "Made by `switchyard compare --kind router --bed cr --only auxfree,hash` --seeds 2 --budget 0.001 --no-tuning (version " };
    for (size_t i = 0; i < SY_COUNT(parts); i++) expect_said(parts[i]);
    char *first = strdup(text());
    if (shell("ls %s/s | wc -l | grep -qx 8 && grep -q '<!doctype html>' %s/league.html", sy_test_dir(), sy_test_dir())) fail_msg("%s", text());
    sy_test_case("from the store, on one thread and on two, into a file");
    for (int jobs = 1; jobs <= 2; jobs++) {
        if (run("compare --only auxfree,hash " QUICK " --store %s/%s -j %d -o %s/again.md", sy_test_dir(), jobs == 1 ? "s" : "t", jobs, sy_test_dir())) fail_msg("%s", text());
        if (shell("cat %s/again.md", sy_test_dir())) fail_msg("%s", text());
        assert_string_equal(text(), first);
    }
    free(first);
    sy_test_case("into a page of several");
    if (shell_in("into", "printf '# Mine\n' > page.md; for kind in router balance; do $SY compare --kind $kind --only \"\" " QUICK " --store s --into page.md || exit 2; done; cp page.md one.md; "
                         "for kind in router balance; do $SY compare --kind $kind --only \"\" " QUICK " --store s --into page.md || exit 3; done; cmp page.md one.md || exit 4; "
                         "[ \"$(grep '^# \\|^## ' page.md)\" = $'# Mine\n## Routers on clustered regression\n## Balance terms on clustered regression' ] || exit 5; [ $(grep -c '^<!-- league' page.md) = 2 ]")) fail_msg("%s", text());
    if (!shell_in("into", "sed -i '/end of league/d' page.md; $SY compare --only auxfree " QUICK " --store s --into page.md")) fail_msg("a page without its second mark is taken");
    expect_said("put the line back");
    sy_test_case("packed into one file and back: the same table, and nothing is run");
    if (shell_in("pack", "python3 '%s/scripts/runs' pack ../s s.jsonl && python3 '%s/scripts/runs' unpack s.jsonl t && [ $(ls t | wc -l) = $(wc -l < s.jsonl) ] && "
                         "$SY compare --only auxfree,hash " QUICK " --store t --so-far > again.md && cmp again.md ../again.md", SY_SOURCE_DIR, SY_SOURCE_DIR)) fail_msg("%s", text());
    sy_test_case("as JSON");
    if (run_out("compare --kind balance --only zloss " QUICK " --store %s/s --json", sy_test_dir())) fail_msg("%s", text());
    json_t *v = said_json();
    assert_int_equal(json_array_size(json_object_get(json_array_get(json_object_get(v, "groups"), 0), "rows")), 2);
    json_decref(v);
}

/* Killed at any moment: what was finished is kept as it was, the rest is made, and the table is that of a league which nobody disturbed. */
static void test_killed(void **state)
{
    static const char line[] = "$SY compare --only auxfree,noisytopk --budget 0.02 --seeds 3 --no-tuning -j 2 -q --store";
    (void)state;
    if (shell_in("kill", "%s whole > whole.md", line)) fail_msg("%s", text());
    for (int i = 0; i < 3; i++) {
        sy_test_case("killed, time %d", i);
        if (shell_in("kill", "%s cut > cut.md & p=$!; for k in {1..400}; do n=$(ls cut/*.json 2>/dev/null | wc -l); [ $n -ge %d ] && break; sleep 0.01; done; kill -9 $p; wait $p 2>/dev/null; "
                             "for f in cut/*.json; do cmp $f whole/${f##*/} || exit 3; touch -d '2001-01-01' $f; done; ls cut/*.json | wc -l", line, 3 * (i + 1))) fail_msg("%s", text());
    }
    sy_test_case("continued");
    if (shell_in("kill", "old=$(find cut -name '*.json' ! -newermt 2001-01-02 | wc -l); %s cut > cut.md || exit 4; cmp cut.md whole.md || exit 5; [ $old -ge 3 ] || exit 6; "
                         "[ $(find cut -name '*.json' ! -newermt 2001-01-02 | wc -l) = $old ]", line)) fail_msg("%s", text());
}

static void test_wrong_use(void **state)
{
    static const struct { const char *args, *part; int code; } cases[] = {
        { "compare --kind ruter", "did you mean 'router'?", 2 }, { "compare --kind expert", "no league of kind expert", 2 }, { "compare --only topp", "no router is called 'topp'", 1 },
        { "compare --bed lm-tiny", "needs text", 2 }, { "compare --bed small", "no bed is called 'small'", 2 }, { "compare --budget 3", "outside 0 .. 1", 2 }, { "compare --seeds 65", "at most 64", 2 },
        { "compare auxfree", "too many words", 2 },
    };
    (void)state;
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        int code = shell_in("wrong", "$SY %s -q", cases[i].args);
        if (code != cases[i].code || !strstr(text(), cases[i].part)) fail_msg("'%s' ends with %d (want %d) and says:\n%s(want '%s')", cases[i].args, code, cases[i].code, text(), cases[i].part);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_outputs), cmocka_unit_test(test_killed), cmocka_unit_test(test_wrong_use) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
