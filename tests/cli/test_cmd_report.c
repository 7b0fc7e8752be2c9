/* tests/cli/test_cmd_report.c - from text to page as a user goes it: a tiny sparse run and its dense twin, then the report of both. */
/* float only */
#include "bed.h"

static void write_text(const char *name, const char *word)
{
    sy_buf b = { 0 };
    for (int i = 0; i < 400; i++) sy_buf_printf(&b, "%s %d is followed by %d.\n", word, i, i + 1);
    put(name, b.data);
    sy_buf_free(&b);
}

static void train(const char *out, const char *layers)
{
    const char *d = sy_test_dir();
    int rc = run_out("train --out %s/%s --data numbers=%s/text/a.txt --data weeks=%s/text/b.txt --threads 1 --quiet --set hidden_size=16 --set num_hidden_layers=2 --set num_attention_heads=2 "
                 "--set max_position_embeddings=64 --set seq_len=64 --set steps=6 --set batch_size=2 --set warmup_steps=1 --set log_every=1 --set eval_every=3 --set val_fraction=0.1 %s", d, out, d, d, layers);
    if (rc) fail_msg("train ended with %d: %s", rc, text());
}

static json_t *read_json(const char *run_name, const char *file)
{
    char path[1300];
    json_t *j = NULL;
    snprintf(path, sizeof path, "%s/%s/%s", sy_test_dir(), run_name, file);
    sy_expect_ok(sy_json_read(&j, path, 1 << 24, err));
    return j;
}

static void test_from_text_to_page(void **state)
{
    (void)state;
    const char *d = sy_test_dir();
    char path[1300];
    write_text("text/a.txt", "Number");
    write_text("text/b.txt", "Week");
    train("moe", "--set layers=sparse --set num_experts=4 --set moe_intermediate_size=16 --router topk:top_k=2 --balance switch:coef=0.01");
    train("twin", "--set layers=dense --set intermediate_size=32");

    json_t *r = read_json("moe", "run.json");
    assert_non_null(json_object_get(json_object_get(r, "derived"), "defaults"));
    json_decref(r);

    assert_int_equal(run_out("report %s/moe %s/twin -o %s/page.html --text", d, d, d), 0);
    expect_said("| numbers |");
    expect_said("| weeks ");
    expect_said("equal tokens");
    snprintf(path, sizeof path, "%s/page.html", d);
    sy_buf page = { 0 };
    sy_expect_ok(sy_file_read(path, 1 << 24, &page, err));
    assert_non_null(strstr(page.data, "<title>moe against twin"));
    assert_null(strstr(page.data, "could not be read and were left out"));
    sy_buf_free(&page);

    assert_int_equal(run_out("report %s/moe --json", d), 0);
    r = said_json();
    json_t *one = json_array_get(json_object_get(r, "runs"), 0);
    assert_int_equal(json_array_size(json_object_get(json_object_get(one, "final"), "layers")), 2);
    assert_int_equal(json_array_size(json_object_get(json_object_get(one, "final"), "domains")), 2);
    assert_int_equal(json_array_size(json_object_get(one, "samples")), 4);         /* one a domain, at step 3 and at the end */
    for (int i = 0; i < 4; i++) assert_int_equal(json_integer_value(json_object_get(json_array_get(json_object_get(one, "samples"), (size_t)i), "step")), i < 2 ? 3 : 6);
    assert_int_equal(json_array_size(json_object_get(json_object_get(json_object_get(one, "train"), "numbers"), "y")), 6);
    json_decref(r);
    snprintf(path, sizeof path, "%s/moe/report.html", d);
    assert_true(sy_file_exists(path));                  /* where it goes without -o */
}

static void test_wrong_use(void **state)
{
    (void)state;
    assert_int_equal(run_out("report"), 2);
    assert_int_equal(run_out("report a b c d e f g h i"), 2);
    expect_said("at most 8 runs, not 9");
    assert_int_equal(run_out("report %s/nowhere", sy_test_dir()), 1);
    expect_said("is not a folder");
    assert_int_equal(run_out("report %s/moe -o %s/no/such/folder/page.html", sy_test_dir(), sy_test_dir()), 1);
    expect_said("No such file or directory");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_from_text_to_page), cmocka_unit_test(test_wrong_use) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
