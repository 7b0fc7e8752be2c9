/* tests/model/test_template.c - the interpreter of chat templates. Oracles: transformers' apply_chat_template (tests/fixtures/templates, made by
 * tests/ref/make_template_fixtures.py), jinja2's results written down here, and limits. `model_test_template --lines` reads JSON lines
 * {template, given, own, now} and prints {text} or {error, status} for tests/ref/template_check.py, which compares random templates. */
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/file.h"
#include "model/chat.h"

static json_t *json(const char *text)
{
    json_t *v = NULL;
    sy_expect_ok(sy_json_parse(&v, text, strlen(text), "test", err));
    return v;
}

/* The text, or "!" and the sentence. */
static const char *run(const char *text, const char *given, const sy_template_limits *limits, sy_status *status)
{
    static char out[4096];
    sy_template *t = NULL;
    sy_rendering r = { 0 };
    sy_err err = { 0 };
    json_t *v = json(given);
    sy_status st = sy_template_parse(&t, text, strlen(text), "t", &err);
    if (st == SY_OK) st = sy_template_render(t, &(sy_template_input){ .given = v, .now = 1722000000, .limits = *limits }, &r, &err);
    snprintf(out, sizeof out, "%s%s", st == SY_OK ? "" : "!", st != SY_OK ? err.text : r.text.data ? r.text.data : "");
    *status = st;
    sy_template_close(t);
    sy_rendering_free(&r);
    json_decref(v);
    return out;
}

/* --- what jinja2 3.1.6 gives ---------------------------------------------------------------------------------------------------- */

