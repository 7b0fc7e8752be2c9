/* cli/cmd_train.c - switchyard train: settings from recipe, file and flags; then the run. */
#include <stdlib.h>
#include <string.h>

#include "cli/open.h"
#include "cli/portrait.h"
#include "core/file.h"
#include "core/memory.h"
#include "data/known.h"
#include "train/need.h"
#include "train/train.h"

typedef struct args {
    const char *config, *recipe, *out, *from, *router, *expert, *tokenizer, *data_dir, *train, *freeze;
    sy_list     data, eval_data, set, balance, edit, objective;
    bool        resume, no_report_data;
    const char *steps, *seed;
} args;

static const sy_flag flags[] = {
    SY_FLAG(args, out, "out", 'o', SY_FLAG_TEXT, "DIR", "folder of the run; made when absent"),
    SY_FLAG(args, data, "data", 'd', SY_FLAG_LIST, "SOURCE", "file or folder of text, name=path, path@weight"),
    SY_FLAG(args, eval_data, "eval-data", 0, SY_FLAG_LIST, "SOURCE", "held-out text; else the end of each source is held out"),
    SY_FLAG(args, recipe, "recipe", 0, SY_FLAG_TEXT, "NAME", "a whole run under a name (switchyard help recipes)"),
    SY_FLAG(args, recipe, "preset", 0, SY_FLAG_TEXT, "NAME", "the same as --recipe"),
    SY_FLAG(args, config, "config", 'c', SY_FLAG_TEXT, "FILE", "JSON with the sections model, train and data"),
    SY_FLAG_SET(args, set, "any key of the config (switchyard help config)", sy_spec_opts, sy_train_opts, sy_corpus_opts, sy_data_opts),
    SY_FLAG(args, router, "router", 0, SY_FLAG_TEXT, "KEY:OPTIONS", "router of the sparse layers, e.g. topk:top_k=2"),
    SY_FLAG(args, balance, "balance", 0, SY_FLAG_LIST, "KEY:OPTIONS", "balance term, e.g. switch:coef=0.01"),
    SY_FLAG(args, edit, "edit", 0, SY_FLAG_LIST, "KEY:OPTIONS", "route edit"),
    SY_FLAG(args, objective, "objective", 0, SY_FLAG_LIST, "KEY:OPTIONS", "loss over layers and passes, e.g. thor:consistency_alpha=5"),
    SY_FLAG(args, expert, "expert", 0, SY_FLAG_TEXT, "KEY:OPTIONS", "kind of the experts"),
    SY_FLAG(args, tokenizer, "tokenizer", 0, SY_FLAG_TEXT, "NAME", "bytes, bytes+eot, bpe, or a tokenizer.json"),
    SY_FLAG(args, steps, "steps", 0, SY_FLAG_TEXT, "N", "optimiser steps"),
    SY_FLAG(args, seed, "seed", 0, SY_FLAG_TEXT, "N", "weights, data order and noise follow from it"),
    SY_FLAG(args, resume, "resume", 0, SY_FLAG_ON, NULL, "continue the run in --out, exactly"),
    SY_FLAG(args, no_report_data, "no-report-data", 0, SY_FLAG_ON, NULL, "leave out samples of text at evaluations (sample_every), and routing.json and samples.jsonl after the last step"),
    SY_FLAG(args, from, "from", 0, SY_FLAG_TEXT, "DIR", "start from the weights of this model"),
    SY_FLAG(args, train, "train", 0, SY_FLAG_TEXT, "PATTERN", "only parameters whose name matches are trained"),
    SY_FLAG(args, freeze, "freeze", 0, SY_FLAG_TEXT, "PATTERN", "parameters whose name matches are not trained"),
    SY_FLAG(args, data_dir, "data-dir", 0, SY_FLAG_TEXT, "DIR", "where a recipe's data set is looked for; then $SY_DATA"),
    { 0 }
};

static sy_status set_list(sy_cli *cli, sy_config *c, const char *key, const sy_list *l, sy_err *err)
{
    char *all = NULL;
    for (int i = 0; i < l->n; i++)
        if (!(all = sy_arena_printf(&cli->arena, "%s%s%s", all ? all : "", all ? " " : "", l->v[i]))) return sy_fail(err, SY_ENOMEM, "no memory for --%s", key);
    return all ? sy_config_set(c, key, all, &cli->arena, err) : SY_OK;
}

