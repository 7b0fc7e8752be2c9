/* experiments/sums.c - the bed "sums": a small language model of additions, for methods that decide how a finished mixture is decoded.
 *
 * Text: rows of "a+b=c;" with a and b of one or two digits, 13 symbols; a share `rare` of the rows is in a second language, in which every digit d is written (7 d + 3) mod 10. Only c and ";" count in the
 * loss. Model: 2 sparse layers of width 48, 8 experts of width 48, 2 a token. The same training under every `decode`, so arms differ by decoding alone.
 *   measure=match   loss = share of additions that are not answered exactly, digit for digit, greedily; each behind `shots` solved ones
 *   measure=nats    loss = nats a token of a row's answers behind its first half, which the method has read as a prompt
 * Held out are additions that training never draws (a hash of a and b decides), in the language that `ask` names. */
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "experiments/bed.h"
#include "infer/generate.h"
#include "train/step.h"

enum { V = 13, PLUS = 10, EQUALS = 11, END = 12, ROW = 64 };
enum { MATCH, NATS };

typedef struct sums_options { int steps, batch_size, shots, measure, ask, asked; double rare, lr; const char *router, *balance, *decode; } sums_options;

static const sy_opt sums_opts[] = {
    SY_INT (sums_options, steps, NULL, 800, 1, 1 << 24, "optimiser steps"),
    SY_INT (sums_options, batch_size, NULL, 32, 1, 1 << 12, "rows of 64 tokens in a step"),
    SY_INT (sums_options, shots, NULL, 2, 0, 4, "solved additions before a question"),
    SY_ENUM_(sums_options, measure, NULL, MATCH, "match|nats", "what loss is"),
    SY_ENUM_(sums_options, ask, NULL, 0, "common|rare", "language of what is held out"),
    SY_INT (sums_options, asked, NULL, 0, 0, 1 << 20, "additions that are asked, or rows that are read; 0 = 300, or 60"),
    SY_REAL(sums_options, rare, NULL, 0, 0, 1, "share of training rows in the second language"),
    SY_REAL(sums_options, lr, NULL, 3e-3, 0, 10, "learning rate"),
    SY_TEXT(sums_options, router, NULL, "topk:top_k=2,norm_topk_prob=true", "router"),
    SY_TEXT(sums_options, balance, NULL, "switch:coef=0.01", "balance term"),
    SY_TEXT(sums_options, decode, NULL, "", "decoding method; empty: the model alone"),
    { 0 }
};

typedef struct bed { const sy_bed_context *c; sums_options o; sy_arena arena, rows; sy_stepper stepper; sy_optim optim; uint64_t seed; } bed;

/* --- text ------------------------------------------------------------------------------------------------------------------------- */

/* The n-th addition of a stream: from those that training has, or those that are held out (every fifth pair). */
static void addition(uint64_t seed, uint64_t stream, uint64_t n, bool held_out, int *a, int *b)
{
    uint64_t key = sy_key(seed, SY_FOR_DATA, 21, stream, n);
    for (uint64_t i = 0; ; i++) {
        *a = (int)sy_draw_below(key, i, 0, 100);
        *b = (int)sy_draw_below(key, i, 1, 100);
        if ((sy_draw_below(sy_key(5, SY_FOR_DATA, 22, (uint64_t)*a, (uint64_t)*b), 0, 0, 5) == 0) == held_out) return;
    }
}

static int put_number(int v, bool rare, int *id)
{
    int n = 0, digit[3];
    do digit[n++] = v % 10; while (v /= 10);
    for (int i = 0; i < n; i++) id[i] = rare ? (7 * digit[n - 1 - i] + 3) % 10 : digit[n - 1 - i];
    return n;
}

/* "a+b=c;" -> ids; *answer is the place of c. */
static int put_addition(int a, int b, bool rare, int *id, int *answer)
{
    int n = put_number(a, rare, id);
    id[n++] = PLUS;
    n += put_number(b, rare, id + n);
    id[n++] = EQUALS;
    *answer = n;
    n += put_number(a + b, rare, id + n);
    id[n++] = END;
    return n;
}

