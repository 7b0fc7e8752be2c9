/* infer/languages.c - parallel sentences through a model. The reference's distributions are kept, those of the others are compared as they come. */
#include "infer/languages.h"

#include <math.h>
#include <string.h>

#include "core/file.h"

enum { BATCH = 4096 };                  /* tokens at once */

/* --- sentences -------------------------------------------------------------------------------------------------------------- */

typedef struct text { const char *name, *path; char *bytes; size_t n; int lines; } text;

static int lines_of(const char *bytes, size_t n)
{
    int lines = 0;
    for (size_t i = 0; i < n; i++) lines += bytes[i] == '\n';
    return lines + (n && bytes[n - 1] != '\n');
}

static sy_status open_text(text *x, const char *spec, sy_arena *a, sy_err *err)
{
    sy_buf b = { 0 };
    const char *eq = strchr(spec, '=');
    if (!eq || eq == spec || !eq[1]) return sy_fail(err, SY_EARG, "'%s' is no language: write NAME=FILE, as in de=german.txt", spec);
    x->name = sy_arena_printf(a, "%.*s", (int)(eq - spec), spec);
    x->path = sy_arena_strdup(a, eq + 1);
    if (!x->name || !x->path) return sy_fail(err, SY_ENOMEM, "no memory for the name of a language");
    if (strpbrk(x->name, " \t\n")) return sy_fail(err, SY_EARG, "the language '%s' has a blank in its name", x->name);
    if (sy_is_dir(x->path)) return sy_fail(err, SY_EARG, "%s is a folder; a language is a text file, a sentence a line", x->path);
    sy_status st = sy_file_read(x->path, (size_t)1 << 30, &b, err);
    if (st == SY_OK && !(x->bytes = sy_arena_alloc(a, b.n + 1))) st = sy_fail(err, SY_ENOMEM, "no memory for %s", x->path);
    if (st == SY_OK && b.n) memcpy(x->bytes, b.data, b.n);
    x->n = b.n;
    x->lines = st == SY_OK ? lines_of(b.data, b.n) : 0;
    sy_buf_free(&b);
    return st;
}

static sy_status open_texts(text *x, const char *const *spec, int n, sy_arena *a, sy_err *err)
{
    if (n < 2) return sy_fail(err, SY_EARG, "languages are compared with the first: give at least two, --parallel en=FILE --parallel de=FILE");
    for (int g = 0; g < n; g++) {
        SY_TRY(open_text(&x[g], spec[g], a, err));
        for (int k = 0; k < g; k++) if (!strcmp(x[k].name, x[g].name)) return sy_fail(err, SY_EARG, "the language %s is given twice", x[g].name);
        if (x[g].lines != x[0].lines) return sy_fail(err, SY_EFORMAT, "%s has %d lines, %s %d; sentences are compared line by line", x[0].path, x[0].lines, x[g].path, x[g].lines);
    }
    return SY_OK;
}

/* The next line without its ends; *at moves behind it. */
static const char *next_line(const text *x, size_t *at, size_t *n)
{
    const char *line = x->bytes + *at, *end = memchr(line, '\n', x->n - *at);
    *n = end ? (size_t)(end - line) : x->n - *at;
    *at += *n + (end != NULL);
    if (*n && line[*n - 1] == '\r') --*n;
    return line;
}