static const struct { const char *text, *want; } plain[] = {
    { "a\n", "a" }, { "a\n\n", "a\n" }, { "a\r\nb\rc", "a\nb\nc" }, { "{% if x %}\n  y\n{% endif %}\nz", "z" },
    { "  {% if true %}\n  y\n  {% endif %}\nz", "  y\nz" }, { "  {%+ if true %}y{% endif +%}\nz", "  y\nz" }, { "a  {{- 1 -}}  b", "a1b" },
    { "a {#- c -#} b", "ab" }, { "a\n  {# c #}\nb", "a\nb" }, { "{% raw %}{{ x }}{% endraw %}", "{{ x }}" }, { "{{ {'a': {'b': 1}} }}", "{'a': {'b': 1}}" },
    { "{{ 1 + 2 * 3 - 4 // 3 }}", "6" }, { "{{ -7 // 2 }} {{ -7 % 3 }} {{ 2 ** 3 ** 2 }} {{ 7 / 2 }}", "-4 2 64 3.5" }, { "{{ 1 ~ 'a' ~ none ~ true }}", "1aNoneTrue" },
    { "{{ 'a' 'b' }}", "ab" }, { "{{ '\\u00e9\\x41\\n|\\d' }}", "\u00e9A\n|\\d" }, { "{{ 1e16 }} {{ 0.1 + 0.2 }} {{ 1e-5 }} {{ 100000.0 }}", "1e+16 0.30000000000000004 1e-05 100000.0" },
    { "{{ x }}|{{ x is defined }}|{{ x|length }}", "|False|0" }, { "{{ [1, 'a', None, 2.0, {'k': (1,)}] }}", "[1, 'a', None, 2.0, {'k': (1,)}]" },
    { "{{ \"it's\" | list }}", "['i', 't', \"'\", 's']" }, { "{{ 'abc'[::-1] }} {{ '\u00e4\u00f6\u00fc'[1] }} {{ [1, 2, 3][-2:] }} {{ 'abc'[5:] }}|", "cba \u00f6 [2, 3] |" },
    { "{% for x in [1, 2, 3] if x != 2 %}{{ loop.index }}{{ x }}{{ loop.last }} {% endfor %}", "11False 23True " }, { "{% for x in [] %}a{% else %}b{% endfor %}", "b" },
    { "{% for x in [1, 2, 3, 4] %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 4 %}{% break %}{% endif %}{{ x }}{% endfor %}", "13" },
    { "{% set x = 1 %}{% for i in [1] %}{% set x = 2 %}{{ x }}{% endfor %}{{ x }}", "21" }, { "{% set ns = namespace(a=1) %}{% for i in [1, 2] %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}", "4" },
    { "{% macro f(a, b=2) %}{{ a }}{{ b }}{{ varargs }}{% endmacro %}{{ f(1) }} {{ f(1, b=3) }} {{ f(1, 2, 3) }}", "12() 13() 12(3,)" },
    { "{% macro f() %}<{{ caller(1) }}>{% endmacro %}{% call(x) f() %}{{ x }}{% endcall %}", "<1>" }, { "{% set x %} a {% endset %}[{{ x }}]", "[ a ]" },
    { "{% filter upper %}a{{ 'b' }}{% endfilter %}", "AB" }, { "{% with a = 1 %}{{ a }}{% endwith %}{{ a }}", "1" }, { "{{ 1 if x else 2 }}{{ 3 if x }}", "2" },
    { "{{ 1 < 2 < 3 }} {{ 1 in [1] }} {{ 'b' not in 'abc' }} {{ not 1 == 1 }}", "True True False False" }, { "{{ true and 'a' or 'b' }}", "a" },
    { "{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}{{ v }}{% endfor %}", "a1b2" }, { "{% for x in [[1, [2]]] recursive %}{{ x if x is number else loop(x) }}{% endfor %}", "12" },
    { "{{ {'a': [1, '\u00e9\\n']} | tojson }} {{ [1, {}] | tojson(indent=1) }}", "{\"a\": [1, \"\u00e9\\n\"]} [\n 1,\n {}\n]" }, { "{{ 'a b' | title }} {{ 'aB' | capitalize }}", "A B Ab" },
    { "{{ [{'r': 'u'}, {'r': 'a'}] | selectattr('r', 'equalto', 'u') | list }}", "[{'r': 'u'}]" }, { "{{ [3, 1, 2] | sort | join('-') }}", "1-2-3" },
    { "{{ '%-5d|%+05.1f|%000000000000000000000000000000000000000000007d|%- 6s|%#x|%.0000002f|%+++5d' % (3, 2.5, 42, 'ab', 255, 1.236, 7) }}",
      "3    |+02.5|0000042|ab    |0xff|1.24|   +7" },                          /* flags and zeros again and again */
    { "{{ 'a\\nb' | indent(2) }}|{{ '  x ' | trim }}|{{ 'aXbX' | replace('X', '') }}", "a\n  b|x|ab" }, { "{{ strftime_now('%Y-%m-%d') }}", "2024-07-26" },
    { "{{ '%s is %d, %.1f' % ('a', 3, 2.25) }}", "a is 3, 2.2" }, { "{% set j = joiner('|') %}{% for i in [1, 2] %}{{ j() }}{{ i }}{% endfor %}", "1|2" },
    { "{{ 'x'.split() }} {{ ' a  b '.split() }} {{ 'a,b,'.split(',') }} {{ 'abc'.startswith(('x', 'a')) }}", "['x'] ['a', 'b'] ['a', 'b', ''] True" },
    { "{% generation %}a{% endgeneration %}", "a" }, { "{% for x in [1, 2] %}{{ loop.cycle('a', 'b') }}{{ loop.changed(1) }}{% endfor %}", "aTruebFalse" },
    { "{{ messages[0]['role'] }}{{ messages[0].nothing }}", "user" }, { "{{ range(3) | list }} {{ range(5, 1, -2) | list }}", "[0, 1, 2] [5, 3]" },
    { "{{ 9223372036854775807 + 0 }}", "9223372036854775807" },
};

static void values_and_white_space_are_as_in_jinja(void **state)
{
    (void)state;
    sy_status st;
    setenv("TZ", "UTC", 1);
    for (size_t i = 0; i < SY_COUNT(plain); i++) {
        sy_test_case("%s", plain[i].text);
        assert_string_equal(run(plain[i].text, "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}", &(sy_template_limits){ 0 }, &st), plain[i].want);
    }
}

