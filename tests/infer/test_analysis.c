/* tests/infer/test_analysis.c - statistics of routes. Oracles: routes made by hand whose statistics are known, slow loops over the definitions, and the
 * invariants of the definitions (infer/analysis.h); the file of a trace against the trace. */
#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/alloc.h"
#include "core/file.h"
#include "model/safetensors.h"
#include "traces.h"

static sy_arena arena;

static sy_analysis_options options(void)
{
    sy_analysis_options o;
    sy_opt_defaults(sy_analysis_opts, &o);
    return o;
}

static sy_analysis_result made(const sy_analysis *a, const sy_analysis_options *o)
{
    sy_analysis_result r;
    sy_expect_ok(sy_analysis_make(a, o, NULL, NULL, &arena, &r, err));
    return r;
}

static double share_of(const sy_grouping *g, const sy_layer_stats *s) { return g->info / s->entropy; }

/* --- routes ----------------------------------------------------------------------------------------------------------------- */

static void by_domain(const hand *h, int layer, int doc, int pos, int id, int domain, int *e) { (void)layer, (void)doc, (void)pos, (void)id; e[0] = domain % h->E; }
static void by_id(const hand *h, int layer, int doc, int pos, int id, int domain, int *e)
{
    (void)doc, (void)pos, (void)domain;
    for (int k = 0; k < h->K; k++) e[k] = (id + layer + k * 3) % h->E;          /* different ones: 3 k stays below E */
}
static void by_position(const hand *h, int layer, int doc, int pos, int id, int domain, int *e) { (void)layer, (void)doc, (void)id, (void)domain; e[0] = pos * h->E / h->T; }

/* K different experts, all sets equally likely. */
static void at_random(const hand *h, int layer, int doc, int pos, int id, int domain, int *e)
{
    (void)id, (void)domain;
    for (int k = 0, draw = 0; k < h->K; draw++) {
        int x = (int)(hand_draw(100 + layer, doc * h->T + pos, draw) * h->E), seen = 0;
        for (int i = 0; i < k; i++) seen |= e[i] == x;
        if (!seen) e[k++] = x;
    }
}

/* One expert, e with probability proportional to 0.6^e, a little by id and domain too. */
static void skewed(const hand *h, int layer, int doc, int pos, int id, int domain, int *e)
{
    double u = hand_draw(200 + layer, doc, pos) * (1 - pow(0.6, h->E + h->Z)), sum = 0;
    if ((id + domain) % 7 == 0) { e[0] = (domain + layer) % h->E; return; }
    for (e[0] = 0; e[0] < h->E + h->Z - 1 && (sum += 0.4 * pow(0.6, e[0])) < u; e[0]++) ;
}

/* Some tokens pass by, some have three experts. */
static void ragged(const hand *h, int layer, int doc, int pos, int id, int domain, int *e)
{
    hand one = *h;
    one.K = (doc + pos + id) % 4;
    at_random(&one, layer, doc, pos, id, domain, e);
}

static void in_pairs(const hand *h, int layer, int doc, int pos, int id, int domain, int *e)
{
    (void)h, (void)layer, (void)id, (void)domain;
    e[0] = 2 * ((doc + pos) % 3), e[1] = e[0] + 1;
}

/* --- known answers ---------------------------------------------------------------------------------------------------------- */

/* Of docs/domains documents: one expert a domain takes all of its uncertainty away, and the position none. */
static void one_expert_a_domain(void **state)
{
    (void)state;
    sy_analysis a;
    sy_analysis_options o = options();
    hand_analysis(&a, &(hand){ .layers = 1, .E = 4, .K = 1, .docs = 32, .T = 32, .domains = 4, .V = 5 }, random_id, by_domain);
    sy_analysis_result r = made(&a, &o);
    const sy_layer_stats *s = r.layer;
    sy_expect_near("I(e;domain)", s->by[SY_BY_DOMAIN].info, log(4), 1e-12, 0);
    sy_expect_near("U(e|domain)", share_of(&s->by[SY_BY_DOMAIN], s), 1, 1e-12, 0);
    sy_expect_near("specialisation", s->specialisation, 1, 1e-12, 0);
    sy_expect_near("ceiling", s->ceiling, log(4), 1e-12, 0);
    sy_expect_near("spread", s->by[SY_BY_DOMAIN].spread, sqrt(3) / 4, 1e-12, 0);
    sy_expect_near("I(e;position)", s->by[SY_BY_POSITION].info, 0, 1e-12, 0);
    sy_expect_near("MaxVio", s->maxvio, 0, 1e-12, 0);
    assert_true(s->by[SY_BY_DOMAIN].noise < 0.3 && s->by[SY_BY_DOMAIN].noise > 0);
    assert_true(r.docs == 32 && r.tokens == 1024 && r.ids == 5 && r.longest == 32 && r.domains == 4 && r.docs_of[3] == 8 && r.tokens_of[3] == 256);
    for (int d = 0; d < 4; d++) for (int e = 0; e < 4; e++) assert_int_equal(s->by_domain[d * 4 + e], d == e ? 256 : 0);
    sy_expect_near("repeats", s->repeats, 1, 0, 0);
    sy_expect_near("repeats by chance", s->repeats_chance, 0.25, 1e-12, 0);
    sy_analysis_close(&a);
}

