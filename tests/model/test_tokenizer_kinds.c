/* Tokenizers of every kind: ids, offsets and texts as the `tokenizers` package gives them (tests/ref/make_tokenizer_kinds.py); what is told id by id is what is
 * told at once; texts that are made to be slow; memory that runs out. */
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/alloc.h"
#include "core/json.h"
#include "core/utf8.h"
#include "model/tokenizer_parts.h"

static const char fixture[] = "tests/fixtures/tokenizer_kinds.json";
static json_t *root;
static const char *dumped;

static int open_fixture(void **state)
{
    sy_err err;
    (void)state;
    return sy_json_read(&root, fixture, 1 << 24, &err) == SY_OK ? 0 : -1;
}

static int close_fixture(void **state)
{
    (void)state;
    json_decref(root);
    return 0;
}

static int append(const char *s, size_t n, void *b)
{
    sy_buf_put(b, s, n);
    return 0;
}

static sy_buf text_of(json_t *o)
{
    sy_buf b = { 0 };
    json_dump_callback(o, append, &b, JSON_COMPACT);
    return b;
}

static sy_tokenizer *from_json(json_t *o)
{
    sy_tokenizer *t = NULL;
    sy_buf b = text_of(o);
    sy_expect_ok(sy_tokenizer_from_memory(&t, b.data, b.n, "tokenizer.json", err));
    sy_buf_free(&b);
    return t;
}

/* U+FFFD for what is not UTF-8, as the package's strings need it. */
static void expect_text(const char *what, const sy_buf *got, const char *want)
{
    sy_buf b = { 0 };
    for (size_t i = 0; i < got->n; ) {
        uint32_t cp;
        char utf8[4];
        int len = sy_utf8_next(got->data + i, got->n - i, &cp);
        sy_buf_put(&b, utf8, (size_t)sy_utf8_put(cp, utf8));
        i += (size_t)(len < 0 ? -len : len);
    }
    sy_buf_put(&b, "", 1);
    if (strcmp(b.data, want)) fail_msg("%s, %s: \"%s\", want \"%s\"", dumped ? dumped : "", what, b.data, want);
    sy_buf_free(&b);
}

static void expect_list(const char *what, const char *text, json_t *want, const void *got, size_t n, bool spans)
{
    size_t k = json_array_size(want) / (spans ? 2 : 1);
    for (size_t i = 0; i < n || i < k; i++)
        for (int side = 0; side < 1 + spans; side++) {
            long long a = -1;
            if (i < n && spans) a = side ? ((const sy_span *)got)[i].end : ((const sy_span *)got)[i].begin;
            else if (i < n) a = ((const int32_t *)got)[i];
            long long b = i < k ? json_integer_value(json_array_get(want, spans ? 2 * i + (size_t)side : i)) : -1;
            if (a != b) fail_msg("%s: %s[%zu] of \"%s\" is %lld, want %lld (-1: the end)", dumped, what, i, text, a, b);
        }
}

static void one_by_one(const sy_tokenizer *t, const sy_tokens *k, const char *whole)
{
    sy_buf out = { 0 };
    sy_decoder d;
    sy_expect_ok(sy_decoder_open(&d, t, NULL, 0, err));
    for (size_t i = 0; i < k->n; i++) {
        size_t before = out.n;
        sy_expect_ok(sy_decoder_feed(&d, k->id[i], &out, err));
        if (out.n > before && t->shown_at && sy_tokenizer_special(t, k->id[i])) fail_msg("%s: special token %d says something", dumped, k->id[i]);
    }
    sy_expect_ok(sy_decoder_end(&d, &out, err));
    sy_decoder_close(&d);
    expect_text("told id by id", &out, whole);
    sy_buf_free(&out);
}

