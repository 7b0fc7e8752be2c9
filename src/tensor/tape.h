/* tensor/tape.h - ops run eagerly and are recorded for the way back. Floor 2: knows no layer.
 *
 * An op is a pair of functions side by side in one file of tensor/ops/. Everything a step makes lies in the tape's arena and
 * dies at sy_tape_reset. The first error sticks: later ops return an empty tensor; sy_tape_status tells. */
#ifndef SY_TAPE_H
#define SY_TAPE_H

#include "tensor/engine.h"
#include "tensor/tensor.h"

typedef struct sy_node sy_node;
typedef struct sy_tape sy_tape;

typedef struct sy_op {
    const char *name;
    void (*fwd)(sy_node *n);            /* n->out from n->in and n->w; attributes in n->arg; may leave what backward needs in n->aux */
    void (*bwd)(sy_node *n);            /* in->dx += ...; never =; skips what sy_grad / sy_wgrad refuse. NULL: no gradient */
    const char *no_grad;                /* the reason, when bwd is NULL; reaching it from a loss is an error */
    sy_tensor *(*sample)(sy_tape *t, int variant);  /* a small case for the gradient test, built from sy_sample_*; NULL past the last variant */
} sy_op;

enum { SY_MAX_IN = 8, SY_MAX_W = 3 };

struct sy_node {
    const sy_op *op;
    sy_tape     *tape;
    sy_tensor   *in[SY_MAX_IN];
    sy_weight   *w[SY_MAX_W];
    int          n_in, n_w;
    bool         bf16;                  /* its products, forward and backward, are in bfloat16: the tape's setting when it was made */
    bool         int8;                  /* forward products of stored weights round activations to eight bits: the tape's setting when it was made */
    sy_tensor   *out;
    void        *arg, *aux;             /* both in the tape's arena */
    sy_node     *prev;                  /* recorded before it */
    sy_tensor  **more;                  /* [n_more] outputs beside `out`, of parts that are computed again; else NULL */
    int          n_more;
};

typedef struct sy_probe { int leaf; size_t at; sy_real delta; } sy_probe;   /* gradient test: moves one value of one sampled leaf */

struct sy_tape {
    sy_engine *eng;
    sy_arena   arena;                   /* the step's life */
    sy_arena   part;                    /* of the part that is computed again, for one run of it */
    sy_node   *last;
    bool       record;                  /* false: evaluation and serving, nothing is kept for backward */
    bool       bf16;                    /* products of weights round their operands to bfloat16; off around what decides where tokens go */
    bool       int8;                    /* products of stored weights round activations to eight bits; the engine's setting, never with `record`; off as bf16 is */
    bool       holds;                   /* between sy_hold and sy_go */
    struct sy_held *held;               /* products that wait for sy_go, newest first */
    bool       replay;                  /* second run of a recomputed part: counters and logs stay still */
    sy_status  status;
    sy_err     err;
    sy_tensor  empty;                   /* what ops return once an error sticks */
    uint64_t   madds;                   /* multiply-adds of products, forward and backward */
    sy_probe   probe;                   /* leaf < 0: none */
    sy_tensor *leaf[16];                /* what sy_sample_* made, in order */
    sy_weight *leaf_w[16];              /* or a weight at the same place */
    int        leaves;
};

void      sy_tape_init(sy_tape *t, sy_engine *eng, bool record);
void      sy_tape_reset(sy_tape *t);                              /* forgets everything recorded; memory is kept for the next step */
void      sy_tape_free(sy_tape *t);
sy_status sy_tape_status(const sy_tape *t, sy_err *err);          /* the first failure, or SY_OK */
sy_tensor *sy_tape_fail(sy_tape *t, sy_status status, const char *fmt, ...) SY_PRINTF(3, 4);  /* makes an error stick; returns &t->empty */

