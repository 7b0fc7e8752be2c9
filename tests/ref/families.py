"""Logits and chosen experts of tiny models of every family, by transformers' own model code, in float32.

    python tests/ref/families.py [FAMILY...]        writes tests/fixtures/families/FAMILY.safetensors, three models or more each
    python tests/ref/families.py --check DIR        opens what the engine wrote (SY_FAMILIES_OUT=DIR model_test_families) with from_pretrained: no
                                                    missing, no unexpected keys, the fixtures' logits
    python tests/ref/families.py sweep FAMILY... [--count 40] [--seed 1] [--switchyard build/release/switchyard] [--keep DIR]
                                                    random options of the families' configs, each opened by the program too: logits within 2e-4, the
                                                    same experts; options that are not computed are refused by name. --keep: a folder for what differs

A model is its config.json and a list of tensors; their values are uniform numbers of the engine's Philox, keyed by the tensor's name, so that the
test makes the same files from the list and nothing large is stored. Of model i a fixture holds i.ids [96], i.logits [96,V] (64 in one pass, 32
one by one through the cache), i.experts [layers,96,K] where there are some; its metadata i.config and i.tensors (name|type|dims|base|scale). Packed weights (FP8 blocks,
MXFP4) are bytes of the same numbers; the library gets them unpacked here. Every
choice of experts is the same in float64, else another seed is taken: no fixture has a near tie.

Two places where transformers 5.24 is not the reference: under a window of 1 its cache keeps every position (-1 + 1 is 0), so such models are computed in
one pass; and Phi-3.5-MoE beyond its original length takes the long factors, as its makers' code does.
"""
import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import warnings

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
        hd, act, stretch = D // H, transformers.activations.ACT2FN[c["hidden_act"]], (c["rope_scaling"] or {}).get("factor", 1)
        norm = lambda x, g: w[g] * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + c["rms_norm_eps"]))
        angle = torch.outer(torch.arange(n, dtype=dtype) / stretch, 1 / c["rope_theta"] ** (torch.arange(0, hd, 2, dtype=dtype) / hd))
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
                DENSE | dict(sliding_window=40, num_key_value_heads=4, tie_word_embeddings=True, hidden_act="gelu_pytorch_tanh", dtype="float16"),
                DENSE | dict(sliding_window=1, num_hidden_layers=1)],
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
               SMALL | dict(intermediate_size=12, num_local_experts=4, sliding_window=13, attention_bias=True, router_jitter_noise=0.3, rms_norm_eps=1e-6, dtype="bfloat16"),
               SMALL | dict(intermediate_size=12, num_local_experts=4, num_hidden_layers=1, max_position_embeddings=256, rope_parameters=dict(          # crosses the original length
                   rope_type="longrope", rope_theta=10000.0, short_factor=[1.0, 1.1, 1.3, 1.6], long_factor=[1.5, 2.0, 3.0, 4.0], short_mscale=1.1, long_mscale=1.3, original_max_position_embeddings=80))],
    "gpt2": [dict(vocab_size=V, n_embd=32, n_layer=2, n_head=4, n_positions=128), dict(vocab_size=V, n_embd=24, n_layer=3, n_head=3, n_positions=100, n_inner=40, activation_function="gelu", dtype="float16"),
             dict(vocab_size=V, n_embd=32, n_layer=2, n_head=2, n_positions=96, tie_word_embeddings=False, activation_function="relu", layer_norm_epsilon=1e-6),
             dict(vocab_size=V, n_embd=20, n_layer=3, n_head=4, n_positions=96, n_inner=24, scale_attn_weights=False, scale_attn_by_inverse_layer_idx=True, reorder_and_upcast_attn=True)],
    "gpt_neox": [NEOX | dict(rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.25)),
                 NEOX | dict(use_parallel_residual=False, tie_word_embeddings=True, rope_parameters=dict(rope_type="default", rope_theta=1e5, partial_rotary_factor=1.0), dtype="bfloat16"),
                 NEOX | dict(attention_bias=False, hidden_act="gelu_new", layer_norm_eps=1e-6, rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5)),
                 NEOX | dict(hidden_size=40, num_hidden_layers=1, rope_parameters=dict(rope_type="linear", factor=2.0, rope_theta=100.0, partial_rotary_factor=0.3))],          # 3 of 10 values: two pairs
    "deepseek_v2": [MLA | dict(q_lora_rank=None, n_shared_experts=2, topk_method="greedy", n_group=1, topk_group=1, first_k_dense_replace=1),
                    MLA | dict(q_lora_rank=12, n_shared_experts=1, topk_method="group_limited_greedy", n_group=3, topk_group=2, routed_scaling_factor=4.0, first_k_dense_replace=0, dtype="bfloat16",
                               rope_parameters=YARN | dict(rope_theta=10000.0, beta_fast=32, beta_slow=1, mscale=0.707, mscale_all_dim=0.707)),
                    MLA | dict(q_lora_rank=None, n_shared_experts=1, topk_method="greedy", n_group=1, topk_group=1, norm_topk_prob=False, routed_scaling_factor=1.0, first_k_dense_replace=1, num_hidden_layers=3,
                               attention_bias=True, tie_word_embeddings=True),
                    MLA | dict(q_lora_rank=10, n_shared_experts=2, topk_method="greedy", n_group=1, topk_group=1, first_k_dense_replace=1, mlp_bias=True,
                               rope_parameters=dict(rope_type="linear", factor=4.0, rope_theta=10000.0, mscale_all_dim=1.0))],
    "deepseek_v3": [MLA | dict(q_lora_rank=12, n_shared_experts=1, n_group=1, topk_group=1, first_k_dense_replace=1, routed_scaling_factor=2.5),
                    MLA | dict(q_lora_rank=None, n_shared_experts=2, n_group=3, topk_group=2, first_k_dense_replace=0, norm_topk_prob=True, dtype="bfloat16",
                               rope_parameters=YARN | dict(rope_theta=10000.0, mscale=1.0, mscale_all_dim=1.0)),
                    MLA | dict(q_lora_rank=8, n_shared_experts=1, n_group=2, topk_group=1, first_k_dense_replace=2, num_hidden_layers=3, rope_interleave=False, norm_topk_prob=False, attention_bias=True,
                               tie_word_embeddings=True),
                    MLA | dict(q_lora_rank=20, n_routed_experts=4, n_shared_experts=1, n_group=2, topk_group=1, first_k_dense_replace=1, packed="fp8"),
                    MLA | dict(q_lora_rank=None, n_shared_experts=1, n_group=1, topk_group=1, first_k_dense_replace=0, norm_topk_prob=None, rope_interleave=None,
                               rope_parameters=dict(rope_type="dynamic", factor=4.0, rope_theta=10000.0, mscale_all_dim=0.7))],
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


