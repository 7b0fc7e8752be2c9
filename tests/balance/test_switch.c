/* tests/balance/test_switch.c - the balance loss against its formulas by direct loops in double, for every form, scope and mode; gradient and invariants. */
#include "route/bed.h"

static double f_of(const bed *B, int form, int q, int e, int groups)
{
    const sy_route *r = B->route;
    int n = r->E + r->Z, size = groups ? n / groups : 1, g0 = e / size * size;
    double c = 0, slots = 0, tokens = 0, firsts = 0;
    for (int t = 0; t < B->T; t++) {
        if ((q >= 0 && B->seq[t] != q) || (B->valid && !B->valid[t])) continue;
        tokens++;
        for (int s = r->first_slot[t]; s < r->first_slot[t + 1]; s++) {
            int x = sy_wanted(r->expert[s]);
            slots++;
            firsts += s == r->first_slot[t];
            if (x >= g0 && x < g0 + size && (form != 2 || s == r->first_slot[t])) c++;
        }
    }
    c /= size;
    return form == 0 ? c / slots : form == 1 ? c / tokens : c / firsts;
}

static double p_of(const bed *B, int q, int e)
{
    int n = B->route->E + B->route->Z;
    double sum = 0, tokens = 0;
    for (int t = 0; t < B->T; t++)
        if ((q < 0 || B->seq[t] == q) && (!B->valid || B->valid[t])) sum += (double)B->route->probs->x[t * n + e], tokens++;
    return sum / tokens;
}

static void formulas(void **state)
{
    (void)state;
    static const struct { const char *router, *balance; int form; bool by_seq; int groups; double coef; int Z; bool padded; } cases[] = {
        { "topk", "switch", 0, false, 0, 0.01, 0, false }, { "topk:top_k=3", "switch:form=slots,coef=0.5", 1, false, 0, 0.5, 0, false },
        { "topk", "switch:form=first,coef=0.5", 2, false, 0, 0.5, 0, false }, { "topk", "switch:scope=sequence,coef=2", 0, true, 0, 2, 0, false },
        { "topk", "switch:scope=sequence,form=slots,coef=2", 1, true, 0, 2, 0, false }, { "topk", "switch:scope=sequence,form=first,coef=2", 2, true, 0, 2, 0, false },
        { "topk", "switch:groups=2,coef=1", 0, false, 2, 1, 0, false }, { "topk:score=sigmoid", "switch:coef=1", 0, false, 0, 1, 0, false },
        { "auxfree:top_k=2", "switch:scope=sequence,coef=1", 0, true, 0, 1, 0, false }, { "topk:capacity_factor=0.6", "switch:coef=1", 0, false, 0, 1, 0, false },
        { "gshard", "gshard:coef=1", 2, false, 0, 1, 0, false }, { "topk", "switch:coef=1", 0, false, 0, 1, 2, false }, { "topk", "switch:coef=1", 0, false, 0, 1, 0, true },
        { "topk", "switch:scope=sequence,coef=1", 0, true, 0, 1, 0, true }, { "topk", "deepseekseq:coef=1", 0, true, 0, 1, 0, false },
    };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        bed B;
        sy_test_case("%s with %s, Z %d, padding %d", cases[i].balance, cases[i].router, cases[i].Z, cases[i].padded);
        bed_open(&B, BED_SPEC(.router = cases[i].router, .balance = { cases[i].balance }, .n_balance = 1, .Z = cases[i].Z, .zero = cases[i].Z ? "null" : NULL));
        bed_tokens(&B, 0, 3, 6);
        if (cases[i].padded) {
            B.valid = malloc((size_t)B.T);
            for (int t = 0; t < B.T; t++) B.valid[t] = t % 4 != 1 && B.seq[t] != 2;       /* one sequence is padding alone */
        }
        bed_go(&B, SY_TRAIN);
        int n = 4 + cases[i].Z, seqs = cases[i].by_seq ? cases[i].padded ? 2 : 3 : 1;
        double want = 0;
        for (int q = 0; q < seqs; q++)
            for (int e = 0; e < n; e++) {
                int which = cases[i].by_seq ? q : -1;
                want += cases[i].coef * n * f_of(&B, cases[i].form, which, e, cases[i].groups) * p_of(&B, which, e) / seqs;
            }
        sy_expect_near("loss", bed_aux(&B, "switch"), want, 1e-7, 1e-5);
        bed_go(&B, SY_EVAL);
        assert_int_equal(B.aux.n, 0);                                     /* losses belong to training */
        bed_close(&B);
    }
}

