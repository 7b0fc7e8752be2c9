/* train/train.c - the loop around steps. */
#include "train/train.h"

#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "build_info.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "model/shards.h"
#include "model/sums.h"
#include "train/tensorboard.h"

enum { PATH = 1024, BAD_STEPS = 3 };
#define METRICS "metrics.jsonl"
#define EVENTS  "events.out.tfevents.switchyard"
#define UNFINISHED "unfinished_step.json"

typedef struct run {
    const sy_train_job *job;
    const sy_config    *c;
    sy_model           *model;
    sy_stepper          stepper;
    sy_arena            eval_arena, objectives;
    sy_evaluation       eval;                        /* the latest */
    int64_t             tokens, bad, evaluated;      /* tokens read; skipped steps in a row; step of the latest evaluation, -1: none */
    double              began, last_time;
    int64_t             last_tokens;
    char                metrics[PATH], events[PATH];
    sy_buf              line, event;
    bool                unfinished;                  /* resumed behind a step whose evaluation was stopped: */
    sy_step_result      result;                      /* ... what that step gave, its lists in `kept` */
    sy_arena            kept;
} run;

static void tell(run *r, sy_train_event e)
{
    if (!r->job->on) return;
    e.step = r->stepper.step;
    e.steps = r->stepper.steps;
    e.tokens = r->tokens;
    e.seconds = sy_now() - r->began;
    e.model = r->model;
    r->job->on(r->job->arg, &e);
}

/* --- metrics ---------------------------------------------------------------------------------------------------------------- */

static double rate(run *r)
{
    double now = sy_now(), s = now - r->last_time, v = s > 0 ? (double)(r->tokens - r->last_tokens) / s : 0;
    r->last_time = now;
    r->last_tokens = r->tokens;
    return v;
}

static void eval_json(sy_json *j, const sy_evaluation *e)
{
    sy_json_key(j, "eval");
    sy_json_begin(j, '{');
    for (int i = 0; i < e->lines; i++) {
        sy_json_key(j, e->line[i].name);
        sy_json_begin(j, '{');
        sy_json_key(j, "nats_per_byte"), sy_json_real(j, sy_eval_per_byte(&e->line[i]));
        sy_json_key(j, "nats_per_token"), sy_json_real(j, sy_eval_per_token(&e->line[i]));
        sy_json_end(j, '}');
    }
    sy_json_end(j, '}');
}

static void routing_json(sy_json *j, const run *r)
{
    sy_json_key(j, "routing");
    sy_json_begin(j, '[');
    for (int i = 0; i < r->model->n_sparse; i++) {
        const sy_stats *s = &r->eval.stats[i];
        double tokens = s->tokens ? (double)s->tokens : 1;
        sy_json_begin(j, '{');
        sy_json_key(j, "layer"), sy_json_int(j, sy_model_block(r->model, i)->site.layer);
        sy_json_key(j, "maxvio"), sy_json_real(j, sy_stats_maxvio(s));
        sy_json_key(j, "entropy"), sy_json_real(j, s->entropy / tokens);
        sy_json_key(j, "dropped"), sy_json_real(j, s->slots ? (double)s->dropped / (double)s->slots : 0);
        sy_json_key(j, "specialisation"), sy_json_real(j, sy_stats_specialisation(s));
        sy_json_end(j, '}');
    }
    sy_json_end(j, ']');
}

static void events_of(run *r, const sy_step_result *s, bool with_eval, double per_s)
{
    int64_t step = r->stepper.step;
    char tag[128];
    sy_tb_scalar(&r->event, step, "train/loss", s->loss);
    sy_tb_scalar(&r->event, step, "train/learning_rate", s->lr);
    sy_tb_scalar(&r->event, step, "train/grad_norm", s->grad_norm);
    sy_tb_scalar(&r->event, step, "train/tokens_per_s", per_s);
    for (int i = 0; i < s->n_aux; i++) {
        snprintf(tag, sizeof tag, "aux/%.100s", s->aux[i].name);
        sy_tb_scalar(&r->event, step, tag, s->aux[i].value);
    }
    for (int i = 0; i < s->n_domain; i++) {
        snprintf(tag, sizeof tag, "train/loss/%.100s", s->domain[i].name);
        sy_tb_scalar(&r->event, step, tag, s->domain[i].value);
    }
    for (int i = 0; with_eval && i < r->eval.lines; i++) {
        snprintf(tag, sizeof tag, "eval/%.100s", r->eval.line[i].name);
        sy_tb_scalar(&r->event, step, tag, sy_eval_per_byte(&r->eval.line[i]));
    }
}

