/* model/model.c - parameters of a model: what a spec declares, under which names. */
#include "model/model.h"

#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/memory.h"
#include "model/rope.h"

/* --- building ---------------------------------------------------------------------------------------------------------- */

typedef struct build { sy_model *m; uint64_t seed; bool failed; } build;

static sy_param *weight(build *b, const char *name, double std, int nd, const int *dim)
{
    sy_param *p = b->failed ? NULL : sy_params_add(&b->m->params, name, 0, nd, dim);
    if (!p) { b->failed = true; return NULL; }
    sy_param_normal(p, b->seed, std);
    return p;
}

static sy_param *ones(build *b, const char *name, int D)
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
                         .E = s->num_experts, .Z = s->zero_experts, .shared_F = s->shared_expert_intermediate_size, .shared_gate = s->shared_expert_gate, .shared_bias = s->shared_expert_bias, .shared_act = sy_spec_act(s),
                         .routed_scale = s->routed_scaling_factor };
    SY_TRY(split(&m->arena, s->balance, bs.balance, &bs.n_balance, "balance", err));
    SY_TRY(split(&m->arena, s->edit, bs.edit, &bs.n_edit, "edit", err));
    sy_site site = { .layer = l, .nth = nth, .n_sparse = m->n_sparse, .D = bs.D, .F = bs.F, .E = bs.E, .Z = bs.Z, .V = s->vocab_size, .init_std = s->initializer_range };
    sy_block *b = &m->layer[l].block;
    SY_TRY(sy_within(err, sy_block_init(b, &bs, &site, &m->eng->methods, &m->params, seed, err), "layer %d", l));
    if (s->causal && b->flags & SY_NOSERVE)
        return sy_fail(err, SY_EUNSUP, "layer %d: router %s declares that it has no causal form (a token's output depends on later ones): a causal language model cannot have it", l, b->router.m->name);
    if (b->carry > m->carry) m->carry = b->carry;
    return SY_OK;
}

/* Declares PREFIX.weight, and PREFIX.bias when wanted. */
typedef struct linear { sy_param *w, *bias; } linear;

static linear product(build *b, const char *prefix, bool biased, int N, int K)
{
    char name[128];
    linear out = { 0 };
    snprintf(name, sizeof name, "%s.weight", prefix);
    out.w = weight(b, name, b->m->spec.initializer_range, SY_DIM(N, K));
    snprintf(name, sizeof name, "%s.bias", prefix);
    out.bias = bias(b, name, biased, N);
    return out;
}

static linear norm(build *b, const char *prefix, int D)
{
    char name[128];
    linear out = { 0 };
    snprintf(name, sizeof name, "%s.weight", prefix);
    out.w = ones(b, name, D);
    snprintf(name, sizeof name, "%s.bias", prefix);
    out.bias = bias(b, name, b->m->spec.norm_bias, D);
    return out;
}

#define AT(part) (snprintf(name, sizeof name, "model.layers.%d." part, l), name)
#define PUT(field, field_bias, made) do { linear put_ = (made); (field) = put_.w; (field_bias) = put_.bias; } while (0)

static void build_heads(build *b, sy_layer *y, int l)
{
    const sy_spec *s = &b->m->spec;
    int D = s->hidden_size, hd = s->head_dim, q = s->num_attention_heads * hd, kv = s->num_key_value_heads * hd;
    bool row = s->qk_norm == SY_QK_ROW;
    char name[96];
    PUT(y->q, y->q_bias, product(b, AT("self_attn.q_proj"), s->attention_bias, q, D));
    PUT(y->k, y->k_bias, product(b, AT("self_attn.k_proj"), s->attention_bias, kv, D));
    PUT(y->v, y->v_bias, product(b, AT("self_attn.v_proj"), s->attention_bias, kv, D));
    if (!s->qk_norm) return;
    y->q_norm = ones(b, AT("self_attn.q_norm.weight"), row ? q : hd);
    y->k_norm = ones(b, AT("self_attn.k_norm.weight"), row ? kv : hd);
}