/* From here on nothing is rounded on its way into a product; returns how it was, for sy_tape_rounds. */
typedef struct sy_rounding { bool bf16, int8; } sy_rounding;
static inline sy_rounding sy_tape_exact(sy_tape *t)
{
    sy_rounding was = { t->bf16, t->int8 };
    t->bf16 = t->int8 = false;
    return was;
}
static inline void sy_tape_rounds(sy_tape *t, sy_rounding r) { t->bf16 = r.bf16, t->int8 = r.int8; }

sy_tensor *sy_new(sy_tape *t, int nd, const int *dim);            /* real, not initialised; &t->empty after an error */
sy_tensor *sy_new_like(sy_tape *t, const sy_tensor *a);
sy_tensor *sy_new_int(sy_tape *t, int nd, const int *dim);
#define SY_DIM(...) (int)(sizeof((int[]){ __VA_ARGS__ }) / sizeof(int)), (int[]){ __VA_ARGS__ }   /* sy_new(t, SY_DIM(T, D)) */
void *sy_tape_alloc(sy_tape *t, size_t count, size_t size);       /* zeroed; NULL and a sticking error without memory */

/* Starts a node; NULL once an error sticks. Then the caller sets out (and arg), and sy_apply runs and records it. */
sy_node   *sy_node_new(sy_tape *t, const sy_op *op, int n_in, sy_tensor *const *in, int n_w, sy_weight *const *w);
void      *sy_node_arg(sy_node *n, const void *arg, size_t size); /* copies the attributes into the arena */
sy_tensor *sy_apply(sy_node *n);
#define SY_IN(...) (int)(sizeof((sy_tensor *[]){ __VA_ARGS__ }) / sizeof(sy_tensor *)), (sy_tensor *[]){ __VA_ARGS__ }
#define SY_W(...)  (int)(sizeof((sy_weight *[]){ __VA_ARGS__ }) / sizeof(sy_weight *)), (sy_weight *[]){ __VA_ARGS__ }
#define SY_NOW     0, NULL

/* In bwd: the gradient to add into, zeroed at its first use; NULL when none is wanted (or memory ran out: the error sticks). */
sy_real *sy_grad(sy_node *n, int in);
/* The same without the zeros: with *fresh the memory holds nothing yet, and bwd must store every value instead of adding. */
sy_real *sy_grad_fresh(sy_node *n, int in, bool *fresh);
static inline sy_real *sy_wgrad(sy_node *n, int w) { return n->w[w]->dx; }

/* d loss / d everything recorded; loss has one value. Gradients are added to what parameters already hold. */
sy_status sy_backward(sy_tape *t, sy_tensor *loss, sy_err *err);
/* The same from a given gradient of `out` (copied in). */
sy_status sy_backward_from(sy_tape *t, sy_tensor *out, const sy_real *dout, sy_err *err);

/* A part of the forward pass that is forgotten and computed again when backward reaches it. fn makes it from in[0..n_in-1] and puts what others may read into
 * out[]; it returns how many there are. It runs now, with t->replay false, and once more in backward with t->replay set, and must give the same bits: it reads nothing
 * but `arg` (which lives as long as the tape's step), its inputs and weights. What it makes on the tape lives until the next part begins; out[] of the caller are
 * copies that stay. Gradients are those of the same part kept on the tape, bit for bit, and products of the second run are not counted. Without t->record it runs once, and is
 * forgotten all the same. Returns the number of outputs, 0 once an error sticks. */
enum { SY_MAX_PART_OUT = 48 };
typedef int (*sy_part_fn)(sy_tape *t, void *arg, sy_tensor *const *in, sy_tensor *out[SY_MAX_PART_OUT]);
int sy_recompute(sy_tape *t, sy_part_fn fn, void *arg, int n_in, sy_tensor *const *in, sy_tensor *out[SY_MAX_PART_OUT]);

/* Leaves for samples: values uniform in [lo,hi] by position, a gradient is wanted, and the probe applies. */
sy_tensor *sy_sample_leaf(sy_tape *t, double lo, double hi, int nd, const int *dim);
sy_weight *sy_sample_weight(sy_tape *t, double lo, double hi, int nd, const int *dim);

extern const sy_op *const sy_ops[];     /* every op, from ops.def; ends with NULL */

#endif
