/* model/spec.c - keys, their rules, and the sizes that follow. */
#include "model/spec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/number.h"

enum { MAX_LAYERS = 1024, BIG = 1 << 24 };

const sy_opt sy_spec_opts[] = {
    SY_INT (sy_spec, vocab_size, NULL, 0, 0, BIG, "token ids of the model; 0 = as many as the tokenizer has"),
    SY_INT (sy_spec, hidden_size, "n_embd", 128, 1, 1 << 20, "width D of the residual stream"),
    SY_INT (sy_spec, num_hidden_layers, "n_layer", 4, 1, MAX_LAYERS, "layers"),
    SY_INT (sy_spec, num_attention_heads, "n_head", 4, 1, 4096, "query heads"),
    SY_INT (sy_spec, num_key_value_heads, NULL, 0, 0, 4096, "key and value heads; 0 = as many as query heads"),
    SY_INT (sy_spec, head_dim, NULL, 0, 0, 4096, "width of a head; 0 = hidden_size / num_attention_heads"),
    SY_INT (sy_spec, intermediate_size, NULL, 256, 1, BIG, "width of a dense layer's FFN"),
    SY_INT (sy_spec, max_position_embeddings, "n_positions", 512, 1, BIG, "longest sequence that is served"),
    SY_INT (sy_spec, sliding_window, NULL, 0, 0, BIG, "a token sees the last so many positions, itself included; 0 = all"),
    SY_REAL(sy_spec, rms_norm_eps, "layer_norm_eps", 1e-6, 0, 1, "epsilon of the norms"),
    SY_REAL(sy_spec, rope_theta, NULL, 10000, 1, 1e12, "base of the rotary angles"),
    SY_REAL(sy_spec, initializer_range, NULL, 0.02, 0, 10, "standard deviation of fresh weights"),
    SY_BOOL(sy_spec, tie_word_embeddings, NULL, false, "the head is the embedding"),
    SY_ENUM_(sy_spec, qk_norm, NULL, SY_QK_NONE, "false|true|row", "RMSNorm before the rotation: true on each query and key head (Qwen3), row over all heads together (OLMoE)"),
    SY_ENUM_(sy_spec, hidden_act, NULL, 0, "silu|gelu|gelu_tanh|relu|relu2", "activation of the dense FFN and of the shared expert"),
    SY_TEXT(sy_spec, layers, NULL, "dense", "pattern of dense and sparse layers: 'sparse', 'dense,sparse', 'dense*1,sparse*5'"),
    SY_INT (sy_spec, num_experts, "num_local_experts", 8, 1, 65536, "experts of a sparse layer"),
    SY_INT (sy_spec, zero_experts, "num_null_experts", 0, 0, 65536, "zero-cost experts beside them"),
    SY_INT (sy_spec, moe_intermediate_size, NULL, 0, 0, BIG, "width F of one expert; 0 = intermediate_size"),
    SY_INT (sy_spec, shared_expert_intermediate_size, NULL, 0, 0, BIG, "width of the shared expert of a sparse layer; 0 = none"),
    SY_BOOL(sy_spec, shared_expert_gate, NULL, false, "scale the shared expert by sigmoid(x . w) (Qwen2-MoE)"),
    SY_BOOL(sy_spec, shared_expert_bias, NULL, false, "the matrices of the shared expert add biases"),
    SY_REAL(sy_spec, routed_scaling_factor, "route_scale", 1, 0, 1e6, "combine weights are multiplied by it"),
    SY_TEXT(sy_spec, router, NULL, "topk", "router of the sparse layers, e.g. topk:top_k=2"),
    SY_TEXT(sy_spec, expert, NULL, "swiglu", "kind of the experts"),
    SY_TEXT(sy_spec, zero_expert, NULL, "null", "kind of the zero-cost experts: null, identity or constant"),
    SY_TEXT(sy_spec, balance, NULL, "", "balance terms, separated by blanks, e.g. switch:coef=0.01 zloss:coef=0.001"),
    SY_TEXT(sy_spec, edit, NULL, "", "route edits, separated by blanks"),
    SY_ENUM_(sy_spec, norm, NULL, SY_NORM_RMS, "rms|layer", "RMSNorm, or LayerNorm with its mean taken off"),
    SY_ENUM_(sy_spec, norm_place, NULL, SY_PLACE_PRE, "pre|post|parallel", "norms before each sublayer, after each sum (BERT), or x + attention(norm x) + ffn(norm x) (GPT-NeoX)"),
    SY_BOOL(sy_spec, norm_bias, NULL, false, "norms add a bias"),
    SY_BOOL(sy_spec, embedding_norm, NULL, false, "a norm after the embedding (BERT)"),
    SY_BOOL(sy_spec, final_norm, NULL, true, "a norm before the head"),
    SY_REAL(sy_spec, embedding_multiplier, NULL, 1, 1e-6, 1e6, "embeddings are multiplied by it"),
    SY_REAL(sy_spec, residual_multiplier, NULL, 1, 1e-6, 1e6, "what a sublayer adds to the stream is multiplied by it"),
    SY_REAL(sy_spec, logits_scaling, NULL, 1, 1e-6, 1e6, "logits are divided by it"),
    SY_BOOL(sy_spec, lm_head, NULL, true, "a head that gives logits; an encoder has none"),
    SY_BOOL(sy_spec, lm_head_bias, NULL, false, "the head adds a bias"),
    SY_BOOL(sy_spec, learned_positions, NULL, false, "a learned vector for each of max_position_embeddings positions is added to the embedding"),
    SY_BOOL(sy_spec, causal, NULL, true, "a token sees earlier ones only; false: the whole sequence (encoders)"),
    SY_INT (sy_spec, type_vocab_size, NULL, 0, 0, 1 << 16, "kinds of token with a learned vector each; the first is added everywhere (BERT)"),
    SY_ENUM_(sy_spec, pooling, NULL, SY_POOL_NONE, "none|mean|cls", "how an encoder makes one vector of a text"),
    SY_REAL(sy_spec, final_logit_softcapping, NULL, 0, 0, 1e6, "logits become c tanh(logits / c); 0 = as they are"),
    SY_ENUM_(sy_spec, attention, NULL, SY_GQA, "gqa|mla", "heads that share keys and values, or multi-head latent attention (DeepSeek-V2)"),
    SY_BOOL(sy_spec, attention_bias, NULL, false, "query, key and value projections add a bias; with mla the two that go down in rank do"),
    SY_BOOL(sy_spec, attention_out_bias, NULL, false, "the output projection of attention adds a bias"),
    SY_BOOL(sy_spec, attention_sinks, NULL, false, "a learned logit a head joins each softmax (gpt-oss)"),
    SY_REAL(sy_spec, clip_qkv, NULL, 0, 0, 1e9, "queries, keys and values are clamped to +- this before the rotation; 0 = not"),
    SY_REAL(sy_spec, attn_logit_softcapping, NULL, 0, 0, 1e6, "scores become c tanh(score / c); 0 = as they are"),
    SY_REAL(sy_spec, attention_multiplier, NULL, 0, 0, 1e6, "scores are multiplied by it; 0 = 1/sqrt(width of a query head)"),
    SY_BOOL(sy_spec, scale_attn_by_inverse_layer_idx, NULL, false, "scores of layer l, counted from 0, are divided by l + 1 (GPT-2)"),
    SY_TEXT(sy_spec, window_layers, NULL, "sliding", "pattern of layers that see sliding_window positions and layers that see all: 'sliding', 'sliding,full'"),
    SY_TEXT(sy_spec, rope_layers, NULL, "rope", "pattern of layers that rotate and layers that do not: 'rope', 'rope*3,nope'"),
    SY_INT (sy_spec, q_lora_rank, NULL, 0, 0, BIG, "mla: rank of the queries; 0 = one full matrix"),
    SY_INT (sy_spec, kv_lora_rank, NULL, 512, 1, BIG, "mla: rank of keys and values, which is what the cache holds"),
    SY_INT (sy_spec, qk_nope_head_dim, NULL, 128, 1, 4096, "mla: width of a query and key head that does not rotate"),
    SY_INT (sy_spec, qk_rope_head_dim, NULL, 64, 2, 4096, "mla: width of a query and key head that rotates"),
    SY_INT (sy_spec, v_head_dim, NULL, 128, 1, 4096, "mla: width of a value head"),
    SY_REAL(sy_spec, lora_norm_eps, NULL, 1e-6, 0, 1, "mla: epsilon of the norms between the two matrices"),
    SY_BOOL(sy_spec, mla_absorb, NULL, true, "mla: decode on the cached latents where that is less work; false: always expand them, which gives the bits of training"),
    SY_REAL(sy_spec, rope_local_base_freq, NULL, 0, 0, 1e12, "base of the rotary angles of layers that see a window, never stretched; 0 = as the others"),
    SY_ENUM_(sy_spec, rope_type, NULL, SY_ROPE_DEFAULT, "default|linear|dynamic|llama3|yarn|longrope|none", "how rotary angles are stretched; none = no rotation at all"),
    SY_INT (sy_spec, original_max_position_embeddings, NULL, 0, 0, BIG, "positions before the stretch; 0 = max_position_embeddings"),
    SY_BOOL(sy_spec, rope_interleaved, NULL, false, "pairs are neighbours (2i, 2i+1) instead of halves (i, i+rot/2)"),
    SY_BOOL(sy_spec, rope_truncate, NULL, true, "yarn: the ends of the ramp are whole numbers"),
    SY_REAL(sy_spec, partial_rotary_factor, NULL, 1, 1e-3, 1, "share of a head that rotates, its first part"),
    SY_REAL(sy_spec, rope_factor, NULL, 1, 1e-3, 1e6, "stretch of linear, dynamic, llama3, yarn and longrope"),
    SY_REAL(sy_spec, rope_low_freq_factor, NULL, 1, 1e-3, 1e6, "llama3: waves longer than original positions / this are stretched"),
    SY_REAL(sy_spec, rope_high_freq_factor, NULL, 4, 1e-3, 1e6, "llama3: waves shorter than original positions / this are kept"),
    SY_REAL(sy_spec, rope_beta_fast, NULL, 32, 1e-3, 1e6, "yarn: turns over the original positions above which an angle is kept"),
    SY_REAL(sy_spec, rope_beta_slow, NULL, 1, 1e-3, 1e6, "yarn: turns below which an angle is stretched in full"),
    SY_REAL(sy_spec, rope_attention_factor, NULL, 0, 0, 1e6, "yarn, longrope: factor on cosine and sine; 0 = by their formula"),
    SY_REAL(sy_spec, rope_mscale, NULL, 0, 0, 1e6, "yarn: weight of the logarithm in that formula"),
    SY_REAL(sy_spec, rope_mscale_all_dim, NULL, 0, 0, 1e6, "yarn: the same, taken off again; mla: put on the scores under any stretch (DeepSeek-V2)"),
    SY_REAL(sy_spec, rope_short_mscale, NULL, 0, 0, 1e6, "longrope: factor on cosine and sine up to the original positions; 0 = by the formula"),
    SY_REAL(sy_spec, rope_long_mscale, NULL, 0, 0, 1e6, "longrope: the same beyond them"),
    SY_TEXT(sy_spec, rope_short_factor, NULL, "", "longrope: a divisor for each pair of a head, up to the original positions; separated by blanks"),
    SY_TEXT(sy_spec, rope_long_factor, NULL, "", "longrope: the same beyond them"),
    SY_BOOL(sy_spec, ffn_gated, NULL, true, "down(act(gate x) * up x); false: down(act(up x))"),
    SY_BOOL(sy_spec, mlp_bias, NULL, false, "the matrices of the dense FFN add biases"),
    SY_REAL(sy_spec, swiglu_alpha, NULL, 0, 0, 1e3, "dense FFN: gate sigmoid(alpha gate) (up + 1) instead of act(gate) up; 0 = not (gpt-oss)"),
    SY_REAL(sy_spec, swiglu_limit, NULL, 0, 0, 1e6, "with it: gate is at most this, up within +- this; 0 = no limit"),
    { 0 }
};

