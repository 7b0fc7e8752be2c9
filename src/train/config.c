/* train/config.c - sections of option tables seen as one config. */
#include "train/config.h"

#include <stdio.h>
#include <string.h>

#include "core/json.h"
#include "core/option_json.h"

const sy_opt sy_train_opts[] = {
    SY_INT (sy_train_options, steps, NULL, 0, 0, 1 << 30, "optimiser steps; 0 = as many as `epochs` need"),
    SY_REAL(sy_train_options, epochs, NULL, 1, 0, 1e6, "passes over the training text when steps is 0"),
    SY_INT (sy_train_options, batch_size, NULL, 16, 1, 1 << 20, "rows of seq_len tokens in a step"),
    SY_INT (sy_train_options, micro_batch_size, NULL, 0, 0, 1 << 20, "rows that pass through the model at once; 0 = the whole batch"),
    SY_INT (sy_train_options, seed, NULL, 1, 0, 2147483647, "weights, data order and routing noise follow from it"),
    SY_ENUM_(sy_train_options, dtype, NULL, SY_FLOAT32, "float32|bfloat16", "numbers that the products of a training step multiply; weights, sums, the optimiser, routers and evaluation stay float32"),
    SY_ENUM_(sy_train_options, recompute, NULL, SY_RECOMPUTE_NONE, "none|layers", "layers: what a layer makes is forgotten and made again in backward; the same bits, less memory, about a third more work"),
    SY_REAL(sy_train_options, z_loss, NULL, 0, 0, 1, "coefficient of the squared log-sum-exp of the output logits"),
    SY_REAL(sy_train_options, label_smoothing, NULL, 0, 0, 0.999, "share of the target spread over the vocabulary"),
    SY_TEXT(sy_train_options, objective, NULL, "", "losses over layers and passes, separated by blanks: methods of kind objective, e.g. thor:consistency_alpha=5"),
    SY_REAL(sy_train_options, max_minutes, NULL, 0, 0, 1e7, "the run ends after so many minutes, whatever the steps; 0 = never"),
    SY_INT (sy_train_options, log_every, NULL, 10, 1, 1 << 30, "steps between lines of metrics.jsonl"),
    SY_INT (sy_train_options, eval_every, NULL, 0, 0, 1 << 30, "steps between evaluations; 0 = only at the end"),
    SY_INT (sy_train_options, eval_rows, NULL, 16, 1, 4096, "windows evaluated at once"),
    SY_INT (sy_train_options, sample_every, NULL, 1, 0, 1 << 30, "evaluations between samples of text (samples.jsonl); 0 = only at the end"),
    SY_INT (sy_train_options, checkpoint_every, "save_steps", 0, 0, 1 << 30, "steps between checkpoints; 0 = only at the end"),
    SY_INT (sy_train_options, keep, "save_total_limit", 2, 1, 1000, "checkpoints kept"),
    SY_OPTS(sy_train_options, optim, sy_optim_opts),
    { 0 }
};

const sy_opt sy_corpus_opts[] = {
    SY_TEXT(sy_corpus_options, data, NULL, "", "sources of text, separated by blanks (in a path: \\ before the blank): path, name=path, name=path@weight"),
    SY_TEXT(sy_corpus_options, eval_data, NULL, "", "sources of held-out text; when given, nothing of `data` is held out"),
    SY_TEXT(sy_corpus_options, tokenizer, NULL, "bytes", "bytes, bpe (trained on the data), or a tokenizer.json"),
    SY_INT (sy_corpus_options, bpe_vocab_size, NULL, 8192, 257, 1 << 20, "size of the vocabulary that bpe learns"),
    SY_REAL(sy_corpus_options, bpe_mb, NULL, 16, 0.001, 1e6, "MiB of text that bpe learns from"),
    { 0 }
};

