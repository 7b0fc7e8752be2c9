/* report/record.h - the record that a run left behind, read back: curves, resolved config, final routing, samples, an analysis.
 *
 * Reads metrics.jsonl, run.json, routing.json, samples.jsonl and analysis.json of a run directory, whoever wrote them. A file may be missing,
 * cut short or hostile: what cannot be read is left out and said in a note, never guessed. Must not know models or the trainer. */
#ifndef SY_RECORD_H
#define SY_RECORD_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

/* Every scalar of metrics.jsonl is a column of (step, value). AUX is named by its loss, TRAIN (training loss in nats per token), BYTE and TOKEN (held-out
 * loss in nats per byte and per token) by their domain, the last three belong to a layer. A value that was not a finite number is NaN. */
typedef enum {
    SY_COL_TOKENS, SY_COL_LOSS, SY_COL_LR, SY_COL_GRAD, SY_COL_SPEED,
    SY_COL_AUX, SY_COL_TRAIN, SY_COL_BYTE, SY_COL_TOKEN,
    SY_COL_MAXVIO, SY_COL_ENTROPY, SY_COL_DROPPED,
    SY_COLS
} sy_column_kind;

typedef struct sy_column {
    sy_column_kind kind;
    char    *name;                      /* of AUX, TRAIN, BYTE and TOKEN; else NULL */
    int      layer;                     /* of MAXVIO, ENTROPY and DROPPED; else -1 */
    size_t   n, room;
    int64_t *step;                      /* [n] ascending */
    double  *value;                     /* [n] */
} sy_column;

typedef struct sy_record_sample { int64_t step; char *prompt, *text; } sy_record_sample;      /* UTF-8, NUL-terminated */

typedef struct sy_record {
    char      *path, *name;             /* as given; last part of the path */
    size_t     n_column, n_sample, n_note;
    sy_column *column;                  /* in order of first appearance */
    sy_record_sample *sample;
    char     **note;                    /* what was left out, one sentence each */
    json_t    *config, *routing, *analysis;         /* objects, or NULL; routing is the analysis where a run has no routing.json */
} sy_record;

/* Reads RUN. SY_ENOENT when `path` is no folder with a readable metrics.jsonl, run.json, routing.json or analysis.json; SY_ENOMEM. */
sy_status sy_record_read(sy_record *run, const char *path, sy_err *err);
/* A record of an analysis alone, from its text; `path` names it. */
sy_status sy_record_of_analysis(sy_record *run, const char *path, const char *json, size_t n, sy_err *err);
/* Whether there is nothing but an analysis. */
bool      sy_record_is_analysis(const sy_record *run);
/* Gives all memory back; fine on a zeroed run and after a failed read. */
void      sy_record_free(sy_record *run);

/* NULL when the run has no such column; `name` NULL and `layer` -1 where the kind has none. */
const sy_column *sy_record_column(const sy_record *run, sy_column_kind kind, const char *name, int layer);
/* The last finite value, or NaN; its step through `step` unless NULL. */
double sy_column_last(const sy_column *c, int64_t *step);
/* Held-out loss at the last evaluation that has `domain`: kind BYTE or TOKEN; NaN when there is none. */
double sy_record_heldout(const sy_record *run, sy_column_kind kind, const char *domain);
/* Whether any layer reported routing. */
bool   sy_record_is_sparse(const sy_record *run);
/* Seconds of training, from tokens and tokens per second of the logged steps; NaN when they are missing. */
double sy_record_seconds(const sy_record *run);
/* Number of the resolved config at "part.key" (model.num_experts, derived.steps); NaN when absent. */
double sy_record_number(const sy_record *run, const char *part, const char *key);

#endif
