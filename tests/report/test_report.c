/* The page and the table: numbers equal to the run's, nothing of a run's text unescaped, HTML that a plain parser accepts. */
#include <math.h>
#include <stdlib.h>

#include "core/alloc.h"
#include "core/json.h"
#include "html.h"
#include "report/report.h"
#include "runs.h"

/* The JSON that stands in the page. */
static json_t *data_of(const sy_buf *page)
{
    static const char open[] = "<script type=\"application/json\" id=\"data\">";
    json_t *j = NULL;
    const char *from = strstr(page->data, open), *to = from ? strstr(from, "</script>") : NULL;
    if (!to) fail_msg("the page holds no data");
    from += strlen(open);
    sy_expect_ok(sy_json_parse(&j, from, (size_t)(to - from), "data of the page", err));
    return j;
}

static json_t *series_of(json_t *run, const char *part, const char *name)
{
    json_t *s = json_object_get(json_object_get(run, part), name);
    assert_non_null(s);
    return s;
}

static void test_the_page_holds_the_numbers(void **state)
{
    (void)state;
    sy_record r[2] = { { 0 } };
    sy_buf page = { 0 };
    sy_expect_ok(sy_record_read(&r[0], run_make("sparse", true), err));
    sy_expect_ok(sy_record_read(&r[1], run_make("dense", false), err));
    sy_expect_ok(sy_report_html(r, 2, &page, err));
    check_html(page.data);
    json_t *d = data_of(&page), *run;
    assert_int_equal(json_integer_value(json_object_get(d, "baseline")), 1);
    for (int i = 0; i < 2; i++) {
        run = json_array_get(json_object_get(d, "runs"), (size_t)i);
        json_t *loss = series_of(run, "curves", "loss"), *byte = json_object_get(json_object_get(run, "heldout"), "byte");
        assert_int_equal(json_array_size(json_object_get(loss, "y")), 100);
        for (size_t k = 0; k < 100; k++) {
            assert_int_equal(json_integer_value(json_array_get(json_object_get(loss, "x"), k)), (int)k + 1);
            assert_true(json_number_value(json_array_get(json_object_get(loss, "y"), k)) == 2.5 + 1.0 / (double)(k + 1));
        }
        for (int k = 0; k < 3; k++) {
            json_t *s = json_object_get(byte, run_domain[k]);
            assert_true(json_number_value(json_array_get(json_object_get(s, "y"), 0)) == run_loss(50, k, !i));
            assert_true(json_number_value(json_array_get(json_object_get(s, "y"), 1)) == run_loss(100, k, !i));
        }
    }
    run = json_array_get(json_object_get(d, "runs"), 0);
    json_t *layer = json_array_get(json_object_get(json_object_get(run, "final"), "layers"), 0);
    for (size_t e = 0; e < 4; e++) assert_int_equal(json_integer_value(json_array_get(json_object_get(layer, "load"), e)), (int)e + 1);
    assert_int_equal(json_array_size(json_object_get(run, "routing")), 2);
    json_decref(d);
    /* sparse is 0.0625 lower everywhere, and the main table says so without the script */
    assert_non_null(strstr(page.data, "<strong>0.062 ("));
    assert_non_null(strstr(page.data, "lower in 3 of 3 domains"));
    assert_non_null(strstr(page.data, "equal active parameters (2.00 k), equal tokens (51.2 k)"));
    assert_true(page.n < 200000);
    sy_buf_free(&page);
    sy_record_free(&r[0]);
    sy_record_free(&r[1]);
}

static void test_the_table_in_text(void **state)
{
    (void)state;
    sy_record r[2] = { { 0 } };
    sy_buf t = { 0 };
    sy_expect_ok(sy_record_read(&r[0], run_make("sparse", true), err));
    sy_expect_ok(sy_record_read(&r[1], run_make("dense", false), err));
    sy_expect_ok(sy_report_text(r, 2, &t, err));
    char want[200];
    snprintf(want, sizeof want, "| c       |  %.4f |  %.4f |    -0.0625 |", run_loss(100, 0, true), run_loss(100, 0, false));
    assert_non_null(strstr(t.data, want));
    assert_non_null(strstr(t.data, "sparse is 0.0625 nats per byte"));
    assert_non_null(strstr(t.data, "below dense, lower in 3 of 3 domains"));
    size_t width = 0;                                   /* every row of the table is as long as its head */
    for (char *line = strtok(t.data, "\n"); line; line = strtok(NULL, "\n")) {
        if (*line != '|') continue;
        if (!width) width = strlen(line);
        assert_int_equal(strlen(line), width);
    }
    sy_buf_free(&t);
    sy_record_free(&r[0]);
    sy_record_free(&r[1]);
}

