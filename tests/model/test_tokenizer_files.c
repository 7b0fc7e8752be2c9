/* What lies beside a tokenizer.json: what it makes of the ids, and that it is kept. Oracles: ids and flags that transformers 5.24 gives for the same folders
 * (tests/ref/check_tokenizer_folders.py compares many more), texts written out, bytes that went in. */
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/file.h"
#include "core/random.h"
#include "model/chat.h"
#include "model/tokenizer_parts.h"

#define BYTES "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true}"
static const char letters[] =
    "{\"version\":\"1.0\",\"added_tokens\":[{\"id\":11,\"content\":\"<x>\",\"single_word\":false,\"lstrip\":true,\"rstrip\":false,\"normalized\":true,\"special\":false}],"
    "\"pre_tokenizer\":" BYTES ",\"post_processor\":null,\"decoder\":" BYTES ",\"model\":{\"type\":\"BPE\",\"vocab\":{\"<unk>\":0,\"<s>\":1,\"</s>\":2,\"a\":3,\"b\":4,\"ab\":5,\"\xC4\xA0\":6,\".\":7,\"!\":8,\"'\":9,\"s\":10},\"merges\":[\"a b\"]}}";
static const char words[] =
    "{\"version\":\"1.0\",\"added_tokens\":[],\"pre_tokenizer\":{\"type\":\"Whitespace\"},\"decoder\":null,\"model\":{\"type\":\"WordLevel\",\"unk_token\":\"x\",\"vocab\":"
    "{\"x\":0,\".\":1,\"?\":2,\"!\":3,\",\":4,\"'\":5,\"n't\":6,\"'m\":7,\"do\":8,\"not\":9,\"'s\":10,\"'ve\":11,\"'re\":12,\"s\":13,\"ve\":14,\"n\":15,\"t\":16,\"m\":17}}}";

static const char *folder(void)
{
    static char dir[700];
    snprintf(dir, sizeof dir, "%s/folder", sy_test_dir());
    sy_expect_ok(sy_remove_tree(dir, err));
    sy_expect_ok(sy_mkdirs(dir, err));
    return dir;
}

static void put(const char *dir, const char *name, const char *text)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    char *slash = strrchr(path, '/');
    *slash = 0;
    sy_expect_ok(sy_mkdirs(path, err));
    *slash = '/';
    sy_expect_ok(sy_file_write(path, text, strlen(text), err));
}

static bool is_file(const char *dir, const char *name, const char *text)
{
    char path[1024];
    sy_buf b = { 0 };
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (!sy_file_exists(path)) return false;
    sy_expect_ok(sy_file_read(path, 1 << 20, &b, err));
    bool same = b.n == strlen(text) && (!b.n || !memcmp(b.data, text, b.n));
    sy_buf_free(&b);
    return same;
}

#define X_OF(rest) "\"added_tokens_decoder\":{\"11\":{\"content\":\"<x>\",\"lstrip\":false,\"rstrip\":true,\"normalized\":true,\"single_word\":false,\"special\":false}" rest "}"
static const struct { const char *config, *map, *ids; int vocab, eot; } folders[] = {       /* ids of "<s>a <x> b</s>" with special tokens */
    { NULL, NULL, "10 3 11 6 4 10", 12, -1 },
    { "{\"bos_token\":\"<s>\",\"eos_token\":\"</s>\",\"pad_token\":\"[PAD]\",\"add_bos_token\":true,\"add_eos_token\":true}", NULL, "1 3 11 6 4 2", 13, 2 },
    { "{\"bos_token\":\"<s>\",\"eos_token\":\"<x>\"}", NULL, "1 3 11 6 4 10", 12, 11 },
    { "{\"bos_token\":\"<s>\"," X_OF(",\"3\":{\"content\":\"a\",\"normalized\":false}") ",\"extra_special_tokens\":[\"b\"]}", NULL, "1 3 6 11 4 10", 12, -1 },
    { "{\"image_token\":\"s\",\"additional_special_tokens\":[\"b\",\"q\"]}", NULL, "10 3 11 6 4 10", 13, -1 },
    { "{}", "{\"eos_token\":{\"content\":\"</s>\",\"lstrip\":false},\"bos_token\":\"<s>\"}", "1 3 11 6 4 2", 12, 2 },
    { "{" X_OF("") "}", "{\"eos_token\":\"</s>\"}", "10 3 6 11 4 10", 12, -1 },              /* the map is for files without a list of added tokens */
    { "{\"eos_token\":\"a\"}", "{\"eos_token\":\"b\"}", "10 3 11 6 4 10", 12, 4 },           /* and counts more than the config */
};