/* conventions: "dL/dz_tj = coef * (E/N) * p_tj * (f_j - sum_e f_e p_te)", through a softmax router; the main loss is zero and the router still moves */
static void gradient(void **state)
{
    (void)state;
    for (int form = 0; form < 3; form++) {
        bed B;
        sy_test_case("form %d", form);
        bed_open(&B, BED_SPEC(.balance = { form == 0 ? "switch:coef=0.7" : form == 1 ? "switch:coef=0.7,form=slots" : "switch:coef=0.7,form=first" }, .n_balance = 1));
        bed_tokens(&B, 0, 2, 7);
        bed_go(&B, SY_TRAIN);
        double want[4][6] = { { 0 } };
        for (int t = 0; t < B.T; t++) {
            double mean = 0;
            for (int e = 0; e < 4; e++) mean += f_of(&B, form, -1, e, 0) * (double)B.route->probs->x[4 * t + e];
            for (int e = 0; e < 4; e++)
                for (int d = 0; d < 6; d++) want[e][d] += 0.7 * 4 / B.T * (double)B.route->probs->x[4 * t + e] * (f_of(&B, form, -1, e, 0) - mean) * B.value[6 * t + d];
        }
        sy_expect_ok(sy_backward(&B.tape, B.aux.l[0].value, err));
        double most = 0;
        for (int i = 0; i < 24; i++) {
            sy_expect_near("d gate", (double)B.b.gate->w.dx[i], want[i / 6][i % 6], 1e-7, 1e-4);
            most = fmax(most, fabs((double)B.b.gate->w.dx[i]));
        }
        assert_true(most > 0);
        bed_close(&B);
    }
}

/* "balanced value of the loss is 1" (form slots: K); deepseekmoe: "L1 = alpha1 and L2 = alpha2 exactly at uniform p and uniform counts" */
static void balanced(void **state)
{
    (void)state;
    static const struct { const char *text; double want; } cases[] = {
        { "switch:coef=1", 1 }, { "switch:coef=1,form=slots", 2 }, { "switch:coef=1,scope=sequence", 1 }, { "switch:coef=0.05,groups=2", 0.05 }, { "switch:coef=1,scope=step", 1 },
    };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        bed B;
        sy_test_case("%s", cases[i].text);
        bed_open(&B, BED_SPEC(.balance = { cases[i].text }, .n_balance = 1));
        bed_tokens(&B, 0, 2, 4);
        sy_param_fill(B.b.gate, 0);                                       /* p uniform; the choices are 0 and 1 for all, but P alone decides */
        bed_go(&B, SY_TRAIN);
        sy_expect_near("loss", bed_aux(&B, "switch"), cases[i].want, 1e-6, 0);
        bed_close(&B);
    }
}

/* One batch in one, two or four micro-batches: the mean of the losses weighted by tokens. */
static double step_loss(const char *text, int micro, int *passes)
{
    bed B;
    double sum = 0;
    bed_open(&B, BED_SPEC(.balance = { text }, .n_balance = 1));
    sy_expect_ok(sy_block_before(&B.b, 0, 10, 0, err));
    *passes = B.b.flags & SY_NEEDCOUNT ? 2 : 1;
    for (int pass = 2 - *passes; pass < 2; pass++)
        for (int m = 0; m < micro; m++) {
            bed_tokens(&B, m * (4 / micro), 4 / micro, 5);
            bed_go(&B, pass ? SY_TRAIN : SY_COUNT_PASS);
            if (pass) sum += bed_aux(&B, "switch") / micro;
        }
    bed_close(&B);
    return sum;
}

/* globallbl: "splitting one batch in any number of micro-batches leaves mode=exact equal up to summation order, and changes micro";
 * "A = R = 1 gives identical numbers" for micro, buffer and exact */