static void named_json(sy_json *j, const char *key, const sy_aux *a, int n)
{
    sy_json_key(j, key);
    sy_json_begin(j, '{');
    for (int i = 0; i < n; i++) sy_json_key(j, a[i].name), sy_json_real(j, a[i].value);
    sy_json_end(j, '}');
}

/* What a step gave, as members of an object that the caller opened. */
static void step_json(sy_json *j, const run *r, const sy_step_result *s, double per_s)
{
    sy_json_key(j, "step"), sy_json_int(j, r->stepper.step);
    sy_json_key(j, "tokens"), sy_json_int(j, r->tokens);
    sy_json_key(j, "loss"), sy_json_real(j, s->loss);
    sy_json_key(j, "lr"), sy_json_real(j, s->lr);
    sy_json_key(j, "grad_norm"), sy_json_real(j, s->grad_norm);
    sy_json_key(j, "tokens_per_s"), sy_json_real(j, per_s);
    if (s->skipped) {
        sy_json_key(j, "skipped"), sy_json_bool(j, true);
        sy_json_key(j, "broken"), sy_json_text(j, s->broken ? s->broken->name : "loss");
    }
    named_json(j, "aux", s->aux, s->n_aux);
    if (s->n_domain) named_json(j, "loss_by_domain", s->domain, s->n_domain);
}

static sy_status named_of(json_t *o, const char *path, sy_arena *a, sy_aux **list, int *n, sy_err *err)
{
    const char *name;
    json_t *v;
    *n = 0;
    *list = sy_arena_array(a, json_object_size(o) + 1, sizeof **list);
    if (!*list) return sy_fail(err, SY_ENOMEM, "no memory to read %s", path);
    json_object_foreach(o, name, v) {
        sy_aux *x = &(*list)[(*n)++];
        *x = (sy_aux){ sy_arena_strdup(a, name), json_is_number(v) ? json_number_value(v) : NAN };
        if (!x->name) return sy_fail(err, SY_ENOMEM, "no memory to read %s", path);
    }
    return SY_OK;
}

/* The way back; a null is a number that was not finite. */
static sy_status step_of(json_t *o, const char *path, run *r, sy_step_result *s, sy_err *err)
{
    const char *broken = NULL;
    *s = (sy_step_result){ .loss = NAN, .lr = NAN, .grad_norm = NAN };
    SY_TRY(sy_json_get_real(o, path, "loss", false, -INFINITY, INFINITY, &s->loss, err));
    SY_TRY(sy_json_get_real(o, path, "lr", false, -INFINITY, INFINITY, &s->lr, err));
    SY_TRY(sy_json_get_real(o, path, "grad_norm", false, -INFINITY, INFINITY, &s->grad_norm, err));
    SY_TRY(sy_json_get_bool(o, path, "skipped", false, &s->skipped, err));
    SY_TRY(sy_json_get_text(o, path, "broken", false, &broken, err));
    if (broken) s->broken = sy_params_find(&r->model->params, broken);
    SY_TRY(named_of(json_object_get(o, "aux"), path, &r->kept, &s->aux, &s->n_aux, err));
    return named_of(json_object_get(o, "loss_by_domain"), path, &r->kept, &s->domain, &s->n_domain, err);
}

/* One line of metrics, appended in one write to each file. */
static sy_status write_metrics(run *r, const sy_step_result *s, bool with_eval, double per_s, sy_err *err)
{
    sy_json j;
    sy_buf_clear(&r->line);
    sy_buf_clear(&r->event);
    sy_json_open(&j, &r->line, 0);
    sy_json_begin(&j, '{');
    step_json(&j, r, s, per_s);
    if (with_eval) {
        eval_json(&j, &r->eval);
        if (r->eval.stats) routing_json(&j, r);
    }
    sy_json_end(&j, '}');
    sy_buf_put(&r->line, "\n", 1);
    events_of(r, s, with_eval, per_s);
    if (r->line.failed || r->event.failed) return sy_fail(err, SY_ENOMEM, "no memory for a line of %s", METRICS);
    SY_TRY(sy_file_append(r->metrics, r->line.data, r->line.n, err));
    return sy_file_append(r->events, r->event.data, r->event.n, err);
}

