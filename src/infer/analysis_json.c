/* infer/analysis_json.c - an analysis as JSON, and how its numbers are read: noise taken off, shares instead of nats. */
#include <math.h>
#include <stdio.h>

#include "infer/analysis.h"
#include "infer/routing.h"

enum { MOST_COACTIVE = 64 };            /* experts whose whole table of pairs is written */

static void member(sy_json *j, const char *key, double v) { sy_json_key(j, key), sy_json_real(j, v); }
static void whole(sy_json *j, const char *key, int64_t v) { sy_json_key(j, key), sy_json_int(j, (long long)v); }

static void row(sy_json *j, const int64_t *v, int n)
{
    sy_json_begin(j, '[');
    for (int i = 0; i < n; i++) sy_json_int(j, (long long)v[i]);
    sy_json_end(j, ']');
}

static void rows(sy_json *j, const char *key, const int64_t *v, int n, int cols)
{
    sy_json_key(j, key), sy_json_begin(j, '[');
    for (int i = 0; i < n; i++) row(j, v + (size_t)i * (size_t)cols, cols);
    sy_json_end(j, ']');
}

static void grouping(sy_json *j, const char *key, const sy_grouping *g, double entropy)
{
    sy_json_key(j, key), sy_json_begin(j, '{');
    whole(j, "groups", g->groups), whole(j, "frequent", g->frequent);
    member(j, "info", g->info), member(j, "noise", g->noise), member(j, "noise_sd", g->noise_sd);
    member(j, "u", g->info / entropy), member(j, "u_corrected", (g->info - g->noise) / entropy), member(j, "u_noise_sd", g->noise_sd / entropy);
    member(j, "spread", g->spread), member(j, "spread_noise", g->spread_noise);
    sy_json_end(j, '}');
}

static void top(sy_json *j, const sy_layer_stats *s, int cols, int most, const sy_tokenizer *tok)
{
    char number[16];
    sy_json_key(j, "top_tokens"), sy_json_begin(j, '[');
    for (int e = 0; e < cols; e++) {
        sy_json_begin(j, '[');
        for (int k = 0; k < most && s->top[(size_t)e * (size_t)most + (size_t)k].count; k++) {
            const sy_top *x = &s->top[(size_t)e * (size_t)most + (size_t)k];
            sy_json_begin(j, '{');
            whole(j, "id", x->id);
            sy_json_key(j, "token");
            if (tok) sy_token_json(j, tok, x->id);
            else snprintf(number, sizeof number, "#%d", x->id), sy_json_text(j, number);
            whole(j, "count", x->count), member(j, "share", (double)x->count / (double)s->load[e]);
            sy_json_end(j, '}');
        }
        sy_json_end(j, ']');
    }
    sy_json_end(j, ']');
}

/* Rates by bucket, null where there was nothing to drop; the last row is of all domains. */
static void drop(sy_json *j, const sy_layer_stats *s, int domains, int buckets)
{
    sy_json_key(j, "drop"), sy_json_begin(j, '[');
    for (int d = 0; d <= domains; d++) {
        sy_json_begin(j, '[');
        for (int b = 0; b < buckets; b++) {
            double lost = 0, all = 0;
            for (int k = d < domains ? d : 0; k < (d < domains ? d + 1 : domains); k++) {
                lost += (double)s->drop[(size_t)k * (size_t)buckets + (size_t)b];
                all += (double)s->total[(size_t)k * (size_t)buckets + (size_t)b];
            }
            sy_json_real(j, lost / all);
        }
        sy_json_end(j, ']');
    }
    sy_json_end(j, ']');
    sy_json_key(j, "drop_chance"), sy_json_begin(j, '[');
    for (int b = 0; b < buckets; b++) sy_json_real(j, (double)s->drop_chance[b] / (double)s->total_chance[b]);
    sy_json_end(j, ']');
}

static void pairs(sy_json *j, const sy_layer_stats *s, int E)
{
    whole(j, "pairs", s->pairs), member(j, "pair_info", s->pair_info), member(j, "pair_noise", s->pair_noise);
    sy_json_key(j, "top_pairs"), sy_json_begin(j, '[');
    for (int i = 0; i < s->n_pair; i++) {
        const sy_pair *p = &s->pair[i];
        sy_json_begin(j, '{');
        sy_json_key(j, "experts"), sy_json_begin(j, '['), sy_json_int(j, p->e), sy_json_int(j, p->f), sy_json_end(j, ']');
        whole(j, "count", p->count), member(j, "expected", p->expected), member(j, "z", p->z);
        sy_json_end(j, '}');
    }
    sy_json_end(j, ']');
    if (E <= MOST_COACTIVE) rows(j, "coactivation", s->co, E, E);
}

static void layer(sy_json *j, const sy_analysis_result *r, int l, const sy_tokenizer *tok)
{
    const sy_layer_stats *s = &r->layer[l];
    int cols = r->E + r->Z;
    sy_json_begin(j, '{');
    whole(j, "layer", r->number[l]), whole(j, "experts", r->E), whole(j, "zero", r->Z);
    sy_json_key(j, "load"), row(j, s->load, cols);
    rows(j, "by_domain", s->by_domain, r->domains, cols);
    rows(j, "by_position", s->by_position, r->options.buckets, cols);
    member(j, "entropy", s->router_entropy), whole(j, "dropped", 0), member(j, "passed", (double)s->passed / (double)s->tokens);
    member(j, "specialisation", s->specialisation), member(j, "maxvio", s->maxvio);
    whole(j, "tokens", s->tokens), whole(j, "slots", s->slots);
    member(j, "load_entropy", s->entropy), member(j, "ceiling", s->ceiling);
    sy_json_key(j, "entropy_by_domain"), sy_json_begin(j, '[');
    for (int d = 0; d < r->domains; d++) sy_json_real(j, s->router_entropy_of[d]);
    sy_json_end(j, ']');
    member(j, "repeats", s->repeats), member(j, "repeats_chance", s->repeats_chance);
    sy_json_key(j, "groups"), sy_json_begin(j, '{');
    grouping(j, "token", &s->by[SY_BY_ID], s->entropy);
    grouping(j, "position", &s->by[SY_BY_POSITION], s->entropy);
    grouping(j, "domain", &s->by[SY_BY_DOMAIN], s->entropy);
    sy_json_end(j, '}');
    drop(j, s, r->domains, r->options.buckets);
    pairs(j, s, r->E);
    top(j, s, cols, r->options.top_tokens, tok);
    sy_json_end(j, '}');
}

void sy_analysis_json(sy_json *j, const sy_analysis_result *r, const sy_tokenizer *tok)
{
    sy_json_key(j, "domains"), sy_json_begin(j, '[');
    for (int d = 0; d < r->domains; d++) sy_json_text(j, r->domain[d]);
    sy_json_end(j, ']');
    whole(j, "tokens", r->tokens), whole(j, "docs", r->docs), whole(j, "ids", r->ids), whole(j, "longest", r->longest), whole(j, "short_docs", r->short_docs);
    sy_json_key(j, "tokens_by_domain"), row(j, r->tokens_of, r->domains);
    sy_json_key(j, "docs_by_domain"), row(j, r->docs_of, r->domains);
    whole(j, "buckets", r->options.buckets), whole(j, "min_count", r->options.min_count), whole(j, "shuffles", r->options.shuffles);
    member(j, "capacity_factor", r->options.capacity_factor);
    sy_json_key(j, "layers"), sy_json_begin(j, '[');
    for (int l = 0; l < r->layers; l++) layer(j, r, l, tok);
    sy_json_end(j, ']');
}