static const sy_opt extra_opts[] = {
    SY_TEXT(sy_config, train_params, NULL, "", "only parameters whose name matches this pattern are trained"),
    SY_TEXT(sy_config, freeze_params, NULL, "", "parameters whose name matches this pattern are not trained"),
    SY_TEXT(sy_config, from, NULL, "", "checkpoint that the weights came from"),
    { 0 }
};

enum { SECTIONS = 5 };
static const struct { const char *name; const sy_opt *rows; size_t at; } section[SECTIONS] = {
    { "model", sy_spec_opts, offsetof(sy_config, model) },
    { "train", sy_train_opts, offsetof(sy_config, train) },
    { "train", extra_opts, 0 },
    { "data", sy_corpus_opts, offsetof(sy_config, corpus) },
    { "data", sy_data_opts, offsetof(sy_config, data) },
};

void sy_config_defaults(sy_config *c)
{
    *c = (sy_config){ 0 };
    for (int s = 0; s < SECTIONS; s++) sy_opt_defaults(section[s].rows, (char *)c + section[s].at);
}

struct names { const char *name[256]; int n; };
static void collect(const sy_opt *row, size_t at, int index, void *arg)
{
    (void)at, (void)index;
    struct names *l = arg;
    if (l->n < 250) l->name[l->n++] = row->name;
    if (row->alias && l->n < 250) l->name[l->n++] = row->alias;
}

sy_status sy_config_set(sy_config *c, const char *key, const char *value, sy_arena *a, sy_err *err)
{
    const char *dot = strchr(key, '.'), *bare = dot ? dot + 1 : key;
    bool known = !dot;
    for (int s = 0; s < SECTIONS; s++) {
        if (dot && (strlen(section[s].name) != (size_t)(dot - key) || strncmp(section[s].name, key, (size_t)(dot - key)))) continue;
        known = true;
        if (sy_opt_find(section[s].rows, bare, NULL, NULL)) return sy_opt_set(section[s].rows, (char *)c + section[s].at, bare, value, a, NULL, err);
    }
    if (!known) return sy_fail(err, SY_EARG, "unknown section in '%s'; sections are model, train and data", key);
    struct names l = { .n = 0 };
    for (int s = 0; s < SECTIONS; s++) sy_opt_each(section[s].rows, collect, &l);
    l.name[l.n] = NULL;
    const char *near = sy_nearest(bare, l.name);
    if (near) return sy_fail(err, SY_EARG, "unknown key '%s'; did you mean '%s'?", key, near);
    return sy_fail(err, SY_EARG, "unknown key '%s' (switchyard help config lists all)", key);
}

static sy_status value(sy_config *c, const char *sec, const char *key, json_t *v, const char *path, sy_arena *a, sy_err *err)
{
    char name[160];
    const char *text;
    snprintf(name, sizeof name, "%s.%s", sec, key);
    SY_TRY(sy_opt_json_text(v, path, name, a, &text, err));
    return sy_within(err, sy_config_set(c, name, text, a, err), "%s", path);
}

sy_status sy_config_read(sy_config *c, const char *path, sy_arena *a, sy_err *err)
{
    static const char *const known[] = { "model", "train", "data", NULL };
    static const char *const notes[] = { "switchyard", "commit", "derived", "started", NULL };
    json_t *root, *sec, *v;
    const char *name, *key;
    SY_TRY(sy_json_read(&root, path, 1 << 22, err));
    sy_status st = json_is_object(root) ? SY_OK : sy_fail(err, SY_EFORMAT, "%s is not a JSON object", path);
    if (st == SY_OK)
        json_object_foreach(root, name, sec) {
            int s = 0, n = 0;
            while (known[s] && strcmp(known[s], name)) s++;
            while (notes[n] && strcmp(notes[n], name)) n++;
            if (notes[n]) continue;
            if (!known[s] || !json_is_object(sec)) { st = sy_fail(err, SY_EFORMAT, "%s: '%.60s' is no section; sections are model, train and data", path, name); break; }
            json_object_foreach(sec, key, v) if (st == SY_OK && !json_is_null(v)) st = value(c, name, key, v, path, a, err);
            if (st != SY_OK) break;
        }
    json_decref(root);
    return st;
}

