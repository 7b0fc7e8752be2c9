#!/usr/bin/env python3
"""Writes tests/conformance/*.json: routes, losses and gradients of balance terms, in float64 by torch's autograd.

    python3 tests/ref/make_conformance.py [--check]

Nothing here knows the engine: each term is written down from its paper. Where transformers has the same loss, it has to agree. --check compares the files
with what would be written. Logits are multiples of 1/256, so that float32 holds them and no two of a token are equal.
"""
import json, math, pathlib, sys
import torch

OUT = pathlib.Path(__file__).resolve().parent.parent / "conformance"
F64 = torch.float64


def draw(gen, *shape):
    """Logits: no token has two alike, so every top-k is clear."""
    while True:
        x = torch.round(torch.randn(*shape, generator=gen, dtype=F64) * 1.5 * 256) / 256
        s = x.sort(dim=-1).values
        if (s[..., 1:] - s[..., :-1]).min() > 1 / 512:
            return x


# --- routes --------------------------------------------------------------------------------------------------------------------------

def route(z, r, bias=None):
    """Scores, probabilities, choices (best first) and combine weights of logits z [T,E] under the rule r."""
    score = torch.softmax(z, -1) if r["scoring"] == "softmax" else torch.sigmoid(z)
    probs = score if r["scoring"] == "softmax" else score / score.sum(-1, keepdim=True)
    by = score.detach() if bias is None else score.detach() + bias
    expert = by.topk(r["top_k"], dim=-1).indices
    weight = score.gather(-1, expert)
    if r["renormalise"]:
        weight = weight / weight.sum(-1, keepdim=True)
    return probs, expert, weight


def counts(expert, E, valid, first=False):
    e = expert[valid][:, :1] if first else expert[valid]
    return torch.bincount(e.reshape(-1), minlength=E).to(F64)


# --- terms ---------------------------------------------------------------------------------------------------------------------------

def load(c, tokens, form):
    """f of a term's form: c / slots, c / tokens, or shares of first choices (c counts those)."""
    return c / tokens if form == "slots" else c / c.sum()


