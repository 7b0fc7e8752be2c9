/* tests/model/test_chat.c - templates out of a model's files, answers that are marked, and text that never becomes a special token. Oracle: texts and ids
 * written out. (What templates render is compared with transformers in test_template.c.) */
#include "testing.h"

#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/file.h"
#include "model/chat.h"
#include "model/gguf.h"

static json_t *json(const char *text)
{
    json_t *v = NULL;
    sy_expect_ok(sy_json_parse(&v, text, strlen(text), "test", err));
    return v;
}

static const char *put(const char *dir, const char *name, const char *text)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s%s", sy_test_dir(), dir, name);
    char *slash = strrchr(path, '/');
    *slash = 0;
    sy_expect_ok(sy_mkdirs(path, err));
    *slash = '/';
    sy_expect_ok(sy_file_write(path, text, strlen(text), err));
    *slash = 0;
    return path;                                     /* the folder */
}

static void expect_text(const char *path, const char *messages, bool tools, const char *want)
{
    sy_chat *c;
    sy_rendering r = { 0 };
    json_t *m = json(messages), *t = json("[{\"name\": \"f\"}]");
    sy_expect_ok(sy_chat_load(&c, path, err));
    assert_non_null(c);
    sy_expect_ok(sy_chat_render(c, &(sy_conversation){ .messages = m, .tools = tools ? t : NULL, .answer = true }, &r, err));
    assert_string_equal(r.text.data, want);
    sy_rendering_free(&r);
    sy_chat_close(c);
    json_decref(m);
    json_decref(t);
}

#define HI "[{\"role\": \"user\", \"content\": \"hi\", \"name\": null}]"

static void templates_come_from_a_models_files(void **state)
{
    (void)state;
    sy_chat *c = (sy_chat *)1;
    sy_test_case("none");
    sy_expect_ok(sy_chat_load(&c, put("none/", "tokenizer_config.json", "{\"bos_token\": \"<s>\"}"), err));
    assert_null(c);
    sy_test_case("tokenizer_config.json");
    const char *text = "{\"bos_token\": {\"content\": \"<s>\", \"lstrip\": false}, \"chat_template\": \"{{ bos_token }}{{ messages[0].content }}{{ 'name' in messages[0] }}\"}";
    expect_text(put("config/", "tokenizer_config.json", text), HI, false, "<s>hiFalse");
    sy_test_case("a list of templates");
    text = "{\"chat_template\": [{\"name\": \"default\", \"template\": \"d{{ tools }}\"}, {\"name\": \"tool_use\", \"template\": \"t{{ tools[0].name }}\"}]}";
    expect_text(put("list/", "tokenizer_config.json", text), HI, false, "dNone");
    expect_text(put("list/", "tokenizer_config.json", text), HI, true, "tf");
    sy_test_case("files of templates stand instead of all that the config has");
    put("more/", "tokenizer_config.json", text);
    put("more/", "chat_template.jinja", "d");
    expect_text(put("more/", "tokenizer_config.json", text), HI, true, "d");
    put("more/", "additional_chat_templates/tool_use.jinja", "u");
    expect_text(put("more/", "tokenizer_config.json", text), HI, true, "u");
    sy_test_case("chat_template.jinja wins, special_tokens_map.json helps");
    put("file/", "tokenizer_config.json", "{\"chat_template\": \"old\"}");
    put("file/", "special_tokens_map.json", "{\"eos_token\": \"</s>\"}");
    expect_text(put("file/", "chat_template.jinja", "new{{ eos_token }}{{ add_generation_prompt }}\n"), HI, false, "new</s>True");
}

static void templates_come_from_gguf(void **state)
{
    (void)state;
    char path[512];
    sy_gguf_writer g;
    snprintf(path, sizeof path, "%s/m.gguf", sy_test_dir());
    sy_expect_ok(sy_gguf_writer_open(&g, path, err));
    sy_gguf_put_text(&g, "general.architecture", "llama", 5);
    sy_gguf_put_array(&g, "tokenizer.ggml.tokens", SY_GGUF_TEXT, 3);
    sy_gguf_elem_text(&g, "a", 1);
    sy_gguf_elem_text(&g, "<s>", 3);
    sy_gguf_elem_text(&g, "</s>", 4);
    sy_gguf_put_u32(&g, "tokenizer.ggml.bos_token_id", 1);
    sy_gguf_put_u32(&g, "tokenizer.ggml.eos_token_id", 2);
    sy_gguf_put_text(&g, "tokenizer.chat_template", "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}", 55);
    sy_expect_ok(sy_gguf_writer_begin(&g, err));
    sy_expect_ok(sy_gguf_writer_close(&g, err));
    expect_text(path, HI, false, "<s>hi</s>");
    sy_test_case("several templates, which stay several in a folder");
    sy_expect_ok(sy_gguf_writer_open(&g, path, err));
    sy_gguf_put_text(&g, "general.architecture", "llama", 5);
    sy_gguf_put_text(&g, "tokenizer.chat_template", "plain", 5);
    sy_gguf_put_text(&g, "tokenizer.chat_template.tool_use", "tools", 5);
    sy_expect_ok(sy_gguf_writer_begin(&g, err));
    sy_expect_ok(sy_gguf_writer_close(&g, err));
    expect_text(path, HI, false, "plain");
    expect_text(path, HI, true, "tools");
}