void sy_spec_defaults(sy_spec *s) { sy_opt_defaults(sy_spec_opts, s); }

/* A pattern says one thing of every layer with one of two words. */
typedef struct words { const char *no, *yes; } words;
static const words kinds = { "dense", "sparse" }, windows = { "full", "sliding" }, ropes = { "nope", "rope" };

/* Reads one item of the pattern; which word it is and its count. False when it is malformed. */
static bool item(const char **p, const words *w, bool *yes, int *count)
{
    size_t n = strcspn(*p, "*,");
    *count = 1;
    *yes = n == strlen(w->yes) && !strncmp(*p, w->yes, n);
    if (!*yes && (n != strlen(w->no) || strncmp(*p, w->no, n))) return false;
    *p += n;
    if (**p == '*') {
        char *end;
        long times = strtol(*p + 1, &end, 10);
        if ((*p)[1] < '0' || (*p)[1] > '9' || times < 1 || times > MAX_LAYERS) return false;        /* no blank, no sign */
        *count = (int)times;
        *p = end;
    }
    if (**p == ',') return *++*p != 0;
    return **p == 0;
}

static int period(const char *pattern, const words *w)       /* layers of one round, 0 when malformed */
{
    int n = 0, count;
    bool yes;
    if (!pattern) return 0;
    for (const char *p = pattern; *p; n += count)
        if (!item(&p, w, &yes, &count) || n > MAX_LAYERS) return 0;
    return n;
}

