/* route/block.c - the sparse block: made from texts, run, and its counts. */
#include "route/block.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define HOOKS(kind, term) ((const sy_##kind##_hooks *)(term).m->hooks)

static unsigned flags_of(unsigned fixed, unsigned (*declares)(const void *), const void *s) { return fixed | (declares ? declares(s) : 0); }

/* ---- making ---- */

struct maker { sy_block *b; const sy_block_spec *spec; const sy_methods *methods; sy_own own; sy_err *err; char prefix[160]; };

/* own->prefix = "model.layers.{layer}.mlp" + tail */
static void at(struct maker *k, const char *tail)
{
    snprintf(k->prefix, sizeof k->prefix, "model.layers.%d.mlp%s", k->b->site.layer, tail);
    k->own.prefix = k->prefix;
}

static sy_status make(struct maker *k, sy_kind kind, const char *text, sy_term *out)
{
    SY_TRY(sy_method_make(k->methods, kind, text, k->own.params->arena, &out->m, &out->s, k->err));
    int abi = *(const int *)out->m->hooks;                   /* first member of every kind's hooks */
    if (abi != SY_ROUTER_ABI)
        return sy_fail(k->err, SY_EUNSUP, "%s %s was built for interface %d of methods, this engine has %d", sy_kind_word(kind), out->m->name, abi, SY_ROUTER_ABI);
    if (out->m->check) SY_TRY(sy_within(k->err, out->m->check(out->s, &k->b->site, k->err), "%s %s", sy_kind_word(kind), out->m->name));
    return SY_OK;
}

/* What a term reads must be something that the router has. */
static sy_status check_pair(const sy_block *b, const sy_term *term, unsigned needs, sy_err *err)
{
    sy_kind kind = term->m->kind;
    const char *router = b->router.m->name, *word = sy_kind_word(kind), *name = term->m->name;
    if (needs & SY_NEEDPROBS && b->flags & SY_NOPROBS)
        return sy_fail(err, SY_EUNSUP, "%s %s reads a distribution over experts and router %s declares that it has none (no probabilities): leave one of them out", word, name, router);
    if (needs & SY_NEEDLOGITS && b->flags & SY_NOLOGITS)
        return sy_fail(err, SY_EUNSUP, "%s %s reads logits and router %s declares that it has none (no logits): leave one of them out", word, name, router);
    if (b->flags & SY_MIXES && (kind == SY_BALANCE || (kind == SY_EDIT && HOOKS(edit, *term)->gates)))
        return sy_fail(err, SY_EUNSUP, "%s %s reads a route and router %s declares that it mixes tokens instead of routing them: leave one of them out", word, name, router);
    return SY_OK;
}

static sy_status make_router(struct maker *k)
{
    sy_block *b = k->b;
    SY_TRY(make(k, SY_ROUTER, k->spec->router, &b->router));
    const sy_router_hooks *h = HOOKS(router, b->router);
    b->flags = flags_of(h->flags, h->declares, b->router.s);
    if (b->flags & SY_MIXES && b->site.Z)
        return sy_fail(k->err, SY_EUNSUP, "router %s declares that it mixes tokens: zero-cost experts (%d) need a router that chooses", b->router.m->name, b->site.Z);
    at(k, ".gate");
    if ((!h->params || h->flags & SY_LINEAR) && !(b->flags & SY_NOLOGITS)) {
        b->gate = sy_own_param(&k->own, "weight", 0, false, b->site.init_std, SY_DIM(b->site.E + b->site.Z, b->site.D));
        if (!b->gate) return k->err->status;
    }
    if (h->params) SY_TRY(sy_within(k->err, h->params(b->router.s, &b->site, &k->own, k->err), "router %s", b->router.m->name));
    if (!h->score && !b->gate && !(b->flags & SY_NOLOGITS))
        return sy_fail(k->err, SY_EUNSUP, "router %s declares its own parameters and logits, but has no score() to make logits from them", b->router.m->name);
    b->carry = k->own.carry;
    size_t where;
    const sy_opt *row = b->router.m->opts ? sy_opt_find(b->router.m->opts, "num_experts_per_tok", &where, NULL) : NULL;
    if (row) b->site.K = *(const int *)((const char *)b->router.s + where);
    return SY_OK;
}