def long_factors():
    """The rotation of Phi-3.5-MoE by its makers' rule."""
    def forward(self, x, position_ids=None):
        p, n = self.config.rope_parameters, int(position_ids.max()) + 1
        inv_freq, scale = self.rope_init_fn(self.config, seq_len=n)
        if p["rope_type"] != "default":
            scale = p["long_mscale" if n > p["original_max_position_embeddings"] else "short_mscale"]
        angle = torch.cat([position_ids[..., None].float() * inv_freq] * 2, dim=-1)
        return (angle.cos() * scale).to(x.dtype), (angle.sin() * scale).to(x.dtype)
    from transformers.models.phimoe.modeling_phimoe import PhimoeRotaryEmbedding
    PhimoeRotaryEmbedding.forward = forward


def makers_weights():
    """The router of DeepSeek-V2 by its makers' rule: chosen weights are divided by their sum, or else multiplied by the factor."""
    from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2Moe, DeepseekV2TopkRouter
    theirs, make = DeepseekV2TopkRouter.forward, DeepseekV2Moe.__init__

    def forward(self, hidden_states):
        z, w, which = theirs(self, hidden_states)
        return z, w / w.sum(-1, keepdim=True) if self.norm_topk_prob and self.top_k > 1 else w, which

    def init(self, config):
        make(self, config)
        self.gate.norm_topk_prob = config.norm_topk_prob
    DeepseekV2TopkRouter.forward, DeepseekV2Moe.__init__ = forward, init


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
        prompt = PROMPT + FURTHER if getattr(model.config, "sliding_window", None) == 1 else PROMPT
        out = model(ids[None, :prompt], use_cache=True)
        logits = [out.logits[0]]
        for t in range(prompt, PROMPT + FURTHER):
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
        a, b = (torch.stack([x.sort(-1).values for x in c]).int() if c else None for c in (a, b))
    else:
        both = []
        for dtype in torch.float32, torch.float64:
            own = dict(reorder_and_upcast_attn=False) if dtype == torch.float64 and config["model_type"] == "gpt2" else {}            # it casts to float32, which is the point of the other run
            model, info = auto(config["model_type"]).from_pretrained(folder, dtype=dtype, attn_implementation="eager", experts_implementation="eager", output_loading_info=True, **own)
            bad = {k: v for k, v in info.items() if v and not (config["model_type"] == "bert" and all("pooler" in x for x in v))}        # the engine writes no pooler
            assert not bad, (folder, info)
            both.append(run(model.eval(), ids))
        (logits, a), (exact, b) = both
    error = (logits.double() - exact.double()).abs().max().item()
    return logits.float(), a, error, a is None or torch.equal(a, b)


def checkpoint(folder, family, keys, seed, change=lambda config: None):
    """Writes a model's folder, as the engine reads it; its list of tensors and its ids."""
    keys = dict(keys)
    dtype, how = getattr(torch, keys.pop("dtype", "float32")), keys.pop("packed", None)
    at = os.path.join(folder, "config.json")
    if family == "deepseek":
        shapes, config = DeepseekV1.shapes(keys), keys
    else:
        auto(family).from_config(transformers.AutoConfig.for_model(family, **keys)).save_pretrained(folder)
        with safe_open(os.path.join(folder, "model.safetensors"), "pt") as f:
            shapes = {n: f.get_slice(n).get_shape() for n in f.keys()}
        config = json.load(open(at))
    tensors = listed(shapes, dtype)
    if how:
        tensors, config["quantization_config"] = packed(tensors, how)
    change(config)
    json.dump(config, open(at, "w"))
    write(folder, tensors, seed)
    return tensors, torch.from_numpy((uniform(seed, "ids", PROMPT + FURTHER) * config["vocab_size"]).astype(np.int64))


def make(family):
    fixture, meta = {}, {"torch": torch.__version__, "transformers": transformers.__version__}
    for i, keys in enumerate(CASES[family]):
        for seed in range(100 * i + 1, 100 * i + 99):
            with tempfile.TemporaryDirectory() as folder:
                tensors, ids = checkpoint(folder, family, keys, seed)
                config = json.load(open(os.path.join(folder, "config.json")))
                unpack(folder)
                logits, experts, error, stable = oracle(folder, ids)
            if stable:
                break
        fixture |= {f"{i}.ids": ids.int(), f"{i}.logits": logits.contiguous()} | ({f"{i}.experts": experts.contiguous()} if experts is not None else {})
        meta[f"{i}.config"], meta[f"{i}.seed"] = json.dumps(config), str(seed)
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


