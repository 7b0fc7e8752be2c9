/* JSON. Oracles: Jansson's own reader for what the writer wrote; the sentences for what is hostile. */
#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/file.h"
#include "core/json.h"
#include "core/random.h"
#include "core/utf8.h"

static sy_status parse(const char *text, size_t n, sy_err *err)
{
    json_t *v = NULL;
    sy_status st = sy_json_parse(&v, text, n, "file.json", err);
    assert_int_equal(st == SY_OK, v != NULL);        /* written only on success */
    json_decref(v);
    return st;
}

static char *repeat(const char *piece, size_t times, const char *tail)
{
    sy_buf b = { 0 };
    for (size_t i = 0; i < times; i++) sy_buf_text(&b, piece);
    sy_buf_text(&b, tail);
    assert_false(b.failed);
    return b.data;
}

static void malformed(void **s)
{
    (void)s;
    static const struct { const char *text, *part; } cases[] = {
        { "", "file.json" }, { " ", "file.json" }, { "{", "file.json" }, { "{\"a\":1", "file.json" }, { "{\"a\" 1}", "file.json" }, { "[1,]", "file.json" },
        { "{\"a\":1,}", "file.json" }, { "[1 2]", "file.json" }, { "nul", "file.json" }, { "'a'", "file.json" }, { "{a:1}", "file.json" }, { "[1]]", "file.json" },
        { "1 2", "file.json" }, { "[1e400]", "real number overflow" }, { "[-1e400]", "real number overflow" }, { "[99999999999999999999]", "integer" },
        { "[01]", "file.json" }, { "[.5]", "file.json" }, { "[NaN]", "file.json" }, { "[Infinity]", "file.json" }, { "[\"\x01\"]", "control character" },
        { "[\"\xff\"]", "decode" }, { "[\"\xC0\x80\"]", "decode" }, { "[\"\xED\xA0\x80\"]", "decode" }, { "[\"\\ud800\"]", "file.json" }, { "[\"\\udc00\"]", "file.json" },
        { "[\"\\u12\"]", "file.json" }, { "[\"\\x41\"]", "file.json" }, { "[\"a", "file.json" }, { "{\"a\":1,\"a\":2}", "duplicate" }, { "{\"a\":{\"b\":1,\"b\":1}}", "duplicate" },
        { "\xEF\xBB\xBF{}", "file.json" }, { "{\n\"a\":\n\n x}", "line 4" }, { "]]]]]]{", "file.json" }, { "{\"a\":\x1b[31m}", "file.json" },
    };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_err e = { 0 }, *err = &e;
        sy_test_case("%s", cases[i].text);
        sy_expect_fail(parse(cases[i].text, strlen(cases[i].text), err), SY_EFORMAT, cases[i].part);
        for (const char *c = e.text; *c; c++) assert_true((unsigned char)*c >= 32);          /* nothing of the file steers the terminal */
    }
    sy_err e = { 0 }, *err = &e;
    sy_expect_fail(parse("[1]\0", 4, err), SY_EFORMAT, "file.json");                         /* a NUL is no end */
    sy_expect_fail(parse("[\"a\0b\"]", 7, err), SY_EFORMAT, "file.json");
}

static void nested_deeply(void **s)
{
    (void)s;
    static const struct { const char *open, *tail; size_t times; bool fine; } cases[] = {
        { "[", "", 60000, false }, { "{\"a\":", "", 60000, false }, { "[{\"a\":", "", 30000, false }, { "[", "", 513, false }, { "[", "", 10000000, false },
        { "[],", "", 3, false },
    };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_err e = { 0 }, *err = &e;
        sy_test_case("%zu times %s", cases[i].times, cases[i].open);
        char *text = repeat(cases[i].open, cases[i].times, cases[i].tail);
        sy_expect_fail(parse(text, strlen(text), err), SY_EFORMAT, cases[i].times > 512 ? "nested deeper than 512" : NULL);
        sy_free(text);
    }
    char *open = repeat("[", 512, ""), *close = repeat("]", 512, "");
    sy_buf b = { 0 };
    sy_buf_printf(&b, "%s%s", open, close);
    sy_expect_ok(parse(b.data, b.n, err));
    sy_buf_clear(&b);
    sy_buf_printf(&b, "[\"%s\\\"%s\"]", open, open);    /* brackets in a text are no nesting, nor does a quoted quote end it */
    sy_expect_ok(parse(b.data, b.n, err));
    sy_buf_free(&b);
    sy_free(open);
    sy_free(close);
    char *wide = repeat("[],", 100000, "0]");         /* wide is not deep */
    sy_buf_printf(&b, "[%s", wide);
    sy_expect_ok(parse(b.data, b.n, err));
    sy_buf_free(&b);
    sy_free(wide);
}