static void beside_counts_as_in_transformers(void **state)
{
    (void)state;
    static const char text[] = "<s>a <x> b</s>";
    for (size_t i = 0; i < SY_COUNT(folders); i++) {
        const char *dir = folder();
        sy_tokenizer *t = NULL, *u = NULL;
        sy_tokens k = { 0 };
        sy_test_case("%s, %s", folders[i].config ? folders[i].config : "no config", folders[i].map ? folders[i].map : "no map");
        put(dir, "tokenizer.json", letters);
        if (folders[i].config) put(dir, "tokenizer_config.json", folders[i].config);
        if (folders[i].map) put(dir, "special_tokens_map.json", folders[i].map);
        sy_expect_ok(sy_tokenizer_load(&t, dir, err));
        sy_expect_ok(sy_tokenizer_save(t, dir, err));
        assert_true(is_file(dir, "tokenizer.json", letters));
        if (folders[i].config) assert_true(is_file(dir, "tokenizer_config.json", folders[i].config));
        if (folders[i].map) assert_true(is_file(dir, "special_tokens_map.json", folders[i].map));
        sy_expect_ok(sy_tokenizer_load(&u, dir, err));
        assert_string_equal(sy_tokenizer_id(t), sy_tokenizer_id(u));
        for (int again = 0; again < 2; again++) {
            sy_buf b = { 0 };
            sy_expect_ok(sy_tokenizer_tokens(again ? u : t, text, strlen(text), SY_TOKENS_SPECIAL | SY_TOKENS_FRAMED | SY_TOKENS_AS_PACKAGE, &k, err));
            for (size_t n = 0; n < k.n; n++) sy_buf_printf(&b, "%s%d", n ? " " : "", k.id[n]);
            assert_string_equal(b.data, folders[i].ids);
            sy_buf_free(&b);
        }
        assert_int_equal(sy_tokenizer_vocab(t), folders[i].vocab);
        assert_int_equal(sy_tokenizer_eot(t), folders[i].eot);
        sy_tokens_free(&k);
        sy_tokenizer_close(t);
        sy_tokenizer_close(u);
    }
}

static void flags_that_do_not_count_are_named(void **state)
{
    (void)state;
    const char *dir = folder();
    sy_tokenizer *t = NULL;
    sy_err e = { 0 }, *err = &e;
    put(dir, "tokenizer.json", letters);
    put(dir, "tokenizer_config.json", "{\"bos_token\":\"<s>\",\"add_bos_token\":true,\"add_eos_token\":true}");
    sy_expect_ok(sy_tokenizer_load(&t, dir, err));
    assert_non_null(strstr(sy_tokenizer_notes(t), "add_bos_token of the tokenizer_config.json is true"));
    assert_null(strstr(sy_tokenizer_notes(t), "add_eos_token"));
    sy_tokenizer_close(t);
    static const struct { const char *config, *part; } wrong[] = {
        { "{\"pad_token\":5}", "'pad_token' is no text" }, { "{\"extra_special_tokens\":[5]}", "special token 0 of the list" }, { "{\"added_tokens_decoder\":[]}", "'added_tokens_decoder' is no object" },
        { "{\"added_tokens_decoder\":{\"7\":{\"id\":3}}}", "'7' is no token" }, { "{\"clean_up_tokenization_spaces\":3}", "clean_up_tokenization_spaces" },
    };
    for (size_t i = 0; i < SY_COUNT(wrong); i++) {
        sy_test_case("%s", wrong[i].config);
        put(dir, "tokenizer_config.json", wrong[i].config);
        sy_expect_fail(sy_tokenizer_load(&t, dir, err), SY_EFORMAT, wrong[i].part);
    }
}

