/* Reading of run folders: numbers as they were written, and what broken files leave behind. */
#include <math.h>

#include "core/alloc.h"
#include "report/record.h"
#include "runs.h"

static void test_numbers_as_written(void **state)
{
    (void)state;
    sy_record r = { 0 };
    sy_expect_ok(sy_record_read(&r, run_make("plain", true), err));
    assert_string_equal(r.name, "plain");
    assert_int_equal(r.n_note, 0);
    const sy_column *loss = sy_record_column(&r, SY_COL_LOSS, NULL, -1);
    assert_int_equal(loss->n, 100);
    for (size_t i = 0; i < loss->n; i++) {
        assert_int_equal(loss->step[i], (int)i + 1);
        assert_true(loss->value[i] == 2.5 + 1.0 / (double)(i + 1));
    }
    const sy_column *train = sy_record_column(&r, SY_COL_TRAIN, "c", -1);
    assert_int_equal(train->n, 100);
    assert_true(train->step[6] == 7 && train->value[6] == 2 + 1.0 / 7);
    assert_null(sy_record_column(&r, SY_COL_TRAIN, "shell", -1));
    for (int d = 0; d < 3; d++) {
        assert_true(sy_record_heldout(&r, SY_COL_BYTE, run_domain[d]) == run_loss(100, d, true));
        assert_true(sy_record_heldout(&r, SY_COL_TOKEN, run_domain[d]) == 3 * run_loss(100, d, true));
    }
    assert_true(isnan(sy_record_heldout(&r, SY_COL_BYTE, "nowhere")));
    assert_true(sy_record_is_sparse(&r));
    assert_true(sy_column_last(sy_record_column(&r, SY_COL_MAXVIO, NULL, 3), NULL) == 0.25);
    assert_null(sy_record_column(&r, SY_COL_MAXVIO, NULL, 0));
    assert_true(sy_record_number(&r, "derived", "steps") == 100);
    sy_expect_near("seconds", sy_record_seconds(&r), 51.2, 0, 1e-12);
    assert_int_equal(r.n_sample, 1);
    assert_string_equal(r.sample[0].text, "end");
    sy_record_free(&r);
    sy_expect_ok(sy_record_read(&r, run_make("twin", false), err));
    assert_false(sy_record_is_sparse(&r));
    sy_record_free(&r);
}

/* Each writes metrics.jsonl; `points` of loss must remain, and a note that holds `note`. */
static const struct { const char *what, *text; size_t bytes, points; double last; const char *note; } broken[] = {
#define CASE(what, text, points, last, note) { what, text, sizeof(text) - 1, points, last, note }
    CASE("cut in the last line",      "{\"step\":1,\"loss\":3}\n{\"step\":2,\"lo", 1, 3, "middle of line 2"),
    CASE("no newline at the end",     "{\"step\":1,\"loss\":3}\n{\"step\":2,\"loss\":2}", 2, 2, NULL),
    CASE("CRLF and empty lines",      "{\"step\":1,\"loss\":3}\r\n\r\n\n{\"step\":2,\"loss\":2}\r\n", 2, 2, NULL),
    CASE("a line of rubbish",         "{\"step\":1,\"loss\":3}\nrubbish\n{\"step\":2,\"loss\":2}\n", 2, 2, "1 of 3 lines"),
    CASE("NaN and infinities",        "{\"step\":1,\"loss\":3}\n{\"step\":2,\"loss\":NaN}\n{\"step\":3,\"loss\":-Infinity}\n{\"step\":4,\"loss\":null}\n", 4, 3, NULL),
    CASE("number too large",          "{\"step\":1,\"loss\":3}\n{\"step\":2,\"loss\":1e400}\n", 1, 3, "1 of 2 lines"),
    CASE("step is no step",           "{\"step\":1,\"loss\":3}\n{\"step\":-2,\"loss\":2}\n{\"step\":1.5,\"loss\":2}\n{\"step\":1e300,\"loss\":2}\n{\"loss\":1}\n[1]\n3\n", 1, 3, "6 of 7 lines"),
    CASE("goes back to a checkpoint", "{\"step\":1,\"loss\":3}\n{\"step\":2,\"loss\":2}\n{\"step\":3,\"loss\":1}\n{\"step\":2,\"loss\":2.5}\n", 2, 2.5, "2 values before them were replaced"),
    CASE("not UTF-8, NUL, controls",  "{\"step\":1,\"loss\":3,\"aux\":{\"a\xff\x01\t\":1}}\n{\"step\":2,\"loss\":2,\"aux\":{\"b\0c\":1, \"c\\ud800\":2, \"d\\u0000\":3}}\n", 2, 2, NULL),
    CASE("types all wrong",           "{\"step\":1,\"loss\":\"3\",\"aux\":[1],\"eval\":{\"a\":3,\"b\":{\"nats_per_byte\":{}}},\"routing\":{\"layer\":1}}\n{\"step\":2,\"loss\":2,\"routing\":[3,{\"layer\":-1},{\"layer\":1e9,\"maxvio\":1}]}\n", 2, 2, "entries left out: 3"),
    CASE("a key twice",               "{\"step\":1,\"loss\":3}\n{\"step\":2,\"loss\":2,\"loss\":1}\n", 1, 3, "1 of 2 lines"),
#undef CASE
};

