/* experiments/lm.c - the bed "lm-tiny": the recipe of that name with a trial's settings, on the text given, nothing written to disk. */
#include <stdio.h>
#include <string.h>

#include "core/sha256.h"
#include "data/evaluate.h"
#include "experiments/bed.h"
#include "model/tokenizer.h"
#include "train/step.h"

typedef struct bed { sy_arena arena, objectives; sy_config config; sy_tokenizer *tok; sy_data *data; sy_stepper stepper; double trained; int64_t tokens; } bed;

/* Config of the recipe, tokenizer and data, as `trial` wants them. */
static sy_status open_data(bed *b, const sy_bed_context *c, const sy_trial *trial, sy_err *err)
{
    sy_recipe own = { .name = "trial", .settings = trial->settings };
    const sy_recipe *base = sy_recipe_find("lm-tiny", err);
    if (!base) return SY_ENOENT;
    sy_config *f = &b->config;
    sy_config_defaults(f);
    SY_TRY(sy_recipe_apply(base, f, &b->arena, err));
    SY_TRY(sy_recipe_apply(&own, f, &b->arena, err));
    f->train.seed = (int)trial->seed;
    f->train.optim.lr *= trial->lr_scale;
    if (f->train.optim.warmup_steps) f->train.optim.warmup_steps = sy_budget_steps(trial, f->train.optim.warmup_steps);
    f->train.steps = sy_budget_steps(trial, f->train.steps);
    SY_TRY(sy_tokenizer_open_bytes(&b->tok, false, err));
    f->model.vocab_size = sy_tokenizer_vocab(b->tok);
    sy_sources src = { .train = c->data, .n_train = c->n_data };
    if (!c->n_data) return sy_fail(err, SY_EARG, "bed lm-tiny needs text: give --data");
    return sy_data_open(&b->data, &src, &f->data, b->tok, trial->seed, err);
}

static sy_status open_bed(bed *b, const sy_bed_context *c, const sy_trial *trial, sy_err *err)
{
    sy_config *f = &b->config;
    SY_TRY(open_data(b, c, trial, err));
    b->stepper = (sy_stepper){ .data = b->data, .optim = &f->train.optim, .seed = trial->seed, .batch_size = f->train.batch_size, .micro_batch_size = f->train.micro_batch_size,
                               .z_loss = f->train.z_loss, .label_smoothing = f->train.label_smoothing, .bf16 = f->train.dtype == SY_BFLOAT16, .recompute = f->train.recompute == SY_RECOMPUTE_LAYERS, .steps = f->train.steps, .most_madds = (uint64_t)(1e9 * trial->gmadds) };
    sy_tape_init(&b->stepper.tape, c->eng, true);
    SY_TRY(sy_model_new(&b->stepper.model, c->eng, &f->model, SY_MODEL_TRAIN, trial->seed, err));
    SY_TRY(sy_stepper_learn(&b->stepper, err));
    SY_TRY(sy_objectives_open(&b->stepper.objectives, f->train.objective, &c->eng->methods, &b->objectives, err));
    return sy_objectives_begin(&b->stepper.objectives, b->stepper.model, b->data, &b->objectives, err);
}

static sy_status measure(bed *b, sy_trial_result *out, sy_err *err)
{
    sy_evaluation e;
    sy_model *m = b->stepper.model;
    SY_TRY(sy_evaluate(m, b->data, b->config.train.eval_rows, NULL, &e, &b->arena, err));
    sy_metric_add(out, "loss", sy_eval_per_byte(&e.line[e.lines - 1]));
    for (int i = 0; i + 1 < e.lines && i < 10; i++) {
        char name[48];
        snprintf(name, sizeof name, "domain.%.40s", e.line[i].name);
        sy_metric_add(out, name, sy_eval_per_byte(&e.line[i]));
    }
    double vio = 0, spec = 0, used = 0;
    for (int i = 0; i < m->n_sparse; i++) {
        const sy_stats *at = &e.stats[i];
        double load = 0;
        for (int x = 0; x < at->E; x++) load += (double)at->load[x];
        vio += sy_stats_maxvio(at) / m->n_sparse;
        spec += sy_stats_specialisation(at) / m->n_sparse;
        used += at->tokens ? load / (double)at->tokens / m->n_sparse : 0;
    }
    if (m->n_sparse) sy_metric_add(out, "maxvio", vio), sy_metric_add(out, "specialisation", spec), sy_metric_add(out, "experts_per_token", used);
    double nominal, active, counted = sy_bed_parameters(&m->params), k = sy_model_nominal_k(m);
    sy_spec_size(&m->spec, k ? k : m->spec.num_experts, &nominal, &active, NULL);
    sy_metric_add(out, "train_loss", b->trained);
    sy_metric_add(out, "parameters", counted);
    sy_metric_add(out, "active_parameters", active + counted - nominal);        /* what a router has of its own is always in use */
    sy_metric_add(out, "flops_per_token", 2 * (double)e.madds / (double)e.line[e.lines - 1].tokens);
    sy_metric_add(out, "train_flops_per_token", 2 * (double)b->stepper.madds / (double)b->tokens);
    sy_metric_add(out, "train_gmadds", (double)b->stepper.madds / 1e9);
    return SY_OK;
}

static void close_bed(bed *b)
{
    sy_stepper_close(&b->stepper);
    sy_model_free(b->stepper.model);
    sy_data_close(b->data);
    sy_tokenizer_close(b->tok);
    sy_arena_free(&b->arena);
    sy_arena_free(&b->objectives);
}

sy_status sy_bed_lm(const sy_bed_context *c, const sy_trial *trial, sy_trial_result *out, sy_err *err)
{
    bed b = { 0 };
    sy_status st = open_bed(&b, c, trial, err);
    while (st == SY_OK && (b.stepper.most_madds ? b.stepper.madds < b.stepper.most_madds : b.stepper.step < b.stepper.steps)) {
        sy_step_result r;
        st = sy_stepper_run(&b.stepper, &r, err);
        if (st == SY_OK && !r.skipped) b.trained = b.tokens ? 0.99 * b.trained + 0.01 * r.loss : r.loss;
        if (st == SY_OK) b.tokens += r.tokens;
        if (st == SY_OK && c->stop && c->stop(c->arg)) st = sy_fail(err, SY_ESTOP, "stopped");
    }
    if (st == SY_OK) st = measure(&b, out, err);
    close_bed(&b);
    return st;
}

sy_status sy_bed_lm_id(const sy_bed_context *c, char id[33], sy_err *err)
{
    bed b = { 0 };
    sy_trial trial = { .bed = "lm-tiny", .settings = "", .lr_scale = 1, .budget = 1 };
    sy_status st = open_data(&b, c, &trial, err);
    if (st == SY_OK) {
        sy_sha256 s;
        uint8_t digest[32];
        sy_sha256_start(&s);
        sy_sha256_text(&s, sy_data_id(b.data));
        sy_sha256_text(&s, sy_recipe_find("lm-tiny", err)->settings);
        sy_sha256_end(&s, digest);
        sy_hex(digest, 16, id);
    }
    close_bed(&b);
    return st;
}
