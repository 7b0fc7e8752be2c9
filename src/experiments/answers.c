/* experiments/answers.c - the bed "answers": a small mixture that knows things and whose routers are off, for methods that tune routers.
 *
 * Facts: each of `tasks` tasks gives every letter a .. p one of five answers, drawn by the seed. A fact is asked in four wordings ("T x=", "of x, T:", ...), a prompt with one byte of answer. A model of
 * three sparse layers of width 48, 8 experts of width 32, 2 a token, learns all of them in all wordings. Then noise is added to the gates (`noise` times their own spread), and routers alone are tuned for
 * `tune_steps` steps under `objective` on three of the wordings. loss = nats of the answers in the fourth; accuracy and noisy_accuracy (before tuning) beside it.
 * Arms differ by tuning alone. The prompts lie in a folder of the system's for temporary files while a run lasts, since that is where corpora come from. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/file.h"
#include "data/evaluate.h"
#include "experiments/bed.h"
#include "model/tokenizer.h"
#include "train/step.h"

enum { LETTERS = 16, ANSWERS = 5, WORDINGS = 4, LEN = 16 };

typedef struct answers_options { int tasks, steps, batch_size, tune_steps; double lr, tune_lr, noise; const char *objective; } answers_options;

static const sy_opt answers_opts[] = {
    SY_INT (answers_options, tasks, NULL, 8, 1, 20, "tasks"),
    SY_INT (answers_options, steps, NULL, 800, 1, 1 << 24, "steps in which the model learns"),
    SY_INT (answers_options, batch_size, NULL, 32, 1, 1 << 12, "rows of a step"),
    SY_INT (answers_options, tune_steps, NULL, 200, 0, 1 << 24, "steps in which routers are tuned"),
    SY_REAL(answers_options, lr, NULL, 3e-3, 0, 10, "learning rate"),
    SY_REAL(answers_options, tune_lr, NULL, 3e-3, 0, 10, "learning rate of the tuning"),
    SY_REAL(answers_options, noise, NULL, 4, 0, 100, "noise on the gates, in standard deviations of their weights"),
    SY_TEXT(answers_options, objective, NULL, "", "objective of the tuning; empty: the task alone, all gates"),
    { 0 }
};

typedef struct bed {
    const sy_bed_context *c;
    answers_options o;
    sy_arena arena;
    sy_tokenizer *tok;
    char dir[64];
    uint64_t seed, madds;
} bed;

/* --- text ------------------------------------------------------------------------------------------------------------------------------ */

static const char *const wording[WORDINGS] = { "%c %c=", "of %2$c, %1$c:", "%2$c in %1$c>", "%c? %c is " };

/* Wordings first .. last-1 of all facts as JSON lines. */
static sy_status write_facts(const bed *b, const char *name, int first, int last, char *path, size_t size, sy_err *err)
{
    sy_buf out = { 0 };
    for (int w = first; w < last; w++)
        for (int t = 0; t < b->o.tasks; t++)
            for (int x = 0; x < LETTERS; x++) {
                char prompt[32];
                snprintf(prompt, sizeof prompt, wording[w], 'A' + t, 'a' + x);
                sy_buf_printf(&out, "{\"prompt\": \"%s\", \"completion\": \"%d\"}\n", prompt, (int)sy_draw_below(sy_key(b->seed, SY_FOR_DATA, 31, (uint64_t)t, (uint64_t)x), 0, 0, ANSWERS));
            }
    snprintf(path, size, "%s/%s.jsonl", b->dir, name);
    sy_status st = out.failed ? sy_fail(err, SY_ENOMEM, "no memory for the facts") : sy_file_write(path, out.data, out.n, err);
    sy_buf_free(&out);
    return st;
}

static sy_status open_text(const bed *b, const char *train, const char *eval, sy_data **out, sy_err *err)
{
    sy_data_options o;
    sy_opt_defaults(sy_data_opts, &o);
    o.seq_len = LEN, o.val_fraction = 0;
    return sy_data_open(out, &(sy_sources){ .train = &train, .n_train = 1, .eval = &eval, .n_eval = eval != NULL }, &o, b->tok, b->seed, err);
}