/* A model need not have rows for special tokens that only the config names. */
static void tokens_behind_the_model(void **state)
{
    (void)state;
    const char *dir = folder();
    sy_tokenizer *t = NULL;
    sy_err e = { 0 }, *err = &e;
    put(dir, "tokenizer.json", letters);
    put(dir, "tokenizer_config.json", "{\"pad_token\":\"[PAD]\",\"eos_token\":\"</s>\"}");
    sy_expect_ok(sy_tokenizer_load(&t, dir, err));
    assert_int_equal(sy_tokenizer_vocab(t), 13);
    sy_expect_ok(sy_tokenizer_fits(t, 12, "m", err));
    sy_expect_fail(sy_tokenizer_fits(t, 11, "m", err), SY_ESHAPE, "m: the tokenizer has 12 ids, the model 11");
    sy_tokenizer_close(t);
    put(dir, "tokenizer_config.json", "{\"eos_token\":\"[END]\"}");
    sy_expect_ok(sy_tokenizer_load(&t, dir, err));
    sy_expect_fail(sy_tokenizer_fits(t, 12, "m", err), SY_ESHAPE, "the tokenizer has 13 ids");
    sy_tokenizer_close(t);
}

static void templates_are_kept(void **state)
{
    (void)state;
    static const struct { const char *name, *text; } files[] = {
        { "tokenizer_config.json", "{\"eos_token\": \"</s>\",   \"chat_template\": \"old\"}" }, { "chat_template.jinja", "new {{ eos_token }}\n" },
        { "additional_chat_templates/tool_use.jinja", "tools {{ tools }}" }, { "additional_chat_templates/rag.jinja", "" }, { "added_tokens.json", "{}" },
    };
    const char *dir = folder();
    char out[1024], file[1100];
    sy_tokenizer *t = NULL;
    sy_chat *a, *b;
    snprintf(out, sizeof out, "%s/out", dir);
    put(dir, "tokenizer.json", letters);
    put(dir, "other.txt", "x");
    for (size_t i = 0; i < SY_COUNT(files); i++) put(dir, files[i].name, files[i].text);
    sy_expect_ok(sy_tokenizer_load(&t, dir, err));
    sy_expect_ok(sy_mkdirs(out, err));
    sy_expect_ok(sy_tokenizer_save(t, out, err));
    for (size_t i = 0; i < SY_COUNT(files); i++) if (!is_file(out, files[i].name, files[i].text)) fail_msg("%s is not kept", files[i].name);
    assert_false(is_file(out, "other.txt", "x"));
    sy_expect_ok(sy_chat_load(&a, dir, err));
    sy_expect_ok(sy_chat_load(&b, out, err));
    assert_string_equal(sy_chat_id(a), sy_chat_id(b));
    sy_chat_close(b);
    sy_test_case("another template takes their place");
    put(dir, "mine.jinja", "mine");
    snprintf(file, sizeof file, "%s/mine.jinja", dir);
    sy_expect_ok(sy_chat_give(file, t, err));
    sy_expect_ok(sy_remove_tree(out, err));
    sy_expect_ok(sy_mkdirs(out, err));
    sy_expect_ok(sy_tokenizer_save(t, out, err));
    assert_true(is_file(out, "chat_template.jinja", "mine") && is_file(out, "tokenizer_config.json", files[0].text));
    assert_false(is_file(out, files[2].name, files[2].text));
    sy_chat_close(a);
    sy_tokenizer_close(t);
}

/* --- added tokens that get in each other's way: what the `tokenizers` package 0.23.3 gives ------------------------------------------------ */

