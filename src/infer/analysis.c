/* infer/analysis.c - keeping the stream, and the statistics of one layer that need no shuffling; those of groups stand in grouping.c. */
#include "infer/analysis.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/memory.h"
#include "infer/grouping.h"

const sy_opt sy_analysis_opts[] = {
    SY_INT (sy_analysis_options, buckets, NULL, 16, 2, 1024, "parts that positions are counted in"),
    SY_INT (sy_analysis_options, min_count, NULL, 128, 1, 1 << 30, "tokens that a group needs to count in the spread and the overlap"),
    SY_INT (sy_analysis_options, shuffles, NULL, 10, 2, 1000, "permutations that the noise is measured with"),
    SY_INT (sy_analysis_options, top_tokens, NULL, 10, 1, 1000, "tokens listed for each expert"),
    SY_INT (sy_analysis_options, top_pairs, NULL, 8, 1, 1000, "pairs of experts listed for each layer"),
    SY_REAL(sy_analysis_options, capacity_factor, "cf", 1, 0.01, 1000, "capacity of an expert over an even share, for what would be dropped"),
    SY_INT (sy_analysis_options, seed, NULL, 1, 0, 1 << 30, "of the permutations"),
    { 0 }
};

/* --- the stream ------------------------------------------------------------------------------------------------------------- */

static sy_status open_sums(sy_analysis *a, const char *const *domain, int domains, sy_err *err)
{
    size_t cells = (size_t)a->trace.layers * (size_t)domains + 1;
    a->domain = sy_calloc((size_t)domains + 1, sizeof *a->domain);
    a->entropy = sy_calloc(cells, sizeof *a->entropy);
    a->measured = sy_calloc(cells, sizeof *a->measured);
    bool ok = a->domain && a->entropy && a->measured;
    for (int d = 0; d < domains && ok; d++, a->domains++) ok = (a->domain[d] = sy_strdup(domain[d])) != NULL;
    return ok ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory to analyse %d layers over %d domains", a->trace.layers, domains);
}

sy_status sy_analysis_open(sy_analysis *a, const sy_model *m, const char *const *domain, int domains, sy_err *err)
{
    *a = (sy_analysis){ 0 };
    if (!m->n_sparse) return sy_fail(err, SY_EUNSUP, "this model is dense: its tokens choose no experts");
    sy_status st = sy_trace_open(&a->trace, m, err);
    if (st == SY_OK) st = sy_trace_name(&a->trace, domain, domains, err);
    if (st == SY_OK) st = open_sums(a, domain, domains, err);
    if (st != SY_OK) sy_analysis_close(a);
    return st;
}

/* Domains of a trace: its names first, numbers for the rest. */
static const char **domain_names(const sy_trace *t, int *n, sy_arena *a)
{
    char *at = sy_arena_strdup(a, t->domains ? t->domains : "");
    int domains = 1, named = at && *at;
    for (size_t i = 0; i < t->n; i++) if (sy_trace_tokens(t)[i].domain >= domains) domains = sy_trace_tokens(t)[i].domain + 1;
    for (const char *c = at; c && *c; c++) named += *c == ' ';
    if (named > domains) domains = named;
    const char **name = sy_arena_array(a, (size_t)domains, sizeof *name);
    for (int d = 0; d < domains && name && at; d++) {
        name[d] = d < named ? at : sy_arena_printf(a, "%d", d);
        at += strcspn(at, " ");
        if (*at) *at++ = 0;
    }
    *n = domains;
    return a->failed ? NULL : name;
}

sy_status sy_analysis_of(sy_analysis *a, sy_trace *t, sy_err *err)
{
    sy_arena names = { 0 };
    int domains;
    *a = (sy_analysis){ .trace = *t };
    *t = (sy_trace){ 0 };
    const char **name = domain_names(&a->trace, &domains, &names);
    sy_status st = name ? open_sums(a, name, domains, err) : sy_fail(err, SY_ENOMEM, "no memory for the names of %d domains", domains);
    sy_arena_free(&names);
    if (st != SY_OK) sy_analysis_close(a);
    return st;
}

void sy_analysis_close(sy_analysis *a)
{
    for (int d = 0; d < a->domains; d++) sy_free(a->domain[d]);
    sy_free(a->domain);
    sy_free(a->entropy);
    sy_free(a->measured);
    sy_trace_close(&a->trace);
    *a = (sy_analysis){ 0 };
}