/* One row of additions; label [ROW] is the next id inside answers, else -1. Returns its length. */
static int put_row(uint64_t seed, uint64_t stream, uint64_t row, bool held_out, bool rare, int *id, int *label)
{
    int n = 0;
    for (uint64_t k = 0; ; k++) {
        int one[16], a, b, answer;
        addition(seed, stream, row * 32 + k, held_out, &a, &b);
        int len = put_addition(a, b, rare, one, &answer);
        if (n + len > ROW) return n;
        for (int i = 0; i < len; i++) {
            id[n + i] = one[i];
            label[n + i] = i + 1 < len && i + 1 >= answer ? one[i + 1] : -1;
        }
        n += len;
    }
}

/* --- training ------------------------------------------------------------------------------------------------------------------------ */

static sy_status open_model(bed *b, sy_err *err)
{
    sy_spec s;
    sy_spec_defaults(&s);
    s.vocab_size = V, s.hidden_size = 48, s.num_hidden_layers = 2, s.num_attention_heads = 4, s.num_key_value_heads = 4, s.num_experts = 8, s.moe_intermediate_size = 48;
    s.layers = "sparse", s.router = b->o.router, s.balance = b->o.balance, s.max_position_embeddings = ROW;
    SY_TRY(sy_model_new(&b->stepper.model, b->c->eng, &s, SY_MODEL_TRAIN, b->seed, err));
    sy_tape_init(&b->stepper.tape, b->c->eng, true);
    b->stepper.optim = &b->optim;
    b->stepper.seed = b->seed;
    b->stepper.steps = b->o.steps;
    return sy_stepper_learn(&b->stepper, err);
}

static sy_status one_step(bed *b, sy_err *err)
{
    int rows = b->o.batch_size, T = 0;
    sy_step_result r;
    sy_arena_reset(&b->rows);
    int *ints = sy_arena_array(&b->rows, (size_t)rows * ROW * 4, sizeof *ints), *id = ints, *label = ints + rows * ROW, *pos = label + rows * ROW, *seq = pos + rows * ROW;
    sy_segment *seg = sy_arena_array(&b->rows, (size_t)rows, sizeof *seg);
    uint64_t *no = sy_arena_array(&b->rows, (size_t)rows, sizeof *no);
    if (!ints || !seg || !no) return sy_fail(err, SY_ENOMEM, "no memory for a step of %d rows", rows);
    for (int i = 0; i < rows; i++) {
        uint64_t row = (uint64_t)b->stepper.step * (uint64_t)rows + (uint64_t)i;
        int n = put_row(b->seed, 1, row, false, sy_draw(sy_key(b->seed, SY_FOR_DATA, 23, row, 0), 0, 0) < b->o.rare, id + T, label + T);
        seg[i] = (sy_segment){ .row = T, .n = n };
        no[i] = row;
        for (int k = 0; k < n; k++) pos[T + k] = k, seq[T + k] = i;
        T += n;
    }
    sy_batch batch = { .T = T, .n_seg = rows, .id = id, .label = label, .pos = pos, .seq = seq, .seg = seg, .seq_no = no };
    return sy_stepper_batches(&b->stepper, &batch, 1, &r, err);
}

/* --- measuring: a copy of the model without gradients, as it would be loaded ------------------------------------------------------------ */

static sy_status finished(bed *b, sy_model **out, sy_err *err)
{
    sy_model *m, *from = b->stepper.model;
    SY_TRY(sy_model_new(&m, b->c->eng, &from->spec, SY_MODEL_EMPTY, b->seed, err));
    for (int i = 0; i < m->params.n; i++) memcpy(m->params.p[i]->w.data, from->params.p[i]->w.data, m->params.p[i]->n * sizeof(sy_real));
    *out = m;
    return SY_OK;
}

static int likeliest(const sy_real *z)
{
    int best = 0;
    for (int v = 1; v < V; v++) if (z[v] > z[best]) best = v;
    return best;
}

/* Behind `shots` solved additions, is the answer right? */
static sy_status ask(bed *b, sy_generator *g, uint64_t n, bool *right, sy_err *err)
{
    int id[6 * 16], len = 0, answer = 0, last = 0;
    for (int k = 0; k <= b->o.shots; k++) {
        int x, y;
        addition(b->seed, 2, n * 8 + (uint64_t)k, true, &x, &y);
        last = len;
        len += put_addition(x, y, b->o.ask == 1, id + len, &answer);
    }
    sy_generator_rewind(g, 0);
    SY_TRY(sy_generator_feed(g, id, last + answer, NULL, err));
    *right = true;
    for (int i = last + answer; i < len && *right; i++) {
        *right = likeliest(g->logits) == id[i];
        if (*right && i + 1 < len) SY_TRY(sy_generator_feed(g, &id[i], 1, NULL, err));
    }
    return SY_OK;
}