sy_status sy_parallel_read(sy_parallel *p, const char *const *spec, int n, const sy_tokenizer *tok, int positions, int most, sy_arena *a, sy_err *err)
{
    size_t before, L = (size_t)n;
    const int32_t *first = sy_tokenizer_before(tok, &before);
    text *x = sy_arena_array(a, L + 1, sizeof *x);
    size_t *at = sy_arena_array(a, L + 1, sizeof *at);
    if (!x || !at) return sy_fail(err, SY_ENOMEM, "no memory for %d languages", n);
    SY_TRY(open_texts(x, spec, n, a, err));
    size_t lines = (size_t)x[0].lines;
    sy_parallel q = { .languages = n, .before = (int)before };
    q.name = sy_arena_array(a, L, sizeof *q.name);
    q.id = sy_arena_array(a, L * lines + 1, sizeof *q.id);
    q.n = sy_arena_array(a, L * lines + 1, sizeof *q.n);
    int **id = sy_arena_array(a, L, sizeof *id), *count = sy_arena_array(a, L, sizeof *count);
    if (a->failed) return sy_fail(err, SY_ENOMEM, "no memory for %zu sentences", lines);
    for (size_t s = 0; s < lines && (!most || q.sentences < most); s++) {
        bool empty = false, too_long = false;
        for (int g = 0; g < n; g++) {
            size_t bytes, ids;
            const char *line = next_line(&x[g], &at[g], &bytes);
            if (!(id[g] = sy_arena_array(a, before + sy_tokenizer_most(tok, bytes) + 1, sizeof **id))) return sy_fail(err, SY_ENOMEM, "no memory for %zu sentences", lines);
            if (before) memcpy(id[g], first, before * sizeof **id);
            sy_status st = sy_tokenizer_encode(tok, line, bytes, id[g] + before, &ids, err);
            if (st != SY_OK) return sy_within(err, st, "%s, line %zu", x[g].path, s + 1);
            count[g] = (int)(before + ids);
            empty = empty || !ids;
            too_long = too_long || before + ids > (size_t)positions;
        }
        q.empty += empty;
        q.too_long += !empty && too_long;
        if (empty || too_long) continue;
        for (size_t g = 0; g < L; g++) q.id[g * lines + (size_t)q.sentences] = id[g], q.n[g * lines + (size_t)q.sentences] = count[g];
        q.sentences++;
    }
    if (q.sentences < 2) return sy_fail(err, SY_EFORMAT, "%d of %zu sentences can be used: %d without text in some language, %d over the model's %d positions", q.sentences, lines, q.empty, q.too_long, positions);
    for (size_t g = 0; g < L; g++) {                     /* close the gaps */
        q.name[g] = x[g].name;
        memmove(q.id + g * (size_t)q.sentences, q.id + g * lines, (size_t)q.sentences * sizeof *q.id);
        memmove(q.n + g * (size_t)q.sentences, q.n + g * lines, (size_t)q.sentences * sizeof *q.n);
    }
    *p = q;
    return SY_OK;
}

/* --- measures --------------------------------------------------------------------------------------------------------------- */

static double nlogn(double p) { return p > 0 ? p * log(p) : 0; }

double sy_jensen_shannon(const double *a, const double *b, int n, double *ha, double *hb)
{
    double both = 0;
    *ha = *hb = 0;
    for (int i = 0; i < n; i++) {
        *ha -= nlogn(a[i]);
        *hb -= nlogn(b[i]);
        both -= nlogn((a[i] + b[i]) / 2);
    }
    double js = both - (*ha + *hb) / 2;
    return js > 0 ? js : 0;
}

static double rank(const double *x, int n, int i)
{
    double below = 0, same = 0;
    for (int k = 0; k < n; k++) below += x[k] < x[i], same += x[k] == x[i];
    return below + (same + 1) / 2;
}

