/* train/train.h - a whole run: steps, evaluations, checkpoints, metrics, exact resume.
 *
 * OUT/run.json             the resolved config, and what follows from it
 * OUT/metrics.jsonl        a line every log_every steps and at each evaluation: what the step gave (loss, loss_by_domain, aux, ...), `eval`, `routing`
 * OUT/events.out.tfevents.switchyard   the same for TensorBoard
 * OUT/checkpoints/step-N/  config.json, model.safetensors, tokenizer.json, training_state.safetensors, ..., SHA256SUMS; the last `keep` of them
 * OUT/config.json, model.safetensors, ..., SHA256SUMS   the finished model, once all steps are done
 * A run that was killed at any moment and resumed writes the same bytes as one that was left alone, times apart. */
#ifndef SY_TRAIN_RUN_H
#define SY_TRAIN_RUN_H

#include <signal.h>

#include "data/evaluate.h"
#include "model/checkpoint.h"
#include "model/tokenizer.h"
#include "train/config.h"
#include "train/step.h"

typedef enum { SY_AT_START, SY_AT_STEP, SY_AT_SKIP, SY_AT_EVAL, SY_AT_CHECKPOINT, SY_AT_END } sy_train_moment;

typedef struct sy_train_event {
    sy_train_moment       moment;
    int64_t               step, steps, tokens;      /* steps done, of how many; tokens read so far */
    double                seconds, tokens_per_s;    /* since this process began the run; since the last line of metrics */
    const sy_step_result *result;                   /* STEP, SKIP */
    const sy_evaluation  *eval;                     /* EVAL, END */
    const char           *path;                     /* CHECKPOINT, END: the folder */
    sy_model             *model;
    bool                  stopped;                  /* END: by signal or time before the last step */
} sy_train_event;

typedef struct sy_train_job {
    sy_engine          *eng;
    const sy_config    *config;
    sy_data            *data;
    const sy_tokenizer *tok;
    const char         *out;
    bool                resume;
    const volatile sig_atomic_t *stop;              /* becomes non-zero: save and end; may be NULL */
    void              (*on)(void *arg, const sy_train_event *e);    /* may be NULL */
    void               *arg;
} sy_train_job;

/* Runs or continues. Without `resume` a folder that holds another run is refused (SY_EEXIST). SY_ENUM: three steps in a row were not
 * finite; the state is saved. A stop, in a step or in an evaluation, saves, reports stopped at END
 * and is SY_OK. */
sy_status sy_train(const sy_train_job *job, sy_err *err);

#endif