static void scopes(void **state)
{
    (void)state;
    int passes;
    double micro1 = step_loss("switch:coef=1", 1, &passes), micro4 = step_loss("switch:coef=1", 4, &passes);
    double exact1 = step_loss("switch:coef=1,scope=step,mode=exact", 1, &passes);
    assert_int_equal(passes, 2);
    double exact2 = step_loss("switch:coef=1,scope=step,mode=exact", 2, &passes), exact4 = step_loss("switch:coef=1,scope=step,mode=exact", 4, &passes);
    double buffer1 = step_loss("globallbl:coef=1", 1, &passes), buffer4 = step_loss("globallbl:coef=1", 4, &passes);
    assert_int_equal(passes, 1);
    sy_expect_near("exact, one micro-batch", exact1, micro1, 0, 0);
    sy_expect_near("buffer, one micro-batch", buffer1, micro1, 0, 0);
    sy_expect_near("exact, two micro-batches", exact2, exact1, 1e-6, 0);
    sy_expect_near("exact, four micro-batches", exact4, exact1, 1e-6, 0);
    assert_true(fabs(micro4 - micro1) > 1e-4);
    assert_true(fabs(buffer4 - micro4) > 1e-4);
    sy_expect_near("micro_mix adds that share of the micro loss", step_loss("globallbl:coef=1,micro_mix=0.5", 4, &passes), buffer4 + 0.5 * micro4, 1e-6, 0);
}

/* The buffer holds what was seen so far, this micro-batch included; prev the step before; a step thrown away leaves nothing behind. */
static void buffer_and_prev(void **state)
{
    (void)state;
    bed B;
    bed_open(&B, BED_SPEC(.balance = { "switch:coef=1,scope=step", "switch:coef=1,scope=step,mode=prev" }, .n_balance = 2));
    double seen[4] = { 0 }, prev[4] = { 0 };
    for (int step = 0; step < 3; step++) {
        sy_test_case("step %d", step);
        sy_expect_ok(sy_block_before(&B.b, step, 3, 0, err));
        memset(seen, 0, sizeof seen);
        for (int m = 0; m < 2; m++) {
            bed_tokens(&B, 4 * step + 2 * m, 2, 5);
            bed_go(&B, SY_TRAIN);
            double want[2] = { 0 }, sum = 0, before = 0;
            for (int s = 0; s < B.route->n; s++) seen[B.route->expert[s]]++;
            for (int e = 0; e < 4; e++) sum += seen[e], before += prev[e];
            for (int e = 0; e < 4; e++) {
                want[0] += 4 * seen[e] / sum * p_of(&B, -1, e);
                want[1] += before > 0 ? 4 * prev[e] / before * p_of(&B, -1, e) : 0;
            }
            sy_expect_near("buffer", (double)B.aux.l[0].value->x[0], want[0], 1e-6, 0);
            sy_expect_near("prev", (double)B.aux.l[1].value->x[0], want[1], 1e-6, 0);
        }
        if (step == 1) sy_block_forget(&B.b);                             /* not finite: the optimiser is not called, so neither is after */
        else {
            sy_expect_ok(sy_block_after(&B.b, step, 3, 0, err));
            memcpy(prev, seen, sizeof prev);
        }
    }
    bed_close(&B);
}

static void neutral_and_refusals(void **state)
{
    (void)state;
    bed B;
    bed_open(&B, BED_SPEC(.balance = { "switch:coef=0,scope=step,mode=exact" }, .n_balance = 1));
    assert_int_equal(B.b.flags & SY_NEEDCOUNT, 0);
    bed_tokens(&B, 0, 2, 4);
    bed_go(&B, SY_TRAIN);
    assert_int_equal(B.aux.n, 0);                                         /* coefficient 0 is no term at all */
    bed_close(&B);
    bed_refused(BED_SPEC(.balance = { "switch:scope=step,form=first" }, .n_balance = 1), SY_EARG, "use form=share");
    bed_refused(BED_SPEC(.balance = { "switch:mode=exact" }, .n_balance = 1), SY_EARG, "set scope=step");
    bed_refused(BED_SPEC(.balance = { "switch:micro_mix=0.1" }, .n_balance = 1), SY_EARG, "set scope=step");
    bed_refused(BED_SPEC(.balance = { "switch:groups=3" }, .n_balance = 1), SY_EARG, "groups 3 does not divide the 4 experts");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formulas), cmocka_unit_test(gradient), cmocka_unit_test(balanced), cmocka_unit_test(scopes), cmocka_unit_test(buffer_and_prev), cmocka_unit_test(neutral_and_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