sy_status sy_analysis_add(sy_analysis *a, sy_route *const *routes, int row0, const int *id, int n, int pos0, int doc, int domain, sy_err *err)
{
    for (int l = 0; l < a->trace.layers; l++) {
        const sy_route *r = routes[l];
        size_t cols = r ? (size_t)r->E + (size_t)r->Z : 0, cell = (size_t)l * (size_t)a->domains + (size_t)domain;
        if (!r || !r->probs) continue;
        for (int i = 0; i < n; i++)
            for (size_t e = 0; e < cols; e++) {
                double p = (double)r->probs->x[(size_t)(row0 + i) * cols + e];
                if (p > 0) a->entropy[cell] -= p * log(p);
            }
        a->measured[cell] += n;
    }
    return sy_trace_add(&a->trace, routes, row0, id, n, pos0, doc, domain, err);
}

/* --- one layer -------------------------------------------------------------------------------------------------------------- */

typedef struct making {
    const sy_analysis *a;
    const sy_analysis_options *o;
    sy_analysis_result *out;
    sy_arena *to;
    const int32_t *label[SY_GROUPINGS];         /* [n] group of each token */
    int32_t *id;                        /* [groups] id of each group of ids */
    int      groups[SY_GROUPINGS];
    const int32_t *as_is, *mixed;       /* [n] orders of the tokens */
} making;

static const int32_t *ints(const sy_buf *b) { return (const int32_t *)b->data; }

static sy_status no_memory(const making *m, sy_err *err) { return sy_fail(err, SY_ENOMEM, "no memory to analyse %lld tokens", (long long)m->out->tokens); }

/* load, by_domain, by_position, passed, H(e), I(e;token), MaxVio. */
static void counts(const making *m, int l, sy_layer_stats *s)
{
    const sy_trace *t = &m->a->trace;
    const int32_t *count = ints(&t->layer[l].count), *e = ints(&t->layer[l].expert);
    int cols = t->E + t->Z;
    double inside = 0, most = 0, real = 0;
    s->tokens = (int64_t)t->n;
    for (size_t i = 0; i < t->n; i++) {
        int64_t *d = s->by_domain + (size_t)m->label[SY_BY_DOMAIN][i] * (size_t)cols, *p = s->by_position + (size_t)m->label[SY_BY_POSITION][i] * (size_t)cols;
        for (int k = 0; k < count[i]; k++, e++) s->load[*e]++, d[*e]++, p[*e]++;
        s->slots += count[i];
        s->passed += !count[i];
        inside += sy__xlnx(count[i]);
    }
    for (int k = 0; k < cols; k++) {
        s->entropy -= s->load[k] ? (double)s->load[k] / (double)s->slots * log((double)s->load[k] / (double)s->slots) : 0;
        if (k >= t->E) continue;
        real += (double)s->load[k];
        if ((double)s->load[k] > most) most = (double)s->load[k];
    }
    s->ceiling = s->slots ? s->entropy - inside / (double)s->slots : 0;
    if (s->ceiling < 0) s->ceiling = 0;
    s->maxvio = real > 0 ? most * t->E / real - 1 : 0;
}

static void router_entropy(const making *m, int l, sy_layer_stats *s)
{
    double all = 0;
    int64_t n = 0;
    for (int d = 0; d < m->out->domains; d++) {
        size_t cell = (size_t)l * (size_t)m->out->domains + (size_t)d;
        s->router_entropy_of[d] = m->a->measured[cell] ? m->a->entropy[cell] / (double)m->a->measured[cell] : NAN;
        all += m->a->entropy[cell];
        n += m->a->measured[cell];
    }
    s->router_entropy = n ? all / (double)n : NAN;
}

