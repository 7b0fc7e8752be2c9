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
                       .edit = r->edits ? &r->edits[nth] : NULL, .counts = p->counts };
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

/* --- layers that are computed again in backward ------------------------------------------------------------------------- */

/* One layer of one pass: all that its two runs read, beside inputs and weights. */
struct twice {
    sy_pass   pass;
    sy_run    run;
    int       l;
    sy_losses losses;                   /* those of the run at hand */
    sy_route *route;                    /* ... and its route, or NULL */
    sy_counts counts;                   /* as they were before the first run */
};

enum { MOST_LOSSES = SY_MAX_PART_OUT - 4 };          /* beside the layer's output, the carried state, and weights and probabilities of a route */

/* Outputs: x; the carried state, where routers carry; losses; weights and probabilities of the route, where routes are wanted and have them. */
static int run_twice(sy_tape *t, void *arg, sy_tensor *const *in, sy_tensor *out[SY_MAX_PART_OUT])
{
    struct twice *a = arg;
    sy_pass p = a->pass;
    sy_run run = a->run;
    const sy_layer *y = &p.m->layer[a->l];
    int n = 0;
    a->losses = (sy_losses){ 0 };
    if (run.losses) run.losses = &a->losses;
    if (run.routes && !(run.routes = sy_tape_alloc(t, (size_t)p.m->n_sparse + 1, sizeof *run.routes))) return 0;
    if (t->replay) run.dump = NULL, run.stats = NULL;
    p.r = &run;
    if (p.carry) p.carry = in[1];
    if (y->sparse && t->replay) p.counts = &a->counts;
    out[n++] = layer(&p, a->l, in[0]);
    if (p.carry) out[n++] = p.carry;
    if (a->losses.n > MOST_LOSSES) {
        sy_tape_fail(t, SY_EUNSUP, "layer %d makes %d losses; a layer that is computed again may make %d: set recompute=none", a->l, a->losses.n, MOST_LOSSES);
        return 0;
    }
    for (int i = 0; i < a->losses.n; i++) out[n++] = a->losses.l[i].value;
    a->route = run.routes && y->sparse ? run.routes[y->block.site.nth] : NULL;
    if (a->route) out[n++] = a->route->weight;
    if (a->route && a->route->probs) out[n++] = a->route->probs;
    return t->status == SY_OK ? n : 0;
}

static bool copy_counts(sy_tape *t, struct twice *a, const sy_block *b)
{
    size_t cols = (size_t)b->site.E + (size_t)b->site.Z;
    int64_t *c = sy_tape_alloc(t, 5 * cols, sizeof *c);
    if (!c) return false;
    int64_t *const from[] = { b->counts.micro, b->counts.seen, b->counts.full, b->counts.prev, b->counts.dropped };
    for (size_t i = 0; i < 5; i++) memcpy(c + i * cols, from[i], cols * sizeof *c);
    a->counts = (sy_counts){ c, c + cols, c + 2 * cols, c + 3 * cols, c + 4 * cols };
    return true;
}

static bool copy_slots(sy_tape *t, const sy_route *from, sy_route *to)
{
    to->first_slot = sy_tape_alloc(t, (size_t)from->T + 1, sizeof *to->first_slot);
    to->expert = sy_tape_alloc(t, (size_t)from->n + 1, sizeof *to->expert);
    if (!to->first_slot || !to->expert) return false;
    memcpy(to->first_slot, from->first_slot, ((size_t)from->T + 1) * sizeof *to->first_slot);
    memcpy(to->expert, from->expert, (size_t)from->n * sizeof *to->expert);
    return true;
}

/* The route of a layer, for who reads it behind the pass. */
static sy_route *copy_route(sy_tape *t, const sy_route *from, sy_tensor *weight, sy_tensor *probs, sy_tensor *carry)
{
    sy_route *r = sy_tape_alloc(t, 1, sizeof *r), *own = from->own ? sy_tape_alloc(t, 1, sizeof *own) : NULL;
    if (!r || (from->own && !own)) return NULL;
    *r = *from;
    if (own) {
        *own = *from->own;
        if (!copy_slots(t, from->own, own)) return NULL;
    }
    r->own = own;
    r->weight = weight;
    r->probs = probs;
    r->carry = from->carry ? carry : NULL;
    r->aux = NULL;
    return copy_slots(t, from, r) ? r : NULL;
}

static sy_tensor *layer_twice(sy_pass *p, int l, sy_tensor *x)
{
    sy_tape *t = p->t;
    const sy_layer *y = &p->m->layer[l];
    sy_tensor *in[] = { x, p->carry }, *out[SY_MAX_PART_OUT];
    struct twice *a = sy_tape_alloc(t, 1, sizeof *a);
    if (!a) return &t->empty;
    *a = (struct twice){ .pass = *p, .run = *p->r, .l = l };
    if (y->sparse && !copy_counts(t, a, &y->block)) return &t->empty;
    int outs = sy_recompute(t, run_twice, a, p->carry ? 2 : 1, in, out), n = 1;
    if (!outs) return &t->empty;
    if (p->carry) p->carry = out[n++];
    for (int i = 0; i < a->losses.n; i++) sy_losses_add(t, p->r->losses, a->losses.l[i].name, a->losses.l[i].layer, out[n++]);
    if (a->route) {
        sy_tensor *weight = out[n++], *probs = a->route->probs ? out[n++] : NULL;
        p->r->routes[y->block.site.nth] = copy_route(t, a->route, weight, probs, p->carry);
    }
    return out[0];
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
    for (int l = 0; l < m->spec.num_hidden_layers && t->status == SY_OK; l++) x = sy__seen(&p, l, "", r->recompute ? layer_twice(&p, l, x) : layer(&p, l, x));
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