static bool says(const char *pattern, const words *w, int layer)
{
    int at = layer % period(pattern, w), count;
    bool yes = false;
    for (const char *p = pattern; item(&p, w, &yes, &count) && at >= count; ) at -= count;
    return yes;
}

bool sy_spec_sparse(const sy_spec *s, int layer) { return says(s->layers, &kinds, layer); }
bool sy_spec_sliding(const sy_spec *s, int layer) { return s->sliding_window && says(s->window_layers, &windows, layer); }
bool sy_spec_rotates(const sy_spec *s, int layer) { return s->rope_type != SY_ROPE_NONE && says(s->rope_layers, &ropes, layer); }

int sy_spec_n_sparse(const sy_spec *s)
{
    int n = 0;
    for (int l = 0; l < s->num_hidden_layers; l++) n += sy_spec_sparse(s, l);
    return n;
}

sy_act sy_spec_act(const sy_spec *s)
{
    static const sy_act act[] = { SY_ACT_SILU, SY_ACT_GELU, SY_ACT_GELU_TANH, SY_ACT_RELU, SY_ACT_RELU2 };
    return act[s->hidden_act];
}

int sy_spec_positions(const sy_spec *s)
{
    double n = s->max_position_embeddings * (s->rope_type == SY_ROPE_DYNAMIC && !s->learned_positions ? fmax(s->rope_factor, 1) : 1);
    return n < BIG ? (int)n : BIG;
}

