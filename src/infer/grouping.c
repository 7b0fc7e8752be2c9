/* infer/grouping.c - information and spread of groups, counted once and with shuffled labels. */
#include "infer/grouping.h"

#include <math.h>
#include <string.h>

double sy__xlnx(int64_t x)
{
    return x > 1 ? (double)x * log((double)x) : 0;
}

static void tabulate(const sy_trace *t, int l, const int32_t *label, uint32_t *table)
{
    size_t cols = (size_t)t->E + (size_t)t->Z;
    const int32_t *count = (const int32_t *)t->layer[l].count.data, *e = (const int32_t *)t->layer[l].expert.data;
    for (size_t i = 0; i < t->n; i++) {
        uint32_t *row = table + (size_t)label[i] * cols;
        for (int k = 0; k < count[i]; k++) row[*e++]++;
    }
}

uint32_t *sy__tabulate(const sy_trace *t, int l, const int32_t *label, int groups, sy_arena *a)
{
    uint32_t *table = sy_arena_array(a, (size_t)groups * ((size_t)t->E + (size_t)t->Z), sizeof *table);
    if (table) tabulate(t, l, label, table);
    return table;
}

typedef struct measure { double info, spread; int64_t groups, frequent; } measure;

/* I(e;g) = (sum c ln c - sum c_g ln c_g - sum c_e ln c_e) / N + ln N, and the mean spread of groups with min_count tokens. */
static measure measure_of(const uint32_t *table, const int64_t *size, const sy__grouping_job *j, int64_t *by_expert)
{
    size_t cols = (size_t)j->t->E + (size_t)j->t->Z;
    int64_t all = 0;
    double cells = 0, rows = 0, columns = 0;
    measure m = { 0 };
    memset(by_expert, 0, cols * sizeof *by_expert);
    for (int g = 0; g < j->groups; g++) {
        const uint32_t *c = table + (size_t)g * cols;
        int64_t row = 0;
        double squares = 0;
        for (size_t e = 0; e < cols; e++) {
            if (!c[e]) continue;
            row += c[e];
            by_expert[e] += c[e];
            cells += sy__xlnx(c[e]);
            squares += (double)c[e] * (double)c[e];
        }
        all += row;
        rows += sy__xlnx(row);
        m.groups += row > 0;
        if (size[g] < j->min_count || !row) continue;
        double variance = squares / ((double)row * (double)row) / (double)cols - 1 / (double)cols / (double)cols;
        m.frequent++;
        m.spread += sqrt(variance > 0 ? variance : 0);
    }
    for (size_t e = 0; e < cols; e++) columns += sy__xlnx(by_expert[e]);
    m.info = all ? (cells - rows - columns) / (double)all + log((double)all) : 0;
    if (m.info < 0) m.info = 0;                          /* rounding */
    m.spread = m.frequent ? m.spread / (double)m.frequent : NAN;
    return m;
}

void sy__shuffle(int32_t *x, size_t n, uint64_t key, unsigned turn)
{
    for (size_t i = n; i > 1; i--) {
        size_t k = (size_t)sy_draw_below(key, i, turn, i);
        int32_t y = x[i - 1];
        x[i - 1] = x[k];
        x[k] = y;
    }
}

/* A permutation of the labels; of whole documents, each of which has one. */
static void shuffle(const sy__grouping_job *j, int turn, const size_t *doc, size_t docs, int32_t *of_doc, int32_t *label)
{
    const sy_trace *t = j->t;
    size_t n = j->whole_docs ? docs : t->n;
    int32_t *x = j->whole_docs ? of_doc : label;
    for (size_t i = 0; i < n; i++) x[i] = j->label[j->whole_docs ? doc[i] : i];
    sy__shuffle(x, n, j->key, (unsigned)turn);
    for (size_t d = 0; d < docs && j->whole_docs; d++)
        for (size_t i = doc[d]; i < doc[d + 1]; i++) label[i] = of_doc[d];
}

/* First tokens of the documents, and n at the end. */
static size_t documents(const sy_trace *t, size_t *doc)
{
    const sy_trace_token *k = sy_trace_tokens(t);
    size_t docs = 0;
    for (size_t i = 0; i < t->n; i++) if (!i || k[i].doc != k[i - 1].doc) doc[docs++] = i;
    doc[docs] = t->n;
    return docs;
}

sy_status sy__group(const sy__grouping_job *j, sy_grouping *out, sy_arena *work, sy_err *err)
{
    const sy_trace *t = j->t;
    size_t cells = (size_t)j->groups * ((size_t)t->E + (size_t)t->Z);
    uint32_t *table = sy_arena_array(work, cells, sizeof *table);
    int64_t *size = sy_arena_array(work, (size_t)j->groups, sizeof *size), *by_expert = sy_arena_array(work, (size_t)t->E + (size_t)t->Z, sizeof *by_expert);
    int32_t *label = sy_arena_array(work, t->n + 1, sizeof *label), *of_doc = sy_arena_array(work, t->n + 1, sizeof *of_doc);
    size_t *doc = sy_arena_array(work, t->n + 1, sizeof *doc);
    double *squares = sy_arena_array(work, (size_t)t->layers + 1, sizeof *squares);
    if (!table || !size || !by_expert || !label || !of_doc || !doc || !squares) return sy_fail(err, SY_ENOMEM, "no memory for %d groups of %zu tokens", j->groups, t->n);
    size_t docs = documents(t, doc);
    for (int turn = 0; turn <= j->shuffles; turn++) {                   /* turn 0: as it is */
        if (turn) shuffle(j, turn, doc, docs, of_doc, label);
        else memcpy(label, j->label, t->n * sizeof *label);
        memset(size, 0, (size_t)j->groups * sizeof *size);
        for (size_t i = 0; i < t->n; i++) size[label[i]]++;
        for (int l = 0; l < t->layers; l++) {
            if (turn && out[l].groups < 2) continue;
            memset(table, 0, cells * sizeof *table);
            tabulate(t, l, label, table);
            measure m = measure_of(table, size, j, by_expert);
            if (!turn) { out[l] = (sy_grouping){ .groups = m.groups, .frequent = m.frequent, .info = m.info, .spread = m.spread }; continue; }
            out[l].noise += m.info / j->shuffles;
            squares[l] += m.info * m.info / j->shuffles;
            out[l].spread_noise += m.spread / j->shuffles;
        }
        if (j->stop && j->stop(j->arg)) return sy_fail(err, SY_ESTOP, "stopped while labels were shuffled");
    }
    for (int l = 0; l < t->layers; l++) {
        double variance = (squares[l] - out[l].noise * out[l].noise) * j->shuffles / (j->shuffles - 1);
        out[l].noise_sd = sqrt(variance > 0 ? variance : 0);
        if (out[l].groups < 2) out[l].info = out[l].noise = out[l].noise_sd = out[l].spread_noise = NAN;
    }
    return SY_OK;
}
