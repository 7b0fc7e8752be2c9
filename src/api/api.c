/* api.c - the installed header's calls, made of the floors below. */
#include "switchyard.h"

#include <stdio.h>
#include <string.h>

#include "build_info.h"
#include "core/alloc.h"
#include "core/file.h"
#include "core/words.h"
#include "data/evaluate.h"
#include "infer/settings.h"
#include "methods.h"
#include "model/chat.h"
#include "model/checkpoint.h"
#include "switchyard/method.h"
#include "train/config.h"
#include "train/step.h"

const char *sy_version(void) { return SY_VERSION " (" SY_COMMIT ")"; }

/* --- engine ------------------------------------------------------------------------------------------------------------------ */

sy_status sy_engine_open(sy_engine **out, int threads, const char *kernels, sy_err *err)
{
    sy_engine *e = sy_calloc(1, sizeof *e);
    if (!e) return sy_fail(err, SY_ENOMEM, "no memory for an engine");
    sy_status st = sy_engine_init(e, threads, kernels, &sy_builtin_methods, err);
    if (st != SY_OK) { sy_free(e); return st; }
    e->int8 = true;
    *out = e;
    return SY_OK;
}

void sy_engine_exact(sy_engine *e, bool exact) { e->int8 = !exact; }

void sy_engine_close(sy_engine *e)
{
    if (!e) return;
    sy_engine_uninit(e);
    sy_free(e);
}

/* --- a model with its tokenizer ---------------------------------------------------------------------------------------------- */

struct sy_lm {
    sy_model     *model;
    sy_tokenizer *tok;
    sy_generator  gen;
    sy_settings   settings;             /* which ids end a text */
    float        *logits;               /* [V] of the last feed */
    bool          fed;
};

void sy_lm_close(sy_lm *m)
{
    if (!m) return;
    sy_generator_close(&m->gen);
    sy_tokenizer_close(m->tok);
    sy_model_free(m->model);
    sy_free(m->logits);
    sy_free(m);
}

/* The ids that end a text beside the tokenizer's own; how the makers would draw tokens is the caller's to say. */
static sy_status read_ends(sy_lm *m, const char *path, sy_err *err)
{
    sy_generate_options o;
    sy_arena a = { 0 };
    sy_opt_defaults(sy_generate_opts, &o);
    sy_status st = sy_settings_read(path, &o, UINT64_MAX, &m->settings, &a, err);
    m->settings.left_out = NULL;                     /* in the arena */
    sy_arena_free(&a);
    return st;
}

static sy_status lm_open(sy_lm *m, sy_engine *e, const char *dir, sy_err *err)
{
    char found[1024];
    SY_TRY(sy_checkpoint_find(dir, found, sizeof found, err));
    SY_TRY(sy_model_load(&m->model, e, found, 0, NULL, err));
    SY_TRY(sy_tokenizer_load(&m->tok, found, err));
    SY_TRY(sy_tokenizer_fits(m->tok, m->model->spec.vocab_size, found, err));
    SY_TRY(read_ends(m, found, err));
    m->logits = sy_malloc((size_t)m->model->spec.vocab_size * sizeof *m->logits);
    if (!m->logits) return sy_fail(err, SY_ENOMEM, "no memory for %d logits", m->model->spec.vocab_size);
    return sy_generator_open(&m->gen, m->model, m->tok, m->model->spec.max_position_embeddings, err);
}

sy_status sy_lm_open(sy_lm **out, sy_engine *e, const char *dir, sy_err *err)
{
    sy_lm *m = sy_calloc(1, sizeof *m);
    if (!m) return sy_fail(err, SY_ENOMEM, "no memory for a model");
    sy_status st = lm_open(m, e, dir, err);
    if (st != SY_OK) { sy_lm_close(m); return st; }
    *out = m;
    return SY_OK;
}

int sy_lm_vocab(const sy_lm *m) { return m->model->spec.vocab_size; }
int sy_lm_context(const sy_lm *m) { return m->gen.room; }

