/* Tokenizers of GGUF files: the vectors that llama.cpp publishes beside its vocabularies (outside of the repository), and files that are made here. */
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "model/gguf.h"
#include "model/gguf_rules.h"
#include "model/tokenizer_parts.h"

/* --- published vectors ------------------------------------------------------------------------------------------------------------ */

static size_t read_line(const char **s, int32_t *id, size_t room)
{
    size_t n = 0;
    while (**s && **s != '\n') {
        char *end;
        long v = strtol(*s, &end, 10);
        if (end == *s) { ++*s; continue; }
        if (n < room) id[n++] = (int32_t)v;
        *s = end;
        *s += strspn(*s, " \r");
    }
    *s += **s == '\n';
    return n;
}

static void vectors(const char *path)
{
    static const char between[] = "\n__ggml_vocab_test__\n";
    char file[1100];
    sy_tokenizer *t = NULL, *u = NULL;
    sy_buf in = { 0 }, out = { 0 };
    sy_tokens k = { 0 };
    sy_expect_ok(sy_tokenizer_load(&t, path, err));
    snprintf(file, sizeof file, "%s.inp", path);
    sy_expect_ok(sy_file_read(file, 1 << 20, &in, err));
    snprintf(file, sizeof file, "%s.out", path);
    sy_expect_ok(sy_file_read(file, 1 << 20, &out, err));
    const char *want = out.data;
    int count = 0;
    sy_expect_ok(sy_tokenizer_save(t, sy_test_dir(), err));          /* and as a tokenizer.json */
    sy_expect_ok(sy_tokenizer_load(&u, sy_test_dir(), err));
    for (const char *text = in.data, *end; (end = strstr(text, between)) != NULL; text = end + sizeof between - 1, count++) {
        int32_t id[1024];
        size_t n = read_line(&want, id, SY_COUNT(id));
        for (int again = 0; again < 2; again++) {
            sy_expect_ok(sy_tokenizer_tokens(again ? u : t, text, (size_t)(end - text), 0, &k, err));
            if (k.n != n) fail_msg("%s, text %d \"%.*s\": %zu ids, want %zu", path, count, (int)(end - text), text, k.n, n);
            sy_expect_ids("ids", k.id, id, n);
        }
    }
    assert_true(count >= 40);
    sy_tokens_free(&k);
    sy_buf_free(&in);
    sy_buf_free(&out);
    sy_tokenizer_close(t);
    sy_tokenizer_close(u);
}

static void published_vectors(void **state)
{
    (void)state;
    static const char *const names[] = { "gpt-2", "llama-spm", "deepseek-llm", "starcoder" };
    if (!sy_test_data()) { print_message("no real data beside the repository: skipped\n"); skip(); }
    for (size_t i = 0; i < SY_COUNT(names); i++) {
        char path[1024];
        sy_test_case("%s", names[i]);
        snprintf(path, sizeof path, "%s/tokenizers/gguf-vocab/ggml-vocab-%s.gguf", sy_test_data(), names[i]);
        vectors(path);
    }
}

/* --- files that are made here -------------------------------------------------------------------------------------------------------- */

typedef struct vocab {
    const char *model, *pre;
    const char *const *token;           /* ends with NULL */
    const float *score;
    const int *type;
    const char *const *merge;
    int unk, bos, eos;
} vocab;

static void put_texts(sy_gguf_writer *w, const char *key, const char *const *text)
{
    uint64_t n = 0;
    while (text[n]) n++;
    sy_gguf_put_array(w, key, SY_GGUF_TEXT, n);
    for (uint64_t i = 0; i < n; i++) sy_gguf_elem_text(w, text[i], strlen(text[i]));
}