# --- sweeps over random options ------------------------------------------------------------------------------------------------

ACTS = ["silu", "swish", "gelu", "gelu_python", "gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_python_tanh", "gelu_accurate", "relu", "relu2"]


def rotation(r, width, positions, kinds=("default", "linear", "dynamic", "llama3", "yarn", "longrope"), partial=None):
    """Random rope_parameters of a head of `width`; partial: shares of it that may turn."""
    p = dict(rope_type=r.choice(kinds), rope_theta=r.choice([100.0, 10000.0, 10000, 5e5, 1e6]))
    kind = p["rope_type"]
    if partial:
        fits = [x for x in partial if int(width * x) >= (3 if kind == "dynamic" else 1) and not (kind == "yarn" and int(width * x) % 2)]
        if not fits:
            return rotation(r, width, positions, kinds, partial)
        p["partial_rotary_factor"] = r.choice(fits)
    turning = int(width * p.get("partial_rotary_factor", 1))
    if kind in ("linear", "dynamic", "llama3", "yarn"):
        p["factor"] = r.choice([1.0, 1.5, 2.0, 4.0, 8.0, 40.0])
    if kind in ("llama3", "yarn", "longrope") and r.random() < 0.8:
        p["original_max_position_embeddings"] = r.choice([16, 50, 64, 70, 95, 96, 200])
    if kind == "llama3":
        p |= dict(low_freq_factor=r.choice([1.0, 0.5, 2.0]), high_freq_factor=r.choice([4.0, 8.0, 3.0]))
    if kind == "yarn":
        for key, choices in dict(beta_fast=[32, 16.0, 4], beta_slow=[1, 0.5, 2], attention_factor=[1.0, 1.3], mscale=[0.707, 1.0, 2.0], mscale_all_dim=[0.707, 1.0, 0.5], truncate=[True, False]).items():
            if r.random() < 0.4:
                p[key] = r.choice(choices)
    if kind == "longrope":
        pairs = (turning + 1) // 2
        p |= dict(short_factor=[round(r.uniform(1, 2), 3) for _ in range(pairs)], long_factor=[round(r.uniform(1, 6), 3) for _ in range(pairs)])
        for key, choices in dict(factor=[1.0, 4.0, 32.0], attention_factor=[1.0, 1.25]).items():
            if r.random() < 0.4:
                p[key] = r.choice(choices)
    return p


def some(r, **choices):
    """Each key with one of its values, or left to the class's default."""
    return {k: r.choice(v) for k, v in choices.items() if r.random() < 0.75}


def decoder(r, widths=(4, 6, 8, 10, 12, 16), own_width=True):
    """Sizes that all decoders share; head_dim by itself where the family has the key."""
    heads, width = r.choice([1, 2, 3, 4, 6]), r.choice(widths)
    keys = dict(vocab_size=r.choice([17, 40, 64, 128]), num_hidden_layers=r.choice([1, 2, 3]), num_attention_heads=heads, hidden_size=heads * width, max_position_embeddings=r.choice([96, 100, 128, 512]),
                dtype=r.choice(["float32", "float32", "bfloat16", "float16"]))
    if own_width and r.random() < 0.5:
        keys |= dict(hidden_size=r.choice([20, 24, 30, 32]), head_dim=width)
    return keys, width


def random_mistral(r):
    keys, width = decoder(r)
    keys |= dict(intermediate_size=r.choice([16, 24, 40, 41]), num_key_value_heads=r.choice([n for n in (1, 2, 3, 4, 6) if keys["num_attention_heads"] % n == 0]),
                 sliding_window=r.choice([None, 1, 1, 1, 2, 3, 8, 63, 64, 65, 96, 97]))
    if r.random() < 0.7:
        keys["rope_parameters"] = rotation(r, width, keys["max_position_embeddings"])
    return keys | some(r, hidden_act=ACTS, rms_norm_eps=[1e-6, 1e-5, 1e-3], tie_word_embeddings=[True, False], attention_dropout=[0.1])


def random_phimoe(r):
    keys, width = decoder(r)
    keys |= dict(intermediate_size=r.choice([8, 12, 16, 17]), num_key_value_heads=r.choice([n for n in (1, 2, 3, 4, 6) if keys["num_attention_heads"] % n == 0]), num_local_experts=r.choice([2, 3, 4, 6, 9, 16]),
                 sliding_window=r.choice([None, None, 1, 2, 13, 64, 96, 200]))
    if r.random() < 0.8:
        p = keys["rope_parameters"] = rotation(r, width, keys["max_position_embeddings"], ("default", "longrope", "longrope"))
        if p["rope_type"] == "longrope":
            p |= dict(short_mscale=r.choice([1.0, 1.2, 1.243163121016122]), long_mscale=r.choice([1.0, 1.3, 1.243163121016122]))
    return keys | some(r, hidden_act=ACTS, rms_norm_eps=[1e-6, 1e-5, 1e-3], tie_word_embeddings=[True, False], attention_bias=[True, False], lm_head_bias=[True, False],
                       router_jitter_noise=[0.0, 0.01, 0.1, 0.5], input_jitter_noise=[0.0, 0.1], router_aux_loss_coef=[0.0, 0.01], num_experts_per_tok=[2])