sy_status sy_lm_encode(const sy_lm *m, const char *text, size_t bytes, int32_t *id, size_t room, size_t *n, sy_err *err)
{
    size_t most = sy_tokenizer_most(m->tok, bytes), ids = 0;
    if (most <= room) return sy_tokenizer_encode(m->tok, text, bytes, id, n, err);
    int32_t *all = sy_malloc(sy_mul_size(most, sizeof *all));
    if (!all) return sy_fail(err, SY_ENOMEM, "no memory to encode %zu bytes", bytes);
    sy_status st = sy_tokenizer_encode(m->tok, text, bytes, all, &ids, err);
    if (st == SY_OK && ids > room) st = sy_fail(err, SY_ESHAPE, "the text has %zu tokens, there is room for %zu", ids, room);
    if (st == SY_OK) {
        memcpy(id, all, ids * sizeof *id);
        *n = ids;
    }
    sy_free(all);
    return st;
}

sy_status sy_lm_decode(const sy_lm *m, const int32_t *id, size_t ids, char *buf, size_t size, size_t *n, sy_err *err)
{
    sy_buf b = { 0 };
    sy_status st = sy_tokenizer_decode(m->tok, id, ids, &b, err);
    if (st == SY_OK && b.n + 1 > size) st = sy_fail(err, SY_ESHAPE, "the text has %zu bytes, there is room for %zu", b.n, size ? size - 1 : 0);
    if (st == SY_OK) {
        if (b.n) memcpy(buf, b.data, b.n);
        buf[b.n] = 0;
        *n = b.n;
    }
    sy_buf_free(&b);
    return st;
}

sy_status sy_lm_feed(sy_lm *m, const int32_t *id, size_t n, sy_err *err)
{
    int V = m->model->spec.vocab_size;
    if (!n || n > (size_t)m->gen.room) return sy_fail(err, SY_ESHAPE, "%zu ids; a context takes 1 .. %d", n, m->gen.room);
    for (size_t i = 0; i < n; i++)
        if (id[i] < 0 || id[i] >= V) return sy_fail(err, SY_EARG, "id %d at place %zu is outside 0 .. %d", id[i], i, V - 1);
    int same = 0;
    while (same < m->gen.n && (size_t)same < n - 1 && m->gen.id[same] == id[same]) same++;      /* the last is always computed: its logits are wanted */
    sy_generator_rewind(&m->gen, same);
    m->fed = false;
    SY_TRY(sy_generator_feed(&m->gen, id + same, (int)n - same, NULL, err));
    for (int i = 0; i < V; i++) m->logits[i] = (float)m->gen.logits[i];
    m->fed = true;
    return SY_OK;
}

const float *sy_lm_logits(const sy_lm *m) { return m->fed ? m->logits : NULL; }

sy_status sy_lm_generate(sy_lm *m, const char *prompt, const char *options, bool (*text)(void *arg, const char *text, size_t n), void *arg, sy_err *err)
{
    sy_generate_options o;
    sy_arena a = { 0 };
    sy_opt_defaults(sy_generate_opts, &o);
    sy_status st = sy_opt_parse(sy_generate_opts, &o, options ? options : "", &a, NULL, err);
    size_t n = 0, bytes = strlen(prompt);
    int32_t *id = sy_arena_array(&a, sy_tokenizer_most(m->tok, bytes) + sy_tokenizer_front(m->tok), sizeof *id);
    if (st == SY_OK && !id) st = sy_fail(err, SY_ENOMEM, "no memory for the prompt");
    if (st == SY_OK) st = sy_tokenizer_prompt(m->tok, prompt, bytes, id, &n, err);
    if (st == SY_OK) st = sy_lm_feed(m, id, n, err);
    sy_generation x = { .text = text, .arg = arg, .eos = m->settings.eos, .n_eos = m->settings.n_eos };
    if (st == SY_OK) st = sy_generate(&m->gen, &o, &x, NULL, err);
    m->fed = false;                                  /* the context now ends with what was generated */
    sy_arena_free(&a);
    return st;
}

/* --- training ------------------------------------------------------------------------------------------------------------------ */

struct sy_trainer {
    sy_engine    *eng;
    sy_arena      arena;
    sy_config     config;
    sy_tokenizer *tok;
    sy_data      *data;
    sy_stepper    stepper;
};

