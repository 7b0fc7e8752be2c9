/* infer/sample.c - filters over scores; -inf removes an id. */
#include "infer/sample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/random.h"

const sy_opt sy_sample_opts[] = {
    SY_BOOL(sy_sample_options, do_sample, NULL, true, "draw from the distribution; false: always the most likely token"),
    SY_REAL(sy_sample_options, temperature, NULL, 1, 1e-4, 1e4, "logits are divided by it"),
    SY_INT (sy_sample_options, top_k, NULL, 50, 0, 1 << 24, "only the k most likely tokens, ties included; 0 = all"),
    SY_REAL(sy_sample_options, top_p, NULL, 1, 0, 1, "only the most likely tokens whose probabilities reach p"),
    SY_REAL(sy_sample_options, min_p, NULL, 0, 0, 1, "only tokens of at least this share of the largest probability"),
    SY_REAL(sy_sample_options, typical_p, NULL, 1, 1e-6, 1, "only the tokens whose ln p is nearest to the expected one, until their probabilities reach this"),
    SY_REAL(sy_sample_options, repetition_penalty, NULL, 1, 0.01, 100, "logits of tokens that occurred are made smaller by this factor"),
    SY_INT (sy_sample_options, seed, NULL, 0, 0, 2147483647, "the draws follow from it"),
    { 0 }
};

sy_status sy_sampler_open(sy_sampler *s, int V, sy_err *err)
{
    *s = (sy_sampler){ .V = V, .score = sy_malloc((size_t)V * sizeof(float)), .order = sy_malloc((size_t)V * sizeof(int)), .seen = sy_calloc((size_t)V, 1),
                        .far = sy_malloc((size_t)V * sizeof(float)) };
    if (s->score && s->order && s->seen && s->far) return SY_OK;
    sy_sampler_close(s);
    return sy_fail(err, SY_ENOMEM, "no memory to sample from %d tokens", V);
}

void sy_sampler_close(sy_sampler *s)
{
    sy_free(s->score);
    sy_free(s->order);
    sy_free(s->seen);
    sy_free(s->far);
    *s = (sy_sampler){ 0 };
}

void sy_sampler_saw(sy_sampler *s, const int *id, int n)
{
    for (int i = 0; i < n; i++) if (id[i] >= 0 && id[i] < s->V) s->seen[id[i]] = 1;
}

void sy_sampler_forget(sy_sampler *s) { memset(s->seen, 0, (size_t)s->V); }

static bool below(const float *score, int i, int j)                 /* of equal scores the higher id is below, so that low ids stay longest */
{
    return score[i] != score[j] ? score[i] < score[j] : i > j;
}

/* A heap of ids, the lowest score on top: place i moves down until it fits. A heap of our own, since qsort may allocate. */
static void sift(int *h, int n, int i, const float *score)
{
    for (int c; (c = 2 * i + 1) < n; i = c) {
        if (c + 1 < n && below(score, h[c + 1], h[c])) c++;
        if (!below(score, h[c], h[i])) return;
        int t = h[i];
        h[i] = h[c];
        h[c] = t;
    }
}

/* The k-th largest score. */
static float kth(const sy_sampler *s, int k)
{
    for (int i = 0; i < k; i++) s->order[i] = i;
    for (int i = k / 2; i-- > 0; ) sift(s->order, k, i, s->score);
    for (int i = k; i < s->V; i++)
        if (s->score[i] > s->score[s->order[0]]) { s->order[0] = i; sift(s->order, k, 0, s->score); }
    return s->score[s->order[0]];
}

static float largest(const sy_sampler *s)
{
    float m = -INFINITY;
    for (int i = 0; i < s->V; i++) if (s->score[i] > m) m = s->score[i];
    return m;
}

static double mass(const sy_sampler *s, float max)                   /* sum of exp(score - max), ids ascending */
{
    double z = 0;
    for (int i = 0; i < s->V; i++) z += exp((double)(s->score[i] - max));
    return z;
}

