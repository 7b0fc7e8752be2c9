/* tests/data/test_chat.c - conversations written by a chat template become tokens with a mask. Oracle: the ids and masks written out. */
#include "testing.h"

#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "data/data.h"

static const char *put(const char *name, const char *text)
{
    static char path[2][512];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", sy_test_dir(), name);
    sy_expect_ok(sy_file_write(path[turn], text, strlen(text), err));
    return path[turn];
}

static const char line[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"a<|endoftext|>\"}, {\"role\": \"assistant\", \"content\": \"bc\"}, {\"role\": \"user\", \"content\": \"d\"}, "
                           "{\"role\": \"assistant\", \"content\": \"e\"}]}\n";

/* All labels of the first row as text, [..] where they count. */
static void expect_row(const char *template, const char *want)
{
    sy_tokenizer *tok;
    sy_data *d;
    sy_data_options o;
    sy_arena a = { 0 };
    sy_batch b;
    sy_buf got = { 0 };
    const char *lines = put("c.jsonl", line);
    sy_sources src = { .train = &lines, .n_train = 1 };
    sy_opt_defaults(sy_data_opts, &o);
    o.val_fraction = 0;
    o.shuffle = false;
    o.chat_template = template;
    sy_expect_ok(sy_tokenizer_open_bytes(&tok, true, err));
    sy_expect_ok(sy_data_open(&d, &src, &o, tok, 0, err));
    sy_expect_ok(sy_data_rows(d, 0, 1, &a, &b, err));
    for (int i = 0; i < b.T; i++) {
        bool counts = b.label[i] >= 0, before = i && b.label[i - 1] >= 0;
        int id = i + 1 < b.T ? b.id[i + 1] : b.label[i];
        if (counts != before) sy_buf_text(&got, counts ? "[" : "]");
        if (id == 256) sy_buf_text(&got, "$");
        else if (id >= 0) sy_buf_put(&got, &(char){ (char)id }, 1);
    }
    if (b.label[b.T - 1] >= 0) sy_buf_text(&got, "]");
    assert_string_equal(got.data, want);
    sy_buf_free(&got);
    sy_arena_free(&a);
    sy_data_close(d);
    sy_tokenizer_close(tok);
}

static void the_loss_is_on_what_the_assistant_makes(void **state)
{
    (void)state;
    sy_test_case("by differences; the first token is no label, the end of the document is $");
    expect_row(put("t.jinja", "{% for m in messages %}<{{ m.role[0] }}>{{ m.content }};{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"), "u>a<|endoftext|>;<a>[bc;]<u>d;<a>[e;$]");
    sy_test_case("by generation blocks");
    expect_row(put("g.jinja", "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{{ '<|endoftext|>' }}{% else %}{{ m.content }}{% endif %}{% endfor %}"),
               "<|endoftext|>[bc]$d[e]$");
}

static void what_cannot_be_told_apart_is_refused(void **state)
{
    (void)state;
    sy_tokenizer *tok;
    sy_data *d;
    sy_data_options o;
    sy_err sentence = { 0 }, *err = &sentence;
    const char *lines = put("c.jsonl", line);
    sy_sources src = { .train = &lines, .n_train = 1 };
    sy_opt_defaults(sy_data_opts, &o);
    o.chat_template = put("bad.jinja", "{% for m in messages %}{{ loop.last }}{{ m.content }}{% endfor %}");
    sy_expect_ok(sy_tokenizer_open_bytes(&tok, true, err));
    sy_expect_fail(sy_data_open(&d, &src, &o, tok, 0, err), SY_EUNSUP, "c.jsonl' line 1");
    o.chat_template = sy_test_dir();
    sy_expect_fail(sy_data_open(&d, &src, &o, tok, 0, err), SY_ENOENT, "brings no chat template");
    sy_tokenizer_close(tok);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(the_loss_is_on_what_the_assistant_makes), cmocka_unit_test(what_cannot_be_told_apart_is_refused) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