int sy_spec_qk_dim(const sy_spec *s) { return s->attention == SY_MLA ? s->qk_nope_head_dim + s->qk_rope_head_dim : s->head_dim; }
int sy_spec_v_dim(const sy_spec *s) { return s->attention == SY_MLA ? s->v_head_dim : s->head_dim; }
int sy_spec_turns(const sy_spec *s) { return (int)((s->attention == SY_MLA ? s->qk_rope_head_dim : s->head_dim) * s->partial_rotary_factor); }
int sy_spec_rotary(const sy_spec *s) { return (sy_spec_turns(s) + 1) / 2 * 2; }

double sy_spec_share(int turns, int head)
{
    double share = (double)turns / head;
    return (int)(head * share) < turns ? nextafter(share, 1) : share;
}

double sy_spec_score_scale(const sy_spec *s, int layer)
{
    double scale = s->attention_multiplier > 0 ? s->attention_multiplier : 1 / sqrt((double)sy_spec_qk_dim(s));
    if (s->scale_attn_by_inverse_layer_idx) scale /= layer + 1;
    if (s->attention != SY_MLA || s->rope_type == SY_ROPE_DEFAULT || s->rope_type == SY_ROPE_NONE || !(s->rope_factor > 1)) return scale;
    double m = 0.1 * s->rope_mscale_all_dim * log(s->rope_factor) + 1;
    return scale * m * m;
}

