/* model/attention.c - caches, and attention of one layer: heads that share keys (GQA) and latent attention (MLA).
 *
 * Latent attention (DeepSeek-V2, arXiv:2405.04434): c = norm(W_kva x) has rank R, k_pe rotates and is shared by all heads.
 *   naive     k_h = [Wk_h c | k_pe], v_h = Wv_h c, q_h = [q_nope_h | q_pe_h], attention as always
 *   absorbed  scores (Wk_h^T q_nope_h) . c + q_pe_h . k_pe,  o_h = Wv_h (sum of p c): one KV head of width R + rope whose values are its first R
 * The cache holds c and k_pe, R + rope values a token. Training and prefill take the naive form, decoding the absorbed one where that is less
 * work; both are the same in real numbers, not in bits. */
#include <limits.h>
#include <string.h>

#include "core/alloc.h"
#include "model/pass.h"
#include "model/rope.h"

/* --- caches ------------------------------------------------------------------------------------------------------------ */

sy_status sy_kv_open(sy_kv *kv, const sy_spec *s, int room, sy_err *err)
{
    bool latent = s->attention == SY_MLA;
    if (!s->causal) return sy_fail(err, SY_EUNSUP, "an encoder sees its whole text at once; it has no cache to go on from");
    *kv = (sy_kv){ .layers = s->num_hidden_layers, .heads = latent ? 1 : s->num_key_value_heads, .head_dim = latent ? s->kv_lora_rank + s->qk_rope_head_dim : s->head_dim, .room = room };
    size_t n = sy_mul_size(sy_mul_size((size_t)kv->layers * (size_t)kv->heads, (size_t)room), (size_t)kv->head_dim);
    kv->k = sy_aligned(64, sy_mul_size(n, sizeof *kv->k));
    if (!latent) kv->v = sy_aligned(64, sy_mul_size(n, sizeof *kv->v));
    kv->id = sy_calloc((size_t)room + 1, sizeof *kv->id);
    if (kv->k && (kv->v || latent) && kv->id) return SY_OK;
    sy_kv_close(kv);
    return sy_fail(err, SY_ENOMEM, "no memory for a cache of %d positions (%zu bytes); ask for a shorter context", room, sy_mul_size(n, (latent ? 1 : 2) * sizeof *kv->k));
}

void sy_kv_close(sy_kv *kv)
{
    sy_free(kv->k);
    sy_free(kv->v);
    sy_free(kv->id);
    *kv = (sy_kv){ 0 };
}

/* Copies a layer's new rows of x [T, heads of head_dim] behind what one side of the caches holds. */
static void extend(const sy_pass *p, int l, const sy_tensor *x, bool values)
{
    for (int s = 0; s < p->b->n_seg; s++) {
        sy_kv *kv = p->r->kv[s];
        const sy_segment *g = &p->b->seg[s];
        size_t hd = (size_t)kv->head_dim, heads = (size_t)kv->heads, head = (size_t)kv->room * hd;
        sy_real *to = (values ? kv->v : kv->k) + (size_t)l * heads * head + (size_t)g->pos0 * hd;
        const sy_real *from = x->x + (size_t)g->row * heads * hd;
        for (size_t i = 0; i < (size_t)g->n; i++)
            for (size_t h = 0; h < heads; h++) memcpy(to + h * head + i * hd, from + (i * heads + h) * hd, hd * sizeof *to);
    }
}

/* Points the segments at what the caches hold of a layer. */
static void point_at_caches(sy_pass *p, int l)
{
    for (int s = 0; s < p->b->n_seg; s++) {
        sy_kv *kv = p->r->kv[s];
        sy_segment *g = &p->seg[s];
        size_t hd = (size_t)kv->head_dim, head = (size_t)kv->room * hd, at = (size_t)l * (size_t)kv->heads * head;
        g->k = kv->k + at;
        g->v = (kv->v ? kv->v : kv->k) + at;            /* latent: values are the first part of the keys */
        g->stride = g->v_stride = hd;
        g->head_stride = g->v_head_stride = head;
    }
}

/* --- a pass begins ----------------------------------------------------------------------------------------------------- */

/* Frequencies that follow the length of each sequence: a set a segment. */
static sy_status rope_by_length(sy_pass *p)
{
    const sy_spec *s = &p->m->spec;
    const sy_batch *b = p->b;
    size_t half = (size_t)p->rope.rot / 2, sets = (size_t)b->n_seg;
    int *set = sy_tape_alloc(p->t, (size_t)b->T, sizeof *set);
    double *freq = sy_tape_alloc(p->t, sy_mul_size(sets, half) + 1, sizeof *freq), *scale = sy_tape_alloc(p->t, sets + 1, sizeof *scale);
    if (!set || !freq || !scale) return p->t->status;
    for (int g = 0; g < b->n_seg; g++) {
        sy_rope_fill(s, false, b->seg[g].pos0 + b->seg[g].n, freq + (size_t)g * half, &scale[g]);
        for (int i = 0; i < b->seg[g].n; i++) set[b->seg[g].row + i] = g;
    }
    p->rope.inv_freq = freq;
    p->rope.set = set;
    p->rope.set_scale = scale;
    return SY_OK;
}