static bool noted(const sy_record *r, const char *part)
{
    for (size_t i = 0; i < r->n_note; i++)
        if (strstr(r->note[i], part)) return true;
    return false;
}

static void test_broken_metrics(void **state)
{
    (void)state;
    for (size_t i = 0; i < SY_COUNT(broken); i++) {
        char name[32];
        sy_record r = { 0 };
        sy_test_case("%s", broken[i].what);
        snprintf(name, sizeof name, "broken%zu", i);
        run_file(name, "run.json", "{}", 2);
        sy_expect_ok(sy_record_read(&r, run_file(name, "metrics.jsonl", broken[i].text, broken[i].bytes), err));
        const sy_column *loss = sy_record_column(&r, SY_COL_LOSS, NULL, -1);
        if (loss->n != broken[i].points) fail_msg("%s: %zu points", broken[i].what, loss->n);
        for (size_t k = 1; k < loss->n; k++) assert_true(loss->step[k] > loss->step[k - 1]);
        if (sy_column_last(loss, NULL) != broken[i].last) fail_msg("%s: ends at %g", broken[i].what, sy_column_last(loss, NULL));
        if (broken[i].note ? !noted(&r, broken[i].note) : r.n_note != 0) fail_msg("%s: notes are wrong: %s", broken[i].what, r.n_note ? r.note[0] : "none");
        sy_record_free(&r);
    }
}

static void test_deep_and_wide(void **state)
{
    (void)state;
    sy_buf b = { 0 };
    sy_record r = { 0 };
    sy_test_case("60,000 brackets, 1000 losses, 3000 domains");
    sy_buf_text(&b, "{\"step\":1,\"loss\":");
    for (int i = 0; i < 60000; i++) sy_buf_text(&b, "[");
    sy_buf_text(&b, "\n{\"step\":2,\"loss\":2,\"aux\":{");
    for (int i = 0; i < 1000; i++) sy_buf_printf(&b, "%s\"x%d\":%d", i ? "," : "", i, i);
    sy_buf_text(&b, "},\"eval\":{");
    for (int i = 0; i < 3000; i++) sy_buf_printf(&b, "%s\"d%d\":{\"nats_per_byte\":1}", i ? "," : "", i);
    sy_buf_text(&b, "}}\n");
    sy_expect_ok(sy_record_read(&r, run_file("wide", "metrics.jsonl", b.data, b.n), err));
    assert_true(r.n_column < 400);
    assert_true(noted(&r, "entries left out"));
    assert_true(noted(&r, "run.json is missing") || r.n_note);
    sy_record_free(&r);
    sy_buf_free(&b);
}

static void test_missing_and_wrong_places(void **state)
{
    (void)state;
    sy_record r = { 0 };
    sy_err why = { 0 }, *err = &why;
    char path[1300];
    sy_expect_fail(sy_record_read(&r, "/nonexistent/run", err), SY_ENOENT, "is not a folder");
    sy_expect_fail(sy_record_read(&r, "/dev/zero", err), SY_ENOENT, "is not a folder");
    sy_expect_fail(sy_record_read(&r, RUN_TEXT("empty", "other", "x"), err), SY_ENOENT, "holds no readable");
    sy_expect_fail(sy_record_read(&r, RUN_TEXT("rubbish", "run.json", "[1"), err), SY_ENOENT, "holds no readable");
    sy_test_case("a folder stands where a file should");
    snprintf(path, sizeof path, "%s/odd/metrics.jsonl", sy_test_dir());
    sy_expect_ok(sy_mkdirs(path, err));
    sy_expect_ok(sy_record_read(&r, RUN_TEXT("odd", "run.json", "{\"train\":{\"seed\":3}}"), err));
    assert_true(noted(&r, "is a folder"));
    assert_true(sy_record_number(&r, "train", "seed") == 3);
    sy_record_free(&r);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    const char *dir = run_make("memory", true);
    for (uint64_t n = 1; n < 400; n++) {
        sy_record r = { 0 };
        sy_err why = { 0 }, *err = &why;
        sy_test_case("allocation %llu fails", (unsigned long long)n);
        sy_alloc_fail_at(n, 0);
        sy_status st = sy_record_read(&r, dir, err);
        sy_alloc_fail_at(0, 0);
        if (st != SY_OK) assert_int_equal(st, SY_ENOMEM);
        sy_record_free(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_as_written),
        cmocka_unit_test(test_broken_metrics),
        cmocka_unit_test(test_deep_and_wide),
        cmocka_unit_test(test_missing_and_wrong_places),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
