/* GGUF files whose head is sound and whose contents are not: blocks of NaN, infinity, zero and denormal scales go through a whole model; arrays of the
 * tokenizer of another kind or length are refused with file and key. Oracle: an end without a crash, and what a number that is none must do. */
#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "methods.h"
#include "model/checkpoint.h"
#include "model/convert.h"
#include "model/gguf_files.h"
#include "model/tokenizer.h"

enum { T = 5, V = 40 };

static sy_engine eng;

static char *in_dir(const char *name)
{
    static char path[4][512];
    static int turn;
    char *p = path[turn++ % 4];
    snprintf(p, sizeof *path, "%s/%s", sy_test_dir(), name);
    return p;
}

/* --- numbers ------------------------------------------------------------------------------------------------------------------------- */

static void make_model(const char *dir)
{
    sy_spec s;
    sy_model *m;
    sy_arena a = { 0 };
    sy_spec_defaults(&s);
    s.vocab_size = V, s.hidden_size = 256, s.num_hidden_layers = 1, s.num_attention_heads = 4, s.intermediate_size = 256, s.max_position_embeddings = 32;
    sy_expect_ok(sy_opt_parse(sy_spec_opts, &s, "layers=sparse,router='topk:top_k=2,norm_topk_prob=true',num_experts=3,moe_intermediate_size=256", &a, NULL, err));
    sy_expect_ok(sy_model_new(&m, &eng, &s, 0, 5, err));
    sy_expect_ok(sy_mkdirs(dir, err));
    sy_expect_ok(sy_model_save(m, dir, -1, NULL, err));
    sy_model_free(m);
    sy_arena_free(&a);
}

/* Whether all logits are finite. */
static bool run(const char *path)
{
    static const int id[T] = { 1, 2, 3, 4, 5 }, pos[T] = { 0, 1, 2, 3, 4 }, seq[T] = { 0 };
    sy_segment seg = { .n = T };
    uint64_t no = 1;
    sy_model *m;
    sy_tape t;
    bool finite = true;
    sy_expect_ok(sy_model_load(&m, &eng, path, 0, NULL, err));
    sy_batch b = { .T = T, .n_seg = 1, .id = id, .pos = pos, .seq = seq, .seg = &seg, .seq_no = &no };
    sy_run how = { .mode = SY_EVAL };
    sy_tape_init(&t, &eng, false);
    sy_tensor *z = sy_model_logits(m, &t, sy_model_hidden(m, &t, &b, &how), NULL, T);
    sy_expect_ok(sy_tape_status(&t, err));
    for (size_t i = 0; i < sy_numel(z); i++) finite &= isfinite(z->x[i]) != 0;
    sy_tape_free(&t);
    sy_model_free(m);
    return finite;
}

static void blocks_of_anything(void **state)
{
    static const char *const types[] = { "f32", "f16", "bf16", "q8_0", "q4_0", "q5_1", "q2_k", "q3_k", "q4_k", "q6_k", "iq4_nl", "iq4_xs", "mxfp4" };
    static const int fills[] = { 0x00, 0xff, 0x7f, 0x80, 0x01, 0x7c };
    char *dir = strdup(in_dir("model"));
    (void)state;
    make_model(dir);
    for (size_t i = 0; i < SY_COUNT(types); i++) {
        char *path = strdup(in_dir("x.gguf"));
        sy_ledger l = { 0 };
        sy_convert c = { .in = dir, .out = path, .type = types[i], .replace = true };
        sy_expect_ok(sy_convert_run(&eng, &c, &l, err));
        sy_ledger_free(&l);
        sy_buf b = { 0 };
        sy_gguf g;
        sy_arena a = { 0 };
        sy_expect_ok(sy_file_read(path, 1 << 26, &b, err));
        sy_expect_ok(sy_gguf_parse(&g, (const uint8_t *)b.data, b.n, path, &a, err));
        for (size_t f = 0; f < SY_COUNT(fills); f++)
            for (int whole = 0; whole < 2; whole++) {            /* one block in every matrix, or all of them */
                sy_buf bad = { 0 };
                sy_test_case("%s, filled with %02x%s", types[i], (unsigned)fills[f], whole ? " everywhere" : "");
                sy_buf_put(&bad, b.data, b.n);
                for (int t = 0; t < g.n; t++) {
                    size_t row = g.t[t].bytes / (g.t[t].n / (size_t)g.t[t].dim[g.t[t].nd - 1]);
                    if (g.t[t].nd > 1) memset(bad.data + g.t[t].at, fills[f], whole ? g.t[t].bytes : row);
                }
                sy_expect_ok(sy_file_write(path, bad.data, bad.n, err));
                sy_buf_free(&bad);
                bool finite = run(path);
                if (fills[f] == 0) assert_true(finite);          /* zeros are numbers */
                if (fills[f] == 0xff && whole && i < 3) assert_false(finite);         /* NaN is not made into one */
            }
        sy_buf_free(&b);
        sy_arena_free(&a);
        free(path);
    }
    free(dir);
}

/* --- tokenizers ----------------------------------------------------------------------------------------------------------------------- */

enum lie { NONE, TOKENS_ARE_NUMBERS, TOKENS_ARE_A_TEXT, TOKENS_ARE_FEW, SCORES_ARE_TEXTS, SCORES_ARE_FEW, SCORES_ARE_ONE, TYPES_ARE_TEXTS, TYPES_ARE_MANY, MERGES_ARE_NUMBERS, BOS_IS_A_TEXT, LIES };

