/* float only */
/* switchyard convert, quantize and inspect on GGUF files as a user runs them: exit codes, one sentence, types as they were asked for, importances. */
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "core/file.h"
#include "core/json.h"
#include "methods.h"
#include "model/checkpoint.h"
#include "model/gguf_files.h"

static sy_buf said;                     /* both outputs of the last run */
static char dir[400], gguf[400];        /* a model as folder and as GGUF file */

static int run(const char *fmt, ...)
{
    char args[2000], line[4000];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(args, sizeof args, fmt, ap);
    va_end(ap);
    snprintf(line, sizeof line, "%s %s 2>&1", SY_BINARY, args);
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

static char *in_dir(const char *name)
{
    static char path[4][400];
    static int turn;
    char *p = path[turn++ % 4];
    snprintf(p, 400, "%s/%s", sy_test_dir(), name);
    return p;
}

static const char *type_in(const char *path, const char *tensor)
{
    sy_gguf_files f;
    sy_expect_ok(sy_gguf_files_open(&f, path, true, err));
    const sy_gguf_tensor *t = sy_gguf_files_find(&f, tensor);
    const char *type = t ? sy_gguf_tensor_type(t->id) : "(none)";
    sy_gguf_files_close(&f);
    return type;
}

static int make_model(void **state)
{
    sy_engine eng;
    sy_model *m;
    sy_spec s;
    sy_arena a = { 0 };
    (void)state;
    snprintf(dir, sizeof dir, "%s", in_dir("model"));
    snprintf(gguf, sizeof gguf, "%s", in_dir("model.gguf"));
    sy_expect_ok(sy_engine_init(&eng, 1, NULL, &sy_builtin_methods, err));
    sy_spec_defaults(&s);
    s.vocab_size = 40, s.hidden_size = 64, s.num_hidden_layers = 2, s.num_attention_heads = 4, s.intermediate_size = 256, s.max_position_embeddings = 32;
    sy_expect_ok(sy_opt_parse(sy_spec_opts, &s, "layers=sparse,router='topk:top_k=2,norm_topk_prob=true',num_experts=3,moe_intermediate_size=256", &a, NULL, err));
    sy_expect_ok(sy_model_new(&m, &eng, &s, 0, 5, err));
    sy_expect_ok(sy_mkdirs(dir, err));
    sy_expect_ok(sy_model_save(m, dir, -1, NULL, err));
    sy_model_free(m);
    sy_engine_uninit(&eng);
    sy_arena_free(&a);
    return 0;
}

static void there_and_back(void **state)
{
    (void)state;
    assert_int_equal(run("convert %s %s --type bf16", dir, gguf), 0);
    expect_said("convert: ");
    expect_said("general.architecture: llama");
    assert_string_equal(type_in(gguf, "blk.0.ffn_up_exps.weight"), "BF16");
    assert_string_equal(type_in(gguf, "blk.0.ffn_gate_inp.weight"), "F32");
    assert_true(sy_file_exists(in_dir("model.gguf.ledger.json")));
    assert_int_equal(run("convert %s %s", gguf, in_dir("back")), 0);
    expect_said("model_type: mixtral");
    assert_true(sy_file_exists(in_dir("back/ledger.json")) && sy_file_exists(in_dir("back/gguf_metadata.json")));
    assert_int_equal(run("inspect %s", in_dir("back")), 0);
    assert_int_equal(run("convert %s %s", gguf, in_dir("back")), 1);
    expect_said("is there already; give --replace or another name");
    assert_int_equal(run("convert %s %s --replace", gguf, in_dir("back")), 0);
}

static void shards(void **state)
{
    (void)state;
    assert_int_equal(run("convert %s %s --shard-size 0.0003", dir, in_dir("cut")), 0);
    assert_true(sy_file_exists(in_dir("cut/model.safetensors.index.json")) && sy_file_exists(in_dir("cut/ledger.json")));
    assert_false(sy_file_exists(in_dir("cut/model.safetensors")));
    assert_int_equal(run("inspect %s", in_dir("cut")), 0);
    expect_said(" files, ");
    assert_int_equal(run("convert %s %s", in_dir("cut"), in_dir("one")), 0);
    assert_int_equal(run("cmp %s %s", in_dir("one/model.safetensors"), in_dir("model/model.safetensors")), 0);
    assert_int_equal(run("convert %s %s --shard-size 1", dir, in_dir("cut.gguf")), 2);
    expect_said("shards are files of a folder");
    assert_int_equal(run("convert %s %s --shard-size -1", dir, in_dir("other")), 2);
    expect_said("--shard-size -1");
    assert_false(sy_file_exists(in_dir("other")) || sy_file_exists(in_dir("cut.gguf")));
}

static void types(void **state)
{
    (void)state;
    assert_int_equal(run("quantize %s %s --type q4_k --only 'blk.0.*down*=q6_k' --only '*output.weight=f16'", dir, in_dir("k.gguf")), 0);
    expect_said("blk.0.attn_q.weight: Q5_0: rows are no whole number of the blocks of the type asked for");
    assert_string_equal(type_in(in_dir("k.gguf"), "blk.0.ffn_down_exps.weight"), "Q6_K");
    assert_string_equal(type_in(in_dir("k.gguf"), "blk.1.ffn_down_exps.weight"), "Q4_K");
    assert_string_equal(type_in(in_dir("k.gguf"), "blk.0.attn_q.weight"), "Q5_0");
    assert_string_equal(type_in(in_dir("k.gguf"), "output.weight"), "F16");
    assert_string_equal(type_in(in_dir("k.gguf"), "blk.0.attn_norm.weight"), "F32");
    assert_int_equal(run("inspect %s", in_dir("k.gguf")), 0);
    expect_said("architecture llama, family mixtral");
    expect_said("Q4_K");
    assert_int_equal(run("inspect %s --json", in_dir("k.gguf")), 0);
    json_t *v;
    sy_expect_ok(sy_json_parse(&v, said.data, said.n, "inspect", err));
    assert_int_equal(json_integer_value(json_object_get(v, "num_experts")), 3);
    assert_true(json_array_size(json_object_get(v, "missing")) == 0 && json_object_get(json_object_get(v, "by_type"), "Q4_K"));
    json_decref(v);
}

static void put_i32(sy_buf *b, int32_t v) { sy_buf_put(b, &v, 4); }

static void importances(void **state)
{
    static const struct { const char *name; int n; sy_status want; const char *part; } cases[] = {
        { "blk.0.ffn_down_exps.weight", 3 * 256, SY_OK, NULL }, { "blk.0.ffn_down_exps.weight", 100, SY_ESHAPE, "is of another model" }, { "blk.9.attn_q.weight", 64, SY_ESHAPE, "names none of this model's tensors" } };
    (void)state;
    assert_int_equal(run("convert %s %s --type q2_k --replace", dir, in_dir("plain.gguf")), 0);
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_buf b = { 0 };
        put_i32(&b, 1), put_i32(&b, (int32_t)strlen(cases[i].name)), sy_buf_text(&b, cases[i].name), put_i32(&b, 2), put_i32(&b, cases[i].n);
        for (int k = 0; k < cases[i].n; k++) sy_buf_put(&b, &(float){ k % 8 ? 0.01f : 5 }, 4);
        sy_expect_ok(sy_file_write(in_dir("im.dat"), b.data, b.n, err));
        sy_test_case("%s, %d values", cases[i].name, cases[i].n);
        int code = run("convert %s %s --type q2_k --imatrix %s --replace", dir, in_dir("weighed.gguf"), in_dir("im.dat"));
        if (cases[i].want != SY_OK) assert_int_equal(code, 1), expect_said(cases[i].part);
        else {
            sy_map x, y;
            assert_int_equal(code, 0);
            sy_expect_ok(sy_map_open(&x, in_dir("plain.gguf"), err));
            sy_expect_ok(sy_map_open(&y, in_dir("weighed.gguf"), err));
            if (x.size != y.size || !memcmp(x.data, y.data, x.size)) fail_msg("importances change nothing");
            sy_map_close(&x);
            sy_map_close(&y);
        }
        sy_buf_free(&b);
    }
}