static double nats_of(const sy_real *z, int id)
{
    double most = -INFINITY, sum = 0;
    for (int v = 0; v < V; v++) most = fmax(most, (double)z[v]);
    for (int v = 0; v < V; v++) sum += exp((double)z[v] - most);
    return most + log(sum) - (double)z[id];
}

static sy_status read_row(bed *b, sy_generator *g, uint64_t n, double *nats, int64_t *tokens, sy_err *err)
{
    int id[ROW], label[ROW], len = put_row(b->seed, 3, n, true, b->o.ask == 1, id, label);
    sy_generator_rewind(g, 0);
    for (int at = 0; at < len; ) {
        int take = at ? 1 : len / 2;
        SY_TRY(sy_generator_feed(g, id + at, take, NULL, err));
        at += take;
        if (label[at - 1] < 0) continue;
        *nats += nats_of(g->logits, label[at - 1]);
        (*tokens)++;
    }
    return SY_OK;
}

static sy_status measure_with(bed *b, sy_generator *g, sy_trial_result *out, sy_err *err)
{
    int64_t wrong = 0, tokens = 0, n = b->o.asked ? b->o.asked : b->o.measure == MATCH ? 300 : 60;
    double nats = 0;
    bool right;
    if (*b->o.decode) SY_TRY(sy_generator_decode(g, b->o.decode, err));
    for (int64_t i = 0; i < n && b->o.measure == NATS; i++) SY_TRY(read_row(b, g, (uint64_t)i, &nats, &tokens, err));
    for (int64_t i = 0; i < n && b->o.measure == MATCH; i++) {
        SY_TRY(ask(b, g, (uint64_t)i, &right, err));
        wrong += !right;
    }
    sy_metric_add(out, "loss", b->o.measure == MATCH ? (double)wrong / (double)n : nats / (double)tokens);
    sy_metric_add(out, "decode_mmadds", (double)g->madds / 1e6 / (double)n);
    return SY_OK;
}

static sy_status measure(bed *b, sy_trial_result *out, sy_err *err)
{
    sy_model *m;
    sy_generator g;
    SY_TRY(finished(b, &m, err));
    sy_status st = sy_generator_open(&g, m, NULL, ROW, err);
    if (st == SY_OK) {
        st = measure_with(b, &g, out, err);
        sy_generator_close(&g);
    }
    sy_model_free(m);
    return st;
}

static sy_status run(bed *b, const sy_trial *trial, sy_trial_result *out, sy_err *err)
{
    SY_TRY(sy_bed_settings("sums", sums_opts, &b->o, trial->settings, &b->arena, err));
    b->o.steps = sy_budget_steps(trial, b->o.steps);
    sy_opt_defaults(sy_optim_opts, &b->optim);
    b->optim.lr = b->o.lr * trial->lr_scale, b->optim.warmup_steps = b->o.steps / 10, b->optim.beta2 = 0.99;
    SY_TRY(open_model(b, err));
    while (b->stepper.step < b->o.steps) {
        SY_TRY(sy_within(err, one_step(b, err), "bed sums"));
        if (b->c->stop && b->c->stop(b->c->arg)) return sy_fail(err, SY_ESTOP, "stopped");
    }
    return measure(b, out, err);
}

sy_status sy_bed_sums(const sy_bed_context *c, const sy_trial *trial, sy_trial_result *out, sy_err *err)
{
    bed *b = sy_calloc(1, sizeof *b);
    if (!b) return sy_fail(err, SY_ENOMEM, "no memory for bed sums");
    b->c = c;
    b->seed = trial->seed;
    sy_status st = run(b, trial, out, err);
    sy_stepper_close(&b->stepper);
    sy_model_free(b->stepper.model);
    sy_arena_free(&b->arena);
    sy_arena_free(&b->rows);
    sy_free(b);
    return st;
}
