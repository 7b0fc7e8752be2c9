/* tensor/ops.h - every op of the tape, one line of meaning each; the sources stand in tensor/ops/, a family a file.
 *
 * Shapes: T tokens (rows), D width, N outputs, K inputs, E experts, V vocabulary. All tensors come from the tape's arena. On a
 * shape that does not fit the error sticks to the tape (SY_ESHAPE). */
#ifndef SY_OPS_H
#define SY_OPS_H

#include "tensor/tape.h"

/* products (linear.c); madds are counted */
sy_tensor *sy_linear(sy_tape *t, sy_tensor *x /*[T,K]*/, sy_weight *w /*[N,K]*/, sy_tensor *bias /*[N] or NULL*/);  /* [T,N] = x W^T + bias */
/* Rows first[e] .. first[e+1]-1 of x meet the matrix of expert e: [n,N]. `first` [E+1] is borrowed until the tape is reset. */
sy_tensor *sy_grouped(sy_tape *t, sy_tensor *x /*[n,K]*/, sy_weight *w /*[E,N,K]*/, const int *first);
/* Products of sy_linear and sy_grouped that are made between the two are run by sy_go as one list; until then nothing may read their outputs. */
void       sy_hold(sy_tape *t);
void       sy_go(sy_tape *t);
/* Head h of x meets matrix h of w: [T,H*N] = x_h W_h^T; `forward` false: x [T,H*N] -> [T,H*K] = x_h W_h. W_h are the N rows of w from h * each + at on
 * (absorbed latent attention, arXiv:2405.04434). */
typedef struct sy_heads { int n_heads, each, at, N; bool forward; } sy_heads;
sy_tensor *sy_linear_heads(sy_tape *t, sy_tensor *x, sy_weight *w /*[H*each,K]*/, const sy_heads *a);
sy_tensor *sy_matmul_nt(sy_tape *t, sy_tensor *a /*[M,K]*/, sy_tensor *b /*[N,K]*/);                 /* [M,N] = a b^T, both on the tape */
/* embedding (embed.c) */
sy_tensor *sy_embed(sy_tape *t, sy_weight *w /*[V,D]*/, const int *id, int T);                        /* [T,D]; id in 0..V-1, borrowed */

/* norms (norm.c): over the last dimension, saved statistics */
sy_tensor *sy_rmsnorm(sy_tape *t, sy_tensor *x, sy_tensor *w /*[D] or NULL*/, double eps);
sy_tensor *sy_layernorm(sy_tape *t, sy_tensor *x, sy_tensor *w, sy_tensor *b /*each [D] or NULL*/, double eps);

/* rotary embedding (rope.c), Su et al., arXiv:2104.09864: x [T,H*hd]; of each head `rot` values from `at` on turn, pair (i, i+rot/2) by pos*inv_freq[i] */
typedef struct sy_rope {
    int           rot;
    const double *inv_freq;             /* [rot/2] */
    double        scale;                /* of cos and sin; 1 */
    bool          interleaved;          /* pairs (2i, 2i+1) */
    int           at;                   /* first value that turns */
    const int    *set;                  /* [T] or NULL: row t turns by the frequencies inv_freq + set[t] * rot/2, and set_scale[set[t]] stands for scale; borrowed */
    const double *set_scale;
} sy_rope;
sy_tensor *sy_rope_apply(sy_tape *t, sy_tensor *x, int head_dim, const int *pos /*[T], borrowed*/, const sy_rope *r);

