"""Logits and chosen experts of tiny models of every family, by transformers' own model code, in float32.

    python tests/ref/families.py [FAMILY...]        writes tests/fixtures/families/FAMILY.safetensors, three models or more each
    python tests/ref/families.py --check DIR        opens what the engine wrote (SY_FAMILIES_OUT=DIR model_test_families) with from_pretrained: no
                                                    missing, no unexpected keys, the fixtures' logits

A model is its config.json and a list of tensors; their values are uniform numbers of the engine's Philox, keyed by the tensor's name, so that the
test makes the same files from the list and nothing large is stored. Of model i a fixture holds i.ids [96], i.logits [96,V] (64 in one pass, 32
one by one through the cache), i.experts [layers,96,K] where there are some; its metadata i.config and i.tensors (name|type|dims|base|scale). Packed weights (FP8 blocks,
MXFP4) are bytes of the same numbers; the library gets them unpacked here. Every
choice of experts is the same in float64, else another seed is taken: no fixture has a near tie.
"""
import json
import os
import shutil
import sys
import tempfile

import numpy as np
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file

assert torch.__version__.startswith("2.13.0"), torch.__version__
assert transformers.__version__ == "5.24.0", transformers.__version__

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "families")
V, PROMPT, FURTHER = 40, 64, 32
TYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.float8_e4m3fn: "F8_E4M3", torch.uint8: "U8"}

# --- the engine's random numbers (src/core/random.c) -------------------------------------------------------------------------


def philox(c, k):
    """Philox 4x32-10 on arrays of uint64 that hold 32-bit words."""
    c, k, mask = list(c), list(k), np.uint64(0xFFFFFFFF)
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [(p1 >> np.uint64(32)) ^ c[1] ^ k[0], p1 & mask, (p0 >> np.uint64(32)) ^ c[3] ^ k[1], p0 & mask]
        k = [(k[0] + np.uint64(0x9E3779B9)) & mask, (k[1] + np.uint64(0xBB67AE85)) & mask]
    return c


def words(x):
    return [np.uint64(x & 0xFFFFFFFF), np.uint64(x >> 32)]


def key_of(seed, purpose, a):
    o = philox([*words(a), np.uint64(purpose), np.uint64(1)], words(seed))
    return philox([o[2], o[3], np.uint64(0), np.uint64(0)], [o[0], o[1]])[:2]