/* --- models ---------------------------------------------------------------------------------------------------------------------------- */

static sy_status fresh(const bed *b, sy_model **m, sy_err *err)
{
    sy_spec s;
    sy_spec_defaults(&s);
    s.vocab_size = sy_tokenizer_vocab(b->tok), s.hidden_size = 48, s.num_hidden_layers = 3, s.num_attention_heads = 4, s.num_key_value_heads = 4, s.num_experts = 8, s.moe_intermediate_size = 32;
    s.layers = "sparse", s.router = "topk:top_k=2,norm_topk_prob=true", s.balance = "switch:coef=0.01", s.max_position_embeddings = LEN;
    return sy_model_new(m, b->c->eng, &s, SY_MODEL_TRAIN, b->seed, err);
}

/* n steps of a stepper that the caller filled in. */
static sy_status go(bed *b, sy_stepper *s, int n, sy_err *err)
{
    while (s->step < n) {
        sy_step_result r;
        SY_TRY(sy_within(err, sy_stepper_run(s, &r, err), "bed answers"));
        if (b->c->stop && b->c->stop(b->c->arg)) return sy_fail(err, SY_ESTOP, "stopped");
    }
    b->madds += s->madds;
    return SY_OK;
}

static sy_status learn(bed *b, sy_model *m, sy_data *data, double lr, int steps, const char *objective, sy_err *err)
{
    sy_optim optim;
    sy_opt_defaults(sy_optim_opts, &optim);
    optim.lr = lr, optim.warmup_steps = steps / 20, optim.beta2 = 0.99, optim.weight_decay = 0;
    sy_stepper s = { .model = m, .data = data, .optim = &optim, .seed = b->seed, .batch_size = b->o.batch_size, .steps = steps };
    sy_tape_init(&s.tape, b->c->eng, true);
    sy_status st = sy_stepper_learn(&s, err);
    if (st == SY_OK) st = sy_objectives_open(&s.objectives, objective, &b->c->eng->methods, &b->arena, err);
    if (st == SY_OK) st = sy_objectives_begin(&s.objectives, m, data, &b->arena, err);
    if (st == SY_OK) st = go(b, &s, steps, err);
    sy_stepper_close(&s);
    return st;
}

static bool is_gate(const sy_param *p) { return strstr(p->name, ".mlp.gate.weight") != NULL; }

/* A copy without moments, with noise on its gates; gates alone are trained. */
static sy_status disturbed(const bed *b, const sy_model *from, sy_model **out, sy_err *err)
{
    sy_model *m;
    SY_TRY(fresh(b, &m, err));
    for (int i = 0; i < m->params.n; i++) {
        sy_param *p = m->params.p[i];
        double square = 0;
        memcpy(p->w.data, from->params.p[i]->w.data, p->n * sizeof(sy_real));
        if (!is_gate(p)) { sy_param_freeze(p); continue; }
        for (size_t k = 0; k < p->n; k++) square += (double)p->leaf.x[k] * (double)p->leaf.x[k] / (double)p->n;
        for (size_t k = 0; k < p->n; k++) p->leaf.x[k] += (sy_real)(b->o.noise * sqrt(square) * sy_draw_normal(sy_key(b->seed, SY_FOR_DATA, 32, (uint64_t)i, 0), k, 0));
    }
    *out = m;
    return SY_OK;
}

/* --- measuring --------------------------------------------------------------------------------------------------------------------------- */

/* Share of the answers in the held-out wording that are the likeliest byte. */
static sy_status accuracy(bed *b, sy_model *m, const sy_data *d, double *out, sy_err *err)
{
    sy_eval it;
    sy_tape t;
    int64_t asked = 0, right = 0;
    int V = m->spec.vocab_size;
    sy_tape_init(&t, b->c->eng, false);
    sy_status st = sy_eval_start(&it, d, sy_data_domains(d) - 1, b->o.batch_size, err);
    for (bool more = true; st == SY_OK; ) {
        sy_batch x;
        sy_tape_reset(&t);
        if ((st = sy_eval_next(&it, &t.arena, &x, &more, err)) != SY_OK || !more) break;
        const sy_tensor *z = sy_model_logits(m, &t, sy_model_hidden(m, &t, &x, &(sy_run){ .mode = SY_SERVE }), NULL, x.T);
        if ((st = sy_tape_status(&t, err)) != SY_OK) break;
        for (int i = 0; i < x.T; i++) {
            const sy_real *row = z->x + (size_t)i * (size_t)V;
            int best = 0;
            if (x.label[i] < '0' || x.label[i] >= '0' + ANSWERS) continue;
            for (int v = 1; v < V; v++) if (row[v] > row[best]) best = v;
            asked++, right += best == x.label[i];
        }
    }
    sy_tape_free(&t);
    *out = asked ? (double)right / (double)asked : NAN;
    return st;
}