static sy_status open_caches(sy_pass *p)
{
    const sy_batch *b = p->b;
    p->seg = sy_tape_alloc(p->t, (size_t)b->n_seg, sizeof *p->seg);
    if (!p->seg) return SY_ENOMEM;
    memcpy(p->seg, b->seg, (size_t)b->n_seg * sizeof *p->seg);
    for (int i = 0; i < b->n_seg; i++)
        if (b->seg[i].pos0 + b->seg[i].n > p->r->kv[i]->room)
            return sy_tape_fail(p->t, SY_ESHAPE, "the context of %d positions is full", p->r->kv[i]->room), SY_ESHAPE;
    return SY_OK;
}

sy_status sy__attention_open(sy_pass *p)
{
    sy_model *m = p->m;
    const sy_spec *s = &m->spec;
    p->attn = (sy_attn){ .n_heads = s->num_attention_heads, .n_kv_heads = s->num_key_value_heads, .head_dim = sy_spec_qk_dim(s), .value_dim = sy_spec_v_dim(s),
                         .causal = s->causal, .softcap = s->attn_logit_softcapping };
    p->rope = p->local = (sy_rope){ .rot = sy_spec_rotary(s), .inv_freq = m->inv_freq, .scale = m->rope_scale, .interleaved = s->rope_interleaved };
    p->local.inv_freq = m->local_freq;
    p->local.scale = 1;
    if (sy_rope_by_length(s)) SY_TRY(rope_by_length(p));
    return p->r->kv ? open_caches(p) : SY_OK;
}

/* --- heads that share keys --------------------------------------------------------------------------------------------- */

static sy_tensor *head_norm(sy_tape *t, sy_tensor *x, sy_param *w, int hd, double eps)
{
    int T = sy_rows(x), cols = sy_cols(x);
    x = sy_rmsnorm(t, sy_reshape(t, x, SY_DIM(T * (cols / hd), hd)), &w->leaf, eps);
    return sy_reshape(t, x, SY_DIM(T, cols));
}

static sy_tensor *qk_norm(sy_pass *p, sy_tensor *x, sy_param *w)
{
    const sy_spec *s = &p->m->spec;
    return s->qk_norm == SY_QK_ROW ? sy_rmsnorm(p->t, x, &w->leaf, s->rms_norm_eps) : head_norm(p->t, x, w, s->head_dim, s->rms_norm_eps);
}

static sy_tensor *clip(sy_pass *p, sy_tensor *x)
{
    double limit = p->m->spec.clip_qkv;
    return limit > 0 ? sy_clamp(p->t, x, -limit, limit) : x;
}

static const sy_rope *rope_of(const sy_pass *p, int l)
{
    const sy_spec *s = &p->m->spec;
    return s->rope_local_base_freq > 0 && sy_spec_sliding(s, l) ? &p->local : &p->rope;
}

static sy_tensor *heads(sy_pass *p, int l, sy_tensor *h)
{
    sy_layer *y = &p->m->layer[l];
    sy_tape *t = p->t;
    const sy_spec *s = &p->m->spec;
    sy_hold(t);
    sy_tensor *q = sy_linear(t, h, &y->q->w, sy__leaf(y->q_bias)), *k = sy_linear(t, h, &y->k->w, sy__leaf(y->k_bias)), *v = sy_linear(t, h, &y->v->w, sy__leaf(y->v_bias));
    sy_go(t);
    sy__seen(p, l, "self_attn.q_proj", q);
    sy__seen(p, l, "self_attn.k_proj", k);
    v = clip(p, sy__seen(p, l, "self_attn.v_proj", v));
    if (y->q_norm) q = sy__seen(p, l, "self_attn.q_norm", qk_norm(p, q, y->q_norm));
    if (y->k_norm) k = sy__seen(p, l, "self_attn.k_norm", qk_norm(p, k, y->k_norm));
    q = clip(p, q);
    k = clip(p, k);
    if (sy_spec_rotates(s, l)) {
        q = sy_rope_apply(t, q, s->head_dim, p->b->pos, rope_of(p, l));
        k = sy_rope_apply(t, k, s->head_dim, p->b->pos, rope_of(p, l));
    }
    if (t->status != SY_OK) return q;
    if (p->seg) {
        extend(p, l, k, false);
        extend(p, l, v, true);
        point_at_caches(p, l);
        k = v = NULL;
    }
    return sy_attention(t, q, k, v, &p->attn, p->seg ? p->seg : p->b->seg, p->b->n_seg);
}

