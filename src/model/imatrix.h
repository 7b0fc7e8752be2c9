/* model/imatrix.h - importance matrices: for each weight the mean square of what it multiplies, column by column, measured on some text.
 *
 * Two forms are read: GGUF (general.type "imatrix"; NAME.in_sum2 and NAME.counts) and the older one without a head (i32 entries; each i32
 * length, name, i32 calls, i32 values, f32 values). Names are GGUF's names of the weights. A stack of experts has a row for each. */
#ifndef SY_IMATRIX_H
#define SY_IMATRIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/arena.h"
#include "core/status.h"

typedef struct sy_importance {
    const char  *name;
    int          rows, cols;            /* one row a matrix of a stack; the older form does not tell, there rows is 0 and cols is all of them */
    const float *value;                 /* finite and >= 0; a matrix that saw no text has zeros */
    bool         used;                  /* sy_imatrix_row has given it out */
} sy_importance;

typedef struct sy_imatrix {
    sy_arena       arena;
    sy_importance *e;                   /* sorted by name */
    int            n;
    const char    *file;
} sy_imatrix;

sy_status sy_imatrix_open(sy_imatrix *m, const char *path, sy_err *err);
/* The same from a file in memory, which is not needed afterwards. */
sy_status sy_imatrix_parse(sy_imatrix *m, const uint8_t *data, size_t size, const char *file, sy_err *err);
void      sy_imatrix_close(sy_imatrix *m);
/* The importances [cols] of matrix `row` of `rows` in tensor `name`; NULL in *out when the file has none. SY_ESHAPE: it has another size. */
sy_status sy_imatrix_row(sy_imatrix *m, const char *name, int row, int rows, int cols, const float **out, sy_err *err);

#endif
