/* route/router.h - what a router, a route edit, a balance term and an expert kind are. Floor 3: knows tensors and the tape;
 * must not know models, trainer, server, or any method.
 *
 * One sparse layer runs   logits = score(x); edits: logits(); select(logits) -> route; edits: gates(); balance: loss();
 *                         plan, gather, experts, combine       (a router with SY_MIXES gives two matrices instead of a route)
 * in training, evaluation and decoding alike. Contract of every hook: no malloc (tape arena only), no pool call of its own (ops
 * decide), no global; random numbers only from sy_draw() on the keys given; same bits whatever shares the batch, unless
 * SY_COUPLES; in EVAL and SERVE the state s is read-only. */
#ifndef SY_ROUTER_H
#define SY_ROUTER_H

#include "core/random.h"
#include "route/route.h"

enum { SY_ROUTER_ABI = 1 };

typedef enum { SY_TRAIN, SY_COUNT_PASS, SY_EVAL, SY_SERVE } sy_mode;    /* COUNT_PASS: forward only, fills counts->full; SERVE: causal, no capacity */

enum {                                  /* what a method declares; refusals and the way of evaluation follow from these alone */
    SY_COUPLES   = 1,                   /* a route depends on other tokens (capacity, auction, column top-k) */
    SY_PEEKS     = 2,                   /* ... on later ones too: held-out loss is taken in SERVE mode */
    SY_NOSERVE   = 4,                   /* has no causal form: refused in a causal model */
    SY_NOLOGITS  = 8, SY_NOPROBS = 16,  /* edits and balance terms that need them refuse the pair */
    SY_MIXES     = 32,
    SY_NEEDCOUNT = 64,                  /* a COUNT pass over all micro-batches precedes each step */
    SY_NEEDLOGITS = 128, SY_NEEDPROBS = 256,  /* of balance terms and edits: what they read */
    SY_ZEROCOST  = 512,                 /* expert kinds: may stand as one of the Z zero-cost experts */
    SY_LINEAR    = 1024,                /* routers with params(): the block makes the linear weight all the same */
    SY_RESTS     = 2048                 /* routers: an expert without a row in a step rests, its values and moments keep their bits */
};

typedef struct sy_counts {              /* int64 [E+Z], slots wanted, before drops; summed over ranks by the engine; recomputation never counts twice */
    int64_t *micro, *seen, *full, *prev;/* this micro-batch; the step so far with this micro-batch; the whole step (after a COUNT pass, and in after()); the last step */
    int64_t *dropped;                   /* [E+Z] of this step */
} sy_counts;

typedef struct sy_site {                /* the place: one sparse layer; borrowed for the layer's life */
    int layer, nth, n_sparse;           /* layer index in the model, index among sparse layers, how many there are */
    int D, F, E, Z, V;                  /* width, expert width, real experts, zero-cost experts, vocabulary */
    double init_std;                    /* of the model's linear layers */
    bool   loaded;                      /* the options come from a trained model's config: obeyed even where a new model is refused */
    sy_param **expert; int n_expert;    /* the experts' own parameters, each [E,...]: spawn, lazy moments */
    const int64_t *id_count;            /* [V] corpus counts, valid in learn() only */
    const sy_weight *embed;             /* [V,D], valid in learn() only */
    int K;                              /* experts of a token by the router's option num_experts_per_tok; 0: it has none. Edits, balance terms and experts see it, routers have the option */
} sy_site;

typedef struct sy_override {            /* per call, from decoding methods and the command line; all zero = the method's own rule */
    int k, n_ranks; const int *ranks;   /* ranks: take these places of the order by score; E = a random expert */
    double threshold;
} sy_override;

typedef struct sy_dump {                /* who wants to see inner tensors */
    void (*take)(void *arg, const char *name, const sy_tensor *x);      /* x stands until the tape is reset */
    void *arg;
} sy_dump;

