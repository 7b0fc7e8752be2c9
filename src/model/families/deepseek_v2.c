/* model/families/deepseek_v2.c - DeepSeek-V2 and V2-Lite: latent attention, softmax routing with groups, shared experts in one FFN. */
#include "model/families/keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const sy_family_key keys[] = {
    SY_KEYS_COMMON("0", "2048", "1e-6"),
    SY_KEY_FFN, SY_KEY_ACT("hidden_act"), SY_KEY_ACT("expert.hidden_act"),
    SY_KEYS_MLA,
    SY_KEY("moe_intermediate_size", "moe_intermediate_size", NULL),
    SY_KEY("n_routed_experts num_experts", "num_experts", NULL),
    SY_KEY("num_experts_per_tok", "router.num_experts_per_tok", NULL),
    SY_KEY("attention_bias", "attention_bias", "false"), SY_KEY("attention_bias", "attention_out_bias", "false"),
    SY_KEY_ONLY("scoring_func", "softmax"),
    SY_KEYS_END,
};

/* topk_method decides whether the groups count. Weights are divided by their sum, or else multiplied by the factor: the makers' rule. */
static sy_status read_routing(sy_config_reading *r, sy_err *err)
{
    const char *method = "greedy";
    long long groups = 1, keep = 1;
    double factor = 1;
    const char *k = strstr(r->router.data ? r->router.data : "", "num_experts_per_tok=");
    bool norm = false;
    char text[64];
    SY_TRY(sy_json_get_text(r->root, r->path, "topk_method", false, &method, err));
    SY_TRY(sy_json_get_int(r->root, r->path, "n_group", false, 1, 1024, &groups, err));
    SY_TRY(sy_json_get_int(r->root, r->path, "topk_group", false, 1, 1024, &keep, err));
    SY_TRY(sy_json_get_real(r->root, r->path, "routed_scaling_factor", false, -1e6, 1e6, &factor, err));
    SY_TRY(sy_json_get_bool(r->root, r->path, "norm_topk_prob", false, &norm, err));
    if (!strcmp(method, "greedy")) groups = keep = 1;
    else if (strcmp(method, "group_limited_greedy"))
        return sy_fail(err, SY_EUNSUP, "%s: topk_method is '%.40s'; family deepseek_v2 is computed with greedy and group_limited_greedy", r->path, method);
    norm = norm && k && atoi(k + 20) > 1;
    snprintf(text, sizeof text, "%lld", groups);
    SY_TRY(sy__set(r, "router.n_group", text, err));
    snprintf(text, sizeof text, "%lld", keep);
    SY_TRY(sy__set(r, "router.topk_group", text, err));
    snprintf(text, sizeof text, "%.17g", norm ? 1 : factor);
    SY_TRY(sy__set(r, "router.routed_scaling_factor", text, err));
    return sy__set(r, "router.norm_topk_prob", norm ? "true" : "false", err);
}

/* Where the router keeps an option; NULL: it has none of that name and type. */
static const void *option(const sy_config_writing *w, const char *key, sy_opt_type type)
{
    size_t at;
    const sy_opt *row = w->router_m && w->router_m->opts ? sy_opt_find(w->router_m->opts, key, &at, NULL) : NULL;
    return row && row->type == type ? (const char *)w->router_s + at : NULL;
}

static void write_routing(sy_config_writing *w)
{
    const int *n_group = option(w, "n_group", SY_OPT_INT), *topk_group = option(w, "topk_group", SY_OPT_INT);
    const double *scale = option(w, "routed_scaling_factor", SY_OPT_REAL);
    const bool *divides = option(w, "norm_topk_prob", SY_OPT_BOOL);
    int groups = n_group ? *n_group : 1, keep = topk_group ? *topk_group : 1;
    double factor = scale ? *scale : 1;
    bool norm = divides && *divides;
    sy_json_key(&w->j, "topk_method"), sy_json_text(&w->j, groups > 1 ? "group_limited_greedy" : "greedy");
    sy_json_key(&w->j, "n_group"), sy_json_int(&w->j, groups);
    sy_json_key(&w->j, "topk_group"), sy_json_int(&w->j, keep);
    sy_json_key(&w->j, "routed_scaling_factor"), sy_json_real(&w->j, factor);
    sy_json_key(&w->j, "norm_topk_prob"), sy_json_bool(&w->j, norm);
}

static const char *const routing_keys[] = { "topk_method", "n_group", "topk_group", "routed_scaling_factor", "norm_topk_prob", NULL };
static const sy_family_group routing = { routing_keys, read_routing, write_routing };

/* mlp_bias is of the dense FFN and of the shared experts, never of the others. */
static sy_status read_bias(sy_config_reading *r, sy_err *err)
{
    sy_spec *s = &r->c->spec;
    SY_TRY(sy_json_get_bool(r->root, r->path, "mlp_bias", false, &s->mlp_bias, err));
    s->shared_expert_bias = s->mlp_bias && s->shared_expert_intermediate_size;
    return SY_OK;
}

static void write_bias(sy_config_writing *w)
{
    const sy_spec *s = w->s;
    sy_json_key(&w->j, "mlp_bias"), sy_json_bool(&w->j, s->shared_expert_intermediate_size ? s->shared_expert_bias : s->mlp_bias);
}

static const char *const bias_keys[] = { "mlp_bias", NULL };
static const sy_family_group bias = { bias_keys, read_bias, write_bias };
static const sy_family_group *const groups[] = { &sy__keys_rope, &sy__keys_first_dense, &sy__keys_shared, &routing, &bias, NULL };
static const char *const ignored[] = { "aux_loss_alpha", "seq_aux", "ep_size", "head_dim", "qk_head_dim", NULL };

static const sy_family_part parts[] = { SY_PARTS_EXPERTS("model.layers.{l}.mlp", "gate_proj", "up_proj", "down_proj"), SY_PARTS_SHARED, SY_PARTS_SHARED_BIAS, SY_PARTS_FUSED("model.layers.{l}.mlp"), SY_PARTS_END };

const sy_family sy_family_deepseek_v2 = {
    .name = "deepseek_v2", .architecture = "DeepseekV2ForCausalLM", .base = "attention=mla,rope_interleaved=true", .router = "topk", .expert = "swiglu", .rope_theta = 10000,
    .keys = keys, .groups = groups, .ignored = ignored, .parts = parts, .skips = sy__skip_rotary, .modules = sy__modules_shared,
};