static unsigned edit_needs(const sy_term *e)
{
    const sy_edit_hooks *h = HOOKS(edit, *e);
    return flags_of(h->flags, h->declares, e->s) | (h->logits ? SY_NEEDLOGITS : 0);
}

static sy_status make_edits(struct maker *k)
{
    sy_block *b = k->b;
    for (int i = 0; i < k->spec->n_edit; i++) {
        sy_term *e = &b->edit[i];
        SY_TRY(make(k, SY_EDIT, k->spec->edit[i], e));
        const sy_edit_hooks *h = HOOKS(edit, *e);
        unsigned needs = edit_needs(e);
        SY_TRY(check_pair(b, e, needs, k->err));
        b->flags |= needs & (SY_NEEDCOUNT | SY_COUPLES | SY_PEEKS | SY_NOSERVE);
        char tail[80];
        snprintf(tail, sizeof tail, ".gate.%s", e->m->name);
        at(k, tail);
        if (h->params) SY_TRY(sy_within(k->err, h->params(e->s, &b->site, &k->own, k->err), "edit %s", e->m->name));
        b->n_edit++;
    }
    return SY_OK;
}

static sy_status make_balance(struct maker *k)
{
    sy_block *b = k->b;
    for (int i = 0; i < k->spec->n_balance; i++) {
        sy_term *e = &b->balance[i];
        SY_TRY(make(k, SY_BALANCE, k->spec->balance[i], e));
        const sy_balance_hooks *h = HOOKS(balance, *e);
        unsigned needs = flags_of(h->flags, h->declares, e->s);
        SY_TRY(check_pair(b, e, needs, k->err));
        b->flags |= needs & SY_NEEDCOUNT;
        b->n_balance++;
    }
    return SY_OK;
}

static sy_status make_experts(struct maker *k)
{
    sy_block *b = k->b;
    sy_params *l = k->own.params;
    int from = l->n;
    SY_TRY(make(k, SY_EXPERT, k->spec->expert, &b->expert));
    const sy_expert_hooks *h = HOOKS(expert, b->expert);
    if (!h->run) return sy_fail(k->err, SY_EUNSUP, "expert %s runs nothing: it can only stand as one of the zero-cost experts beside real ones", b->expert.m->name);
    at(k, ".experts");
    k->own.flags = b->flags & SY_RESTS ? SY_LAZY : 0;
    if (h->params) SY_TRY(sy_within(k->err, h->params(b->expert.s, &b->site, b->site.E, &k->own, k->err), "expert %s", b->expert.m->name));
    k->own.flags = 0;
    b->site.n_expert = l->n - from;
    b->site.expert = sy_arena_array(l->arena, (size_t)b->site.n_expert, sizeof *b->site.expert);
    if (!b->site.expert) return sy_fail(k->err, SY_ENOMEM, "no memory for the list of expert parameters");
    for (int i = 0; i < b->site.n_expert; i++) b->site.expert[i] = l->p[from + i];
    if (!b->site.Z) return SY_OK;
    SY_TRY(make(k, SY_EXPERT, k->spec->zero, &b->zero));
    h = HOOKS(expert, b->zero);
    if (!(flags_of(h->flags, h->declares, b->zero.s) & SY_ZEROCOST))
        return sy_fail(k->err, SY_EUNSUP, "expert %s does not declare zero cost, so it cannot stand as one of the %d zero-cost experts; null, identity and constant can", b->zero.m->name, b->site.Z);
    at(k, ".zero_experts");
    return h->params ? sy_within(k->err, h->params(b->zero.s, &b->site, b->site.Z, &k->own, k->err), "zero-cost expert %s", b->zero.m->name) : SY_OK;
}

/* One matrix of the shared expert, and its bias where it has one. */
static sy_status make_shared_product(struct maker *k, const char *name, int rows, int cols, sy_param **w, sy_param **bias)
{
    char text[64];
    snprintf(text, sizeof text, "shared_expert.%s.weight", name);
    if (!(*w = sy_own_param(&k->own, text, 0, false, k->b->site.init_std, SY_DIM(rows, cols)))) return k->err->status;
    if (!k->spec->shared_bias) return SY_OK;
    snprintf(text, sizeof text, "shared_expert.%s.bias", name);
    return (*bias = sy_own_param(&k->own, text, SY_NODECAY, false, 0, SY_DIM(rows))) ? SY_OK : k->err->status;
}

