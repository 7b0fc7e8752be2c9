/* cli/analyse_print.c - tables of an analysis for a terminal of 80 columns. */
#include "cli/analyse.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/utf8.h"

enum { CHANCE_SD = 3, TOP_EXPERTS = 64 };           /* standard deviations of the noise that a number must exceed it by; experts whose top tokens are listed */

/* A number in `width` columns, '-' where there is none; `mark` behind it. */
static void number(FILE *to, int width, int digits, double v, char mark)
{
    if (isfinite(v)) fprintf(to, "%*.*f%c", width, digits, v, mark);
    else fprintf(to, "%*s%c", width, "-", ' ');
}

static double ratio(double a, double b) { return b > 0 ? a / b : NAN; }

static void grouping(FILE *to, const sy_grouping *g, double entropy)
{
    number(to, 8, 4, ratio(g->info, entropy), g->info - g->noise < CHANCE_SD * g->noise_sd ? '~' : ' ');
    number(to, 7, 4, ratio(g->noise, entropy), ' ');
}

static void information(FILE *to, const sy_analysis_result *r)
{
    fprintf(to, "\nWhat says which expert: the share of an expert's uncertainty that a group takes away, U = I(expert; group) / H(expert), and the noise: the same with\n"
                "shuffled labels (%d times; domains over whole documents). ~ no more than chance. Ceiling: if every token were a group of its own.\n", r->options.shuffles);
    fprintf(to, "layer  ceiling |   token   noise | position  noise |  domain   noise\n");
    for (int l = 0; l < r->layers; l++) {
        const sy_layer_stats *s = &r->layer[l];
        fprintf(to, "%5d %8.4f |", r->number[l], s->entropy > 0 ? s->ceiling / s->entropy : 0);
        for (int g = 0; g < SY_GROUPINGS; g++) {
            if (g) fputs("|", to);
            grouping(to, &s->by[g], s->entropy);
        }
        putc('\n', to);
    }
}

static void spreads(FILE *to, const sy_analysis_result *r)
{
    const sy_layer_stats *one = r->layer;
    fprintf(to, "\nSpread: standard deviation over experts of a group's shares, mean over groups of %d tokens or more (%lld of %lld ids, %lld of %lld parts of the\n"
                "positions, %lld of %lld domains); and with shuffled labels.\n", r->options.min_count, (long long)one->by[SY_BY_ID].frequent, (long long)one->by[SY_BY_ID].groups,
            (long long)one->by[SY_BY_POSITION].frequent, (long long)one->by[SY_BY_POSITION].groups, (long long)one->by[SY_BY_DOMAIN].frequent, (long long)one->by[SY_BY_DOMAIN].groups);
    fprintf(to, "layer |   token shuffled | position shuffled |  domain shuffled\n");
    for (int l = 0; l < r->layers; l++) {
        fprintf(to, "%5d |", r->number[l]);
        for (int g = 0; g < SY_GROUPINGS; g++) {
            const sy_grouping *x = &r->layer[l].by[g];
            if (g) fputs("|", to);
            number(to, g == SY_BY_POSITION ? 9 : 8, 4, x->spread, ' '), number(to, 8, 4, x->spread_noise, ' ');
        }
        putc('\n', to);
    }
}