typedef struct sy_route_in {            /* what a router may look at; T tokens, from any mixture of sequences */
    const sy_site *site; sy_mode mode; int T; sy_tensor *x;     /* [T,D] input of the sublayer, after its norm */
    const int *id, *pos, *seq, *label;  /* [T] token id, place in its sequence, number of its sequence in this batch (0 .. n_seq-1), domain or task (-1 unknown) */
    const int *back[4];                 /* [T] ids 1..4 places earlier in the same sequence, -1 before its start; NULL entries are not supplied */
    const uint8_t *valid;               /* [T] 0 = padding: in no count, loss or capacity, and without slots; NULL = all valid */
    const uint64_t *key; uint64_t batch_key;  /* key[t]: of (seed, sequence, layer, pass), the same alone, in a batch and in training */
    int64_t step, steps; double progress; int micro, n_micro, pass, n_pass;  /* progress: spent share of the budget */
    sy_tensor *carry;                   /* [T,c] left by the sparse layer before; zeros at the first; NULL when no router carries */
    const sy_counts *counts; const sy_override *over;
    const sy_route *again;              /* recomputation or gradient check: the first run's route; keep its choices and counts */
    int n_seq;                          /* sequences in this batch */
    const struct sy_term *edit;         /* one more edit, of this call alone (decoding methods); it comes after the block's own; or NULL */
    const sy_dump *dump;                /* the block's own: gate, experts, shared_expert, ...; or NULL */
} sy_route_in;

typedef struct sy_step { const sy_counts *counts; int64_t step, steps; double progress; } sy_step;
typedef struct sy_mix { int slots; sy_tensor *dispatch, *combine; } sy_mix;     /* [S,T], [T,S]; S = sequences*E*slots rows, by expert; 0 across sequences */

/* The expert that a slot wanted, dropped or not. */
static inline int sy_wanted(int expert) { return expert < 0 ? ~expert : expert; }
static inline bool sy_valid(const sy_route_in *in, int t) { return !in->valid || in->valid[t]; }

typedef struct sy_own {                 /* collects what params() declares */
    sy_params  *params;                 /* of the model */
    const char *prefix, *shared;        /* "model.layers.3.mlp.gate", "model.router" */
    uint64_t    seed;
    int         carry;                  /* width of the state across layers; set by sy_own_carry */
    sy_err     *err;
    unsigned    flags;                  /* that every parameter gets on top of its own */
} sy_own;
/* Declares PREFIX.name (or SHARED.name: given twice it is one parameter), N(0, init_std^2); NULL and err without memory. */
sy_param *sy_own_param(sy_own *o, const char *name, unsigned flags, bool shared, double init_std, int nd, const int *dim);
void      sy_own_carry(sy_own *o, int width);

/* helpers that keep a gate near 40 lines */
typedef enum { SY_BY_TOKEN, SY_BY_RANK } sy_cap_order;
typedef enum { SY_CAP_SWITCH, SY_CAP_GSHARD } sy_cap_form;
typedef struct sy_cap_rule {            /* shared option rows: sy_cap_opts */
    double capacity_factor, eval_capacity_factor;   /* 0 = no capacity */
    double eval_capacity_fraction;      /* GShard's evaluation: ceil(fraction * N) rows an expert; excludes eval_capacity_factor; 0 = not used */
    int    capacity_rule;               /* sy_cap_form: switch = round(f K N / E); gshard = floor(f K ceil(N / E)) */
    int    min_capacity, group_size;    /* valid tokens of one group in batch order, N in the rules; 0 = the whole micro-batch */
    bool   prioritised;                 /* batch-prioritised: tokens by descending best score instead of by place */
    int    drop_order;                  /* sy_cap_order: token = token-major; rank = all first choices, then second, ... (GShard) */
} sy_cap_rule;
extern const sy_opt sy_cap_opts[];
/* Rules between the rows; for a method's check. */
sy_status sy_cap_check(const sy_cap_rule *rule, sy_err *err);
/* SY_COUPLES and SY_PEEKS, as far as the rule brings them; for a method's declares. */
unsigned sy_cap_declares(const sy_cap_rule *rule, int K);
/* Rows that one expert may take from a group of N tokens in this mode, or INT_MAX where there is no capacity. */
int sy_cap_rows(const sy_cap_rule *rule, sy_mode mode, int N, int K, int E);
/* Marks slots beyond capacity as dropped (~e); `score` [n] orders when prioritised; does nothing in SERVE, where factor is 0, and
 * under in->again, whose choices hold the drops already. Zero-cost experts have no capacity. Before weights are made. */