#define TOKEN(id, text, flags) "{\"id\":" #id ",\"content\":\"" text "\"," flags "}"
#define PLAIN "\"normalized\":false,\"special\":false"
static const struct { const char *added, *normalizer, *text, *ids, *decoded, *what; } entangled[] = {
    { TOKEN(11, "<x>", PLAIN ",\"rstrip\":true") "," TOKEN(12, "\\n", PLAIN), "null", "a<x>\n\nb", "3 11 12 12 4", "a<x>\n\nb", "a blank is a token, though the one before it took it" },
    { TOKEN(11, "<x>", PLAIN ",\"rstrip\":true") "," TOKEN(12, "\\n", PLAIN ",\"lstrip\":true"), "null", "<x>\nb", "11 4", "<x>b", "one that strips finds nothing left" },
    { TOKEN(3, "a", "\"normalized\":false,\"special\":true"), "null", "ab", "5", "ab", "a special word of the vocabulary goes on being one" },
    { TOKEN(11, "E", "\"normalized\":true,\"special\":false") "," TOKEN(12, "e", "\"normalized\":true,\"special\":false"), "{\"type\":\"Lowercase\"}", "aeE", "3 11 11", "aee", "two that become one text" },
    { TOKEN(11, "B!", "\"normalized\":true,\"special\":true"), "{\"type\":\"Lowercase\"}", "a", "3", "a", "nothing to be found" },
};

static void added_tokens_in_each_other(void **state)
{
    (void)state;
    for (size_t i = 0; i < SY_COUNT(entangled); i++) {
        sy_tokenizer *t = NULL;
        sy_tokens k = { 0 };
        sy_buf json = { 0 }, b = { 0 }, out = { 0 };
        const char *from = strstr(letters, "\"pre_tokenizer\"");
        sy_test_case("%s", entangled[i].what);
        sy_buf_printf(&json, "{\"version\":\"1.0\",\"added_tokens\":[%s],\"normalizer\":%s,%s", entangled[i].added, entangled[i].normalizer, from);
        sy_expect_ok(sy_tokenizer_from_memory(&t, json.data, json.n, "tokenizer.json", err));
        sy_expect_ok(sy_tokenizer_tokens(t, entangled[i].text, strlen(entangled[i].text), SY_TOKENS_AS_PACKAGE, &k, err));
        for (size_t n = 0; n < k.n; n++) sy_buf_printf(&b, "%s%d", n ? " " : "", k.id[n]);
        assert_string_equal(b.data, entangled[i].ids);
        sy_expect_ok(sy_tokenizer_decode(t, k.id, k.n, &out, err));
        assert_string_equal(out.data, entangled[i].decoded);
        sy_buf_free(&out);
        sy_expect_ok(sy_tokenizer_decode(t, (const int32_t[]){ 11 }, 1, &out, err));
        if (!strcmp(entangled[i].what, "nothing to be found")) assert_string_equal(out.data, "b!");      /* respelled, it is no special token for the package */
        sy_buf_free(&json);
        sy_buf_free(&b);
        sy_buf_free(&out);
        sy_tokens_free(&k);
        sy_tokenizer_close(t);
    }
}

/* --- clean_up_tokenization_spaces ------------------------------------------------------------------------------------------------- */

static const struct { const char *ids, *text; } cleaned[] = {
    { "0 1", "x." }, { "0 2 3 4 0", "x?!, x" }, { "0 5 13", "x's" }, { "0 5 0", "x'x" }, { "8 6", "don't" }, { "0 7 10 11 12", "x'm's've're" }, { "8 9", "do not" }, { "0 15 5 16", "xn't" }, { "5 5 5", "'''" },
};