/* attention (attention.c): causal, blocked, never T x T; grouped KV heads; keys in blocks of 64 and chunks of 256 counted from the start of the segment */
typedef struct sy_segment {             /* one document of a packed row, or one request */
    int row, n;                         /* its queries are rows row .. row+n-1; query i stands at position pos0 + i */
    int pos0;
    const sy_real *k, *v;               /* keys and values of positions 0 .. pos0+n-1 when they come from a cache, else NULL: rows of the tensors k, v (then pos0 = 0) */
    size_t stride, head_stride;         /* of a cache's keys, in values: from position to position, from head to head */
    size_t v_stride, v_head_stride;     /* of its values */
} sy_segment;
typedef struct sy_attn {
    int    n_heads, n_kv_heads, head_dim;
    double scale;                       /* of the scores; usually 1/sqrt(head_dim) */
    int    window;                      /* a query sees the last `window` positions, itself included; 0 = all */
    bool   causal;                      /* false: a query sees its whole segment (encoders); no cache then */
    int    value_dim;                   /* width vd of a value; 0 = head_dim */
    double softcap;                     /* scores become softcap tanh(scale q.k / softcap); 0 = as they are (Gemma 2, arXiv:2408.00118) */
    sy_tensor *sinks;                   /* [H] or NULL: one more logit in the softmax of each head, neither scaled nor capped, whose value is zero (arXiv:2508.10925) */
} sy_attn;
/* q [T,H*hd]; k [T,KV*hd], v [T,KV*vd] or NULL when all segments bring caches (serving only) -> [T,H*vd]. seg [n_seg] is borrowed. A row without any key gives zero. */
sy_tensor *sy_attention(sy_tape *t, sy_tensor *q, sy_tensor *k, sy_tensor *v, const sy_attn *a, const sy_segment *seg, int n_seg);

/* activations (act.c) */
sy_tensor *sy_activate(sy_tape *t, sy_act a, sy_tensor *x);
sy_tensor *sy_glu(sy_tape *t, sy_act a, sy_tensor *gate, sy_tensor *up);                              /* act(gate) * up */
/* gate sigmoid(alpha gate) (up + 1), gate at most `limit` and up within +- limit first (gpt-oss, arXiv:2508.10925); put together from others */
sy_tensor *sy_glu_clamped(sy_tape *t, sy_tensor *gate, sy_tensor *up, double alpha, double limit);
sy_tensor *sy_clamp(sy_tape *t, sy_tensor *x, double low, double high);                                /* min(max(x, low), high); -INFINITY and INFINITY leave a side open */
sy_tensor *sy_softcap(sy_tape *t, sy_tensor *x, double cap);                                           /* cap tanh(x / cap) */
/* A curve of a method's own, value by value and in double: y = f(x, arg), dy/dx = df(x, arg). For widths of experts; what is applied to widths of models is an sy_act. */
typedef struct sy_curve { double (*f)(double x, double arg), (*df)(double x, double arg); double arg; } sy_curve;
sy_tensor *sy_along(sy_tape *t, const sy_curve *c, sy_tensor *x);

/* softmax family (softmax.c): over the last dimension */
sy_tensor *sy_softmax(sy_tape *t, sy_tensor *x);
sy_tensor *sy_logsumexp(sy_tape *t, sy_tensor *x);                                                     /* [.., D] -> [..] as [rows] */

/* element-wise (ewise.c); shapes equal unless said */
sy_tensor *sy_add(sy_tape *t, sy_tensor *a, sy_tensor *b);
sy_tensor *sy_sub(sy_tape *t, sy_tensor *a, sy_tensor *b);
sy_tensor *sy_mul(sy_tape *t, sy_tensor *a, sy_tensor *b);
sy_tensor *sy_div(sy_tape *t, sy_tensor *a, sy_tensor *b);
sy_tensor *sy_affine(sy_tape *t, sy_tensor *x, double scale, double shift);                            /* scale x + shift */
sy_tensor *sy_square(sy_tape *t, sy_tensor *x);
sy_tensor *sy_exp(sy_tape *t, sy_tensor *x);
sy_tensor *sy_ln(sy_tape *t, sy_tensor *x);
sy_tensor *sy_add_bias(sy_tape *t, sy_tensor *x /*[..,D]*/, sy_tensor *b /*[D]*/);
sy_tensor *sy_add_bias_grouped(sy_tape *t, sy_tensor *x /*[n,N]*/, sy_tensor *b /*[E,N]*/, const int *first);  /* rows first[e] .. first[e+1]-1 plus b[e]; first [E+1] borrowed */
sy_tensor *sy_mul_cols(sy_tape *t, sy_tensor *x /*[T,D]*/, sy_tensor *s /*[D]*/);                      /* column d times s[d] */
sy_tensor *sy_mul_rows(sy_tape *t, sy_tensor *x /*[T,D]*/, sy_tensor *s /*[T]*/);                      /* row t times s[t] */
sy_tensor *sy_div_rows(sy_tape *t, sy_tensor *x /*[T,D]*/, sy_tensor *s /*[T]*/);
sy_tensor *sy_mul_const(sy_tape *t, sy_tensor *x, const sy_real *c);                                   /* c [numel] is a constant, borrowed until reset */
sy_tensor *sy_stop(sy_tape *t, sy_tensor *x);                                                          /* the value without its gradient */

