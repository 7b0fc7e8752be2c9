/* route/stats.h - what a sparse layer did, summed over batches: the numbers of the report, of eval and of the traces. */
#ifndef SY_STATS_H
#define SY_STATS_H

#include "route/route.h"

typedef struct sy_stats {               /* one sparse layer; arrays from the arena given at init, zeroed */
    int       E, Z, domains;
    int64_t   tokens, slots, dropped, passed;       /* passed: tokens without any slot */
    int64_t  *load;                     /* [E+Z] slots wanted */
    int64_t  *by_domain;                /* [domains][E+Z] */
    int64_t  *co;                       /* [E][E] pairs of real experts chosen by one token, e < f */
    double    entropy;                  /* sum over tokens of - sum_e p ln p (0 where there are no probs) */
    double    top_weight;               /* sum over tokens of the largest weight */
} sy_stats;

sy_status sy_stats_init(sy_stats *s, int E, int Z, int domains, sy_arena *a, sy_err *err);
void      sy_stats_clear(sy_stats *s);
void      sy_stats_add(sy_stats *s, const sy_route *r, const int *label /*[T] or NULL*/, const uint8_t *valid /*[T] or NULL*/);
double    sy_stats_maxvio(const sy_stats *s);        /* max load / mean load - 1, over real experts */
/* I(domain; expert) / ln(domains) from assignment counts; 0 with one domain. */
double    sy_stats_specialisation(const sy_stats *s);

#endif
