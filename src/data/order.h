/* data/order.h - the order of one domain's training text: pieces, rows, epochs; and how domains interleave. Private to data/. */
#ifndef SY_DATA_ORDER_H
#define SY_DATA_ORDER_H

#include "data/shard.h"

typedef struct sy__part {               /* what one source brings to a domain */
    sy__shard shard;
    uint64_t  split;                    /* tokens before it are trained on, the rest is held out */
    int       source;
} sy__part;

typedef struct sy__piece {              /* inputs start .. start+len-1; labels are one token further */
    uint64_t start;
    int32_t  len;
    int16_t  part;
    bool     last;                      /* the last label is the end of the document, not a token of the shard */
} sy__piece;

/* The inputs of document `doc` that lie in [from, to) of the shard: begin .. end-1. A token is an input when something can be predicted
 * from it: the last one of a document only if the tokenizer has an end-of-document token (`eot`); `last` then says so. */
void sy__doc_inputs(const sy__shard *s, uint64_t doc, uint64_t from, uint64_t to, bool eot, uint64_t *begin, uint64_t *end, bool *last);
/* True when some label of the piece counts in the loss. */
bool sy__piece_counts(const sy__shard *s, const sy__piece *p);

typedef struct sy__order {
    const sy__part *part;               /* [parts] borrowed */
    int       parts, T;
    bool      shuffle, eot;
    uint64_t  seed, domain;
    int64_t   epoch, first;             /* the epoch that is laid out, and the number of its first row in the domain */
    int32_t   rows, pieces, room;       /* of this epoch; room: most pieces of any epoch */
    sy__piece *piece;                   /* [room] */
    int32_t  *next;                     /* [room] the piece after this one in its row, -1 at the end */
    int32_t  *head, *tail;              /* [room] of each row */
    int32_t  *perm;                     /* [room] place in the epoch -> row */
    int32_t  *by, *below;               /* [room] scratch: pieces by length; rows of equal room */
    int32_t  *count, *top;              /* [T + 2] scratch */
    uint64_t *bits, *summary;           /* which rooms have rows; which words of `bits` have any */
} sy__order;

/* Takes memory for any epoch and lays epoch 0 out; rows may be 0. After that nothing is allocated. */
sy_status sy__order_open(sy__order *o, sy_arena *a, sy_err *err);
/* The first piece of the domain's row `i` (0, 1, 2, ... over all epochs); others follow by `next`. Needs rows > 0. */
int32_t   sy__order_row(sy__order *o, int64_t i);

/* Which domain's turn it is: Tijdeman's rule (Discrete Mathematics 32, 1980) keeps |rows of d - k * weight[d]| < 1 for all d and k.
 * `taken` are the rows given so far, k their sum. */
int sy__turn(const double *weight, const int64_t *taken, int n, int64_t k);

#endif