def grouped(f, groups):
    return f.view(groups, -1).mean(-1, keepdim=True).expand(groups, f.numel() // groups).reshape(-1) if groups else f


def switch(probs, expert, valid, seq, p):
    """coef * E * sum_e f_e P_e over a micro-batch, or the mean of that over its sequences."""
    E, form = probs.shape[-1], p["form"]
    parts = [valid] if p["scope"] == "micro" else [valid & (seq == q) for q in seq[valid].unique()]
    total = 0
    for m in parts:
        f = grouped(load(counts(expert, E, m, form == "first"), m.sum(), form), p.get("groups", 0))
        total = total + p["coef"] * E * (f * probs[m].mean(0)).sum() / len(parts)
    return total


def cv2(x):
    return x.var(unbiased=False) / (x.mean() ** 2 + 1e-10)


def importance(weight, expert, E, valid):
    return torch.zeros(E, dtype=F64).index_add(0, expert[valid].reshape(-1), weight[valid].reshape(-1))


def zloss(z, valid):
    return (torch.logsumexp(z[valid], -1) ** 2).mean()


# --- noise: the counter-based generator and the polar form of the normal distribution ------------------------------------------------

def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def normal(key, place, salt):
    o = philox([place & 0xFFFFFFFF, place >> 32, salt, 0], [key & 0xFFFFFFFF, key >> 32])
    u = [(((o[i + 1] << 32 | o[i]) >> 12) + 0.5) * 2.0 ** -52 for i in (0, 2)]
    return math.sqrt(-2 * math.log(u[0])) * math.cos(2 * math.pi * u[1])


# --- cases ---------------------------------------------------------------------------------------------------------------------------

def rule(top_k, scoring="softmax", renormalise=False):
    return {"scoring": scoring, "top_k": top_k, "renormalise": renormalise}


def listed(x):
    return x.detach().tolist()


def micro_batch(gen, T, E, sequences=1, padded=False):
    z = draw(gen, T, E).requires_grad_()
    valid = torch.ones(T, dtype=torch.bool)
    if padded:
        valid = torch.rand(T, generator=gen) > 0.3
        valid[0] = True
    return {"z": z, "valid": valid, "seq": torch.arange(T) * sequences // T}


def written(m, expert, weight, loss, extra=None):
    """The record of one micro-batch; tokens that are padding have no choices."""
    loss.backward() if loss.requires_grad else None
    v = m["valid"].tolist()
    out = {"logits": listed(m["z"]), "valid": v, "sequence": m["seq"].tolist(),
           "expert": [e if ok else [] for e, ok in zip(expert.tolist(), v)], "weight": [w if ok else [] for w, ok in zip(listed(weight), v)],
           "loss": loss.item(), "gradient": listed(m["z"].grad if m["z"].grad is not None else torch.zeros_like(m["z"]))}
    out.update(extra or {})
    return out


def case(name, E, r, params, steps, router, balance=()):
    return {"name": name, "experts": E, "route": r, "parameters": params, "steps": steps, "switchyard": {"router": router, "balance": list(balance)}}


def one(name, gen, T, E, r, params, term, router, balance=(), sequences=1, padded=False):
    """A case of a single micro-batch; term(z, probs, expert, weight, valid, seq) gives the loss."""
    m = micro_batch(gen, T, E, sequences, padded)
    probs, expert, weight = route(m["z"], r)
    loss = term(m["z"], probs, expert, weight, m["valid"], m["seq"])
    return case(name, E, r, params, [{"micro_batches": [written(m, expert, weight, loss)]}], router, balance)


def topk_text(r):
    words = [f"top_k={r['top_k']}"] + (["score=sigmoid"] if r["scoring"] == "sigmoid" else []) + (["norm_topk_prob=true"] if r["renormalise"] else [])
    return "topk:" + ",".join(words)


def make_switch():
    gen, cases = torch.Generator().manual_seed(1), []
    for form in ("share", "slots", "first"):
        for T, E, K, renorm, padded in ((8, 4, 1, False, False), (12, 6, 2, True, False), (16, 8, 3, False, True)):
            p, r = {"coef": 0.01 * (K + 1), "form": form, "scope": "micro"}, rule(K, renormalise=renorm)
            cases.append(one(f"{form}, {K} of {E}" + (", padded" if padded else ""), gen, T, E, r, p, lambda z, pr, e, w, v, s, p=p: switch(pr, e, v, s, p),
                             topk_text(r), [f"switch:form={form},coef={p['coef']:.17g}"], padded=padded))
        for padded in (False, True):
            p, r = {"coef": 0.5, "form": form, "scope": "sequence"}, rule(2)
            cases.append(one(f"{form}, each of 3 sequences" + (", padded" if padded else ""), gen, 15, 4, r, p, lambda z, pr, e, w, v, s, p=p: switch(pr, e, v, s, p), topk_text(r),
                             [f"switch:form={form},scope=sequence,coef=0.5"], sequences=3, padded=padded))
    p, r = {"coef": 0.05, "form": "share", "scope": "micro", "groups": 4}, rule(3)
    cases.append(one("groups of devices: f averaged in 4 groups of 2", gen, 16, 8, r, p, lambda z, pr, e, w, v, s, p=p: switch(pr, e, v, s, p), topk_text(r), ["switch:groups=4,coef=0.050000000000000003"]))
    p, r = {"coef": 0.0001, "form": "share", "scope": "sequence"}, rule(2, "sigmoid", True)
    cases.append(one("sigmoid scores divided by their sum, each of 2 sequences", gen, 12, 6, r, p, lambda z, pr, e, w, v, s, p=p: switch(pr, e, v, s, p), topk_text(r),
                     ["switch:scope=sequence,coef=0.0001"], sequences=2))
    return {"term": "switch", "formula": "coef * E * sum_e f_e * P_e; P_e = mean over tokens of the probability of e; f_e = slots of e / all slots (share), / tokens (slots), or share of first choices (first); "
            "scope sequence: mean over sequences; groups: f is first averaged in equal groups of consecutive experts; f is a constant for the gradient",
            "papers": ["arXiv:2101.03961", "arXiv:2006.16668", "arXiv:2401.06066"], "cases": cases}


def step_case(name, gen, mode, mix, sizes, n_steps, E=6, K=2):
    """f counted over the step: all of it (exact), so far (buffer), or the step before (prev); P over the micro-batch."""
    r, coef = rule(K), 0.1
    steps, prev = [], torch.zeros(E, dtype=F64)
    for _ in range(n_steps):
        ms = [micro_batch(gen, T, E, padded=T % 2 == 1) for T in sizes]
        routes = [route(m["z"], r) for m in ms]
        every = [counts(e, E, m["valid"]) for m, (_, e, _) in zip(ms, routes)]
        out, seen = [], torch.zeros(E, dtype=F64)
        for m, (probs, expert, weight), c in zip(ms, routes, every):
            seen = seen + c
            of = {"exact": sum(every), "buffer": seen, "prev": prev}[mode]
            f = (of / of.sum() if of.sum() > 0 else of) + mix * c / c.sum()
            out.append(written(m, expert, weight, coef * E * (f * probs[m["valid"]].mean(0)).sum()))
        prev = sum(every)
        steps.append({"micro_batches": out})
    text = f"switch:scope=step,mode={mode},coef=0.10000000000000001" + (f",micro_mix={mix}" if mix else "")
    return case(name, E, r, {"coef": coef, "form": "share", "scope": "step", "mode": mode, "micro_mix": mix}, steps, topk_text(r), [text])


def make_step():
    gen = torch.Generator().manual_seed(2)
    cases = [step_case("all of the step", gen, "exact", 0, (6, 9, 8), 2), step_case("the step so far", gen, "buffer", 0, (6, 9, 8), 2), step_case("the step before", gen, "prev", 0, (6, 9), 3),
             step_case("the step so far, and a tenth of the micro-batch's own", gen, "buffer", 0.1, (6, 8), 2), step_case("one micro-batch: the same as without a scope", gen, "exact", 0, (10,), 1)]
    return {"term": "switch over a step", "formula": "coef * E * sum_e f_e * P_e, P over the micro-batch; f_e = share of slots of e over the whole step (exact), over its micro-batches so far with this one (buffer), "
            "or over the step before (prev; 0 in the first); micro_mix adds that share of the micro-batch's own f", "papers": ["arXiv:2501.11873"], "cases": cases}


def make_zloss():
    gen, cases = torch.Generator().manual_seed(3), []
    for T, E, K, padded, coef in ((8, 4, 1, False, 0.001), (12, 8, 2, False, 1), (15, 6, 2, True, 0.1)):
        r = rule(K)
        cases.append(one(f"{T} tokens, {E} experts" + (", padded" if padded else ""), gen, T, E, r, {"coef": coef}, lambda z, pr, e, w, v, s, c=coef: c * zloss(z, v), topk_text(r), [f"zloss:coef={coef:.17g}"], padded=padded))
    return {"term": "zloss", "formula": "coef * mean over tokens of (log sum_e exp z_e)^2", "papers": ["arXiv:2202.08906"], "cases": cases}


def make_importance():
    gen, cases = torch.Generator().manual_seed(4), []
    for T, E, K, renorm, padded in ((8, 4, 1, False, False), (12, 6, 2, True, False), (16, 8, 3, False, True)):
        r = rule(K, renormalise=renorm)
        cases.append(one(f"{K} of {E}" + (", weights divided by their sum" if renorm else "") + (", padded" if padded else ""), gen, T, E, r, {"coef": 0.1},
                         lambda z, pr, e, w, v, s, E=E: 0.1 * cv2(importance(w, e, E, v)), topk_text(r), ["importance:coef=0.10000000000000001"], padded=padded))
    return {"term": "importance", "formula": "coef * var(I) / (mean(I)^2 + 1e-10), I_e = combine weights summed over tokens, var divided by E", "papers": ["arXiv:1701.06538"], "cases": cases}


def make_noisy():
    gen, cases = torch.Generator().manual_seed(5), []
    std_normal = torch.distributions.Normal(torch.tensor(0, dtype=F64), torch.tensor(1, dtype=F64))
    for name, T, E, K, wi, wl, padded in (("both", 10, 5, 2, 0.1, 0.1, False), ("load alone", 12, 6, 3, 0, 1, False), ("importance alone, padded", 11, 4, 2, 1, 0, True), ("both, 3 of 8, padded", 13, 8, 3, 0.3, 0.2, True)):
        m = micro_batch(gen, T, E, padded=padded)
        noise_z = draw(gen, T, E).requires_grad_()
        keys = [1000 * len(cases) + 7 * t + 3 for t in range(T)]
        noise = torch.tensor([[normal(k, t, e) for e in range(E)] for t, k in enumerate(keys)], dtype=F64)
        std = torch.nn.functional.softplus(noise_z) + 0.01
        h = m["z"] + std * noise
        probs = torch.softmax(h, -1)
        top = h.detach().topk(K + 1, dim=-1).indices
        expert = top[:, :K]
        weight = probs.gather(-1, expert)
        weight = weight / weight.sum(-1, keepdim=True)
        inside = torch.zeros(T, E, dtype=torch.bool).scatter(-1, expert, True)
        kth, next_ = h.gather(-1, top[:, K - 1:K]), h.gather(-1, top[:, K:])       # what an expert outside, or inside, has to beat
        chance = std_normal.cdf((m["z"] - torch.where(inside, next_, kth)) / std)
        loss = wi * cv2(importance(weight, expert, E, m["valid"])) + wl * cv2(chance[m["valid"]].sum(0))
        rec = written(m, expert, weight, loss)
        rec.update({"noise_logits": listed(noise_z), "noise": noise.tolist(), "noise_gradient": listed(noise_z.grad), "key": keys})
        cases.append(case(name, E, rule(K, renormalise=True), {"w_importance": wi, "w_load": wl, "noise_eps": 0.01}, [{"micro_batches": [rec]}],
                          f"noisytopk:top_k={K},w_importance={wi:.17g},w_load={wl:.17g}"))
    return {"term": "noisy top-k", "formula": "h = z + (softplus(noise_logits) + noise_eps) * noise; top-k of h; weights = softmax of h divided by their sum over the chosen; loss = w_importance * CV2(I) + w_load * CV2(L); "
            "L_e = sum over tokens of Phi((z_e - h_t(e)) / std_e), h_t(e) = the (K+1)-th largest h for chosen experts, the K-th for others; CV2(x) = var(x) / (mean(x)^2 + 1e-10), var divided by E",
            "papers": ["arXiv:1701.06538"], "cases": cases}


def make_auxfree():
    gen, cases = torch.Generator().manual_seed(6), []
    for name, E, K, scoring, renorm, u, sizes, n_steps in (("sigmoid, 2 of 6", 6, 2, "sigmoid", True, 0.25, (9, 8), 4), ("softmax, not divided", 4, 1, "softmax", False, 0.125, (10,), 4), ("an expert at the mean rests", 4, 2, "sigmoid", True, 0.5, (2,), 3)):
        r, bias, steps = rule(K, scoring, renorm), torch.zeros(E, dtype=F64), []
        for _ in range(n_steps):
            before, total, out = bias.clone(), torch.zeros(E, dtype=F64), []
            for T in sizes:
                m = micro_batch(gen, T, E, padded=T % 2 == 1)
                probs, expert, weight = route(m["z"], r, bias)
                total += counts(expert, E, m["valid"])
                out.append(written(m, expert, weight, torch.zeros((), dtype=F64)))
            bias = bias + u * torch.sign(total.mean() - total)
            steps.append({"micro_batches": out, "bias_before": before.tolist(), "bias_after": bias.tolist()})
        cases.append(case(name, E, r, {"bias_update": u}, steps, f"auxfree:top_k={K},score={scoring},bias_update={u:.17g}"))
    return {"term": "selection bias", "formula": "top-k of score + b; weights from the score alone; after a step b_e += bias_update * sign(mean_j c_j - c_e), c over all micro-batches of the step; no loss",
            "papers": ["arXiv:2408.15664", "arXiv:2412.19437"], "cases": cases}


def agree_with_transformers(data):
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func
    n = 0
    for c in data["cases"]:
        p = c["parameters"]
        if p["form"] != "slots" or p["scope"] != "micro":
            continue
        m = c["steps"][0]["micro_batches"][0]
        z = torch.tensor(m["logits"], dtype=F64)[torch.tensor(m["valid"])]
        theirs = p["coef"] * load_balancing_loss_func((z,), c["experts"], c["route"]["top_k"]).item()
        assert abs(theirs - m["loss"]) < 1e-6 * abs(m["loss"]), (c["name"], theirs, m["loss"])
        n += 1
    assert n == 3


def main():
    made = {"switch": make_switch(), "step": make_step(), "zloss": make_zloss(), "importance": make_importance(), "noisytopk": make_noisy(), "auxfree": make_auxfree()}
    agree_with_transformers(made["switch"])
    for name, data in made.items():
        data = {"format": "router-conformance 1", **{k: data[k] for k in ("term", "formula", "papers")}, "made_by": f"tests/ref/make_conformance.py, torch {torch.__version__.split('+')[0]}, float64", "cases": data["cases"]}
        text = "{\n" + ",\n".join(f'"{k}": ' + (json.dumps(v) if k != "cases" else "[\n" + ",\n".join(json.dumps(c) for c in v) + "\n]") for k, v in data.items()) + "\n}\n"
        path = OUT / f"{name}.json"
        if "--check" in sys.argv:
            assert path.read_text() == text, f"{path} is not what this script makes"
        else:
            path.write_text(text)
        print(f"{path.name}: {len(data['cases'])} cases, {len(text)} bytes")


main()