static void as_the_package(void **state)
{
    (void)state;
    json_t *o, *texts = json_object_get(root, "texts");
    size_t count = 0;
    json_object_foreach(json_object_get(root, "tokenizers"), dumped, o) {
        sy_tokenizer *t = from_json(o), *u = NULL;
        json_t *cases = json_object_get(json_object_get(root, "cases"), dumped), *c;
        sy_tokens k = { 0 };
        size_t i;
        sy_test_case("%s", dumped);
        json_array_foreach(cases, i, c) {
            const char *text = json_string_value(json_array_get(texts, i));
            size_t n = strlen(text), plain;
            sy_buf out = { 0 };
            bool framed = json_array_size(c) > 3;
            sy_expect_ok(sy_tokenizer_tokens(t, text, n, SY_TOKENS_SPANS | SY_TOKENS_AS_PACKAGE, &k, err));
            expect_list("ids", text, json_array_get(c, 0), k.id, k.n, false);
            expect_list("offsets", text, json_array_get(c, 1), k.span, k.n, true);
            sy_expect_ok(sy_tokenizer_decode(t, k.id, k.n, &out, err));
            expect_text("text", &out, json_string_value(json_array_get(c, 2)));
            one_by_one(t, &k, json_string_value(json_array_get(c, 2)));
            if (!k.dropped) {                        /* the strict call gives the same, within what it promises */
                int32_t *id = malloc((sy_tokenizer_most(t, n) + 1) * sizeof *id);
                sy_expect_ok(sy_tokenizer_encode(t, text, n, id, &plain, err));
                expect_list("plain ids", text, json_array_get(c, 0), id, plain, false);
                free(id);
            }
            sy_expect_ok(sy_tokenizer_tokens(t, text, n, SY_TOKENS_SPANS | SY_TOKENS_AS_PACKAGE | SY_TOKENS_SPECIAL | SY_TOKENS_FRAMED, &k, err));
            expect_list("framed ids", text, json_array_get(c, framed ? 3 : 0), k.id, k.n, false);
            expect_list("framed offsets", text, json_array_get(c, framed ? 4 : 1), k.span, k.n, true);
            sy_buf_free(&out);
            count++;
        }
        sy_expect_ok(sy_tokenizer_save(t, sy_test_dir(), err));
        sy_expect_ok(sy_tokenizer_load(&u, sy_test_dir(), err));
        assert_string_equal(sy_tokenizer_id(t), sy_tokenizer_id(u));
        sy_tokens_free(&k);
        sy_tokenizer_close(t);
        sy_tokenizer_close(u);
    }
    assert_true(count > 500);
}

/* What an id shows adds up to the text, for tokenizers that change nothing. */
static void pieces_add_up(void **state)
{
    (void)state;
    static const char *const names[] = { "llama", "llama, later", "gemma", "unigram, one piece" };
    static const char text[] = "First Citizen: we are accounted poor citizens";
    for (size_t i = 0; i < SY_COUNT(names); i++) {
        sy_tokenizer *t = from_json(json_object_get(json_object_get(root, "tokenizers"), names[i]));
        sy_tokens k = { 0 };
        size_t sum = 0;
        sy_test_case("%s", names[i]);
        sy_expect_ok(sy_tokenizer_tokens(t, text, strlen(text), 0, &k, err));
        for (size_t j = 0; j < k.n; j++) sum += (size_t)sy_tokenizer_bytes(t, k.id[j]);
        assert_true(sum == strlen(text) || sum == strlen(text) + 1);          /* a space in front may be counted */
        sy_tokens_free(&k);
        sy_tokenizer_close(t);
    }
}