/* --- latent attention -------------------------------------------------------------------------------------------------- */

/* Columns from .. from+n-1 of every head: [rows, heads of `width`] -> [rows * heads, n]. */
static sy_tensor *part_of_heads(sy_tape *t, sy_tensor *x, int width, int from, int n)
{
    return sy_cols_slice(t, sy_reshape(t, x, SY_DIM(sy_rows(x) * (sy_cols(x) / width), width)), from, n);
}

static sy_tensor *side_by_side(sy_tape *t, sy_tensor *x, int n_heads)       /* [rows * heads, w] -> [rows, heads of w] */
{
    return sy_reshape(t, x, SY_DIM(sy_rows(x) / n_heads, n_heads * sy_cols(x)));
}

/* Whether rows of all heads can be counted; a tensor's sizes are ints. */
static bool countable(const sy_pass *p, int64_t rows)
{
    if (rows * p->m->spec.num_attention_heads <= INT_MAX) return true;
    sy_tape_fail(p->t, SY_ESHAPE, "%lld positions under %d heads are too many for one pass", (long long)rows, p->m->spec.num_attention_heads);
    return false;
}

/* Keys [n, H*qk] and values [n, H*v] of n latents c [n,R] and shared keys k_pe [n,rope]. */
static void expand(sy_pass *p, sy_layer *y, sy_tensor *c, sy_tensor *k_pe, sy_tensor **k, sy_tensor **v)
{
    const sy_spec *s = &p->m->spec;
    sy_tape *t = p->t;
    int H = s->num_attention_heads, n = sy_rows(c), nope = s->qk_nope_head_dim, each = nope + s->v_head_dim;
    int *row = sy_tape_alloc(t, (size_t)n * (size_t)H, sizeof *row);
    if (!row) { *k = *v = &t->empty; return; }
    for (int i = 0; i < n * H; i++) row[i] = i / H;
    sy_tensor *kv = sy_linear(t, c, &y->kv_b->w, NULL);
    if (t->status != SY_OK) { *k = *v = &t->empty; return; }
    *k = side_by_side(t, sy_cols_concat(t, part_of_heads(t, kv, each, 0, nope), sy_rows_gather(t, k_pe, row, n * H)), H);
    *v = side_by_side(t, part_of_heads(t, kv, each, nope, s->v_head_dim), H);
}

/* Whether decoding on the latents is less work than expanding all that the caches hold; multiply-adds of one head. */
static bool absorbs(const sy_pass *p)
{
    const sy_spec *s = &p->m->spec;
    double R = s->kv_lora_rank, wide = s->qk_nope_head_dim + s->v_head_dim, naive = 0, absorbed = 0;
    for (int i = 0; i < p->b->n_seg; i++) {
        double n = p->b->seg[i].n, all = p->b->seg[i].pos0 + n;
        naive += all * R * wide + n * all * (sy_spec_qk_dim(s) + s->v_head_dim);
        absorbed += n * R * wide + n * all * (2 * R + s->qk_rope_head_dim);
    }
    return s->mla_absorb && absorbed < naive;
}

/* The latents of all segments' caches expanded: the segments then point at rows of one tensor of keys and one of values. */
static void expand_caches(sy_pass *p, int l)
{
    const sy_spec *s = &p->m->spec;
    sy_tape *t = p->t;
    int at = 0, R = s->kv_lora_rank, wide = R + s->qk_rope_head_dim;
    int64_t n = 0;
    for (int i = 0; i < p->b->n_seg; i++) n += p->seg[i].pos0 + p->seg[i].n;
    if (!countable(p, n)) return;
    sy_tensor *all = sy_new(t, SY_DIM((int)n, wide)), *k, *v;
    if (t->status != SY_OK) return;
    for (int i = 0; i < p->b->n_seg; i++) {
        int have = p->seg[i].pos0 + p->seg[i].n;
        memcpy(all->x + (size_t)at * (size_t)wide, p->seg[i].k, (size_t)have * (size_t)wide * sizeof(sy_real));
        at += have;
    }
    expand(p, &p->m->layer[l], sy_cols_slice(t, all, 0, R), sy_cols_slice(t, all, R, s->qk_rope_head_dim), &k, &v);
    if (t->status != SY_OK) return;
    at = 0;
    for (int i = 0; i < p->b->n_seg; i++) {
        sy_segment *g = &p->seg[i];
        size_t qk = (size_t)sy_spec_qk_dim(s), vd = (size_t)s->v_head_dim, H = (size_t)s->num_attention_heads;
        g->k = k->x + (size_t)at * H * qk;
        g->v = v->x + (size_t)at * H * vd;
        g->stride = H * qk, g->head_stride = qk;
        g->v_stride = H * vd, g->v_head_stride = vd;
        at += g->pos0 + g->n;
    }
}