void sy_cap(sy_tape *t, const sy_route_in *in, const sy_cap_rule *rule, int K, const sy_real *score, sy_route *io);
/* The K largest of `by` [T,E+Z] per token, ties to the lower index; fills first_slot and expert; honours in->over and in->again. */
sy_status sy_slots_topk(sy_tape *t, const sy_route_in *in, const sy_tensor *by, int K, sy_route *out, sy_err *err);
/* Every entry of g [T,E+Z] above 0 is a slot with that weight, largest first. */
sy_status sy_slots_dense(sy_tape *t, const sy_route_in *in, sy_tensor *g, sy_route *out, sy_err *err);
/* The k largest of row [n], largest first, ties to the lower index; 1 <= k <= n. */
void sy_top_row(const sy_real *row, int n, int k, int *id);
/* The k largest of x[id * stride] for id[0..n-1], ties to the earlier place in `id`: puts them into heap [k], the smallest first and the rest in no order that
 * means anything; returns how many there are. id must ascend. */
int sy_best_of(const sy_real *x, size_t stride, const int *id, int n, int k, int *heap);
/* A copy of `by` [T,E+Z] without gradient, with every entry outside the token's best `keep` of `groups` equal groups set to `mask`. A group's
 * score is its largest entry, or with `two` the sum of its two largest; groups must divide the columns. */
sy_tensor *sy_group_limit(sy_tape *t, const sy_tensor *by, int groups, int keep, bool two, double mask);
/* [E+Z] on the tape: w [n] of the slots that are kept, summed by expert. */
sy_tensor *sy_slots_sum(sy_tape *t, sy_tensor *w, const sy_route *r);
/* [1]: scale * var(v) / (mean(v)^2 + 1e-10), the variance divided by the number of values. */
sy_tensor *sy_cv2(sy_tape *t, sy_tensor *v, double scale);
/* Number of valid tokens. */
int sy_count_valid(const sy_route_in *in);
/* Appends a loss of the router's own; nothing outside training. */
void sy_route_loss(sy_tape *t, const sy_route_in *in, sy_route *out, const char *name, sy_tensor *value);
/* What a jittered router sees: in training x times U(1-eps, 1+eps) element by element, drawn by the tokens' keys (salts 0 .. D-1); otherwise x. */
sy_tensor *sy_jitter(sy_tape *t, const sy_route_in *in, double eps);
/* Refuses an override that this router does not know; `k`, `threshold` say what it does know. For routers that do not go through sy_slots_topk. */
sy_status sy_only_override(const sy_route_in *in, bool k, bool threshold, sy_err *err);
/* The choices of the first run, copied, when in->again is set (then *done); for routers that do not go through sy_slots_topk or sy_slots_dense. */
sy_status sy_slots_again(sy_tape *t, const sy_route_in *in, sy_route *out, bool *done, sy_err *err);
/* Switches s [T,n] in 0..1 -> [T,paths]: the product of each path's switches (paths.c). Tables are borrowed until the tape is reset. */
enum { SY_MAX_PATH = 64 };
typedef struct sy_paths { int n; const int *first, *at; } sy_paths;    /* path l: at[first[l]] .. at[first[l+1]-1]; n = switch n, ~n = one minus it */
sy_tensor *sy_paths_walk(sy_tape *t, sy_tensor *s, const sy_paths *p);
/* [1]: scale * mean over valid tokens of sum over columns of -q ln(q + eps). */
sy_tensor *sy_mean_entropy(sy_tape *t, const sy_route_in *in, sy_tensor *q /*[T,n]*/, double eps, double scale);
sy_tensor *sy_smooth_step(sy_tape *t, sy_tensor *u, double gamma);     /* 0 below -gamma/2, 1 above gamma/2, a cubic between */
/* [n] on the tape: of each slot, x [T,E+Z] at the expert that it wanted. */
sy_tensor *sy_slots_pick(sy_tape *t, sy_tensor *x, const sy_route *r);
/* w [n] divided by the sum over the token's slots that are kept; dropped slots get 0. */
sy_tensor *sy_slots_normalise(sy_tape *t, sy_tensor *w, const sy_route *r);