/* --- checkpoints ------------------------------------------------------------------------------------------------------------ */

enum { STATE_STEP, STATE_UPDATES, STATE_ROW, STATE_TOKENS, STATE_BAD, STATE_METRICS, STATE_EVENTS, STATE_ITEMS };

static void state_of(const run *r, sy_state_item *item)
{
    const sy_state_item now[STATE_ITEMS] = {
        { "step", r->stepper.step }, { "updates", r->stepper.updates }, { "row", r->stepper.row }, { "tokens", r->tokens }, { "bad", r->bad },
        { "metrics_bytes", sy_file_size(r->metrics) }, { "events_bytes", sy_file_size(r->events) },
    };
    memcpy(item, now, sizeof now);
}

static sy_status checkpoints_dir(const run *r, char *out, sy_err *err) { return sy_path(out, PATH, r->job->out, "checkpoints", err); }

/* Deletes half-written checkpoints (left by a killed process) and all but the last `keep` (0: only the half-written). */
static sy_status prune(const run *r, int keep, sy_err *err)
{
    char dir[PATH], path[PATH];
    sy_arena a = { 0 };
    const char **names;
    int n = 0, whole = 0;
    SY_TRY(checkpoints_dir(r, dir, err));
    sy_status st = sy_dir_list(dir, &a, &names, &n, err);
    for (int i = 0; i < n; i++) whole += !strncmp(names[i], "step-", 5);
    for (int i = 0; i < n && st == SY_OK; i++) {
        bool is_whole = !strncmp(names[i], "step-", 5), old = is_whole && keep && whole-- > keep;
        if (is_whole && !old) continue;
        if (!is_whole && strncmp(names[i], ".tmp-", 5)) continue;
        st = sy_path(path, sizeof path, dir, names[i], err);
        if (st == SY_OK) st = sy_remove_tree(path, err);
    }
    sy_arena_free(&a);
    return st;
}

/* A step whose evaluation was stopped has no line of metrics yet: what it gave goes into the checkpoint. */
static sy_status write_unfinished(run *r, const char *dir, const sy_step_result *s, sy_err *err)
{
    char path[PATH];
    sy_json j;
    sy_buf_clear(&r->line);
    sy_json_open(&j, &r->line, 0);
    sy_json_begin(&j, '{');
    step_json(&j, r, s, 0);
    sy_json_end(&j, '}');
    if (r->line.failed) return sy_fail(err, SY_ENOMEM, "no memory for %s", UNFINISHED);
    SY_TRY(sy_path(path, sizeof path, dir, UNFINISHED, err));
    return sy_file_write(path, r->line.data, r->line.n, err);
}

static sy_status fill(run *r, const char *dir, const sy_step_result *unfinished, sy_err *err)
{
    char path[PATH];
    sy_state_item item[STATE_ITEMS];
    SY_TRY(sy_remove_tree(dir, err));
    SY_TRY(sy_mkdirs(dir, err));
    SY_TRY(sy_model_save(r->model, dir, sy_tokenizer_eot(r->job->tok), NULL, err));
    SY_TRY(sy_tokenizer_save(r->job->tok, dir, err));
    SY_TRY(sy_path(path, sizeof path, dir, "training_state.safetensors", err));
    state_of(r, item);
    SY_TRY(sy_state_save(r->model, path, item, STATE_ITEMS, err));
    if (item[STATE_METRICS].value > 0) SY_TRY(sy_file_sync(r->metrics, err));      /* the state counts on their bytes */
    if (item[STATE_EVENTS].value > 0) SY_TRY(sy_file_sync(r->events, err));
    if (unfinished) SY_TRY(write_unfinished(r, dir, unfinished, err));
    return sy_sums_write(dir, NULL, err);
}

