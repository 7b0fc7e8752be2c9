"""Loss and gradients of two-layer models of Mixtral's and Qwen3-MoE's config, in float64, by transformers' own model code.

Writes tests/fixtures/{mixtral,qwen3moe}.safetensors: weights under this engine's names, ids, the loss, its gradients ("grad." + name, float32 of
the float64 values), float32 PyTorch's own error for each ("err." + name), 20 losses of AdamW. The balance loss is computed here by its formula
(Switch, arXiv:2101.03961, one loss a layer, summed over layers), not by the library's function, which joins the layers first.

    python tests/ref/make_model_fixtures.py
"""
import copy
import math
import os

import torch
import transformers
from safetensors.torch import save_file
from transformers import MixtralConfig, MixtralForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

assert torch.__version__.startswith("2.13.0"), torch.__version__
assert transformers.__version__ == "5.24.0", transformers.__version__

HERE = os.path.join(os.path.dirname(__file__), "..", "fixtures")
COEF, E, K, V, D, F, L, STEPS = 0.02, 4, 2, 48, 32, 24, 2, 20
COMMON = dict(vocab_size=V, hidden_size=D, num_hidden_layers=L, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
              tie_word_embeddings=False, attention_dropout=0.0, num_experts_per_tok=K, use_cache=False, attn_implementation="eager", experts_implementation="eager",
              rms_norm_eps=1e-6, initializer_range=0.08)


def models():
    yield "mixtral", MixtralForCausalLM(MixtralConfig(num_local_experts=E, intermediate_size=F, rope_theta=1e4, **COMMON))
    yield "qwen3moe", Qwen3MoeForCausalLM(Qwen3MoeConfig(num_experts=E, moe_intermediate_size=F, intermediate_size=40, head_dim=12, norm_topk_prob=True,
                                                         decoder_sparse_step=1, mlp_only_layers=[], rope_theta=1e4, **COMMON))


def our_names(tensors):
    """Splits the library's fused experts into one tensor an expert, under this engine's names."""
    out = {}
    for name, t in tensors.items():
        name = name.replace("block_sparse_moe", "mlp")
        if name.endswith("mlp.experts.gate_up_proj"):
            for e in range(E):
                stem = name.replace("experts.gate_up_proj", f"experts.{e}")
                out[f"{stem}.gate_proj.weight"], out[f"{stem}.up_proj.weight"] = t[e, :F], t[e, F:]
        elif name.endswith("mlp.experts.down_proj"):
            for e in range(E):
                out[name.replace("experts.down_proj", f"experts.{e}.down_proj.weight")] = t[e]
        else:
            out[name] = t
    return {k: v.detach().clone().contiguous() for k, v in out.items()}


def gates(model):
    return [layer.mlp.gate.weight for layer in model.model.layers]


def loss_of(model, ids):
    """Cross-entropy of the next token plus COEF * E * sum_e f_e P_e for each layer, f_e = share of (token, choice) pairs."""
    inputs = []
    hooks = [layer.mlp.register_forward_pre_hook(lambda m, a: inputs.append(a[0])) for layer in model.model.layers]
    logits = model(ids).logits
    for h in hooks:
        h.remove()
    ce = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, V), ids[:, 1:].reshape(-1))
    aux = 0
    for x, w in zip(inputs, gates(model)):
        p = torch.softmax(x.reshape(-1, D) @ w.T, -1)
        choice = torch.zeros_like(p).scatter_(1, p.topk(K, -1).indices, 1.0)
        aux = aux + COEF * E * (choice.mean(0) / K * p.mean(0)).sum()
    return ce, aux


def gradients(model, ids):
    model.zero_grad()
    ce, aux = loss_of(model, ids)
    (ce + aux).backward()
    return ce.item(), aux.item(), our_names({n: p.grad for n, p in model.named_parameters()})


def relative(a, b):
    return (a.double() - b.double()).norm().item() / max(b.double().norm().item(), 1e-300)


torch.manual_seed(20240229)
torch.set_num_threads(1)
for name, model in models():
    ids = torch.randint(0, V, (3, 20))
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() == 1:
                p.add_(0.1 * torch.randn_like(p))           # norms that are not all ones
            p.copy_(p.float())                              # exactly representable in float32
    single, model = copy.deepcopy(model).float(), model.double()
    fixture = {"w." + k: v.float() for k, v in our_names(dict(model.named_parameters())).items()}
    ce, aux, grad = gradients(model, ids)
    ce32, _, grad32 = gradients(single, ids)
    fixture |= {"grad." + k: v.float() for k, v in grad.items()}
    fixture |= {"err." + k: torch.tensor([relative(grad32[k], v)]) for k, v in grad.items()}
    fixture["ids"] = ids.to(torch.int32)
    fixture["loss"] = torch.tensor([ce, aux, abs(ce32 - ce)], dtype=torch.float64)
    decay = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() <= 1]
    opt = torch.optim.AdamW([{"params": decay, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}], lr=3e-3, betas=(0.9, 0.95), eps=1e-8)
    losses = []
    for _ in range(STEPS):
        opt.zero_grad()
        ce, aux = loss_of(model, ids)
        (ce + aux).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        losses.append(ce.item())
    fixture["curve"] = torch.tensor(losses, dtype=torch.float64)
    meta = {"torch": torch.__version__, "transformers": transformers.__version__, "seed": "20240229", "coef": str(COEF), "head_dim": str(12 if name == "qwen3moe" else D // 4)}
    save_file(fixture, os.path.join(HERE, name + ".safetensors"), metadata=meta)
    print(name, "loss", ce32, "aux", aux.item(), "curve", [round(x, 4) for x in losses[::5]], "largest float32 error", max(v.item() for k, v in fixture.items() if k.startswith("err.")))