/* "U = 1 for the hash gate": one expert by id; with K experts by id nothing but which of the K it is stays unknown. */
static void experts_by_id(void **state)
{
    (void)state;
    for (int K = 1; K <= 3; K++) {
        sy_analysis a;
        sy_analysis_options o = options();
        sy_test_case("K = %d", K);
        hand_analysis(&a, &(hand){ .layers = 2, .E = 12, .K = K, .docs = 8, .T = 200, .domains = 2, .V = 24 }, random_id, by_id);
        sy_analysis_result r = made(&a, &o);
        for (int l = 0; l < 2; l++) {
            const sy_layer_stats *s = &r.layer[l];
            sy_expect_near("I(e;id) is the ceiling", s->by[SY_BY_ID].info, s->ceiling, 1e-12, 0);
            sy_expect_near("ceiling", s->ceiling, s->entropy - log(K), 1e-12, 0);
            if (K == 1) sy_expect_near("U(e|id)", share_of(&s->by[SY_BY_ID], s), 1, 1e-12, 0);
            for (int e = 0; e < 12; e++)                 /* 2 of 24 ids begin at e, and K come by */
                for (int k = 0; k < 2 * K; k++) assert_true(s->top[e * o.top_tokens + k].count > 0);
            for (int e = 0; e < 12; e++) assert_int_equal(s->top[e * o.top_tokens + 2 * K].count, 0);
        }
        sy_analysis_close(&a);
    }
}

static void experts_by_position(void **state)
{
    (void)state;
    sy_analysis a;
    sy_analysis_options o = options();
    hand_analysis(&a, &(hand){ .layers = 1, .E = 4, .K = 1, .docs = 6, .T = 64, .domains = 3, .V = 9 }, random_id, by_position);
    sy_analysis_result r = made(&a, &o);
    sy_expect_near("U(e|position)", share_of(&r.layer->by[SY_BY_POSITION], r.layer), 1, 1e-12, 0);
    sy_expect_near("I(e;domain)", r.layer->by[SY_BY_DOMAIN].info, 0, 1e-12, 0);
    sy_expect_near("repeats", r.layer->repeats, 60.0 / 63, 1e-12, 0);
    sy_analysis_close(&a);
}

/* "0 after bias correction for a random gate"; the bias itself is about (V-1)(E-1)/2N. */
static void random_routes_say_nothing(void **state)
{
    (void)state;
    for (int K = 1; K <= 2; K++) {
        sy_analysis a;
        sy_analysis_options o = options();
        hand h = { .layers = 2, .E = 8, .K = K, .docs = 60, .T = 100, .domains = 5, .V = 40 };
        sy_test_case("K = %d", K);
        o.shuffles = 40;
        hand_analysis(&a, &h, random_id, at_random);
        sy_analysis_result r = made(&a, &o);
        for (int l = 0; l < 2; l++) {
            const sy_layer_stats *s = &r.layer[l];
            const int groups[SY_GROUPINGS] = { 40, o.buckets, 5 };
            for (int g = 0; g < SY_GROUPINGS; g++) {
                const sy_grouping *x = &s->by[g];
                double bias = (groups[g] - 1) * (h.E - 1) / (2.0 * (double)s->slots);
                if (K > 1) bias *= 1 - (double)(K - 1) / (h.E - 1);     /* the K of a token differ: less varies than between independent slots */
                assert_int_equal(x->groups, groups[g]);
                sy_expect_near("less its noise", x->info - x->noise, 0, 4.5 * x->noise_sd, 0);
                sy_expect_near("noise", x->noise, bias, 0, 0.15);
                sy_expect_near("spread", x->spread, x->spread_noise, 0, 0.2);
                assert_true(x->noise_sd > 0);
            }
            if (K > 1) {
                sy_expect_near("pairs", s->pair_info, s->pair_noise, 5 * sqrt(2 * s->pair_noise / (double)s->pairs) + s->pair_noise, 0);
                for (int i = 0; i < s->n_pair; i++) assert_true(fabs(s->pair[i].z) < 5);
                assert_int_equal(s->pairs, s->tokens);
            } else assert_true(isnan(s->pair_info) && !s->pairs);
        }
        sy_analysis_close(&a);
    }
}