static void balance(FILE *to, const sy_analysis_result *r)
{
    double cols = r->E + r->Z;
    fprintf(to, "\nLoad: H(expert) over its most, MaxVio = busiest expert over the mean, less 1; router: mean entropy of its probabilities over the most. Repeats:\n"
                "neighbours with the same first expert, and by chance. Pairs: nats that experts of one token say about each other, noise, the pair most above chance.\n");
    fprintf(to, "layer    load  MaxVio  router | repeats  chance |   pairs   noise  most above\n");
    for (int l = 0; l < r->layers; l++) {
        const sy_layer_stats *s = &r->layer[l];
        fprintf(to, "%5d", r->number[l]);
        number(to, 8, 4, cols > 1 ? s->entropy / log(cols) : NAN, ' '), number(to, 7, 3, s->maxvio, ' '), number(to, 7, 4, cols > 1 ? s->router_entropy / log(cols) : NAN, ' ');
        fputs("|", to), number(to, 8, 4, s->repeats, ' '), number(to, 7, 4, s->repeats_chance, ' ');
        fputs("|", to), number(to, 8, 4, s->pair_info, s->pair_info < 2 * s->pair_noise ? '~' : ' '), number(to, 7, 4, s->pair_noise, ' ');
        if (s->n_pair && s->pairs) fprintf(to, " %d+%d %.2fx, z %.1f", s->pair->e, s->pair->f, ratio((double)s->pair->count, s->pair->expected), s->pair->z);
        putc('\n', to);
    }
    for (int l = 0; l < r->layers; l++) if (r->layer[l].passed) fprintf(to, "layer %d: %lld of %lld tokens used no expert\n", r->number[l], (long long)r->layer[l].passed, (long long)r->layer[l].tokens);
}

typedef struct rate { double lost, all; } rate;

static void add_rate(rate *x, const int64_t *drop, const int64_t *total, int from, int to)
{
    for (int b = from; b < to; b++) x->lost += (double)drop[b], x->all += (double)total[b];
}

/* Of layers l0 .. l1-1 and domains d0 .. d1-1, in parts from .. to-1; d1 = 0: of shuffled tokens. */
static double drop_rate(const sy_analysis_result *r, int l0, int l1, int d0, int d1, int from, int to)
{
    rate x = { 0 };
    for (int l = l0; l < l1; l++) {
        const sy_layer_stats *s = &r->layer[l];
        if (!d1) add_rate(&x, s->drop_chance, s->total_chance, from, to);
        for (int d = d0; d < d1; d++) add_rate(&x, s->drop + d * r->options.buckets, s->total + d * r->options.buckets, from, to);
    }
    return ratio(x.lost, x.all);
}

static void drop_line(FILE *to, const sy_analysis_result *r, int l0, int l1, int d0, int d1)
{
    int B = r->options.buckets;
    number(to, 7, 4, drop_rate(r, l0, l1, d0, d1, 0, B), ' ');
    fputs("|", to);
    for (int q = 0; q < 4; q++) number(to, 7, 4, drop_rate(r, l0, l1, d0, d1, q * B / 4, (q + 1) * B / 4), ' ');
    fputs("|", to), number(to, 7, 4, drop_rate(r, l0, l1, d0, d1, B - 1, B), ' ');
    putc('\n', to);
}

static void drops(FILE *to, const sy_analysis_result *r)
{
    fprintf(to, "\nWhat a capacity of %g would drop: share of slots, in all, in each quarter of a document, in the last of its %d parts", r->options.capacity_factor, r->options.buckets);
    if (r->short_docs) fprintf(to, " (%lld of %lld documents\nare shorter than that and left out)", (long long)r->short_docs, (long long)r->docs);
    fprintf(to, ".\n%-16s     all |   first  second   third  fourth |    last\n", "");
    for (int l = 0; l < r->layers; l++) fprintf(to, "layer %-10d ", r->number[l]), drop_line(to, r, l, l + 1, 0, r->domains);
    for (int d = 0; d < r->domains && r->domains > 1; d++) fprintf(to, "%-16.16s ", r->domain[d]), drop_line(to, r, 0, r->layers, d, d + 1);
    fprintf(to, "%-16s ", "shuffled tokens"), drop_line(to, r, 0, r->layers, 0, 0);
}

