/* infer/analysis.h - what routes say about experts: who uses which, in what order, with whom, and how sure a number is.
 *
 * An analysis takes a stream of routes and keeps them (infer/trace.h); statistics are made from what it kept, so a trace out of a file gives the
 * same ones, but for those of the router's probabilities, which no trace holds. Paper of the numbered statistics: OpenMoE, arXiv:2402.01739,
 * section 4; the forms in nats and all noise levels are ours. A sample is one slot: one token in one expert. c[g,e] = slots of group g that went to
 * expert e, real or zero-cost; N = all slots; H in nats.
 *
 *   1. shares       R_g[e] = c[g,e] / sum_e c[g,e]. Groups are token ids, buckets of positions (B equal parts of the longest document), domains.
 *   2. spread       sd_g = standard deviation over e of R_g (divided by the number of experts); the mean over groups with min_count tokens or more.
 *      information  U(e|g) = I(e;g) / H(e), I(e;g) = sum c/N ln(c N / (c_g c_e)): the share of an expert's uncertainty that the group takes away.
 *      ceiling      I(e;token) / H(e), the token being a group of its own: no group can say more. 1 where a token has one expert; less where
 *                   it has several, since ln K of a slot's entropy is only which of the K it is.
 *      noise        the same number when labels are shuffled: mean and standard deviation over `shuffles` permutations. Ids and positions are
 *                   shuffled over tokens; domains over whole documents, since tokens of one document are no independent samples. U less
 *                   its noise is 0 in the mean where groups do not matter, and too small where they matter and groups are small: a lower bound.
 *   3. top tokens   for each expert the ids with the most slots.
 *   4. learning     sy_analysis_overlap, below.
 *   5. drop         what a capacity would cost: a document of T tokens and n slots gives each real expert C = round(capacity_factor n / E) slots, taken in
 *                   the order of positions, best expert first; drop[d][b] of total[d][b] slots of domain d are refused in the b-th of B equal
 *                   parts of the document. Documents shorter than B tokens are left out and counted. Noise: all domains once more, with tokens put
 *                   in the places of others at random, so that documents differ from each other by chance only.
 *
 * Others: MaxVio = max c_e / mean c_e - 1 and specialisation = I(e;domain) / ln(domains) as in routing.json; router entropy = mean over tokens of H(p);
 * repeats = share of neighbouring tokens with the same first expert (multilingual routing, arXiv:2510.04694), by chance sum_e q_e^2 of the shares q of
 * first experts; pairs of experts of one token against quasi-independence, that is counts w_e w_f (e != f) whose sums by expert are the counted
 * ones: pair_info = sum co/P ln(co/expected), P pairs, whose noise is (E(E-3)/2) / 2P; a pair's z = (co - expected) / sqrt(expected). */
#ifndef SY_INFER_ANALYSIS_H
#define SY_INFER_ANALYSIS_H

#include "core/json.h"
#include "infer/trace.h"
#include "model/tokenizer.h"

typedef struct sy_analysis_options {
    int    buckets, min_count, shuffles, top_tokens, top_pairs;
    double capacity_factor;
    int    seed;
} sy_analysis_options;
extern const sy_opt sy_analysis_opts[];

/* --- the stream ------------------------------------------------------------------------------------------------------------- */

typedef struct sy_analysis {
    sy_trace trace;
    int      domains;
    char   **domain;                    /* [domains] names */
    double  *entropy;                   /* [layers][domains] sum of H(p) over tokens */
    int64_t *measured;                  /* [layers][domains] tokens whose router told its probabilities */
} sy_analysis;

/* For routes of `m` over named domains (no blanks in a name). */
sy_status sy_analysis_open(sy_analysis *a, const sy_model *m, const char *const *domain, int domains, sy_err *err);
/* Takes over a trace that was read or filled by hand; *t is empty afterwards, also on failure. Domains without names are called by their numbers. */
sy_status sy_analysis_of(sy_analysis *a, sy_trace *t, sy_err *err);
void      sy_analysis_close(sy_analysis *a);                    /* fine on a zeroed one and after a failed open */
/* As sy_trace_add. Documents come one after the other. */
sy_status sy_analysis_add(sy_analysis *a, sy_route *const *routes, int row0, const int *id, int n, int pos0, int doc, int domain, sy_err *err);