static void wrong_use(void **state)
{
    static const struct { const char *args; int code; const char *part; } cases[] = {
        { "convert a.gguf", 2, NULL }, { "convert %s out.gguf --type q9", 2, "'q9' is no type of numbers" }, { "convert nowhere out.gguf", 1, "nowhere" },
        { "convert %s out --type q4_0", 2, "a folder holds f32, f16 or bf16" }, { "convert %s out.gguf --only q8_0", 2, "must be PATTERN=TYPE" },
        { "convert %s out --family gpt2", 1, "of family gpt2" }, { "convert %s out --family nothing", 1, "no family of models is called 'nothing'" },
        { "convert %s out --imatrix x.dat", 1, "x.dat" },
    };
    (void)state;
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_test_case("%s", cases[i].args);
        assert_int_equal(run(cases[i].args, dir), cases[i].code);
        if (cases[i].part) expect_said(cases[i].part);
        assert_false(sy_file_exists("out.gguf") || sy_file_exists("out"));
    }
}

/* Stored weights on eight bits: the same bits for ids in one pass or one by one and for any threads, near to the exact logits, which are what is asked for without a word. */
static void on_eight_bits(void **state)
{
    static const char *const types[] = { "q8_0", "q4_0", "mxfp4" };
    (void)state;
    FILE *f = fopen(in_dir("ids.txt"), "w");
    assert_non_null(f);
    for (int i = 0; i < 24; i++) fprintf(f, "%d ", i * 7 % 40);
    fclose(f);
    for (size_t i = 0; i < SY_COUNT(types); i++) {
        char file[400];
        snprintf(file, sizeof file, "%s", in_dir("e.gguf"));
        sy_test_case("%s", types[i]);
        assert_int_equal(run("convert %s %s --type %s --replace", dir, file, types[i]), 0);
        assert_int_equal(run("logits %s --ids %s -o %s --routes -q", file, in_dir("ids.txt"), in_dir("exact.st")), 0);
        assert_int_equal(run("logits %s --ids %s -o %s --routes --int8 -q -t 2", file, in_dir("ids.txt"), in_dir("once.st")), 0);
        assert_int_equal(run("logits %s --ids %s -o %s --routes --int8 -q -t 1 --prefill 3", file, in_dir("ids.txt"), in_dir("apart.st")), 0);
        assert_int_equal(run("cmp %s %s", in_dir("once.st"), in_dir("apart.st")), 0);
        assert_int_equal(run("cmp %s %s", in_dir("once.st"), in_dir("exact.st")), 1);
        assert_int_equal(run("cmp %s %s --atol 0.02", in_dir("once.st"), in_dir("exact.st")), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(there_and_back), cmocka_unit_test(shards), cmocka_unit_test(types), cmocka_unit_test(on_eight_bits), cmocka_unit_test(importances), cmocka_unit_test(wrong_use) };
    return cmocka_run_group_tests(tests, make_model, NULL);
}