/* Writes a folder beside the checkpoints and gives it its name when it is whole: the last good one stands at any moment. */
static sy_status save(run *r, const sy_step_result *unfinished, sy_err *err)
{
    char dir[PATH], temp[PATH], name[64], final[PATH];
    SY_TRY(checkpoints_dir(r, dir, err));
    snprintf(name, sizeof name, ".tmp-step-%010lld", (long long)r->stepper.step);
    SY_TRY(sy_path(temp, sizeof temp, dir, name, err));
    SY_TRY(sy_path(final, sizeof final, dir, name + 5, err));
    if (sy_is_dir(final)) return SY_OK;              /* this very step was saved before */
    sy_status st = fill(r, temp, unfinished, err);
    if (st == SY_OK) st = sy_dir_publish(temp, final, err);
    if (st != SY_OK) {
        sy_remove_tree(temp, NULL);
        return sy_within(err, st, "checkpoint of step %lld", (long long)r->stepper.step);
    }
    tell(r, (sy_train_event){ .moment = SY_AT_CHECKPOINT, .path = final });
    SY_TRY(sy_path(temp, sizeof temp, r->job->out, "config.json", err));
    SY_TRY(sy_remove_tree(temp, err));               /* of a run that max_minutes ended and that was continued: its model in OUT is older than this */
    return prune(r, r->c->train.keep, err);
}

/* Checksums of the files that make the finished model, among all that lie in OUT. */
static sy_status sum_model(const char *out, sy_arena *a, sy_err *err)
{
    static const char *const beside[] = { "config.json", "generation_config.json", "ledger.json", "tokenizer.json" };
    const char **names, **list;
    int n, k = 0;
    SY_TRY(sy_dir_list(out, a, &names, &n, err));
    if (!(list = sy_arena_array(a, (size_t)n + SY_COUNT(beside) + 1, sizeof *list))) return sy_fail(err, SY_ENOMEM, "no memory for the names in %s", out);
    for (size_t i = 0; i < SY_COUNT(beside); i++) list[k++] = beside[i];
    for (int i = 0; i < n; i++) if (sy_is_shard(names[i])) list[k++] = names[i];
    return sy_sums_write(out, list, err);
}

/* The finished model stands in OUT itself. */
static sy_status finish(run *r, sy_err *err)
{
    sy_arena a = { 0 };
    SY_TRY(sy_sums_remove(r->job->out, err));
    SY_TRY(sy_model_save(r->model, r->job->out, sy_tokenizer_eot(r->job->tok), NULL, err));
    SY_TRY(sy_tokenizer_save(r->job->tok, r->job->out, err));
    sy_status st = sum_model(r->job->out, &a, err);
    sy_arena_free(&a);
    return st;
}

static sy_status newest(const run *r, char *path, bool *found, sy_err *err)
{
    char dir[PATH];
    sy_arena a = { 0 };
    const char **names, *best = NULL;
    int n = 0;
    SY_TRY(checkpoints_dir(r, dir, err));
    sy_status st = sy_is_dir(dir) ? sy_dir_list(dir, &a, &names, &n, err) : SY_OK;
    for (int i = 0; i < n; i++) if (!strncmp(names[i], "step-", 5)) best = names[i];
    *found = best != NULL;
    if (st == SY_OK && best) st = sy_path(path, PATH, dir, best, err);
    sy_arena_free(&a);
    return st;
}

static sy_status read_unfinished(run *r, const char *path, sy_err *err)
{
    json_t *root;
    SY_TRY(sy_json_read(&root, path, 1 << 20, err));
    sy_status st = step_of(root, path, r, &r->result, err);
    json_decref(root);
    r->unfinished = st == SY_OK;
    return st;
}

