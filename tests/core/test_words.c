/* Words in one text. Oracle: what was joined comes back, word by word. */
#include "testing.h"

#include <string.h>

#include "core/alloc.h"
#include "core/random.h"
#include "core/words.h"

static void expect_words(const char *text, const char *const *want, int n)
{
    sy_arena a = { 0 };
    const char *const *got;
    int k;
    sy_test_case("'%s'", text);
    sy_expect_ok(sy_words_split(&a, text, &got, &k, err));
    sy_expect_near("number of words", k, n, 0, 0);
    for (int i = 0; i < n; i++) assert_string_equal(got[i], want[i]);
    sy_arena_free(&a);
}

static void splitting(void **state)
{
    (void)state;
    static const struct { const char *text; int n; const char *word[3]; } cases[] = {
        { "", 0, { 0 } }, { "   ", 0, { 0 } }, { "a", 1, { "a" } }, { " a  b ", 2, { "a", "b" } },
        { "my\\ text.txt b", 2, { "my text.txt", "b" } }, { "a\\\\ b", 2, { "a\\", "b" } }, { "\\ ", 1, { " " } },
        { "a\\b", 1, { "a\\b" } }, { "a\\", 1, { "a\\" } }, { "n=x\\ y@2 \\\\\\ z", 2, { "n=x y@2", "\\ z" } },
    };
    for (size_t i = 0; i < SY_COUNT(cases); i++) expect_words(cases[i].text, cases[i].word, cases[i].n);
}

static void round_trip(void **state)
{
    (void)state;
    char word[4][9];
    const char *list[4];
    for (uint64_t c = 0; c < 2000; c++) {
        sy_arena a = { 0 };
        uint64_t key = sy_key(sy_test_seed(), SY_FOR_TEST, c, 0, 0);
        for (int i = 0; i < 4; i++) {
            int n = 1 + (int)sy_draw_below(key, 0, (unsigned)i, 8);
            for (int k = 0; k < n; k++) word[i][k] = "ab \\"[sy_draw_below(key, (uint64_t)k + 1, (unsigned)i, 4)];
            word[i][n] = 0;
            list[i] = word[i];
        }
        char *text = sy_words_join(&a, list, 4);
        assert_non_null(text);
        expect_words(text, list, 4);
        sy_arena_free(&a);
    }
}

static void without_memory(void **state)
{
    (void)state;
    sy_err e = { 0 }, *err = &e;
    const char *const *got;
    int k;
    sy_arena a = { 0 };
    sy_alloc_fail_at(1, 1);
    assert_null(sy_words_join(&a, (const char *[]){ "a" }, 1));
    sy_expect_fail(sy_words_split(&a, "a b", &got, &k, err), SY_ENOMEM, "words");
    sy_alloc_fail_at(0, 0);
    sy_arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(splitting), cmocka_unit_test(round_trip), cmocka_unit_test(without_memory) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