static sy_status set_text(sy_cli *cli, sy_config *c, const char *key, const char *value, sy_err *err)
{
    return value ? sy_config_set(c, key, value, &cli->arena, err) : SY_OK;
}

/* Paths, which may hold blanks. */
static sy_status set_sources(sy_cli *cli, sy_config *c, const char *key, const sy_list *l, sy_err *err)
{
    const char *all;
    if (!l->n) return SY_OK;
    SY_TRY(sy_set_sources(cli, l, &all, err));
    return sy_config_set(c, key, all, &cli->arena, err);
}

/* The data set that a recipe names, found in --data-dir or $SY_DATA, with the options that it is read by. */
static sy_status recipe_data(sy_cli *cli, const args *a, const char *name, sy_config *c, sy_err *err)
{
    const char *dirs[] = { a->data_dir, getenv("SY_DATA") };
    const sy_known *k;
    const char *const *source;
    sy_list l = { .n = 0 };
    SY_TRY(sy_known_find(name, &k, err));
    SY_TRY(sy_known_sources(k, dirs, 2, &cli->arena, &source, &l.n, err));
    for (int i = 0; i < l.n; i++) l.v[i] = source[i];
    SY_TRY(sy_opt_parse(sy_data_opts, &c->data, k->options, &cli->arena, NULL, err));
    return set_sources(cli, c, "data.data", &l, err);
}

static sy_status settings(sy_cli *cli, const args *a, sy_config *c, sy_err *err)
{
    const sy_recipe *r = NULL;
    if (a->recipe) {
        if (!(r = sy_recipe_find(a->recipe, err))) return SY_ENOENT;
        SY_TRY(sy_recipe_apply(r, c, &cli->arena, err));
    }
    if (a->config) SY_TRY(sy_config_read(c, a->config, &cli->arena, err));
    SY_TRY(set_sources(cli, c, "data.data", &a->data, err));
    SY_TRY(set_sources(cli, c, "data.eval_data", &a->eval_data, err));
    SY_TRY(set_list(cli, c, "model.balance", &a->balance, err));
    SY_TRY(set_list(cli, c, "model.edit", &a->edit, err));
    SY_TRY(set_list(cli, c, "train.objective", &a->objective, err));
    SY_TRY(set_text(cli, c, "model.router", a->router, err));
    SY_TRY(set_text(cli, c, "model.expert", a->expert, err));
    SY_TRY(set_text(cli, c, "data.tokenizer", a->tokenizer, err));
    SY_TRY(set_text(cli, c, "train.steps", a->steps, err));
    SY_TRY(set_text(cli, c, "train.seed", a->seed, err));
    SY_TRY(set_text(cli, c, "train.from", a->from, err));
    SY_TRY(set_text(cli, c, "train.train_params", a->train, err));
    SY_TRY(set_text(cli, c, "train.freeze_params", a->freeze, err));
    for (int i = 0; i < a->set.n; i++) {
        const char *eq = strchr(a->set.v[i], '=');
        char *key = eq ? sy_arena_printf(&cli->arena, "%.*s", (int)(eq - a->set.v[i]), a->set.v[i]) : NULL;
        if (!eq) return sy_fail(err, SY_EARG, "--set %s: write KEY=VALUE", a->set.v[i]);
        SY_TRY(sy_config_set(c, key, eq + 1, &cli->arena, err));
    }
    if (r && r->data && !*c->corpus.data) return recipe_data(cli, a, r->data, c, err);
    return SY_OK;
}

/* With --from the model is the one that was loaded; its spec wins over the config's. */
static sy_status spec_from(sy_cli *cli, sy_config *c, sy_err *err)
{
    char dir[1024], path[1024];
    if (!*c->from) return SY_OK;
    SY_TRY(sy_checkpoint_find(c->from, dir, sizeof dir, err));
    SY_TRY(sy_path(path, sizeof path, dir, "config.json", err));
    SY_TRY(sy_spec_read(path, &c->model, &cli->arena, err));
    if (!strcmp(c->corpus.tokenizer, "bytes")) {     /* not chosen: the model's own */
        SY_TRY(sy_path(path, sizeof path, dir, "tokenizer.json", err));
        if (sy_file_exists(path)) return set_text(cli, c, "data.tokenizer", path, err);
    }
    return SY_OK;
}

typedef struct screen {
    sy_cli             *cli;
    sy_progress         bar;
    const sy_train_job *job;
    bool                no_report_data;
    sy_need             need;
} screen;