static sy_status check_pattern(const sy_spec *s, const char *key, const char *pattern, const words *w, sy_err *err)
{
    int n = period(pattern, w);
    if (!n) return sy_fail(err, SY_EARG, "%s '%.80s' is not a pattern like '%s', '%s,%s' or '%s*1,%s*5'", key, pattern ? pattern : "", w->yes, w->no, w->yes, w->no, w->yes);
    if (s->num_hidden_layers % n)
        return sy_fail(err, SY_EARG, "%s '%s' describes %d layers, num_hidden_layers is %d: it must be a multiple", key, pattern, n, s->num_hidden_layers);
    return SY_OK;
}

/* Numbers of a list, or -1 where something else stands between. */
static int numbers(const char *list)
{
    int n = 0;
    for (const char *p = list + strspn(list, " "); *p; p += strspn(p, " "), n++) {
        char *end;
        if (!(sy_real_read(p, &end) > 0) || end == p || (*end && *end != ' ')) return -1;
        p = end;
    }
    return n;
}

static sy_status check_rope(const sy_spec *s, sy_err *err)
{
    int rot = sy_spec_rotary(s), head = s->attention == SY_MLA ? s->qk_rope_head_dim : s->head_dim;
    const char *list[] = { s->rope_short_factor, s->rope_long_factor };
    if (s->rope_type == SY_ROPE_NONE) return SY_OK;
    if (rot < 2 || rot > head)
        return sy_fail(err, SY_ESHAPE, "%s %d with partial_rotary_factor %g: the rotary embedding turns pairs, %d values are odd or none", s->attention == SY_MLA ? "qk_rope_head_dim" : "head_dim",
                       head, s->partial_rotary_factor, sy_spec_turns(s));
    if (rot > 4096)
        return sy_fail(err, SY_ESHAPE, "a head of %d values turns, at most 4096 can: make num_attention_heads larger than %d or partial_rotary_factor smaller", rot, s->num_attention_heads);
    if (s->rope_type == SY_ROPE_YARN && sy_spec_turns(s) % 2)
        return sy_fail(err, SY_ESHAPE, "head_dim %d with partial_rotary_factor %g: rope_type yarn is about pairs, %d values are odd", head, s->partial_rotary_factor, sy_spec_turns(s));
    for (int i = 0; i < 2 && s->rope_type == SY_ROPE_LONGROPE; i++)
        if (numbers(list[i]) != rot / 2)
            return sy_fail(err, SY_ESHAPE, "%s must be %d positive numbers, one for each pair of a head that rotates", i ? "rope_long_factor" : "rope_short_factor", rot / 2);
    if (s->rope_type == SY_ROPE_LLAMA3 && !(s->rope_high_freq_factor > s->rope_low_freq_factor))
        return sy_fail(err, SY_EARG, "rope_high_freq_factor %g must be larger than rope_low_freq_factor %g", s->rope_high_freq_factor, s->rope_low_freq_factor);
    if (s->rope_type == SY_ROPE_DYNAMIC && rot < 4) return sy_fail(err, SY_ESHAPE, "rope_type dynamic needs at least 4 values that rotate, there are %d", rot);
    return SY_OK;
}

/* Parts that exclude each other. */
static sy_status check_parts(const sy_spec *s, sy_err *err)
{
    if (!s->causal && s->sliding_window) return sy_fail(err, SY_EARG, "causal=false with sliding_window %d: a window looks back only", s->sliding_window);
    if (!s->causal && sy_spec_n_sparse(s)) return sy_fail(err, SY_EUNSUP, "causal=false with sparse layers: routers serve one token after another; use layers=dense");
    if (!s->causal && s->lm_head) return sy_fail(err, SY_EUNSUP, "causal=false with a head: a token would see the one that it predicts; an encoder has lm_head=false");
    if (s->pooling && s->causal) return sy_fail(err, SY_EARG, "pooling makes one vector of a text that is seen whole; it needs causal=false");
    if (s->attention == SY_MLA && (s->qk_norm || s->clip_qkv > 0)) return sy_fail(err, SY_EUNSUP, "attention=mla has no %s", s->qk_norm ? "qk_norm" : "clip_qkv");
    if (s->attention == SY_MLA && s->num_key_value_heads != s->num_attention_heads)
        return sy_fail(err, SY_ESHAPE, "attention=mla expands keys and values for every head: num_key_value_heads %d must be num_attention_heads %d", s->num_key_value_heads, s->num_attention_heads);
    if (s->swiglu_alpha > 0 && !s->ffn_gated) return sy_fail(err, SY_EARG, "swiglu_alpha %g is about a gated FFN, but ffn_gated is false", s->swiglu_alpha);
    if (s->norm_bias && s->norm == SY_NORM_RMS) return sy_fail(err, SY_EUNSUP, "norm_bias: RMSNorm has no bias; use norm=layer");
    return SY_OK;
}