def random_gpt2(r):
    heads = r.choice([1, 2, 3, 4, 6])
    keys = dict(vocab_size=r.choice([17, 40, 64, 128]), n_layer=r.choice([1, 2, 3, 4]), n_head=heads, n_embd=heads * r.choice([4, 5, 7, 8, 12]), n_positions=r.choice([96, 100, 128]),
                dtype=r.choice(["float32", "float32", "bfloat16", "float16"]))
    return keys | some(r, n_inner=[None, 16, 33, 40, 4 * keys["n_embd"]], activation_function=ACTS, layer_norm_epsilon=[1e-5, 1e-6, 1e-3], scale_attn_weights=[True, False], scale_attn_by_inverse_layer_idx=[True, False],
                       reorder_and_upcast_attn=[True, False], tie_word_embeddings=[True, False], attn_pdrop=[0.0], summary_type=["mean"], summary_use_proj=[False])


def random_gpt_neox(r):
    keys, width = decoder(r, (4, 5, 6, 8, 10, 12, 14, 16), own_width=False)
    keys["intermediate_size"] = r.choice([16, 24, 48, 50])
    shares = (0.25, 0.3, 0.4, 0.5, 0.75) if width % 2 else (0.25, 0.3, 0.4, 0.5, 0.75, 1.0)
    if r.random() < 0.85:
        keys["rope_parameters"] = rotation(r, width, keys["max_position_embeddings"], partial=shares)
    return keys | some(r, hidden_act=ACTS, layer_norm_eps=[1e-5, 1e-6, 1e-3], tie_word_embeddings=[True, False], use_parallel_residual=[True, False], attention_bias=[True, False], hidden_dropout=[0.1],
                       is_decoder=[True])


def random_bert(r):
    heads = r.choice([1, 2, 3, 4, 6])
    keys = dict(vocab_size=r.choice([17, 40, 64, 128]), num_hidden_layers=r.choice([1, 2, 3, 4]), num_attention_heads=heads, hidden_size=heads * r.choice([4, 5, 7, 8, 12]), intermediate_size=r.choice([16, 33, 40]),
                max_position_embeddings=r.choice([96, 100, 512]), dtype=r.choice(["float32", "float32", "bfloat16", "float16"]))
    return keys | some(r, hidden_act=ACTS, layer_norm_eps=[1e-12, 1e-6, 1e-5, 1e-3], type_vocab_size=[1, 2, 3], pad_token_id=[0, 3, None], chunk_size_feed_forward=[0, 1], use_cache=[False],
                       classifier_dropout=[0.2], tie_word_embeddings=[False])


SWEEPS = {f.__name__[7:]: f for f in (random_mistral, random_phimoe, random_gpt2, random_gpt_neox, random_bert)}


def heads_of(r, keys):
    return r.choice([n for n in (1, 2, 3, 4, 6) if keys["num_attention_heads"] % n == 0])


def grouped(r, least=1):
    """n_routed_experts, n_group, topk_group and num_experts_per_tok that fit each other; `least` experts in a group."""
    groups, each = r.choice([1, 1, 2, 3, 4]), r.choice([n for n in (1, 2, 3, 4) if n >= least])
    kept = r.randint(1, groups)
    return dict(n_routed_experts=groups * each, n_group=groups, topk_group=kept, num_experts_per_tok=r.randint(1, min(4, kept * each)))


def sparse_layers(r, keys):
    return dict(intermediate_size=r.choice([16, 24, 40, 41]), moe_intermediate_size=r.choice([8, 12, 16, 17]), n_shared_experts=r.choice([1, 2, 3]),
                first_k_dense_replace=r.choice([0, 0, 1, keys["num_hidden_layers"] - 1]))


def latent(r):
    """Sizes of latent attention. A rotation of any kind may come with mscale_all_dim, which counts in the scores under all of them."""
    keys, _ = decoder(r, own_width=False)
    turning = r.choice([2, 4, 6, 8])
    keys |= dict(num_key_value_heads=keys["num_attention_heads"], q_lora_rank=r.choice([None, None, 6, 12, 20]), kv_lora_rank=r.choice([4, 8, 16, 17]), qk_nope_head_dim=r.choice([1, 4, 7, 8]),
                 qk_rope_head_dim=turning, v_head_dim=r.choice([1, 5, 6, 8, 12]))
    kinds = ("default", "linear", "llama3", "yarn", "yarn", "yarn", "longrope") + ("dynamic",) * (turning > 2)
    if r.random() < 0.85:
        p = keys["rope_parameters"] = rotation(r, turning, keys["max_position_embeddings"], kinds)
        if "factor" not in p:
            p.pop("mscale_all_dim", None)
        elif r.random() < 0.3:
            p["mscale_all_dim"] = r.choice([0.707, 1.0, 2.0])
    return keys | sparse_layers(r, keys) | some(r, hidden_act=ACTS, rms_norm_eps=[1e-6, 1e-5, 1e-2], tie_word_embeddings=[True, False], attention_bias=[True, False], routed_scaling_factor=[1.0, 2.5, 16.0, 0.5],
                                                norm_topk_prob=[True, False])


def random_deepseek_v2(r):
    keys = latent(r)
    keys |= grouped(r) | some(r, mlp_bias=[True, False])
    for odd in "kv_lora_rank", "qk_nope_head_dim":               # complex numbers are views of pairs there
        keys[odd] += keys[odd] % 2
    keys["topk_method"] = r.choice(["greedy", "group_limited_greedy", "group_limited_greedy"])
    if keys["topk_method"] == "greedy":
        keys |= dict(num_experts_per_tok=r.randint(1, min(4, keys["n_routed_experts"]))) | r.choice([{}, dict(n_group=None, topk_group=None)])
    return keys