static void token(FILE *to, const sy_tokenizer *tok, int id)
{
    char text[64];
    size_t n = 0;
    const char *special = tok ? sy_tokenizer_special(tok, id) : NULL, *piece = tok ? sy_tokenizer_piece(tok, id, &n) : NULL;
    if (special) snprintf(text, sizeof text, "%.40s", special);
    else if (!tok) snprintf(text, sizeof text, "%d", id);
    else if (n == 1 && *piece == '\n') strcpy(text, "\\n");
    else if (n == 1 && *piece == '\t') strcpy(text, "\\t");
    else if (n == 1 && ((unsigned char)*piece < 32 || (unsigned char)*piece > 126)) snprintf(text, sizeof text, "\\x%02X", (unsigned char)*piece);
    else snprintf(text, sizeof text, "%.*s", (int)(n < 40 ? n : 40), piece);
    fprintf(to, " [%s]", sy_utf8_clean(text));
}

static void top_tokens(FILE *to, const sy_analysis_result *r, const sy_tokenizer *tok)
{
    int cols = r->E + r->Z, most = r->options.top_tokens;
    if (r->layers * cols > TOP_EXPERTS) {
        fprintf(to, "\nThe tokens of %d experts would be long: --json and --page have them.\n", r->layers * cols);
        return;
    }
    fprintf(to, "\nTokens with the most slots of each expert\n");
    for (int l = 0; l < r->layers; l++)
        for (int e = 0; e < cols; e++) {
            fprintf(to, "%5d %3d ", r->number[l], e);
            for (int k = 0; k < most && r->layer[l].top[e * most + k].count; k++) token(to, tok, r->layer[l].top[e * most + k].id);
            putc('\n', to);
        }
}

static void overlap(FILE *to, const sy_subject *s)
{
    const sy_analysis_result *r = &s->of_routes;
    fprintf(to, "\nAgainst %s, token by token: overlap = mean over ids of %d tokens or more of the shares that both give to the same expert; same = tokens with the\n"
                "same first expert; chance: what different ids share, and what loads alone would give.\n", s->overlap_with, r->options.min_count);
    fprintf(to, "layer   ids | overlap  chance |    same  chance\n");
    for (int l = 0; l < r->layers; l++) {
        const sy_overlap *x = &s->overlap[l];
        fprintf(to, "%5d %5lld |", r->number[l], (long long)x->frequent);
        number(to, 8, 4, x->overlap, ' '), number(to, 7, 4, x->overlap_chance, ' ');
        fputs("|", to), number(to, 8, 4, x->same, ' '), number(to, 7, 4, x->same_chance, ' ');
        putc('\n', to);
    }
}

/* --- languages -------------------------------------------------------------------------------------------------------------- */

static void languages(FILE *to, const sy_subject *s)
{
    const sy_languages *x = &s->languages;
    const sy_analysis_result *r = &s->of_spoken;
    int G = x->languages;
    fprintf(to, "\n%d parallel sentences in %d languages", x->sentences, G);
    if (s->parallel.empty || s->parallel.too_long) fprintf(to, " (left out: %d without text in some language, %d too long for the model in some)", s->parallel.empty, s->parallel.too_long);
    fprintf(to, ". Divergence of the router's probabilities from %s, by sentence,\nover the entropies, +- its standard error; `other`: %s against another of its own sentences, what content alone does.\n", s->parallel.name[0], s->parallel.name[0]);
    fprintf(to, "layer |");
    for (int g = 1; g < G; g++) fprintf(to, " %13.13s", s->parallel.name[g]);
    fprintf(to, " |   other | specific\n");
    for (int l = 0; l < x->layers; l++) {
        fprintf(to, "%5d |", r->number[l]);
        for (int g = 1; g < G; g++) fprintf(to, " %.4f+-%.4f", x->d[l * G + g], x->d_error[l * G + g]), fputs(" ", to);
        fprintf(to, "| %7.4f | %8d\n", x->other[l * G], x->specific[l]);
    }
    fprintf(to, "Less than with another sentence of the same language, in per cent: what the meaning makes alike (0: it plays no part)\nlayer |");
    for (int g = 1; g < G; g++) fprintf(to, " %7.7s", s->parallel.name[g]);
    putc('\n', to);
    for (int l = 0; l < x->layers; l++) {
        fprintf(to, "%5d |", r->number[l]);
        for (int g = 1; g < G; g++) putc(' ', to), fprintf(to, "%7.1f", 100 * (1 - ratio(x->d[l * G + g], x->other[l * G + g])));
        putc('\n', to);
    }
    fprintf(to, "Nats a sentence:");
    for (int g = 0; g < G; g++) fprintf(to, " %s %.1f", s->parallel.name[g], x->nats[g]);
    fprintf(to, "\n");
    if (isfinite(x->middle)) fprintf(to, "Rank correlation of the divergence in the middle layers with nats a sentence: %.2f over %d languages\n", x->middle, G - 1);
    fprintf(to, "U(expert | language), noise:");
    for (int l = 0; l < r->layers; l++) fprintf(to, "%s layer %d %.4f, %.4f", l ? ";" : "", r->number[l], ratio(r->layer[l].by[SY_BY_DOMAIN].info, r->layer[l].entropy), ratio(r->layer[l].by[SY_BY_DOMAIN].noise, r->layer[l].entropy));
    putc('\n', to);
}