static const struct { const char *name, *text; sy_status status; const char *part; } wrong[] = {
    { "tokenizer_config.json", "{\"chat_template\": 3}", SY_EFORMAT, "neither a text nor a list" }, { "tokenizer_config.json", "[]", SY_EFORMAT, "no JSON object" },
    { "tokenizer_config.json", "{\"chat_template\": [{\"name\": \"rag\", \"template\": \"\"}]}", SY_EUNSUP, "'default' or 'tool_use'" },
    { "tokenizer_config.json", "{\"chat_template\": \"x\", \"bos_token\": 5}", SY_EFORMAT, "'bos_token' is no text" },
    { "chat_template.jinja", "a\n{% if %}", SY_EFORMAT, "chat_template.jinja, line 2" },
};

static void wrong_files_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < SY_COUNT(wrong); i++) {
        char dir[32];
        sy_chat *c;
        sy_err sentence = { 0 }, *err = &sentence;
        snprintf(dir, sizeof dir, "wrong%zu/", i);
        sy_test_case("%s", wrong[i].text);
        sy_expect_fail(sy_chat_load(&c, put(dir, wrong[i].name, wrong[i].text), err), wrong[i].status, wrong[i].part);
    }
}

/* --- what an assistant made -------------------------------------------------------------------------------------------------------- */

static const struct { const char *text, *want; } answers[] = {     /* [..] counts */
    { "{% for m in messages %}<{{ m.role }}>{{ m.content }};{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}", "<user>a;<assistant>[b;]<user>c;<assistant>[d;]" },
    { "{% for m in messages %}{{ m.role }}:{% if m.role == 'assistant' %}{% generation %}{{ m.content }}!{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}",
      "user:aassistant:[b!]user:cassistant:[d!]" },
};

static void answers_are_marked(void **state)
{
    (void)state;
    json_t *m = json("[{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"b\"}, {\"role\": \"user\", \"content\": \"c\"}, {\"role\": \"assistant\", \"content\": \"d\"}]");
    sy_err sentence = { 0 }, *err = &sentence;
    sy_rendering r = { 0 };
    sy_chat *c;
    for (size_t i = 0; i < SY_COUNT(answers); i++) {
        sy_buf b = { 0 };
        sy_test_case("%s", answers[i].text);
        sy_expect_ok(sy_chat_new(&c, answers[i].text, strlen(answers[i].text), NULL, "t", err));
        sy_expect_ok(sy_chat_render_answers(c, &(sy_conversation){ .messages = m }, &r, err));
        for (size_t k = 0; k <= r.text.n; k++) {
            bool was = k && r.mark.data[k - 1] & SY_GENERATED, is = k < r.text.n && r.mark.data[k] & SY_GENERATED;
            if (was != is) sy_buf_put(&b, is ? "[" : "]", 1);
            if (k < r.text.n) sy_buf_put(&b, r.text.data + k, 1);
        }
        assert_string_equal(b.data, answers[i].want);
        sy_buf_free(&b);
        sy_chat_close(c);
    }
    static const char forgets[] = "{% for m in messages %}<{{ m.role }}>{% if loop.last %}(thinks){% endif %}{{ m.content }}{% endfor %}";
    sy_expect_ok(sy_chat_new(&c, forgets, strlen(forgets), NULL, "t", err));
    sy_expect_fail(sy_chat_render_answers(c, &(sy_conversation){ .messages = m }, &r, err), SY_EUNSUP, "needs {% generation %}");
    sy_chat_close(c);
    sy_rendering_free(&r);
    json_decref(m);
}

/* --- special tokens ------------------------------------------------------------------------------------------------------------------ */