static const struct { const char *key; bool bpe; } lies[LIES] = {
    [TOKENS_ARE_NUMBERS] = { "tokenizer.ggml.tokens", false }, [TOKENS_ARE_A_TEXT] = { "tokenizer.ggml.tokens", false }, [TOKENS_ARE_FEW] = { "tokenizer.ggml", false },
    [SCORES_ARE_TEXTS] = { "tokenizer.ggml.scores", false }, [SCORES_ARE_FEW] = { "tokenizer.ggml.scores", false }, [SCORES_ARE_ONE] = { "tokenizer.ggml.scores", false },
    [TYPES_ARE_TEXTS] = { "tokenizer.ggml.token_type", false }, [TYPES_ARE_MANY] = { "tokenizer.ggml.token_type", false }, [MERGES_ARE_NUMBERS] = { "tokenizer.ggml.merges", true },
    [BOS_IS_A_TEXT] = { "tokenizer.ggml.bos_token_id", false },
};

static void texts(sy_gguf_writer *w, const char *key, const char *const *text, uint64_t n)
{
    sy_gguf_put_array(w, key, SY_GGUF_TEXT, n);
    for (uint64_t i = 0; i < n; i++) sy_gguf_elem_text(w, text[i], strlen(text[i]));
}

static void write_vocab(const char *path, int lie, bool bpe)
{
    static const char *const token[] = { "<unk>", "<s>", "</s>", "a", "b", "ab" };
    static const float score[] = { 0, 0, 0, -1, -2, -3 };
    static const int type[] = { 2, 3, 3, 1, 1, 1, 1, 1 }, number[] = { 1, 2, 3, 4, 5, 6 };
    const char *model = bpe ? "gpt2" : "llama";
    sy_gguf_writer w;
    sy_expect_ok(sy_gguf_writer_open(&w, path, err));
    sy_gguf_put_text(&w, "general.architecture", "llama", 5);
    sy_gguf_put_text(&w, "tokenizer.ggml.model", model, strlen(model));
    if (bpe) sy_gguf_put_text(&w, "tokenizer.ggml.pre", "gpt-2", 5);
    if (lie == TOKENS_ARE_NUMBERS) sy_gguf_put_array(&w, "tokenizer.ggml.tokens", SY_GGUF_I32, 6), sy_gguf_elem(&w, number, sizeof number);
    else if (lie == TOKENS_ARE_A_TEXT) sy_gguf_put_text(&w, "tokenizer.ggml.tokens", "abc", 3);
    else texts(&w, "tokenizer.ggml.tokens", token, lie == TOKENS_ARE_FEW ? 2 : 6);
    uint64_t n = lie == SCORES_ARE_FEW ? 4 : 6;
    if (bpe) { }
    else if (lie == SCORES_ARE_TEXTS) texts(&w, "tokenizer.ggml.scores", token, 6);
    else if (lie == SCORES_ARE_ONE) sy_gguf_put_f32(&w, "tokenizer.ggml.scores", 1);
    else sy_gguf_put_array(&w, "tokenizer.ggml.scores", SY_GGUF_F32, n), sy_gguf_elem(&w, score, n * sizeof *score);
    n = lie == TYPES_ARE_MANY ? 8 : 6;
    if (lie == TYPES_ARE_TEXTS) texts(&w, "tokenizer.ggml.token_type", token, 6);
    else sy_gguf_put_array(&w, "tokenizer.ggml.token_type", SY_GGUF_I32, n), sy_gguf_elem(&w, type, n * sizeof *type);
    if (lie == MERGES_ARE_NUMBERS) sy_gguf_put_array(&w, "tokenizer.ggml.merges", SY_GGUF_I32, 6), sy_gguf_elem(&w, number, sizeof number);
    else if (bpe) texts(&w, "tokenizer.ggml.merges", (const char *const[]){ "a b" }, 1);
    sy_gguf_put_u32(&w, "tokenizer.ggml.unknown_token_id", 0);
    if (lie == BOS_IS_A_TEXT) sy_gguf_put_text(&w, "tokenizer.ggml.bos_token_id", "1", 1);
    else sy_gguf_put_u32(&w, "tokenizer.ggml.bos_token_id", 1);
    sy_gguf_put_u32(&w, "tokenizer.ggml.eos_token_id", 2);
    sy_expect_ok(sy_gguf_writer_begin(&w, err));
    sy_expect_ok(sy_gguf_writer_close(&w, err));
}

static void arrays_of_another_kind(void **state)
{
    (void)state;
    for (int lie = 0; lie < LIES; lie++) {
        char *path = in_dir("vocab.gguf");
        sy_tokenizer *t = NULL;
        sy_err e = { 0 };
        sy_test_case("lie %d about %s", lie, lie ? lies[lie].key : "nothing");
        write_vocab(path, lie, lies[lie].bpe);
        sy_status st = sy_tokenizer_load(&t, path, &e);
        if (lie == NONE) {
            assert_int_equal(st, SY_OK);
            sy_tokenizer_close(t);
            continue;
        }
        if (st != SY_EFORMAT) fail_msg("status %d: %s", st, e.text);
        if (!strstr(e.text, lies[lie].key) || !strstr(e.text, "vocab.gguf")) fail_msg("file and key are not in: %s", e.text);
    }
}

int main(void)
{
    sy_expect_ok(sy_engine_init(&eng, 2, NULL, &sy_builtin_methods, err));
    const struct CMUnitTest tests[] = { cmocka_unit_test(blocks_of_anything), cmocka_unit_test(arrays_of_another_kind) };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    sy_engine_uninit(&eng);
    return failed;
}
