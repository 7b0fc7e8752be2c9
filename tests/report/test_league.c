/* The league's page, table and JSON on numbers made by hand: what stands in them, nothing unescaped, HTML that a plain parser accepts. */
#include <math.h>

#include "core/alloc.h"
#include "core/json.h"
#include "html.h"
#include "report/league.h"

static const double seeds[4][2] = { { 0.003, 0.005 }, { 0.03, 0.05 }, { 0.004, 0.004 }, { 0.002, 0.002 } }, domains[4][2] = { { 1, 2 }, { 3, 4 }, { 5, 6 }, { 7, 8 } };

static sy_league_row row(const char *name, int i, double loss, double diff, int sign)
{
    return (sy_league_row){ .name = name, .title = "a \"title\" & more", .settings = "router=a<b:k=$C", .note = i ? NULL : "it's <noted>", .lr_scale = 2, .coef = i ? 0.01 : 0, .edge = true, .loss = loss, .sd = 0.001,
                            .diff = diff, .se = 0.0002, .lower = 2, .sign = sign, .train_loss = NAN, .maxvio = 0.5, .specialisation = 0.25, .experts = 2, .flops = 1234567, .train_flops = 4e6,
                            .parameters = 673728, .active = 231360, .seed = seeds[i], .domain = domains[i] };
}

static sy_league league(sy_league_group *g, sy_league_row *r)
{
    static const char *const names[] = { "drama <i>", "maths" };
    r[0] = row("low <b>", 0, 0.002, -0.002, -1), r[1] = row("base", 1, 0.004, NAN, 0), r[2] = row("tie", 2, 0.0041, 0.0001, 0), r[3] = row("high", 3, 0.04, 0.036, 1);
    r[4] = (sy_league_row){ .name = "out", .title = "", .settings = "router=out", .why = "no causal form & so on" };
    *g = (sy_league_group){ "Two & two", "Equal <tokens>.", r, 5, 1, false };
    return (sy_league){ "Routers", "About it & the rules.", "nats per byte", "`switchyard compare` <here>", 2, 2, 1, names, g };
}

static void expect_in(const sy_buf *b, const char *part)
{
    if (!strstr(b->data, part)) fail_msg("'%s' is not in:\n%s", part, b->data);
}

static void test_page(void **state)
{
    sy_league_group g;
    sy_league_row r[5];
    sy_league l = league(&g, r);
    sy_buf b = { 0 };
    (void)state;
    sy_expect_ok(sy_league_html(&l, &b, err));
    check_html(b.data);
    static const char *const parts[] = { "low &lt;b&gt;", "a &quot;title&quot; &amp; more", "router=a&lt;b:k=$C", "it&#39;s &lt;noted&gt;", "\u22120.00200<small>", "lower on 2 of 2 seeds", "No result: no causal form &amp; so on",
                                         "1 below the baseline, 1 no different, 1 above it, 1 without a result.", "1.23 M<small>4.00 M</small>", "drama &lt;i&gt;", "<tr class=\"base\">", "&lt;here&gt;" };
    for (size_t i = 0; i < SY_COUNT(parts); i++) expect_in(&b, parts[i]);
    assert_null(strstr(b.data, "nan"));
    assert_null(strstr(b.data, "inf\""));
    assert_null(strstr(b.data, "<script"));
    sy_test_case("a group without any result, and no domains");
    for (int i = 0; i < 5; i++) r[i].why = "stopped";
    l.domains = 0;
    sy_buf_clear(&b);
    sy_expect_ok(sy_league_html(&l, &b, err));
    check_html(b.data);
    expect_in(&b, "0 below the baseline, 0 no different, 0 above it, 5 without a result.");
    assert_null(strstr(b.data, "id=\"domains\""));
    assert_null(strstr(b.data, "nan"));
    sy_buf_free(&b);
}

static void test_text(void **state)
{
    sy_league_group g;
    sy_league_row r[5];
    sy_league l = league(&g, r);
    sy_buf b = { 0 };
    (void)state;
    sy_expect_ok(sy_league_markdown(&l, &b, err));
    expect_in(&b, "| low <b> | 0.00200 (0.00100) | -0.00200 (0.00020) | 2 of 2 | lower loss | | 0.50 | 2.00 | 1.23 M | 4.00 M | 674 k | 2 * | |");
    expect_in(&b, "| base | 0.00400 (0.00100) | | | baseline |");
    expect_in(&b, "| high | 0.04000 (0.00100) | +0.03600 (0.00020) | 2 of 2 | higher loss |");
    expect_in(&b, "### Two & two, by seed\n\n| method | 1 | 2 |\n");
    expect_in(&b, "- low <b>: `router=a<b:k=$C`");
    expect_in(&b, "- out has no result: no causal form & so on.");
    expect_in(&b, "| tie | 5.0000 | 6.0000 |");
    sy_test_case("rows with the same reason are told together");
    r[2].why = r[3].why = r[4].why;
    r[0].why = "stopped";
    sy_buf_clear(&b);
    sy_expect_ok(sy_league_markdown(&l, &b, err));
    expect_in(&b, "\n\n- low <b> has no result: stopped.\n- tie, high, out have no result: no causal form & so on.\n");
    r[0].why = r[2].why = r[3].why = NULL;
    sy_test_case("losses of 0.05 and more have four decimals; the arms of a second group of the same settings are told once");
    for (int i = 0; i < 4; i++) r[i].loss += 1;
    g.again = true;
    sy_buf_clear(&b);
    sy_expect_ok(sy_league_markdown(&l, &b, err));
    expect_in(&b, "| base | 1.0040 (0.0010) | | | baseline |");
    assert_null(strstr(b.data, "- low <b>: `"));
    for (int i = 0; i < 4; i++) r[i].loss -= 1;
    g.again = false;
    sy_buf_clear(&b);
    sy_expect_ok(sy_league_json(&l, &b, err));
    json_t *root;
    sy_expect_ok(sy_json_parse(&root, b.data, b.n, "the league", err));
    json_t *rows = json_object_get(json_array_get(json_object_get(root, "groups"), 0), "rows");
    assert_int_equal(json_array_size(rows), 5);
    assert_string_equal(json_string_value(json_object_get(json_array_get(rows, 3), "verdict")), "higher loss");
    sy_expect_near("seed", json_number_value(json_array_get(json_object_get(json_array_get(rows, 0), "seeds"), 1)), 0.005, 0, 0);
    assert_true(json_is_null(json_object_get(json_array_get(rows, 0), "train_loss")));
    assert_string_equal(json_string_value(json_object_get(json_array_get(rows, 4), "why")), "no causal form & so on");
    json_decref(root);
    sy_buf_free(&b);
}

static void test_memory(void **state)
{
    sy_status (*const make[])(const sy_league *, sy_buf *, sy_err *) = { sy_league_html, sy_league_markdown, sy_league_json };
    sy_league_group g;
    sy_league_row r[5];
    sy_league l = league(&g, r);
    (void)state;
    for (size_t m = 0; m < SY_COUNT(make); m++)
        for (uint64_t n = 1; ; n++) {
            sy_buf b = { 0 };
            sy_err e = { 0 };
            sy_alloc_fail_at(n, 0);
            sy_status st = make[m](&l, &b, &e);
            sy_alloc_fail_at(0, 0);
            sy_buf_free(&b);
            if (st == SY_OK) { assert_true(n > 1); break; }
            assert_int_equal(st, SY_ENOMEM);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_page), cmocka_unit_test(test_text), cmocka_unit_test(test_memory) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
