/* model/model.c - parameters of a decoder and its forward pass. */
#include "model/model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/memory.h"

sy_status sy_kv_open(sy_kv *kv, const sy_spec *s, int room, sy_err *err)
{
    size_t n = sy_mul_size(sy_mul_size((size_t)s->num_hidden_layers * s->num_key_value_heads, (size_t)room), (size_t)s->head_dim);
    *kv = (sy_kv){ .layers = s->num_hidden_layers, .heads = s->num_key_value_heads, .head_dim = s->head_dim, .room = room };
    kv->k = sy_aligned(64, sy_mul_size(n, sizeof *kv->k));
    kv->v = sy_aligned(64, sy_mul_size(n, sizeof *kv->v));
    if (kv->k && kv->v) return SY_OK;
    sy_kv_close(kv);
    return sy_fail(err, SY_ENOMEM, "no memory for a cache of %d positions (%zu bytes); ask for a shorter context", room, sy_mul_size(n, 2 * sizeof *kv->k));
}

void sy_kv_close(sy_kv *kv)
{
    sy_free(kv->k);
    sy_free(kv->v);
    *kv = (sy_kv){ 0 };
}

/* --- building ---------------------------------------------------------------------------------------------------------- */

typedef struct build { sy_model *m; uint64_t seed; bool failed; } build;

static sy_param *weight(build *b, const char *name, double std, int nd, const int *dim)
{
    sy_param *p = b->failed ? NULL : sy_params_add(&b->m->params, name, 0, nd, dim);
    if (!p) { b->failed = true; return NULL; }
    sy_param_normal(p, b->seed, std);
    return p;
}

static sy_param *norm(build *b, const char *name, int D)
{
    sy_param *p = b->failed ? NULL : sy_params_add(&b->m->params, name, SY_NODECAY, 1, &D);
    if (!p) { b->failed = true; return NULL; }
    sy_param_fill(p, 1);
    return p;
}

static sy_param *bias(build *b, const char *name, bool wanted, int n)
{
    sy_param *p = b->failed || !wanted ? NULL : sy_params_add(&b->m->params, name, SY_NODECAY, 1, &n);
    if (!p && wanted) b->failed = true;
    return p;
}

/* Splits blank-separated method texts into at most SY_MAX_TERMS pieces. */
static sy_status split(sy_arena *a, const char *text, const char **out, int *n, const char *key, sy_err *err)
{
    *n = 0;
    for (const char *p = text + strspn(text, " "); *p; p += strspn(p, " ")) {
        size_t len = strcspn(p, " ");
        if (*n == SY_MAX_TERMS) return sy_fail(err, SY_EARG, "%s: more than %d methods", key, SY_MAX_TERMS);
        if (!(out[(*n)++] = sy_arena_printf(a, "%.*s", (int)len, p))) return sy_fail(err, SY_ENOMEM, "no memory for %s", key);
        p += len;
    }
    return SY_OK;
}

static sy_status sparse_layer(sy_model *m, int l, int nth, uint64_t seed, sy_err *err)
{
    const sy_spec *s = &m->spec;
    sy_block_spec bs = { .router = s->router, .expert = s->expert, .zero = s->zero_experts ? s->zero_expert : NULL, .D = s->hidden_size, .F = s->moe_intermediate_size,
                         .E = s->num_experts, .Z = s->zero_experts, .shared_F = s->shared_expert_intermediate_size, .shared_gate = s->shared_expert_gate, .shared_act = sy_spec_act(s),
                         .routed_scale = s->routed_scaling_factor };
    SY_TRY(split(&m->arena, s->balance, bs.balance, &bs.n_balance, "balance", err));
    SY_TRY(split(&m->arena, s->edit, bs.edit, &bs.n_edit, "edit", err));
    sy_site site = { .layer = l, .nth = nth, .n_sparse = m->n_sparse, .D = bs.D, .F = bs.F, .E = bs.E, .Z = bs.Z, .V = s->vocab_size, .init_std = s->initializer_range };
    sy_block *b = &m->layer[l].block;
    SY_TRY(sy_within(err, sy_block_init(b, &bs, &site, &m->eng->methods, &m->params, seed, err), "layer %d", l));
    if (b->carry > m->carry) m->carry = b->carry;
    return SY_OK;
}