static void huge_texts(void **s)
{
    (void)s;
    enum { N = 20 << 20 };
    char *text = malloc(N + 5);
    json_t *v = NULL;
    memset(text, 'x', N + 4);
    text[0] = '[';
    text[1] = '"';
    text[N] = '"';
    text[N + 1] = ']';
    sy_expect_ok(sy_json_parse(&v, text, N + 2, "huge", err));
    assert_int_equal(json_string_length(json_array_get(v, 0)), N - 2);
    json_decref(v);
    sy_err e = { 0 }, *err = &e;
    sy_expect_fail(parse(text, N, err), SY_EFORMAT, "file.json");       /* not closed */
    assert_true(strlen(e.text) < 500);
    memset(text, '9', N);
    sy_expect_fail(parse(text, N, err), SY_EFORMAT, "integer");
    assert_true(strlen(e.text) < 500);
    text[1] = '.';
    sy_expect_ok(parse(text, N, err));               /* a long way to write a number */
    free(text);
}

static const char sample[] = "{\"model\": \"x \\u00e4\\n\\\"\", \"sizes\": [1, -2.5e3, true, false, null, {\"deep\": {}}], \"\xC3\xA4\": []}";

static void cut_at_every_byte(void **s)
{
    (void)s;
    sy_expect_ok(parse(sample, sizeof sample - 1, err));
    for (size_t n = 0; n < sizeof sample - 1; n++) {
        char *exact = malloc(n ? n : 1);             /* the address sanitizer sees a read past the end */
        sy_err e = { 0 };
        memcpy(exact, sample, n);
        if (parse(exact, n, &e) != SY_EFORMAT) fail_msg("cut at %zu", n);
        free(exact);
    }
}

static void any_bytes(void **s)                      /* mutated and random bytes: a status, never a crash */
{
    (void)s;
    uint64_t key = sy_key(sy_test_seed(), SY_FOR_TEST, 2, 0, 0);
    static const char alphabet[] = "[]{}\",:\\u0123e+-.tfn \x80\xC3\xED";
    for (uint64_t i = 0; i < 20000; i++) {
        char text[sizeof sample];
        memcpy(text, sample, sizeof sample);
        for (uint64_t k = 0; k < 1 + i % 4; k++)
            text[sy_draw_below(key, i * 8 + k, 0, sizeof sample - 1)] = alphabet[sy_draw_below(key, i * 8 + k, 1, sizeof alphabet - 1)];
        sy_err e = { 0 };
        sy_status st = parse(text, sizeof sample - 1, &e);
        assert_true(st == SY_OK || (st == SY_EFORMAT && *e.text));
    }
}

static void files(void **s)
{
    (void)s;
    char path[600];
    json_t *v = NULL;
    sy_err e = { 0 }, *err = &e;
    snprintf(path, sizeof path, "%s/config.json", sy_test_dir());
    sy_expect_fail(sy_json_read(&v, path, 1000, err), SY_ENOENT, path);
    sy_expect_ok(sy_file_write(path, "", 0, err));
    sy_expect_fail(sy_json_read(&v, path, 1000, err), SY_EFORMAT, "is empty");
    sy_expect_ok(sy_file_write(path, sample, sizeof sample - 1, err));
    sy_expect_fail(sy_json_read(&v, path, 10, err), SY_EFORMAT, "at most 10");
    sy_expect_ok(sy_json_read(&v, path, 1000, err));
    json_decref(v);
}