/* Removes from the least likely upwards while the removed probabilities sum to at most 1 - p; the most likely always stays. */
static void keep_top_p(sy_sampler *s, double p)
{
    float max = largest(s);
    double z = mass(s, max), sum = 0;
    int n = 0;
    for (int i = 0; i < s->V; i++) if (s->score[i] > -INFINITY) s->order[n++] = i;
    for (int i = n / 2; i-- > 0; ) sift(s->order, n, i, s->score);
    while (n > 1) {
        int id = s->order[0];
        sum += exp((double)(s->score[id] - max)) / z;
        if (sum > 1 - p) return;
        s->order[0] = s->order[--n];
        sift(s->order, n, 0, s->score);
        s->score[id] = -INFINITY;                                    /* it is out of the heap by now */
    }
}

/* Locally typical sampling (Meister et al., arXiv:2202.00666): H = -sum p ln p; ids in the order of |-ln p - H|, until their probabilities sum to p. The
 * id that reaches p stays, and whatever is as far as it. */
static void keep_typical(sy_sampler *s, double p)
{
    float max = largest(s);
    double lnz = log(mass(s, max)), entropy = 0, sum = 0;
    int n = 0;
    for (int i = 0; i < s->V; i++) {
        double lnp = (double)(s->score[i] - max) - lnz;
        if (s->score[i] > -INFINITY) entropy -= lnp * exp(lnp);
    }
    for (int i = 0; i < s->V; i++) {
        if (s->score[i] == -INFINITY) continue;
        s->far[i] = -(float)fabs(-((double)(s->score[i] - max) - lnz) - entropy);    /* below zero: the heap has the lowest on top */
        s->order[n++] = i;
    }
    for (int i = n / 2; i-- > 0; ) sift(s->order, n, i, s->far);     /* the farthest on top: it goes while the rest still reaches p */
    while (n > 1) {
        double rest = 0;
        int id = s->order[0];
        sum += exp((double)(s->score[id] - max) - lnz);
        rest = 1 - sum;
        if (rest < p) {
            float edge = s->far[id];
            for (int i = 0; i < s->V; i++) if (s->score[i] > -INFINITY && s->far[i] < edge) s->score[i] = -INFINITY;
            return;
        }
        s->order[0] = s->order[--n];
        sift(s->order, n, 0, s->far);
    }
    for (int i = 0; i < s->V; i++) if (s->score[i] > -INFINITY && s->far[i] < s->far[s->order[0]]) s->score[i] = -INFINITY;
}

sy_status sy_sample(sy_sampler *s, const sy_sample_options *o, const sy_real *logits, int64_t pos, int *id, sy_err *err)
{
    float max = -INFINITY;
    int best = 0;
    for (int i = 0; i < s->V; i++) {
        float x = (float)logits[i];
        if (isnan(x)) return sy_fail(err, SY_ENUM, "the logit of token %d is not a number", i);
        if (s->seen[i] && o->repetition_penalty != 1) x = x < 0 ? x * (float)o->repetition_penalty : x / (float)o->repetition_penalty;
        if (o->do_sample && o->temperature != 1) x /= (float)o->temperature;
        s->score[i] = x;
        if (x > max) { max = x; best = i; }
    }
    if (!isfinite(max)) return sy_fail(err, SY_ENUM, "the largest logit is %g", (double)max);
    if (!o->do_sample) {
        *id = best;
        return SY_OK;
    }
    if (o->top_k > 0 && o->top_k < s->V) {
        float least = kth(s, o->top_k);
        for (int i = 0; i < s->V; i++) if (s->score[i] < least) s->score[i] = -INFINITY;
    }
    if (o->top_p < 1) keep_top_p(s, o->top_p);
    if (o->min_p > 0)
        for (int i = 0; i < s->V; i++) if (exp((double)(s->score[i] - max)) < o->min_p) s->score[i] = -INFINITY;
    if (o->typical_p < 1) keep_typical(s, o->typical_p);
    double u = sy_draw(sy_key((uint64_t)o->seed, SY_FOR_SAMPLE, 0, 0, 0), (uint64_t)pos, 0) * mass(s, max), sum = 0;
    for (int i = 0; i < s->V; i++) {
        if (s->score[i] == -INFINITY) continue;
        sum += exp((double)(s->score[i] - max));
        *id = i;                                                     /* the last that stays, should rounding leave u above the sum */
        if (u < sum) break;
    }
    return SY_OK;
}