void sy_config_write(const sy_config *c, sy_json *j)
{
    for (int s = 0; s < SECTIONS; s++) {
        if (!s || strcmp(section[s].name, section[s - 1].name)) {
            sy_json_key(j, section[s].name);
            sy_json_begin(j, '{');
        }
        sy_opt_json_write(section[s].rows, (const char *)c + section[s].at, j);
        if (s + 1 == SECTIONS || strcmp(section[s].name, section[s + 1].name)) sy_json_end(j, '}');
    }
}

struct compare { const char *a, *b, *section; char *buf; size_t size; bool found; };

static void compare_row(const sy_opt *row, size_t at, int index, void *arg)
{
    static const char *const free_keys[] = { "log_every", "sample_every", "checkpoint_every", "keep", "max_minutes", NULL };
    (void)index;
    struct compare *x = arg;
    char va[1024], vb[1024];
    if (x->found) return;
    if (row->type == SY_OPT_TEXT && !strcmp(*(const char *const *)(x->a + at), *(const char *const *)(x->b + at))) return;
    for (const char *const *k = free_keys; *k; k++) if (!strcmp(*k, row->name)) return;
    sy_opt_print(row, x->a, at, va, sizeof va);
    sy_opt_print(row, x->b, at, vb, sizeof vb);
    if (row->type != SY_OPT_TEXT && !strcmp(va, vb)) return;          /* long texts are cut when they are printed */
    snprintf(x->buf, x->size, "%s.%s is %.200s there, %.200s here", x->section, row->name, *va ? va : "(none)", *vb ? vb : "(none)");
    x->found = true;
}

bool sy_config_differs(const sy_config *a, const sy_config *b, char *buf, size_t size)
{
    struct compare x = { .buf = buf, .size = size };
    for (int s = 0; s < SECTIONS; s++) {
        x.a = (const char *)a + section[s].at;
        x.b = (const char *)b + section[s].at;
        x.section = section[s].name;
        sy_opt_each(section[s].rows, compare_row, &x);
    }
    return x.found;
}

/* --- recipes --------------------------------------------------------------------------------------------------------------- */

const sy_recipe *sy_recipe_find(const char *name, sy_err *err)
{
    const char *names[128];
    int n = 0;
    for (const sy_recipe *r = sy_recipes; r->name; r++) {
        if (!strcmp(r->name, name)) return r;
        if (n < 127) names[n++] = r->name;
    }
    names[n] = NULL;
    const char *near = sy_nearest(name, names);
    if (near) sy_fail(err, SY_ENOENT, "no recipe is called '%s'; did you mean '%s'?", name, near);
    else sy_fail(err, SY_ENOENT, "no recipe is called '%s' (switchyard help recipes lists them)", name);
    return NULL;
}

sy_status sy_recipe_apply(const sy_recipe *r, sy_config *c, sy_arena *a, sy_err *err)
{
    char key[128], val[1024];
    for (const char *p = r->settings + strspn(r->settings, " "); *p; p += strspn(p, " ")) {
        size_t k = strcspn(p, "=");
        bool quoted = p[k] && p[k + 1] == '\'';
        const char *v = p + k + 1 + quoted;
        size_t n = strcspn(v, quoted ? "'" : " ");
        if (!p[k] || k >= sizeof key || n >= sizeof val) return sy_fail(err, SY_EARG, "recipe %s: malformed at '%.40s'", r->name, p);
        memcpy(key, p, k), key[k] = 0;
        memcpy(val, v, n), val[n] = 0;
        SY_TRY(sy_within(err, sy_config_set(c, key, val, a, err), "recipe %s", r->name));
        p = v + n + quoted;
    }
    return SY_OK;
}
