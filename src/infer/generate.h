/* infer/generate.h - text from a model: a cache, a sampler, stop strings, and text that comes out as whole characters. */
#ifndef SY_GENERATE_H
#define SY_GENERATE_H

#include "infer/sample.h"
#include "model/model.h"
#include "model/tokenizer.h"

typedef struct sy_generate_options {
    sy_sample_options sample;
    int    max_new_tokens;
    bool   ignore_eos;
} sy_generate_options;
extern const sy_opt sy_generate_opts[];

typedef struct sy_generator {           /* one sequence; after the first tokens nothing is allocated */
    sy_model           *model;          /* borrowed */
    const sy_tokenizer *tok;            /* borrowed; NULL: ids only */
    sy_tape             tape;
    sy_kv               kv;
    sy_sampler          sampler;
    int                 room, n;        /* positions; ids so far */
    int                *id;             /* [room] */
    const sy_real      *logits;         /* [V] after the last id; on the tape until the next call */
    sy_route          **routes;         /* [sparse layers] of the last call */
    const sy_method    *decode;         /* who makes the scores (infer/decode.h), or NULL: the model's logits as they are */
    void               *decoder;        /* its state */
    sy_arena            arena;          /* what it lives in */
    uint64_t            madds;          /* multiply-adds of all passes so far */
} sy_generator;

/* room: positions of the context; at most sy_spec_positions. */
sy_status sy_generator_open(sy_generator *g, sy_model *m, const sy_tokenizer *tok, int room, sy_err *err);
void      sy_generator_close(sy_generator *g);
/* From now on ids are chosen by a decoding method: "scmoe:cd_beta=0.5". Once, before anything is read. */
sy_status sy_generator_decode(sy_generator *g, const char *method, sy_err *err);
/* Forgets everything from position n on. */
void      sy_generator_rewind(sy_generator *g, int n);
/* Reads ids (the prompt, or the last sampled id); then g->logits stand for what follows. `over` may be NULL. SY_ESHAPE when the context is full. */
sy_status sy_generator_feed(sy_generator *g, const int *id, int n, const sy_override *over, sy_err *err);

typedef enum { SY_STOP_NONE, SY_STOP_EOS, SY_STOP_TEXT, SY_STOP_LENGTH, SY_STOP_FULL, SY_STOP_ASKED } sy_ending;

typedef struct sy_generation {          /* zeroed, then filled by the caller */
    const char *const *stop; int n_stop;            /* stop strings */
    const int *eos; int n_eos;          /* ids that end it, beside the tokenizer's own */
    /* Called with text as it becomes certain: whole characters, never a part of a stop string. Returns false to end. May be NULL. */
    bool (*text)(void *arg, const char *text, size_t n);
    /* Called after each id, while routes and logits of its prediction stand. Returns false to end. May be NULL. */
    bool (*token)(void *arg, const sy_generator *g, int id);
    void *arg;
    const sy_override *over;
    sy_ending ended;                     /* out: why */
    int     tokens;                     /* out: how many were made */
} sy_generation;

/* Generates after what was fed (at least one id). The whole text goes to `out` when it is not NULL. Every id that was made is fed too, but
 * the last one when a stop string, the end of the document or a full context ends it. */
sy_status sy_generate(sy_generator *g, const sy_generate_options *o, sy_generation *x, sy_buf *out, sy_err *err);

#endif
