"""A model of this engine, written as GGUF, opened by llama.cpp: next-token distributions against transformers' on the same model as a folder.

    switchyard convert RUN model.gguf --type f16
    switchyard convert RUN folder --family llama        (or mixtral)
    python tests/ref/check_llama_cpp.py folder model.gguf TEXT...

Reads 1000 positions of the texts in windows of 100 tokens. Prints the share of equal top tokens and the mean KL divergence in nats (transformers
in float32 against llama.cpp), how many lines of the texts both tokenizers cut alike, and fails above the limits: 99 %, 1e-3, all lines.
"""
import argparse
import ctypes
import importlib.metadata

import llama_cpp
import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

for name, version in {"llama-cpp-python": "0.3.36", "transformers": "5.24.0", "tokenizers": "0.23.3"}.items():
    assert importlib.metadata.version(name) == version, (name, importlib.metadata.version(name))


def log_softmax(x):
    x = x.astype(np.float64)
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("folder")
    p.add_argument("gguf")
    p.add_argument("texts", nargs="+")
    p.add_argument("--positions", type=int, default=1000)
    p.add_argument("--window", type=int, default=100)
    p.add_argument("--top", type=float, default=0.99)
    p.add_argument("--kl", type=float, default=1e-3)
    a = p.parse_args()

    tokenizer = Tokenizer.from_file(f"{a.folder}/tokenizer.json")
    text = "\n".join(open(t, encoding="utf-8").read() for t in a.texts)
    model, info = AutoModelForCausalLM.from_pretrained(a.folder, dtype=torch.float32, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    llm = llama_cpp.Llama(a.gguf, n_ctx=a.window, n_batch=a.window, logits_all=True, verbose=False, n_threads=2)

    lines = [line for line in text.split("\n") if line.strip()][:2000]
    alike = 0
    for line in lines:
        want = tokenizer.encode(line, add_special_tokens=False).ids
        got = llm.tokenize(line.encode(), add_bos=False, special=False)
        alike += want == list(got)

    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert len(ids) >= a.positions, len(ids)
    equal, kl, worst = 0, 0.0, 0.0
    for at in range(0, a.positions, a.window):
        part = ids[at:at + a.window]
        with torch.no_grad():
            want = log_softmax(model(torch.tensor([part])).logits[0].numpy())
        llm.reset()
        llm.eval(part)
        got = log_softmax(np.array(llm.scores[:len(part)], dtype=np.float64))
        equal += int((want.argmax(-1) == got.argmax(-1)).sum())
        d = (np.exp(want) * (want - got)).sum(-1)
        kl += float(d.sum())
        worst = max(worst, float(d.max()))
    n = a.positions
    print(f"{a.gguf}: top token equal on {equal} of {n}, mean KL {kl / n:.3g} nats, largest {worst:.3g}; {alike} of {len(lines)} lines cut alike")
    assert equal >= a.top * n and kl / n <= a.kl and alike == len(lines)


if __name__ == "__main__":
    main()
