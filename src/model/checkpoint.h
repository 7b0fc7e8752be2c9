/* model/checkpoint.h - models on disk: a Hugging Face folder (config.json, model*.safetensors, generation_config.json).
 *
 * Own models write model_type "switchyard", with the keys of sy_spec_opts. Every load and save keeps a ledger. */
#ifndef SY_CHECKPOINT_H
#define SY_CHECKPOINT_H

#include "model/ledger.h"
#include "model/model.h"

/* Reads DIR/config.json of an own model; an unknown key is an error that names the nearest. Texts are copied into `a`. */
sy_status sy_spec_read(const char *path, sy_spec *s, sy_arena *a, sy_err *err);
/* Loads DIR (or the newest checkpoint of a run folder, see sy_checkpoint_find) into a new model. The ledger is opened and filled here,
 * settled before return, and freed by the caller; NULL: none wanted. how: SY_MODEL_TRAIN or 0. */
sy_status sy_model_load(sy_model **out, sy_engine *eng, const char *dir, unsigned how, sy_ledger *ledger, sy_err *err);
/* Brings the weights of DIR into an existing model of the same spec. */
sy_status sy_model_read(sy_model *m, const char *dir, sy_ledger *ledger, sy_err *err);
/* Writes config.json, model.safetensors, generation_config.json and ledger.json into DIR, which must exist; each file atomically.
 * eos < 0: the model has no end token. */
sy_status sy_model_save(const sy_model *m, const char *dir, int eos, sy_ledger *ledger, sy_err *err);

/* Optimiser moments (NAME.m, NAME.v) and a few named numbers, as one safetensors file. */
typedef struct sy_state_item { const char *key; int64_t value; } sy_state_item;
sy_status sy_state_save(const sy_model *m, const char *path, const sy_state_item *item, int n, sy_err *err);
/* Every item must be there; moments of every trained parameter too, else SY_EFORMAT: a state of another run. */
sy_status sy_state_load(sy_model *m, const char *path, sy_state_item *item, int n, sy_err *err);

/* The folder with the model: DIR itself when it holds config.json, else the complete DIR/checkpoints/step-N of largest N. */
sy_status sy_checkpoint_find(const char *dir, char *out, size_t size, sy_err *err);

#endif