/* Text that wants out of its place, in every place where text goes. */
#define EVIL "</script><img src=x onerror=alert(1)>\xE2\x80\xAE\\\"'&<!--\xff\xF0\x9F\x98\x80"
#define EVIL_JSON "</script><img src=x onerror=alert(1)>\xE2\x80\xAE\\\\\\\"'&<!--\xff\xF0\x9F\x98\x80"

static void test_hostile_text_stays_text(void **state)
{
    (void)state;
    sy_record r = { 0 };
    sy_buf page = { 0 }, text = { 0 };
    RUN_TEXT("evil<b>&", "metrics.jsonl", "{\"step\":1,\"loss\":1,\"aux\":{\"" EVIL_JSON "\":1},\"eval\":{\"" EVIL_JSON "\":{\"nats_per_byte\":1,\"nats_per_token\":1},\"@@css@@|\x1b[31m\":{\"nats_per_byte\":2}}}\n");
    RUN_TEXT("evil<b>&", "run.json", "{\"commit\":\"" EVIL_JSON "\",\"switchyard\":\"" EVIL_JSON "\",\"" EVIL_JSON "\":\"" EVIL_JSON "\"}");
    RUN_TEXT("evil<b>&", "routing.json", "{\"domains\":[\"" EVIL_JSON "\",3,null],\"layers\":[{\"experts\":2,\"top_tokens\":[[{\"token\":\"" EVIL_JSON "\"}]]}],\"sentence\":{\"tokens\":[\"" EVIL_JSON "\",{}],\"next\":[[{\"token\":\"" EVIL_JSON "\",\"p\":1}]]}}");
    sy_expect_ok(sy_record_read(&r, RUN_TEXT("evil<b>&", "samples.jsonl", "{\"step\":1,\"prompt\":\"" EVIL_JSON "\",\"text\":\"" EVIL_JSON "\"}\n"), err));
    sy_expect_ok(sy_report_html(&r, 1, &page, err));
    check_html(page.data);
    json_t *d = data_of(&page), *run = json_array_get(json_object_get(d, "runs"), 0);
    static const char want[] = "</script><img src=x onerror=alert(1)>\xE2\x80\xAE\\\"'&<!--\xEF\xBF\xBD\xF0\x9F\x98\x80";
    assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(run, "samples"), 0), "text")), want);
    assert_non_null(json_object_get(json_object_get(run, "aux"), want));
    assert_null(strstr(page.data, "<img"));
    assert_null(strstr(page.data, "\xE2\x80\xAE"));      /* no direction mark stands in the page itself */
    assert_null(strchr(page.data, 0x1b));
    json_decref(d);
    sy_expect_ok(sy_report_text(&r, 1, &text, err));
    assert_null(strchr(text.data, 0x1b));
    assert_null(strstr(text.data, "\xE2\x80\xAE"));
    sy_buf_free(&page);
    sy_buf_free(&text);
    sy_record_free(&r);
}

static const char *const routings[] = {
    "{}", "{\"layers\":3}", "{\"layers\":[3,null,{}]}", "{\"domains\":{},\"layers\":[{\"experts\":-1},{\"experts\":1e30},{\"experts\":0.5}]}",
    "{\"domains\":[\"a\"],\"layers\":[{\"experts\":1024,\"zero\":1024,\"load\":\"x\",\"by_domain\":[[1,\"2\",null,1e308]],\"coactivation\":[[1],[2,3]],\"top_tokens\":{}}]}",
    "{\"domains\":[\"a\"],\"layers\":[{\"experts\":3,\"load\":[NaN,-1,1e308],\"by_domain\":[[],[],[]],\"coactivation\":[1,2],\"top_tokens\":[[1],[{\"token\":5}]]}],\"sentence\":[]}",
    "{\"layers\":[{\"experts\":2}],\"sentence\":{\"tokens\":[1,\"a\"],\"layers\":[{},[{\"experts\":[-1,1e9,0.5,\"x\",1],\"weights\":[1]}]],\"next\":{}}}",
};

static void test_hostile_routing(void **state)
{
    (void)state;
    for (size_t i = 0; i < SY_COUNT(routings); i++) {
        sy_record r = { 0 };
        sy_buf page = { 0 };
        sy_test_case("%s", routings[i]);
        sy_expect_ok(sy_record_read(&r, run_file("routing", "routing.json", routings[i], strlen(routings[i])), err));
        sy_expect_ok(sy_report_html(&r, 1, &page, err));
        check_html(page.data);
        json_decref(data_of(&page));
        sy_buf_free(&page);
        sy_record_free(&r);
    }
}