static sy_status repeats(const making *m, int l, sy_layer_stats *s, sy_err *err)
{
    const sy_trace *t = &m->a->trace;
    const sy_trace_token *k = sy_trace_tokens(t);
    const int32_t *count = ints(&t->layer[l].count), *e = ints(&t->layer[l].expert);
    int64_t pairs = 0, same = 0, n = 0;
    int32_t before = -1;
    double chance = 0;
    int64_t *first = sy_arena_array(m->to, (size_t)(t->E + t->Z), sizeof *first);
    if (!first) return no_memory(m, err);
    for (size_t i = 0; i < t->n; e += count[i++]) {
        int32_t now = count[i] ? *e : -1;
        if (i && now >= 0 && before >= 0 && k[i].doc == k[i - 1].doc && k[i].pos == k[i - 1].pos + 1) pairs++, same += now == before;
        if (now >= 0) first[now]++, n++;
        before = now;
    }
    for (int x = 0; x < t->E + t->Z; x++) chance += n ? (double)first[x] / (double)n * ((double)first[x] / (double)n) : 0;
    s->repeats = pairs ? (double)same / (double)pairs : NAN;
    s->repeats_chance = pairs ? chance : NAN;
    return SY_OK;
}

/* Statistic 5 with token at[i] in place i; `together`: domains share their cells. */
static sy_status drops(const making *m, int l, const int32_t *at, bool together, int64_t *drop, int64_t *total, sy_err *err)
{
    const sy_trace *t = &m->a->trace;
    const sy_trace_token *k = sy_trace_tokens(t);
    const int32_t *count = ints(&t->layer[l].count), *e = ints(&t->layer[l].expert);
    size_t B = (size_t)m->o->buckets;
    sy_mark mark = sy_arena_mark(m->to);
    int64_t *taken = sy_arena_array(m->to, (size_t)t->E, sizeof *taken);
    size_t *first = sy_arena_array(m->to, t->n + 1, sizeof *first);
    if (!taken || !first) return no_memory(m, err);
    for (size_t i = 0; i < t->n; i++) first[i + 1] = first[i] + (size_t)count[i];
    for (size_t from = 0, to; from < t->n; from = to) {
        int64_t slots = 0;
        for (to = from; to < t->n && k[to].doc == k[from].doc; to++) for (size_t s = first[at[to]]; s < first[at[to] + 1]; s++) slots += e[s] < t->E;
        if (to - from < B) continue;
        double room = round(m->o->capacity_factor * (double)slots / t->E);
        memset(taken, 0, (size_t)t->E * sizeof *taken);
        for (size_t i = from; i < to; i++) {
            size_t cell = (together ? 0 : (size_t)k[i].domain * B) + (i - from) * B / (to - from);
            for (size_t s = first[at[i]]; s < first[at[i] + 1]; s++) {
                if (e[s] >= t->E) continue;
                total[cell]++;
                if ((double)taken[e[s]] >= room) drop[cell]++;
                else taken[e[s]]++;
            }
        }
    }
    sy_arena_release(m->to, mark);
    return SY_OK;
}

/* --- pairs ------------------------------------------------------------------------------------------------------------------ */

static int by_z(const void *a, const void *b)
{
    const sy_pair *x = a, *y = b;
    return x->z < y->z ? 1 : x->z > y->z ? -1 : x->e != y->e ? x->e - y->e : x->f - y->f;
}

/* w_e w_f fits sums by expert m_e: w_e = m_e / (sum of w less w_e), damped, from independent pairs. */
static void fit_pairs(const double *sum, double *w, int E, double pairs)
{
    for (int e = 0; e < E; e++) w[e] = pairs > 0 ? sum[e] / sqrt(2 * pairs) : 0;
    for (int step = 0; step < 300; step++) {
        double all = 0, moved = 0;
        for (int e = 0; e < E; e++) all += w[e];
        for (int e = 0; e < E; e++) {
            if (w[e] <= 0 || all - w[e] <= 0) continue;
            double next = sqrt(w[e] * sum[e] / (all - w[e]));
            moved = fmax(moved, fabs(next - w[e]) / w[e]);
            all += next - w[e];
            w[e] = next;
        }
        if (moved < 1e-12) break;
    }
}

