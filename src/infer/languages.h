/* infer/languages.h - how differently a model routes languages that say the same: sentence n of each file is one sentence.
 *
 * "Multilingual Routing in Mixture-of-Experts", arXiv:2510.04694. pbar_g[n] = mean over the tokens of sentence n in language g of the router's whole
 * distribution p, in one layer. With JS the Jensen-Shannon divergence in nats (0 .. ln 2) and H the entropy,
 *
 *   D(g) = mean over n of JS(pbar_ref[n], pbar_g[n]) / sqrt(H(pbar_ref[n]) H(pbar_g[n]))         (the normaliser is our reading of "entropy-normalised")
 *
 * for every language but the first, the reference. Its measure stick, ours, is D with another sentence: of the reference n against n+1 (what content
 * alone does in one language), and of the reference n against n+1 of g: where that is no larger than D(g), meaning plays no part in the routing. Short sentences
 * raise all three alike. F(e|g) = share of tokens that have e among their experts; an expert is specific to the other languages when its mean F over them
 * less F(e|ref) exceeds tau. nats = what the model pays for a sentence: the sentences say the same, so it may be compared between languages, which per token or
 * byte may not. */
#ifndef SY_INFER_LANGUAGES_H
#define SY_INFER_LANGUAGES_H

#include "infer/analysis.h"

typedef struct sy_parallel {            /* in an arena */
    int          languages, sentences, before;      /* before: ids that the tokenizer puts in front of each sentence */
    const char **name;                  /* [languages] */
    int        **id, *n;                /* [languages * sentences] ids with those in front; their number */
    int          empty, too_long;       /* sentences left out: in some language without text, or over the model's positions */
} sy_parallel;

/* "NAME=FILE" each, one sentence a line; the first is the reference. At most `most` sentences (0: all). SY_EARG: fewer than two languages, a name twice or with a
 * blank; SY_EFORMAT: files of different numbers of lines, fewer than two sentences left. */
sy_status sy_parallel_read(sy_parallel *p, const char *const *spec, int n, const sy_tokenizer *tok, int positions, int most, sy_arena *a, sy_err *err);

typedef struct sy_languages {           /* arrays from the arena */
    int     languages, layers, cols, sentences;
    double *d, *d_error;                /* [layers][languages] D(g) and its standard error over sentences; 0 for the reference */
    double *other;                      /* [layers][languages] the same against sentence n+1 of g */
    double *share;                      /* [layers][languages][cols] F(e|g) */
    int    *specific;                   /* [layers] experts of the other languages, by tau */
    double *nats;                       /* [languages] a sentence */
    double  middle;                     /* Spearman correlation over languages of D, mean of the middle third of the layers, with nats; NaN: fewer than 4 other languages */
} sy_languages;

typedef struct sy_languages_options {
    double tau;
    bool (*seen)(void *arg, double done, double all);       /* sentences, after each batch; false: end with SY_ESTOP; may be NULL */
    void  *arg;
} sy_languages_options;

/* a: an analysis over the languages as domains, which sees every sentence as a document; may be NULL. SY_EUNSUP: a router without probabilities. */
sy_status sy_languages_run(sy_model *m, const sy_parallel *p, const sy_languages_options *o, sy_analysis *a, sy_arena *to, sy_languages *out, sy_err *err);
/* Jensen-Shannon divergence of two distributions, and their entropies. */
double    sy_jensen_shannon(const double *a, const double *b, int n, double *entropy_a, double *entropy_b);
/* Rank correlation; equal values share their mean rank. */
double    sy_spearman(const double *a, const double *b, int n);
/* Members of an open object. */
void      sy_languages_json(sy_json *j, const sy_languages *x, const sy_parallel *p);

#endif