/* With one document a domain nobody can tell one from the other, and nothing is left. */
static void a_document_is_no_domain(void **state)
{
    (void)state;
    sy_analysis a;
    sy_analysis_options o = options();
    hand_analysis(&a, &(hand){ .layers = 1, .E = 4, .K = 1, .docs = 4, .T = 64, .domains = 4, .V = 9 }, random_id, by_domain);
    sy_analysis_result r = made(&a, &o);
    sy_expect_near("I(e;domain)", r.layer->by[SY_BY_DOMAIN].info, log(4), 1e-12, 0);
    sy_expect_near("noise", r.layer->by[SY_BY_DOMAIN].noise, log(4), 1e-12, 0);
    sy_analysis_close(&a);
    hand_analysis(&a, &(hand){ .layers = 1, .E = 4, .K = 1, .docs = 4, .T = 64, .domains = 1, .V = 9 }, random_id, by_domain);
    r = made(&a, &o);
    assert_true(isnan(r.layer->by[SY_BY_DOMAIN].info) && isnan(r.layer->by[SY_BY_DOMAIN].noise) && r.layer->specialisation == 0);
    sy_analysis_close(&a);
}

static void pairs_that_go_together(void **state)
{
    (void)state;
    sy_analysis a;
    sy_analysis_options o = options();
    hand_analysis(&a, &(hand){ .layers = 1, .E = 8, .K = 2, .docs = 3, .T = 90, .domains = 1, .V = 9 }, random_id, in_pairs);
    sy_analysis_result r = made(&a, &o);
    const sy_layer_stats *s = r.layer;
    for (int i = 0; i < 3; i++) {                        /* 90 each, where 15 pairs of six experts share 270 */
        assert_true(s->pair[i].f == s->pair[i].e + 1 && s->pair[i].e % 2 == 0 && s->pair[i].count == 90);
        sy_expect_near("expected", s->pair[i].expected, 18, 1e-6, 0);
        sy_expect_near("z", s->pair[i].z, 72 / sqrt(18), 1e-6, 0);
    }
    assert_true(s->pair[3].count == 0 && s->pair[3].z < 0);
    sy_expect_near("information of pairs", s->pair_info, log(5), 1e-8, 0);
    assert_true(s->load[6] == 0 && s->load[7] == 0 && s->co[0 * 8 + 1] == 90 && s->co[1 * 8 + 0] == 0);
    sy_analysis_close(&a);
}

/* --- definitions, slowly ---------------------------------------------------------------------------------------------------- */

/* I(e;g) as sum p ln p/(p p), from slots one by one. */
static double slow_information(const sy_trace *t, int l, int (*group)(const sy_trace_token *, int longest), int G, int longest)
{
    int cols = t->E + t->Z;
    const int32_t *count = (const int32_t *)t->layer[l].count.data, *e = (const int32_t *)t->layer[l].expert.data;
    double *p = calloc((size_t)G * (size_t)cols, sizeof *p), all = 0, info = 0;
    for (size_t i = 0; i < t->n; i++) for (int k = 0; k < count[i]; k++, all++) p[group(&sy_trace_tokens(t)[i], longest) * cols + *e++]++;
    for (int g = 0; g < G; g++)
        for (int x = 0; x < cols; x++) {
            double of_g = 0, of_x = 0, c = p[g * cols + x];
            for (int y = 0; y < cols; y++) of_g += p[g * cols + y];
            for (int f = 0; f < G; f++) of_x += p[f * cols + x];
            if (c > 0) info += c / all * log(c / all / (of_g / all * (of_x / all)));
        }
    free(p);
    return info;
}
static int of_id(const sy_trace_token *k, int longest) { (void)longest; return k->id; }
static int of_position(const sy_trace_token *k, int longest) { return k->pos * 16 / longest; }
static int of_domain(const sy_trace_token *k, int longest) { (void)longest; return k->domain; }

