/* model/forward.c - a batch through the model: embedding, layers, head. Attention of a layer is in attention.c. */
#include <math.h>
#include <string.h>

#include "model/pass.h"

static sy_tensor *dense_ffn(sy_pass *p, int l, sy_tensor *h)
{
    sy_layer *y = &p->m->layer[l];
    sy_tape *t = p->t;
    const sy_spec *s = &p->m->spec;
    sy_hold(t);
    sy_tensor *up = sy_linear(t, h, &y->up->w, sy__leaf(y->up_bias)), *gate = s->ffn_gated ? sy_linear(t, h, &y->gate->w, sy__leaf(y->gate_bias)) : NULL, *a;
    sy_go(t);
    sy__seen(p, l, "mlp.up_proj", up);
    if (!gate) a = sy__seen(p, l, "mlp.act_fn", sy_activate(t, sy_spec_act(s), up));
    else {
        sy__seen(p, l, "mlp.gate_proj", gate);
        if (p->r->dump && !(s->swiglu_alpha > 0)) sy__seen(p, l, "mlp.act_fn", sy_activate(t, sy_spec_act(s), gate));
        a = s->swiglu_alpha > 0 ? sy_glu_clamped(t, gate, up, s->swiglu_alpha, s->swiglu_limit > 0 ? s->swiglu_limit : INFINITY) : sy_glu(t, sy_spec_act(s), gate, up);
    }
    return sy__seen(p, l, "mlp.down_proj", sy_linear(t, a, &y->down->w, sy__leaf(y->down_bias)));
}

/* A sparse block says "gate" of what is model.layers.{l}.mlp.gate here. */
struct inside { const sy_pass *p; int l; };

static void from_block(void *arg, const char *name, const sy_tensor *x)
{
    const struct inside *in = arg;
    char module[64];
    snprintf(module, sizeof module, "mlp.%s", name);
    sy__seen(in->p, in->l, module, (sy_tensor *)x);
}

static sy_tensor *sparse_ffn(sy_pass *p, int l, sy_tensor *h)
{
    const sy_run *r = p->r;
    const sy_batch *b = p->b;
    sy_block *blk = &p->m->layer[l].block;
    int nth = blk->site.nth;
    for (int i = 0; i < b->T; i++) p->key[i] = sy_key(r->seed, SY_FOR_ROUTE, b->seq_no ? b->seq_no[b->seq[i]] : 0, (uint64_t)l, (uint64_t)r->pass);
    sy_route_in in = { .mode = r->mode, .T = b->T, .x = h, .id = b->id, .pos = b->pos, .seq = b->seq, .label = b->domain, .valid = b->valid, .key = p->key,
                       .batch_key = sy_key(r->seed, SY_FOR_ROUTE_BATCH, (uint64_t)(r->step + r->ahead), (uint64_t)r->micro << 32 | (uint64_t)r->pass, (uint64_t)l),
                       .step = r->step, .steps = r->steps, .progress = r->progress, .micro = r->micro, .n_micro = r->n_micro ? r->n_micro : 1,
                       .pass = r->pass, .n_pass = r->n_pass ? r->n_pass : 1, .carry = p->carry, .over = r->over, .again = r->again ? r->again[nth] : NULL, .n_seq = b->n_seg,
                       .edit = r->edits ? &r->edits[nth] : NULL };
    for (int i = 0; i < 4; i++) in.back[i] = p->back[i];
    struct inside inside = { p, l };
    const sy_dump dump = { from_block, &inside };
    if (r->dump) in.dump = &dump;
    sy_route *route = NULL;
    sy_tensor *out = sy_block_run(blk, p->t, in, r->losses, &route, r->stats ? &r->stats[nth] : NULL);
    if (route && route->carry) p->carry = route->carry;
    if (r->routes) r->routes[nth] = route;
    return out;
}