def random_deepseek_v3(r):
    keys = latent(r) | grouped(r, 2) | some(r, rope_interleave=[True, False, None])
    if r.random() < 0.1:
        keys["norm_topk_prob"] = None
    return keys


def random_deepseek(r):
    keys, _ = decoder(r, own_width=False)
    keys |= dict(V1) | keys | sparse_layers(r, keys) | dict(num_key_value_heads=heads_of(r, keys), n_routed_experts=r.choice([2, 4, 6, 9]), moe_layer_freq=r.choice([1, 1, 2, 3]))
    keys |= dict(num_experts_per_tok=r.randint(1, min(4, keys["n_routed_experts"])), n_shared_experts=r.choice([None, 1, 2, 3]), first_k_dense_replace=r.choice([0, 0, 1]), norm_topk_prob=r.choice([True, False]),
                 hidden_act=r.choice(ACTS), rms_norm_eps=r.choice([1e-6, 1e-5, 1e-3]), rope_theta=r.choice([10000.0, 100.0, 1e6]), attention_bias=r.choice([True, False]), tie_word_embeddings=r.choice([True, False]))
    if keys["num_hidden_layers"] > 1 and r.random() < 0.3:
        keys["rope_scaling"] = dict(type="linear", factor=r.choice([2.0, 4.0]))
    return keys


def random_gpt_oss(r):
    keys, width = decoder(r)
    experts = r.choice([2, 3, 4, 6, 8])
    keys |= dict(head_dim=keys.get("head_dim", width), num_key_value_heads=heads_of(r, keys), intermediate_size=r.choice([8, 16, 17]), num_local_experts=experts, num_experts_per_tok=r.randint(1, min(4, experts)),
                 sliding_window=r.choice([1, 2, 3, 12, 63, 64, 65, 96, 200]))
    if r.random() < 0.5:
        keys["layer_types"] = [r.choice(["full_attention", "sliding_attention"]) for _ in range(keys["num_hidden_layers"])]
    if r.random() < 0.8:
        keys["rope_parameters"] = rotation(r, width, keys["max_position_embeddings"])
    if r.random() < 0.2:
        keys |= dict(hidden_size=32, intermediate_size=32, packed="mxfp4")
    return keys | some(r, rms_norm_eps=[1e-6, 1e-5, 1e-3], tie_word_embeddings=[True, False], attention_bias=[True, False], swiglu_limit=[7.0, 1.0, 0.3, 100.0], swiglu_alpha=[1.702, 1.0, 0.5], router_aux_loss_coef=[0.0, 0.01])


def random_glm4_moe(r):
    keys, width = decoder(r, (8, 10, 12, 14, 16))
    if r.random() < 0.8:
        keys["rope_parameters"] = rotation(r, width, keys["max_position_embeddings"], partial=(0.25, 0.3, 0.5, 0.75, 1.0))
    return keys | sparse_layers(r, keys) | grouped(r, 2) | dict(num_key_value_heads=heads_of(r, keys)) | some(r, hidden_act=ACTS, rms_norm_eps=[1e-6, 1e-5, 1e-3], tie_word_embeddings=[True, False],
                                                                                                           attention_bias=[True, False], routed_scaling_factor=[1.0, 2.5, 0.5], norm_topk_prob=[True, False], use_qk_norm=[True, False])


def random_granitemoe(r):
    keys, width = decoder(r)
    experts = r.choice([2, 3, 4, 6, 9])
    if r.random() < 0.8:
        keys["rope_parameters"] = rotation(r, width, keys["max_position_embeddings"])
    return keys | dict(num_key_value_heads=heads_of(r, keys), intermediate_size=r.choice([8, 16, 17]), num_local_experts=experts, num_experts_per_tok=r.randint(1, min(4, experts))) | some(
        r, hidden_act=ACTS, rms_norm_eps=[1e-6, 1e-5, 1e-3], tie_word_embeddings=[True, False], attention_bias=[True, False], embedding_multiplier=[1.0, 3.0, 12], residual_multiplier=[1.0, 0.22],
        attention_multiplier=[1.0, 0.1, 0.015625], logits_scaling=[1.0, 6.0, 0.5], router_aux_loss_coef=[0.0, 0.01])


def turned(r, keys, width):
    """The keys with random rope_parameters, most of the time."""
    return keys | (dict(rope_parameters=rotation(r, width, keys["max_position_embeddings"])) if r.random() < 0.8 else {})


def windows(r, keys, layered=True):
    """Sliding windows as Qwen's configs say them."""
    if r.random() < 0.5:
        return some(r, use_sliding_window=[False], sliding_window=[None, 5])
    out = dict(use_sliding_window=True, sliding_window=r.choice([1, 2, 5, 63, 64, 65, 96, 200]))
    if layered and r.random() < 0.6:
        out |= r.choice([dict(max_window_layers=r.randint(0, keys["num_hidden_layers"])), dict(layer_types=[r.choice(["full_attention", "sliding_attention"]) for _ in range(keys["num_hidden_layers"])])])
    return out


COMMON = dict(hidden_act=ACTS, rms_norm_eps=[1e-6, 1e-5, 1e-3], tie_word_embeddings=[True, False], attention_dropout=[0.1])
AUX = dict(router_aux_loss_coef=[0.0, 0.01], norm_topk_prob=[True, False])


def experts_of(r, name="num_experts", least=1):
    n = r.choice([2, 3, 4, 6, 9])
    return {name: n, "num_experts_per_tok": r.randint(least, min(4, n))}


