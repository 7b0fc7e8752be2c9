/* float only */
/* tests/cli/test_cmd_inspect.c - what inspect says of families' folders: sizes, experts, what is missing, unknown or left out; --strict. */
#include "model/families.h"

#include <sys/wait.h>

static sy_buf said;                     /* both outputs of the last run */

static int run(const char *args, const char *dir)
{
    char line[2200];
    snprintf(line, sizeof line, "%s inspect %s %s 2>&1", SY_BINARY, args, dir);
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

static void whole(void **state)
{
    fixture f;
    (void)state;
    fixture_open(&f, "mixtral");
    const char *dir = folder_of(&f, 0, "whole");
    assert_int_equal(run("", dir), 0);
    expect_said("model_type  mixtral\n");
    expect_said("parameters  0.027552 M, of which a token uses 0.018336 M");
    expect_said("experts     4 of kind swiglu:hidden_act=silu, width 24");
    expect_said("41 tensors (24 expert matrices)");
    expect_said("  experts                24 tensors");
    expect_said("note        router_aux_loss_coef: 0.001 over the slots of all layers together is 0.001 of the shares of each of 2 layers");
    assert_int_equal(run("--json", dir), 0);
    expect_said("\"family\": \"mixtral\"");
    expect_said("\"active_parameters\": 18336.0");
    fixture_close(&f);
}

static void damaged(void **state)
{
    fixture f;
    sy_buf b = { 0 };
    (void)state;
    fixture_open(&f, "mixtral");
    const char *dir = folder_of(&f, 0, "damaged");
    for (int i = 0; i < all.n; i++) if (!strcmp(all.t[i].name, "model.layers.1.block_sparse_moe.experts.2.w1.weight")) all.t[i].name = "model.layers.1.block_sparse_moe.experts.9.w1.weight";
    sy_expect_ok(sy_st_write(join(dir, "model.safetensors"), all.t, all.n, NULL, err));
    assert_int_equal(run("", dir), 1);
    expect_said("missing     model.layers.1.block_sparse_moe.experts.2.w1.weight");
    expect_said("unknown     model.layers.1.block_sparse_moe.experts.9.w1.weight");
    sy_test_case("a key that nobody knows");
    dir = folder_of(&f, 0, "damaged");
    sy_expect_ok(sy_file_read(join(dir, "config.json"), 1 << 20, &b, err));
    b.data[0] = ' ';
    char *text = malloc(b.n + 64);
    snprintf(text, b.n + 64, "{\"expert_temperature\": 2,%s", b.data + 1);
    write_text(join(dir, "config.json"), text);
    assert_int_equal(run("", dir), 0);
    expect_said("keys unknown");
    expect_said("expert_temperature");
    assert_int_equal(run("--strict", dir), 1);
    expect_said("keys that are not known to the family: expert_temperature");
    sy_test_case("a family that is not read");
    write_text(join(dir, "config.json"), "{\"model_type\": \"jamba\"}");
    assert_int_equal(run("", dir), 0);
    expect_said("model_type  jamba (not opened; its tensors are listed only)");
    expect_said("are not read yet");
    free(text);
    sy_buf_free(&b);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(whole), cmocka_unit_test(damaged) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