/* --- the statistics --------------------------------------------------------------------------------------------------------- */

typedef enum { SY_BY_ID, SY_BY_POSITION, SY_BY_DOMAIN, SY_GROUPINGS } sy_grouping_kind;

typedef struct sy_grouping {
    int64_t groups, frequent;           /* that occur; of them with min_count tokens or more */
    double  info, noise, noise_sd;      /* I(e;g) in nats and its noise; NaN: fewer than two groups */
    double  spread, spread_noise;       /* NaN: no group is frequent */
} sy_grouping;

typedef struct sy_pair { int e, f; int64_t count; double expected, z; } sy_pair;
typedef struct sy_top { int id; int64_t count; } sy_top;

typedef struct sy_layer_stats {         /* one sparse layer */
    int64_t  tokens, slots, passed;     /* passed: tokens without any slot */
    int64_t *load;                      /* [E+Z] */
    int64_t *by_domain, *by_position;   /* [domains][E+Z], [buckets][E+Z] */
    double   entropy, ceiling;          /* H(e); I(e;token), nats */
    double   maxvio, specialisation;
    double   router_entropy;            /* mean H(p), nats; NaN: this router has no probabilities, or they are not known */
    double  *router_entropy_of;         /* [domains] */
    double   repeats, repeats_chance;   /* NaN: no neighbouring tokens */
    sy_grouping by[SY_GROUPINGS];
    int64_t *drop, *total;              /* [domains][buckets] */
    int64_t *drop_chance, *total_chance;            /* [buckets] with shuffled tokens */
    int64_t  pairs;                     /* P */
    double   pair_info, pair_noise;     /* NaN: no pairs, or fewer than 4 experts */
    int64_t *co;                        /* [E][E], e < f */
    sy_pair *pair; int n_pair;          /* largest z first */
    sy_top  *top;                       /* [E+Z][top_tokens], count 0: no more */
} sy_layer_stats;

typedef struct sy_analysis_result {     /* all of it lives in the arena */
    int      layers, E, Z, domains, longest;        /* longest: positions of the longest document */
    sy_analysis_options options;
    const char *const *domain;
    const int *number;                  /* [layers] of the layer in the model */
    int64_t  tokens, docs, ids, short_docs;         /* ids: different ones; short_docs: left out of `drop` */
    int64_t *tokens_of, *docs_of;       /* [domains] */
    sy_layer_stats *layer;
} sy_analysis_result;

/* stop (may be NULL) is asked between passes; true ends with SY_ESTOP. SY_EARG: there are no tokens. */
sy_status sy_analysis_make(const sy_analysis *a, const sy_analysis_options *o, bool (*stop)(void *arg), void *arg, sy_arena *to, sy_analysis_result *out, sy_err *err);

/* --- two traces of the same tokens ------------------------------------------------------------------------------------------ */

typedef struct sy_overlap {             /* of one sparse layer */
    int64_t frequent;                   /* ids with min_count tokens or more */
    double  overlap, overlap_chance;    /* mean over frequent ids v of sum_e min(R_v[e], R'_v[e]); the same of v and the up to 8 frequent ids behind it, by number and in a ring: what ids that have nothing to do with each other share. NaN: no (other) id is frequent */
    double  same, same_chance;          /* share of tokens with the same first expert; sum_e q_e q'_e */
} sy_overlap;
/* out [layers]. SY_ESHAPE: other tokens, layers or experts. */
sy_status sy_analysis_overlap(const sy_trace *a, const sy_trace *b, int min_count, sy_overlap *out, sy_err *err);

/* --- as JSON ---------------------------------------------------------------------------------------------------------------- */

/* Writes members "domains", "tokens", "layers", ... into an open object: a superset of routing.json, so that a report shows both alike. tok NULL: tokens by id. */
void      sy_analysis_json(sy_json *j, const sy_analysis_result *r, const sy_tokenizer *tok);

#endif