def stepped(r, keys):
    """Which layers are sparse."""
    layers = range(keys["num_hidden_layers"])
    return some(r, decoder_sparse_step=[1, 1, 2, 3], mlp_only_layers=[[], None, [0], r.sample(layers, r.randint(0, len(layers)))])


def random_llama(r):
    keys, width = decoder(r, own_width=False)
    if r.random() < 0.5:
        width = keys["head_dim"] = r.choice([4, 6, 10, 16])
    keys |= dict(intermediate_size=r.choice([16, 24, 40, 41]), num_key_value_heads=heads_of(r, keys))
    return turned(r, keys, width) | some(r, attention_bias=[True, False], mlp_bias=[True, False], pretraining_tp=[1], **COMMON)


def random_qwen2(r):
    keys, width = decoder(r, own_width=False)
    keys |= dict(intermediate_size=r.choice([16, 24, 40, 41]), num_key_value_heads=heads_of(r, keys))
    return turned(r, keys, width) | windows(r, keys) | some(r, **COMMON)


def random_qwen3(r):
    keys, width = decoder(r)
    keys |= dict(intermediate_size=r.choice([16, 24, 40, 41]), num_key_value_heads=heads_of(r, keys), head_dim=keys.get("head_dim", width))
    return turned(r, keys, width) | windows(r, keys) | some(r, attention_bias=[True, False], **COMMON)


def random_mixtral(r):
    keys, width = decoder(r)
    keys |= dict(head_dim=keys.get("head_dim", width)) if r.random() < 0.8 else {}             # without it transformers takes no rotation but the plain one
    keys |= dict(intermediate_size=r.choice([8, 16, 17]), num_key_value_heads=heads_of(r, keys), sliding_window=r.choice([None, None, 1, 9, 64, 96, 200])) | experts_of(r, "num_local_experts")
    return (turned(r, keys, width) if "head_dim" in keys else keys) | some(r, router_aux_loss_coef=[0.0, 0.01], router_jitter_noise=[0.0, 0.1], **COMMON)


def random_qwen2_moe(r):
    keys, width = decoder(r, own_width=False)
    keys |= dict(intermediate_size=r.choice([16, 40, 41]), moe_intermediate_size=r.choice([8, 12, 17]), shared_expert_intermediate_size=r.choice([8, 20, 21]), num_key_value_heads=heads_of(r, keys)) | experts_of(r)
    return turned(r, keys, width) | windows(r, keys) | stepped(r, keys) | some(r, qkv_bias=[True, False], **COMMON, **AUX)


def random_qwen3_moe(r):
    keys, width = decoder(r)
    keys |= dict(intermediate_size=r.choice([16, 40, 41]), moe_intermediate_size=r.choice([8, 12, 17]), num_key_value_heads=heads_of(r, keys), head_dim=keys.get("head_dim", width)) | experts_of(r)
    return turned(r, keys, width) | windows(r, keys, layered=False) | stepped(r, keys) | some(r, attention_bias=[True, False], **COMMON, **AUX)


def random_olmoe(r):
    keys, width = decoder(r, own_width=False)
    keys |= dict(intermediate_size=r.choice([8, 16, 17]), num_key_value_heads=heads_of(r, keys)) | experts_of(r)
    return turned(r, keys, width) | some(r, attention_bias=[True, False], clip_qkv=[None, 0.5, 1.5, 8.0], **COMMON, **AUX)


SWEEPS |= {f.__name__[7:]: f for f in (random_deepseek_v2, random_deepseek_v3, random_deepseek, random_gpt_oss, random_glm4_moe, random_granitemoe, random_llama, random_qwen2, random_qwen3,
                                          random_mixtral, random_qwen2_moe, random_qwen3_moe, random_olmoe)}


def older(r, config):
    """config.json as transformers 4 spelled it, half of the time."""
    p = config.get("rope_parameters")
    if not p or r.random() < 0.5:
        return
    config.pop("rope_parameters")
    neox = config["model_type"] == "gpt_neox"
    config["rotary_emb_base" if neox else "rope_theta"] = p.pop("rope_theta")
    if "partial_rotary_factor" in p:
        config["rotary_pct" if neox else "partial_rotary_factor"] = p.pop("partial_rotary_factor")
    if r.random() < 0.5:
        p["type"] = p.pop("rope_type")
    config["rope_scaling"] = p if set(p) - {"type", "rope_type"} else None
    if "original_max_position_embeddings" in p and config["model_type"] != "phimoe" and r.random() < 0.5:
        config["original_max_position_embeddings"] = p.pop("original_max_position_embeddings")


def computed(program, folder, ids, experts, prompt=PROMPT):
    """What the program computes of a folder: logits and experts, or its refusal."""
    ids_at, out = os.path.join(folder, "ids.txt"), os.path.join(folder, "out.safetensors")
    open(ids_at, "w").write(" ".join(map(str, ids.tolist())))
    done = subprocess.run([program, "logits", folder, "--ids", ids_at, "-o", out, "--prefill", str(prompt), "--quiet"] + ["--routes"] * (experts is not None), capture_output=True, text=True)
    if done.returncode:
        return None, None, done.stderr.strip()
    got = load_file(out)
    return got["logits"], got["experts"].sort(-1).values if experts is not None else None, None


