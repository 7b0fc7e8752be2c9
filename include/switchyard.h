/* switchyard.h - models that decide per token what to compute, inside a C program: load, generate, score, train.
 *
 * Handles are opaque, there are no globals, and nothing aborts, exits or prints. Every call that can fail returns a sy_status and writes one
 * sentence into the caller's sy_err (NULL: not wanted). One handle serves one caller at a time; handles of different engines are independent.
 * To write methods (routers, balance terms, experts), include switchyard/method.h. */
#ifndef SWITCHYARD_H
#define SWITCHYARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sy_engine  sy_engine;    /* threads and kernels */
typedef struct sy_lm      sy_lm;        /* a model with its tokenizer */
typedef struct sy_trainer sy_trainer;   /* a model in training, with its data */

/* "0.1.0 (commit)". */
const char *sy_version(void);

/* threads 0: as many as the affinity mask and the container allow. kernels NULL: the fastest set of this CPU, else "ref", "avx2", "avx512". */
sy_status sy_engine_open(sy_engine **out, int threads, const char *kernels, sy_err *err);
/* Weights in quantised formats (GGUF) meet activations that are rounded to eight bits, a row at a time; routers stay exact. true: no activation is rounded,
 * which is slower. For models opened from now on; weights that are numbers are not concerned. */
void      sy_engine_exact(sy_engine *e, bool exact);
/* After everything that was opened with it. NULL is fine. */
void      sy_engine_close(sy_engine *e);

/* Opens a model folder (config.json, model*.safetensors, tokenizer.json) or a run folder. Every tensor is accounted for, else SY_ELEDGER. */
sy_status sy_lm_open(sy_lm **out, sy_engine *e, const char *dir, sy_err *err);
void      sy_lm_close(sy_lm *m);                                     /* NULL is fine */
int       sy_lm_vocab(const sy_lm *m);                               /* ids are 0 .. vocab-1 */
int       sy_lm_context(const sy_lm *m);                             /* most positions */

/* Ids of a text: *n gets their number; SY_ESHAPE when they do not fit into `room`. */
sy_status sy_lm_encode(const sy_lm *m, const char *text, size_t bytes, int32_t *id, size_t room, size_t *n, sy_err *err);
/* Text of ids: *n bytes and a NUL into buf of `size` bytes. */
sy_status sy_lm_decode(const sy_lm *m, const int32_t *id, size_t ids, char *buf, size_t size, size_t *n, sy_err *err);

/* Sets the context to these ids (1 .. context); ids in front that are the same as before are not computed again. */
sy_status sy_lm_feed(sy_lm *m, const int32_t *id, size_t n, sy_err *err);
/* Logits [vocab] of what follows the context; valid until the next call on `m`. NULL before the first feed. */
const float *sy_lm_logits(const sy_lm *m);

/* Text after a prompt. options: "max_new_tokens=100,temperature=0.8,top_p=0.9,seed=1" (switchyard help lists them; NULL: defaults). `text` is called
 * with whole characters as they come; it returns false to end. */
sy_status sy_lm_generate(sy_lm *m, const char *prompt, const char *options, bool (*text)(void *arg, const char *text, size_t n), void *arg, sy_err *err);

/* A fresh model and its data. settings: "hidden_size=64 num_hidden_layers=2 layers=sparse data=text.txt lr=1e-3 batch_size=8 steps=100 ..." (switchyard
 * help config); a value with blanks stands in '...'. Methods that were registered with the engine are known by their names. */
sy_status sy_trainer_open(sy_trainer **out, sy_engine *e, const char *settings, sy_err *err);
void      sy_trainer_close(sy_trainer *t);                           /* NULL is fine */
/* One optimiser step; *loss in nats per token of this step. */
sy_status sy_trainer_step(sy_trainer *t, double *loss, sy_err *err);
/* Loss over all held-out text, in nats per byte. */
sy_status sy_trainer_evaluate(sy_trainer *t, double *nats_per_byte, sy_err *err);
/* Writes a model folder; made when absent. */
sy_status sy_trainer_save(sy_trainer *t, const char *dir, sy_err *err);

#ifdef __cplusplus
}
#endif

#endif