/* The shared expert is a gated FFN of width shared_F that every token runs. */
static sy_status make_shared(struct maker *k)
{
    sy_block *b = k->b;
    int D = b->site.D, F = k->spec->shared_F;
    if (!F) return SY_OK;
    at(k, "");
    SY_TRY(make_shared_product(k, "gate_proj", F, D, &b->shared_gate_proj, &b->shared_gate_proj_bias));
    SY_TRY(make_shared_product(k, "up_proj", F, D, &b->shared_up, &b->shared_up_bias));
    SY_TRY(make_shared_product(k, "down_proj", D, F, &b->shared_down, &b->shared_down_bias));
    if (k->spec->shared_gate && !(b->shared_gate = sy_own_param(&k->own, "shared_expert_gate.weight", 0, false, b->site.init_std, SY_DIM(1, D)))) return k->err->status;
    return SY_OK;
}

static sy_status check_spec(const sy_block_spec *s, sy_err *err)
{
    if (s->D < 1 || s->F < 1 || s->E < 1 || s->Z < 0 || s->shared_F < 0 || s->E > 1 << 20 || s->Z > 1 << 20)
        return sy_fail(err, SY_ESHAPE, "a sparse block of width %d with %d experts of width %d, %d zero-cost experts and a shared width of %d", s->D, s->E, s->F, s->Z, s->shared_F);
    if (!s->router || !s->expert) return sy_fail(err, SY_EARG, "a sparse block needs a router and a kind of expert");
    if (s->Z && !s->zero) return sy_fail(err, SY_EARG, "%d zero-cost experts, but no kind is given for them (null, identity, constant)", s->Z);
    if (!s->Z && s->zero) return sy_fail(err, SY_EARG, "zero-cost experts are of kind %s, but there are 0 of them", s->zero);
    if (s->shared_gate && !s->shared_F) return sy_fail(err, SY_EARG, "a shared expert gate without a shared expert: its width is 0");
    if (s->shared_bias && !s->shared_F) return sy_fail(err, SY_EARG, "biases of a shared expert without a shared expert: its width is 0");
    if (!(fabs(s->routed_scale) > 0)) return sy_fail(err, SY_EARG, "weights times a routed scale of %g would silence the experts; 1 leaves them as they are", s->routed_scale);
    if (s->n_edit > SY_MAX_TERMS || s->n_balance > SY_MAX_TERMS)
        return sy_fail(err, SY_EARG, "%d edits and %d balance terms: at most %d of each", s->n_edit, s->n_balance, SY_MAX_TERMS);
    return SY_OK;
}

sy_status sy_block_init(sy_block *b, const sy_block_spec *spec, const sy_site *site, const sy_methods *methods, sy_params *params, uint64_t seed, sy_err *err)
{
    sy_err local;                                            /* sy_own_param reports through it */
    if (!err) err = &local;
    SY_TRY(check_spec(spec, err));
    memset(b, 0, sizeof *b);
    b->site = *site;
    b->site.D = spec->D;
    b->site.F = spec->F;
    b->site.E = spec->E;
    b->site.Z = spec->Z;
    b->site.loaded |= !params->fresh;                        /* a checkpoint brings the weights, so a trained model's config is obeyed */
    b->routed_scale = spec->routed_scale;
    b->shared_act = spec->shared_act;
    struct maker k = { .b = b, .spec = spec, .methods = methods, .err = err };
    k.own = (sy_own){ .params = params, .shared = "model.router", .seed = seed, .err = err };
    SY_TRY(make_router(&k));
    SY_TRY(make_edits(&k));
    SY_TRY(make_balance(&k));
    SY_TRY(make_experts(&k));
    SY_TRY(make_shared(&k));
    size_t cols = (size_t)spec->E + (size_t)spec->Z;
    int64_t *c = sy_arena_array(params->arena, 5 * cols, sizeof *c);
    if (!c) return sy_fail(err, SY_ENOMEM, "no memory for the counts of %zu experts", cols);
    b->counts = (sy_counts){ c, c + cols, c + 2 * cols, c + 3 * cols, c + 4 * cols };
    return SY_OK;
}

sy_status sy_block_takes(const sy_block *b, const sy_term *edit, sy_err *err) { return check_pair(b, edit, edit_needs(edit), err); }