/* Byte tokens that make a character together are told together, a space in front only where there was a text before. */
static void told_as_it_becomes_certain(void **state)
{
    (void)state;
    sy_tokenizer *t = from_json(json_object_get(json_object_get(root, "tokenizers"), "llama"));
    static const struct { const char *before, *text, *want; } cases[] = {
        { "", "\xF0\x9F\xA6\x99 and \xE9\xBE\x8D", "\xF0\x9F\xA6\x99 and \xE9\xBE\x8D" }, { "Hello", "world", " world" }, { "\xE9\xBE\x8D", "\xE9\xBE\x8D\xE9\xBE\x8D", " \xE9\xBE\x8D\xE9\xBE\x8D" },
    };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_tokens before = { 0 }, k = { 0 };
        sy_decoder d;
        sy_buf out = { 0 };
        sy_test_case("%s|%s", cases[i].before, cases[i].text);
        sy_expect_ok(sy_tokenizer_tokens(t, cases[i].before, strlen(cases[i].before), 0, &before, err));
        sy_expect_ok(sy_tokenizer_tokens(t, cases[i].text, strlen(cases[i].text), 0, &k, err));
        sy_expect_ok(sy_decoder_open(&d, t, before.id, before.n, err));
        for (size_t j = 0; j < k.n; j++) {
            sy_expect_ok(sy_decoder_feed(&d, k.id[j], &out, err));
            if (out.data && strstr(out.data, "\xEF\xBF\xBD")) fail_msg("half a character was told: \"%s\"", out.data);
        }
        sy_expect_ok(sy_decoder_end(&d, &out, err));
        expect_text("told", &out, cases[i].want);
        sy_decoder_close(&d);
        sy_tokens_free(&k);
        sy_tokens_free(&before);
        sy_buf_free(&out);
    }
    sy_tokenizer_close(t);
}

static void long_texts(void **state)
{
    (void)state;
    static const struct { const char *unit; size_t times; const char *what; } texts[] = {
        { "a", 131072, "one letter" }, { "A", 131072, "one capital" }, { "\n", 43000, "blank lines" }, { " ", 131072, "spaces" }, { "\xE4\xB8\xAD\xE6\x96\x87", 13000, "26,000 CJK characters" },
        { "\xCC\x81\xCC\xA7", 40000, "marks out of order" }, { "'", 100000, "quotes" }, { "7", 100000, "digits" }, { "\xF0\x9F", 60000, "halves of characters" }, { "e e", 40000, "letters and spaces" },
        { "<pad>", 20000, "special tokens" }, { "\xC7\x85", 50000, "title case" },
    };
    json_t *o;
    json_object_foreach(json_object_get(root, "tokenizers"), dumped, o) {
        sy_tokenizer *t = from_json(o);
        sy_tokens k = { 0 };
        for (size_t c = 0; c < SY_COUNT(texts); c++) {
            size_t len = strlen(texts[c].unit), n = len * texts[c].times;
            char *s = malloc(n);
            for (size_t i = 0; i < n; i++) s[i] = texts[c].unit[i % len];
            sy_test_case("%s: %s", dumped, texts[c].what);
            clock_t began = clock();
            sy_expect_ok(sy_tokenizer_tokens(t, s, n, SY_TOKENS_AS_PACKAGE, &k, err));
            double seconds = (double)(clock() - began) / CLOCKS_PER_SEC;
            if (seconds > 3) fail_msg("%s, %s: %.1f s of processor time; quadratic?", dumped, texts[c].what, seconds);      /* below 0.1 s, but sanitizers are slow */
            free(s);
        }
        sy_tokens_free(&k);
        sy_tokenizer_close(t);
    }
}

#define CUT(regex) "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" regex "\"},\"behavior\":\"Isolated\",\"invert\":false}"
#define PATTERN(regex) "{\"pre_tokenizer\":" CUT(regex) ",\"decoder\":null,\"model\":{\"type\":\"WordLevel\",\"unk_token\":\"u\",\"vocab\":{\"u\":0}}}"

