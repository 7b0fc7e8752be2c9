/* infer/dump.h - inner tensors of a model's passes, gathered by name and written as one safetensors file; and two such files compared. */
#ifndef SY_INFER_DUMP_H
#define SY_INFER_DUMP_H

#include "core/buffer.h"
#include "model/model.h"

enum { SY_DUMP_MOST = 4096 };           /* names */

typedef struct sy_dump_item { char name[96]; int cols; sy_buf values; } sy_dump_item;       /* float32 rows of `cols` values */

typedef struct sy_dumper {
    const sy_model *model;              /* whose family names the modules; borrowed */
    const char   *pattern;              /* of names, as a shell would match them: "model.layers.3.mlp*"; borrowed */
    sy_dump       hook;                 /* for sy_run */
    sy_dump_item *item;
    int           n, room;
    char          first[2][96];         /* names that were offered first */
    sy_status     st;                   /* the first failure */
} sy_dumper;

/* Names are those that the modules have in transformers; an own model's are those of Llama-like models (model.h). */
void      sy_dumper_open(sy_dumper *d, const sy_model *m, const char *pattern);
void      sy_dumper_close(sy_dumper *d);
/* Rows of several passes stand one below the other. SY_ENOENT when no name matched: it names some that there are. */
sy_status sy_dumper_write(const sy_dumper *d, const char *path, sy_err *err);

typedef struct sy_difference {          /* what the first tensor that differs looks like */
    char   name[256];
    size_t at, n;                       /* index of the first value that differs, among n */
    double a, b, most;                  /* the two values; the largest difference in the tensor */
    size_t differing;
    int    same;                        /* tensors that agree before it, in the order in which they are compared */
    const char *why;                    /* "values", "shape", "only in A", "only in B"; NULL: nothing differs */
} sy_difference;
/* Compares the tensors of two files in the order of a pass (layer 2 before layer 10, a module behind its parts): |a - b| <= atol + rtol |b|, NaN agrees with nothing. */
sy_status sy_dump_compare(const char *a, const char *b, double atol, double rtol, sy_difference *out, sy_err *err);

#endif