/* Brings weights, moments, counters and the length of the metrics back to the newest checkpoint `dir`; without one the run begins anew. */
static sy_status restore(run *r, const char *dir, bool found, sy_err *err)
{
    char path[PATH];
    sy_state_item item[STATE_ITEMS];
    state_of(r, item);
    item[STATE_METRICS].value = item[STATE_EVENTS].value = 0;
    if (found) {
        sy_status st = sy_sums_check(dir, (const char *const []){ "model.safetensors", "training_state.safetensors", NULL }, err);
        SY_TRY(sy_within(err, st, "the checkpoint cannot be used (delete its folder to continue from the one before)"));
        SY_TRY(sy_model_read(r->model, dir, NULL, err));
        SY_TRY(sy_path(path, sizeof path, dir, "training_state.safetensors", err));
        SY_TRY(sy_state_load(r->model, path, item, STATE_ITEMS, err));
        if (item[STATE_STEP].value != strtoll(strrchr(dir, '-') + 1, NULL, 10) || item[STATE_STEP].value < 0 || item[STATE_STEP].value > r->stepper.steps || item[STATE_ROW].value < 0 || item[STATE_UPDATES].value < 0 || item[STATE_UPDATES].value > item[STATE_STEP].value)
            return sy_fail(err, SY_EFORMAT, "%s is at step %lld of a run with %lld steps; it belongs to another run or another checkpoint", path, (long long)item[STATE_STEP].value, (long long)r->stepper.steps);
        r->stepper.step = item[STATE_STEP].value;
        r->stepper.updates = item[STATE_UPDATES].value;
        r->stepper.row = item[STATE_ROW].value;
        r->tokens = item[STATE_TOKENS].value;
        r->bad = item[STATE_BAD].value;
        SY_TRY(sy_path(path, sizeof path, dir, UNFINISHED, err));
        if (sy_file_exists(path)) SY_TRY(read_unfinished(r, path, err));
    }
    if (sy_file_exists(r->metrics) || item[STATE_METRICS].value > 0) SY_TRY(sy_file_cut(r->metrics, item[STATE_METRICS].value < 0 ? 0 : item[STATE_METRICS].value, err));
    if (sy_file_exists(r->events) || item[STATE_EVENTS].value > 0) SY_TRY(sy_file_cut(r->events, item[STATE_EVENTS].value < 0 ? 0 : item[STATE_EVENTS].value, err));
    return SY_OK;
}

/* --- opening a run ---------------------------------------------------------------------------------------------------------- */

static void objectives_id(const run *r, char out[17]) { snprintf(out, 17, "%016llx", (unsigned long long)r->stepper.objectives.id); }

static sy_status write_run_json(const run *r, const char *path, sy_err *err)
{
    sy_buf b = { 0 };
    sy_json j;
    sy_config defaults;
    double total, active, madds, k = sy_model_nominal_k(r->model);
    sy_spec_size(&r->model->spec, k ? k : r->model->spec.num_experts, &total, &active, &madds);
    sy_config_defaults(&defaults);
    sy_json_open(&j, &b, 2);
    sy_json_begin(&j, '{');
    sy_json_key(&j, "switchyard"), sy_json_text(&j, SY_VERSION);
    sy_json_key(&j, "commit"), sy_json_text(&j, SY_COMMIT);
    sy_config_write(r->c, &j);
    sy_json_key(&j, "derived");
    sy_json_begin(&j, '{');
    sy_json_key(&j, "steps"), sy_json_int(&j, r->stepper.steps);
    sy_json_key(&j, "parameters"), sy_json_real(&j, total);
    sy_json_key(&j, "active_parameters"), sy_json_real(&j, active);
    sy_json_key(&j, "flops_per_token"), sy_json_real(&j, 6 * madds * sy_objectives_passes(&r->stepper.objectives));
    sy_json_key(&j, "data_id"), sy_json_text(&j, sy_data_id(r->job->data));
    sy_json_key(&j, "tokenizer_id"), sy_json_text(&j, sy_tokenizer_id(r->job->tok));
    sy_json_key(&j, "kernels"), sy_json_text(&j, r->job->eng->k->name);
    if (sy_objectives_prepares(&r->stepper.objectives)) {
        char id[17];
        objectives_id(r, id);
        sy_json_key(&j, "objective_id"), sy_json_text(&j, id);
    }
    sy_json_key(&j, "defaults");                     /* of this version: a report shows what differs */
    sy_json_begin(&j, '{');
    sy_config_write(&defaults, &j);
    sy_json_end(&j, '}');
    sy_json_end(&j, '}');
    sy_json_end(&j, '}');
    sy_buf_put(&b, "\n", 1);
    sy_status st = b.failed ? sy_fail(err, SY_ENOMEM, "no memory to write %s", path) : sy_file_write(path, b.data, b.n, err);
    sy_buf_free(&b);
    return st;
}