/* --- failures: one sentence with the line ------------------------------------------------------------------------------------------ */

static const struct { const char *text, *part; sy_status status; } bad[] = {
    { "\n{{ x.y }}", "line 2: 'x' is undefined", SY_EFORMAT }, { "{{ none + 1 }}", "NoneType and int", SY_EFORMAT }, { "{{ [1][1:'a'] }}", "slice indices", SY_EFORMAT },
    { "a{% if %}", "an expression is expected, here is %}", SY_EFORMAT }, { "{% for x in y %}", "'endfor' is missing", SY_EFORMAT }, { "{{ 'a", "does not end", SY_EFORMAT },
    { "{{ 1 ", "a tag begins here", SY_EFORMAT }, { "{# a", "a comment begins here", SY_EFORMAT }, { "{% raw %}", "no 'endraw'", SY_EFORMAT }, { "{{ ) }}", "closes nothing", SY_EFORMAT },
    { "{% frob %}", "no tag is called 'frob'", SY_EFORMAT }, { "{% include 'x' %}", "'include' is no part", SY_EUNSUP }, { "{{ 1 | frob }}", "no filter named 'frob'", SY_EFORMAT },
    { "{{ 1 | pprint }}", "'pprint'", SY_EUNSUP }, { "{{ 1 is frob }}", "no test named 'frob'", SY_EFORMAT }, { "{% break %}", "stands in no loop", SY_EFORMAT },
    { "{{ raise_exception('no system role') }}", "refuses the conversation: no system role", SY_EFORMAT }, { "{% set x.y = 1 %}", "only a namespace()", SY_EFORMAT },
    { "{% set true = 1 %}", "'true' cannot be assigned", SY_EFORMAT }, { "{% for a, b in [[1]] %}{% endfor %}", "1 values for 2 names", SY_EFORMAT }, { "{{ 1 // 0 }}", "division by zero", SY_EFORMAT },
    { "{{ 9223372036854775807 + 1 }}", "64 bits", SY_EFORMAT }, { "{{ 99999999999999999999 }}", "64 bits", SY_EFORMAT }, { "{{ [1].append(2) }}", "no attribute 'append'", SY_EFORMAT },
    { "{{ {[1]: 2} }}", "a list cannot be a key", SY_EFORMAT }, { "{{ x | tojson }}", "no JSON: 'x' is undefined", SY_EFORMAT }, { "{% macro f() %}{% endmacro %}{{ f(1) }}", "takes 0 arguments", SY_EFORMAT },
    { "{{ \"\\ud83d\" }}", "is no character", SY_EFORMAT }, { "{{ 'a' < 1 }}", "'<' is not supported between str and int", SY_EFORMAT }, { "\xff", "byte 0 is not UTF-8", SY_EFORMAT },
    { "{{ namespace(_a=1) }}", "does not begin with _", SY_EFORMAT }, { "{{ 1 $ 2 }}", "has no meaning", SY_EFORMAT }, { "{{ x() }}", "'x' is undefined", SY_EFORMAT },
};

static void failures_are_sentences(void **state)
{
    (void)state;
    for (size_t i = 0; i < SY_COUNT(bad); i++) {
        sy_status st;
        sy_test_case("%s", bad[i].text);
        const char *got = run(bad[i].text, "{}", &(sy_template_limits){ 0 }, &st);
        if (st != bad[i].status || !strstr(got, bad[i].part)) fail_msg("%s: '%s' is not in '%s' (%d)", bad[i].text, bad[i].part, got, st);
    }
}

/* --- hostile templates: limits -------------------------------------------------------------------------------------------------------- */

