"""Rotary frequencies and the factor on cosines and sines, by transformers' own functions, for every kind of stretch.

Writes tests/fixtures/rope.json: for each case the settings as this engine writes them, a length, inv_freq (float32) and scale.

    python tests/ref/make_rope_fixtures.py
"""
import json
import os

import torch
import transformers
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

assert torch.__version__.startswith("2.13.0"), torch.__version__
assert transformers.__version__ == "5.24.0", transformers.__version__

OUT = os.path.join(os.path.dirname(__file__), "..", "fixtures", "rope.json")
KEYS = {"factor": "rope_factor", "low_freq_factor": "rope_low_freq_factor", "high_freq_factor": "rope_high_freq_factor", "beta_fast": "rope_beta_fast", "beta_slow": "rope_beta_slow",
        "attention_factor": "rope_attention_factor", "mscale": "rope_mscale", "mscale_all_dim": "rope_mscale_all_dim", "truncate": "rope_truncate", "short_factor": "rope_short_factor",
        "long_factor": "rope_long_factor", "original_max_position_embeddings": "original_max_position_embeddings", "partial_rotary_factor": "partial_rotary_factor", "rope_theta": "rope_theta"}
SHORT = [1.0, 1.05, 1.1, 1.2, 1.4, 1.7, 2.0, 2.5]
LONG = [1.1, 1.5, 2.0, 3.0, 5.0, 9.0, 16.0, 30.0]
CASES = [                                            # type, max_position_embeddings, head_dim, parameters, lengths
    ("linear", 4096, 16, dict(rope_theta=10000.0, factor=4.0), [64]),
    ("linear", 4096, 32, dict(rope_theta=1e6, factor=2.5, partial_rotary_factor=0.5), [64]),
    ("dynamic", 64, 16, dict(rope_theta=10000.0, factor=2.0), [1, 64, 65, 200]),
    ("llama3", 131072, 128, dict(rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192), [64]),
    ("llama3", 256, 16, dict(rope_theta=10000.0, factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64), [64]),
    ("yarn", 131072, 64, dict(rope_theta=150000.0, factor=32.0, beta_fast=32.0, beta_slow=1.0, truncate=False, original_max_position_embeddings=4096), [64]),
    ("yarn", 163840, 64, dict(rope_theta=10000.0, factor=40.0, beta_fast=32.0, beta_slow=1.0, mscale=0.707, mscale_all_dim=0.707, original_max_position_embeddings=4096), [64]),
    ("yarn", 163840, 64, dict(rope_theta=10000.0, factor=40.0, mscale=1.0, mscale_all_dim=0.5, original_max_position_embeddings=4096), [64]),
    ("yarn", 1024, 16, dict(rope_theta=10000.0, factor=4.0, attention_factor=1.1, original_max_position_embeddings=256), [64]),
    ("yarn", 64, 8, dict(rope_theta=10000.0, factor=4.0, original_max_position_embeddings=16), [64]),
    ("yarn", 64, 16, dict(rope_theta=10000.0, factor=0.5, original_max_position_embeddings=64), [64]),
    ("longrope", 1024, 16, dict(rope_theta=10000.0, factor=16.0, short_factor=SHORT, long_factor=LONG, original_max_position_embeddings=64), [1, 64, 65, 900]),
    ("longrope", 1024, 16, dict(rope_theta=10000.0, factor=16.0, attention_factor=1.25, short_factor=SHORT, long_factor=LONG, original_max_position_embeddings=64), [10, 70]),
    ("longrope", 64, 16, dict(rope_theta=10000.0, factor=1.0, short_factor=SHORT, long_factor=LONG, original_max_position_embeddings=64), [10]),
]


def text(v):
    if isinstance(v, bool):
        return str(v).lower()
    return "'" + " ".join(repr(x) for x in v) + "'" if isinstance(v, list) else repr(v)


def main():
    out = []
    for kind, most, head, given, lengths in CASES:
        for n in lengths:
            c = LlamaConfig(hidden_size=4 * head, num_attention_heads=4, head_dim=head, max_position_embeddings=most, rope_parameters=dict(rope_type=kind, **given))
            freq, scale = ROPE_INIT_FUNCTIONS[kind](c, "cpu", seq_len=n)
            settings = [f"rope_type={kind}", f"max_position_embeddings={most}", f"head_dim={head}"] + [f"{KEYS[k]}={text(v)}" for k, v in given.items()]
            out.append(dict(settings=",".join(settings), length=n, scale=float(scale), inv_freq=[float(f) for f in freq.to(torch.float32)]))
    with open(OUT, "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(c) for c in out) + "\n]\n")


main()