static void definitions(void **state)
{
    (void)state;
    static const struct { hand h; hand_route route; const char *what; } cases[] = {
        { { .layers = 2, .E = 6, .K = 1, .docs = 10, .T = 70, .domains = 3, .V = 30 }, skewed, "skewed" },
        { { .layers = 3, .E = 5, .K = 3, .docs = 7, .T = 31, .domains = 2, .V = 11 }, ragged, "ragged" },
        { { .layers = 1, .E = 3, .Z = 2, .K = 1, .docs = 9, .T = 40, .domains = 4, .V = 11 }, skewed, "zero-cost experts" },
    };
    for (size_t c = 0; c < SY_COUNT(cases); c++) {
        const hand *h = &cases[c].h;
        sy_analysis a;
        sy_analysis_options o = options();
        sy_test_case("%s", cases[c].what);
        hand_analysis(&a, h, random_id, cases[c].route);
        sy_analysis_result r = made(&a, &o);
        for (int l = 0; l < h->layers; l++) {
            const sy_layer_stats *s = &r.layer[l];
            const sy_trace *t = &a.trace;
            const int32_t *count = (const int32_t *)t->layer[l].count.data, *first = (const int32_t *)t->layer[l].expert.data, *e = first;
            int cols = h->E + h->Z;
            int64_t load[8] = { 0 }, passed = 0, slots = 0, dropped = 0, wanted = 0, real_slots = 0, sum = 0, of_domains = 0, of_positions = 0;
            sy_expect_near("I(e;id)", s->by[SY_BY_ID].info, slow_information(t, l, of_id, h->V, h->T), 1e-12, 0);
            sy_expect_near("I(e;position)", s->by[SY_BY_POSITION].info, slow_information(t, l, of_position, 16, h->T), 1e-12, 0);
            sy_expect_near("I(e;domain)", s->by[SY_BY_DOMAIN].info, slow_information(t, l, of_domain, h->domains, h->T), 1e-12, 0);
            for (int d = 0; d < h->docs; d++) {          /* "drops = max(0, c_e - C) summed" */
                int64_t mine[8] = { 0 }, real = 0;
                for (int p = 0; p < h->T; p++)
                    for (int k = 0; k < count[d * h->T + p]; k++, e++) mine[*e]++, load[*e]++, slots++, real += *e < h->E;
                real_slots += real;
                for (int x = 0; x < h->E; x++) {
                    double C = round((double)real / h->E);
                    dropped += (double)mine[x] > C ? mine[x] - (int64_t)C : 0;
                    wanted += mine[x];
                }
            }
            for (size_t i = 0; i < t->n; i++) passed += !count[i];
            for (int x = 0; x < cols; x++) assert_int_equal(s->load[x], load[x]);
            assert_true(s->passed == passed && s->slots == slots && s->tokens == h->docs * h->T);
            for (int i = 0; i < h->domains * o.buckets; i++) dropped -= s->drop[i], wanted -= s->total[i];
            assert_true(dropped == 0 && wanted == 0);
            for (int i = 0; i < o.buckets; i++) real_slots -= s->total_chance[i];
            assert_int_equal(real_slots, 0);             /* shuffled or not, as many slots */
            for (int i = 0; i < h->domains * cols; i++) of_domains += s->by_domain[i];
            for (int i = 0; i < o.buckets * cols; i++) of_positions += s->by_position[i];
            for (int x = 0; x < cols; x++) sum += s->load[x];
            assert_true(of_domains == slots && of_positions == slots && sum == slots);
            for (int g = 0; g < SY_GROUPINGS; g++) {     /* "U in [0,1]", and no group says more than the token itself */
                double u = share_of(&s->by[g], s);
                assert_true(u >= 0 && u <= 1 && s->by[g].info <= s->ceiling + 1e-12);
            }
        }
        sy_analysis_close(&a);
    }
}

/* Which expert is called which changes nothing. */
static hand_route to_rename;
static void renamed(const hand *h, int layer, int doc, int pos, int id, int domain, int *e)
{
    to_rename(h, layer, doc, pos, id, domain, e);
    for (int k = 0; k < h->K; k++) if (e[k] >= 0) e[k] = (5 * e[k] + 2) % h->E;
}