static sy_status build_all(sy_model *m, uint64_t seed, sy_err *err)
{
    const sy_spec *s = &m->spec;
    int D = s->hidden_size, hd = s->head_dim, q = s->num_attention_heads * hd, kv = s->num_key_value_heads * hd, F = s->intermediate_size, nth = 0, rot = sy_spec_rotary(s);
    bool row = s->qk_norm == SY_QK_ROW;
    double std = s->initializer_range;
    build b = { m, seed, false };
    char name[96];
#define NAME(part) (snprintf(name, sizeof name, "model.layers.%d." part ".weight", l), name)
#define BIAS(part) (snprintf(name, sizeof name, "model.layers.%d." part ".bias", l), name)
    m->embed = weight(&b, "model.embed_tokens.weight", std, SY_DIM(s->vocab_size, D));
    m->layer = sy_arena_array(&m->arena, (size_t)s->num_hidden_layers, sizeof *m->layer);
    m->inv_freq = sy_arena_array(&m->arena, (size_t)rot / 2 + 1, sizeof *m->inv_freq);
    if (b.failed || !m->layer || !m->inv_freq) return sy_fail(err, SY_ENOMEM, "no memory for the model's embedding (%d x %d)", s->vocab_size, D);
    for (int i = 0; i < rot / 2; i++) m->inv_freq[i] = pow(s->rope_theta, -2.0 * i / rot);
    for (int l = 0; l < s->num_hidden_layers; l++) {
        sy_layer *y = &m->layer[l];
        y->norm1 = norm(&b, NAME("input_layernorm"), D);
        y->q = weight(&b, NAME("self_attn.q_proj"), std, SY_DIM(q, D));
        y->k = weight(&b, NAME("self_attn.k_proj"), std, SY_DIM(kv, D));
        y->v = weight(&b, NAME("self_attn.v_proj"), std, SY_DIM(kv, D));
        y->o = weight(&b, NAME("self_attn.o_proj"), std, SY_DIM(D, q));
        y->q_bias = bias(&b, BIAS("self_attn.q_proj"), s->attention_bias, q);
        y->k_bias = bias(&b, BIAS("self_attn.k_proj"), s->attention_bias, kv);
        y->v_bias = bias(&b, BIAS("self_attn.v_proj"), s->attention_bias, kv);
        y->o_bias = bias(&b, BIAS("self_attn.o_proj"), s->attention_out_bias, D);
        if (s->qk_norm) {
            y->q_norm = norm(&b, NAME("self_attn.q_norm"), row ? q : hd);
            y->k_norm = norm(&b, NAME("self_attn.k_norm"), row ? kv : hd);
        }
        y->norm2 = norm(&b, NAME("post_attention_layernorm"), D);
        y->sparse = sy_spec_sparse(s, l);
        if (y->sparse) {
            if (!b.failed) SY_TRY(sparse_layer(m, l, nth++, seed, err));
        } else {
            y->gate = weight(&b, NAME("mlp.gate_proj"), std, SY_DIM(F, D));
            y->up = weight(&b, NAME("mlp.up_proj"), std, SY_DIM(F, D));
            y->down = weight(&b, NAME("mlp.down_proj"), std, SY_DIM(D, F));
            y->gate_bias = bias(&b, BIAS("mlp.gate_proj"), s->mlp_bias, F);
            y->up_bias = bias(&b, BIAS("mlp.up_proj"), s->mlp_bias, F);
            y->down_bias = bias(&b, BIAS("mlp.down_proj"), s->mlp_bias, D);
        }
        if (b.failed) return sy_fail(err, SY_ENOMEM, "no memory for the parameters of layer %d", l);
    }
#undef NAME
#undef BIAS
    m->norm = norm(&b, "model.norm.weight", D);
    if (!s->tie_word_embeddings) m->head = weight(&b, "lm_head.weight", std, SY_DIM(s->vocab_size, D));
    m->head_bias = bias(&b, "lm_head.bias", s->lm_head_bias, s->vocab_size);
    return b.failed ? sy_fail(err, SY_ENOMEM, "no memory for the model's head (%d x %d)", s->vocab_size, D) : SY_OK;
}

/* The spec's texts are the caller's; the model keeps its own copies. */
static bool own_texts(sy_model *m)
{
    const char **text[] = { &m->spec.layers, &m->spec.router, &m->spec.expert, &m->spec.zero_expert, &m->spec.balance, &m->spec.edit, &m->spec.window_layers,
                            &m->spec.rope_layers, &m->spec.rope_short_factor, &m->spec.rope_long_factor };
    for (size_t i = 0; i < SY_COUNT(text); i++)
        if (!(*text[i] = sy_arena_strdup(&m->arena, *text[i] ? *text[i] : ""))) return false;
    return true;
}