static void build_latent(build *b, sy_layer *y, int l)
{
    const sy_spec *s = &b->m->spec;
    int D = s->hidden_size, H = s->num_attention_heads, r = s->q_lora_rank, R = s->kv_lora_rank, qk = H * sy_spec_qk_dim(s);
    char name[96];
    if (r) {
        PUT(y->q_a, y->q_a_bias, product(b, AT("self_attn.q_a_proj"), s->attention_bias, r, D));
        y->q_a_norm = ones(b, AT("self_attn.q_a_layernorm.weight"), r);
    }
    y->q = product(b, r ? AT("self_attn.q_b_proj") : AT("self_attn.q_proj"), false, qk, r ? r : D).w;
    PUT(y->kv_a, y->kv_a_bias, product(b, AT("self_attn.kv_a_proj_with_mqa"), s->attention_bias, R + s->qk_rope_head_dim, D));
    y->kv_a_norm = ones(b, AT("self_attn.kv_a_layernorm.weight"), R);
    y->kv_b = product(b, AT("self_attn.kv_b_proj"), false, H * (s->qk_nope_head_dim + s->v_head_dim), R).w;
}

static void build_ffn(build *b, sy_layer *y, int l)
{
    const sy_spec *s = &b->m->spec;
    int D = s->hidden_size, F = s->intermediate_size;
    char name[96];
    if (s->ffn_gated) PUT(y->gate, y->gate_bias, product(b, AT("mlp.gate_proj"), s->mlp_bias, F, D));
    PUT(y->up, y->up_bias, product(b, AT("mlp.up_proj"), s->mlp_bias, F, D));
    PUT(y->down, y->down_bias, product(b, AT("mlp.down_proj"), s->mlp_bias, D, F));
}

static sy_status build_layer(build *b, int l, int *nth, sy_err *err)
{
    sy_model *m = b->m;
    const sy_spec *s = &m->spec;
    sy_layer *y = &m->layer[l];
    int D = s->hidden_size, H = s->num_attention_heads;
    char name[96];
    PUT(y->norm1, y->norm1_bias, norm(b, AT("input_layernorm"), D));
    if (s->attention == SY_MLA) build_latent(b, y, l);
    else build_heads(b, y, l);
    if (s->attention_sinks) y->sinks = bias(b, AT("self_attn.sinks"), true, H);
    PUT(y->o, y->o_bias, product(b, AT("self_attn.o_proj"), s->attention_out_bias, D, H * sy_spec_v_dim(s)));
    PUT(y->norm2, y->norm2_bias, norm(b, AT("post_attention_layernorm"), D));
    y->sparse = sy_spec_sparse(s, l);
    if (!y->sparse) build_ffn(b, y, l);
    else if (!b->failed) SY_TRY(sparse_layer(m, l, (*nth)++, b->seed, err));
    return b->failed ? sy_fail(err, SY_ENOMEM, "no memory for the parameters of layer %d", l) : SY_OK;
}

static sy_status build_rope(sy_model *m, sy_err *err)
{
    const sy_spec *s = &m->spec;
    size_t half = (size_t)sy_spec_rotary(s) / 2 + 1;
    double plain;
    SY_TRY(sy_rope_check(s, err));
    m->inv_freq = sy_arena_array(&m->arena, half, sizeof *m->inv_freq);
    m->local_freq = sy_arena_array(&m->arena, half, sizeof *m->local_freq);
    if (!m->inv_freq || !m->local_freq) return sy_fail(err, SY_ENOMEM, "no memory for the model's rotation");
    sy_rope_fill(s, false, 0, m->inv_freq, &m->rope_scale);
    sy_rope_fill(s, true, 0, m->local_freq, &plain);
    return SY_OK;
}