/* What sparse layers look at besides their input. */
static sy_status open_routes(sy_pass *p)
{
    sy_model *m = p->m;
    const sy_batch *b = p->b;
    p->key = sy_tape_alloc(p->t, (size_t)b->T, sizeof *p->key);
    if (!p->key) return SY_ENOMEM;
    if (m->carry) {
        p->carry = sy_new(p->t, SY_DIM(b->T, m->carry));
        if (p->t->status != SY_OK) return p->t->status;
        memset(p->carry->x, 0, sy_numel(p->carry) * sizeof(sy_real));
    }
    for (int g = 0; p->r->kv && g < b->n_seg; g++)
        memcpy(p->r->kv[g]->id + b->seg[g].pos0, b->id + b->seg[g].row, (size_t)b->seg[g].n * sizeof(int));
    for (int back = 1; back <= 4; back++) {                     /* ids of earlier tokens: of this batch, or of the cache */
        int *id = sy_tape_alloc(p->t, (size_t)b->T, sizeof *id);
        if (!id) return SY_ENOMEM;
        for (int g = 0; g < b->n_seg; g++) {
            const sy_segment *seg = &b->seg[g];
            const int *text = p->r->kv ? p->r->kv[g]->id + seg->pos0 : b->id + seg->row;
            int least = p->r->kv ? seg->pos0 : 0;
            for (int i = 0; i < seg->n; i++) id[seg->row + i] = i + least >= back ? text[i - back] : -1;
        }
        p->back[back - 1] = id;
    }
    return SY_OK;
}

static sy_tensor *times(sy_tape *t, sy_tensor *x, double by) { return by != 1 ? sy_affine(t, x, by, 0) : x; }

static sy_tensor *norm(const sy_pass *p, sy_tensor *x, sy_param *w, sy_param *bias)
{
    const sy_spec *s = &p->m->spec;
    return s->norm == SY_NORM_LAYER ? sy_layernorm(p->t, x, &w->leaf, sy__leaf(bias), s->rms_norm_eps) : sy_rmsnorm(p->t, x, &w->leaf, s->rms_norm_eps);
}

/* Tokens, and what is added to them before the first layer. */
static sy_tensor *embed(const sy_pass *p)
{
    sy_model *m = p->m;
    sy_tape *t = p->t;
    const sy_batch *b = p->b;
    const sy_spec *s = &m->spec;
    sy_tensor *x = times(t, sy__seen(p, -1, "model.embed_tokens", sy_embed(t, &m->embed->w, b->id, b->T)), s->embedding_multiplier);
    for (int i = 0; m->positions && i < b->T; i++)
        if (b->pos[i] < 0 || b->pos[i] >= s->max_position_embeddings)
            return sy_tape_fail(t, SY_ESHAPE, "a token stands at position %d; this model has learned the positions 0 to %d", b->pos[i], s->max_position_embeddings - 1);
    if (m->types) {                                             /* every token is of the first type */
        const int *first = sy_tape_alloc(t, (size_t)b->T, sizeof *first);
        if (!first) return &t->empty;
        x = sy_add(t, x, sy__seen(p, -1, "model.embed_types", sy_embed(t, &m->types->w, first, b->T)));
    }
    if (m->positions) x = sy_add(t, x, sy__seen(p, -1, "model.embed_positions", sy_embed(t, &m->positions->w, b->pos, b->T)));
    return m->embed_norm ? sy__seen(p, -1, "model.embed_norm", norm(p, x, m->embed_norm, m->embed_norm_bias)) : x;
}

static sy_tensor *ffn(sy_pass *p, int l, sy_tensor *h)
{
    return sy__seen(p, l, "mlp", p->m->layer[l].sparse ? sparse_ffn(p, l, h) : dense_ffn(p, l, h));
}

static sy_tensor *attend(sy_pass *p, int l, sy_tensor *h) { return sy__seen(p, l, "self_attn", sy__attention(p, l, h)); }

/* One layer, by the place of its norms N1 and N2:
 *   pre       x += Attn(N1 x);  x += FFN(N2 x)         post  x = N1(x + Attn x);  x = N2(x + FFN x)         parallel  x + Attn(N1 x) + FFN(N2 x) */