sy_status sy_block_attach(sy_block *b, const char *edit, const sy_methods *methods, sy_arena *a, sy_err *err)
{
    sy_params none = { .arena = a };
    sy_err local;
    if (!err) err = &local;
    struct maker k = { .b = b, .methods = methods, .err = err, .own = { .params = &none, .shared = "model.router", .err = err } };
    sy_term e;
    if (b->n_edit == SY_MAX_TERMS) return sy_fail(err, SY_EARG, "more than %d edits", SY_MAX_TERMS);
    SY_TRY(make(&k, SY_EDIT, edit, &e));
    unsigned needs = edit_needs(&e);
    SY_TRY(check_pair(b, &e, needs, err));
    const sy_edit_hooks *h = HOOKS(edit, e);
    at(&k, ".gate");
    if (h->params) SY_TRY(sy_within(err, h->params(e.s, &b->site, &k.own, err), "edit %s", e.m->name));
    if (none.n) return sy_fail(err, SY_EUNSUP, "edit %s has parameters of its own (%s), and no file has brought them: train a model with it instead", e.m->name, none.p[0]->name);
    b->edit[b->n_edit++] = e;
    b->flags |= needs & (SY_NEEDCOUNT | SY_COUPLES | SY_PEEKS | SY_NOSERVE);
    return SY_OK;
}

/* ---- running ---- */

/* The i-th edit of a call: the block's own, then the call's; NULL behind the last. */
static const sy_term *edit_of(const sy_block *b, const sy_route_in *in, int i)
{
    if (i < b->n_edit) return &b->edit[i];
    return i == b->n_edit && in->edit && in->edit->m ? in->edit : NULL;
}

/* Experts that got a row in this step; the others rest. */
static void touch(sy_block *b, const sy_route *r)
{
    for (int i = 0; i < b->site.n_expert; i++) {
        uint8_t *touched = b->site.expert[i]->touched;
        for (int s = 0; touched && s < r->n; s++) if (r->expert[s] >= 0 && r->expert[s] < r->E) touched[r->expert[s]] = 1;
    }
}

/* Slots wanted, before drops. Nothing moves in evaluation and serving, and in a second run of the same tokens only the copies that came with it. */
static void count(sy_block *b, const sy_tape *t, const sy_route_in *in, const sy_route *r)
{
    const sy_counts *c = in->counts;
    int cols = r->E + r->Z;
    if ((t->replay && c == &b->counts) || in->again || (in->mode != SY_TRAIN && in->mode != SY_COUNT_PASS)) return;
    memset(c->micro, 0, (size_t)cols * sizeof *c->micro);
    for (int s = 0; s < r->n; s++) {
        c->micro[sy_wanted(r->expert[s])]++;
        if (r->expert[s] < 0 && in->mode == SY_TRAIN) c->dropped[~r->expert[s]]++;
    }
    int64_t *sum = in->mode == SY_TRAIN ? c->seen : c->full;
    for (int e = 0; e < cols; e++) sum[e] += c->micro[e];
    if (in->mode == SY_TRAIN && !t->replay) touch(b, r);
}

static sy_tensor *fail(sy_block *b, sy_tape *t, const sy_term *term, sy_status st, const sy_err *err)
{
    if (t->status != SY_OK) return &t->empty;
    return sy_tape_fail(t, st, "layer %d: %s %s: %s", b->site.layer, sy_kind_word(term->m->kind), term->m->name, err->text);
}

/* What the shape of a route must be, whoever made it: the rest of the engine indexes by it. */
static bool route_is_sound(const sy_route *r)
{
    bool ok = r->first_slot && r->expert && r->first_slot[0] == 0 && r->first_slot[r->T] == r->n && r->weight && r->weight->x && sy_numel(r->weight) == (size_t)r->n;
    for (int i = 0; ok && i < r->T; i++) ok = r->first_slot[i] <= r->first_slot[i + 1];
    for (int s = 0; ok && s < r->n; s++) ok = sy_wanted(r->expert[s]) < r->E + r->Z;
    return ok && (!r->probs || sy_numel(r->probs) == (size_t)r->T * (size_t)(r->E + r->Z));
}

/* Hands an inner tensor on to whoever dumps; returns it. */
static sy_tensor *seen(const sy_tape *t, const sy_route_in *in, const char *name, sy_tensor *x)
{
    if (in->dump && x && t->status == SY_OK) in->dump->take(in->dump->arg, name, x);
    return x;
}