/* --- all -------------------------------------------------------------------------------------------------------------------- */

static void head(FILE *to, const sy_subject *s)
{
    const sy_analysis_result *r = s->has_routes ? &s->of_routes : &s->of_spoken;
    double slots = 0, tokens = 0;
    for (int l = 0; l < r->layers; l++) slots += (double)r->layer[l].slots, tokens += (double)r->layer[l].tokens;
    fprintf(to, "%s: %d sparse layers of %d experts", s->name, r->layers, r->E);
    if (r->Z) fprintf(to, " and %d of no cost", r->Z);
    fprintf(to, ", %.4g a token\n", ratio(slots, tokens));
    if (!s->has_routes) return;
    fprintf(to, "%lld tokens of %lld ids in %lld documents of at most %d:", (long long)r->tokens, (long long)r->ids, (long long)r->docs, r->longest);
    for (int d = 0; d < r->domains; d++) if (r->tokens_of[d]) fprintf(to, "%s %s %lld", d ? "," : "", r->domain[d], (long long)r->tokens_of[d]);
    putc('\n', to);
}

void sy_print_subject(FILE *to, const sy_subject *s)
{
    head(to, s);
    if (s->has_routes) {
        information(to, &s->of_routes);
        spreads(to, &s->of_routes);
        balance(to, &s->of_routes);
        drops(to, &s->of_routes);
        top_tokens(to, &s->of_routes, s->tok);
        if (s->overlap) overlap(to, s);
    }
    if (s->has_languages) languages(to, s);
}

void sy_print_learning(FILE *to, const sy_subject *s, int n)
{
    fprintf(to, "\nLearning: means over the layers. U by token, its noise; overlap with the last step over ids of %d tokens or more, and what different ids share;\n"
                "tokens with the same first expert as at the last step, and by chance.\n", s->of_routes.options.min_count);
    fprintf(to, "%9s |   token   noise | overlap  chance |    same  chance\n", "step");
    for (int i = 0; i < n; i++) {
        const sy_analysis_result *r = &s[i].of_routes;
        double m[6] = { 0 };
        for (int l = 0; l < r->layers; l++) {
            const sy_overlap *x = &s[i].overlap[l];
            const sy_grouping *g = &r->layer[l].by[SY_BY_ID];
            const double v[6] = { ratio(g->info, r->layer[l].entropy), ratio(g->noise, r->layer[l].entropy), x->overlap, x->overlap_chance, x->same, x->same_chance };
            for (int k = 0; k < 6; k++) m[k] += v[k] / r->layers;
        }
        fprintf(to, "%9lld", (long long)s[i].step);
        for (int k = 0; k < 6; k++) {
            if (k % 2 == 0) fputs(" |", to);
            number(to, 7, 4, m[k], ' ');
        }
        putc('\n', to);
    }
}
