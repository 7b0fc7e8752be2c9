/* tests/cli/test_cmd_tokenize.c - switchyard tokenize as a user runs it, on a tokenizer of tests/fixtures. */
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "core/file.h"
#include "core/json.h"

static json_t *root;
static char dir[600];
static sy_buf said;

/* Runs the command with the text on standard input; what it prints goes to `said`, what it complains of to DIR/err. */
static int run(const char *text, size_t n, const char *flags)
{
    char in[700], line[3000];
    snprintf(in, sizeof in, "%s/in", sy_test_dir());
    sy_expect_ok(sy_file_write(in, text, n, err));
    snprintf(line, sizeof line, "%s tokenize %s %s <%s 2>%s/err", SY_BINARY, dir, flags, in, sy_test_dir());
    FILE *p = popen(line, "r");
    assert_non_null(p);
    sy_buf_clear(&said);
    for (int c; (c = getc(p)) != EOF; ) sy_buf_put(&said, &(char){ (char)c }, 1);
    int status = pclose(p);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void expect(const char *text, const char *flags, const char *want)
{
    sy_test_case("%s", flags);
    int code = run(text, strlen(text), flags);
    if (code || strcmp(said.data ? said.data : "", want)) fail_msg("'%s' of \"%s\" ended with %d and said\n%s\nwant\n%s", flags, text, code, said.data ? said.data : "(nothing)", want);
}

static void refused(const char *text, const char *flags, int code, const char *part)
{
    char path[700];
    sy_buf b = { 0 };
    sy_test_case("%s", flags);
    assert_int_equal(run(text, strlen(text), flags), code);
    snprintf(path, sizeof path, "%s/err", sy_test_dir());
    sy_expect_ok(sy_file_read(path, 1 << 16, &b, err));
    if (!b.data || !strstr(b.data, part)) fail_msg("'%s' is not in:\n%s", part, b.data ? b.data : "(nothing)");
    sy_buf_free(&b);
}

static int set_up(void **state)
{
    (void)state;
    char path[700];
    sy_err err;
    snprintf(dir, sizeof dir, "%s/model", sy_test_dir());
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    if (sy_mkdirs(dir, &err) != SY_OK || sy_json_read(&root, "tests/fixtures/tokenizer_kinds.json", 1 << 24, &err) != SY_OK) return -1;
    return json_dump_file(json_object_get(json_object_get(root, "tokenizers"), "llama"), path, JSON_COMPACT);
}

/* A line of ids, as the fixture has them for text i. */
static void put_ids(sy_buf *b, size_t i, bool framed, bool offsets)
{
    json_t *c = json_array_get(json_object_get(json_object_get(root, "cases"), "llama"), i);
    size_t at = framed && json_array_size(c) > 3 ? 3 : 0;
    json_t *ids = json_array_get(c, at), *spans = json_array_get(c, at + 1);
    for (size_t k = 0; k < json_array_size(ids); k++) {
        sy_buf_printf(b, "%s%lld", k ? " " : "", (long long)json_integer_value(json_array_get(ids, k)));
        if (offsets) sy_buf_printf(b, ":%lld-%lld", (long long)json_integer_value(json_array_get(spans, 2 * k)), (long long)json_integer_value(json_array_get(spans, 2 * k + 1)));
    }
    sy_buf_text(b, "\n");
}

static void every_text_of_the_fixture(void **state)
{
    (void)state;
    json_t *texts = json_object_get(root, "texts");
    static const struct { const char *flags; bool framed, offsets; } cases[] = { { "", false, false }, { "--offsets", false, true }, { "--special --add-special", true, false }, { "--special --add-special --offsets", true, true } };
    sy_buf in = { 0 };
    for (size_t i = 0; i < json_array_size(texts); i++) {
        sy_buf_text(&in, json_string_value(json_array_get(texts, i)));
        sy_buf_text(&in, "\n==\n");
    }
    for (size_t c = 0; c < SY_COUNT(cases); c++) {
        char flags[200];
        sy_buf want = { 0 };
        for (size_t i = 0; i < json_array_size(texts); i++) put_ids(&want, i, cases[c].framed, cases[c].offsets);
        snprintf(flags, sizeof flags, "--separator '\\n==\\n' %s", cases[c].flags);
        expect(in.data, flags, want.data);
        sy_buf_free(&want);
    }
    sy_buf_free(&in);
}

static void there_and_back(void **state)
{
    (void)state;
    static const char text[] = "First Citizen:\n  two  spaces\n\n\xF0\x9F\xA6\x99 \xE4\xB8\xAD\tx\r\nlast";
    sy_buf ids = { 0 }, want = { 0 };
    assert_int_equal(run(text, strlen(text), ""), 0);
    sy_buf_put(&ids, said.data, said.n);
    sy_buf_printf(&want, "%s\n", text);
    expect(ids.data, "--decode", want.data);
    assert_int_equal(run(text, strlen(text), "--offsets"), 0);                /* what is printed with offsets is read back, too */
    sy_buf_clear(&ids);
    sy_buf_put(&ids, said.data, said.n);
    expect(ids.data, "--decode", want.data);
    expect("[1, 2]\n", "--decode --special --json", "{\"text\":\"<s></s>\"}\n");
    expect("1 2\n", "--decode", "\n");
    sy_buf_free(&ids);
    sy_buf_free(&want);
}

static void bytes_that_are_no_text(void **state)
{
    (void)state;
    sy_buf broken = { 0 }, whole = { 0 };
    assert_int_equal(run("a\xFF\xE2\x82z", 5, ""), 0);
    sy_buf_put(&broken, said.data, said.n);
    assert_int_equal(run("a\xEF\xBF\xBD\xEF\xBF\xBDz", 8, ""), 0);
    sy_buf_put(&whole, said.data, said.n);
    assert_string_equal(broken.data, whole.data);
    assert_int_equal(run("\0", 1, "--separator xx"), 0);                      /* a NUL is a character */
    assert_true(said.n > 1);
    expect("", "", "");
    expect("\n\n", "", "\n\n");
    sy_buf_free(&broken);
    sy_buf_free(&whole);
}

static void said_to_be_wrong(void **state)
{
    (void)state;
    refused("9999999\n", "--decode", 2, "input 1: id 9999999");
    refused("1\n12 b\n", "--decode", 2, "input 2: 'b' is no id");
    refused("1\n", "--decode --offsets", 2, "--offsets goes with text");
    refused("a\n", "--separator ''", 2, "--separator is empty");
    refused("a\n", "--separator '\\q'", 2, "a backslash stands before");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_text_of_the_fixture), cmocka_unit_test(there_and_back), cmocka_unit_test(bytes_that_are_no_text), cmocka_unit_test(said_to_be_wrong) };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