static sy_status pairs(const making *m, int l, sy_layer_stats *s, sy_err *err)
{
    const sy_trace *t = &m->a->trace;
    const int32_t *count = ints(&t->layer[l].count), *e = ints(&t->layer[l].expert);
    size_t E = (size_t)t->E, n = 0;
    double *sum = sy_arena_array(m->to, E, sizeof *sum), *w = sy_arena_array(m->to, E, sizeof *w), info = 0;
    sy_mark mark = sy_arena_mark(m->to);
    sy_pair *all = sy_arena_array(m->to, E * (E - 1) / 2 + 1, sizeof *all);
    if (!sum || !w || !all) return no_memory(m, err);
    for (size_t i = 0; i < t->n; e += count[i++])
        for (int a = 0; a < count[i]; a++)
            for (int b = 0; b < a; b++) {
                int32_t x = e[a] < e[b] ? e[a] : e[b], y = e[a] < e[b] ? e[b] : e[a];
                if (y >= t->E || x == y) continue;
                s->co[(size_t)x * E + (size_t)y]++;
                s->pairs++;
                sum[x]++, sum[y]++;
            }
    fit_pairs(sum, w, t->E, (double)s->pairs);
    for (size_t x = 0; x < E; x++)
        for (size_t y = x + 1; y < E; y++) {
            double c = (double)s->co[x * E + y], expected = w[x] * w[y];
            if (c > 0) info += c / (double)s->pairs * log(c / expected);
            if (expected > 0) all[n++] = (sy_pair){ (int)x, (int)y, s->co[x * E + y], expected, (c - expected) / sqrt(expected) };
        }
    s->pair_info = s->pairs && E > 3 ? info : NAN;
    s->pair_noise = s->pairs && E > 3 ? (double)E * (double)(E - 3) / 4 / (double)s->pairs : NAN;
    qsort(all, n, sizeof *all, by_z);
    s->n_pair = (int)(n < (size_t)m->o->top_pairs ? n : (size_t)m->o->top_pairs);
    memcpy(s->pair, all, (size_t)s->n_pair * sizeof *all);
    sy_arena_release(m->to, mark);
    return SY_OK;
}

/* --- top tokens ------------------------------------------------------------------------------------------------------------- */

/* Keeps the list sorted: largest count first, then the smaller id. */
static void offer(sy_top *list, int most, sy_top x)
{
    int k = most;
    while (k && (list[k - 1].count < x.count || (list[k - 1].count == x.count && list[k - 1].id > x.id))) k--;
    if (k == most) return;
    memmove(list + k + 1, list + k, (size_t)(most - 1 - k) * sizeof *list);
    list[k] = x;
}

static sy_status top_tokens(const making *m, int l, sy_layer_stats *s, sy_err *err)
{
    size_t cols = (size_t)m->out->E + (size_t)m->out->Z, most = (size_t)m->o->top_tokens;
    sy_mark mark = sy_arena_mark(m->to);
    uint32_t *table = sy__tabulate(&m->a->trace, l, m->label[SY_BY_ID], m->groups[SY_BY_ID], m->to);
    if (!table) return no_memory(m, err);
    for (int g = 0; g < m->groups[SY_BY_ID]; g++)
        for (size_t e = 0; e < cols; e++) {
            int64_t n = table[(size_t)g * cols + e];
            if (n) offer(s->top + e * most, (int)most, (sy_top){ m->id[g], n });
        }
    sy_arena_release(m->to, mark);
    return SY_OK;
}

/* --- all of it -------------------------------------------------------------------------------------------------------------- */

static sy_status layer(const making *m, int l, sy_err *err)
{
    sy_layer_stats *s = &m->out->layer[l];
    size_t E = (size_t)m->out->E, cols = E + (size_t)m->out->Z, D = (size_t)m->out->domains, B = (size_t)m->o->buckets;
    s->load = sy_arena_array(m->to, cols, sizeof *s->load);
    s->by_domain = sy_arena_array(m->to, D * cols, sizeof *s->by_domain);
    s->by_position = sy_arena_array(m->to, B * cols, sizeof *s->by_position);
    s->router_entropy_of = sy_arena_array(m->to, D, sizeof *s->router_entropy_of);
    s->drop = sy_arena_array(m->to, D * B, sizeof *s->drop);
    s->total = sy_arena_array(m->to, D * B, sizeof *s->total);
    s->drop_chance = sy_arena_array(m->to, B, sizeof *s->drop_chance);
    s->total_chance = sy_arena_array(m->to, B, sizeof *s->total_chance);
    s->co = sy_arena_array(m->to, E * E, sizeof *s->co);
    s->pair = sy_arena_array(m->to, (size_t)m->o->top_pairs, sizeof *s->pair);
    s->top = sy_arena_array(m->to, cols * (size_t)m->o->top_tokens, sizeof *s->top);
    if (m->to->failed) return no_memory(m, err);
    counts(m, l, s);
    router_entropy(m, l, s);
    SY_TRY(repeats(m, l, s, err));
    SY_TRY(drops(m, l, m->as_is, false, s->drop, s->total, err));
    SY_TRY(drops(m, l, m->mixed, true, s->drop_chance, s->total_chance, err));
    SY_TRY(pairs(m, l, s, err));
    return top_tokens(m, l, s, err);
}