void sy_trainer_close(sy_trainer *t)
{
    if (!t) return;
    sy_stepper_close(&t->stepper);
    sy_model_free(t->stepper.model);
    sy_data_close(t->data);
    sy_tokenizer_close(t->tok);
    sy_arena_free(&t->arena);
    sy_free(t);
}

static sy_status trainer_open(sy_trainer *t, const char *settings, sy_err *err)
{
    sy_config *c = &t->config;
    sy_recipe r = { .name = "settings", .settings = settings };
    sy_config_defaults(c);
    SY_TRY(sy_recipe_apply(&r, c, &t->arena, err));
    if (!strcmp(c->corpus.tokenizer, "bytes")) SY_TRY(sy_tokenizer_open_bytes(&t->tok, false, err));
    else if (!strcmp(c->corpus.tokenizer, "bytes+eot")) SY_TRY(sy_tokenizer_open_bytes(&t->tok, true, err));
    else SY_TRY(sy_tokenizer_load(&t->tok, c->corpus.tokenizer, err));
    SY_TRY(sy_chat_give(c->data.chat_template, t->tok, err));
    if (!c->model.vocab_size) c->model.vocab_size = sy_tokenizer_vocab(t->tok);
    sy_sources src = { 0 };
    SY_TRY(sy_words_split(&t->arena, c->corpus.data, &src.train, &src.n_train, err));
    SY_TRY(sy_words_split(&t->arena, c->corpus.eval_data, &src.eval, &src.n_eval, err));
    if (!src.n_train) return sy_fail(err, SY_EARG, "no data: give data=FILE-OR-FOLDER");
    SY_TRY(sy_data_open(&t->data, &src, &c->data, t->tok, (uint64_t)c->train.seed, err));
    t->stepper = (sy_stepper){ .data = t->data, .optim = &c->train.optim, .seed = (uint64_t)c->train.seed, .batch_size = c->train.batch_size,
                               .micro_batch_size = c->train.micro_batch_size, .z_loss = c->train.z_loss, .label_smoothing = c->train.label_smoothing, .bf16 = c->train.dtype == SY_BFLOAT16, .recompute = c->train.recompute == SY_RECOMPUTE_LAYERS,
                               .steps = c->train.steps ? c->train.steps : 1 };
    sy_tape_init(&t->stepper.tape, t->eng, true);
    SY_TRY(sy_model_new(&t->stepper.model, t->eng, &c->model, SY_MODEL_TRAIN, (uint64_t)c->train.seed, err));
    return sy_stepper_learn(&t->stepper, err);
}

sy_status sy_trainer_open(sy_trainer **out, sy_engine *e, const char *settings, sy_err *err)
{
    sy_trainer *t = sy_calloc(1, sizeof *t);
    if (!t) return sy_fail(err, SY_ENOMEM, "no memory for a trainer");
    t->eng = e;
    sy_status st = trainer_open(t, settings, err);
    if (st != SY_OK) { sy_trainer_close(t); return st; }
    *out = t;
    return SY_OK;
}

sy_status sy_trainer_step(sy_trainer *t, double *loss, sy_err *err)
{
    sy_step_result r;
    SY_TRY(sy_stepper_run(&t->stepper, &r, err));
    if (r.skipped) return sy_fail(err, SY_ENUM, "step %lld was skipped: %s%s is not finite", (long long)t->stepper.step, r.broken ? "the gradient of " : "the loss", r.broken ? r.broken->name : "");
    *loss = r.loss;
    return SY_OK;
}

sy_status sy_trainer_evaluate(sy_trainer *t, double *nats_per_byte, sy_err *err)
{
    sy_arena a = { 0 };
    sy_evaluation e;
    sy_status st = sy_evaluate(t->stepper.model, t->data, t->config.train.eval_rows, NULL, &e, &a, err);
    if (st == SY_OK) *nats_per_byte = sy_eval_per_byte(&e.line[e.lines - 1]);
    sy_arena_free(&a);
    return st;
}

sy_status sy_trainer_save(sy_trainer *t, const char *dir, sy_err *err)
{
    SY_TRY(sy_mkdirs(dir, err));
    SY_TRY(sy_model_save(t->stepper.model, dir, sy_tokenizer_eot(t->tok), NULL, err));
    return sy_tokenizer_save(t->tok, dir, err);
}