/* A pattern of a file cannot take for ever: linear, or refused. */
static void patterns_have_limits(void **state)
{
    (void)state;
    static const struct { const char *json; sy_status want; const char *what; } cases[] = {
        { PATTERN("(a+)+$"), SY_EUNSUP, "catastrophic" }, { PATTERN("(?:a|aa)+[bd]"), SY_EUNSUP, "two ways" }, { PATTERN("\\\\s+$"), SY_OK, "blanks at the end" }, { PATTERN("a{2,3}(?=b)|a"), SY_OK, "look-ahead" },
        { PATTERN("(?<=a)a"), SY_OK, "look-behind" }, { PATTERN("((((((((((a)))))))))){5}"), SY_OK, "groups" },
    };
    enum { N = 131072 };
    char *s = malloc(N + 1);
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_tokenizer *t = NULL;
        sy_tokens k = { 0 };
        sy_err e = { 0 }, *err = &e;
        sy_test_case("%s", cases[i].what);
        memset(s, strstr(cases[i].json, "\\s") ? ' ' : 'a', N);
        s[N] = 'c';
        sy_expect_ok(sy_tokenizer_from_memory(&t, cases[i].json, strlen(cases[i].json), "tokenizer.json", err));
        clock_t began = clock();
        sy_status st = sy_tokenizer_tokens(t, s, N + 1, 0, &k, err);
        double seconds = (double)(clock() - began) / CLOCKS_PER_SEC;
        if (st != cases[i].want) fail_msg("%s: %s (%s)", cases[i].what, sy_status_text(st), e.text);
        if (st != SY_OK && !strstr(e.text, "steps")) fail_msg("the sentence is \"%s\"", e.text);
        if (seconds > 5) fail_msg("%.1f s", seconds);
        sy_tokens_free(&k);
        sy_tokenizer_close(t);
    }
    free(s);
}

static sy_status whole_life(const sy_buf *json, sy_err *err)
{
    static const char text[] = " A Duke's\xC3\xA9t\xC3\xA9 <pad>  \xF0\x9F\xA6\x99 \xEF\xAC\x81 King 12";
    sy_tokenizer *t = NULL;
    sy_tokens k = { 0 };
    sy_buf out = { 0 };
    sy_decoder d = { 0 };
    sy_status st = sy_tokenizer_from_memory(&t, json->data, json->n, "tokenizer.json", err);
    if (st == SY_OK) st = sy_tokenizer_tokens(t, text, sizeof text - 1, SY_TOKENS_SPANS | SY_TOKENS_SPECIAL | SY_TOKENS_FRAMED | SY_TOKENS_AS_PACKAGE, &k, err);
    if (st == SY_OK) st = sy_tokenizer_decode(t, k.id, k.n, &out, err);
    if (st == SY_OK) st = sy_decoder_open(&d, t, k.id, k.n / 2, err);
    for (size_t i = k.n / 2; i < k.n && st == SY_OK; i++) st = sy_decoder_feed(&d, k.id[i], &out, err);
    if (st == SY_OK) st = sy_decoder_end(&d, &out, err);
    if (st == SY_OK && out.failed) st = sy_fail(err, SY_ENOMEM, "no memory");
    sy_decoder_close(&d);
    sy_tokens_free(&k);
    sy_buf_free(&out);
    sy_tokenizer_close(t);
    return st;
}

/* A sample of the allocations: most of a life is JSON, whose every text is one. */
static void memory_runs_out(void **state)
{
    (void)state;
    json_t *o;
    int kinds = 0;
    json_object_foreach(json_object_get(root, "tokenizers"), dumped, o) {
        sy_buf json = text_of(o);
        sy_err e = { 0 };
        uint64_t before = sy_alloc_calls();
        assert_int_equal(whole_life(&json, &e), SY_OK);
        uint64_t all = sy_alloc_calls() - before;
        for (uint64_t n = 1, step; n <= all; n += step) {
            step = all - n > 500 ? 397 : all - n > 120 ? 13 : 1;              /* the last ones are the tokenizer's own */
            sy_test_case("%s: allocation %llu of %llu", dumped, (unsigned long long)n, (unsigned long long)all);
            before = sy_alloc_calls();
            sy_alloc_fail_at(n, 1);
            sy_status st = whole_life(&json, &e);
            sy_alloc_fail_at(0, 0);
            if (st == SY_OK && sy_alloc_calls() - before < n) break;
            if (st != SY_ENOMEM) fail_msg("%s: allocation %llu failed: %s (%s)", dumped, (unsigned long long)n, sy_status_text(st), e.text);
        }
        sy_buf_free(&json);
        kinds++;
    }
    assert_true(kinds > 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_the_package), cmocka_unit_test(pieces_add_up), cmocka_unit_test(told_as_it_becomes_certain), cmocka_unit_test(long_texts), cmocka_unit_test(patterns_have_limits), cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