sy_status sy_spec_check(sy_spec *s, sy_err *err)
{
    int H = s->num_attention_heads;
    if (!s->vocab_size) return sy_fail(err, SY_EARG, "vocab_size is not set");
    if (!s->num_key_value_heads) s->num_key_value_heads = H;
    if (!s->head_dim) {
        if (s->hidden_size % H) return sy_fail(err, SY_ESHAPE, "hidden_size %d is not a multiple of num_attention_heads %d; choose others or give head_dim", s->hidden_size, H);
        s->head_dim = s->hidden_size / H;
    }
    if (!s->moe_intermediate_size) s->moe_intermediate_size = s->intermediate_size;
    if (H % s->num_key_value_heads)
        return sy_fail(err, SY_ESHAPE, "num_attention_heads %d is not a multiple of num_key_value_heads %d", H, s->num_key_value_heads);
    if (s->head_dim % 2 && s->attention == SY_GQA && s->rope_type != SY_ROPE_NONE && s->partial_rotary_factor == 1)
        return sy_fail(err, SY_ESHAPE, "head_dim %d is odd; the rotary embedding turns pairs", s->head_dim);
    SY_TRY(check_pattern(s, "layers", s->layers, &kinds, err));
    SY_TRY(check_pattern(s, "window_layers", s->window_layers, &windows, err));
    SY_TRY(check_pattern(s, "rope_layers", s->rope_layers, &ropes, err));
    SY_TRY(check_rope(s, err));
    if (s->shared_expert_gate && !s->shared_expert_intermediate_size)
        return sy_fail(err, SY_EARG, "shared_expert_gate needs a shared expert: set shared_expert_intermediate_size");
    if (s->shared_expert_bias && !s->shared_expert_intermediate_size)
        return sy_fail(err, SY_EARG, "shared_expert_bias needs a shared expert: set shared_expert_intermediate_size");
    if (s->swiglu_limit > 0 && !(s->swiglu_alpha > 0)) return sy_fail(err, SY_EARG, "swiglu_limit %g belongs to swiglu_alpha, which is not set", s->swiglu_limit);
    if (s->tie_word_embeddings && !s->lm_head) return sy_fail(err, SY_EARG, "tie_word_embeddings without a head: lm_head is false");
    if (s->lm_head_bias && !s->lm_head) return sy_fail(err, SY_EARG, "lm_head_bias without a head: lm_head is false");
    SY_TRY(check_parts(s, err));
    double total;
    sy_spec_size(s, s->num_experts, &total, NULL, NULL);
    if (total > 1e12) return sy_fail(err, SY_ESHAPE, "these sizes give %.3g parameters; more than 1e12 are not supported", total);
    return SY_OK;
}

/* Parameters of one layer's attention without its norms and vectors; all of them with those, when `all` is given. */
static double attention_size(const sy_spec *s, double *all)
{
    double D = s->hidden_size, H = s->num_attention_heads, KV = s->num_key_value_heads ? s->num_key_value_heads : H, hd = s->head_dim ? s->head_dim : D / H, mats, vecs;
    if (s->attention == SY_MLA) {
        double r = s->q_lora_rank, c = s->kv_lora_rank, rope = s->qk_rope_head_dim, qk = s->qk_nope_head_dim + rope, v = s->v_head_dim;
        mats = (r ? r * (D + H * qk) : D * H * qk) + D * (c + rope) + c * H * (s->qk_nope_head_dim + v) + H * v * D;
        vecs = c + r + (s->attention_bias ? r + c + rope : 0);
    } else {
        mats = D * hd * (2 * H + 2 * KV);
        vecs = (s->qk_norm == SY_QK_HEAD ? 2 * hd : s->qk_norm == SY_QK_ROW ? (H + KV) * hd : 0) + (s->attention_bias ? (H + 2 * KV) * hd : 0);
    }
    vecs += (s->attention_out_bias ? D : 0) + (s->attention_sinks ? H : 0);
    if (all) *all = mats + vecs;
    return mats;
}