def uniform(seed, name, n):
    h = 1469598103934665603
    for b in name.encode():
        h = (h ^ b) * 1099511628211 % 2**64
    pos = np.arange(n, dtype=np.uint64)
    zero = np.zeros(n, np.uint64)
    o = philox([pos & np.uint64(0xFFFFFFFF), pos >> np.uint64(32), zero, zero], key_of(seed, 8, h))
    return (((o[1] << np.uint64(32) | o[0]) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def values(seed, name, dims, base, scale, dtype):
    """base +- scale; of U8 and F8_E4M3 that is the byte itself, rounded down (the two that mean no number are one less)."""
    x = base + scale * (2 * uniform(seed, name, int(np.prod(dims))) - 1)
    if dtype in (torch.uint8, torch.float8_e4m3fn):
        x = np.floor(x).astype(np.uint8)
        if dtype == torch.float8_e4m3fn:
            x -= (x & 127) == 127
        return torch.from_numpy(x).reshape(dims).view(dtype)
    return torch.from_numpy(x.astype(np.float32)).reshape(dims).to(dtype)


# --- DeepSeekMoE v1, whose code is not in transformers -----------------------------------------------------------------------


class DeepseekV1(torch.nn.Module):
    """From its card: Llama's layer; softmax over all experts, the best K as they are or divided by their sum; shared experts as one FFN."""

    def __init__(self, config, tensors):
        super().__init__()
        self.c, self.w = config, tensors

    def forward_all(self, ids, dtype):
        c, w = self.c, {k: v.to(dtype) for k, v in self.w.items()}
        n, D, H, KV = len(ids), c["hidden_size"], c["num_attention_heads"], c["num_key_value_heads"]
        hd, act = D // H, torch.nn.functional.silu
        norm = lambda x, g: w[g] * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + c["rms_norm_eps"]))
        angle = torch.outer(torch.arange(n, dtype=dtype), 1 / c["rope_theta"] ** (torch.arange(0, hd, 2, dtype=dtype) / hd))
        cos, sin = (torch.cat([f(angle)] * 2, -1)[:, None] for f in (torch.cos, torch.sin))
        rope = lambda x: x * cos + torch.cat([-x[..., hd // 2:], x[..., : hd // 2]], -1) * sin
        ffn = lambda x, p: (act(x @ w[p + "gate_proj.weight"].T) * (x @ w[p + "up_proj.weight"].T)) @ w[p + "down_proj.weight"].T
        x, chosen = w["model.embed_tokens.weight"][ids], []
        for layer in range(c["num_hidden_layers"]):
            p = f"model.layers.{layer}."
            h = norm(x, p + "input_layernorm.weight")
            bias = lambda name: w.get(p + f"self_attn.{name}_proj.bias", 0)
            q, k, v = (((h @ w[p + f"self_attn.{m}_proj.weight"].T) + bias(m)).reshape(n, -1, hd) for m in "qkv")
            q, k = rope(q), rope(k).repeat_interleave(H // KV, 1)
            s = torch.einsum("ihd,jhd->hij", q, k) * hd**-0.5 + torch.full((n, n), float("-inf"), dtype=dtype).triu(1)
            a = torch.einsum("hij,jhd->ihd", s.softmax(-1), v.repeat_interleave(H // KV, 1)).reshape(n, -1)
            x = x + a @ w[p + "self_attn.o_proj.weight"].T + bias("o")
            h = norm(x, p + "post_attention_layernorm.weight")
            if layer < c["first_k_dense_replace"] or layer % c["moe_layer_freq"]:
                x = x + ffn(h, p + "mlp.")
                continue
            top, which = (h @ w[p + "mlp.gate.weight"].T).softmax(-1).topk(c["num_experts_per_tok"], -1)
            if c["norm_topk_prob"]:
                top = top / (top.sum(-1, keepdim=True) + 1e-20)
            chosen.append(which)
            y = ffn(h, p + "mlp.shared_experts.") if c["n_shared_experts"] else torch.zeros_like(h)
            for t in range(n):
                for e, g in zip(which[t].tolist(), top[t]):
                    y[t] += g * ffn(h[t], p + f"mlp.experts.{e}.")
            x = x + y
        head = w["model.embed_tokens.weight" if c["tie_word_embeddings"] else "lm_head.weight"]
        return norm(x, "model.norm.weight") @ head.T, chosen

    @staticmethod
    def shapes(c):
        D, H, KV, F, out = c["hidden_size"], c["num_attention_heads"], c["num_key_value_heads"], c["moe_intermediate_size"], {}
        hd = D // H
        ffn = lambda p, f: out.update({p + "gate_proj.weight": [f, D], p + "up_proj.weight": [f, D], p + "down_proj.weight": [D, f]})
        out["model.embed_tokens.weight"] = [c["vocab_size"], D]
        for layer in range(c["num_hidden_layers"]):
            p = f"model.layers.{layer}."
            out |= {p + "input_layernorm.weight": [D], p + "post_attention_layernorm.weight": [D]}
            for m, rows, cols in ("q", H * hd, D), ("k", KV * hd, D), ("v", KV * hd, D), ("o", D, H * hd):
                out[p + f"self_attn.{m}_proj.weight"] = [rows, cols]
                if c["attention_bias"]:
                    out[p + f"self_attn.{m}_proj.bias"] = [rows]
            if layer < c["first_k_dense_replace"] or layer % c["moe_layer_freq"]:
                ffn(p + "mlp.", c["intermediate_size"])
                continue
            out[p + "mlp.gate.weight"] = [c["n_routed_experts"], D]
            for e in range(c["n_routed_experts"]):
                ffn(p + f"mlp.experts.{e}.", F)
            if c["n_shared_experts"]:
                ffn(p + "mlp.shared_experts.", F * c["n_shared_experts"])
        out["model.norm.weight"] = [D]
        if not c["tie_word_embeddings"]:
            out["lm_head.weight"] = [c["vocab_size"], D]
        return out


# --- models --------------------------------------------------------------------------------------------------------------------

SMALL = dict(vocab_size=V, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128, initializer_range=0.02)
DENSE = SMALL | dict(intermediate_size=40)
LLAMA3 = dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=32)
V1 = SMALL | dict(model_type="deepseek", architectures=["DeepseekForCausalLM"], intermediate_size=40, moe_intermediate_size=12, n_routed_experts=6, num_experts_per_tok=2, n_shared_experts=2,
                  first_k_dense_replace=1, moe_layer_freq=1, norm_topk_prob=False, scoring_func="softmax", hidden_act="silu", rms_norm_eps=1e-6, rope_theta=10000.0, attention_bias=False,
                  tie_word_embeddings=False, rope_scaling=None, aux_loss_alpha=0.001, seq_aux=True, torch_dtype="float32")

NEOX = dict(vocab_size=V, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, max_position_embeddings=128)
MLA = SMALL | dict(num_key_value_heads=4, intermediate_size=40, moe_intermediate_size=12, n_routed_experts=6, num_experts_per_tok=2, kv_lora_rank=16, qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=6)
BERT = dict(vocab_size=V, hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40, max_position_embeddings=100)
OSS = SMALL | dict(intermediate_size=16, head_dim=8, num_local_experts=4, num_experts_per_tok=2, sliding_window=12,
                   rope_parameters=dict(rope_type="yarn", rope_theta=150000.0, factor=4.0, beta_fast=32.0, beta_slow=1.0, truncate=False, original_max_position_embeddings=32))

# family: three or more of (keys of the class's config, "dtype" for the stored type, "packed": fp8 or mxfp4).
CASES = {
    "llama": [DENSE | dict(rms_norm_eps=1e-5),
              DENSE | dict(attention_bias=True, mlp_bias=True, tie_word_embeddings=True, head_dim=12, hidden_act="gelu", dtype="bfloat16"),
              DENSE | dict(num_key_value_heads=1, rope_parameters=LLAMA3 | dict(rope_theta=500000.0)),
              # the last two cross the length at which the rotation changes: after the prompt, and within what follows it
              DENSE | dict(max_position_embeddings=64, rope_parameters=dict(rope_type="dynamic", factor=3.0, rope_theta=10000.0)),
              DENSE | dict(max_position_embeddings=320, rope_parameters=dict(rope_type="longrope", factor=4.0, rope_theta=10000.0, original_max_position_embeddings=80,
                                                                            short_factor=[1.0, 1.1, 1.3, 1.6], long_factor=[1.5, 2.0, 3.0, 4.0]))],
    "mistral": [DENSE | dict(sliding_window=7), DENSE | dict(sliding_window=None, head_dim=10, rope_parameters=dict(rope_type="default", rope_theta=1e6)),
                DENSE | dict(sliding_window=40, num_key_value_heads=4, tie_word_embeddings=True, hidden_act="gelu_pytorch_tanh", dtype="float16")],
    "qwen2": [DENSE | dict(rms_norm_eps=1e-6, rope_parameters=dict(rope_type="default", rope_theta=1e6)),
              DENSE | dict(num_hidden_layers=3, use_sliding_window=True, sliding_window=9, max_window_layers=1, tie_word_embeddings=True),
              DENSE | dict(rope_parameters=YARN | dict(rope_theta=10000.0), dtype="bfloat16")],
    "qwen3": [DENSE | dict(head_dim=12, tie_word_embeddings=True), DENSE | dict(head_dim=8, attention_bias=True, rope_parameters=dict(rope_type="linear", factor=3.0, rope_theta=1e6)),
              DENSE | dict(head_dim=16, num_hidden_layers=3, use_sliding_window=True, sliding_window=5, layer_types=["sliding_attention", "full_attention", "sliding_attention"])],
    "mixtral": [SMALL | dict(intermediate_size=24, num_local_experts=4, num_experts_per_tok=2),
                SMALL | dict(intermediate_size=16, num_local_experts=6, num_experts_per_tok=3, sliding_window=9, tie_word_embeddings=True, head_dim=12, dtype="bfloat16"),
                SMALL | dict(intermediate_size=20, num_local_experts=5, num_experts_per_tok=1, hidden_act="gelu", router_jitter_noise=0.0, num_key_value_heads=4)],
    "qwen2_moe": [DENSE | dict(moe_intermediate_size=12, num_experts=6, num_experts_per_tok=3, shared_expert_intermediate_size=20),
                  DENSE | dict(num_hidden_layers=4, moe_intermediate_size=12, num_experts=4, num_experts_per_tok=2, shared_expert_intermediate_size=8, decoder_sparse_step=2, norm_topk_prob=True, dtype="bfloat16"),
                  DENSE | dict(num_hidden_layers=4, moe_intermediate_size=12, num_experts=4, num_experts_per_tok=2, shared_expert_intermediate_size=8, mlp_only_layers=[1], qkv_bias=False,
                               use_sliding_window=True, sliding_window=6, max_window_layers=3, tie_word_embeddings=True)],
    "qwen3_moe": [DENSE | dict(head_dim=12, moe_intermediate_size=12, num_experts=8, num_experts_per_tok=3, norm_topk_prob=True),
                  DENSE | dict(head_dim=8, num_hidden_layers=3, moe_intermediate_size=12, num_experts=4, num_experts_per_tok=2, mlp_only_layers=[0], attention_bias=True, use_sliding_window=True, sliding_window=11),
                  DENSE | dict(head_dim=16, num_hidden_layers=4, moe_intermediate_size=12, num_experts=4, num_experts_per_tok=1, decoder_sparse_step=2, tie_word_embeddings=True, rope_parameters=LLAMA3 | dict(rope_theta=10000.0))],
    "olmoe": [SMALL | dict(intermediate_size=16, num_experts=6, num_experts_per_tok=3, num_key_value_heads=4),
              SMALL | dict(intermediate_size=16, num_experts=4, num_experts_per_tok=2, clip_qkv=0.7, norm_topk_prob=True, attention_bias=True),
              SMALL | dict(intermediate_size=16, num_experts=4, num_experts_per_tok=4, clip_qkv=1.5, tie_word_embeddings=True, rms_norm_eps=1e-6, dtype="float16")],
    "deepseek": [V1 | dict(num_key_value_heads=4), V1 | dict(num_hidden_layers=4, moe_layer_freq=2, first_k_dense_replace=0, norm_topk_prob=True, n_shared_experts=None, attention_bias=True),
                 V1 | dict(num_hidden_layers=3, first_k_dense_replace=1, n_shared_experts=1, tie_word_embeddings=True, num_experts_per_tok=3)],
    "granitemoe": [SMALL | dict(intermediate_size=16, num_local_experts=6, num_experts_per_tok=3, attention_multiplier=0.25),
                   SMALL | dict(intermediate_size=16, num_local_experts=4, num_experts_per_tok=2, embedding_multiplier=3.0, residual_multiplier=0.22, attention_multiplier=0.1, logits_scaling=6.0, tie_word_embeddings=True),
                   SMALL | dict(intermediate_size=12, num_local_experts=4, num_experts_per_tok=1, attention_bias=True, attention_multiplier=0.3, num_key_value_heads=4, hidden_act="gelu", dtype="bfloat16")],
    "glm4_moe": [DENSE | dict(head_dim=12, moe_intermediate_size=12, n_routed_experts=6, num_experts_per_tok=2, n_shared_experts=1, attention_bias=True, partial_rotary_factor=0.5),
                 DENSE | dict(head_dim=16, num_hidden_layers=3, moe_intermediate_size=12, n_routed_experts=8, num_experts_per_tok=3, n_shared_experts=2, n_group=4, topk_group=2, routed_scaling_factor=2.5,
                              use_qk_norm=True, first_k_dense_replace=2, partial_rotary_factor=0.25, dtype="bfloat16"),
                 DENSE | dict(head_dim=8, moe_intermediate_size=12, n_routed_experts=4, num_experts_per_tok=2, n_shared_experts=1, norm_topk_prob=False, first_k_dense_replace=0, tie_word_embeddings=True)],
    "phimoe": [SMALL | dict(intermediate_size=16, num_local_experts=4, sliding_window=None),
               SMALL | dict(intermediate_size=16, num_local_experts=6, attention_bias=True, lm_head_bias=True, router_jitter_noise=0.1, rope_parameters=dict(
                   rope_type="longrope", rope_theta=10000.0, short_factor=[1.0, 1.1, 1.3, 1.6], long_factor=[1.5, 2.0, 3.0, 4.0], short_mscale=1.2, long_mscale=1.3, original_max_position_embeddings=128),
                   max_position_embeddings=256),
               SMALL | dict(intermediate_size=12, num_local_experts=4, sliding_window=13, attention_bias=True, router_jitter_noise=0.3, rms_norm_eps=1e-6, dtype="bfloat16")],
    "gpt2": [dict(vocab_size=V, n_embd=32, n_layer=2, n_head=4, n_positions=128), dict(vocab_size=V, n_embd=24, n_layer=3, n_head=3, n_positions=100, n_inner=40, activation_function="gelu", dtype="float16"),
             dict(vocab_size=V, n_embd=32, n_layer=2, n_head=2, n_positions=96, tie_word_embeddings=False, activation_function="relu", layer_norm_epsilon=1e-6)],
    "gpt_neox": [NEOX | dict(rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.25)),
                 NEOX | dict(use_parallel_residual=False, tie_word_embeddings=True, rope_parameters=dict(rope_type="default", rope_theta=1e5, partial_rotary_factor=1.0), dtype="bfloat16"),
                 NEOX | dict(attention_bias=False, hidden_act="gelu_new", layer_norm_eps=1e-6, rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5))],
    "deepseek_v2": [MLA | dict(q_lora_rank=None, n_shared_experts=2, topk_method="greedy", n_group=1, topk_group=1, first_k_dense_replace=1),
                    MLA | dict(q_lora_rank=12, n_shared_experts=1, topk_method="group_limited_greedy", n_group=3, topk_group=2, routed_scaling_factor=4.0, first_k_dense_replace=0, dtype="bfloat16",
                               rope_parameters=YARN | dict(rope_theta=10000.0, beta_fast=32, beta_slow=1, mscale=0.707, mscale_all_dim=0.707)),
                    MLA | dict(q_lora_rank=None, n_shared_experts=1, topk_method="greedy", n_group=1, topk_group=1, norm_topk_prob=False, routed_scaling_factor=1.0, first_k_dense_replace=1, num_hidden_layers=3,
                               attention_bias=True, tie_word_embeddings=True)],
    "deepseek_v3": [MLA | dict(q_lora_rank=12, n_shared_experts=1, n_group=1, topk_group=1, first_k_dense_replace=1, routed_scaling_factor=2.5),
                    MLA | dict(q_lora_rank=None, n_shared_experts=2, n_group=3, topk_group=2, first_k_dense_replace=0, norm_topk_prob=True, dtype="bfloat16",
                               rope_parameters=YARN | dict(rope_theta=10000.0, mscale=1.0, mscale_all_dim=1.0)),
                    MLA | dict(q_lora_rank=8, n_shared_experts=1, n_group=2, topk_group=1, first_k_dense_replace=2, num_hidden_layers=3, rope_interleave=False, norm_topk_prob=False, attention_bias=True,
                               tie_word_embeddings=True),
                    MLA | dict(q_lora_rank=20, n_routed_experts=4, n_shared_experts=1, n_group=2, topk_group=1, first_k_dense_replace=1, packed="fp8")],
    "bert": [BERT, BERT | dict(type_vocab_size=3, hidden_act="gelu_new", layer_norm_eps=1e-5, dtype="bfloat16"), BERT | dict(num_attention_heads=2, num_hidden_layers=3, hidden_act="relu")],
    "gpt_oss": [OSS, OSS | dict(num_hidden_layers=3, layer_types=["full_attention", "sliding_attention", "full_attention"], sliding_window=9, num_experts_per_tok=1,
                                rope_parameters=dict(rope_type="default", rope_theta=10000.0), dtype="bfloat16"),
                OSS | dict(num_local_experts=6, num_experts_per_tok=3, num_key_value_heads=4, tie_word_embeddings=True, swiglu_limit=1.0),
                OSS | dict(intermediate_size=32, packed="mxfp4")],
}
SCALES = [("norm.weight", 1.0, 0.3), ("layernorm.weight", 1.0, 0.3), ("LayerNorm.weight", 1.0, 0.3), ("ln_1.weight", 1.0, 0.3), ("ln_2.weight", 1.0, 0.3), ("ln_f.weight", 1.0, 0.3), ("embed", 0.0, 1.0), (".wte.", 0.0, 1.0),
          (".wpe.", 0.0, 0.5), ("sinks", 0.0, 2.0), ("_scale_inv", 0.002, 0.001), ("_blocks", 128.0, 128.0), ("_scales", 124.0, 2.99), ("e_score_correction_bias", 0.0, 0.2), (".gate.weight", 0.0, 0.6), (".router.", 0.0, 0.6), (".bias", 0.0, 0.2)]


def listed(shapes, dtype):
    """name -> (dims, base, scale, type) for published tensor names; norms around 1, routers wide enough to have an opinion."""
    out = {}
    for name in sorted(shapes):
        base, scale = next(((b, s) for part, b, s in SCALES if part in name), (0.0, 0.25))
        out[name] = (list(shapes[name]), base, scale, torch.float32 if "correction_bias" in name else dtype)
    return out


BLOCK, FOUR = 16, [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6]


def packed(tensors, how):
    """The list of a checkpoint whose matrices are packed as published files are, and its quantization_config."""
    out = {}
    for name, entry in tensors.items():
        dims = entry[0]
        if how == "fp8" and name.endswith(("_proj.weight", "_with_mqa.weight")):
            out[name] = (dims, 128.0, 128.0, torch.float8_e4m3fn)
            out |= listed({name + "_scale_inv": [-(-d // BLOCK) for d in dims]}, torch.float32)
        elif how == "mxfp4" and name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            experts, cols, rows = dims
            out |= listed({name + "_blocks": [experts, rows, cols // 32, 16], name + "_scales": [experts, rows, cols // 32]}, torch.uint8)
        else:
            out[name] = entry
    return out, dict(quant_method="fp8", fmt="e4m3", weight_block_size=[BLOCK, BLOCK], activation_scheme="dynamic") if how == "fp8" else dict(quant_method="mxfp4")


def unpack(folder):
    """The same weights as plain float32, without quantization_config: what the library computes with."""
    w, out = load_file(os.path.join(folder, "model.safetensors")), {}
    config = json.load(open(os.path.join(folder, "config.json")))
    if not config.pop("quantization_config", None):
        return
    for name, t in w.items():
        if name.endswith(("_scale_inv", "_scales")):
            continue
        if name + "_scale_inv" in w:
            out[name] = t.float() * w[name + "_scale_inv"].repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)[: t.shape[0], : t.shape[1]]
        elif name.endswith("_blocks"):
            x = torch.tensor(FOUR)[torch.stack([t & 15, t >> 4], -1).flatten(-2).long()] * torch.exp2(w[name[:-7] + "_scales"].float() - 127)[..., None]
            out[name[:-7]] = x.flatten(-2).transpose(1, 2).contiguous()
        else:
            out[name] = t.float()
    save_file(out, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
    json.dump(config, open(os.path.join(folder, "config.json"), "w"))


def write(folder, tensors, seed):
    save_file({n: values(seed, n, d, b, s, t) for n, (d, b, s, t) in tensors.items()}, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})


def run(model, ids):
    """Logits of the prompt in one pass and of the rest one by one; experts chosen, as sets in ascending order, [layers][T][K]. Of an encoder: its
    hidden states."""
    if not hasattr(model, "lm_head") and not model.get_output_embeddings():
        with torch.no_grad():
            return model(ids[None]).last_hidden_state[0].float(), None
    seen, hooks = {}, []
    for name, module in model.named_modules():
        def hook(m, args, out, name=name):
            if isinstance(out, tuple):
                for x in out:
                    if torch.is_tensor(x) and x.dtype == torch.int64 and x.dim() == 2:
                        seen.setdefault(name, []).append(x.sort(-1).values)
        hooks.append(module.register_forward_hook(hook))
    with torch.no_grad():
        out = model(ids[None, :PROMPT], use_cache=True)
        logits = [out.logits[0]]
        for t in range(PROMPT, PROMPT + FURTHER):
            out = model(ids[None, t:t + 1], past_key_values=out.past_key_values, use_cache=True)
            logits.append(out.logits[0])
    for h in hooks:
        h.remove()
    layers = [torch.cat(v) for v in seen.values()]
    return torch.cat(logits).float(), torch.stack(layers).int() if layers else None


def auto(family):
    return transformers.AutoModel if family == "bert" else transformers.AutoModelForCausalLM


def oracle(folder, ids):
    """float32 logits and experts of a folder, and how far from float64 they are; None for the experts where float64 chooses others."""
    config = json.load(open(os.path.join(folder, "config.json")))
    if config["model_type"] == "deepseek":
        m = DeepseekV1(config, load_file(os.path.join(folder, "model.safetensors")))
        (logits, a), (exact, b) = (m.forward_all(ids, t) for t in (torch.float32, torch.float64))
        a, b = (torch.stack([x.sort(-1).values for x in c]).int() for c in (a, b))
    else:
        both = []
        for dtype in torch.float32, torch.float64:
            model, info = auto(config["model_type"]).from_pretrained(folder, dtype=dtype, attn_implementation="eager", experts_implementation="eager", output_loading_info=True)
            bad = {k: v for k, v in info.items() if v and not (config["model_type"] == "bert" and all("pooler" in x for x in v))}        # the engine writes no pooler
            assert not bad, (folder, info)
            both.append(run(model.eval(), ids))
        (logits, a), (exact, b) = both
    error = (logits.double() - exact.double()).abs().max().item()
    return logits.float(), a, error, a is None or torch.equal(a, b)


def make(family):
    fixture, meta = {}, {"torch": torch.__version__, "transformers": transformers.__version__}
    for i, keys in enumerate(CASES[family]):
        keys = dict(keys)
        dtype, how = getattr(torch, keys.pop("dtype", "float32")), keys.pop("packed", None)
        for seed in range(100 * i + 1, 100 * i + 99):
            with tempfile.TemporaryDirectory() as folder:
                if family == "deepseek":
                    shapes = DeepseekV1.shapes(keys)
                    json.dump(keys, open(os.path.join(folder, "config.json"), "w"))
                else:
                    config = transformers.AutoConfig.for_model(family, **keys)
                    auto(family).from_config(config).save_pretrained(folder)
                    with safe_open(os.path.join(folder, "model.safetensors"), "pt") as f:
                        shapes = {n: f.get_slice(n).get_shape() for n in f.keys()}
                tensors = listed(shapes, dtype)
                if how:
                    tensors, quantization = packed(tensors, how)
                    config = json.load(open(os.path.join(folder, "config.json"))) | dict(quantization_config=quantization)
                    json.dump(config, open(os.path.join(folder, "config.json"), "w"))
                config = open(os.path.join(folder, "config.json")).read()
                write(folder, tensors, seed)
                unpack(folder)
                ids = torch.from_numpy((uniform(seed, "ids", PROMPT + FURTHER) * V).astype(np.int64))
                logits, experts, error, stable = oracle(folder, ids)
            if stable:
                break
        fixture |= {f"{i}.ids": ids.int(), f"{i}.logits": logits.contiguous()} | ({f"{i}.experts": experts.contiguous()} if experts is not None else {})
        meta[f"{i}.config"], meta[f"{i}.seed"] = json.dumps(json.loads(config)), str(seed)
        meta[f"{i}.tensors"] = "\n".join(f"{n}|{TYPES[t]}|{','.join(map(str, d))}|{b}|{s}" for n, (d, b, s, t) in tensors.items())
        print(f"{family} {i}: seed {seed}, {len(tensors)} tensors, logits to {logits.abs().max():.3g}, float32 is {error:.2g} off float64", flush=True)
        assert error < 5e-5
    os.makedirs(HERE, exist_ok=True)
    save_file(fixture, os.path.join(HERE, family + ".safetensors"), metadata=meta)


def check(folder):
    """Every FAMILY-i that the engine wrote, opened by transformers."""
    for name in sorted(os.listdir(folder)):
        family, i = name.split("+")[-1].rsplit("-", 1)         # "any+" before it: the family that saving picked by itself
        saved = json.load(open(os.path.join(folder, name, "config.json")))["model_type"]
        with safe_open(os.path.join(HERE, family + ".safetensors"), "pt") as f:
            ids, want = f.get_tensor(i + ".ids").long(), f.get_tensor(i + ".logits")
        logits, _, _, _ = oracle(os.path.join(folder, name), ids)
        diff = (logits - want).abs().max().item()
        print(f"{name}: saved as {saved}, logits differ by at most {diff:.2g}", flush=True)
        assert diff < 1e-5


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["--check"]:
        check(sys.argv[2])
    else:
        for family in sys.argv[1:] or CASES:
            make(family)