typedef struct sy_router_hooks {        /* kind "router"; s = the method's state: options first, then what params() stored */
    int abi; unsigned flags;
    sy_status (*params)(void *s, const sy_site *at, sy_own *own, sy_err *err);         /* NULL: one linear "weight" [E+Z,D] made and owned by the block */
    sy_status (*learn) (void *s, const sy_site *at, sy_err *err);                      /* once before step 0 of fresh weights: tables from counts, embeddings. What it learns lives in parameters and buffers of params(): a checkpoint keeps nothing else */
    sy_status (*before)(void *s, const sy_site *at, const sy_step *st, sy_err *err);   /* each step: schedules, phases, spawn, freezing */
    sy_tensor*(*input) (void *s, sy_tape *t, const sy_route_in *in);                   /* NULL: in->x; [T,D] that gate, experts and shared expert see in its place */
    sy_tensor*(*score) (void *s, sy_tape *t, const sy_route_in *in, sy_weight *w, sy_route *out);   /* NULL: x W^T; w = the linear weight or NULL; may set out->carry */
    sy_status (*select)(void *s, sy_tape *t, const sy_route_in *in, sy_tensor *logits, sy_route *out, sy_err *err);
    sy_status (*mix)   (void *s, sy_tape *t, const sy_route_in *in, sy_tensor *logits, sy_mix *out, sy_err *err);
    sy_status (*after) (void *s, const sy_site *at, const sy_step *st, sy_err *err);   /* after the optimiser: biases, running thresholds */
    unsigned  (*declares)(const void *s);   /* flags that follow from the options, on top of `flags`; NULL: none */
} sy_router_hooks;

typedef struct sy_edit_hooks {          /* kind "edit": stacks on any router */
    int abi; unsigned flags;
    sy_status (*params)(void *s, const sy_site *at, sy_own *own, sy_err *err);
    sy_status (*before)(void *s, const sy_site *at, const sy_step *st, sy_err *err);
    sy_tensor*(*logits)(void *s, sy_tape *t, const sy_route_in *in, sy_tensor *logits);
    sy_status (*gates) (void *s, sy_tape *t, const sy_route_in *in, sy_route *io, sy_err *err);
    unsigned  (*declares)(const void *s);   /* flags that follow from the options, on top of `flags`; NULL: none */
} sy_edit_hooks;

typedef struct sy_balance_hooks {       /* kind "balance": one loss of one layer from route and counts; returns [1] with its coefficient applied, NULL = nothing */
    int abi; unsigned flags;
    sy_tensor *(*loss)(void *s, sy_tape *t, const sy_route_in *in, sy_tensor *logits, const sy_route *r);
    unsigned  (*declares)(const void *s);   /* flags that follow from the options, on top of `flags`; NULL: none */
} sy_balance_hooks;

typedef struct sy_expert_hooks {        /* kind "expert": what runs a packed row */
    int abi; unsigned flags;
    /* Declares the parameters of `E` experts (at->E, or at->Z for a zero-cost kind) under own->prefix, e.g. "model.layers.3.mlp.experts". */
    sy_status (*params)(void *s, const sy_site *at, int E, sy_own *own, sy_err *err);
    /* Rows first[0]..first[E]-1 of x belong to the E experts in turn -> [n,D]. */
    sy_tensor*(*run)(void *s, sy_tape *t, const sy_site *at, sy_tensor *x, const int *first, int E);
    unsigned  (*declares)(const void *s);   /* flags that follow from the options, on top of `flags`; NULL: none */
} sy_expert_hooks;

#endif