static void keys(void **s)
{
    (void)s;
    static const char text[] = "{\"n\": 7, \"r\": 2.5, \"b\": true, \"t\": \"word\", \"z\": null, \"l\": [], \"big\": 9007199254740993}";
    json_t *o = NULL;
    sy_err e = { 0 }, *err = &e;
    long long n = -1;
    double r = -1;
    bool b = false;
    const char *t = "unset";
    sy_expect_ok(sy_json_parse(&o, text, sizeof text - 1, "f", err));
    sy_expect_ok(sy_json_get_int(o, "f", "n", true, 0, 10, &n, err));
    assert_int_equal(n, 7);
    sy_expect_ok(sy_json_get_int(o, "f", "big", true, 0, 1ll << 60, &n, err));
    assert_true(n == 9007199254740993);
    sy_expect_ok(sy_json_get_real(o, "f", "r", true, 0, 10, &r, err));
    assert_true(r == 2.5);
    sy_expect_ok(sy_json_get_real(o, "f", "n", true, 0, 10, &r, err));
    assert_true(r == 7);
    sy_expect_ok(sy_json_get_bool(o, "f", "b", true, &b, err));
    assert_true(b);
    sy_expect_ok(sy_json_get_text(o, "f", "t", true, &t, err));
    assert_string_equal(t, "word");
    sy_expect_ok(sy_json_get_int(o, "f", "absent", false, 0, 10, &n, err));
    sy_expect_ok(sy_json_get_text(o, "f", "z", false, &t, err));
    assert_string_equal(t, "word");                  /* left as it was */
    sy_expect_fail(sy_json_get_int(o, "f", "absent", true, 0, 10, &n, err), SY_EFORMAT, "f: the key 'absent' is missing");
    sy_expect_fail(sy_json_get_int(o, "f", "z", true, 0, 10, &n, err), SY_EFORMAT, "missing");
    sy_expect_fail(sy_json_get_int(o, "f", "n", true, 8, 10, &n, err), SY_EFORMAT, "'n' is 7, outside 8 .. 10");
    sy_expect_fail(sy_json_get_int(o, "f", "r", true, 0, 10, &n, err), SY_EFORMAT, "must be a whole number, it is a number");
    sy_expect_fail(sy_json_get_int(o, "f", "t", false, 0, 10, &n, err), SY_EFORMAT, "it is a text");
    sy_expect_fail(sy_json_get_real(o, "f", "r", true, 3, 10, &r, err), SY_EFORMAT, "2.5, outside 3 .. 10");
    sy_expect_fail(sy_json_get_real(o, "f", "l", true, 3, 10, &r, err), SY_EFORMAT, "it is a list");
    sy_expect_fail(sy_json_get_bool(o, "f", "n", true, &b, err), SY_EFORMAT, "must be true or false");
    sy_expect_fail(sy_json_get_text(o, "f", "b", true, &t, err), SY_EFORMAT, "it is true or false");
    sy_expect_ok(sy_json_known(o, "f", (const char *const[]){ "n", "r", "b", "t", "z", "l", "big", "more", NULL }, err));
    sy_expect_fail(sy_json_known(o, "f", (const char *const[]){ "n", "r", "b", "t", "z", "l", "bog", NULL }, err), SY_EARG, "unknown key 'big'; did you mean 'bog'?");
    sy_expect_fail(sy_json_known(o, "f", (const char *const[]){ NULL }, err), SY_EARG, "unknown key 'n'");
    sy_expect_fail(sy_json_known(json_object_get(o, "l"), "f", (const char *const[]){ NULL }, err), SY_EFORMAT, "not a list");
    sy_expect_fail(sy_json_get_int(json_object_get(o, "l"), "f", "n", true, 0, 1, &n, err), SY_EFORMAT, "missing");
    json_decref(o);
}

/* --- the writer --------------------------------------------------------------------------------------------------------- */

static void layout(void **s)
{
    (void)s;
    for (int indent = 0; indent <= 2; indent += 2) {
        sy_buf b = { 0 };
        sy_json j;
        sy_json_open(&j, &b, indent);
        sy_json_begin(&j, '{');
        sy_json_key(&j, "a"); sy_json_int(&j, -5);
        sy_json_key(&j, "b"); sy_json_begin(&j, '[');
        sy_json_real(&j, 0.1); sy_json_real(&j, 3); sy_json_real(&j, NAN); sy_json_real(&j, -INFINITY); sy_json_bool(&j, true); sy_json_null(&j); sy_json_text(&j, NULL);
        sy_json_begin(&j, '['); sy_json_end(&j, ']');
        sy_json_end(&j, ']');
        sy_json_key(&j, "c"); sy_json_begin(&j, '{'); sy_json_end(&j, '}');
        sy_json_key(&j, "d"); sy_json_text(&j, "x\"\\\n\t\r\x01\x7f/");
        sy_json_end(&j, '}');
        assert_string_equal(b.data, indent ? "{\n  \"a\": -5,\n  \"b\": [\n    0.1,\n    3.0,\n    null,\n    null,\n    true,\n    null,\n    null,\n    []\n  ],\n"
                                             "  \"c\": {},\n  \"d\": \"x\\\"\\\\\\n\\t\\r\\u0001\\u007f/\"\n}"
                                           : "{\"a\":-5,\"b\":[0.1,3.0,null,null,true,null,null,[]],\"c\":{},\"d\":\"x\\\"\\\\\\n\\t\\r\\u0001\\u007f/\"}");
        sy_expect_ok(parse(b.data, b.n, err));
        sy_buf_free(&b);
    }
}