static void spaces_are_cleaned_up(void **state)
{
    (void)state;
    const char *dir = folder();
    sy_tokenizer *t = NULL;
    put(dir, "tokenizer.json", words);
    put(dir, "tokenizer_config.json", "{\"clean_up_tokenization_spaces\":true}");
    sy_expect_ok(sy_tokenizer_load(&t, dir, err));
    for (size_t i = 0; i < SY_COUNT(cleaned); i++) {
        int32_t id[16];
        size_t n = 0;
        sy_buf b = { 0 };
        for (char *at = (char *)cleaned[i].ids; *at; at += *at == ' ') id[n++] = (int32_t)strtol(at, &at, 10);
        sy_test_case("%s", cleaned[i].ids);
        sy_expect_ok(sy_tokenizer_decode(t, id, n, &b, err));
        assert_string_equal(b.data, cleaned[i].text);
        sy_buf_free(&b);
    }
    uint64_t key = sy_key(sy_test_seed(), SY_FOR_TEST, 1, 0, 0), pos = 0;
    for (int round = 0; round < 2000; round++) {     /* one id after the other gives the same text */
        int32_t id[12];
        size_t n = 1 + (size_t)sy_draw_below(key, pos++, 0, 12);
        sy_buf whole = { 0 }, parts = { 0 };
        sy_decoder d;
        for (size_t i = 0; i < n; i++) id[i] = (int32_t)(sy_draw_below(key, pos++, 0, 3) ? 5 + sy_draw_below(key, pos++, 1, 13) : sy_draw_below(key, pos++, 1, 18));
        sy_expect_ok(sy_tokenizer_decode(t, id, n, &whole, err));
        sy_expect_ok(sy_decoder_open(&d, t, NULL, 0, err));
        for (size_t i = 0; i < n; i++) sy_expect_ok(sy_decoder_feed(&d, id[i], &parts, err));
        sy_expect_ok(sy_decoder_end(&d, &parts, err));
        if (strcmp(whole.data, parts.data)) fail_msg("round %d: '%s' in parts, '%s' as a whole", round, parts.data, whole.data);
        sy_decoder_close(&d);
        sy_buf_free(&whole);
        sy_buf_free(&parts);
    }
    sy_tokenizer_close(t);
    sy_test_case("BPE is left alone");
    int32_t id[] = { 3, 6, 7 };
    sy_buf b = { 0 };
    put(dir, "tokenizer.json", letters);
    sy_expect_ok(sy_tokenizer_load(&t, dir, err));
    sy_expect_ok(sy_tokenizer_decode(t, id, 3, &b, err));
    assert_string_equal(b.data, "a .");
    sy_tokenizer_close(t);
    put(dir, "tokenizer_config.json", "{\"clean_up_tokenization_spaces\":true,\"clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output\":true}");
    sy_expect_ok(sy_tokenizer_load(&t, dir, err));
    sy_buf_clear(&b);
    sy_expect_ok(sy_tokenizer_decode(t, id, 3, &b, err));
    assert_string_equal(b.data, "a.");
    sy_buf_free(&b);
    sy_tokenizer_close(t);
}

static void memory_runs_out(void **state)
{
    (void)state;
    const char *dir = folder();
    put(dir, "tokenizer.json", words);
    put(dir, "tokenizer_config.json", "{\"clean_up_tokenization_spaces\":true,\"bos_token\":\"do\",\"extra_special_tokens\":[\"t\"],\"add_bos_token\":true," X_OF("") "}");
    put(dir, "additional_chat_templates/tool_use.jinja", "t");
    for (uint64_t n = 1; ; n++) {
        sy_tokenizer *t = NULL;
        sy_decoder d = { 0 };
        sy_buf b = { 0 };
        sy_err e = { 0 };
        uint64_t before = sy_alloc_calls();
        sy_alloc_fail_at(n, 1);
        sy_status st = sy_tokenizer_load(&t, dir, &e);
        if (st == SY_OK) st = sy_decoder_open(&d, t, NULL, 0, &e);
        for (int i = 0; i < 4 && st == SY_OK; i++) st = sy_decoder_feed(&d, 5, &b, &e);
        if (st == SY_OK) st = sy_decoder_end(&d, &b, &e);
        if (st == SY_OK) st = sy_tokenizer_save(t, dir, &e);
        sy_alloc_fail_at(0, 0);
        bool done = sy_alloc_calls() - before < n;
        sy_decoder_close(&d);
        sy_buf_free(&b);
        sy_tokenizer_close(t);
        if (st == SY_OK && done) break;
        if (st != SY_ENOMEM) fail_msg("allocation %llu: %s (%s)", (unsigned long long)n, e.text, sy_status_text(st));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(beside_counts_as_in_transformers), cmocka_unit_test(flags_that_do_not_count_are_named), cmocka_unit_test(tokens_behind_the_model), cmocka_unit_test(templates_are_kept),
        cmocka_unit_test(added_tokens_in_each_other), cmocka_unit_test(spaces_are_cleaned_up), cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