static void test_a_long_run_stays_small(void **state)
{
    (void)state;
    sy_record r = { 0 };
    sy_buf b = { 0 }, page = { 0 };
    for (int s = 1; s <= 60000; s++) sy_buf_printf(&b, "{\"step\":%d,\"tokens\":%d,\"loss\":%.9g,\"lr\":%.9g}\n", s, s * 100, s == 31415 ? 99.5 : 2 + sin(s), 1.0 / s);
    run_file("long", "run.json", "{}", 2);
    sy_expect_ok(sy_record_read(&r, run_file("long", "metrics.jsonl", b.data, b.n), err));
    sy_expect_ok(sy_report_html(&r, 1, &page, err));
    json_t *d = data_of(&page), *y = json_object_get(series_of(json_array_get(json_object_get(d, "runs"), 0), "curves", "loss"), "y");
    bool peak = false;
    assert_true(json_array_size(y) <= 1000);
    for (size_t i = 0; i < json_array_size(y); i++) peak |= json_number_value(json_array_get(y, i)) == 99.5;
    assert_true(peak);
    assert_true(page.n < 300000);
    json_decref(d);
    sy_buf_free(&b);
    sy_buf_free(&page);
    sy_record_free(&r);
}

static void test_limits_and_memory(void **state)
{
    (void)state;
    sy_record r[9] = { { 0 } };
    sy_buf b = { 0 };
    sy_err why = { 0 }, *err = &why;
    sy_expect_fail(sy_report_html(r, 0, &b, err), SY_EARG, "1 to 8 runs, not 0");
    sy_expect_fail(sy_report_text(r, 9, &b, err), SY_EARG, "1 to 8 runs, not 9");
    sy_expect_ok(sy_record_read(&r[0], run_make("sparse", true), err));
    for (uint64_t n = 1; n < 40; n++) {
        sy_buf page = { 0 };
        sy_test_case("allocation %llu fails", (unsigned long long)n);
        sy_alloc_fail_at(n, 1);
        sy_status st = sy_report_html(r, 1, &page, err);
        sy_alloc_fail_at(0, 0);
        if (st != SY_OK) assert_int_equal(st, SY_ENOMEM);
        sy_buf_free(&page);
    }
    sy_record_free(&r[0]);
    sy_buf_free(&b);
}

/* Samples of many steps: the last step's all, and whole steps before it at equal distances, 32 in all. */
static void test_samples_of_many_steps(void **state)
{
    static const struct { int steps, each, total, groups; } cases[] = { { 1, 3, 3, 1 }, { 20, 3, 30, 10 }, { 4, 5, 20, 4 }, { 3, 40, 32, 1 }, { 100, 1, 32, 32 }, { 5, 20, 20, 1 } };
    (void)state;
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_record r = { 0 };
        sy_buf b = { 0 }, json = { 0 };
        json_t *root;
        sy_test_case("%d steps of %d samples", cases[i].steps, cases[i].each);
        RUN_TEXT("many-samples", "metrics.jsonl", "{\"step\":1,\"loss\":1}\n");
        for (int s = 1; s <= cases[i].steps; s++)
            for (int k = 0; k < cases[i].each; k++) sy_buf_printf(&b, "{\"step\":%d,\"prompt\":\"p%d\",\"text\":\"t\"}\n", 10 * s, k);
        sy_expect_ok(sy_record_read(&r, run_file("many-samples", "samples.jsonl", b.data, b.n), err));
        sy_expect_ok(sy_report_json(&r, 1, &json, err));
        sy_expect_ok(sy_json_parse(&root, json.data, json.n, "json", err));
        json_t *list = json_object_get(json_array_get(json_object_get(root, "runs"), 0), "samples");
        int n = (int)json_array_size(list), groups = 0, step = 0, of_step = 0;
        for (int k = 0; k < n; k++) {
            int at = (int)json_integer_value(json_object_get(json_array_get(list, (size_t)k), "step"));
            assert_true(at >= step);
            if (at != step && groups++) assert_int_equal(of_step, cases[i].each);
            of_step = at == step ? of_step + 1 : 1;
            step = at;
        }
        assert_int_equal(n, cases[i].total);
        assert_int_equal(groups, cases[i].groups);
        assert_int_equal(step, 10 * cases[i].steps);
        json_decref(root);
        sy_buf_free(&b);
        sy_buf_free(&json);
        sy_record_free(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_page_holds_the_numbers),
        cmocka_unit_test(test_the_table_in_text),
        cmocka_unit_test(test_hostile_text_stays_text),
        cmocka_unit_test(test_hostile_routing),
        cmocka_unit_test(test_a_long_run_stays_small),
        cmocka_unit_test(test_samples_of_many_steps),
        cmocka_unit_test(test_limits_and_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
