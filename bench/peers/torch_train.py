"""The training step of `switchyard bench train` in PyTorch, written well: fused attention, rows gathered per expert, AdamW foreach, no dropout.

    python bench/peers/torch_train.py --threads 2 --steps 3      prints one line of JSON

Experts run as a loop over non-empty experts with gathered rows and index_add, or with torch's grouped_mm when --experts grouped is given."""
import argparse
import json
import time

import torch
import torch.nn.functional as F


def arguments():
    p = argparse.ArgumentParser()
    for name, value in dict(width=512, layers=6, heads=8, experts=16, ffn=512, active=2, length=512, batch=8, vocab=8192, steps=3, threads=2, warmup=2).items():
        p.add_argument("--" + name, type=int, default=value)
    p.add_argument("--experts-by", choices=["loop", "grouped"], default="loop")
    p.add_argument("--compile", action="store_true")
    return p.parse_args()


class Experts(torch.nn.Module):
    def __init__(self, a):
        super().__init__()
        self.k, self.e, self.how = a.active, a.experts, a.experts_by
        std = 0.02
        self.gate = torch.nn.Linear(a.width, a.experts, bias=False)
        self.gate_up = torch.nn.Parameter(torch.randn(a.experts, 2 * a.ffn, a.width) * std)
        self.down = torch.nn.Parameter(torch.randn(a.experts, a.width, a.ffn) * std)

    def forward(self, x):
        p = torch.softmax(self.gate(x), -1)
        w, choice = p.topk(self.k, -1)
        w = w / w.sum(-1, keepdim=True)
        order = choice.reshape(-1).argsort(stable=True)
        token, weight = order // self.k, w.reshape(-1)[order]
        count = torch.bincount(choice.reshape(-1), minlength=self.e)
        rows = x.index_select(0, token)
        if self.how == "grouped":
            offs = count.cumsum(0).to(torch.int32)
            g, u = F.grouped_mm(rows, self.gate_up.transpose(1, 2), offs=offs).chunk(2, -1)
            y = F.grouped_mm(F.silu(g) * u, self.down.transpose(1, 2), offs=offs)
        else:
            parts = []
            for e, r in enumerate(rows.split(count.tolist())):
                if len(r):
                    g, u = F.linear(r, self.gate_up[e]).chunk(2, -1)
                    parts.append(F.linear(F.silu(g) * u, self.down[e]))
            y = torch.cat(parts)
        out = torch.zeros_like(x).index_add(0, token, y * weight[:, None])
        share = count.float() / choice.numel()
        return out, 0.01 * self.e * (share * p.mean(0)).sum()


class Block(torch.nn.Module):
    def __init__(self, a):
        super().__init__()
        self.h = a.heads
        self.n1, self.n2 = torch.nn.RMSNorm(a.width, eps=1e-6), torch.nn.RMSNorm(a.width, eps=1e-6)
        self.qkv, self.o = torch.nn.Linear(a.width, 3 * a.width, bias=False), torch.nn.Linear(a.width, a.width, bias=False)
        self.ffn = Experts(a)

    def forward(self, x, cos, sin):
        b, t, d = x.shape
        q, k, v = (y.view(b, t, self.h, -1).transpose(1, 2) for y in self.qkv(self.n1(x)).chunk(3, -1))
        turn = lambda y: y * cos + torch.cat((-y[..., y.shape[-1] // 2:], y[..., : y.shape[-1] // 2]), -1) * sin
        y = F.scaled_dot_product_attention(turn(q), turn(k), v, is_causal=True)
        x = x + self.o(y.transpose(1, 2).reshape(b, t, d))
        y, aux = self.ffn(self.n2(x).view(-1, d))
        return x + y.view(b, t, d), aux


class Model(torch.nn.Module):
    def __init__(self, a):
        super().__init__()
        self.embed = torch.nn.Embedding(a.vocab, a.width)
        self.blocks = torch.nn.ModuleList(Block(a) for _ in range(a.layers))
        self.norm, self.head = torch.nn.RMSNorm(a.width, eps=1e-6), torch.nn.Linear(a.width, a.vocab, bias=False)
        hd = a.width // a.heads
        angle = torch.outer(torch.arange(a.length).float(), 10000 ** (-torch.arange(0, hd, 2).float() / hd)).repeat(1, 2)
        self.register_buffer("cos", angle.cos()), self.register_buffer("sin", angle.sin())

    def forward(self, ids, labels):
        x, aux = self.embed(ids), 0
        for block in self.blocks:
            x, more = block(x, self.cos, self.sin)
            aux = aux + more
        return F.cross_entropy(self.head(self.norm(x)).view(-1, self.head.out_features), labels.view(-1)) + aux


def main():
    a = arguments()
    torch.set_num_threads(a.threads)
    torch.manual_seed(1)
    model = Model(a)
    if a.compile:
        model = torch.compile(model)
    opt = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, foreach=True)
    ids = torch.randint(0, a.vocab, (a.batch, a.length + 1))
    times = []
    for step in range(a.warmup + a.steps):
        began = time.perf_counter()
        opt.zero_grad(set_to_none=True)
        loss = model(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        if step >= a.warmup:
            times.append(time.perf_counter() - began)
    times.sort()
    median = times[len(times) // 2]
    print(json.dumps({"peer": "torch " + torch.__version__, "experts": a.experts_by, "compile": a.compile, "threads": a.threads, "tokens_per_s": a.batch * a.length / median,
                      "seconds": median, "fastest": times[0], "loss": loss.item()}))


main()