double sy_spearman(const double *a, const double *b, int n)
{
    double mean = (n + 1) / 2.0, ab = 0, aa = 0, bb = 0;
    for (int i = 0; i < n; i++) {
        double x = rank(a, n, i) - mean, y = rank(b, n, i) - mean;
        ab += x * y, aa += x * x, bb += y * y;
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : NAN;
}

/* JS over the geometric mean of the entropies; 0 for equal distributions, of entropy 0 too. */
static double normalised(const double *a, const double *b, int n)
{
    double ha, hb, js = sy_jensen_shannon(a, b, n, &ha, &hb);
    return js > 0 ? js / sqrt(ha * hb) : 0;
}

/* --- the run ---------------------------------------------------------------------------------------------------------------- */

typedef struct running {
    sy_model *m;
    const sy_parallel *p;
    const sy_languages_options *o;
    sy_analysis *a;
    sy_languages *out;
    double *ref;                        /* [layers][sentences][cols] pbar of the reference */
    double *mean;                       /* [cols] of the sentence at hand */
    double *sum, *squares, *shifted;    /* [layers] of D, D^2 and D with the next sentence, of the language at hand */
    int64_t tokens;                     /* of the language at hand */
} running;

static double *ref_of(const running *r, int l, int s) { return r->ref + ((size_t)l * (size_t)r->p->sentences + (size_t)s) * (size_t)r->out->cols; }

/* Sentence s of language g stands in rows row0 .. row0+n-1. */
static void take(running *r, sy_route *const *routes, int g, int s, int row0, int n)
{
    sy_languages *out = r->out;
    int cols = out->cols;
    for (int l = 0; l < out->layers; l++) {
        const sy_route *route = routes[l];
        double all = 0, *share = out->share + ((size_t)l * (size_t)out->languages + (size_t)g) * (size_t)cols;
        memset(r->mean, 0, (size_t)cols * sizeof *r->mean);
        for (int i = row0; i < row0 + n; i++) {
            for (int e = 0; e < cols; e++) r->mean[e] += (double)route->probs->x[(size_t)i * (size_t)cols + (size_t)e];
            for (int k = route->first_slot[i]; k < route->first_slot[i + 1]; k++) if (route->expert[k] >= 0) share[route->expert[k]]++;
        }
        for (int e = 0; e < cols; e++) all += r->mean[e];
        for (int e = 0; e < cols && all > 0; e++) r->mean[e] /= all;
        if (!g) memcpy(ref_of(r, l, s), r->mean, (size_t)cols * sizeof *r->mean);
        double d = normalised(ref_of(r, l, s), r->mean, cols);
        r->sum[l] += d;
        r->squares[l] += d * d;
        if (s) r->shifted[l] += normalised(ref_of(r, l, s - 1), r->mean, cols);
    }
    r->tokens += n;
}

/* As many sentences as fit from number `from` on, as one batch; how many comes back through *n. */
static sy_status fill(const running *r, sy_tape *t, int g, int from, sy_batch *b, int *n, sy_err *err)
{
    const sy_parallel *p = r->p;
    int *const *id = p->id + (size_t)g * (size_t)p->sentences;
    const int *count = p->n + (size_t)g * (size_t)p->sentences;
    size_t T = 0;
    int k = 0;
    for (; from + k < p->sentences && (!k || T + (size_t)count[from + k] <= BATCH); k++) T += (size_t)count[from + k];
    int *all = sy_tape_alloc(t, 4 * T, sizeof *all), *label = all + T, *pos = all + 2 * T, *seq = all + 3 * T, row = 0;
    sy_segment *seg = sy_tape_alloc(t, (size_t)k, sizeof *seg);
    uint64_t *no = sy_tape_alloc(t, (size_t)k, sizeof *no);
    SY_TRY(sy_tape_status(t, err));
    for (int s = 0; s < k; s++) {
        seg[s] = (sy_segment){ .row = row, .n = count[from + s] };
        no[s] = (uint64_t)(from + s);
        for (int i = 0; i < seg[s].n; i++, row++) {
            all[row] = id[from + s][i];
            label[row] = i + 1 < seg[s].n && i + 1 >= p->before ? id[from + s][i + 1] : -1;
            pos[row] = i;
            seq[row] = s;
        }
    }
    *b = (sy_batch){ .T = (int)T, .n_seg = k, .id = all, .label = label, .pos = pos, .seq = seq, .seg = seg, .seq_no = no };
    *n = k;
    return SY_OK;
}

static sy_status batch(running *r, sy_tape *t, int g, int from, int *n, sy_err *err)
{
    sy_batch b;
    sy_tape_reset(t);
    SY_TRY(fill(r, t, g, from, &b, n, err));
    sy_route **routes = sy_tape_alloc(t, (size_t)r->m->n_sparse + 1, sizeof *routes);
    sy_real *nll = sy_tape_alloc(t, (size_t)b.T, sizeof *nll);
    if (!routes || !nll) return sy_tape_status(t, err);
    sy_run run = { .mode = SY_SERVE, .routes = routes };
    sy_model_loss(r->m, t, sy_model_hidden(r->m, t, &b, &run), b.label, &(sy_xent){ .scale = 1, .nll = nll });
    SY_TRY(sy_tape_status(t, err));
    for (int l = 0; l < r->out->layers; l++)
        if (!routes[l] || !routes[l]->probs) return sy_fail(err, SY_EUNSUP, "the router of layer %d has no probabilities, so languages cannot be compared by them", sy_model_block(r->m, l)->site.layer);
    for (int i = 0; i < b.T; i++) if (b.label[i] >= 0) r->out->nats[g] += (double)nll[i] / r->p->sentences;
    for (int s = 0; s < *n; s++) {
        int row0 = b.seg[s].row + r->p->before, count = b.seg[s].n - r->p->before;
        take(r, routes, g, from + s, row0, count);
        if (r->a) SY_TRY(sy_analysis_add(r->a, routes, row0, b.id + row0, count, r->p->before, g * r->p->sentences + from + s, g, err));
    }
    return SY_OK;
}

static sy_status language(running *r, sy_tape *t, int g, sy_err *err)
{
    sy_languages *out = r->out;
    double N = out->sentences;
    r->tokens = 0;
    memset(r->sum, 0, 3 * (size_t)out->layers * sizeof *r->sum);
    for (int from = 0, n; from < r->p->sentences; from += n) {
        SY_TRY(batch(r, t, g, from, &n, err));
        if (r->o->seen && !r->o->seen(r->o->arg, g * N + from + n, N * out->languages)) return sy_fail(err, SY_ESTOP, "stopped while %s was read", r->p->name[g]);
    }
    for (int l = 0; l < out->layers; l++) {
        size_t at = (size_t)l * (size_t)out->languages + (size_t)g;
        double mean = r->sum[l] / N, variance = (r->squares[l] / N - mean * mean) * N / (N - 1);
        out->d[at] = mean;
        out->d_error[at] = sqrt(variance > 0 ? variance / N : 0);
        out->other[at] = r->shifted[l] / (N - 1);
        for (int e = 0; e < out->cols; e++) out->share[at * (size_t)out->cols + (size_t)e] /= (double)r->tokens;
    }
    return SY_OK;
}

/* Experts that the other languages use more, by tau; and the middle layers against what sentences cost. */
static void compare(const running *r)
{
    sy_languages *out = r->out;
    int L = out->layers, G = out->languages, from = L / 3, to = L - L / 3;
    double d[64] = { 0 };
    for (int l = 0; l < L; l++)
        for (int e = 0; e < out->cols; e++) {
            const double *share = out->share + (size_t)l * (size_t)G * (size_t)out->cols + (size_t)e;
            double others = 0;
            for (int g = 1; g < G; g++) others += share[(size_t)g * (size_t)out->cols] / (G - 1);
            out->specific[l] += others - *share > r->o->tau;
        }
    out->middle = NAN;
    if (G - 1 < 4 || G > 64) return;
    for (int g = 1; g < G; g++) for (int l = from; l < to; l++) d[g] += out->d[(size_t)l * (size_t)G + (size_t)g];
    out->middle = sy_spearman(d + 1, out->nats + 1, G - 1);
}

sy_status sy_languages_run(sy_model *m, const sy_parallel *p, const sy_languages_options *o, sy_analysis *a, sy_arena *to, sy_languages *out, sy_err *err)
{
    if (!m->n_sparse) return sy_fail(err, SY_EUNSUP, "this model is dense: its tokens choose no experts");
    size_t L = (size_t)m->n_sparse, G = (size_t)p->languages, C = (size_t)m->spec.num_experts + (size_t)m->spec.zero_experts;
    sy_arena work = { 0 };
    sy_tape t;
    *out = (sy_languages){ .languages = p->languages, .layers = m->n_sparse, .cols = (int)C, .sentences = p->sentences };
    out->d = sy_arena_array(to, L * G, sizeof *out->d);
    out->d_error = sy_arena_array(to, L * G, sizeof *out->d_error);
    out->other = sy_arena_array(to, L * G, sizeof *out->other);
    out->share = sy_arena_array(to, L * G * C, sizeof *out->share);
    out->specific = sy_arena_array(to, L, sizeof *out->specific);
    out->nats = sy_arena_array(to, G, sizeof *out->nats);
    running r = { .m = m, .p = p, .o = o, .a = a, .out = out, .ref = sy_arena_array(&work, L * (size_t)p->sentences * C, sizeof *r.ref), .mean = sy_arena_array(&work, C, sizeof *r.mean),
                  .sum = sy_arena_array(&work, 3 * L, sizeof *r.sum) };
    sy_status st = to->failed || work.failed ? sy_fail(err, SY_ENOMEM, "no memory for %d sentences in %zu layers of %zu experts", p->sentences, L, C) : SY_OK;
    if (st == SY_OK) r.squares = r.sum + L, r.shifted = r.sum + 2 * L;
    sy_tape_init(&t, m->eng, false);
    for (int g = 0; g < p->languages && st == SY_OK; g++) st = language(&r, &t, g, err);
    sy_tape_free(&t);
    sy_arena_free(&work);
    if (st == SY_OK) compare(&r);
    return st;
}

/* --- JSON ------------------------------------------------------------------------------------------------------------------- */

static void reals(sy_json *j, const char *key, const double *v, int rows, int cols)
{
    sy_json_key(j, key), sy_json_begin(j, '[');
    for (int l = 0; l < rows; l++) {
        sy_json_begin(j, '[');
        for (int g = 0; g < cols; g++) sy_json_real(j, v[(size_t)l * (size_t)cols + (size_t)g]);
        sy_json_end(j, ']');
    }
    sy_json_end(j, ']');
}

void sy_languages_json(sy_json *j, const sy_languages *x, const sy_parallel *p)
{
    sy_json_key(j, "names"), sy_json_begin(j, '[');
    for (int g = 0; g < x->languages; g++) sy_json_text(j, p->name[g]);
    sy_json_end(j, ']');
    sy_json_key(j, "sentences"), sy_json_int(j, x->sentences);
    sy_json_key(j, "empty"), sy_json_int(j, p->empty);
    sy_json_key(j, "too_long"), sy_json_int(j, p->too_long);
    reals(j, "divergence", x->d, x->layers, x->languages);
    reals(j, "error", x->d_error, x->layers, x->languages);
    reals(j, "other_sentence", x->other, x->layers, x->languages);
    sy_json_key(j, "specific"), sy_json_begin(j, '[');
    for (int l = 0; l < x->layers; l++) sy_json_int(j, x->specific[l]);
    sy_json_end(j, ']');
    sy_json_key(j, "nats_per_sentence"), sy_json_begin(j, '[');
    for (int g = 0; g < x->languages; g++) sy_json_real(j, x->nats[g]);
    sy_json_end(j, ']');
    sy_json_key(j, "spearman_middle"), sy_json_real(j, x->middle);
}
