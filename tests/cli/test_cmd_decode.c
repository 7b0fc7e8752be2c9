/* float only */
/* tests/cli/test_cmd_decode.c - objectives, decoding methods and edits as a user gives them: train --objective, generate and eval with --decode and --edit, steer. What the
 * methods do is the business of their own tests; here their options arrive, and what is wrong is refused with a sentence. */
#include "bed.h"

static char model[700];

static int make(void **state)
{
    (void)state;
    snprintf(model, sizeof model, "%s/model", sy_test_dir());
    int rc = run("train --recipe lm-tiny --data docs/design.md --steps 60 --quiet --no-report-data --set warmup_steps=5 "
                 "--set hidden_size=16 --set num_hidden_layers=3 --set num_attention_heads=2 --set moe_intermediate_size=16 --set batch_size=4 --set num_experts=4 --out %s", model);
    if (rc) fail_msg("%s", text());
    return 0;
}

static char *generated(const char *flags)
{
    if (run_out("generate %s -p 'The model ' --quiet --set max_new_tokens=24,temperature=0.6,seed=3 %s", model, flags)) fail_msg("%s: %s", flags, text());
    return strdup(text());
}

/* A neutral setting writes the model's own text; another one, another. */
static void generate(void **state)
{
    (void)state;
    static const struct { const char *flags; bool same; } cases[] = {
        { "--decode scmoe:beta=0,alpha=0", true }, { "--decode rewire:steps=0", true }, { "--edit steer:lam=0,experts=1.2", true },
        { "--decode scmoe:beta=20,alpha=0.0001,rank=3", false },
    };
    char *plain = generated("");
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        char *got = generated(cases[i].flags);
        sy_test_case("%s", cases[i].flags);
        if (cases[i].same != !strcmp(got, plain)) fail_msg("'%s' and '%s'", got, plain);
        free(got);
    }
    free(plain);
    assert_int_equal(run("generate %s -p 'The ' --set max_new_tokens=3 --decode rewire:steps=2", model), 0);
    expect_said("decode rewire: 1 adaptations; in the last one the loss of the context went from");
    static const struct { const char *flags, *part; int code; } wrong[] = {
        { "--decode scmo", "did you mean 'scmoe'", 1 }, { "--decode scmoe:beta=-1", "outside 0 .. 100", 2 }, { "--decode scmoe:rank=9", "places are 0 .. 3", 2 },
        { "--edit steer:experts=1.7", "the experts 0 to 3", 2 }, { "--edit perm", "has parameters of its own", 1 },
    };
    for (size_t i = 0; i < SY_COUNT(wrong); i++) {
        sy_test_case("%s", wrong[i].flags);
        int code = run("generate %s -p x %s", model, wrong[i].flags);
        expect_said(wrong[i].part);
        assert_int_equal(code, wrong[i].code);
    }
}