static void names_do_not_matter(void **state)
{
    (void)state;
    static const hand_route all[] = { skewed, ragged, at_random };
    for (size_t c = 0; c < SY_COUNT(all); c++) {
        hand h = { .layers = 2, .E = 7, .K = all[c] == skewed ? 1 : 3, .docs = 6, .T = 50, .domains = 3, .V = 12 };
        sy_analysis a, b;
        sy_analysis_options o = options();
        o.min_count = 20;
        sy_test_case("case %zu", c);
        to_rename = all[c];
        hand_analysis(&a, &h, random_id, all[c]);
        hand_analysis(&b, &h, random_id, renamed);
        sy_analysis_result x = made(&a, &o), y = made(&b, &o);
        for (int l = 0; l < h.layers; l++) {
            const sy_layer_stats *s = &x.layer[l], *t = &y.layer[l];
            const double one[] = { s->entropy, s->ceiling, s->maxvio, s->specialisation, s->repeats, s->repeats_chance }, two[] = { t->entropy, t->ceiling, t->maxvio, t->specialisation, t->repeats, t->repeats_chance };
            for (size_t i = 0; i < SY_COUNT(one); i++) sy_expect_near("figure", one[i], two[i], 1e-12, 0);
            for (int g = 0; g < SY_GROUPINGS; g++) {
                sy_expect_near("info", s->by[g].info, t->by[g].info, 1e-12, 0);
                sy_expect_near("noise", s->by[g].noise, t->by[g].noise, 1e-12, 0);
                sy_expect_near("spread", s->by[g].spread, t->by[g].spread, 1e-12, 0);
            }
            for (int i = 0; i < h.domains * o.buckets; i++) assert_true(s->drop[i] == t->drop[i] && s->total[i] == t->total[i]);
            if (h.K > 1) sy_expect_near("pairs", s->pair_info, t->pair_info, 1e-9, 0);
            for (int e = 0; e < h.E; e++) assert_int_equal(s->load[e], t->load[(5 * e + 2) % 7]);
        }
        sy_analysis_close(&a);
        sy_analysis_close(&b);
    }
}

/* "routes drawn i.i.d. with skewed expert probabilities and cf=1: drop rate 0 in the first bucket and rising to its maximum in the last"; none where experts
 * take turns, and none where everybody fits. */
static void drop_towards_the_end(void **state)
{
    (void)state;
    sy_analysis a;
    sy_analysis_options o = options();
    double rate[16] = { 0 };
    hand h = { .layers = 1, .E = 6, .K = 1, .docs = 200, .T = 160, .domains = 1, .V = 30 };
    hand_analysis(&a, &h, random_id, skewed);
    sy_analysis_result r = made(&a, &o);
    for (int b = 0; b < 16; b++) rate[b] = (double)r.layer->drop[b] / (double)r.layer->total[b];
    sy_expect_near("first part", rate[0], 0, 0, 0);
    for (int b = 0; b < 16; b++)                         /* independent tokens: shuffling makes no difference */
        sy_expect_near("shuffled", (double)r.layer->drop_chance[b] / (double)r.layer->total_chance[b], rate[b], 0.05, 0);
    for (int b = 0; b < 15; b++) assert_true(rate[b] <= rate[15] + 0.03);       /* 2000 slots a part; flat once the busy experts are full */
    assert_true(rate[15] > 0.4 && rate[11] > rate[8] + 0.03 && rate[8] > rate[5] + 0.03 && rate[5] > rate[2]);
    o.capacity_factor = 6;                               /* one expert may take all */
    r = made(&a, &o);
    for (int i = 0; i < 16; i++) assert_int_equal(r.layer->drop[i], 0);
    assert_int_equal(r.short_docs, 0);
    sy_analysis_close(&a);
    h.T = 15;                                            /* shorter than the buckets */
    hand_analysis(&a, &h, random_id, skewed);
    r = made(&a, &o);
    assert_int_equal(r.short_docs, 200);
    for (int i = 0; i < 16; i++) assert_int_equal(r.layer->total[i], 0);
    sy_analysis_close(&a);
    h = (hand){ .layers = 1, .E = 4, .K = 1, .docs = 3, .T = 64, .domains = 1, .V = 4 };
    hand_analysis(&a, &h, random_id, by_position);
    o.capacity_factor = 1;
    r = made(&a, &o);
    for (int i = 0; i < 16; i++) assert_int_equal(r.layer->drop[i], 0);
    sy_analysis_close(&a);
    h = (hand){ .layers = 1, .E = 4, .K = 1, .docs = 40, .T = 64, .domains = 4, .V = 4 };
    hand_analysis(&a, &h, random_id, by_domain);         /* a document asks for one expert: three quarters are lost, by chance far fewer */
    r = made(&a, &o);
    int64_t lost = 0, chance = 0;
    for (int i = 0; i < 64; i++) lost += r.layer->drop[i];
    for (int i = 0; i < 16; i++) chance += r.layer->drop_chance[i];
    assert_true(lost == 40 * 48 && chance < 40 * 12);
    sy_analysis_close(&a);
}

