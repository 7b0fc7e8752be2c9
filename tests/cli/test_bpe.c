/* tests/cli/test_bpe.c - train --tokenizer bpe as a user runs it: what it learns from, and that the run keeps the tokenizer. */
#include "bed.h"
#include "model/tokenizer.h"

#define SMALL "--tokenizer bpe --set batch_size=2 --set seq_len=32 --set hidden_size=16 --set num_hidden_layers=1 --set num_attention_heads=2 --set num_key_value_heads=2 -t 1 -q"

static void learned_from_what_is_trained_on(void **state)
{
    (void)state;
    char path[500], out[500];
    sy_buf b = { 0 };
    sy_tokenizer *t = NULL, *u = NULL;
    snprintf(path, sizeof path, "%s/text.txt", sy_test_dir());
    snprintf(out, sizeof out, "%s/run", sy_test_dir());
    for (int i = 0; i < 900; i++) sy_buf_printf(&b, "The cat sat %s the mat and saw cat number %d.\n", i % 3 ? "on" : "under", i * 7919 % 1000);
    for (int i = 0; i < 300; i++) sy_buf_text(&b, "zyx zyx\n");        /* 5 % of the bytes, at the end: held out */
    sy_expect_ok(sy_file_write(path, b.data, b.n, err));
    if (run("train --data %s --out %s --set val_fraction=0.1 --set data.bpe_vocab_size=320 --steps 2 " SMALL, path, out)) fail_msg("%s", text());
    sy_expect_ok(sy_tokenizer_load(&t, out, err));
    assert_int_equal(sy_tokenizer_vocab(t), 320);
    assert_int_equal(sy_tokenizer_eot(t), 319);
    assert_true(sy_tokenizer_lookup(t, " cat", 4) >= 256);
    assert_int_equal(sy_tokenizer_lookup(t, "zyx", 3), -1);
    assert_int_equal(sy_tokenizer_lookup(t, "zy", 2), -1);
    if (run("train --data %s --out %s --resume -t 1 -q", path, out)) fail_msg("%s", text());
    sy_expect_ok(sy_tokenizer_load(&u, out, err));
    assert_string_equal(sy_tokenizer_id(t), sy_tokenizer_id(u));
    if (run("eval %s --data %s -t 1 -q", out, path)) fail_msg("%s", text());
    sy_tokenizer_close(t);
    sy_tokenizer_close(u);
    sy_buf_free(&b);
}

static void a_share_of_much_text(void **state)
{
    (void)state;
    char path[500], out[500];
    sy_buf b = { 0 };
    sy_tokenizer *t = NULL;
    snprintf(path, sizeof path, "%s/much.txt", sy_test_dir());
    snprintf(out, sizeof out, "%s/share", sy_test_dir());
    for (int i = 0; i < 4000; i++) sy_buf_text(&b, i < 1000 ? "early words stand here\n" : "later ones come there\n");
    sy_expect_ok(sy_file_write(path, b.data, b.n, err));
    if (run("train --data %s --out %s --set data.bpe_mb=0.01 --set data.bpe_vocab_size=400 --steps 1 " SMALL, path, out)) fail_msg("%s", text());
    sy_expect_ok(sy_tokenizer_load(&t, out, err));
    assert_true(sy_tokenizer_lookup(t, "early", 5) >= 256);
    assert_int_equal(sy_tokenizer_lookup(t, "later", 5), -1);
    assert_true(sy_tokenizer_vocab(t) < 400);        /* so little text has no more pairs */
    sy_tokenizer_close(t);
    sy_buf_free(&b);
}

static void refused(void **state)
{
    (void)state;
    assert_int_not_equal(run("train --out %s/none " SMALL, sy_test_dir()), 0);
    expect_said("--data");
    assert_int_not_equal(run("train --data tests/fixtures/tokenizer.json --out %s/none --tokenizer %s/absent.json -q", sy_test_dir(), sy_test_dir()), 0);
    expect_said("absent.json");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(learned_from_what_is_trained_on), cmocka_unit_test(a_share_of_much_text), cmocka_unit_test(refused) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