static void eval(void **state)
{
    (void)state;
    if (run_out("eval %s --data docs/design.md --decode scmoe:beta=1,alpha=0.2 --seq-len 32 --prefix 8 --windows 2 --json --quiet", model)) fail_msg("%s", text());
    json_t *v = said_json(), *plain = json_object_get(v, "model"), *decoded = json_object_get(v, "decoded");
    assert_int_equal(json_integer_value(json_object_get(v, "windows")), 2);
    assert_int_equal(json_integer_value(json_object_get(v, "tokens")), 50);
    assert_true(json_real_value(json_object_get(plain, "nats_per_token")) > 1);
    assert_true(json_real_value(json_object_get(plain, "excluded")) == 0 && json_real_value(json_object_get(decoded, "excluded")) > 0);
    assert_true(json_real_value(json_object_get(decoded, "multiply_adds_per_token")) > json_real_value(json_object_get(plain, "multiply_adds_per_token")));
    json_decref(v);
    assert_int_equal(run("eval %s --data docs/design.md --decode rewire --seq-len 24 --windows 1", model), 0);
    expect_said("1 windows, 13 tokens predicted behind 12 read");
    char *loss[3];
    static const char *const edits[] = { "", "--edit steer:lam=0,experts=1.2", "--edit steer:mode=hard,experts=0.1+1.2 --edit steer:lam=5,experts=2.-0" };
    for (int i = 0; i < 3; i++) {                            /* a loss with all its digits: edits arrive, neutral ones change nothing */
        if (run_out("eval %s --data docs/design.md --json --quiet %s", model, edits[i])) fail_msg("%s", text());
        loss[i] = strdup(text());
    }
    assert_string_equal(loss[1], loss[0]);
    assert_string_not_equal(loss[2], loss[0]);
    for (int i = 0; i < 3; i++) free(loss[i]);
    static const struct { const char *flags, *part; } wrong[] = {
        { "--data docs/design.md --prefix 3", "belong to --decode" }, { "--choices x --decode scmoe", "goes with neither --choices nor --perplexity" },
        { "--data docs/design.md --decode scmoe --rows 3", "it has no --rows" }, { "--data docs/design.md --decode scmoe --prefix 64", "give 1 .. 63" },
    };
    for (size_t i = 0; i < SY_COUNT(wrong); i++) {
        sy_test_case("%s", wrong[i].flags);
        int code = run("eval %s %s", model, wrong[i].flags);
        expect_said(wrong[i].part);
        assert_int_equal(code, 2);
    }
}

/* What steer prints is an edit that eval takes. */
static void steer(void **state)
{
    (void)state;
    char edit[500];
    if (run_out("steer %s --task CMakeLists.txt --general docs/design.md --set count=1,first_layer=0,last_layer=2 --quiet", model)) fail_msg("%s", text());
    assert_true(sscanf(text(), "%499s", edit) == 1 && !strncmp(edit, "steer:experts=0.", 16) && strchr(edit, '+'));
    assert_int_equal(run("eval %s --data docs/design.md --edit %s", model, edit), 0);
    if (run_out("steer %s --task CMakeLists.txt --general docs/design.md --json --quiet", model)) fail_msg("%s", text());
    json_t *v = said_json();
    assert_int_equal(json_array_size(json_object_get(v, "layers")), 3);
    json_decref(v);
    assert_int_equal(run("steer %s --task CMakeLists.txt --general CMakeLists.txt", model), 1);
    expect_said("no expert of these layers is used so much more on the task");
    assert_int_equal(run("steer %s --task CMakeLists.txt", model), 2);
    expect_said("give --task TEXT and --general TEXT");
}

static void objectives(void **state)
{
    (void)state;
    static const struct { const char *flags, *part; int code; } wrong[] = {
        { "--objective tor", "did you mean 'thor'", 1 }, { "--objective thor --objective thor", "given twice", 2 }, { "--objective thor:alpha=-1", "outside 0", 2 },
    };
    for (size_t i = 0; i < SY_COUNT(wrong); i++) {
        sy_test_case("%s", wrong[i].flags);
        int code = run("train --recipe lm-tiny --data docs/design.md --steps 2 --out %s/never %s", sy_test_dir(), wrong[i].flags);
        expect_said(wrong[i].part);
        assert_int_equal(code, wrong[i].code);
    }
    assert_int_equal(run("train --recipe lm-tiny --data docs/design.md --router thor --objective thor:consistency_alpha=2 --set balance= --steps 3 --no-report-data "
                         "--set hidden_size=16 --set num_hidden_layers=2 --set num_attention_heads=2 --set moe_intermediate_size=16 --set batch_size=4 --set num_experts=4 --set log_every=1 --out %s/thor", sy_test_dir()), 0);
    assert_int_equal(shell("grep -c 'thor.consistency' %s/thor/metrics.jsonl", sy_test_dir()), 0);
    expect_said("3");
    assert_int_equal(run("help objective thor"), 0);
    expect_said("consistency_alpha (alpha)");
    assert_int_equal(run("help decode scmoe"), 0);
    expect_said("neutral  cd_alpha=0,cd_beta=0");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(generate), cmocka_unit_test(eval), cmocka_unit_test(steer), cmocka_unit_test(objectives) };
    return cmocka_run_group_tests(tests, make, NULL);
}