static sy_status open_made(const vocab *v, sy_tokenizer **t, sy_err *err)
{
    char path[700];
    sy_gguf_writer w;
    uint64_t n = 0;
    snprintf(path, sizeof path, "%s/vocab.gguf", sy_test_dir());
    sy_expect_ok(sy_gguf_writer_open(&w, path, err));
    sy_gguf_put_text(&w, "general.architecture", "llama", 5);
    sy_gguf_put_text(&w, "tokenizer.ggml.model", v->model, strlen(v->model));
    if (v->pre) sy_gguf_put_text(&w, "tokenizer.ggml.pre", v->pre, strlen(v->pre));
    if (v->token) {
        put_texts(&w, "tokenizer.ggml.tokens", v->token);
        while (v->token[n]) n++;
    }
    if (v->score) {
        sy_gguf_put_array(&w, "tokenizer.ggml.scores", SY_GGUF_F32, n);
        sy_gguf_elem(&w, v->score, n * sizeof *v->score);
    }
    if (v->type) {
        sy_gguf_put_array(&w, "tokenizer.ggml.token_type", SY_GGUF_I32, n);
        sy_gguf_elem(&w, v->type, n * sizeof *v->type);
    }
    if (v->merge) put_texts(&w, "tokenizer.ggml.merges", v->merge);
    sy_gguf_put_u32(&w, "tokenizer.ggml.unknown_token_id", (uint32_t)v->unk);
    sy_gguf_put_u32(&w, "tokenizer.ggml.bos_token_id", (uint32_t)v->bos);
    sy_gguf_put_u32(&w, "tokenizer.ggml.eos_token_id", (uint32_t)v->eos);
    sy_expect_ok(sy_gguf_writer_begin(&w, err));
    sy_expect_ok(sy_gguf_writer_close(&w, err));
    return sy_tokenizer_load(t, path, err);
}

#define MARK "\xE2\x96\x81"
static const char *const bert_tokens[] = { "[PAD]", "[UNK]", "[CLS]", "[SEP]", MARK "hello", MARK "wor", "ld", MARK ",", MARK "!", MARK "\xE4\xB8\xAD", "s", NULL };
static const int bert_types[] = { 3, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1 };
static const char *const t5_tokens[] = { "<pad>", "</s>", "<unk>", MARK, MARK "he", "llo", "l", "o", MARK "hello", "h", "e", NULL };
static const float t5_scores[] = { 0, 0, 0, -3, -4, -5, -4.5f, -4.5f, -11, -6, -6 };
static const int t5_types[] = { 3, 3, 2, 1, 1, 1, 1, 1, 1, 1, 1 };
static const char *const spm_tokens[] = { "<unk>", "<s>", "</s>", MARK, "a", "b", "ab", "ba", "aba", "<user>", NULL };
static const float spm_scores[] = { 0, 0, 0, -1, -2, -3, -5, -5, -4, 0 };
static const int spm_types[] = { 2, 3, 3, 1, 1, 1, 1, 1, 1, 4 };

static void expect_ids(const vocab *v, const char *text, int flags, const int *want, size_t n)
{
    sy_tokenizer *t = NULL;
    sy_tokens k = { 0 };
    sy_expect_ok(open_made(v, &t, err));
    sy_expect_ok(sy_tokenizer_tokens(t, text, strlen(text), flags, &k, err));
    if (k.n != n) fail_msg("\"%s\": %zu ids, want %zu", text, k.n, n);
    sy_expect_ids("ids", k.id, want, n);
    assert_int_equal(sy_tokenizer_eot(t), v->eos);
    sy_tokens_free(&k);
    sy_tokenizer_close(t);
}
#define EXPECT(v, text, flags, ...) expect_ids(v, text, flags, (const int[]){ __VA_ARGS__ }, sizeof (const int[]){ __VA_ARGS__ } / sizeof(int))

static void small_ones(void **state)
{
    (void)state;
    static const vocab bert = { .model = "bert", .token = bert_tokens, .type = bert_types, .unk = 1, .bos = 2, .eos = 3 };
    static const vocab t5 = { .model = "t5", .token = t5_tokens, .type = t5_types, .score = t5_scores, .unk = 2, .bos = 0, .eos = 1 };
    static const vocab spm = { .model = "llama", .token = spm_tokens, .type = spm_types, .score = spm_scores, .unk = 0, .bos = 1, .eos = 2 };
    sy_test_case("bert");
    EXPECT(&bert, "Hello, WORLD!", 0, 4, 7, 5, 6, 8);
    EXPECT(&bert, "h\xC3\xA9llo xyz\xE4\xB8\xADworlds", 0, 4, 1, 9, 5, 6, 10);
    sy_test_case("t5");
    EXPECT(&t5, "hello", 0, 4, 5);                   /* -4 and -5 against -11 */
    EXPECT(&t5, "  hello  hello ", SY_TOKENS_FRAMED, 4, 5, 4, 5, 1);
    EXPECT(&t5, "hex", 0, 4, 2);
    sy_test_case("llama");
    EXPECT(&spm, "abab", 0, 3, 8, 5);                /* of equal scores the leftmost first: ab, which leads to aba */
    EXPECT(&spm, "ba", 0, 3, 7);
    EXPECT(&spm, "aba", SY_TOKENS_FRAMED, 1, 3, 8);
    EXPECT(&spm, "ab<user>b", 0, 3, 6, 9, 3, 5);
}

