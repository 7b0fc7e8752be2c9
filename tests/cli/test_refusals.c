/* float only */
/* What docs/methods.md says is refused, against what happens to a user: every router is trained for two steps, then decoded, overridden and tuned by every method. Oracle:
 * the program itself, by another way than the page was made; the page itself is compared with the program by tests/check_tree. */
#include "bed.h"

#include "core/file.h"
#include "methods.h"

static sy_buf page;

static int open_page(void **state)
{
    (void)state;
    if (run_out("methods --markdown")) fail_msg("%s", text());
    sy_buf_text(&page, text());
    if (shell("mkdir -p '%s/m'; printf '{\"prompt\": \"two and two\", \"completion\": \" four\"}\\n{\"prompt\": \"one and two\", \"completion\": \" three\"}\\n' > '%s/q.jsonl'; "
              "for i in 1 2 3 4 5 6; do cat '%s/q.jsonl'; done > '%s/many.jsonl'", sy_test_dir(), sy_test_dir(), sy_test_dir(), sy_test_dir())) fail_msg("%s", text());
    return 0;
}

static int close_page(void **state)
{
    (void)state;
    sy_buf_free(&page);
    return 0;
}

/* The sentence of the row of `router` with `with`, copied; "" when the page has none. */
static const char *row_of(const char *router, const char *with)
{
    static char sentence[600];
    char name[80], use[120];
    snprintf(name, sizeof name, "`%s`", router);
    snprintf(use, sizeof use, ", %s |", with);
    *sentence = 0;
    for (const char *p = strstr(page.data, "## What is refused"); p && *p; p += strcspn(p, "\n"), p += *p == '\n') {
        const char *end = p + strcspn(p, "\n"), *at = strstr(p, name), *here = strstr(p, use);
        if (strncmp(p, "| `--router`", 12) || !at || !here || at > here || here > end) continue;
        snprintf(sentence, sizeof sentence, "%.*s", (int)(end - here - (int)strlen(use) - 3), here + strlen(use) + 1);
    }
    return sentence;
}

/* The command fails with the page's sentence (its last part: the place stands in front), or succeeds where the page has none. */
static void compare(const char *router, const char *with, int code)
{
    const char *said = row_of(router, with), *last = said;
    for (const char *p = said; (p = strstr(p, ": ")); p += 2) if (strstr(text(), p + 2)) { last = p + 2; break; }
    if (!*said && code) fail_msg("%s, %s: the page does not say that it is refused: %s", router, with, text());
    if (*said && (!code || !strstr(text(), last))) fail_msg("%s, %s: the page says '%s', the program ends with %d and says %s", router, with, said, code, text());
}

static void test_uses(void **state)
{
    static const char tiny[] = "--recipe lm-tiny --data docs/design.md --steps 2 --quiet --no-report-data --set warmup_steps=1 --set hidden_size=16 --set num_hidden_layers=2 "
                               "--set num_attention_heads=2 --set moe_intermediate_size=16 --set batch_size=2 --set num_experts=8 --set balance=";
    static const struct { const char *with, *flags; } uses[] = {
        { "`--decode scmoe`", "--decode scmoe" }, { "`--decode rewire`", "--decode rewire" }, { "`--override k=1`", "--override k=1" }, { "`--override threshold=0.5`", "--override threshold=0.5" },
    };
    (void)state;
    int refused = 0, routers = 0;
    for (const sy_method *const *m = sy_builtin_methods.list; *m; m++) {
        const char *r = (*m)->name;
        if ((*m)->kind != SY_ROUTER) continue;
        routers++;
        sy_test_case("%s", r);
        bool cannot = *row_of(r, "a causal language model") || *row_of(r, "training");
        int code = run("train %s --router %s --out %s/m/%s", tiny, r, sy_test_dir(), r);
        if (*row_of(r, "training")) compare(r, "training", code);
        else compare(r, "a causal language model", code);
        for (size_t i = 0; i < SY_COUNT(uses) && !cannot; i++) {
            code = run("generate %s/m/%s -p 'The model is' --greedy --quiet --set max_new_tokens=2,ignore_eos=true %s", sy_test_dir(), r, uses[i].flags);
            compare(r, uses[i].with, code);
            refused += code != 0;
        }
        if (cannot) continue;
        code = run("train --from %s/m/%s --data %s/many.jsonl --objective roma --steps 1 --quiet --no-report-data --set warmup_steps=0 --set balance= --set batch_size=2 --set val_fraction=0 --set seq_len=32 --out %s/m/%s-roma",
                   sy_test_dir(), r, sy_test_dir(), sy_test_dir(), r);
        compare(r, "`--objective roma`", code);
    }
    assert_true(routers > 15 && refused > 20);
    sy_test_case("eval");
    assert_int_equal(run("eval %s/m/topk --data docs/gguf.md --json --quiet --override k=4", sy_test_dir()), 0);
    char *four = strdup(text());
    assert_int_equal(run("eval %s/m/topk --data docs/gguf.md --json --quiet --override k=2", sy_test_dir()), 0);
    char *two = strdup(text());
    assert_int_equal(run("eval %s/m/topk --data docs/gguf.md --json --quiet", sy_test_dir()), 0);
    assert_string_equal(two, text());               /* its own number */
    assert_string_not_equal(four, two);
    free(four), free(two);
    static const struct { const char *flags, *part; } wrong[] = { { "--override 4", "give k=N or threshold=P" }, { "--override k=0", "outside" }, { "--override n=4", "unknown option" }, { "--override threshold=2", "outside" } };
    for (size_t i = 0; i < SY_COUNT(wrong); i++) {
        sy_test_case("%s", wrong[i].flags);
        assert_int_equal(run("generate %s/m/topk -p x %s", sy_test_dir(), wrong[i].flags), 2);
        expect_said(wrong[i].part);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_uses) };
    return cmocka_run_group_tests(tests, open_page, close_page);
}