static sy_tensor *logits_of(sy_block *b, sy_tape *t, const sy_route_in *in, sy_route *r)
{
    const sy_router_hooks *h = HOOKS(router, b->router);
    sy_weight *w = b->gate ? &b->gate->w : NULL;
    sy_rounding was = sy_tape_exact(t);                      /* scores are never narrower than float32 */
    sy_tensor *z = seen(t, in, "gate", h->score ? h->score(b->router.s, t, in, w, r) : w ? sy_linear(t, in->x, w, NULL) : NULL);
    const sy_term *e;
    for (int i = 0; (e = edit_of(b, in, i)); i++)
        if (HOOKS(edit, *e)->logits) z = HOOKS(edit, *e)->logits(e->s, t, in, z);
    sy_tape_rounds(t, was);
    return z;
}

/* Plan, gather, experts, combine. Rows of zero-cost experts come last in the plan and are run apart. */
static sy_tensor *run_experts(sy_block *b, sy_tape *t, const sy_route_in *in, const sy_route *r)
{
    int E = b->site.E, Z = b->site.Z;
    const sy_expert_hooks *h = HOOKS(expert, b->expert), *zh = Z ? HOOKS(expert, b->zero) : NULL;
    bool null = zh && !zh->run;                              /* null experts run nothing: their slots get no row */
    sy_plan *p = sy_plan_build(t, r, null ? E : E + Z);
    if (!p) return &t->empty;
    sy_tensor *y = h->run(b->expert.s, t, &b->site, sy_gather_part(t, in->x, p, 0, p->first[E]), p->first, E), *zero = NULL;
    if (p->n > p->first[E]) {
        int *first = sy_tape_alloc(t, (size_t)Z + 1, sizeof *first);
        if (!first) return &t->empty;
        for (int e = 0; e <= Z; e++) first[e] = p->first[E + e] - p->first[E];
        zero = zh->run(b->zero.s, t, &b->site, sy_gather_part(t, in->x, p, p->first[E], p->n), first, Z);
    }
    return sy_combine_parts(t, y, zero, r->weight, p);
}

static sy_tensor *run_mixed(sy_block *b, sy_tape *t, const sy_route_in *in, sy_tensor *z)
{
    const sy_router_hooks *h = HOOKS(router, b->router);
    const sy_expert_hooks *x = HOOKS(expert, b->expert);
    sy_mix mix = { 0 };
    sy_err err;
    sy_rounding was = sy_tape_exact(t);
    sy_status st = h->mix(b->router.s, t, in, z, &mix, &err);
    sy_tape_rounds(t, was);
    if (st != SY_OK || t->status != SY_OK) return fail(b, t, &b->router, st, &err);
    int S = sy_rows(mix.dispatch), E = b->site.E;
    if (S % E || sy_cols(mix.combine) != S || sy_cols(mix.dispatch) != in->T || sy_rows(mix.combine) != in->T)
        return sy_tape_fail(t, SY_ESHAPE, "layer %d: router %s: dispatch is %d x %d and combine %d x %d for %d experts and %d tokens", b->site.layer, b->router.m->name,
                            S, sy_cols(mix.dispatch), sy_rows(mix.combine), sy_cols(mix.combine), E, in->T);
    int *first = sy_tape_alloc(t, (size_t)E + 1, sizeof *first);
    if (!first) return &t->empty;
    for (int e = 0; e <= E; e++) first[e] = e * (S / E);
    sy_tensor *y = x->run(b->expert.s, t, &b->site, sy_matmul_nn(t, mix.dispatch, in->x), first, E);
    y = sy_matmul_nn(t, mix.combine, y);
    return b->routed_scale != 1 ? sy_affine(t, y, b->routed_scale, 0) : y;
}

/* The router's choices as they are before edits, which may change them in place. */
static bool keep_own(sy_tape *t, sy_route *r)
{
    sy_route *own = sy_tape_alloc(t, 1, sizeof *own);
    int *first = sy_tape_alloc(t, (size_t)r->T + 1, sizeof *first), *expert = sy_tape_alloc(t, (size_t)r->n, sizeof *expert);
    if (!own || !first || !expert) return false;
    memcpy(first, r->first_slot, ((size_t)r->T + 1) * sizeof *first);
    memcpy(expert, r->expert, (size_t)r->n * sizeof *expert);
    *own = (sy_route){ .T = r->T, .E = r->E, .Z = r->Z, .n = r->n, .first_slot = first, .expert = expert };
    r->own = own;
    return true;
}

