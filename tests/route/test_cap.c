/* tests/route/test_cap.c - capacity against an oracle that asks, slot by slot, how many stand before it. */
#include <limits.h>

#include "route/bed.h"

static void formulas(void **state)
{
    (void)state;
    static const struct { sy_cap_rule r; sy_mode mode; int N, K, E, want; const char *what; } cases[] = {
        { { .capacity_factor = 1.25 }, SY_TRAIN, 100, 1, 8, 16, "Switch: round(1.25 * 100 / 8) = round(15.625)" },
        { { .capacity_factor = 1 }, SY_TRAIN, 20, 1, 8, 2, "Switch: round(2.5) is 2, halves to even" },
        { { .capacity_factor = 1, .min_capacity = 4 }, SY_TRAIN, 8, 1, 8, 4, "Switch: max(min_capacity, 1)" },
        { { .capacity_factor = 1.25, .eval_capacity_factor = 2 }, SY_EVAL, 100, 1, 8, 25, "Switch: 2 * 100 / 8 in evaluation" },
        { { .capacity_factor = 1, .capacity_rule = SY_CAP_GSHARD }, SY_TRAIN, 100, 2, 8, 26, "GShard: 2 ceil(100/8)" },
        { { .capacity_factor = 0.29, .capacity_rule = SY_CAP_GSHARD }, SY_TRAIN, 100, 1, 1, 29, "0.29 * 100 is 29" },
        { { .capacity_factor = 1, .capacity_rule = SY_CAP_GSHARD, .eval_capacity_fraction = 0.25 }, SY_EVAL, 101, 2, 64, 26, "GShard: ceil(0.25 N) in evaluation, whatever E" },
        { { .capacity_factor = 1, .eval_capacity_fraction = 0.25 }, SY_TRAIN, 64, 1, 8, 8, "the fraction is for evaluation" },
        { { .capacity_factor = 1 }, SY_EVAL, 64, 1, 8, INT_MAX, "no limit in evaluation unless one is set" },
        { { .capacity_factor = 1, .eval_capacity_factor = 1 }, SY_SERVE, 64, 1, 8, INT_MAX, "no limit when serving" },
        { { .capacity_factor = 1 }, SY_COUNT_PASS, 64, 1, 8, 8, "a count pass routes as training does" },
        { { .capacity_factor = 0.01 }, SY_TRAIN, 10, 1, 8, 0, "a limit of nothing" },
    };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_test_case("%s", cases[i].what);
        assert_int_equal(sy_cap_rows(&cases[i].r, cases[i].mode, cases[i].N, cases[i].K, cases[i].E), cases[i].want);
    }
}

/* Slot a of token s asks before slot b of token t in the rule's order? Places within a group; equal only for the slot itself. */
static bool before(const sy_cap_rule *r, const double *best, int s, int a, int t, int b)
{
    if (r->drop_order == SY_BY_RANK && a != b) return a < b;
    if (s == t) return a < b;
    if (r->prioritised && best[s] != best[t]) return best[s] > best[t];
    return s < t;
}

static void against_oracle(void **state)
{
    (void)state;
    enum { T = 37, K = 2, E = 4, Z = 1 };
    for (int code = 0; code < 2 * 2 * 2 * 3 * 2; code++) {
        sy_cap_rule rule = { .capacity_factor = 0.8, .capacity_rule = code & 1, .prioritised = code >> 1 & 1, .drop_order = code >> 2 & 1 };
        rule.group_size = (int[]){ 0, 10, 1 }[code / 8 % 3];
        bool padded = code / 24;
        sy_test_case("rule %d, prioritised %d, order %d, groups of %d, padding %d", rule.capacity_rule, rule.prioritised, rule.drop_order, rule.group_size, padded);
        bed B;
        bed_open(&B, BED_SPEC(.E = E, .Z = Z, .zero = "null"));
        int first[T + 1] = { 0 }, expert[T * K], group[T], size[T + 1] = { 0 }, seen = 0;
        double best[T];
        uint8_t valid[T];
        sy_real score[T * K];
        for (int t = 0; t < T; t++) {
            valid[t] = !padded || t % 5 != 2;
            group[t] = rule.group_size ? seen / rule.group_size : 0;
            if (valid[t]) seen++, size[group[t]]++;
            first[t + 1] = first[t] + (valid[t] ? K : 0);
            best[t] = floor(4 * sy_draw(3, (uint64_t)t, 0));              /* ties on purpose */
            for (int k = first[t]; k < first[t + 1]; k++) {
                int skew = (int)sy_draw_below(4, (uint64_t)t, 7, 3);      /* first and second choice differ */
                expert[k] = k == first[t] ? skew : (skew + 1 + (int)sy_draw_below(4, (uint64_t)t, 8, 4)) % (E + Z);
                score[k] = k == first[t] ? (sy_real)best[t] : -1;
            }
        }
        sy_route r = { .T = T, .E = E, .Z = Z, .n = first[T], .first_slot = first, .expert = malloc(sizeof expert) };
        memcpy(r.expert, expert, sizeof expert);
        sy_route_in in = { .mode = SY_TRAIN, .T = T, .valid = padded ? valid : NULL };
        sy_cap(&B.tape, &in, &rule, K, score, &r);
        int dropped = 0;
        for (int t = 0; t < T; t++)
            for (int a = 0; a < first[t + 1] - first[t]; a++) {
                int e = expert[first[t] + a], rank = 0;
                int C = sy_cap_rows(&rule, SY_TRAIN, size[group[t]], K, E);
                for (int s = 0; s < T; s++)
                    for (int b = 0; b < first[s + 1] - first[s]; b++)
                        rank += group[s] == group[t] && expert[first[s] + b] == e && before(&rule, best, s, b, t, a);
                bool drop = e < E && rank >= C;                           /* zero-cost experts have no capacity */
                dropped += drop;
                assert_int_equal(r.expert[first[t] + a], drop ? ~e : e);
            }
        if (rule.group_size != 1) assert_true(dropped > 0);
        free(r.expert);
        bed_close(&B);
    }
}

static void refusals(void **state)
{
    (void)state;
    bed_refused(BED_SPEC(.router = "topk:eval_capacity_factor=1,eval_capacity_fraction=0.25"), SY_EARG, "exclude each other");
}

static void flags(void **state)
{
    (void)state;
    static const struct { const char *router; unsigned want; } cases[] = {
        { "topk", 0 }, { "topk:capacity_factor=1", SY_COUPLES }, { "topk:eval_capacity_factor=1", SY_COUPLES }, { "topk:eval_capacity_fraction=0.5", SY_COUPLES },
        { "topk:capacity_factor=1,drop_order=rank", SY_COUPLES | SY_PEEKS }, { "topk:capacity_factor=1,prioritised=true", SY_COUPLES | SY_PEEKS },
        { "switch", SY_COUPLES }, { "gshard", SY_COUPLES | SY_PEEKS }, { "mixtral", 0 },
    };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        bed B;
        sy_test_case("%s", cases[i].router);
        bed_open(&B, BED_SPEC(.router = cases[i].router));
        assert_int_equal(B.b.flags & (SY_COUPLES | SY_PEEKS | SY_NOSERVE), cases[i].want);
        bed_close(&B);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(formulas), cmocka_unit_test(against_oracle), cmocka_unit_test(refusals), cmocka_unit_test(flags) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