/* A model that cannot fit is refused before anything is taken. */
static sy_status fits(const sy_spec *s, unsigned how, sy_err *err)
{
    double values, left = sy_memory_left(), copies = how & SY_MODEL_TRAIN ? 4 : 1;      /* weights; gradients and two moments */
    sy_spec_size(s, s->num_experts, &values, NULL, NULL);
    double need = values * copies * sizeof(sy_real);
    if (need <= left) return SY_OK;
    return sy_fail(err, SY_ENOMEM, "%.3g parameters need %.1f GB%s, %.1f GB are free; choose smaller sizes or a machine with more memory", values, need / 1e9,
                   how & SY_MODEL_TRAIN ? " with gradients and moments" : "", left / 1e9);
}

sy_status sy_model_new(sy_model **out, sy_engine *eng, const sy_spec *spec, unsigned how, uint64_t seed, sy_err *err)
{
    sy_model *m = sy_calloc(1, sizeof *m);
    if (!m) return sy_fail(err, SY_ENOMEM, "no memory for a model");
    m->eng = eng;
    m->spec = *spec;
    m->params = (sy_params){ .arena = &m->arena, .train = how & SY_MODEL_TRAIN, .fresh = !(how & SY_MODEL_EMPTY) };
    sy_status st = own_texts(m) ? sy_spec_check(&m->spec, err) : sy_fail(err, SY_ENOMEM, "no memory for the model's texts");
    if (st == SY_OK) st = fits(&m->spec, how, err);
    if (st == SY_OK) {
        m->n_sparse = sy_spec_n_sparse(&m->spec);
        st = build_all(m, seed, err);
    }
    if (st != SY_OK) { sy_model_free(m); return st; }
    *out = m;
    return SY_OK;
}

void sy_model_free(sy_model *m)
{
    if (!m) return;
    sy_arena_free(&m->arena);
    sy_free(m);
}

/* --- running ----------------------------------------------------------------------------------------------------------- */

sy_block *sy_model_block(sy_model *m, int nth)
{
    for (int l = 0; l < m->spec.num_hidden_layers; l++)
        if (m->layer[l].sparse && !nth--) return &m->layer[l].block;
    return NULL;
}

sy_weight *sy_model_head(sy_model *m) { return m->head ? &m->head->w : &m->embed->w; }

/* What all layers of one pass share. */
typedef struct pass {
    sy_model       *m;
    sy_tape        *t;
    const sy_batch *b;
    const sy_run   *r;
    sy_attn         attn;
    sy_rope         rope;
    sy_segment     *seg;                /* with caches: a copy that a layer points at its keys */
    const int      *back[4];
    uint64_t       *key;                /* [T] of the layer at hand */
    sy_tensor      *carry;
} pass;

/* Copies this layer's new keys and values behind what the caches hold, and points the segments at them. */
static void extend_caches(pass *p, int l, const sy_tensor *k, const sy_tensor *v)
{
    for (int s = 0; s < p->b->n_seg; s++) {
        sy_kv *kv = p->r->kv[s];
        const sy_segment *g = &p->b->seg[s];
        size_t hd = (size_t)kv->head_dim, head = (size_t)kv->room * hd, at = (size_t)l * kv->heads * head, row = (size_t)kv->heads * hd;
        for (int i = 0; i < g->n; i++)
            for (int h = 0; h < kv->heads; h++) {
                size_t to = at + (size_t)h * head + (size_t)(g->pos0 + i) * hd, from = (size_t)(g->row + i) * row + (size_t)h * hd;
                memcpy(kv->k + to, k->x + from, hd * sizeof(sy_real));
                memcpy(kv->v + to, v->x + from, hd * sizeof(sy_real));
            }
        p->seg[s].k = kv->k + at;
        p->seg[s].v = kv->v + at;
        p->seg[s].stride = p->seg[s].v_stride = hd;
        p->seg[s].head_stride = p->seg[s].v_head_stride = head;
    }
}

static sy_tensor *leaf(sy_param *p) { return p ? &p->leaf : NULL; }

static sy_tensor *head_norm(sy_tape *t, sy_tensor *x, sy_param *w, int hd, double eps)
{
    int T = sy_rows(x), cols = sy_cols(x);
    x = sy_rmsnorm(t, sy_reshape(t, x, SY_DIM(T * (cols / hd), hd)), &w->leaf, eps);
    return sy_reshape(t, x, SY_DIM(T, cols));
}