static void refused(void **state)
{
    (void)state;
    static const char *const twice[] = { "a", "a", NULL }, *const broken[] = { "a", "\xFF", NULL }, *const empty[] = { "a", "", NULL };
    static const float infinite[] = { 0, 1.0f / 0.0f };
    static const int types[] = { 1, 9 };
    static const char *const two[] = { "a", "b", NULL }, *const no_space[] = { "ab", NULL };
    static const struct { vocab v; sy_status want; const char *part; } cases[] = {
        { { .model = "rwkv", .token = two }, SY_EUNSUP, "tokenizer.ggml.model is \"rwkv\"" },
        { { .model = "llama" }, SY_EFORMAT, "tokenizer.ggml.tokens is missing" },
        { { .model = "llama", .token = twice }, SY_EFORMAT, "tokenizer.ggml.tokens[0] and [1] are the same text" },
        { { .model = "llama", .token = broken }, SY_EFORMAT, "tokenizer.ggml.tokens[1] is not UTF-8" },
        { { .model = "llama", .token = empty }, SY_EUNSUP, "tokenizer.ggml.tokens[1] has 0 bytes" },
        { { .model = "llama", .token = two, .score = infinite }, SY_EFORMAT, "tokenizer.ggml.scores[1] is no finite number" },
        { { .model = "llama", .token = two, .type = types }, SY_EFORMAT, "tokenizer.ggml.token_type[1] is no token type" },
        { { .model = "llama", .token = two, .bos = 7 }, SY_EFORMAT, "tokenizer.ggml.bos_token_id is 7; ids go from 0 to 1" },
        { { .model = "gpt2", .pre = "morse", .token = two, .merge = no_space }, SY_EUNSUP, "tokenizer.ggml.pre is \"morse\"" },
        { { .model = "gpt2", .pre = "gpt-2", .token = two }, SY_EFORMAT, "tokenizer.ggml.merges is missing" },
        { { .model = "gpt2", .pre = "gpt-2", .token = two, .merge = no_space }, SY_EFORMAT, "tokenizer.ggml.merges[0] must be two tokens" },
    };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_tokenizer *t = NULL;
        sy_err e = { 0 }, *err = &e;
        sy_test_case("%s", cases[i].part);
        sy_expect_fail(open_made(&cases[i].v, &t, err), cases[i].want, cases[i].part);
        if (!strstr(e.text, "vocab.gguf")) fail_msg("the file is not named: %s", e.text);
    }
}

/* The table of rules is read in both directions: a rule is found again by its expressions, and by that one of equal rules which merges alike. */
static void rules_are_found_again(void **state)
{
    (void)state;
    static const char *const names[] = { "gpt-2", "starcoder", "falcon", "default", "llama-bpe", "dbrx", "qwen2", "qwen35", "deepseek-coder", "deepseek-llm", "deepseek-v3", "gpt-4o", "tekken", "bloom", "viking" };
    for (size_t i = 0; i < SY_COUNT(names); i++) {
        const sy_gguf_rule *r = sy_gguf_rule_named(names[i]), *found = NULL;
        sy_buf text[7] = { 0 };
        const char *regex[8] = { NULL };
        sy_test_case("%s", names[i]);
        assert_non_null(r);
        for (int k = 0; r->regex[k]; k++) {
            sy_gguf_rule_regex(r->regex[k], &text[k]);
            regex[k] = text[k].data;
            assert_null(strstr(regex[k], "CASED"));
        }
        sy_expect_ok(sy_gguf_rule_of(regex, r->ignore_merges, &found, err));
        assert_ptr_equal(found, r);
        for (int k = 0; k < 7; k++) sy_buf_free(&text[k]);
    }
    const sy_gguf_rule *none = sy_gguf_rule_named("gpt-2");
    sy_expect_ok(sy_gguf_rule_of((const char *const[]){ "x", NULL }, false, &none, err));
    assert_null(none);
    assert_ptr_equal(sy_gguf_rule_named("llama3"), sy_gguf_rule_named("llama-bpe"));
    assert_null(sy_gguf_rule_named("llama"));
    assert_null(sy_gguf_rule_named("gpt2 mpt"));
    assert_null(sy_gguf_rule_named(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(published_vectors), cmocka_unit_test(small_ones), cmocka_unit_test(refused), cmocka_unit_test(rules_are_found_again) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
