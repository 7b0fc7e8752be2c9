/* tests/cli/test_cmd_help.c - help, manual and completion as a user gets them: all commands, flags and methods of the tables are in them. */
/* float only */
#include "bed.h"
#include "methods.h"

static void help(void **state)
{
    (void)state;
    assert_int_equal(shell("$SY --help"), 0);
    expect_said("train");
    for (const sy_method *const *m = sy_builtin_methods.list; *m; m++) {
        sy_test_case("help of %s %s", sy_kind_word((*m)->kind), (*m)->name);
        assert_int_equal(shell("$SY help %s %s", sy_kind_word((*m)->kind), (*m)->name), 0);
        expect_said((*m)->title);
        if (!(*m)->summary || !(*m)->when || !(*m)->cost || !(*m)->example || !(*m)->paper) fail_msg("its manual entry lacks a summary, when to use it, what it costs, a paper or an example");
        expect_said((*m)->example);
    }
    for (const sy_preset *p = sy_builtin_methods.presets; p->name; p++) {
        sy_test_case("help of preset %s", p->name);
        assert_int_equal(shell("$SY help %s %s", sy_kind_word(p->kind), p->name), 0);
        expect_said(p->values);
        if (*p->with) expect_said(" --balance ");
        if (shell("line=$($SY help %s %s | grep -m1 '^  switchyard train' | sed \"s| text | docs/design.md |; s|--out run|--out '%s/%s-%s'|; s|^  switchyard|$SY|\"); eval \"$line --steps 1 --quiet --no-report-data "
                  "--set hidden_size=16 --set num_attention_heads=2 --set moe_intermediate_size=8 --set batch_size=2\"", sy_kind_word(p->kind), p->name, sy_test_dir(), sy_kind_word(p->kind), p->name)) fail_msg("its example: %s", text());
    }
    static const char *const with[][2] = { { "switch", " --set num_experts=64 --router switch --balance switch:coef=0.01 --out run" }, { "olmoe", " --balance switch:form=slots,coef=0.01 --balance zloss:coef=0.001 --out run" } };
    for (size_t i = 0; i < SY_COUNT(with); i++) {
        assert_int_equal(shell("$SY help router %s", with[i][0]), 0);
        expect_said(with[i][1]);
    }
    static const char *const topics[] = { "config", "recipes", "debug", "manual", "train" };
    for (size_t i = 0; i < SY_COUNT(topics); i++) {
        sy_test_case("help %s", topics[i]);
        assert_int_equal(shell("$SY help %s", topics[i]), 0);
        assert_true(said.n > 100);
    }
    assert_int_equal(shell("$SY help nothing"), 2);
    expect_said("there is no help on ");
    assert_int_equal(shell("$SY help router topq"), 1);
    expect_said("topk");
}

/* The page of methods: every method and preset with its options, what options bring, and the engine's own sentence for a refused pair. */
static void page(void **state)
{
    (void)state;
    char part[400];
    assert_int_equal(shell("$SY methods --markdown"), 0);
    for (const sy_method *const *m = sy_builtin_methods.list; *m; m++) {
        snprintf(part, sizeof part, "### %s %s\n", sy_kind_word((*m)->kind), (*m)->name);
        expect_said(part);
        for (const sy_opt *o = (*m)->opts; o && o->type != SY_OPT_END; o++) {
            if (o->type == SY_OPT_GROUP) continue;
            snprintf(part, sizeof part, "\n| `%s` |", o->name);
            expect_said(part);
        }
    }
    for (const sy_preset *p = sy_builtin_methods.presets; p->name; p++) {
        snprintf(part, sizeof part, "| `%s` | `%s:%s` | %s%s", p->name, p->method, p->values, *p->with ? "`" : "", p->with);
        expect_said(part);
    }
    expect_said("- `capacity_factor`: couples tokens");
    expect_said("| `--expert null` | expert null runs nothing");
    assert_int_equal(shell("$SY train --recipe lm-tiny --data docs/design.md --expert null --out %s/refused", sy_test_dir()), 1);
    expect_said("expert null runs nothing");
}

/* The page is roff without a complaint, where a formatter is there, and names what the tables hold. */
static void manual(void **state)
{
    (void)state;
    assert_int_equal(shell("$SY help manual"), 0);
    expect_said(".TH SWITCHYARD 1");
    expect_said(".SS switchyard train");
    expect_said("\\-\\-balance");
    expect_said("hidden_size");
    for (const sy_method *const *m = sy_builtin_methods.list; *m; m++) expect_said((*m)->name);
    if (shell("command -v groff") != 0) { print_message("no groff: the page is not formatted here\n"); return; }
    assert_int_equal(shell("$SY help manual | groff -man -Tutf8 -ww -z"), 0);
    assert_int_equal(said.n, 0);
}

/* Asks the script for what may follow a command line. */
static void offered(const char *words, const char *want)
{
    sy_test_case("switchyard %s", words);
    assert_int_equal(shell("source <($SY completion bash); COMP_WORDS=(switchyard %s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); compopt() { :; }; _switchyard; echo \" ${COMPREPLY[*]} \"", words), 0);
    expect_said(want);
}

static void completion(void **state)
{
    (void)state;
    assert_int_equal(shell("$SY completion bash | bash -n"), 0);
    offered("tr", " train ");
    offered("train --rou", " --router ");
    offered("train --router t", " topk ");
    offered("train --router \"\"", " mixtral ");
    offered("train --set hidden_s", " hidden_size= ");
    offered("train -s hidden_s", " hidden_size= ");
    offered("generate x --set temp", " temperature= ");
    offered("train --recipe demo-", " demo-dense ");
    offered("train --data ./x", "  ");                       /* nothing of its own: bash offers files */
    offered("help router to", " topk ");
    offered("methods rou", " router ");
    assert_int_equal(shell("$SY completion zsh"), 0);
    expect_said("#compdef switchyard");
    assert_int_equal(shell("$SY completion fish"), 2);
    expect_said("bash and zsh");
    if (shell("command -v zsh") == 0) assert_int_equal(shell("$SY completion zsh | zsh -n"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(help), cmocka_unit_test(page), cmocka_unit_test(manual), cmocka_unit_test(completion) };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    sy_buf_free(&said);
    return failed;
}
