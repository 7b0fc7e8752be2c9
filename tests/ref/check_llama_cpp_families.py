"""GGUF files of every family, opened by llama.cpp: its logits (hidden states of an encoder) against those that transformers gave for the fixtures.

    python tests/ref/check_llama_cpp_families.py build/release/switchyard [FAMILY...]

The folders are made from the fixtures' seeds, `switchyard convert` writes them as F32 and F16, llama.cpp reads the 64 ids of the prompt with float32 keys
and values. A case that `convert` or llama.cpp refuses is printed with its sentence. Where llama.cpp computes by another rule than the makers, and no key of a
file tells it otherwise, the comparison is with transformers changed to that rule (docs/gguf.md lists them): windows of mistral, mixtral and phimoe are not
applied; a group of experts of deepseek_v2 counts by its two best scores; GELU is the tanh form out of a table in half precision; phimoe takes softmax of
two experts and norms without a mean, and its longrope goes by the length of the cache. Fails where float32 differs by more than 2e-3 in logits or by 1e-4 nats.
"""
import contextlib
import ctypes
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile

import llama_cpp as L
import numpy as np
import torch
from safetensors import safe_open

import families

assert importlib.metadata.version("llama-cpp-python") == "0.3.36"
CACHE = 256                                 # llama.cpp rounds the length of its cache up to this, and takes longrope's long divisors by it
KINDS = {v: k for k, v in families.TYPES.items()}


@L.llama_log_callback
def log(level, text, data):
    if level >= 4 and os.environ.get("SHOW"):
        print(text.decode(errors="replace"), end="")


def folder_of(f, meta, i, where):
    open(os.path.join(where, "config.json"), "w").write(meta[f"{i}.config"])
    tensors = {}
    for line in meta[f"{i}.tensors"].split("\n"):
        name, kind, dims, base, scale = line.split("|")
        tensors[name] = ([int(d) for d in dims.split(",")], float(base), float(scale), KINDS[kind])
    families.write(where, tensors, int(meta[f"{i}.seed"]))


def llama(path, ids, encoder):
    params = L.llama_model_default_params()
    params.n_gpu_layers = 0
    model = L.llama_model_load_from_file(path.encode(), params)
    if not model:
        return None
    c = L.llama_context_default_params()
    c.n_ctx = c.n_batch = c.n_ubatch = 128 if not encoder else len(ids)
    c.n_threads = c.n_threads_batch = 2
    c.type_k = c.type_v = 0
    c.flash_attn_type = 0
    c.embeddings, c.pooling_type = encoder, 0
    ctx = L.llama_init_from_model(model, c)
    assert ctx
    batch = L.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for t, x in enumerate(ids):
        batch.token[t], batch.pos[t], batch.n_seq_id[t], batch.logits[t] = x, t, 1, True
        batch.seq_id[t][0] = 0
    assert L.llama_decode(ctx, batch) == 0
    width = L.llama_model_n_embd(model) if encoder else L.llama_vocab_n_tokens(L.llama_model_get_vocab(model))
    get = L.llama_get_embeddings_ith if encoder else L.llama_get_logits_ith
    out = np.stack([np.ctypeslib.as_array(get(ctx, t), (width,)).copy() for t in range(len(ids))])
    L.llama_batch_free(batch)
    L.llama_free(ctx)
    L.llama_model_free(model)
    return out.astype(np.float64)


def gelu_table(self, x):
    h = x.half().float()
    y = (0.5 * h * (1 + torch.tanh(0.79788456080286535587989211986876 * h * (1 + 0.044715 * h * h)))).half().to(x.dtype)
    return torch.where(x <= -10, torch.zeros_like(x), torch.where(x >= 10, x, y))


def two_best(self, hidden_states):
    z = torch.nn.functional.linear(hidden_states.view(-1, hidden_states.shape[-1]).float(), self.weight.float())
    scores = z.softmax(-1)
    of = scores.view(len(scores), self.num_group, -1)
    best = of.topk(2, -1).values.sum(-1).topk(self.topk_group, -1).indices
    kept = torch.zeros(of.shape[:2]).scatter(1, best, 1.0).bool()[..., None].expand_as(of).reshape(scores.shape)
    w, e = scores.masked_fill(~kept, 0.0).topk(self.top_k, -1)
    return z, w * self.routed_scaling_factor, e


def softmax_of_two(scores, *args, **kwargs):
    w, e = torch.softmax(scores, -1, dtype=torch.float32).topk(2, -1)
    return (w / w.sum(-1, keepdim=True)).to(scores.dtype), e


