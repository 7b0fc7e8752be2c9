/* tensor/ops/span.h - what the files of this folder share: loops over values, rows and columns of a node, cut over threads.
 *
 * Every loop gives each output to one task and adds in an order that the shapes alone decide, so threads never change a bit. */
#ifndef SY_SPAN_H
#define SY_SPAN_H

#include "tensor/ops.h"

typedef struct sy_span {
    sy_node *n;
    const sy_kernels *k;
    const sy_real *a, *b;               /* values of the first and second input (b NULL: there is none) */
    sy_real *y;                         /* the output */
    const sy_real *dy;                  /* backward only */
    sy_real *da, *db;                   /* gradients to add into; NULL where none is wanted */
    bool new_a, new_b;                  /* sy__values_store: that gradient holds nothing yet and is stored, not added to */
    int rows, cols;                     /* of the output */
    sy_real *tmp;                       /* sy__rows with room: this worker's own, 64-byte aligned */
    void (*fn)(const struct sy_span *s, size_t at, size_t n);
} sy_span;

/* fn(s, at, n) over all values of the output, at .. at+n-1; `ops` is the work of one value. Both end at once after an error. */
void sy__values_f(sy_node *n, double ops, void (*fn)(const sy_span *s, size_t at, size_t n));
void sy__values_b(sy_node *n, double ops, void (*fn)(const sy_span *s, size_t at, size_t n));
/* As sy__values_b, but a gradient that is first reached here is not zeroed: fn stores it. */
void sy__values_store(sy_node *n, double ops, void (*fn)(const sy_span *s, size_t at, size_t n));
/* The same over rows: at and n count rows, ops is the work of a row. Each worker has `room` values in s->tmp. */
void sy__rows_f(sy_node *n, double ops, size_t room, void (*fn)(const sy_span *s, size_t at, size_t n));
void sy__rows_b(sy_node *n, double ops, size_t room, void (*fn)(const sy_span *s, size_t at, size_t n));

void sy__rows_store(sy_node *n, double ops, size_t room, void (*fn)(const sy_span *s, size_t at, size_t n));

/* sum[c] += sum over rows r ascending of x[r,c] (times y[r,c] when y is given), for all rows counted by valid [T] (NULL: all). */
void sy__col_sums(sy_engine *e, int T, int D, const sy_real *x, const sy_real *y, const uint8_t *valid, sy_real *sum);

/* a x b values in the tape's arena, not zeroed: every one is stored before it is read. NULL after an error, which sticks. */
sy_real *sy__room(sy_node *n, size_t a, size_t b);

/* Fails unless every one of the n tensors holds real values and has the shape of the first; true when all is well. */
bool sy__same(sy_tape *t, const char *op, int n, sy_tensor *const *a);
/* An op of one input and an output of the same shape; arg may be NULL. */
sy_tensor *sy__map(sy_tape *t, const sy_op *op, sy_tensor *x, const void *arg, size_t size);

#endif
