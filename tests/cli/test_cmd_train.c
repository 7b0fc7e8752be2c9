/* float only */
/* tests/cli/test_cmd_train.c - what train leaves beside the model: samples on the way, through a stop and a resume; a plan of memory; and a report that cannot be prepared
 * is a warning. Oracles: the run that was left alone; the run without samples. */
#include "bed.h"

#define RUN "--data words=%s/words.txt --data sums=%s/sums.txt -t 1 --set steps=6 --set eval_every=2 --set checkpoint_every=2 --set keep=3 --set seq_len=32 --set hidden_size=16 " \
            "--set num_hidden_layers=2 --set num_attention_heads=2 --set layers=sparse --set num_experts=4 --set moe_intermediate_size=8 --set batch_size=2 --set max_position_embeddings=48 "

static int texts(void **state)
{
    sy_buf b = { 0 };
    (void)state;
    for (int i = 0; i < 300; i++) sy_buf_printf(&b, "word %d and word %d\n", i * 7 % 31, i);
    put("words.txt", b.data);
    sy_buf_clear(&b);
    for (int i = 0; i < 300; i++) sy_buf_printf(&b, "%d+%d=%d\n", i % 7, i % 5, i % 7 + i % 5);
    put("sums.txt", b.data);
    sy_buf_free(&b);
    return 0;
}

static void train(const char *name, const char *more)
{
    const char *d = sy_test_dir();
    if (run("train --out %s/%s " RUN "%s", d, name, d, d, more)) fail_msg("%s", text());
}

static void test_samples(void **state)
{
    (void)state;
    const char *d = sy_test_dir();
    train("alone", "-q");
    train("none", "-q --set sample_every=0");
    train("second", "-q --set sample_every=2");
    train("quiet", "-q --no-report-data");
    sy_test_case("samples change nothing");
    assert_int_equal(shell("cd %s && cmp alone/model.safetensors none/model.safetensors && cmp alone/model.safetensors quiet/model.safetensors", d), 0);
    sy_test_case("at every evaluation, two domains");
    assert_int_equal(shell("cd %s/alone && sed 's/.*\"step\":\\([0-9]*\\),.*/\\1/' samples.jsonl | tr '\\n' ' ' | grep -qx '2 2 4 4 6 6 '", d), 0);
    assert_int_equal(shell("cd %s/none && sed 's/.*\"step\":\\([0-9]*\\),.*/\\1/' samples.jsonl | tr '\\n' ' ' | grep -qx '6 6 '", d), 0);
    assert_int_equal(shell("cd %s/second && sed 's/.*\"step\":\\([0-9]*\\),.*/\\1/' samples.jsonl | tr '\\n' ' ' | grep -qx '4 4 6 6 '", d), 0);
    assert_int_equal(shell("test ! -e %s/quiet/samples.jsonl", d), 0);
    sy_test_case("back to step 2, then to the end: the same samples, whatever stood behind");
    assert_int_equal(shell("cd %s && cp -r alone back && cd back && rm -r checkpoints/step-0000000004 checkpoints/step-0000000006 model.safetensors config.json && echo '{\"step\":5,\"text\"' >> samples.jsonl", d), 0);
    if (run("train --out %s/back --resume -t 1 -q", d)) fail_msg("%s", text());
    assert_int_equal(shell("cd %s && cmp alone/samples.jsonl back/samples.jsonl && cmp alone/model.safetensors back/model.safetensors", d), 0);
    sy_test_case("stopped inside the samples of step 2: they are made when it goes on");
    assert_int_equal(shell("cd %s && cp -r alone less && cd less && rm -r checkpoints/step-0000000004 checkpoints/step-0000000006 model.safetensors config.json samples.jsonl", d), 0);
    if (run("train --out %s/less --resume -t 1 -q", d)) fail_msg("%s", text());
    assert_int_equal(shell("cd %s && cmp alone/samples.jsonl less/samples.jsonl", d), 0);
    sy_test_case("losses by domain are logged");
    assert_int_equal(shell("grep -q '\"loss_by_domain\":{\"words\":' %s/alone/metrics.jsonl", d), 0);
    sy_test_case("the finished model has checksums");
    assert_int_equal(shell("cd %s/alone && sha256sum -c --status SHA256SUMS && test $(wc -l < SHA256SUMS) = 5", d), 0);
}

static void test_warnings(void **state)
{
    (void)state;
    const char *d = sy_test_dir();
    sy_test_case("a report that cannot be prepared");
    assert_int_equal(shell("mkdir -p %s/blocked/routing.json", d), 0);
    train("blocked", "");
    expect_said("warning: the run is whole, but its report will lack something: ");
    expect_said("memory: ");
    expect_said("of activations for 64 tokens at once");
    expect_said("MB of weights");
    assert_int_equal(shell("test -e %s/blocked/model.safetensors", d), 0);
    sy_test_case("samples that cannot be written");
    assert_int_equal(shell("mkdir -p %s/full && ln -s /dev/full %s/full/samples.jsonl", d, d), 0);
    train("full", "-q");
    expect_said("warning: the run is whole, but its report will lack something: ");
    assert_int_equal(shell("cd %s && cmp alone/model.safetensors full/model.safetensors", d), 0);
}

/* One rule: the settings of this command line are wrong (2), or what they name cannot be done (1). */
static void test_codes(void **state)
{
    static const struct { const char *args; int code; const char *part; } cases[] = {
        { "--set hidden_size=30 --set num_attention_heads=4", 2, "not a multiple" }, { "--set head_dim=3", 2, "odd" }, { "--set vocab_size=7", 2, "set vocab_size=256 or more" },
        { "--set num_hidden_layers=1000000", 2, "outside" }, { "--set hidden_size=131072", 2, "at most 4096 can" }, { "--set hidden_size=131072 --set num_attention_heads=64", 1, "can be had: make hidden_size" }, { "--set batch_size=1048576 --set seq_len=48", 1, "set a smaller micro_batch_size" },
        { "--router topk:top_k=5", 2, "5" }, { "--router no-such", 1, "no router is called" },
    };
    const char *d = sy_test_dir();
    (void)state;
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        int code = run("train --out %s/refused " RUN "%s -q", d, d, d, cases[i].args);
        if (code != cases[i].code || !strstr(text(), cases[i].part)) fail_msg("'%s' ends with %d (want %d) and says:\n%s(want '%s')", cases[i].args, code, cases[i].code, text(), cases[i].part);
        assert_int_equal(shell("test ! -e %s/refused/run.json", d), 0);
    }
    sy_test_case("impossible sizes in a file that was read");
    assert_int_equal(shell("cd %s && cp -r alone odd && sed -i 's/\"num_attention_heads\": 2/\"num_attention_heads\": 3/' odd/config.json && ! cmp -s alone/config.json odd/config.json", d), 0);
    assert_int_equal(run("eval %s/odd --data %s/words.txt -q", d, d), 1);
    expect_said("num_attention_heads");
    assert_int_equal(run("train --from %s/odd --out %s/refused --data %s/words.txt -q", d, d, d), 1);
    sy_test_case("a weight that was changed");
    assert_int_equal(shell("cd %s && cp -r alone bit && printf x | dd of=bit/model.safetensors bs=1 seek=$(($(stat -c %%s bit/model.safetensors) - 9)) conv=notrunc status=none", d), 0);
    assert_int_equal(run("eval %s/bit --data %s/words.txt -q", d, d), 1);
    expect_said("does not have the checksum that SHA256SUMS gives");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_samples), cmocka_unit_test(test_warnings), cmocka_unit_test(test_codes) };
    return cmocka_run_group_tests(tests, texts, NULL);
}
