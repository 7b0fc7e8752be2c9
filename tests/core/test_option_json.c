/* Option rows and JSON, both ways. Oracles: the struct that was written comes back bit by bit through sy_opt_set; hand-written texts. */
#include "testing.h"

#include <math.h>
#include <string.h>

#include "core/option_json.h"

typedef struct { double slack; } group;
static const sy_opt group_opts[] = { SY_REAL(group, slack, NULL, 0.5, 0, 1e300, "a real number"), { 0 } };
typedef struct { int count; double rate; bool flag; int form; group cap; const char *words; } state;
static const sy_opt opts[] = {
    SY_INT(state, count, "n", 2, -5, 2147483647, "a count"),
    SY_REAL(state, rate, NULL, 0.1, -1e300, 1e300, "a rate"),
    SY_BOOL(state, flag, NULL, false, "a switch"),
    SY_ENUM_(state, form, NULL, 0, "share|slots|first", "a form"),
    SY_OPTS(state, cap, group_opts),
    SY_TEXT(state, words, NULL, "", "words"),
    { 0 }
};

static void test_round_trip(void **unused)
{
    static const state cases[] = {
        { 2, 0.1, false, 0, { 0.5 }, "" }, { -5, 1.0 / 3, true, 2, { 1e-310 }, "a\\ b c \"quoted\" \xc3\xa9" }, { 2147483647, -1e300, true, 1, { 3 }, "switch:coef=0.01 zloss" },
    };
    (void)unused;
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_arena a = { 0 };
        sy_buf b = { 0 };
        sy_json j;
        json_t *root, *v;
        const char *key, *text;
        state got;
        sy_test_case("case %zu", i);
        sy_json_open(&j, &b, 0);
        sy_json_begin(&j, '{');
        sy_opt_json_write(opts, &cases[i], &j);
        sy_json_end(&j, '}');
        sy_expect_ok(sy_json_parse(&root, b.data, b.n, "written", err));
        assert_int_equal(json_object_size(root), 6);
        assert_true(json_is_string(json_object_get(root, "form")) && json_is_boolean(json_object_get(root, "flag")) && json_is_number(json_object_get(root, "slack")));
        sy_opt_defaults(opts, &got);
        json_object_foreach(root, key, v) {
            sy_expect_ok(sy_opt_json_text(v, "written", key, &a, &text, err));
            sy_expect_ok(sy_opt_set(opts, &got, key, text, &a, NULL, err));
        }
        assert_true(got.count == cases[i].count && got.flag == cases[i].flag && got.form == cases[i].form);
        sy_expect_same("rate", &got.rate, &cases[i].rate, sizeof got.rate);
        sy_expect_same("slack", &got.cap.slack, &cases[i].cap.slack, sizeof got.cap.slack);
        assert_string_equal(got.words, cases[i].words);
        json_decref(root);
        sy_buf_free(&b);
        sy_arena_free(&a);
    }
}

static void test_texts(void **unused)
{
    static const struct { const char *json, *text, *part; } cases[] = {
        { "[\"a\", \"b c\", \"d\\\\e\"]", "a b\\ c d\\\\e", NULL }, { "[]", "", NULL }, { "\"\"", "", NULL }, { "true", "true", NULL }, { "false", "false", NULL }, { "-7", "-7", NULL },
        { "0.1", "0.10000000000000001", NULL }, { "[\"a\", 1]", NULL, "'key' must be a list of texts" }, { "[[\"a\"]]", NULL, "must be a list" },
        { "{}", NULL, "f.json: 'key' has no plain value" }, { "null", NULL, "no plain value" },
    };
    sy_err e = { 0 }, *err = &e;
    (void)unused;
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_arena a = { 0 };
        json_t *v = json_loads(cases[i].json, JSON_DECODE_ANY, NULL);
        const char *text = "untouched";
        sy_test_case("%s", cases[i].json);
        assert_non_null(v);
        sy_status st = sy_opt_json_text(v, "f.json", "key", &a, &text, err);
        if (cases[i].text) {
            assert_int_equal(st, SY_OK);
            assert_string_equal(text, cases[i].text);
        } else {
            sy_expect_fail(st, SY_EFORMAT, cases[i].part);
            assert_string_equal(text, "untouched");
        }
        json_decref(v);
        sy_arena_free(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_round_trip), cmocka_unit_test(test_texts) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