/* The run in OUT must be this one: same config, same rows of data, same tokenizer. */
static sy_status same_run(const run *r, const char *path, sy_err *err)
{
    sy_config old;
    sy_arena a = { 0 };
    char what[640];
    json_t *root = NULL;
    sy_config_defaults(&old);
    sy_status st = sy_config_read(&old, path, &a, err);
    if (st == SY_OK && sy_config_differs(&old, r->c, what, sizeof what))
        st = sy_fail(err, SY_EARG, "%s holds a run with other settings (%s); resume it with its own, or choose another --out", r->job->out, what);
    if (st == SY_OK) st = sy_json_read(&root, path, 1 << 22, err);
    if (st == SY_OK) {
        json_t *d = json_object_get(root, "derived");
        const char *data = json_string_value(json_object_get(d, "data_id")), *tok = json_string_value(json_object_get(d, "tokenizer_id"));
        const char *kernels = json_string_value(json_object_get(d, "kernels")), *here = r->job->eng->k->name;
        if (!data || strcmp(data, sy_data_id(r->job->data))) st = sy_fail(err, SY_EARG, "the text of the run in %s has changed since; restore it, or start a new run with another --out", r->job->out);
        else if (!tok || strcmp(tok, sy_tokenizer_id(r->job->tok))) st = sy_fail(err, SY_EARG, "the tokenizer of the run in %s has changed since; restore it, or start a new run", r->job->out);
        else if (kernels && strcmp(kernels, here))
            sy_log_warn(r->job->eng->log, "the run in %s began with the kernels %s and goes on with %s: its last digits will differ from those of a run on one machine", r->job->out, kernels, here);
    }
    json_decref(root);
    sy_arena_free(&a);
    return st;
}

/* Patterns of --train and --freeze take gradients away, before the first step. */
static sy_status freeze(run *r, sy_err *err)
{
    const char *only = r->c->train_params, *not = r->c->freeze_params;
    int trained = 0, hit = 0;
    for (int i = 0; i < r->model->params.n; i++) {
        sy_param *p = r->model->params.p[i];
        bool off = (*only && fnmatch(only, p->name, 0) != 0) || (*not && fnmatch(not, p->name, 0) == 0);
        hit += *not && fnmatch(not, p->name, 0) == 0;
        if (off && p->w.dx) sy_param_freeze(p);
        trained += sy_param_trains(p);
    }
    if (!trained) return sy_fail(err, SY_EARG, "--train '%s' and --freeze '%s' leave no parameter to train; names look like %s", only, not, r->model->params.p[r->model->params.n - 1]->name);
    if (*not && !hit) return sy_fail(err, SY_EARG, "--freeze '%s' matches no parameter; names look like %s", not, r->model->params.p[r->model->params.n - 1]->name);
    return SY_OK;
}

/* The weights come from the seed, or from the checkpoint of --from; or `later`, from one of this run, which then needs neither. */
static sy_status open_model(run *r, bool later, sy_err *err)
{
    const char *from = later ? "" : r->c->from;
    SY_TRY(sy_model_new(&r->model, r->job->eng, &r->c->model, SY_MODEL_TRAIN | (later || *from ? SY_MODEL_EMPTY : 0), (uint64_t)r->c->train.seed, err));
    if (r->model->spec.vocab_size < sy_tokenizer_vocab(r->job->tok))
        return sy_fail(err, SY_ESHAPE, "vocab_size is %d, the tokenizer has %d ids; set vocab_size=%d or more", r->model->spec.vocab_size, sy_tokenizer_vocab(r->job->tok), sy_tokenizer_vocab(r->job->tok));
    if (*from) {
        char dir[PATH];
        SY_TRY(sy_checkpoint_find(from, dir, sizeof dir, err));
        SY_TRY(sy_model_read(r->model, dir, NULL, err));
        SY_TRY(sy_sums_check_small(dir, err));
    }
    return freeze(r, err);
}