static sy_status build_all(sy_model *m, uint64_t seed, sy_err *err)
{
    const sy_spec *s = &m->spec;
    int D = s->hidden_size, nth = 0;
    double std = s->initializer_range;
    build b = { m, seed, false };
    m->embed = weight(&b, "model.embed_tokens.weight", std, SY_DIM(s->vocab_size, D));
    if (s->learned_positions) m->positions = weight(&b, "model.embed_positions.weight", std, SY_DIM(s->max_position_embeddings, D));
    if (s->type_vocab_size) m->types = weight(&b, "model.embed_types.weight", std, SY_DIM(s->type_vocab_size, D));
    if (s->embedding_norm) PUT(m->embed_norm, m->embed_norm_bias, norm(&b, "model.embed_norm", D));
    m->layer = sy_arena_array(&m->arena, (size_t)s->num_hidden_layers, sizeof *m->layer);
    if (b.failed || !m->layer) return sy_fail(err, SY_ENOMEM, "no memory for the model's embedding (%d x %d)", s->vocab_size, D);
    SY_TRY(build_rope(m, err));
    for (int l = 0; l < s->num_hidden_layers; l++) SY_TRY(build_layer(&b, l, &nth, err));
    if (s->final_norm) PUT(m->norm, m->norm_bias, norm(&b, "model.norm", D));
    if (s->lm_head && !s->tie_word_embeddings) m->head = weight(&b, "lm_head.weight", std, SY_DIM(s->vocab_size, D));
    m->head_bias = bias(&b, "lm_head.bias", s->lm_head_bias, s->vocab_size);
    return b.failed ? sy_fail(err, SY_ENOMEM, "no memory for the model's head (%d x %d)", s->vocab_size, D) : SY_OK;
}
#undef AT
#undef PUT

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
    m->params = (sy_params){ .arena = &m->arena, .train = how & SY_MODEL_TRAIN, .fresh = !(how & (SY_MODEL_EMPTY | SY_MODEL_BARE)), .bare = how & SY_MODEL_BARE, .pool = eng->pool };
    sy_status st = own_texts(m) ? sy_spec_check(&m->spec, err) : sy_fail(err, SY_ENOMEM, "no memory for the model's texts");
    if (st == SY_OK && !(how & SY_MODEL_BARE)) st = fits(&m->spec, how, err);
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
    if (m->held) m->let_go(m->held);
    sy_arena_free(&m->arena);
    sy_free(m);
}

sy_status sy_model_whole(const sy_model *m, sy_err *err) { return m->held ? m->whole(m->held, err) : SY_OK; }

/* --- asked and told ---------------------------------------------------------------------------------------------------- */

sy_block *sy_model_block(sy_model *m, int nth)
{
    for (int l = 0; l < m->spec.num_hidden_layers; l++)
        if (m->layer[l].sparse && !nth--) return &m->layer[l].block;
    return NULL;
}

sy_weight *sy_model_head(sy_model *m) { return m->head ? &m->head->w : &m->embed->w; }

sy_status sy_model_attach(sy_model *m, const char *edit, sy_err *err)
{
    const char *old = m->spec.edit;
    if (!m->n_sparse) return sy_fail(err, SY_EUNSUP, "edit %s: this model is dense, there is no router to edit", edit);
    char *all = sy_arena_printf(&m->arena, "%s%s%s", old, *old ? " " : "", edit);
    if (!all) return sy_fail(err, SY_ENOMEM, "no memory for the edits of a model");
    for (int l = 0; l < m->spec.num_hidden_layers; l++)
        if (m->layer[l].sparse) SY_TRY(sy_within(err, sy_block_attach(&m->layer[l].block, edit, &m->eng->methods, &m->arena, err), "layer %d", l));
    m->spec.edit = all;
    return SY_OK;
}

bool sy_model_learns(const sy_model *m)
{
    for (int l = 0; l < m->spec.num_hidden_layers; l++)
        if (m->layer[l].sparse && sy_block_learns(&m->layer[l].block)) return true;
    return false;
}

sy_status sy_model_learn(sy_model *m, const int64_t *id_count, sy_err *err)
{
    for (int l = 0; l < m->spec.num_hidden_layers; l++)
        if (m->layer[l].sparse) SY_TRY(sy_block_learn(&m->layer[l].block, m->spec.vocab_size, id_count, &m->embed->w, err));
    return SY_OK;
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
    for (int l = 0; l < m->spec.num_hidden_layers; l++) if (m->layer[l].sparse) return m->layer[l].block.site.K;
    return 0;
}