def embedded(program, folder, ids, cls):
    """What `switchyard embed` gives of every beginning of the ids: first or mean rows, as they are."""
    pooling = os.path.join(folder, "1_Pooling")
    os.makedirs(pooling, exist_ok=True)
    json.dump(dict(word_embedding_dimension=0, pooling_mode_cls_token=cls, pooling_mode_mean_tokens=not cls), open(os.path.join(pooling, "config.json"), "w"))
    json.dump([dict(idx=0, name="0", path="", type="sentence_transformers.models.Transformer"), dict(idx=1, name="1", path="1_Pooling", type="sentence_transformers.models.Pooling")],
              open(os.path.join(folder, "modules.json"), "w"))
    out = os.path.join(folder, "out.safetensors")
    lines = "".join(" ".join(map(str, ids[:n].tolist())) + "\n" for n in range(1, len(ids) + 1))
    done = subprocess.run([program, "embed", folder, "--ids", "-o", out, "--quiet"], input=lines, capture_output=True, text=True)
    return (None, done.stderr.strip()) if done.returncode else (load_file(out)["embeddings"], None)


def sweep_encoder(program, folder, ids):
    """Largest difference of a hidden state: of the first of each beginning of the ids, and of their sums (means times lengths)."""
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        hidden = [model(ids[None, :n]).last_hidden_state[0] for n in range(1, len(ids) + 1)]
    first, why = embedded(program, folder, ids, True)
    mean, why = embedded(program, folder, ids, False) if why is None else (None, why)
    if why:
        return None, why
    n = torch.arange(1, len(ids) + 1)[:, None]
    sums = (mean * n - torch.stack([h.sum(0) for h in hidden])).abs().max().item()
    return max((first - torch.stack([h[0] for h in hidden])).abs().max().item(), sums), None


def other_ways(program, folder, ids, logits, experts):
    """The same model in one pass, latent attention without its short way of decoding, and written by the program: what differs, or None."""
    config = json.load(open(os.path.join(folder, "config.json")))
    turn = config.get("rope_parameters") or config.get("rope_scaling") or {}
    by_length = turn.get("rope_type", turn.get("type")) in ("dynamic", "longrope")           # there keys keep the turn of the pass that made them
    got, chosen, why = (logits, experts, None) if by_length else computed(program, folder, ids, experts, len(ids))
    if why or (got - logits).abs().max() > 2e-4 or (experts is not None and not torch.equal(chosen, experts)):
        return why or "in one pass it differs"
    if experts is not None or not any("experts" in key for key in config):         # a family of mixtures cannot say a model without sparse layers
        out = folder + "-written"
        shutil.rmtree(out, ignore_errors=True)
        done = subprocess.run([program, "convert", folder, out, "--quiet"], capture_output=True, text=True)
        if done.returncode:
            return "convert: " + done.stderr.strip()
        if json.load(open(os.path.join(out, "config.json")))["model_type"] not in ("switchyard", "deepseek"):
            model, info = transformers.AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager", output_loading_info=True)
            bad = {k: v for k, v in info.items() if v}
            if bad or (run(model.eval(), ids)[0] - logits).abs().max() > 1e-5 * max(1, logits.abs().max()):         # gelu_python is written as gelu: other roundings
                return f"as the program writes it, transformers gives other logits {bad}"
        elif config["model_type"] != "deepseek":
            return "the program wrote another family"
    if config.get("kv_lora_rank"):
        own = folder + "-own"
        shutil.rmtree(own, ignore_errors=True)
        done = subprocess.run([program, "convert", folder, own, "--family", "switchyard", "--quiet"], capture_output=True, text=True)
        if done.returncode:
            return "convert --family switchyard: " + done.stderr.strip()
        at = os.path.join(own, "config.json")
        spec = json.load(open(at)) | dict(mla_absorb=False)
        json.dump(spec, open(at, "w"))
        for rest in "SHA256SUMS", "ledger.json":
            if os.path.exists(os.path.join(own, rest)):
                os.remove(os.path.join(own, rest))
        got, _, why = computed(program, own, ids, experts)
        if why or (got - logits).abs().max() > 2e-4:
            return "without mla_absorb: " + (why or f"logits differ by {(got - logits).abs().max():.3g}")
    return None


def sweep_one(program, family, keys, r, folder):
    """(difference, None), or (None, what is wrong)."""
    state = r.getstate()
    for seed in range(1, 30):
        r.setstate(state)
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        _, ids = checkpoint(folder, family, keys, seed, lambda config: older(r, config))
        if family == "bert":
            off, why = sweep_encoder(program, folder, ids)
            return (off, None) if off is not None and off < 2e-4 else (None, why or f"hidden states differ by {off:.3g}")
        plain = folder + "-plain"
        shutil.rmtree(plain, ignore_errors=True)
        shutil.copytree(folder, plain)
        unpack(plain)
        logits, experts, error, stable = oracle(plain, ids)
        if stable and error < 5e-5:          # else a near tie, or numbers too large for float32
            break
    else:
        return None, "no weights without near ties"
    got, chosen, why = computed(program, folder, ids, experts)
    if why:
        return None, why
    off = (got - logits).abs().max().item()
    if experts is not None and not torch.equal(chosen, experts):
        return None, f"{(chosen != experts).any(-1).sum()} tokens have other experts; logits differ by {off:.3g}"
    if off < 2e-4 and (why := other_ways(program, folder, ids, logits, experts)):
        return None, why
    return (off, None) if off < 2e-4 else (None, f"logits differ by {off:.3g}")


# --- inner tensors ----------------------------------------------------------------------------------------------------------------