static sy_tensor *absorbed(sy_pass *p, sy_layer *y, sy_tensor *q)
{
    const sy_spec *s = &p->m->spec;
    sy_tape *t = p->t;
    int H = s->num_attention_heads, R = s->kv_lora_rank, nope = s->qk_nope_head_dim, qk = sy_spec_qk_dim(s), each = nope + s->v_head_dim;
    sy_tensor *low = sy_linear_heads(t, side_by_side(t, part_of_heads(t, q, qk, 0, nope), H), &y->kv_b->w, &(sy_heads){ H, each, 0, nope, false });
    if (t->status != SY_OK) return low;
    q = side_by_side(t, sy_cols_concat(t, part_of_heads(t, low, R, 0, R), part_of_heads(t, q, qk, nope, s->qk_rope_head_dim)), H);
    sy_attn a = p->attn;
    a.n_kv_heads = 1;
    a.head_dim = R + s->qk_rope_head_dim;
    a.value_dim = R;
    return sy_linear_heads(t, sy_attention(t, q, NULL, NULL, &a, p->seg, p->b->n_seg), &y->kv_b->w, &(sy_heads){ H, each, nope, s->v_head_dim, true });
}

static sy_tensor *latent(sy_pass *p, int l, sy_tensor *h)
{
    sy_layer *y = &p->m->layer[l];
    sy_tape *t = p->t;
    const sy_spec *s = &p->m->spec;
    int R = s->kv_lora_rank;
    sy_tensor *q = h, *k = NULL, *v = NULL;
    if (t->status != SY_OK || !countable(p, sy_rows(h))) return &t->empty;
    if (y->q_a) {
        q = sy__seen(p, l, "self_attn.q_a_proj", sy_linear(t, h, &y->q_a->w, sy__leaf(y->q_a_bias)));
        q = sy__seen(p, l, "self_attn.q_a_layernorm", sy_rmsnorm(t, q, &y->q_a_norm->leaf, s->lora_norm_eps));
    }
    q = sy__seen(p, l, y->q_a ? "self_attn.q_b_proj" : "self_attn.q_proj", sy_linear(t, q, &y->q->w, NULL));
    sy_tensor *low = sy__seen(p, l, "self_attn.kv_a_proj_with_mqa", sy_linear(t, h, &y->kv_a->w, sy__leaf(y->kv_a_bias))), *k_pe = sy_cols_slice(t, low, R, s->qk_rope_head_dim);
    sy_tensor *c = sy__seen(p, l, "self_attn.kv_a_layernorm", sy_rmsnorm(t, sy_cols_slice(t, low, 0, R), &y->kv_a_norm->leaf, s->lora_norm_eps));
    if (p->r->dump) sy__seen(p, l, "self_attn.kv_b_proj", sy_linear(t, c, &y->kv_b->w, NULL));      /* of these tokens; expand() makes those of the whole cache */
    if (sy_spec_rotates(s, l)) {
        sy_rope r = *rope_of(p, l);
        k_pe = sy_rope_apply(t, k_pe, s->qk_rope_head_dim, p->b->pos, &r);
        r.at = s->qk_nope_head_dim;
        q = sy_rope_apply(t, q, sy_spec_qk_dim(s), p->b->pos, &r);
    }
    if (t->status != SY_OK) return q;
    if (!p->seg) {
        expand(p, y, c, k_pe, &k, &v);
        return t->status == SY_OK ? sy_attention(t, q, k, v, &p->attn, p->b->seg, p->b->n_seg) : &t->empty;
    }
    sy_tensor *row = sy_cols_concat(t, c, k_pe);
    if (t->status != SY_OK) return row;
    extend(p, l, row, false);
    point_at_caches(p, l);
    if (absorbs(p)) return absorbed(p, y, q);
    expand_caches(p, l);
    return t->status == SY_OK ? sy_attention(t, q, NULL, NULL, &p->attn, p->seg, p->b->n_seg) : &t->empty;
}

sy_tensor *sy__attention(sy_pass *p, int l, sy_tensor *h)
{
    sy_layer *y = &p->m->layer[l];
    const sy_spec *s = &p->m->spec;
    p->attn.scale = sy_spec_score_scale(s, l);
    p->attn.window = sy_spec_sliding(s, l) ? s->sliding_window : 0;
    p->attn.sinks = sy__leaf(y->sinks);
    sy_tensor *a = sy__seen(p, l, "self_attn.context", s->attention == SY_MLA ? latent(p, l, h) : heads(p, l, h));
    return p->t->status == SY_OK ? sy__seen(p, l, "self_attn.o_proj", sy_linear(p->t, a, &y->o->w, sy__leaf(y->o_bias))) : &p->t->empty;
}