/* reductions (reduce.c) */
sy_tensor *sy_sum(sy_tape *t, sy_tensor *x);                                                           /* [1] */
sy_tensor *sy_mean(sy_tape *t, sy_tensor *x);                                                          /* [1] */
sy_tensor *sy_sum_rows(sy_tape *t, sy_tensor *x /*[T,D]*/, const uint8_t *valid /*[T] or NULL*/);       /* [D]: over the rows counted by valid */
sy_tensor *sy_sum_cols(sy_tape *t, sy_tensor *x /*[T,D]*/);                                            /* [T] */
sy_tensor *sy_dot_const(sy_tape *t, sy_tensor *x, const sy_real *c);                                   /* [1] = sum x c, c constant and borrowed */

/* rows and columns (rows.c); indices are int32 and borrowed until reset */
sy_tensor *sy_rows_gather(sy_tape *t, sy_tensor *x /*[T,D]*/, const int *from /*[n]*/, int n);          /* [n,D] */
sy_tensor *sy_rows_scatter(sy_tape *t, sy_tensor *x /*[n,D]*/, const int *to /*[n]*/, int T);           /* [T,D]: rows of one target are added in ascending order; others zero */
sy_tensor *sy_pick(sy_tape *t, sy_tensor *x /*[T,E]*/, const int *first_slot /*[T+1]*/, const int *col /*[n]*/, int n);  /* [n]: slot s of row t takes x[t,col[s]] */
sy_tensor *sy_cols_slice(sy_tape *t, sy_tensor *x /*[T,D]*/, int from, int n);                          /* [T,n] */
sy_tensor *sy_cols_concat(sy_tape *t, sy_tensor *a, sy_tensor *b);                                      /* [T,Da+Db] */
sy_tensor *sy_reshape(sy_tape *t, sy_tensor *x, int nd, const int *dim);                                /* same values, shared memory */
/* segments of a flat vector: [n] of slots -> [n] each divided by the sum over its token's slots (+ eps); first_slot [T+1] borrowed */
sy_tensor *sy_normalise_slots(sy_tape *t, sy_tensor *w /*[n]*/, const int *first_slot, int T, double eps);

/* Largest K of each row, largest first, ties to the lower column: ids [T,K]. Not differentiable: values come by sy_pick. */
sy_tensor *sy_topk(sy_tape *t, sy_tensor *x /*[T,E]*/, int K);

sy_tensor *sy_dropout(sy_tape *t, sy_tensor *x, double p, uint64_t key);                                /* inverted; element i is kept when draw(key, i) >= p; p 0: x itself */

/* Cross-entropy over chunks of tokens, logits = x W^T (+ bias, capped) never whole (xent.c). loss = scale * sum over counted tokens of
 * (1-s) (lse - logit[label]) + s (lse - mean logit) + z lse^2. label < 0 is ignored. out [1]; per-token nll (without s and z) to `nll` [T] when given. */
typedef struct sy_xent {
    double scale, smoothing, z_loss;
    sy_real *nll;
    sy_tensor *bias;                    /* [V] added to the logits, or NULL */
    double softcap;                     /* logits become softcap tanh(logit / softcap), bias included; 0 = as they are */
} sy_xent;
sy_tensor *sy_cross_entropy(sy_tape *t, sy_tensor *x /*[T,D]*/, sy_weight *w /*[V,D]*/, const int *label /*[T], borrowed*/, const sy_xent *a);

/* Symmetric divergence of the distributions that two hidden states give, over chunks of tokens (divergence.c): [1] = scale * sum over tokens with label >= 0
 * of KL(p|q) + KL(q|p). bias and softcap as in sy_xent. */
typedef struct sy_divergence { double scale; sy_tensor *bias; double softcap; } sy_divergence;
sy_tensor *sy_symmetric_kl(sy_tape *t, sy_tensor *x /*[T,D]*/, sy_tensor *y /*[T,D]*/, sy_weight *w /*[V,D]*/, const int *label /*[T], borrowed*/, const sy_divergence *a);

#endif
