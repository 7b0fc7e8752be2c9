/* float only */
/* full */
/* A model three times larger than the address space that the program may use (ulimit -v): inspected and converted like one that fits, to the byte; run,
 * it is refused with a sentence. Oracle: the same lines without a limit. */
#include "cli/bed.h"

enum { V = 183000, D = 1024, F = 1024 };

#define LIMIT "ulimit -v 524288; "

typedef struct { const char *name; int rows, cols; } part;

static const part parts[] = {
    { "lm_head.weight", V, D }, { "model.embed_tokens.weight", V, D }, { "model.layers.0.input_layernorm.weight", D, 1 }, { "model.layers.0.mlp.down_proj.weight", D, F },
    { "model.layers.0.mlp.gate_proj.weight", F, D }, { "model.layers.0.mlp.up_proj.weight", F, D }, { "model.layers.0.post_attention_layernorm.weight", D, 1 },
    { "model.layers.0.self_attn.k_proj.weight", D, D }, { "model.layers.0.self_attn.o_proj.weight", D, D }, { "model.layers.0.self_attn.q_proj.weight", D, D },
    { "model.layers.0.self_attn.v_proj.weight", D, D }, { "model.norm.weight", D, 1 },
};

/* A folder whose weights are a hole with a mark in every 10 MB. False: no sparse files here. */
static bool make_model(const char *dir)
{
    static const char config[] = "{\"model_type\": \"llama\", \"architectures\": [\"LlamaForCausalLM\"], \"vocab_size\": 183000, \"hidden_size\": 1024, \"intermediate_size\": 1024, "
                                 "\"num_hidden_layers\": 1, \"num_attention_heads\": 16, \"num_key_value_heads\": 16, \"max_position_embeddings\": 64, \"tie_word_embeddings\": false}";
    char path[600];
    sy_buf b = { 0 };
    uint64_t at = 0, n;
    sy_expect_ok(sy_mkdirs(dir, err));
    snprintf(path, sizeof path, "%s/config.json", dir);
    sy_expect_ok(sy_file_write(path, config, sizeof config - 1, err));
    for (size_t i = 0; i < SY_COUNT(parts); i++) {
        uint64_t bytes = (uint64_t)parts[i].rows * (uint64_t)parts[i].cols * 4;
        sy_buf_printf(&b, "%c\"%s\": {\"dtype\": \"F32\", \"shape\": [%d", i ? ',' : '{', parts[i].name, parts[i].rows);
        if (parts[i].cols > 1) sy_buf_printf(&b, ", %d", parts[i].cols);
        sy_buf_printf(&b, "], \"data_offsets\": [%llu, %llu]}", (unsigned long long)at, (unsigned long long)(at + bytes));
        at += bytes;
    }
    sy_buf_text(&b, "}");
    while (b.n % 8) sy_buf_text(&b, " ");
    n = b.n;
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    FILE *f = fopen(path, "w+b");
    assert_non_null(f);
    assert_true(fwrite(&n, 8, 1, f) == 1 && fwrite(b.data, b.n, 1, f) == 1);
    sy_buf_free(&b);
    for (uint64_t k = 4000; k + 4 < at; k += 10000000) {
        float mark = (float)(1 + k % 97) / 32;
        assert_true(fseeko(f, (off_t)(8 + n + k), SEEK_SET) == 0 && fwrite(&mark, 4, 1, f) == 1);
    }
    assert_int_equal(fflush(f), 0);
    bool sparse = ftruncate(fileno(f), (off_t)(8 + n + at)) == 0;
    fclose(f);
    return sparse;
}

static void larger_than_the_address_space(void **state)
{
    char dir[500];
    (void)state;
    snprintf(dir, sizeof dir, "%s/big", sy_test_dir());
    if (!make_model(dir)) { print_message("no sparse files here: left out\n"); return; }
    assert_int_equal(shell_in("", "$SY inspect big > plain && { " LIMIT "$SY inspect big > little; } && cmp plain little && grep -q 'llama' plain"), 0);
    assert_int_equal(shell_in("", "$SY convert big big.gguf --type q4_0 --threads 2"), 0);
    assert_int_equal(shell_in("", "rm -f x.gguf; { " LIMIT "$SY convert big x.gguf --type q4_0 --threads 2; } && cmp big.gguf x.gguf && rm x.gguf"), 0);
    assert_int_equal(shell_in("", LIMIT "$SY logits big --ids <(echo 1 2 3) -o out.safetensors"), 1);
    expect_said("ulimit -v");
    assert_int_equal(shell_in("", "rm big.gguf; $SY convert big half.gguf --type f16 --threads 2 && $SY inspect half.gguf > plain"), 0);      /* 750 MB */
    assert_int_equal(shell_in("", "{ " LIMIT "$SY inspect half.gguf > little; } && cmp plain little"), 0);
    assert_int_equal(shell_in("", "{ " LIMIT "$SY convert half.gguf x.gguf --type q4_0 --threads 2; } && $SY convert half.gguf y.gguf --type q4_0 --threads 2 && cmp x.gguf y.gguf"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(larger_than_the_address_space) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