static int by_value(const void *a, const void *b) { return *(const int32_t *)a < *(const int32_t *)b ? -1 : *(const int32_t *)a > *(const int32_t *)b; }

/* Labels of ids: their place among the different ids, ascending. */
static sy_status label_ids(making *m, int32_t *label, sy_err *err)
{
    const sy_trace *t = &m->a->trace;
    const sy_trace_token *k = sy_trace_tokens(t);
    size_t n = 0;
    m->id = sy_arena_array(m->to, t->n, sizeof *m->id);
    if (!m->id) return no_memory(m, err);
    for (size_t i = 0; i < t->n; i++) m->id[i] = k[i].id;
    qsort(m->id, t->n, sizeof *m->id, by_value);
    for (size_t i = 0; i < t->n; i++) if (!i || m->id[i] != m->id[i - 1]) m->id[n++] = m->id[i];
    for (size_t i = 0; i < t->n; i++) label[i] = (int32_t)((const int32_t *)bsearch(&k[i].id, m->id, n, sizeof *m->id, by_value) - m->id);
    m->groups[SY_BY_ID] = (int)n;
    m->out->ids = (int64_t)n;
    return SY_OK;
}

static sy_status labels(making *m, sy_err *err)
{
    const sy_trace *t = &m->a->trace;
    const sy_trace_token *k = sy_trace_tokens(t);
    sy_analysis_result *r = m->out;
    int32_t *label[SY_GROUPINGS];
    size_t from = 0;
    for (int g = 0; g < SY_GROUPINGS; g++)
        if (!(m->label[g] = label[g] = sy_arena_array(m->to, t->n, sizeof **label))) return no_memory(m, err);
    for (size_t i = 0; i < t->n; i++) {
        if (i && k[i].doc != k[i - 1].doc) from = i;
        if (i == from) r->docs++, r->docs_of[k[i].domain]++;
        if (i == from) for (size_t end = i; ; end++) if (end == t->n || k[end].doc != k[i].doc) { r->short_docs += end - i < (size_t)m->o->buckets; break; }
        if (k[i].pos >= r->longest) r->longest = k[i].pos + 1;
        r->tokens_of[k[i].domain]++;
        label[SY_BY_DOMAIN][i] = k[i].domain;
    }
    for (size_t i = 0; i < t->n; i++) label[SY_BY_POSITION][i] = (int32_t)((int64_t)k[i].pos * m->o->buckets / r->longest);
    m->groups[SY_BY_POSITION] = m->o->buckets;
    m->groups[SY_BY_DOMAIN] = r->domains;
    return label_ids(m, label[SY_BY_ID], err);
}

/* Tables grow with experts, domains and ids, and a file may claim 65,534 of each: what this machine has not got is refused before it is touched. */
static sy_status fits(const making *m, sy_err *err)
{
    double E = m->a->trace.E, cols = E + m->a->trace.Z, D = m->out->domains, B = m->o->buckets, most = fmax(m->groups[SY_BY_ID], fmax(D, B)), left = sy_memory_left();
    double bytes = (double)m->a->trace.layers * 8 * (E * E + cols * (D + B + 1 + 2 * m->o->top_tokens) + 2 * D * B) + 8 * cols * most + 32 * E * E / 2 + 64 * (double)m->a->trace.n;
    if (bytes <= left) return SY_OK;
    return sy_fail(err, SY_ENOMEM, "%d layers of %g experts over %g ids and %g domains need %.3g GB to be counted; this machine has %.3g GB left", m->a->trace.layers, cols, (double)m->groups[SY_BY_ID], D, bytes / 1e9, left / 1e9);
}