/* What is written for the report alone: when it fails the run goes on. */
static void left_out(const screen *s, sy_status st, const sy_err *why)
{
    if (st != SY_OK) sy_log_warn(&s->cli->log, "the run is whole, but its report will lack something: %s", why->text);
}

/* Samples at this evaluation? Those of the last step are made with the portrait. */
static bool samples_due(const screen *s, int64_t step, int64_t steps)
{
    const sy_train_options *o = &s->job->config->train;
    return !s->no_report_data && o->sample_every && o->eval_every && step && step < steps && step % o->eval_every == 0 && step / o->eval_every % o->sample_every == 0;
}

static void add_samples(const screen *s, const sy_train_event *e)
{
    sy_err why;
    sy_status st = sy_samples_add(s->cli, e->model, s->job->data, s->job->tok, s->job->out, e->step, &why);
    if (st != SY_ESTOP) left_out(s, st, &why);       /* stopped: the run ends here and makes them when it is resumed */
}

static void resume_samples(const screen *s, const sy_train_event *e)
{
    sy_err why;
    bool has;
    sy_status st = sy_samples_cut(s->job->out, e->step, &has, &why);
    left_out(s, st, &why);
    if (st == SY_OK && !has && samples_due(s, e->step, e->steps)) add_samples(s, e);
}

static void on_event(void *arg, const sy_train_event *e)
{
    screen *s = arg;
    char text[160];
    switch (e->moment) {
    case SY_AT_START: {
        double total, active, madds, k = sy_model_nominal_k(e->model);
        sy_spec_size(&e->model->spec, k ? k : e->model->spec.num_experts, &total, &active, &madds);
        sy_log_info(&s->cli->log, "%.3g M parameters, %.3g M used by a token, %.3g MFLOP a token in training; %lld steps, %d threads, kernels %s",
                total / 1e6, active / 1e6, 6 * madds / 1e6, (long long)e->steps, s->cli->eng.threads, s->cli->eng.k->name);
        sy_log_info(&s->cli->log, "memory: %.1f MB of weights, %.1f of gradients, %.1f of moments; about %.1f of activations for %d tokens at once%s, %.1f for an evaluation: %.1f MB in all",
                    s->need.weights / 1e6, s->need.gradients / 1e6, s->need.moments / 1e6, s->need.step / 1e6, s->need.tokens, s->need.recompute ? " (recomputed)" : "", s->need.eval / 1e6, s->need.total / 1e6);
        if (e->step) sy_log_info(&s->cli->log, "resumed at step %lld", (long long)e->step);
        if (s->job->resume) resume_samples(s, e);
        sy_progress_open(&s->bar, stderr, "train", (double)e->steps, s->cli->progress);
        s->bar.unit = "step";
        s->bar.from = (double)e->step;
        s->cli->log.bar = &s->bar;
        break;
    }
    case SY_AT_STEP:
        snprintf(text, sizeof text, "loss %.4f", e->result->loss);
        sy_progress_at(&s->bar, (double)e->step, text);
        break;
    case SY_AT_SKIP:
        sy_log_warn(&s->cli->log, "step %lld was skipped: %s%s is not finite", (long long)e->step, e->result->broken ? "the gradient of " : "the loss", e->result->broken ? e->result->broken->name : "");
        break;
    case SY_AT_EVAL: {
        const sy_eval_line *all = &e->eval->line[e->eval->lines - 1];
        sy_log_info(&s->cli->log, "step %lld: held-out %.4f nats/byte, %.4f nats/token", (long long)e->step, sy_eval_per_byte(all), sy_eval_per_token(all));
        if (samples_due(s, e->step, e->steps)) add_samples(s, e);
        break;
    }
    case SY_AT_CHECKPOINT: break;
    case SY_AT_END:
        s->cli->log.bar = NULL;
        sy_progress_close(&s->bar, NULL);
        if (e->stopped) sy_log_info(&s->cli->log, "stopped at step %lld of %lld; continue with --resume", (long long)e->step, (long long)e->steps);
        else sy_log_info(&s->cli->log, "%lld steps in %.0f s, %.0f tokens/s; the model is in %s", (long long)e->step, e->seconds, (double)e->tokens / e->seconds, e->path);
        if (e->eval && !s->cli->json) sy_print_eval(stdout, e->eval);
        if (!e->stopped && !s->no_report_data) {
            sy_err why;
            left_out(s, sy_portrait(s->cli, e->model, s->job->data, s->job->tok, s->job->out, e->step, s->job->config->train.eval_rows, &why), &why);
        }
        break;
    }
}