static sy_tensor *attention(pass *p, int l, sy_tensor *h)
{
    sy_layer *y = &p->m->layer[l];
    sy_tape *t = p->t;
    const sy_spec *s = &p->m->spec;
    sy_tensor *q = sy_linear(t, h, &y->q->w, leaf(y->q_bias)), *k = sy_linear(t, h, &y->k->w, leaf(y->k_bias)), *v = sy_linear(t, h, &y->v->w, leaf(y->v_bias));
    if (y->q_norm) {
        bool row = s->qk_norm == SY_QK_ROW;
        q = row ? sy_rmsnorm(t, q, &y->q_norm->leaf, s->rms_norm_eps) : head_norm(t, q, y->q_norm, s->head_dim, s->rms_norm_eps);
        k = row ? sy_rmsnorm(t, k, &y->k_norm->leaf, s->rms_norm_eps) : head_norm(t, k, y->k_norm, s->head_dim, s->rms_norm_eps);
    }
    if (sy_spec_rotates(s, l)) {
        q = sy_rope_apply(t, q, s->head_dim, p->b->pos, &p->rope);
        k = sy_rope_apply(t, k, s->head_dim, p->b->pos, &p->rope);
    }
    p->attn.window = sy_spec_sliding(s, l) ? s->sliding_window : 0;
    if (t->status != SY_OK) return q;
    if (p->seg) {
        extend_caches(p, l, k, v);
        k = v = NULL;
    }
    return sy_linear(t, sy_attention(t, q, k, v, &p->attn, p->seg ? p->seg : p->b->seg, p->b->n_seg), &y->o->w, leaf(y->o_bias));
}

static sy_tensor *dense_ffn(pass *p, sy_layer *y, sy_tensor *h)
{
    sy_tape *t = p->t;
    sy_tensor *a = sy_glu(t, sy_spec_act(&p->m->spec), sy_linear(t, h, &y->gate->w, leaf(y->gate_bias)), sy_linear(t, h, &y->up->w, leaf(y->up_bias)));
    return sy_linear(t, a, &y->down->w, leaf(y->down_bias));
}

static sy_tensor *sparse_ffn(pass *p, int l, sy_tensor *h)
{
    const sy_run *r = p->r;
    const sy_batch *b = p->b;
    sy_block *blk = &p->m->layer[l].block;
    int nth = blk->site.nth;
    for (int i = 0; i < b->T; i++) p->key[i] = sy_key(r->seed, SY_FOR_ROUTE, b->seq_no ? b->seq_no[b->seq[i]] : 0, (uint64_t)l, (uint64_t)r->pass);
    sy_route_in in = { .mode = r->mode, .T = b->T, .x = h, .id = b->id, .pos = b->pos, .seq = b->seq, .label = b->domain, .valid = b->valid, .key = p->key,
                       .batch_key = sy_key(r->seed, SY_FOR_ROUTE_BATCH, (uint64_t)r->step, (uint64_t)r->micro << 32 | (uint64_t)r->pass, (uint64_t)l),
                       .step = r->step, .steps = r->steps, .progress = r->progress, .micro = r->micro, .n_micro = r->n_micro ? r->n_micro : 1,
                       .pass = r->pass, .n_pass = r->n_pass ? r->n_pass : 1, .carry = p->carry, .over = r->over, .again = r->again ? r->again[nth] : NULL, .n_seq = b->n_seg };
    for (int i = 0; i < 4; i++) in.back[i] = p->back[i];
    sy_route *route = NULL;
    sy_tensor *out = sy_block_run(blk, p->t, in, r->losses, &route, r->stats ? &r->stats[nth] : NULL);
    if (route && route->carry) p->carry = route->carry;
    if (r->routes) r->routes[nth] = route;
    return out;
}

