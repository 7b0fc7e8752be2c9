/* UTF-8. Oracle: the code points that CPython 3.11 gives for bytes.decode('utf-8', 'replace'), written out by hand below and checked
 * with it; and every code point there and back. */
#include "testing.h"

#include <stdbool.h>
#include <string.h>

#include "core/utf8.h"

static const struct { const char *in; size_t n; uint32_t out[8]; int n_out; const char *what; } cases[] = {
    { "a", 1, { 'a' }, 1, "ASCII" },
    { "\0", 1, { 0 }, 1, "NUL" },
    { "\xC3\xA4", 2, { 0xE4 }, 1, "two bytes" },
    { "\xE2\x82\xAC", 3, { 0x20AC }, 1, "three" },
    { "\xF0\x9F\x98\x80", 4, { 0x1F600 }, 1, "four" },
    { "\xEF\xBB\xBF", 3, { 0xFEFF }, 1, "BOM" },
    { "\xF4\x8F\xBF\xBF", 4, { 0x10FFFF }, 1, "last" },
    { "\x80", 1, { 0xFFFD }, 1, "continuation alone" },
    { "\xBF\x80", 2, { 0xFFFD, 0xFFFD }, 2, "two continuations" },
    { "\xC0\x80", 2, { 0xFFFD, 0xFFFD }, 2, "overlong NUL" },
    { "\xC1\xBF", 2, { 0xFFFD, 0xFFFD }, 2, "overlong" },
    { "\xE0\x80\x80", 3, { 0xFFFD, 0xFFFD, 0xFFFD }, 3, "overlong of three" },
    { "\xE0\x9F\xBF", 3, { 0xFFFD, 0xFFFD, 0xFFFD }, 3, "overlong of three, last" },
    { "\xF0\x80\x80\x80", 4, { 0xFFFD, 0xFFFD, 0xFFFD, 0xFFFD }, 4, "overlong of four" },
    { "\xED\xA0\x80", 3, { 0xFFFD, 0xFFFD, 0xFFFD }, 3, "high surrogate" },
    { "\xED\xBF\xBF", 3, { 0xFFFD, 0xFFFD, 0xFFFD }, 3, "low surrogate" },
    { "\xF4\x90\x80\x80", 4, { 0xFFFD, 0xFFFD, 0xFFFD, 0xFFFD }, 4, "above the last" },
    { "\xF5\x80", 2, { 0xFFFD, 0xFFFD }, 2, "no lead byte" },
    { "\xFF\xFE", 2, { 0xFFFD, 0xFFFD }, 2, "UTF-16 mark" },
    { "\xC3", 1, { 0xFFFD }, 1, "cut of two" },
    { "\xE2\x82", 2, { 0xFFFD }, 1, "cut of three is one" },
    { "\xF0\x9F\x98", 3, { 0xFFFD }, 1, "cut of four is one" },
    { "\xF0\x9F", 2, { 0xFFFD }, 1, "cut after two" },
    { "\xE2\x82" "a", 3, { 0xFFFD, 'a' }, 2, "cut, then a letter" },
    { "\xF0\x9F\x98" "a", 4, { 0xFFFD, 'a' }, 2, "cut of four, then a letter" },
    { "\xE2\xE2\x82\xAC", 4, { 0xFFFD, 0x20AC }, 2, "cut, then whole" },
    { "a\xC3z", 3, { 'a', 0xFFFD, 'z' }, 3, "between letters" },
};

static void table(void **s)
{
    (void)s;
    for (size_t c = 0; c < SY_COUNT(cases); c++) {
        sy_test_case("%s", cases[c].what);
        int n = 0;
        for (size_t i = 0; i < cases[c].n; n++) {
            uint32_t cp = 1;
            int len = sy_utf8_next(cases[c].in + i, cases[c].n - i, &cp);
            if (n >= cases[c].n_out || cp != cases[c].out[n]) fail_msg("'%s': character %d is U+%04X", cases[c].what, n, (unsigned)cp);
            assert_true(len != 0 && (len > 0) == (cp != 0xFFFD));
            i += (size_t)(len > 0 ? len : -len);
        }
        assert_int_equal(n, cases[c].n_out);
    }
}

static void there_and_back(void **s)
{
    (void)s;
    for (uint32_t cp = 0; cp <= 0x110010; cp++) {
        char b[4];
        uint32_t back;
        int n = sy_utf8_put(cp, b);
        bool valid = cp <= 0x10FFFF && (cp < 0xD800 || cp > 0xDFFF);
        if (sy_utf8_next(b, (size_t)n, &back) != n || back != (valid ? cp : 0xFFFD)) fail_msg("U+%04X gives U+%04X", (unsigned)cp, (unsigned)back);
        for (int k = 1; k < n && valid; k++) assert_int_equal(sy_utf8_tail(b, (size_t)k), k);
        if (sy_utf8_tail(b, (size_t)n) != 0) fail_msg("U+%04X looks unfinished", (unsigned)cp);
    }
}

static void tail(void **s)
{
    (void)s;
    static const struct { const char *in; size_t want; } t[] = {
        { "", 0 }, { "a", 0 }, { "a\xC3", 1 }, { "\xE2\x82", 2 }, { "x\xF0\x9F\x98", 3 }, { "\xF0\x9F\x98\x80", 0 },
        { "\x80", 0 }, { "\x80\x80\x80\x80", 0 }, { "\xFF", 0 }, { "\xC0", 0 }, { "\xED\xA0", 0 }, { "\xE0\x80", 0 }, { "\xC3\xA4\xC3", 1 },
    };
    for (size_t i = 0; i < SY_COUNT(t); i++) {
        sy_test_case("tail %zu", i);
        assert_int_equal(sy_utf8_tail(t[i].in, strlen(t[i].in)), t[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(table), cmocka_unit_test(there_and_back), cmocka_unit_test(tail) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