/* --- two traces ------------------------------------------------------------------------------------------------------------- */

static void overlaps(void **state)
{
    (void)state;
    sy_trace a, b, c;
    sy_overlap x[2];
    sy_err sentence = { 0 }, *err = &sentence;
    hand h = { .layers = 2, .E = 7, .K = 1, .docs = 4, .T = 300, .domains = 1, .V = 5 };
    to_rename = by_id;
    hand_trace(&a, &h, random_id, by_id);
    hand_trace(&b, &h, random_id, renamed);
    sy_expect_ok(sy_analysis_overlap(&a, &a, 100, x, err));
    for (int l = 0; l < 2; l++) {
        sy_expect_near("with itself", x[l].overlap, 1, 1e-12, 0);
        sy_expect_near("first expert", x[l].same, 1, 0, 0);
        assert_true(x[l].frequent == 5 && x[l].overlap_chance == 0 && x[l].same_chance < 0.3);          /* five ids, five experts */
    }
    sy_expect_ok(sy_analysis_overlap(&a, &b, 100, x, err));            /* 5 e + 2 = e mod 7 has the one solution 3 */
    for (int l = 0; l < 2; l++) {
        sy_expect_near("renamed", x[l].overlap, 1.0 / 5, 1e-12, 0);    /* of five ids one goes where it went */
        assert_true(x[l].same > 0.1 && x[l].same < 0.3);
    }
    sy_expect_ok(sy_analysis_overlap(&a, &b, 100000, x, err));
    assert_true(!x[0].frequent && isnan(x[0].overlap) && x[0].same < 0.3);
    h.V = 6;
    hand_trace(&c, &h, random_id, by_id);
    sy_expect_fail(sy_analysis_overlap(&a, &c, 100, x, err), SY_ESHAPE, "different tokens");
    sy_trace_close(&c);
    h.V = 5, h.E = 8;
    hand_trace(&c, &h, random_id, by_id);
    sy_expect_fail(sy_analysis_overlap(&a, &c, 100, x, err), SY_ESHAPE, "2 layers of 7 experts against 2 of 8");
    sy_trace_close(&a);
    sy_trace_close(&b);
    sy_trace_close(&c);
}

/* --- files ------------------------------------------------------------------------------------------------------------------ */

static const char *path_of(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", sy_test_dir(), name);
    return path;
}

static void a_file_gives_the_same(void **state)
{
    (void)state;
    sy_trace t, u;
    sy_analysis a, b;
    sy_analysis_options o = options();
    hand h = { .layers = 3, .E = 5, .Z = 1, .K = 3, .docs = 7, .T = 31, .domains = 2, .V = 11 };
    hand_trace(&t, &h, random_id, ragged);
    sy_expect_ok(sy_trace_name(&t, (const char *const[]){ "prose", "code", "neither" }, 3, err));
    sy_expect_ok(sy_trace_write(&t, path_of("t.safetensors"), err));
    sy_expect_ok(sy_trace_read(&u, path_of("t.safetensors"), err));
    assert_true(u.n == t.n && u.K == t.K && u.E == 5 && u.Z == 1 && u.layers == 3);
    assert_string_equal(u.numbers, "0 1 2");
    assert_string_equal(u.domains, "prose code neither");
    sy_expect_same("tokens", u.token.data, t.token.data, t.token.n);
    for (int l = 0; l < 3; l++) {
        assert_int_equal(u.layer[l].expert.n, t.layer[l].expert.n);
        sy_expect_same("counts", u.layer[l].count.data, t.layer[l].count.data, t.layer[l].count.n);
        sy_expect_same("experts", u.layer[l].expert.data, t.layer[l].expert.data, t.layer[l].expert.n);
        for (size_t i = 0; i < t.layer[l].weight.n / sizeof(float); i++)       /* f16 on disk */
            sy_expect_near("weight", (double)((float *)u.layer[l].weight.data)[i], (double)((float *)t.layer[l].weight.data)[i], 0, 1e-3);
    }
    sy_expect_ok(sy_analysis_of(&a, &t, err));
    sy_expect_ok(sy_analysis_of(&b, &u, err));
    sy_analysis_result x = made(&a, &o), y = made(&b, &o);
    assert_true(x.domains == 3 && !strcmp(x.domain[2], "neither") && y.domains == 3);
    for (int l = 0; l < 3; l++) assert_true(x.layer[l].by[SY_BY_ID].noise == y.layer[l].by[SY_BY_ID].noise && isnan(y.layer[l].router_entropy));
    sy_analysis_close(&a);
    sy_analysis_close(&b);
}