static sy_status orders(making *m, sy_err *err)
{
    size_t n = m->a->trace.n;
    int32_t *as_is = sy_arena_array(m->to, n, sizeof *as_is), *mixed = sy_arena_array(m->to, n, sizeof *mixed);
    if (!as_is || !mixed) return no_memory(m, err);
    for (size_t i = 0; i < n; i++) as_is[i] = mixed[i] = (int32_t)i;
    sy__shuffle(mixed, n, sy_key((uint64_t)m->o->seed, SY_FOR_SHUFFLE, SY_GROUPINGS, 0, 0), 0);
    m->as_is = as_is, m->mixed = mixed;
    return SY_OK;
}

static sy_status numbers(making *m, sy_err *err)
{
    int *number = sy_arena_array(m->to, (size_t)m->out->layers + 1, sizeof *number);
    const char *text = m->a->trace.numbers;
    char *end;
    if (!number) return no_memory(m, err);
    for (int l = 0; l < m->out->layers; l++, text = end) number[l] = (int)strtol(text, &end, 10);
    m->out->number = number;
    return SY_OK;
}

sy_status sy_analysis_make(const sy_analysis *a, const sy_analysis_options *o, bool (*stop)(void *), void *arg, sy_arena *to, sy_analysis_result *out, sy_err *err)
{
    const sy_trace *t = &a->trace;
    making m = { .a = a, .o = o, .out = out, .to = to };
    if (!t->n) return sy_fail(err, SY_EARG, "there are no tokens to analyse");
    *out = (sy_analysis_result){ .layers = t->layers, .E = t->E, .Z = t->Z, .domains = a->domains, .options = *o, .domain = (const char *const *)a->domain, .tokens = (int64_t)t->n };
    out->tokens_of = sy_arena_array(to, (size_t)a->domains, sizeof *out->tokens_of);
    out->docs_of = sy_arena_array(to, (size_t)a->domains, sizeof *out->docs_of);
    out->layer = sy_arena_array(to, (size_t)t->layers + 1, sizeof *out->layer);
    if (to->failed) return no_memory(&m, err);
    SY_TRY(numbers(&m, err));
    SY_TRY(labels(&m, err));
    SY_TRY(fits(&m, err));
    SY_TRY(orders(&m, err));
    for (int l = 0; l < t->layers; l++) {
        SY_TRY(layer(&m, l, err));
        if (stop && stop(arg)) return sy_fail(err, SY_ESTOP, "stopped after %d of %d layers", l + 1, t->layers);
    }
    for (int g = 0; g < SY_GROUPINGS; g++) {
        sy__grouping_job job = { .t = t, .label = m.label[g], .groups = m.groups[g], .min_count = o->min_count, .shuffles = o->shuffles, .whole_docs = g == SY_BY_DOMAIN,
                                 .key = sy_key((uint64_t)o->seed, SY_FOR_SHUFFLE, (uint64_t)g, 0, 0), .stop = stop, .arg = arg };
        sy_mark mark = sy_arena_mark(to);
        sy_grouping *by = sy_arena_array(to, (size_t)t->layers + 1, sizeof *by);
        if (!by) return no_memory(&m, err);
        SY_TRY(sy__group(&job, by, to, err));
        for (int l = 0; l < t->layers; l++) out->layer[l].by[g] = by[l];
        sy_arena_release(to, mark);
    }
    for (int l = 0; l < t->layers; l++) {
        double info = out->layer[l].by[SY_BY_DOMAIN].info;
        out->layer[l].specialisation = out->domains > 1 && isfinite(info) ? info / log(out->domains) : 0;
    }
    return SY_OK;
}

/* --- two traces ------------------------------------------------------------------------------------------------------------- */

static double least_shares(const double *a, const double *b, int cols)
{
    double sum[2] = { 0 }, both = 0;
    for (int e = 0; e < cols; e++) sum[0] += a[e], sum[1] += b[e];
    for (int e = 0; e < cols && sum[0] > 0 && sum[1] > 0; e++) both += fmin(a[e] / sum[0], b[e] / sum[1]);
    return both;
}

