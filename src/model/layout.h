/* model/layout.h - where the values of a parameter lie in a file of another's making, and how they are written there. Knows one tensor at a time. */
#ifndef SY_LAYOUT_H
#define SY_LAYOUT_H

#include "model/family.h"
#include "model/safetensors.h"
#include "tensor/tensor.h"

enum { SY_TENSOR_NAME = 256 };

/* Own is [rows,cols] (a vector: cols 1). Its value (n,k) is value  base + row(n) * row_step + k * col_step  of the tensor `name`, with
 * row(n) = n / block * block_step + n % block + first. */
typedef struct sy_place {
    char     name[SY_TENSOR_NAME];
    int      nd;
    int64_t  dim[SY_ST_DIMS];           /* that the tensor must have; of values, also where they are packed */
    size_t   base, row_step, col_step;
    int      rows, cols, first, block, block_step;
    bool     whole;                     /* own is the tensor, value for value */
    unsigned layout;                    /* SY_LAY_ */
} sy_place;

/* A parameter is one tensor on disk, or one for each index of dimension 0 where its name holds "{e}". */
int  sy_param_pieces(const sy_param *p);
/* Its name, or that of piece e. */
char *sy_piece_name(const sy_param *p, int e, const char *suffix, char *buf, size_t size);

/* The nth row of a family for this parameter, counted from 0; with n 0 and no row at all the parameter's own name and shape. f may be NULL (own
 * models). False: there are no more. */
bool sy_place_of(sy_place *at, const sy_family *f, const sy_spec *s, const sy_param *p, int e, int n);

/* What a piece is read from. */
typedef struct sy_source { const sy_st_tensor *t, *scale; int block[2]; } sy_source;   /* scale: of fp8 or MXFP4, else NULL */
/* SY_ESHAPE when the tensors have not the dimensions of the place. */
sy_status sy_place_check(const sy_place *at, const sy_source *from, sy_err *err);
/* The same, then reads. Scratch comes from `a` and is given back. */
sy_status sy_place_read(const sy_place *at, const sy_source *from, sy_real *out, sy_arena *a, sy_err *err);
/* Puts a piece into the array of its tensor. */
void sy_place_write(const sy_place *at, const sy_real *piece, sy_real *tensor);

/* Narrows a place to rows from .. from+n-1 of own: [n,cols] is read and written. Where rows alternate by heads, both are multiples of head_dim. */
void sy_place_rows(sy_place *at, int from, int n);

/* "*" any text, "{l}" digits, "{mtp}" the digits of a number of at least `layers`. */
bool sy_name_matches(const char *pattern, const char *name, int layers, int mtp_layers);

#endif