static sy_status run(sy_cli *cli, void *a, const char *const *words, int n, sy_err *err)
{
    (void)words, (void)n;
    args *arg = a;
    sy_config c;
    sy_tokenizer *tok = NULL;
    sy_data *data = NULL;
    char path[1024], cache[1024];
    if (!arg->out) return sy_fail(err, SY_EARG, "where to? give --out DIR");
    sy_config_defaults(&c);
    SY_TRY(sy_path(path, sizeof path, arg->out, "run.json", err));
    SY_TRY(sy_path(cache, sizeof cache, arg->out, "data", err));
    bool old = arg->resume && sy_file_exists(path);
    if (old) SY_TRY(sy_config_read(&c, path, &cli->arena, err));      /* flags given beside --resume are compared with it */
    SY_TRY(settings(cli, arg, &c, err));
    if (!arg->resume && sy_file_exists(path)) return sy_fail(err, SY_EEXIST, "%s already holds a run; continue it with --resume, or choose another --out", arg->out);
    if (!old) SY_TRY(spec_from(cli, &c, err));
    SY_TRY(sy_cli_engine(cli, err));
    if (old) {
        SY_TRY(sy_path(path, sizeof path, arg->out, "tokenizer.json", err));
        SY_TRY(sy_tokenizer_load(&tok, path, err));
    } else SY_TRY(sy_open_tokenizer(cli, &c, &tok, err));
    sy_status st = SY_OK;
    if (!c.model.vocab_size) c.model.vocab_size = sy_tokenizer_vocab(tok);
    sy_spec spec = c.model;                          /* what cannot be built is refused before any text is read; the run fills the rest in itself */
    st = sy_cli_own_sizes(sy_spec_check(&spec, err), err);
    if (st == SY_OK && spec.vocab_size < sy_tokenizer_vocab(tok))
        st = sy_fail(err, old || *c.from ? SY_ESHAPE : SY_EARG, "vocab_size is %d, the tokenizer has %d ids; set vocab_size=%d or more", spec.vocab_size, sy_tokenizer_vocab(tok), sy_tokenizer_vocab(tok));
    sy_need need = { 0 };
    sy_objectives objectives;
    if (st == SY_OK) st = sy_objectives_open(&objectives, c.train.objective, &cli->eng.methods, &cli->arena, err);
    if (st == SY_OK) st = sy_need_of(&need, &cli->eng, &c, &spec, sy_objectives_passes(&objectives), err);
    if (st == SY_OK) st = sy_need_fits(&need, &c, sy_memory_left(), err);
    if (st == SY_OK && (arg->router || arg->expert || arg->balance.n || arg->edit.n) && !sy_spec_n_sparse(&spec))
        st = sy_fail(err, SY_EARG, "--router, --expert, --balance and --edit belong to sparse layers, and layers is '%s'; set layers=sparse", spec.layers);
    if (st == SY_OK && c.data.seq_len > c.model.max_position_embeddings)
        st = sy_fail(err, SY_EARG, "seq_len %d exceeds max_position_embeddings %d", c.data.seq_len, c.model.max_position_embeddings);
    if (st == SY_OK) st = sy_open_data(cli, &c, tok, cache, &data, err);
    screen s = { .cli = cli, .no_report_data = arg->no_report_data, .need = need };
    sy_train_job job = { .eng = &cli->eng, .config = &c, .data = data, .tok = tok, .out = arg->out, .resume = arg->resume, .stop = cli->stop, .on = on_event, .arg = &s };
    s.job = &job;
    if (st == SY_OK) st = sy_train(&job, err);
    cli->log.bar = NULL;
    sy_data_close(data);
    sy_tokenizer_close(tok);
    return st;
}

const sy_command sy_cmd_train = {
    .name = "train", .summary = "train a model, or continue a run", .usage = "--out DIR (--recipe NAME | --config FILE | --set KEY=VALUE ...) --data SOURCE ...",
    .text = "Settings come from the recipe, then the config file, then the flags. The folder gets run.json (all settings), metrics.jsonl,\n"
            "a TensorBoard event file, checkpoints, and in the end the model. Ctrl-C saves and ends; --resume continues exactly.",
    .example = "switchyard train --recipe shakespeare --data shakespeare.txt --out run", .flags = flags, .size = sizeof(args), .run = run,
};