void sy_spec_size(const sy_spec *s, double k, double *total, double *active, double *madds)
{
    double D = s->hidden_size, F = s->moe_intermediate_size ? s->moe_intermediate_size : s->intermediate_size, norm = D * (s->norm_bias ? 2 : 1);
    double embed = s->vocab_size * D, head = (s->tie_word_embeddings || !s->lm_head ? 0 : embed) + (s->lm_head_bias ? s->vocab_size : 0);
    double once = embed + head + norm * (s->final_norm + s->embedding_norm) + D * s->type_vocab_size + (s->learned_positions ? D * s->max_position_embeddings : 0);
    double mats = s->ffn_gated ? 3 : 2, dense = mats * D * s->intermediate_size, dense_bias = s->mlp_bias ? (mats - 1) * s->intermediate_size + D : 0;
    double attn, attn_work = attention_size(s, &attn), all = once, act = once, work = s->lm_head ? embed : 0;
    for (int l = 0; l < s->num_hidden_layers; l++) {
        double ffn, used, mul;
        if (sy_spec_sparse(s, l)) {
            double Fs = s->shared_expert_intermediate_size, shared = 3 * D * Fs + (s->shared_expert_gate ? D : 0), bias = s->shared_expert_bias ? 2 * Fs + D : 0;
            double gate = D * (s->num_experts + s->zero_experts);
            ffn = 3 * D * F * s->num_experts + shared + bias + gate;
            mul = 3 * D * F * k + shared + gate;
            used = mul + bias;
        } else {
            ffn = used = dense + dense_bias;
            mul = dense;
        }
        all += attn + 2 * norm + ffn;
        act += attn + 2 * norm + used;
        work += attn_work + mul;
    }
    if (total) *total = all;
    if (active) *active = act;
    if (madds) *madds = work;
}

void sy_spec_activations(const sy_spec *s, double k, sy_activations *out)
{
    double D = s->hidden_size, H = s->num_attention_heads, KV = s->num_key_value_heads ? s->num_key_value_heads : H, hd = s->head_dim ? s->head_dim : D / H;
    double F = s->moe_intermediate_size ? s->moe_intermediate_size : s->intermediate_size, E = s->num_experts + s->zero_experts, Fs = s->shared_expert_intermediate_size;
    bool latent = s->attention == SY_MLA;
    double q = H * (latent ? sy_spec_qk_dim(s) : hd), kv = KV * hd, o = H * (latent ? sy_spec_v_dim(s) : hd), R = s->kv_lora_rank, rope = s->qk_rope_head_dim;
    *out = (sy_activations){ .ends = 2 * D };                    /* embedding, last norm */
    for (int l = 0; l < s->num_hidden_layers; l++) {
        int turns = 1 + (s->qk_norm != 0) + sy_spec_rotates(s, l);               /* copies of queries and keys: products, norms, rotations */
        double sum = 4 * D + o;                                                  /* two norms, product and sum; mixed values */
        if (latent) sum += 2 * s->q_lora_rank + 3 * R + 3 * rope + 5.5 * q - H * rope + 2.5 * o;     /* latents, their norms and parts; keys and values taken apart and put together */
        else sum += turns * (q + kv) + kv;
        if (sy_spec_sparse(s, l)) sum += 2 * E + 3 * k + k * (2 * D + 3 * F) + 2 * D + (Fs > 0 ? 3 * Fs + 2 * D : 0);
        else sum += (s->ffn_gated ? 3 : 2) * (double)s->intermediate_size + 2 * D;
        out->layers += sum;
        if (sum > out->largest) out->largest = sum;
    }
}