static bool edits_gates(const sy_block *b, const sy_route_in *in)
{
    const sy_term *e;
    for (int i = 0; (e = edit_of(b, in, i)); i++) if (HOOKS(edit, *e)->gates) return true;
    return false;
}

/* Who goes where with what weight, and what that costs; the experts have not run yet. */
static sy_tensor *choose(sy_block *b, sy_tape *t, const sy_route_in *in, sy_tensor *z, sy_route *r, sy_losses *aux, sy_stats *stats)
{
    sy_err err;
    sy_route_in first = *in;
    if (in->again && in->again->own) first.again = in->again->own;        /* in a second run the router repeats its own choices, and edits theirs */
    sy_status st = HOOKS(router, b->router)->select(b->router.s, t, &first, z, r, &err);
    if (st != SY_OK || t->status != SY_OK) return fail(b, t, &b->router, st, &err);
    if (edits_gates(b, in) && !keep_own(t, r)) return &t->empty;
    const sy_term *e;
    for (int i = 0; (e = edit_of(b, in, i)); i++) {
        const sy_edit_hooks *h = HOOKS(edit, *e);
        if (h->gates && (st = h->gates(e->s, t, in, r, &err)) != SY_OK) return fail(b, t, e, st, &err);
    }
    if (b->routed_scale != 1) r->weight = sy_affine(t, r->weight, b->routed_scale, 0);
    if (t->status != SY_OK) return &t->empty;
    if (!route_is_sound(r)) return sy_tape_fail(t, SY_ESHAPE, "layer %d: router %s made a route whose slots, weights or experts do not fit %d tokens and %d experts", b->site.layer, b->router.m->name, r->T, r->E + r->Z);
    count(b, t, in, r);
    if (stats && !t->replay) sy_stats_add(stats, r, in->label, in->valid);
    for (int i = 0; aux && i < b->n_balance; i++) {
        sy_tensor *l = HOOKS(balance, b->balance[i])->loss(b->balance[i].s, t, in, z, r);
        if (l) sy_losses_add(t, aux, b->balance[i].m->name, b->site.layer, l);
    }
    return r->weight;
}

static sy_tensor *run_routed(sy_block *b, sy_tape *t, const sy_route_in *in, sy_tensor *z, sy_route *r, sy_losses *aux, sy_stats *stats)
{
    sy_rounding was = sy_tape_exact(t);
    choose(b, t, in, z, r, aux, stats);
    sy_tape_rounds(t, was);
    return t->status == SY_OK ? run_experts(b, t, in, r) : &t->empty;
}

static sy_tensor *product(sy_tape *t, sy_tensor *x, sy_param *w, sy_param *bias) { return sy_linear(t, x, &w->w, bias ? &bias->leaf : NULL); }

static sy_tensor *run_shared(sy_block *b, sy_tape *t, const sy_route_in *in)
{
    sy_tensor *x = in->x;
    sy_hold(t);
    sy_tensor *gate = product(t, x, b->shared_gate_proj, b->shared_gate_proj_bias), *up = product(t, x, b->shared_up, b->shared_up_bias);
    sy_go(t);
    seen(t, in, "shared_expert.gate_proj", gate);
    seen(t, in, "shared_expert.up_proj", up);
    if (in->dump) seen(t, in, "shared_expert.act_fn", sy_activate(t, b->shared_act, gate));
    sy_tensor *y = seen(t, in, "shared_expert.down_proj", product(t, sy_glu(t, b->shared_act, gate, up), b->shared_down, b->shared_down_bias));
    seen(t, in, "shared_expert", y);
    if (!b->shared_gate) return y;
    gate = seen(t, in, "shared_expert_gate", product(t, x, b->shared_gate, NULL));
    return sy_mul_rows(t, y, sy_activate(t, SY_ACT_SIGMOID, sy_reshape(t, gate, SY_DIM(sy_rows(x)))));
}