enum { N = 3, L = 2, K = 2 };
typedef struct parts { int32_t column[4][N]; uint16_t experts[L * N * K], weights[L * N * K]; const char *meta[9]; sy_st_out out[6]; int n; } parts;

static void good_parts(parts *p)
{
    static const char *const names[] = { "doc", "pos", "id", "domain" };
    static const uint16_t experts[] = { 0, 1, 2, 65535, 65535, 65535, 3, 2, 1, 0, 2, 1 };
    *p = (parts){ .column = { { 0, 0, 1 }, { 0, 1, 0 }, { 5, 6, 7 }, { 0, 0, 1 } }, .meta = { "layers", "1 4", "num_experts", "4", "zero_experts", "0", "domains", "a b", NULL }, .n = 6 };
    memcpy(p->experts, experts, sizeof experts);
    for (int i = 0; i < 4; i++) p->out[i] = (sy_st_out){ names[i], SY_DT_I32, 1, { N }, p->column[i] };
    p->out[4] = (sy_st_out){ "experts", SY_DT_U16, 3, { L, N, K }, p->experts };
    p->out[5] = (sy_st_out){ "weights", SY_DT_F16, 3, { L, N, K }, p->weights };
}

static void bad(int c, parts *p)
{
    switch (c) {
    case 0: p->out[1].name = "position"; break;
    case 1: p->out[4].type = SY_DT_I16; break;
    case 2: p->out[5].nd = 2, p->out[5].dim[0] = L * N, p->out[5].dim[1] = K; break;
    case 3: p->out[0].dim[0] = N - 1; break;
    case 4: p->out[4].dim[1] = K, p->out[4].dim[2] = N; break;
    case 5: p->meta[2] = "experts"; break;
    case 6: p->meta[3] = "four"; break;
    case 7: p->meta[3] = "3"; break;
    case 8: p->meta[3] = "0"; break;
    case 9: p->meta[1] = "1"; break;
    case 10: p->meta[1] = "1 x"; break;
    case 11: p->column[3][2] = 2; break;
    case 12: p->column[0][2] = -1; break;
    case 13: p->column[0][0] = 2; break;
    case 14: p->column[1][1] = 0; break;
    case 15: p->column[3][1] = 1; break;
    case 16: p->experts[2] = 65535, p->experts[3] = 2; break;
    case 17: p->experts[7] = 3; break;
    default: fail_msg("case %d", c);
    }
}
static const char *const why[] = { "no tensor 'pos'", "'experts' is I16", "'weights' is F16 with 2", "'doc' has 2 entries, 'experts' 3 tokens", "'doc' has 3 entries, 'experts' 2 tokens", "has no num_experts", "is 'four'", "expert 3; there are 3",
    "0 experts", "does not number 2 layers", "does not number 2 layers", "token 2 is of domain 2; there are 2", "token 2 has a negative", "token 1 goes back to document 0", "token 1: positions of a document ascend", "it is of one domain",
    "layer 0, token 1: an expert stands behind an empty slot", "layer 1, token 0: expert 3 twice" };

static void hostile_files(void **state)
{
    (void)state;
    parts p;
    sy_trace t = { 0 };
    sy_err sentence = { 0 }, *err = &sentence;
    const char *path = path_of("bad.safetensors");
    good_parts(&p);
    sy_expect_ok(sy_st_write(path, p.out, p.n, p.meta, err));
    sy_expect_ok(sy_trace_read(&t, path, err));
    assert_true(t.n == N && t.K == 2 && !strcmp(t.numbers, "1 4"));
    sy_trace_close(&t);
    for (size_t c = 0; c < SY_COUNT(why); c++) {
        sy_test_case("%s", why[c]);
        good_parts(&p);
        bad((int)c, &p);
        sy_expect_ok(sy_st_write(path, p.out, p.n, p.meta, err));
        sy_expect_fail(sy_trace_read(&t, path, err), SY_EFORMAT, why[c]);
        assert_true(!t.layer && !t.numbers);
    }
    sy_expect_ok(sy_file_write(path, "", 0, err));
    sy_expect_fail(sy_trace_read(&t, path, err), SY_EFORMAT, "");
    sy_expect_fail(sy_trace_read(&t, path_of("none"), err), SY_ENOENT, "");
    sy_expect_ok(sy_trace_open_bare(&t, 1, 4, 0, err));
    sy_trace_close(&t);
    sy_expect_fail(sy_trace_open_bare(&t, 1, 65000, 600, err), SY_ESHAPE, "65600 experts");
    sy_trace_close(&t);
    sy_analysis a;                                       /* three tokens that claim a table of pairs of 34 GB a layer, 3000 layers */
    sy_analysis_options o = options();
    sy_analysis_result r;
    hand h = { .layers = 1, .E = 65000, .K = 1, .docs = 1, .T = 3, .domains = 1, .V = 4 };
    hand_analysis(&a, &h, random_id, by_domain);
    a.trace.layers = 3000;
    sy_expect_fail(sy_analysis_make(&a, &o, NULL, NULL, &arena, &r, err), SY_ENOMEM, "this machine has");
    a.trace.layers = 1;
    sy_analysis_close(&a);
}

