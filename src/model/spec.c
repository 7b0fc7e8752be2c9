/* model/spec.c - keys, their rules, and the sizes that follow. */
#include "model/spec.h"

#include <stdlib.h>
#include <string.h>

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
    SY_REAL(sy_spec, rms_norm_eps, NULL, 1e-6, 1e-12, 1, "epsilon of the norms"),
    SY_REAL(sy_spec, rope_theta, NULL, 10000, 1, 1e12, "base of the rotary angles"),
    SY_REAL(sy_spec, initializer_range, NULL, 0.02, 0, 10, "standard deviation of fresh weights"),
    SY_BOOL(sy_spec, tie_word_embeddings, NULL, false, "the head is the embedding"),
    SY_BOOL(sy_spec, qk_norm, NULL, false, "RMSNorm on each query and key head before the rotation (Qwen3)"),
    SY_ENUM_(sy_spec, hidden_act, NULL, 0, "silu|gelu|gelu_tanh|relu|relu2", "activation of gated FFNs"),
    SY_TEXT(sy_spec, layers, NULL, "dense", "pattern of dense and sparse layers: 'sparse', 'dense,sparse', 'dense*1,sparse*5'"),
    SY_INT (sy_spec, num_experts, "num_local_experts", 8, 1, 65536, "experts of a sparse layer"),
    SY_INT (sy_spec, zero_experts, "num_null_experts", 0, 0, 65536, "zero-cost experts beside them"),
    SY_INT (sy_spec, moe_intermediate_size, NULL, 0, 0, BIG, "width F of one expert; 0 = intermediate_size"),
    SY_INT (sy_spec, shared_expert_intermediate_size, NULL, 0, 0, BIG, "width of the shared expert of a sparse layer; 0 = none"),
    SY_BOOL(sy_spec, shared_expert_gate, NULL, false, "scale the shared expert by sigmoid(x . w) (Qwen2-MoE)"),
    SY_REAL(sy_spec, routed_scaling_factor, "route_scale", 1, 0, 1e6, "combine weights are multiplied by it"),
    SY_TEXT(sy_spec, router, NULL, "topk", "router of the sparse layers, e.g. topk:top_k=2"),
    SY_TEXT(sy_spec, expert, NULL, "swiglu", "kind of the experts"),
    SY_TEXT(sy_spec, zero_expert, NULL, "null", "kind of the zero-cost experts: null, identity or constant"),
    SY_TEXT(sy_spec, balance, NULL, "", "balance terms, separated by blanks, e.g. switch:coef=0.01 zloss:coef=0.001"),
    SY_TEXT(sy_spec, edit, NULL, "", "route edits, separated by blanks"),
    { 0 }
};

void sy_spec_defaults(sy_spec *s) { sy_opt_defaults(sy_spec_opts, s); }

/* Reads one item of the pattern; its kind and count. False when it is malformed. */
static bool item(const char **p, bool *sparse, int *count)
{
    *count = 1;
    if (!strncmp(*p, "dense", 5)) { *sparse = false; *p += 5; }
    else if (!strncmp(*p, "sparse", 6)) { *sparse = true; *p += 6; }
    else return false;
    if (**p == '*') {
        char *end;
        long n = strtol(*p + 1, &end, 10);
        if ((*p)[1] < '0' || (*p)[1] > '9' || n < 1 || n > MAX_LAYERS) return false;        /* no blank, no sign */
        *count = (int)n;
        *p = end;
    }
    if (**p == ',') return *++*p != 0;
    return **p == 0;
}

static int period(const char *pattern)               /* layers of one round, 0 when malformed */
{
    int n = 0, count;
    bool sparse;
    if (!pattern) return 0;
    for (const char *p = pattern; *p; n += count)
        if (!item(&p, &sparse, &count) || n > MAX_LAYERS) return 0;
    return n;
}

bool sy_spec_sparse(const sy_spec *s, int layer)
{
    int at = layer % period(s->layers), count;
    bool sparse = false;
    for (const char *p = s->layers; item(&p, &sparse, &count) && at >= count; ) at -= count;
    return sparse;
}

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

sy_status sy_spec_check(sy_spec *s, sy_err *err)
{
    int H = s->num_attention_heads, n = period(s->layers);
    if (!s->vocab_size) return sy_fail(err, SY_EARG, "vocab_size is not set");
    if (!s->num_key_value_heads) s->num_key_value_heads = H;
    if (!s->head_dim) {
        if (s->hidden_size % H) return sy_fail(err, SY_ESHAPE, "hidden_size %d is not a multiple of num_attention_heads %d; choose others or give head_dim", s->hidden_size, H);
        s->head_dim = s->hidden_size / H;
    }
    if (!s->moe_intermediate_size) s->moe_intermediate_size = s->intermediate_size;
    if (H % s->num_key_value_heads)
        return sy_fail(err, SY_ESHAPE, "num_attention_heads %d is not a multiple of num_key_value_heads %d", H, s->num_key_value_heads);
    if (s->head_dim % 2) return sy_fail(err, SY_ESHAPE, "head_dim %d is odd; the rotary embedding turns pairs", s->head_dim);
    if (!n) return sy_fail(err, SY_EARG, "layers '%.80s' is not a pattern like 'sparse', 'dense,sparse' or 'dense*1,sparse*5'", s->layers ? s->layers : "");
    if (s->num_hidden_layers % n)
        return sy_fail(err, SY_EARG, "layers '%s' describes %d layers, num_hidden_layers is %d: it must be a multiple", s->layers, n, s->num_hidden_layers);
    if (s->shared_expert_gate && !s->shared_expert_intermediate_size)
        return sy_fail(err, SY_EARG, "shared_expert_gate needs a shared expert: set shared_expert_intermediate_size");
    double total;
    sy_spec_size(s, s->num_experts, &total, NULL, NULL);
    if (total > 1e12) return sy_fail(err, SY_ESHAPE, "these sizes give %.3g parameters; more than 1e12 are not supported", total);
    return SY_OK;
}

void sy_spec_size(const sy_spec *s, double k, double *total, double *active, double *madds)
{
    double D = s->hidden_size, H = s->num_attention_heads, KV = s->num_key_value_heads ? s->num_key_value_heads : H;
    double hd = s->head_dim ? s->head_dim : D / H, F = s->moe_intermediate_size ? s->moe_intermediate_size : s->intermediate_size;
    double embed = s->vocab_size * D, head = s->tie_word_embeddings ? 0 : embed;
    double attn = D * hd * (2 * H + 2 * KV), norms = 2 * D + (s->qk_norm ? 2 * hd : 0);
    double all = embed + head + D, act = embed + head + D, work = embed;
    for (int l = 0; l < s->num_hidden_layers; l++) {
        double ffn, used, mul;
        if (sy_spec_sparse(s, l)) {
            double shared = 3 * D * s->shared_expert_intermediate_size + (s->shared_expert_gate ? D : 0), gate = D * (s->num_experts + s->zero_experts);
            ffn = 3 * D * F * s->num_experts + shared + gate;
            used = mul = 3 * D * F * k + shared + gate;
        } else ffn = used = mul = 3 * D * s->intermediate_size;
        all += attn + norms + ffn;
        act += attn + norms + used;
        work += attn + mul;
    }
    if (total) *total = all;
    if (active) *active = act;
    if (madds) *madds = work;
}
