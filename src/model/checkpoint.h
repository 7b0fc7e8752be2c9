/* model/checkpoint.h - models on disk: a Hugging Face folder (config.json, model*.safetensors, generation_config.json).
 *
 * Families of published models by their tables (family.h), own ones as model_type "switchyard" with the keys of sy_spec_opts. Every load and save
 * keeps a ledger. */
#ifndef SY_CHECKPOINT_H
#define SY_CHECKPOINT_H

#include "model/layout.h"
#include "model/ledger.h"
#include "model/model.h"

/* Reads a config.json of an own model (an unknown key is an error that names the nearest) or of any family (family.h). Texts are copied into `a`. */
sy_status sy_spec_read(const char *path, sy_spec *s, sy_arena *a, sy_err *err);
/* Loads DIR (or the newest checkpoint of a run folder, see sy_checkpoint_find) into a new model. The ledger is opened and filled here,
 * settled before return, and freed by the caller; NULL: none wanted. how: SY_MODEL_TRAIN, SY_MODEL_STRICT,
 * SY_MODEL_MAPPED. Where SHA256SUMS lies beside files of up to SY_SUMS_MOST bytes, they are checked. A family's large weights of F32, F16 and
 * BF16 stay in the mapped files unless it is for training: opening takes no time, and processes share the pages. When such a file is cut
 * short later, passes of the model fail with SY_EIO (sy_model_whole). */
sy_status sy_model_load(sy_model **out, sy_engine *eng, const char *dir, unsigned how, sy_ledger *ledger, sy_err *err);
/* Brings the weights of DIR into an existing model of the same spec; DIR/config.json says what the files call them. */
sy_status sy_model_read(sy_model *m, const char *dir, sy_ledger *ledger, sy_err *err);
/* Writes config.json, model.safetensors (shards with an index above 50 GB: shards.h), generation_config.json and ledger.json into DIR, which must exist; each file atomically. As the family it
 * was loaded from where that still says all of the spec, else as the first that does, else with model_type switchyard; the ledger says which.
 * eos < 0: the model has no end token. */
sy_status sy_model_save(const sy_model *m, const char *dir, int eos, sy_ledger *ledger, sy_err *err);
/* The same as a family of that name, or "switchyard"; NULL: as above. most: bytes of one file of weights, 0: 50 GB. SY_EUNSUP: its config.json cannot say what the model computes. What only
 * training looks at may be lost, and the ledger says so. */
sy_status sy_model_save_as(const sy_model *m, const char *family, const char *dir, int eos, uint64_t most, sy_ledger *ledger, sy_err *err);

/* The tensors of a folder, piece by piece, for work that never holds a model: mapped, read a few rows at a time. */
typedef struct sy_pieces sy_pieces;
/* m: a model of c's spec without memory (SY_MODEL_BARE), whose parameters are asked for; c, m and l are borrowed. Files that the address space has
 * no room for are read through windows. */
sy_status sy_pieces_open(sy_pieces **out, const char *dir, const sy_card *c, sy_model *m, sy_ledger *l, sy_err *err);
void      sy_pieces_close(sy_pieces *p);
/* Where piece e of a parameter lies. *from has no tensor when no file has it: the ledger then says so. The first piece of a tensor gives it a line. */
sy_status sy_pieces_find(sy_pieces *p, const sy_param *param, int e, sy_place *at, sy_source *from, sy_err *err);
/* All parameters were asked for: what no one took is left out by a rule or unknown, and the ledger is settled. */
sy_status sy_pieces_settle(sy_pieces *p, sy_err *err);
/* st, or SY_EIO when a file was cut short while pieces were read: asked after that. */
sy_status sy_pieces_status(const sy_pieces *p, sy_status st, sy_err *err);

/* Optimiser moments (NAME.m, NAME.v) and a few named numbers, as one safetensors file. */
typedef struct sy_state_item { const char *key; int64_t value; } sy_state_item;
sy_status sy_state_save(const sy_model *m, const char *path, const sy_state_item *item, int n, sy_err *err);
/* Every item must be there; moments of every trained parameter too, else SY_EFORMAT: a state of another run. */
sy_status sy_state_load(sy_model *m, const char *path, sy_state_item *item, int n, sy_err *err);

/* The folder with the model: DIR itself when it holds config.json or is a GGUF file, else the complete DIR/checkpoints/step-N of largest N. */
sy_status sy_checkpoint_find(const char *dir, char *out, size_t size, sy_err *err);

#endif