static bool at_once(void *arg) { (void)arg; return true; }

static void nothing_stop_and_memory(void **state)
{
    (void)state;
    sy_trace t;
    sy_analysis a;
    sy_analysis_options o = options();
    sy_analysis_result r;
    sy_err sentence = { 0 }, *err = &sentence;
    sy_expect_ok(sy_trace_open_bare(&t, 1, 4, 0, err));
    sy_expect_ok(sy_analysis_of(&a, &t, err));
    sy_expect_fail(sy_analysis_make(&a, &o, NULL, NULL, &arena, &r, err), SY_EARG, "no tokens");
    sy_analysis_close(&a);
    hand h = { .layers = 2, .E = 5, .K = 3, .docs = 3, .T = 20, .domains = 2, .V = 11 };
    hand_trace(&t, &h, random_id, ragged);
    sy_expect_ok(sy_trace_name(&t, (const char *const[]){ "a", "b" }, 2, err));
    sy_expect_ok(sy_trace_write(&t, path_of("m.safetensors"), err));
    sy_expect_ok(sy_analysis_of(&a, &t, err));
    sy_expect_fail(sy_analysis_make(&a, &o, at_once, NULL, &arena, &r, err), SY_ESTOP, "stopped after 1 of 2 layers");
    sy_analysis_close(&a);
    for (uint64_t n = 1;; n++) {
        sy_arena own = { 0 };
        sy_json j;
        sy_buf b = { 0 };
        sy_overlap x[2];
        uint64_t before = sy_alloc_calls();
        a = (sy_analysis){ 0 };
        t = (sy_trace){ 0 };
        sy_alloc_fail_at(n, 1);
        sy_status st = sy_trace_read(&t, path_of("m.safetensors"), err);
        if (st == SY_OK) st = sy_analysis_of(&a, &t, err);
        if (st == SY_OK) st = sy_analysis_make(&a, &o, NULL, NULL, &own, &r, err);
        if (st == SY_OK) st = sy_analysis_overlap(&a.trace, &a.trace, 1, x, err);
        if (st == SY_OK) {
            sy_json_open(&j, &b, 0);
            sy_json_begin(&j, '{');
            sy_analysis_json(&j, &r, NULL);
            sy_json_end(&j, '}');
            if (b.failed) st = SY_ENOMEM;
        }
        bool reached = sy_alloc_calls() - before >= n;
        sy_alloc_fail_at(0, 0);
        sy_analysis_close(&a);
        sy_trace_close(&t);
        sy_buf_free(&b);
        sy_arena_free(&own);
        if (!reached) { assert_int_equal(st, SY_OK); break; }
        sy_test_case("allocation %llu and all that follow", (unsigned long long)n);
        sy_expect_near("status", st, SY_ENOMEM, 0, 0);
    }
}

static int end(void **state)
{
    (void)state;
    sy_arena_free(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_expert_a_domain), cmocka_unit_test(experts_by_id), cmocka_unit_test(experts_by_position), cmocka_unit_test(random_routes_say_nothing), cmocka_unit_test(a_document_is_no_domain),
        cmocka_unit_test(pairs_that_go_together), cmocka_unit_test(definitions), cmocka_unit_test(names_do_not_matter), cmocka_unit_test(drop_towards_the_end), cmocka_unit_test(overlaps),
        cmocka_unit_test(a_file_gives_the_same), cmocka_unit_test(hostile_files), cmocka_unit_test(nothing_stop_and_memory),
    };
    return cmocka_run_group_tests(tests, NULL, end);
}