static void first_experts(const sy_trace *a, const sy_trace *b, int l, double *qa, double *qb, sy_overlap *out)
{
    const int32_t *ca = ints(&a->layer[l].count), *cb = ints(&b->layer[l].count), *ea = ints(&a->layer[l].expert), *eb = ints(&b->layer[l].expert);
    double n = 0, same = 0, chance = 0;
    for (size_t i = 0; i < a->n; ea += ca[i], eb += cb[i], i++) {
        if (!ca[i] || !cb[i]) continue;
        n++;
        same += *ea == *eb;
        qa[*ea]++, qb[*eb]++;
    }
    for (int e = 0; e < a->E + a->Z; e++) chance += n > 0 ? qa[e] / n * (qb[e] / n) : 0;
    out->same = n > 0 ? same / n : NAN;
    out->same_chance = n > 0 ? chance : NAN;
}

/* Shares of one frequent id, as counts in doubles. */
static void shares_of(const uint32_t *table, int group, int cols, double *out)
{
    for (int e = 0; e < cols; e++) out[e] = table[(size_t)group * (size_t)cols + (size_t)e];
}

static sy_status overlap_layer(const sy_trace *a, const sy_trace *b, int l, const making *m, int min_count, sy_overlap *out, sy_err *err)
{
    enum { OTHERS = 8 };
    int cols = a->E + a->Z, G = m->groups[SY_BY_ID], n = 0;
    uint32_t *ta = sy__tabulate(a, l, m->label[SY_BY_ID], G, m->to), *tb = sy__tabulate(b, l, m->label[SY_BY_ID], G, m->to);
    int64_t *size = sy_arena_array(m->to, (size_t)G, sizeof *size);
    int *frequent = sy_arena_array(m->to, (size_t)G, sizeof *frequent);
    double *row = sy_arena_array(m->to, 4 * (size_t)cols, sizeof *row), *other = row + cols, *q = row + 2 * cols, sum = 0, chance = 0, pairs = 0;
    if (!ta || !tb || !size || !frequent || !row) return no_memory(m, err);
    for (size_t i = 0; i < a->n; i++) size[m->label[SY_BY_ID][i]]++;
    for (int g = 0; g < G; g++) if (size[g] >= min_count) frequent[n++] = g;
    for (int i = 0; i < n; i++) {
        shares_of(ta, frequent[i], cols, row);
        for (int k = 0; k <= OTHERS && k < n; k++) {
            shares_of(tb, frequent[(i + k) % n], cols, other);
            double both = least_shares(row, other, cols);
            if (k) chance += both, pairs++;
            else sum += both;
        }
    }
    *out = (sy_overlap){ .frequent = n, .overlap = n ? sum / n : NAN, .overlap_chance = pairs > 0 ? chance / pairs : NAN };
    first_experts(a, b, l, q, q + cols, out);
    return SY_OK;
}

sy_status sy_analysis_overlap(const sy_trace *a, const sy_trace *b, int min_count, sy_overlap *out, sy_err *err)
{
    sy_arena work = { 0 };
    sy_analysis of = { .trace = *a };
    sy_analysis_result r = { .tokens = (int64_t)a->n };
    sy_analysis_options o = { .min_count = min_count };
    making m = { .a = &of, .o = &o, .out = &r, .to = &work };
    if (a->layers != b->layers || a->E != b->E || a->Z != b->Z) return sy_fail(err, SY_ESHAPE, "%d layers of %d experts against %d of %d cannot be compared", a->layers, a->E + a->Z, b->layers, b->E + b->Z);
    bool same = a->n == b->n;
    for (size_t i = 0; same && i < a->n; i++) same = sy_trace_tokens(a)[i].id == sy_trace_tokens(b)[i].id;
    if (!same) return sy_fail(err, SY_ESHAPE, "the two saw different tokens; experts are compared token by token");
    int32_t *label = sy_arena_array(&work, a->n + 1, sizeof *label);
    sy_status st = label ? SY_OK : no_memory(&m, err);
    m.label[SY_BY_ID] = label;
    if (st == SY_OK) st = label_ids(&m, label, err);
    if (st == SY_OK) st = fits(&m, err);
    for (int l = 0; l < a->layers && st == SY_OK; l++) {
        sy_mark mark = sy_arena_mark(&work);
        st = overlap_layer(a, b, l, &m, min_count, &out[l], err);
        sy_arena_release(&work, mark);
    }
    sy_arena_free(&work);
    return st;
}