static void text_of_special_tokens_stays_text(void **state)
{
    (void)state;
    static const char text[] = "{{ eos_token }}{{ messages[0].content }}{{ eos_token }}{{ '<|end' ~ messages[0].tail }}";
    json_t *m = json("[{\"role\": \"user\", \"content\": \"a<|endoftext|>b\", \"tail\": \"oftext|>\"}]"), *own = json("{\"eos_token\": \"<|endoftext|>\"}");
    sy_chat *c;
    sy_tokenizer *tok;
    sy_specials *s;
    sy_rendering r = { 0 };
    int32_t id[200], want[200];
    size_t n = 0, k = 0;
    want[k++] = 256;
    for (const char *p = "a<|endoftext|>b"; *p; p++) want[k++] = *p;
    want[k++] = 256;
    for (const char *p = "<|endoftext|>"; *p; p++) want[k++] = *p;             /* half of it was written by the user */
    sy_expect_ok(sy_tokenizer_open_bytes(&tok, true, err));
    sy_expect_ok(sy_specials_open(&s, tok, err));
    sy_expect_ok(sy_chat_new(&c, text, strlen(text), own, "t", err));
    sy_expect_ok(sy_chat_render(c, &(sy_conversation){ .messages = m }, &r, err));
    assert_true(sy_tokenizer_most(tok, r.text.n) <= SY_COUNT(id));
    sy_expect_ok(sy_specials_encode(s, r.text.data, r.mark.data, 0, r.text.n, id, &n, err));
    assert_int_equal(n, k);
    sy_expect_ids("ids", id, want, n);
    sy_expect_ok(sy_specials_encode(s, r.text.data, NULL, 0, r.text.n, id, &n, err));
    assert_int_equal(n, r.text.n);
    sy_rendering_free(&r);
    sy_chat_close(c);
    sy_specials_close(s);
    sy_tokenizer_close(tok);
    json_decref(m);
    json_decref(own);
}

static void conversations_that_are_none_are_refused(void **state)
{
    (void)state;
    sy_err sentence = { 0 }, *err = &sentence;
    sy_chat *c;
    sy_rendering r = { 0 };
    static const struct { const char *messages, *extra, *part; sy_status status; } bad[] = {
        { "[]", NULL, "at least one message", SY_EFORMAT }, { "{}", NULL, "at least one message", SY_EFORMAT }, { "[3]", NULL, "message 1 is no object", SY_EFORMAT },
        { HI, "{\"tools\": 1}", "given by the conversation itself", SY_EARG },
    };
    sy_expect_ok(sy_chat_new(&c, "x", 1, NULL, "t", err));
    for (size_t i = 0; i < SY_COUNT(bad); i++) {
        json_t *m = json(bad[i].messages), *extra = bad[i].extra ? json(bad[i].extra) : NULL;
        sy_expect_fail(sy_chat_render(c, &(sy_conversation){ .messages = m, .extra = extra }, &r, err), bad[i].status, bad[i].part);
        json_decref(m);
        json_decref(extra);
    }
    sy_chat_close(c);
    sy_rendering_free(&r);
}

static void every_failed_allocation_is_a_status(void **state)
{
    (void)state;
    char dir[512];
    snprintf(dir, sizeof dir, "%s", put("memory/", "tokenizer_config.json", "{\"bos_token\": \"<s>\", \"chat_template\": \"{{ bos_token }}{% for m in messages %}{{ m | tojson }}{% endfor %}\"}"));
    json_t *m = json("[{\"role\": \"user\", \"content\": \"a\", \"reasoning\": \"r\"}, {\"role\": \"assistant\", \"content\": null}]");
    for (uint64_t n = 1; ; n++) {
        sy_chat *c = NULL;
        sy_rendering r = { 0 };
        sy_err err = { 0 };
        sy_test_case("allocation %llu fails", (unsigned long long)n);
        sy_alloc_fail_at(n, 0);
        sy_status st = sy_chat_load(&c, dir, &err);
        if (st == SY_OK) st = sy_chat_render(c, &(sy_conversation){ .messages = m }, &r, &err);
        sy_alloc_fail_at(0, 0);
        sy_chat_close(c);
        sy_rendering_free(&r);
        if (st == SY_OK) break;
    }
    json_decref(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(templates_come_from_a_models_files), cmocka_unit_test(templates_come_from_gguf), cmocka_unit_test(wrong_files_are_refused), cmocka_unit_test(answers_are_marked),
        cmocka_unit_test(text_of_special_tokens_stays_text), cmocka_unit_test(conversations_that_are_none_are_refused), cmocka_unit_test(every_failed_allocation_is_a_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