/* What objectives made of the starting weights and the data must be what the run began with. */
static sy_status same_objectives(const run *r, const char *path, sy_err *err)
{
    json_t *root;
    char id[17];
    if (!sy_objectives_prepares(&r->stepper.objectives)) return SY_OK;
    SY_TRY(sy_json_read(&root, path, 1 << 22, err));
    const char *old = json_string_value(json_object_get(json_object_get(root, "derived"), "objective_id"));
    objectives_id(r, id);
    sy_status st = old && !strcmp(old, id) ? SY_OK
                 : sy_fail(err, SY_EARG, "the weights that the run in %s began with have changed since (%s): its objective cannot be made again; restore them, or start a new run", r->job->out, *r->c->from ? r->c->from : "of the seed");
    json_decref(root);
    return st;
}

static int64_t steps_of(const run *r)
{
    if (r->c->train.steps) return r->c->train.steps;
    double rows = r->c->train.epochs * (double)sy_data_epoch_rows(r->job->data);
    int64_t n = (int64_t)ceil(rows / r->c->train.batch_size);
    return n > 0 ? n : 1;
}

static sy_status open_run(run *r, sy_err *err)
{
    char path[PATH], dir[PATH], last[PATH];
    bool found;
    const sy_train_options *o = &r->c->train;
    SY_TRY(sy_path(path, sizeof path, r->job->out, "run.json", err));
    SY_TRY(sy_path(r->metrics, sizeof r->metrics, r->job->out, METRICS, err));
    SY_TRY(sy_path(r->events, sizeof r->events, r->job->out, EVENTS, err));
    SY_TRY(checkpoints_dir(r, dir, err));
    SY_TRY(newest(r, last, &found, err));
    bool there = sy_file_exists(path);
    if (r->job->resume && !there) return sy_fail(err, SY_ENOENT, "%s holds no run to resume (no run.json)", r->job->out);
    if (!r->job->resume && (there || sy_file_exists(r->metrics) || found))
        return sy_fail(err, SY_EEXIST, "%s already holds a run; continue it with --resume, or choose another --out", r->job->out);
    if (there) SY_TRY(same_run(r, path, err));
    sy_objectives objectives;
    SY_TRY(sy_objectives_open(&objectives, o->objective, &r->job->eng->methods, &r->objectives, err));
    bool later = found && !sy_objectives_prepares(&objectives);      /* else the weights that the run began with are needed first */
    SY_TRY(open_model(r, later, err));
    SY_TRY(sy_mkdirs(dir, err));
    r->stepper = (sy_stepper){ .model = r->model, .data = r->job->data, .optim = &r->c->train.optim, .seed = (uint64_t)o->seed, .batch_size = o->batch_size,
                               .micro_batch_size = o->micro_batch_size, .z_loss = o->z_loss, .label_smoothing = o->label_smoothing, .bf16 = o->dtype == SY_BFLOAT16, .recompute = o->recompute == SY_RECOMPUTE_LAYERS, .steps = steps_of(r),
                               .objectives = objectives };
    sy_tape_init(&r->stepper.tape, r->job->eng, true);
    if (!later && !*r->c->from) SY_TRY(sy_stepper_learn(&r->stepper, err));
    SY_TRY(sy_objectives_begin(&r->stepper.objectives, r->model, r->job->data, &r->objectives, err));
    if (there) SY_TRY(same_objectives(r, path, err));
    r->evaluated = -1;
    if (there) {
        SY_TRY(prune(r, 0, err));
        return restore(r, last, found, err);
    }
    SY_TRY(sy_tokenizer_save(r->job->tok, r->job->out, err));
    return write_run_json(r, path, err);             /* last: its presence says that the folder is a run */
}

/* --- the loop --------------------------------------------------------------------------------------------------------------- */

static bool stopping(void *arg)
{
    const run *r = arg;
    return r->job->stop && *r->job->stop;
}

static bool has_eval(const run *r)
{
    for (int i = 0; i < sy_data_domains(r->job->data); i++) if (sy_data_domain(r->job->data, i)->eval_tokens) return true;
    return false;
}

