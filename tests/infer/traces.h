/* tests/infer/traces.h - traces that tests write by hand. */
#ifndef SY_TEST_TRACES_H
#define SY_TEST_TRACES_H

#include "testing.h"

#include <string.h>

#include "core/random.h"
#include "infer/analysis.h"

typedef struct hand { int layers, E, Z, K, docs, T, domains, V; } hand;    /* docs of T tokens, as many of each domain */

/* Experts of a token: fills e[K], best first; what it leaves is none. */
typedef void (*hand_route)(const hand *h, int layer, int doc, int pos, int id, int domain, int *e);
typedef int (*hand_id)(const hand *h, int doc, int pos);

static inline double hand_draw(int a, int b, int c) { return sy_draw(sy_key(7, SY_FOR_TEST, (uint64_t)a, (uint64_t)b, 0), (uint64_t)c, 0); }
static inline int random_id(const hand *h, int doc, int pos) { return (int)(hand_draw(1, doc, pos) * h->V); }
static inline int hand_domain(const hand *h, int doc) { return doc * h->domains / h->docs; }

static inline void hand_trace(sy_trace *t, const hand *h, hand_id id_of, hand_route route)
{
    sy_expect_ok(sy_trace_open_bare(t, h->layers, h->E, h->Z, err));
    for (int d = 0; d < h->docs; d++)
        for (int p = 0; p < h->T; p++) {
            int id = id_of(h, d, p), slots[8][2], e[8][16];
            sy_real w[16];
            sy_tensor weight = { .x = w };
            sy_route r[8], *routes[8];
            for (int k = 0; k < 16; k++) w[k] = (sy_real)1 / (sy_real)(k + 1);
            for (int l = 0; l < h->layers; l++) {
                int n = 0;
                for (int k = 0; k < h->K; k++) e[l][k] = -1;
                route(h, l, d, p, id, hand_domain(h, d), e[l]);
                while (n < h->K && e[l][n] >= 0) n++;
                slots[l][0] = 0, slots[l][1] = n;
                r[l] = (sy_route){ .T = 1, .E = h->E, .Z = h->Z, .n = n, .first_slot = slots[l], .expert = e[l], .weight = &weight };
                routes[l] = &r[l];
            }
            sy_expect_ok(sy_trace_add(t, routes, 0, &id, 1, p, d, hand_domain(h, d), err));
        }
}

static inline void hand_analysis(sy_analysis *a, const hand *h, hand_id id_of, hand_route route)
{
    sy_trace t;
    hand_trace(&t, h, id_of, route);
    sy_expect_ok(sy_analysis_of(a, &t, err));
}

#endif