sy_tensor *sy_block_run(sy_block *b, sy_tape *t, sy_route_in in, sy_losses *aux, sy_route **route, sy_stats *stats)
{
    if (route) *route = NULL;
    if (t->status != SY_OK) return &t->empty;
    if (sy_cols(in.x) != b->site.D || sy_rows(in.x) != in.T)
        return sy_tape_fail(t, SY_ESHAPE, "layer %d: sparse block of width %d got %d x %d values for %d tokens", b->site.layer, b->site.D, sy_rows(in.x), sy_cols(in.x), in.T);
    in.site = &b->site;
    if (!in.counts || !t->replay) in.counts = &b->counts;
    sy_route *r = sy_tape_alloc(t, 1, sizeof *r);
    if (!r) return &t->empty;
    *r = (sy_route){ .T = in.T, .E = b->site.E, .Z = b->site.Z, .aux = in.mode == SY_TRAIN ? aux : NULL };
    const sy_router_hooks *h = HOOKS(router, b->router);
    if (h->input) in.x = h->input(b->router.s, t, &in);
    if (t->status != SY_OK) return &t->empty;
    if (sy_cols(in.x) != b->site.D || sy_rows(in.x) != in.T)
        return sy_tape_fail(t, SY_ESHAPE, "layer %d: router %s made %d x %d values of the %d x %d that the sublayer got", b->site.layer, b->router.m->name, sy_rows(in.x), sy_cols(in.x), in.T, b->site.D);
    sy_tensor *z = logits_of(b, t, &in, r);
    if (t->status != SY_OK) return &t->empty;
    bool mixes = b->flags & SY_MIXES;
    sy_tensor *y = seen(t, &in, "experts", mixes ? run_mixed(b, t, &in, z) : run_routed(b, t, &in, z, r, r->aux, stats));
    if (b->shared_down) y = sy_add(t, y, run_shared(b, t, &in));
    if (route && !mixes && t->status == SY_OK) *route = r;
    return t->status == SY_OK ? y : &t->empty;
}

/* ---- around the optimiser ---- */

static size_t count_bytes(const sy_block *b) { return ((size_t)b->site.E + (size_t)b->site.Z) * sizeof(int64_t); }

void sy_block_forget(sy_block *b)
{
    memset(b->counts.micro, 0, count_bytes(b));
    memset(b->counts.seen, 0, count_bytes(b));
    memset(b->counts.full, 0, count_bytes(b));
    memset(b->counts.dropped, 0, count_bytes(b));
}

bool sy_block_learns(const sy_block *b) { return HOOKS(router, b->router)->learn != NULL; }

sy_status sy_block_learn(sy_block *b, int V, const int64_t *id_count, const sy_weight *embed, sy_err *err)
{
    const sy_router_hooks *h = HOOKS(router, b->router);
    if (!h->learn) return SY_OK;
    b->site.V = V;
    b->site.id_count = id_count;
    b->site.embed = embed;
    sy_status st = sy_within(err, h->learn(b->router.s, &b->site, err), "layer %d: router %s", b->site.layer, b->router.m->name);
    b->site.id_count = NULL;
    b->site.embed = NULL;
    return st;
}

sy_status sy_block_before(sy_block *b, int64_t step, int64_t steps, double progress, sy_err *err)
{
    sy_step st = { &b->counts, step, steps, progress };
    const sy_router_hooks *h = HOOKS(router, b->router);
    sy_block_forget(b);
    if (h->before) SY_TRY(sy_within(err, h->before(b->router.s, &b->site, &st, err), "layer %d: router %s", b->site.layer, b->router.m->name));
    for (int i = 0; i < b->n_edit; i++) {
        const sy_edit_hooks *e = HOOKS(edit, b->edit[i]);
        if (e->before) SY_TRY(sy_within(err, e->before(b->edit[i].s, &b->site, &st, err), "layer %d: edit %s", b->site.layer, b->edit[i].m->name));
    }
    return SY_OK;
}

sy_status sy_block_after(sy_block *b, int64_t step, int64_t steps, double progress, sy_err *err)
{
    sy_step st = { &b->counts, step, steps, progress };
    const sy_router_hooks *h = HOOKS(router, b->router);
    memcpy(b->counts.full, b->counts.seen, count_bytes(b));  /* with a count pass these are the same numbers */
    if (h->after) SY_TRY(sy_within(err, h->after(b->router.s, &b->site, &st, err), "layer %d: router %s", b->site.layer, b->router.m->name));
    memcpy(b->counts.prev, b->counts.full, count_bytes(b));
    return SY_OK;
}