def inner(folder, ids):
    """What every module gives for every id, rows by ids, and the routers' weights and choices by ascending expert; modules that do not give a row an id."""
    family = json.load(open(os.path.join(folder, "config.json")))["model_type"]
    model = auto(family).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager").eval()
    seen, routes, others = {}, [], set()

    def hook(module, args, out, name):
        outs = out if isinstance(out, tuple) else (out,)
        x = next((x for x in outs if torch.is_tensor(x)), None)
        if x is None or name in seen or x.numel() % len(ids) or len(ids) not in x.shape[:3] or "rotary" in name:
            others.add(name)
            return
        seen[name] = x.detach().reshape(len(ids), -1).float().clone()                   # clip_qkv is done in place
        chosen = next((x for x in outs if torch.is_tensor(x) and x.dtype == torch.int64 and x.dim() == 2), None)
        if chosen is not None:
            weights = next(x for x in reversed(outs) if torch.is_tensor(x) and x.is_floating_point() and x.shape == chosen.shape)
            order = chosen.argsort(-1)
            routes.append((chosen.gather(1, order), weights.gather(1, order)))
    for name, module in model.named_modules():
        if name:
            module.register_forward_hook(lambda m, a, o, name=name: hook(m, a, o, name))
    with torch.no_grad():
        model(ids[None], use_cache=False)
    return seen, routes, sorted(others - set(seen))


def general(names):
    return sorted({re.sub(r"\.\d+", ".{l}", n) for n in names})


def dump(family, program):
    """Every inner tensor that the program names as transformers does, of two models of a family: in one pass, and behind a cache."""
    worst, at, count, ours, theirs = 0, "", 0, set(), set()
    for i, keys in enumerate(CASES[family]):
        if "packed" in keys:
            continue
        with tempfile.TemporaryDirectory() as folder:
            _, ids = checkpoint(folder, family, keys, 100 * i + 1)
            want, routes, others = inner(folder, ids)
            at_ids, out, into = (os.path.join(folder, n) for n in ("ids.txt", "out.safetensors", "inner.safetensors"))
            open(at_ids, "w").write(" ".join(map(str, ids.tolist())))
            whole = family == "bert" or keys.get("rope_parameters", {}).get("rope_type") in ("dynamic", "longrope")       # the rotation follows the length of each pass
            for prompt in (len(ids),) if whole else (len(ids), PROMPT):
                more = [] if family == "bert" else ["-o", out, "--prefill", str(prompt)] + ["--routes"] * (len(routes) > 0)
                subprocess.run([program, "logits", folder, "--ids", at_ids, "--dump", "*:" + into, "--quiet"] + more, check=True)
                got = load_file(into)
                if family != "bert":
                    result = load_file(out)
                    scaled = want["lm_head"] / json.load(open(os.path.join(folder, "config.json"))).get("logits_scaling", 1)
                    assert (result["logits"] - scaled).abs().max() < 2e-4, (family, i, "logits")
                    for l, (chosen, weights) in enumerate(routes):
                        order = result["experts"][l].argsort(-1)
                        assert torch.equal(result["experts"][l].gather(1, order).long(), chosen), (family, i, l, "experts")
                        off = (result["weights"][l].gather(1, order) - weights).abs().max().item()
                        assert off < 2e-4, (family, i, l, "weights", off)
                for name in got.keys() & want.keys():
                    assert got[name].shape == want[name].shape, (family, i, name, got[name].shape, want[name].shape)
                    off = (got[name] - want[name]).abs().max().item()
                    count += 1
                    if not off < 2e-4:
                        print(f"{family} {i}, prefill {prompt}: {name} differs by {off:.3g}", flush=True)
                    if not off <= worst:
                        worst, at = off, name
                ours |= got.keys() - want.keys()
                theirs |= (want.keys() - got.keys()) | set(others)
    print(f"{family}: {count} tensors, at most {worst:.2g} apart ({at}); only here: {general(ours)}; only in transformers: {general(theirs)}", flush=True)
    return worst >= 2e-4


def sweep(family, count, seed, program, keep):
    worst, wrong, kept = 0, 0, tempfile.mkdtemp()
    for i in range(count):
        r = random.Random(f"{family} {seed} {i}")
        keys = SWEEPS[family](r)
        folder = os.path.join(kept, f"{family}-{seed}-{i}")
        off, why = sweep_one(program, family, keys, r, folder)
        worst = max(worst, off or 0)
        if why:
            wrong += 1
            print(f"{family} {i}: {why}\n    {json.dumps(keys)}", flush=True)
            if keep:
                shutil.copytree(folder, os.path.join(keep, os.path.basename(folder)), dirs_exist_ok=True)
    shutil.rmtree(kept)
    print(f"{family}: {count} models, seed {seed}: {wrong} wrong, the others differ by at most {worst:.2g}", flush=True)
    return wrong


def main():
    p = argparse.ArgumentParser()
    p.add_argument("what", nargs="*", help="families; sweep FAMILY...; or a folder, with --check")
    p.add_argument("--check", action="store_true")
    p.add_argument("--count", type=int, default=40)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--switchyard", default="build/release/switchyard")
    p.add_argument("--keep")
    a = p.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.simplefilter("ignore", FutureWarning)
    long_factors()
    makers_weights()
    if a.check:
        check(a.what[0])
    elif a.what[:1] == ["dump"]:
        transformers.logging.set_verbosity_error()
        sys.exit(sum(dump(f, a.switchyard) for f in a.what[1:] or [f for f in CASES if f != "deepseek"]) > 0)
    elif a.what[:1] == ["sweep"]:
        sys.exit(sum(sweep(f, a.count, a.seed, a.switchyard, a.keep) for f in a.what[1:] or SWEEPS) > 0)
    else:
        for family in a.what or CASES:
            make(family)


if __name__ == "__main__":
    main()
