/* tests/train/bed.h - a small run for the tests of the trainer: text made on the spot, bytes as tokens, a model of a few thousand weights. */
#ifndef SY_TESTS_TRAIN_BED_H
#define SY_TESTS_TRAIN_BED_H

#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "methods.h"
#include "train/train.h"

#define BED_MODEL "vocab_size=256 hidden_size=16 num_hidden_layers=2 num_attention_heads=2 intermediate_size=24 layers=dense,sparse num_experts=4 " \
                  "moe_intermediate_size=16 max_position_embeddings=16 router=topk:top_k=2,norm_topk_prob=true balance=switch:coef=0.01 tie_word_embeddings=true " \
                  "seq_len=16 batch_size=4 steps=12 lr=1e-2 warmup_steps=3 log_every=2 eval_every=5 "

typedef struct bed {
    sy_arena      a;
    sy_engine     eng;
    sy_tokenizer *tok;
    sy_data      *data;
    sy_config     c;
} bed;

static uint64_t bed_rng(uint64_t *s)                 /* splitmix64 */
{
    uint64_t z = *s += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* A path below the test's folder; four stand at a time. */
static inline const char *bed_path(const char *fmt, ...) SY_PRINTF(1, 2);
static inline const char *bed_path(const char *fmt, ...)
{
    static char path[4][700];
    static int turn;
    char name[400], *p = path[turn++ % 4];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    snprintf(p, 700, "%s/%s", sy_test_dir(), name);
    return p;
}

/* Two domains, words and digits: text/words.txt, text/digits.txt. Made once; `salt` other than 0 makes text of its own. */
static inline const char *bed_text(uint64_t salt)
{
    static const char *const word[] = { "gate", "token", "expert", "route", "of", "the", "a", "slot", "drop", "load" };
    const char *dir = salt ? bed_path("text-%llu", (unsigned long long)salt) : bed_path("text");
    char path[800];
    sy_buf b = { 0 };
    uint64_t g = 7 + salt;
    if (sy_is_dir(dir)) return dir;
    sy_expect_ok(sy_mkdirs(dir, err));
    while (b.n < 2000) sy_buf_printf(&b, "%s%s", word[bed_rng(&g) % 10], bed_rng(&g) % 8 ? " " : ".\n");
    snprintf(path, sizeof path, "%s/words.txt", dir);
    sy_expect_ok(sy_file_write(path, b.data, b.n, err));
    sy_buf_clear(&b);
    while (b.n < 1500) sy_buf_printf(&b, "%llu%s", (unsigned long long)(bed_rng(&g) % 100), bed_rng(&g) % 8 ? "+" : "\n");
    snprintf(path, sizeof path, "%s/digits.txt", dir);
    sy_expect_ok(sy_file_write(path, b.data, b.n, err));
    sy_buf_free(&b);
    return dir;
}

static inline sy_status bed_set(bed *b, const char *settings, sy_err *err)
{
    return sy_recipe_apply(&(sy_recipe){ .name = "test", .settings = settings }, &b->c, &b->a, err);
}

static inline sy_status bed_data(bed *b, const char *text, sy_err *err)
{
    const char *src[] = { text };
    return sy_data_open(&b->data, &(sy_sources){ .train = src, .n_train = 1 }, &b->c.data, b->tok, (uint64_t)b->c.train.seed, err);
}

static inline void bed_close(bed *b)
{
    sy_data_close(b->data);
    sy_tokenizer_close(b->tok);
    sy_engine_uninit(&b->eng);
    sy_arena_free(&b->a);
    *b = (bed){ 0 };
}

static inline void bed_open_text(bed *b, int threads, const char *settings, const char *text)
{
    *b = (bed){ 0 };
    sy_config_defaults(&b->c);
    sy_expect_ok(bed_set(b, BED_MODEL, err));
    sy_expect_ok(bed_set(b, settings, err));
    sy_expect_ok(sy_engine_init(&b->eng, threads, NULL, &sy_builtin_methods, err));
    sy_expect_ok(sy_tokenizer_open_bytes(&b->tok, false, err));
    sy_expect_ok(bed_data(b, text, err));
}

static inline void bed_open(bed *b, int threads, const char *settings) { bed_open_text(b, threads, settings, bed_text(0)); }

static inline sy_model *bed_model(bed *b)
{
    sy_model *m;
    sy_expect_ok(sy_model_new(&m, &b->eng, &b->c.model, SY_MODEL_TRAIN, (uint64_t)b->c.train.seed, err));
    return m;
}

static inline void bed_stepper(bed *b, sy_model *m, sy_stepper *s)
{
    const sy_train_options *o = &b->c.train;
    *s = (sy_stepper){ .model = m, .data = b->data, .optim = &o->optim, .seed = (uint64_t)o->seed, .batch_size = o->batch_size, .micro_batch_size = o->micro_batch_size,
                       .z_loss = o->z_loss, .label_smoothing = o->label_smoothing, .bf16 = o->dtype == SY_BFLOAT16, .recompute = o->recompute == SY_RECOMPUTE_LAYERS, .steps = o->steps };
    sy_tape_init(&s->tape, &b->eng, true);
}

/* Runs, or continues, in the folder `out`. */
static inline sy_status bed_train(bed *b, const char *out, bool resume, sy_err *err)
{
    return sy_train(&(sy_train_job){ .eng = &b->eng, .config = &b->c, .data = b->data, .tok = b->tok, .out = out, .resume = resume }, err);
}

static inline sy_buf bed_read(const char *dir, const char *name)
{
    char path[1200];
    sy_buf b = { 0 };
    snprintf(path, sizeof path, "%s/%s", dir, name);
    sy_expect_ok(sy_file_read(path, 1 << 26, &b, err));
    return b;
}

static inline void bed_expect_same_file(const char *a, const char *b, const char *name)
{
    sy_buf x = bed_read(a, name), y = bed_read(b, name);
    if (x.n != y.n) fail_msg("%s has %zu bytes in %s and %zu in %s", name, x.n, a, y.n, b);
    sy_expect_same(name, x.data, y.data, x.n);
    sy_buf_free(&x);
    sy_buf_free(&y);
}

/* metrics.jsonl without its timings. */
static inline sy_buf bed_metrics(const char *dir)
{
    sy_buf b = bed_read(dir, "metrics.jsonl"), out = { 0 };
    for (char *p = b.data; *p; ) {
        char *t = strstr(p, "\"tokens_per_s\":"), *end = t ? t + strcspn(t, ",}") : p + strlen(p);
        sy_buf_put(&out, p, (size_t)((t ? t : end) - p));
        p = end;
    }
    sy_buf_put(&out, "", 0);
    sy_buf_free(&b);
    return out;
}

/* Same weights, same metrics apart from timings. */
static inline void bed_expect_same_run(const char *a, const char *b)
{
    bed_expect_same_file(a, b, "model.safetensors");
    bed_expect_same_file(a, b, "config.json");
    sy_buf x = bed_metrics(a), y = bed_metrics(b);
    if (x.n != y.n || memcmp(x.data, y.data, x.n)) fail_msg("metrics of %s and %s differ:\n%s\n--- and\n%s", a, b, x.data, y.data);
    sy_buf_free(&x);
    sy_buf_free(&y);
}

#endif