static const struct { const char *text, *part; } hostile[] = {
    { "{{ range(10**9) | list }}", "range of more than" },
    { "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "more than" },
    { "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nested more than" },
    { "{% set ns = namespace(x='a') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}", "MiB" },
    { "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}", "more than" },
    { "{% set ns = namespace(x=[]) %}{% for i in range(999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}", "nested more than" },
    { "{% set ns = namespace(x=[]) %}{% for i in range(999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x | tojson }}", "nested more than" },
    { "{% set ns = namespace(x=[], y=[]) %}{% for i in range(999) %}{% set ns.x = [ns.x] %}{% set ns.y = [ns.y] %}{% endfor %}{{ ns.x == ns.y }}", "nested more than" },
    { "{% for a in range(99999) %}{{ 'x' * 10000 }}{% endfor %}", "m" }, { "{{ 'x' * 10**12 }}", "m" }, { "{{ [0] * 10**12 }}", "more than" },
    { "{{ 'a' | center(10**12) }}", "m" }, { "{{ 'a'.ljust(10**12) }}", "m" }, { "{{ [1] | batch(10**12, 0) | list }}", "more than" }, { "{{ [] | slice(10**12) | list }}", "more than" },
    { "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "nested more than" }, { "{{ 2 ** 2 ** 62 }}", "64 bits" },
    { "{{ ('x' * 9999999).replace('', 'yyyyyyyyyyyyyyyyyyyyyyy') }}", "m" }, { "{{ ['x' * 999999] | tojson(indent='y' * 9999999) }}", "m" },
};

static void endless_templates_end(void **state)
{
    (void)state;
    for (size_t i = 0; i < SY_COUNT(hostile); i++) {
        sy_status st;
        sy_test_case("%s", hostile[i].text);
        const char *got = run(hostile[i].text, "{}", &(sy_template_limits){ .steps = 1 << 22, .memory = 64 << 20, .output = 8 << 20 }, &st);
        if (st == SY_OK || !strstr(got, hostile[i].part)) fail_msg("%s: '%s' is not in '%.300s'", hostile[i].text, hostile[i].part, got);
    }
}

static sy_buf repeated(const char *before, const char *text, int n)
{
    sy_buf b = { 0 };
    sy_buf_text(&b, before);
    for (int k = 0; k < n; k++) sy_buf_text(&b, text);
    return b;
}

static void deep_nesting_is_refused(void **state)
{
    (void)state;
    static const char *const open[] = { "(", "[", "-", "not ", "{1:", "a[", "f(", "1 if x else ", "{% if 1 %}" }, *const behind[] = { ".a", "|trim", "[0]", "()" };
    sy_template *t = NULL;
    sy_err sentence = { 0 }, *err = &sentence;
    json_t *v = json("{}");
    for (size_t i = 0; i < SY_COUNT(open); i++) {
        sy_buf b = repeated(open[i][1] == '%' ? "" : "{{ ", open[i], 100000);
        sy_test_case("%s", open[i]);
        if (open[i][1] != '%') sy_buf_text(&b, "x }}");
        sy_expect_fail(sy_template_parse(&t, b.data, b.n, "t", err), SY_ESHAPE, "more than");
        sy_buf_free(&b);
    }
    for (size_t i = 0; i < SY_COUNT(behind); i++) {
        sy_buf b = repeated("{{ x", behind[i], 100000);
        sy_rendering r = { 0 };
        sy_test_case("%s", behind[i]);
        sy_buf_text(&b, " }}");
        sy_expect_ok(sy_template_parse(&t, b.data, b.n, "t", err));
        sy_expect_fail(sy_template_render(t, &(sy_template_input){ .given = v }, &r, err), SY_ESHAPE, "nested more than");
        sy_rendering_free(&r);
        sy_template_close(t);
        sy_buf_free(&b);
    }
    json_decref(v);
}

/* --- marks ------------------------------------------------------------------------------------------------------------------------------- */

static const struct { const char *text, *want, *mark; } marks[] = {
    { "<{{ m.content }}>", "<abc>", "01110" }, { "{{ '<' ~ m.content | upper ~ '>' }}", "<ABC>", "01110" }, { "{{ m.content[1:] + 'x' }}", "bcx", "110" },
    { "{{ m.role }}{{ m.bad.role }}", "userus er", "000011111" }, { "{{ m.content | replace('b', '--') }}", "a--c", "1001" }, { "{{ m.content.split('b') | join('/') }}", "a/c", "101" },
    { "{{ m.content | tojson }}", "\"abc\"", "01110" }, { "{% generation %}x{{ m.content }}{% endgeneration %}y", "xabcy", "23330" },
    { "{% macro f(x) %}[{{ x }}]{% endmacro %}{{ f(m.content) }}", "[abc]", "01110" }, { "{% set q %}{{ m.content }}{% endset %}{{ q * 2 }}", "abcabc", "111111" },
    { "{{ bos }}{{ m.content | trim }}", "<s>abc", "000111" }, { "{{ '%s!' % m.content }}", "abc!", "1110" }, { "{{ [m.content] }}", "['abc']", "0011100" },
};

static void every_byte_says_where_it_came_from(void **state)
{
    (void)state;
    json_t *given = json("{\"m\": {\"role\": \"user\", \"content\": \"abc\", \"bad\": {\"role\": \"us er\"}}}"), *own = json("{\"bos\": \"<s>\"}");
    for (size_t i = 0; i < SY_COUNT(marks); i++) {
        sy_template *t;
        sy_rendering r = { 0 };
        sy_test_case("%s", marks[i].text);
        sy_expect_ok(sy_template_parse(&t, marks[i].text, strlen(marks[i].text), "t", err));
        sy_expect_ok(sy_template_render(t, &(sy_template_input){ .given = given, .own = own }, &r, err));
        assert_string_equal(r.text.data, marks[i].want);
        assert_int_equal(r.mark.n, r.text.n);
        for (size_t k = 0; k < r.mark.n; k++) r.mark.data[k] = (char)(r.mark.data[k] + '0');
        assert_string_equal(r.mark.data, marks[i].mark);
        sy_rendering_free(&r);
        sy_template_close(t);
    }
    json_decref(given);
    json_decref(own);
}

/* --- real shapes: transformers' apply_chat_template ------------------------------------------------------------------------------------------ */

static void one_conversation(const json_t *root, const json_t *one, size_t i)
{
    char path[256];
    const char *name = json_string_value(json_object_get(one, "template")), *title = json_string_value(json_object_get(one, "conversation"));
    const char *want = json_string_value(json_object_get(one, "want"));
    sy_buf b = { 0 };
    sy_chat *c;
    sy_rendering r = { 0 };
    sy_err err = { 0 };
    sy_conversation q = { .messages = json_object_get(json_object_get(root, "conversations"), title), .extra = json_object_get(one, "extra"),
                          .answer = json_is_true(json_object_get(one, "answer")), .now = json_integer_value(json_object_get(root, "now")) };
    if (json_is_true(json_object_get(one, "tools"))) q.tools = json_object_get(root, "tools");
    if (json_is_true(json_object_get(one, "documents"))) q.documents = json_object_get(root, "documents");
    snprintf(path, sizeof path, "tests/fixtures/templates/%s", name);
    sy_test_case("case %zu: %s, %s", i, name, title);
    sy_expect_ok(sy_file_read(path, 1 << 20, &b, err));
    sy_expect_ok(sy_chat_new(&c, b.data, b.n, json_object_get(root, "special"), name, err));
    sy_status st = sy_chat_render(c, &q, &r, &err);
    if (!want) {
        if (st == SY_OK) fail_msg("transformers refuses (%s), here is '%s'", json_string_value(json_object_get(one, "error")), r.text.data);
    } else if (st != SY_OK) fail_msg("%s", err.text);
    else assert_string_equal(r.text.data ? r.text.data : "", want);
    sy_rendering_free(&r);
    sy_chat_close(c);
    sy_buf_free(&b);
}

static void conversations_are_as_in_transformers(void **state)
{
    (void)state;
    json_t *root, *one;
    size_t i;
    setenv("TZ", "UTC", 1);
    sy_expect_ok(sy_json_read(&root, "tests/fixtures/templates/cases.json", 8 << 20, err));
    assert_true(json_array_size(json_object_get(root, "cases")) > 100);
    json_array_foreach(json_object_get(root, "cases"), i, one) one_conversation(root, one, i);
    json_decref(root);
}

/* --- memory -------------------------------------------------------------------------------------------------------------------------------------- */

static void every_failed_allocation_is_a_status(void **state)
{
    (void)state;
    static const char text[] = "{% macro f(a, b=[1]) %}{{ a | tojson(indent=2) }}{% endmacro %}{% for m in messages %}{{ f(m) }}{{ m.content.split('l') | sort | join }}{% endfor %}"
                               "{% set x %}{{ namespace(a=1) }}{% endset %}{{ 'x' * 100000 }}";
    json_t *given = json("{\"messages\": [{\"role\": \"user\", \"content\": \"hello\"}]}");
    for (uint64_t n = 1; ; n++) {
        sy_template *t = NULL;
        sy_rendering r = { 0 };
        sy_err err = { 0 };
        sy_test_case("allocation %llu fails", (unsigned long long)n);
        sy_alloc_fail_at(n, 0);
        sy_status st = sy_template_parse(&t, text, strlen(text), "t", &err);
        if (st == SY_OK) st = sy_template_render(t, &(sy_template_input){ .given = given }, &r, &err);
        sy_alloc_fail_at(0, 0);
        sy_template_close(t);
        sy_rendering_free(&r);
        if (st == SY_OK) break;
        assert_int_equal(st, SY_ENOMEM);
    }
    json_decref(given);
}

/* --- for tests/ref/template_check.py ------------------------------------------------------------------------------------------------------------- */

static void answer_line(const char *line, size_t n)
{
    sy_err err = { 0 };
    json_t *v = NULL;
    sy_template *t = NULL;
    sy_rendering r = { 0 };
    sy_buf b = { 0 };
    sy_json j;
    sy_status st = sy_json_parse(&v, line, n, "line", &err);
    json_t *text = json_object_get(v, "template");
    if (st == SY_OK) st = sy_template_parse(&t, json_string_value(text), json_string_length(text), "template", &err);
    if (st == SY_OK)
        st = sy_template_render(t, &(sy_template_input){ .given = json_object_get(v, "given"), .own = json_object_get(v, "own"), .now = json_integer_value(json_object_get(v, "now")) }, &r, &err);
    sy_json_open(&j, &b, 0);
    sy_json_begin(&j, '{');
    if (st == SY_OK) sy_json_key(&j, "text"), sy_json_bytes(&j, r.text.data ? r.text.data : "", r.text.n);
    else {
        sy_json_key(&j, "error"), sy_json_text(&j, err.text);
        sy_json_key(&j, "status"), sy_json_int(&j, st);
    }
    sy_json_end(&j, '}');
    puts(b.data);
    fflush(stdout);
    sy_buf_free(&b);
    sy_rendering_free(&r);
    sy_template_close(t);
    json_decref(v);
}

int main(int argc, char **argv)
{
    char *line = NULL;
    size_t room = 0;
    if (argc > 1 && !strcmp(argv[1], "--lines")) {
        for (ssize_t n; (n = getline(&line, &room, stdin)) > 0; ) answer_line(line, (size_t)n);
        free(line);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_and_white_space_are_as_in_jinja), cmocka_unit_test(failures_are_sentences), cmocka_unit_test(endless_templates_end),
        cmocka_unit_test(deep_nesting_is_refused), cmocka_unit_test(every_byte_says_where_it_came_from), cmocka_unit_test(conversations_are_as_in_transformers),
        cmocka_unit_test(every_failed_allocation_is_a_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