static sy_status measure(bed *b, sy_model *m, const sy_data *d, double noisy, sy_trial_result *out, sy_err *err)
{
    sy_evaluation e;
    double share;
    SY_TRY(sy_evaluate(m, d, b->o.batch_size, NULL, &e, &b->arena, err));
    SY_TRY(accuracy(b, m, d, &share, err));
    sy_metric_add(out, "loss", sy_eval_per_token(&e.line[e.lines - 1]));
    sy_metric_add(out, "accuracy", share);
    sy_metric_add(out, "noisy_accuracy", noisy);
    sy_metric_add(out, "train_gmadds", (double)b->madds / 1e9);
    return SY_OK;
}

static sy_status tune(bed *b, const sy_model *first, double lr_scale, const char *tuned, const char *asked, sy_trial_result *out, sy_err *err)
{
    sy_model *m;
    sy_data *d = NULL;
    double noisy = 0;
    SY_TRY(disturbed(b, first, &m, err));
    b->madds = 0;
    sy_status st = open_text(b, tuned, asked, &d, err);
    if (st == SY_OK) st = accuracy(b, m, d, &noisy, err);
    if (st == SY_OK) st = learn(b, m, d, b->o.tune_lr * lr_scale, b->o.tune_steps, b->o.objective, err);
    if (st == SY_OK) st = measure(b, m, d, noisy, out, err);
    sy_data_close(d);
    sy_model_free(m);
    return st;
}

static sy_status run(bed *b, const sy_trial *trial, sy_trial_result *out, sy_err *err)
{
    char all[128], three[128], last[128];
    sy_model *m;
    sy_data *d = NULL;
    SY_TRY(sy_bed_settings("answers", answers_opts, &b->o, trial->settings, &b->arena, err));
    b->o.steps = sy_budget_steps(trial, b->o.steps);
    if (b->o.tune_steps) b->o.tune_steps = sy_budget_steps(trial, b->o.tune_steps);
    SY_TRY(sy_tokenizer_open_bytes(&b->tok, false, err));
    SY_TRY(write_facts(b, "all", 0, WORDINGS, all, sizeof all, err));
    SY_TRY(write_facts(b, "three", 0, WORDINGS - 1, three, sizeof three, err));
    SY_TRY(write_facts(b, "last", WORDINGS - 1, WORDINGS, last, sizeof last, err));
    SY_TRY(fresh(b, &m, err));
    sy_status st = open_text(b, all, NULL, &d, err);
    if (st == SY_OK) st = learn(b, m, d, b->o.lr, b->o.steps, "", err);
    if (st == SY_OK) st = tune(b, m, trial->lr_scale, three, last, out, err);
    sy_data_close(d);
    sy_model_free(m);
    return st;
}

sy_status sy_bed_answers(const sy_bed_context *c, const sy_trial *trial, sy_trial_result *out, sy_err *err)
{
    sy_err ignored;
    bed *b = sy_calloc(1, sizeof *b);
    if (!b) return sy_fail(err, SY_ENOMEM, "no memory for bed answers");
    b->c = c;
    b->seed = trial->seed;
    snprintf(b->dir, sizeof b->dir, "/tmp/switchyard-XXXXXX");
    sy_status st = mkdtemp(b->dir) ? run(b, trial, out, err) : sy_fail_io(err, "make a folder like", "/tmp/switchyard-XXXXXX");
    sy_remove_tree(b->dir, &ignored);
    sy_tokenizer_close(b->tok);
    sy_arena_free(&b->arena);
    sy_free(b);
    return st;
}