static void every_byte_is_escaped(void **s)          /* one and two bytes of any value, between letters */
{
    (void)s;
    for (int i = 0; i < 65536; i++) {
        char text[4] = { 'a', (char)(i >> 8), (char)i, 'z' }, want[16];
        size_t n = 0;
        for (size_t k = 0; k < 4; ) {                /* what Python's errors='replace' leaves */
            uint32_t cp;
            int len = sy_utf8_next(text + k, 4 - k, &cp);
            n += (size_t)sy_utf8_put(cp ? cp : 0xfffd, want + n);       /* a NUL is read by few */
            k += (size_t)(len > 0 ? len : -len);
        }
        sy_buf b = { 0 };
        sy_json j;
        sy_json_open(&j, &b, 0);
        sy_json_bytes(&j, text, 4);
        json_error_t e;
        json_t *v = json_loadb(b.data, b.n, JSON_DECODE_ANY, &e);
        if (!v) fail_msg("%s: %s", b.data, e.text);
        if (json_string_length(v) != n || memcmp(json_string_value(v), want, n)) fail_msg("bytes %04x came back otherwise", (unsigned)i);
        json_decref(v);
        sy_buf_free(&b);
    }
}

static void reals_read_back(void **s)
{
    (void)s;
    uint64_t key = sy_key(sy_test_seed(), SY_FOR_TEST, 3, 0, 0);
    for (uint64_t i = 0; i < 5000; i++) {
        double r = (sy_draw(key, i, 0) - 0.5) * pow(10, 600 * sy_draw(key, i, 1) - 300);
        sy_buf b = { 0 };
        sy_json j;
        json_t *v = NULL;
        sy_json_open(&j, &b, 0);
        sy_json_real(&j, r);
        sy_expect_ok(sy_json_parse(&v, b.data, b.n, "real", err));
        assert_true(json_is_real(v) && json_real_value(v) == r);
        json_decref(v);
        sy_buf_free(&b);
    }
}

static void without_memory(void **s)
{
    (void)s;
    char path[600];
    snprintf(path, sizeof path, "%s/memory.json", sy_test_dir());
    sy_expect_ok(sy_file_write(path, sample, sizeof sample - 1, err));
    for (int sticky = 0; sticky < 2; sticky++)
        for (uint64_t n = 1; ; n++) {
            sy_test_case("allocation %llu fails%s", (unsigned long long)n, sticky ? ", and all later ones" : "");
            uint64_t before = sy_alloc_calls();
            sy_err e = { 0 };
            json_t *v = NULL;
            sy_alloc_fail_at(n, sticky);
            sy_status st = sy_json_read(&v, path, 1000, &e);
            sy_alloc_fail_at(0, 0);
            bool reached = sy_alloc_calls() - before >= n;
            if (st != SY_OK) { assert_null(v); assert_int_equal(st, SY_ENOMEM); }
            else if (reached) {                      /* Jansson may do without; then all of it must be there */
                json_t *whole = NULL;
                sy_expect_ok(sy_json_parse(&whole, sample, sizeof sample - 1, "f", err));
                assert_true(json_equal(whole, v));
                json_decref(whole);
            }
            json_decref(v);
            if (!reached) { assert_int_equal(st, SY_OK); break; }
        }
    for (uint64_t n = 1; ; n++) {                    /* the writer: the buffer says so at the end */
        sy_buf b = { 0 };
        sy_json j;
        uint64_t before = sy_alloc_calls();
        sy_alloc_fail_at(n, 0);
        sy_json_open(&j, &b, 1);
        sy_json_begin(&j, '[');
        for (int i = 0; i < 500; i++) sy_json_int(&j, i);
        sy_json_end(&j, ']');
        sy_alloc_fail_at(0, 0);
        bool reached = sy_alloc_calls() - before >= n;
        assert_int_equal(b.failed, reached);
        if (!reached) sy_expect_ok(parse(b.data, b.n, err));
        sy_buf_free(&b);
        if (!reached) break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed), cmocka_unit_test(nested_deeply), cmocka_unit_test(huge_texts), cmocka_unit_test(cut_at_every_byte), cmocka_unit_test(any_bytes),
        cmocka_unit_test(files), cmocka_unit_test(keys), cmocka_unit_test(layout), cmocka_unit_test(every_byte_is_escaped), cmocka_unit_test(reals_read_back),
        cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