static sy_status evaluate(run *r, sy_err *err)
{
    sy_arena_reset(&r->eval_arena);
    SY_TRY(sy_evaluate(r->model, r->job->data, r->c->train.eval_rows, &(sy_eval_hooks){ .stop = stopping, .arg = r }, &r->eval, &r->eval_arena, err));
    r->evaluated = r->stepper.step;
    tell(r, (sy_train_event){ .moment = SY_AT_EVAL, .eval = &r->eval });
    return SY_OK;
}

/* What follows a step: evaluation, metrics, checkpoint. *done: the run ends. */
static sy_status conclude(run *r, const sy_step_result *s, bool eval, bool line, bool last, double per_s, bool *done, sy_err *err)
{
    const sy_train_options *o = &r->c->train;
    int64_t step = r->stepper.step;
    if (eval) {
        sy_status st = evaluate(r, err);
        if (st == SY_ESTOP) {                        /* the step is saved; once the run is resumed it is evaluated first of all */
            *done = true;
            return save(r, s, err);
        }
        SY_TRY(st);
        r->last_time = sy_now();
    }
    if (line) SY_TRY(write_metrics(r, s, eval, per_s, err));
    if (r->bad >= BAD_STEPS) {                       /* more: a run that was resumed behind the third */
        SY_TRY(save(r, NULL, err));
        return sy_fail(err, SY_ENUM, "step %lld: the %s is not finite for the third time in a row; the state before is saved: lower lr or raise warmup_steps and start again --from it",
                       (long long)step, s->broken ? s->broken->name : "loss");
    }
    *done = last || stopping(r);
    return *done || (o->checkpoint_every && step % o->checkpoint_every == 0) ? save(r, NULL, err) : SY_OK;
}

static sy_status one(run *r, bool *done, sy_err *err)
{
    const sy_train_options *o = &r->c->train;
    sy_step_result s;
    SY_TRY(sy_stepper_run(&r->stepper, &s, err));
    int64_t step = r->stepper.step;
    r->tokens += s.tokens;
    r->bad = s.skipped ? r->bad + 1 : 0;
    bool out_of_time = o->max_minutes > 0 && sy_now() - r->began > 60 * o->max_minutes, last = step == r->stepper.steps || out_of_time;
    bool eval = has_eval(r) && (last || (o->eval_every && step % o->eval_every == 0)), line = last || eval || s.skipped || step == 1 || step % o->log_every == 0;
    double per_s = line ? rate(r) : 0;               /* before the evaluation, whose time is not the step's */
    tell(r, (sy_train_event){ .moment = s.skipped ? SY_AT_SKIP : SY_AT_STEP, .result = &s, .tokens_per_s = per_s });
    return conclude(r, &s, eval, line, last, per_s, done, err);
}

static sy_status loop(run *r, sy_err *err)
{
    bool done = r->stepper.step >= r->stepper.steps;
    tell(r, (sy_train_event){ .moment = SY_AT_START });
    if (r->unfinished) SY_TRY(conclude(r, &r->result, true, true, done, 0, &done, err));
    while (!done) SY_TRY(one(r, &done, err));
    bool whole = r->stepper.step >= r->stepper.steps || (r->c->train.max_minutes > 0 && !stopping(r));
    if (whole && has_eval(r) && r->evaluated != r->stepper.step) {     /* resumed behind the last step */
        sy_status st = evaluate(r, err);
        if (st == SY_ESTOP) whole = false;
        else SY_TRY(st);
    }
    if (whole) SY_TRY(finish(r, err));
    tell(r, (sy_train_event){ .moment = SY_AT_END, .eval = r->evaluated == r->stepper.step ? &r->eval : NULL, .path = r->job->out, .stopped = !whole });
    return SY_OK;
}

sy_status sy_train(const sy_train_job *job, sy_err *err)
{
    run r = { .job = job, .c = job->config };
    r.began = r.last_time = sy_now();
    sy_status st = open_run(&r, err);
    r.last_tokens = r.tokens;
    if (st == SY_OK) st = loop(&r, err);
    sy_stepper_close(&r.stepper);
    sy_arena_free(&r.eval_arena);
    sy_arena_free(&r.objectives);
    sy_arena_free(&r.kept);
    sy_buf_free(&r.line);
    sy_buf_free(&r.event);
    sy_model_free(r.model);
    return st;
}