static sy_status open_pass(pass *p)
{
    sy_model *m = p->m;
    const sy_spec *s = &m->spec;
    const sy_batch *b = p->b;
    p->attn = (sy_attn){ .n_heads = s->num_attention_heads, .n_kv_heads = s->num_key_value_heads, .head_dim = s->head_dim,
                         .scale = sy_spec_score_scale(s), .causal = true };      /* the window is each layer's */
    p->rope = (sy_rope){ .rot = sy_spec_rotary(s), .inv_freq = m->inv_freq, .scale = 1, .interleaved = s->rope_interleaved };
    if (p->r->kv) {
        p->seg = sy_tape_alloc(p->t, (size_t)b->n_seg, sizeof *p->seg);
        if (!p->seg) return SY_ENOMEM;
        memcpy(p->seg, b->seg, (size_t)b->n_seg * sizeof *p->seg);
        for (int i = 0; i < b->n_seg; i++)
            if (b->seg[i].pos0 + b->seg[i].n > p->r->kv[i]->room)
                return sy_tape_fail(p->t, SY_ESHAPE, "the context of %d positions is full", p->r->kv[i]->room), SY_ESHAPE;
    }
    if (!m->n_sparse) return SY_OK;
    p->key = sy_tape_alloc(p->t, (size_t)b->T, sizeof *p->key);
    if (!p->key) return SY_ENOMEM;
    if (m->carry) {
        p->carry = sy_new(p->t, SY_DIM(b->T, m->carry));
        if (p->t->status != SY_OK) return p->t->status;
        memset(p->carry->x, 0, sy_numel(p->carry) * sizeof(sy_real));
    }
    for (int back = 1; back <= 4 && !p->r->kv; back++) {        /* ids of earlier tokens; a cache has to supply them when serving */
        int *id = sy_tape_alloc(p->t, (size_t)b->T, sizeof *id);
        if (!id) return SY_ENOMEM;
        for (int g = 0; g < b->n_seg; g++)
            for (int i = 0; i < b->seg[g].n; i++) {
                int at = b->seg[g].row + i;
                id[at] = i >= back ? b->id[at - back] : -1;
            }
        p->back[back - 1] = id;
    }
    return SY_OK;
}

static sy_tensor *times(sy_tape *t, sy_tensor *x, double by) { return by != 1 ? sy_affine(t, x, by, 0) : x; }

sy_tensor *sy_model_hidden(sy_model *m, sy_tape *t, const sy_batch *b, const sy_run *r)
{
    pass p = { .m = m, .t = t, .b = b, .r = r };
    const sy_spec *s = &m->spec;
    double eps = s->rms_norm_eps;
    if (open_pass(&p) != SY_OK) return &t->empty;
    sy_tensor *x = times(t, sy_embed(t, &m->embed->w, b->id, b->T), s->embedding_multiplier);
    for (int l = 0; l < s->num_hidden_layers && t->status == SY_OK; l++) {
        sy_layer *y = &m->layer[l];
        x = sy_add(t, x, times(t, attention(&p, l, sy_rmsnorm(t, x, &y->norm1->leaf, eps)), s->residual_multiplier));
        sy_tensor *h = sy_rmsnorm(t, x, &y->norm2->leaf, eps);
        x = sy_add(t, x, times(t, y->sparse ? sparse_ffn(&p, l, h) : dense_ffn(&p, y, h), s->residual_multiplier));
    }
    if (r->kv && t->status == SY_OK)
        for (int i = 0; i < b->n_seg; i++) r->kv[i]->n = b->seg[i].pos0 + b->seg[i].n;
    return times(t, sy_rmsnorm(t, x, &m->norm->leaf, eps), 1 / s->logits_scaling);       /* the head is linear: scaled hidden states, scaled logits */
}

sy_tensor *sy_model_logits(sy_model *m, sy_tape *t, sy_tensor *hidden, const int *row, int n)
{
    if (row) hidden = sy_rows_gather(t, hidden, row, n);
    return sy_linear(t, hidden, sy_model_head(m), leaf(m->head_bias));
}

sy_tensor *sy_model_loss(sy_model *m, sy_tape *t, sy_tensor *hidden, const int *label, const sy_xent *a)
{
    return sy_cross_entropy(t, hidden, sy_model_head(m), label, a);
}

sy_status sy_model_before(sy_model *m, int64_t step, int64_t steps, double progress, sy_err *err)
{
    for (int l = 0; l < m->spec.num_hidden_layers; l++)
        if (m->layer[l].sparse) SY_TRY(sy_within(err, sy_block_before(&m->layer[l].block, step, steps, progress, err), "layer %d", l));
    return SY_OK;
}

sy_status sy_model_after(sy_model *m, int64_t step, int64_t steps, double progress, sy_err *err)
{
    for (int l = 0; l < m->spec.num_hidden_layers; l++)
        if (m->layer[l].sparse) SY_TRY(sy_within(err, sy_block_after(&m->layer[l].block, step, steps, progress, err), "layer %d", l));
    return SY_OK;
}

double sy_model_nominal_k(const sy_model *m)
{
    for (int l = 0; l < m->spec.num_hidden_layers; l++) {
        const sy_layer *y = &m->layer[l];
        size_t at;
        if (!y->sparse) continue;
        const sy_opt *row = y->block.router.m->opts ? sy_opt_find(y->block.router.m->opts, "num_experts_per_tok", &at, NULL) : NULL;
        return row ? *(const int *)((const char *)y->block.router.s + at) : 0;
    }
    return 0;
}
