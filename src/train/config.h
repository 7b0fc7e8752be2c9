/* train/config.h - everything that decides a run, in one struct with one set of keys: config files, --set, run.json, recipes.
 *
 * Keys stand in sections (model, train, data); a bare key is looked for in all of them. */
#ifndef SY_CONFIG_H
#define SY_CONFIG_H

#include "core/json.h"
#include "data/data.h"
#include "model/spec.h"
#include "train/optim.h"

enum { SY_FLOAT32, SY_BFLOAT16 };         /* sy_train_options.dtype */
enum { SY_RECOMPUTE_NONE, SY_RECOMPUTE_LAYERS };    /* sy_train_options.recompute */

typedef struct sy_train_options {
    sy_optim optim;
    int      dtype, recompute;
    int      steps, batch_size, micro_batch_size, seed;
    double   epochs, z_loss, label_smoothing, max_minutes;
    const char *objective;
    int      log_every, eval_every, eval_rows, sample_every, checkpoint_every, keep;
} sy_train_options;
extern const sy_opt sy_train_opts[];

typedef struct sy_corpus_options {      /* where text and tokens come from */
    const char *data, *eval_data;       /* sources (data/data.h) separated by blanks, a blank in a path written "\ " (core/words.h) */
    const char *tokenizer;              /* "bytes", "bpe" (trained on the data), or the path of a tokenizer.json or a model folder */
    int         bpe_vocab_size;
    double      bpe_mb;                 /* at most so many MiB of text train the tokenizer */
} sy_corpus_options;
extern const sy_opt sy_corpus_opts[];

typedef struct sy_config {
    sy_spec           model;
    sy_train_options  train;
    sy_data_options   data;
    sy_corpus_options corpus;           /* printed in the section "data", too */
    const char       *train_params, *freeze_params;  /* patterns of --train and --freeze: only matching names are trained, or all but them; "" = none */
    const char       *from;             /* checkpoint that the weights came from; "" = fresh */
} sy_config;

void      sy_config_defaults(sy_config *c);
/* key: "lr", "train.lr", "model.hidden_size". An unknown key names the nearest. Texts are copied into `a`. */
sy_status sy_config_set(sy_config *c, const char *key, const char *value, sy_arena *a, sy_err *err);
/* Applies a JSON file: {"model": {...}, "train": {...}, "data": {...}}; sections and keys may be left out. */
sy_status sy_config_read(sy_config *c, const char *path, sy_arena *a, sy_err *err);
/* The whole config as JSON members of an object that the caller opened; reads back to the same bits. */
void      sy_config_write(const sy_config *c, sy_json *json);
/* First key whose value differs, "section.key: a, b" into buf; false when both are equal. Places of output and intervals of logging may differ. */
bool      sy_config_differs(const sy_config *a, const sy_config *b, char *buf, size_t size);

typedef struct sy_recipe {              /* a whole run under a name */
    const char *name, *title, *settings;        /* settings: "key=value" separated by blanks; a value in '...' may hold blanks */
    const char *data;                   /* name of the data set it expects, or NULL */
} sy_recipe;
extern const sy_recipe sy_recipes[];    /* ends with a NULL name */
const sy_recipe *sy_recipe_find(const char *name, sy_err *err);
sy_status sy_recipe_apply(const sy_recipe *r, sy_config *c, sy_arena *a, sy_err *err);

#endif