def rms(self, x):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + self.eps) * self.weight + self.bias


@contextlib.contextmanager
def as_llama_cpp(family, folder):
    """transformers with the rules of llama.cpp's graph; the folder's config.json without what that does not read. False: they are the makers' rules."""
    from transformers import activations as act
    from transformers.models.deepseek_v2 import modeling_deepseek_v2 as v2
    from transformers.models.phimoe import modeling_phimoe as phi
    at = os.path.join(folder, "config.json")
    text = open(at).read()
    config, places = json.loads(text), []
    if family in ("bert", "gpt2", "gpt_neox"):
        places = [(act.GELUActivation, "forward", gelu_table), (act.NewGELUActivation, "forward", gelu_table)]
    if family == "deepseek_v2" and config["topk_method"] == "group_limited_greedy":
        places = [(v2.DeepseekV2TopkRouter, "forward", two_best)]
    if family == "phimoe":
        places = [(phi, "sparsemixer", softmax_of_two), (torch.nn.LayerNorm, "forward", rms)]
    other = {}
    if family in ("mistral", "mixtral", "phimoe") and config.get("sliding_window"):
        other["sliding_window"] = None
    rope = config.get("rope_parameters") or {}
    if rope.get("rope_type") == "longrope" and rope["original_max_position_embeddings"] < CACHE:
        other["rope_parameters"] = rope | dict(short_factor=rope["long_factor"], long_mscale=rope["short_mscale"])
    old = [getattr(where, name) for where, name, _ in places]
    for where, name, new in places:
        setattr(where, name, new)
    if other:
        json.dump(config | other, open(at, "w"))
    try:
        yield bool(places or other)
    finally:
        for (where, name, _), was in zip(places, old):
            setattr(where, name, was)
        open(at, "w").write(text)


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def case(program, f, meta, family, i):
    """True when all is well, or nothing is there to compare."""
    ids, encoder, good = f.get_tensor(f"{i}.ids").long(), family == "bert", True
    with tempfile.TemporaryDirectory() as where:
        folder = os.path.join(where, "model")
        os.mkdir(folder)
        folder_of(f, meta, i, folder)
        want = f.get_tensor(f"{i}.logits")
        for kind in "f32", "f16":
            path = os.path.join(where, kind + ".gguf")
            r = subprocess.run([program, "convert", folder, path, "--type", kind], capture_output=True, text=True)
            if r.returncode:
                print(f"{family} {i}: not written: {r.stderr.strip().splitlines()[-1].replace(where, '')}", flush=True)
                return True
            if kind == "f32":
                with as_llama_cpp(family, folder) as changed:
                    if changed:
                        want = families.oracle(folder, ids)[0]
            read = len(ids) if encoder else families.PROMPT            # an encoder's states depend on all of the text
            got = llama(path, ids[:read].tolist(), encoder)
            if got is None:
                print(f"{family} {i}: llama.cpp does not open it (SHOW=1 says why)", flush=True)
                return False
            w = want[:read].double().numpy()
            diff, kl = np.abs(got - w).max(), 0
            line = f"{family} {i} {kind}: differ by at most {diff:.2g}"
            if not encoder:
                a, b = log_softmax(w), log_softmax(got)
                kl = (np.exp(a) * (a - b)).sum(-1).mean()
                line += f", top token equal {(a.argmax(-1) == b.argmax(-1)).sum()} of {len(a)}, mean KL {kl:.2g}"
            bad = kind == "f32" and (diff > 2e-3 or kl > 1e-4)
            good &= not bad
            print(line + (" <-- !" if bad else ""), flush=True)
    return good


def main():
    program, failed = os.path.abspath(sys.argv[1]), 0
    L.llama_log_set(log, ctypes.c_void_p(0))
    L.llama_backend_init()
    for family in sys.argv[2:] or families.CASES:
        with safe_open(os.path.join(families.HERE, family + ".safetensors"), "pt") as f:
            meta = f.metadata()
            for i in range(len(families.CASES[family])):
                child = os.fork()                              # llama.cpp ends the process for some files
                if not child:
                    os._exit(not case(program, f, meta, family, i))
                how = os.waitpid(child, 0)[1]
                failed += how != 0
                if os.WIFSIGNALED(how):
                    print(f"{family} {i}: llama.cpp ended by signal {os.WTERMSIG(how)}", flush=True)
    sys.exit(failed > 0)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