static sy_tensor *layer(sy_pass *p, int l, sy_tensor *x)
{
    sy_layer *y = &p->m->layer[l];
    sy_tape *t = p->t;
    const sy_spec *s = &p->m->spec;
    double by = s->residual_multiplier;
    if (s->norm_place == SY_PLACE_POST) {
        x = sy__seen(p, l, "input_layernorm", norm(p, sy_add(t, x, times(t, attend(p, l, x), by)), y->norm1, y->norm1_bias));
        return sy__seen(p, l, "post_attention_layernorm", norm(p, sy_add(t, x, times(t, ffn(p, l, x), by)), y->norm2, y->norm2_bias));
    }
    sy_tensor *x1 = sy_add(t, x, times(t, attend(p, l, sy__seen(p, l, "input_layernorm", norm(p, x, y->norm1, y->norm1_bias))), by));
    sy_tensor *seen = s->norm_place == SY_PLACE_PARALLEL ? x : x1;
    return sy_add(t, x1, times(t, ffn(p, l, sy__seen(p, l, "post_attention_layernorm", norm(p, seen, y->norm2, y->norm2_bias))), by));
}

/* x, when the files that weights lie in are still what they were. */
static sy_tensor *if_whole(const sy_model *m, sy_tape *t, sy_tensor *x)
{
    sy_err why;
    sy_status st = sy_model_whole(m, &why);
    return st == SY_OK ? x : sy_tape_fail(t, st, "%s", why.text);
}

sy_tensor *sy_model_hidden(sy_model *m, sy_tape *t, const sy_batch *b, const sy_run *r)
{
    sy_pass p = { .m = m, .t = t, .b = b, .r = r };
    if (sy__attention_open(&p) != SY_OK || (m->n_sparse && open_routes(&p) != SY_OK)) return &t->empty;
    sy_tensor *x = embed(&p);
    for (int l = 0; l < m->spec.num_hidden_layers && t->status == SY_OK; l++) x = sy__seen(&p, l, "", layer(&p, l, x));
    if_whole(m, t, x);
    if (r->kv && t->status == SY_OK)
        for (int i = 0; i < b->n_seg; i++) r->kv[i]->n = b->seg[i].pos0 + b->seg[i].n;
    if (m->norm) x = sy__seen(&p, -1, "model.norm", norm(&p, x, m->norm, m->norm_bias));
    return times(t, x, 1 / m->spec.logits_scaling);             /* the head is linear: scaled hidden states, scaled logits */
}

/* The head's bias, divided like the hidden states; NULL without one. */
static sy_tensor *head_bias(sy_model *m, sy_tape *t) { return m->head_bias ? times(t, &m->head_bias->leaf, 1 / m->spec.logits_scaling) : NULL; }

static bool has_head(sy_model *m, sy_tape *t)
{
    if (m->spec.lm_head) return true;
    sy_tape_fail(t, SY_EUNSUP, "this model has no head that gives logits: it is an encoder, which makes vectors of texts");
    return false;
}

sy_tensor *sy_model_logits(sy_model *m, sy_tape *t, sy_tensor *hidden, const int *row, int n)
{
    if (!has_head(m, t)) return &t->empty;
    if (row) hidden = sy_rows_gather(t, hidden, row, n);
    sy_tensor *z = sy_linear(t, hidden, sy_model_head(m), head_bias(m, t));
    return if_whole(m, t, m->spec.final_logit_softcapping > 0 ? sy_softcap(t, z, m->spec.final_logit_softcapping) : z);
}

sy_tensor *sy_model_loss(sy_model *m, sy_tape *t, sy_tensor *hidden, const int *label, const sy_xent *how)
{
    if (!has_head(m, t)) return &t->empty;
    sy_xent a = *how;
    a.bias = head_bias(m, t);
    a.softcap = m->spec.final_logit_softcapping;
    return if_whole(m, t, sy_cross_entropy(t, hidden, sy_model_head(m), label, &a));
}

sy_tensor *sy_model_divergence(sy_model *m, sy_tape *t, sy_tensor *a, sy_tensor *b, const int *label, double scale)
{
    if (!has_head(m, t)) return &t->empty;
    return sy_symmetric_kl(t, a, b, sy_model_head(m), label, &(sy_divergence){ .scale = scale, .bias = head_bias(m, t), .softcap = m->spec.final_logit_softcapping });
}
