"""Scores left by transformers' own logits processors, in its order, for tables of settings.

Writes tests/fixtures/sample.safetensors: `logits` [N,V], `seen` [N,S] (ids of prompt and output, -1 = none), `settings` [N,5] (repetition_penalty,
temperature, top_k, top_p, min_p; 1, 1, 0, 1, 0 = off), `scores` [N,V] float32 after all of them. Row 0 and 1 have ties at the k-th place.

    python tests/ref/make_sample_fixtures.py
"""
import os

import torch
import transformers
from safetensors.torch import save_file
from transformers.generation.logits_process import (LogitsProcessorList, MinPLogitsWarper, RepetitionPenaltyLogitsProcessor, TemperatureLogitsWarper,
                                                    TopKLogitsWarper, TopPLogitsWarper)

assert torch.__version__.startswith("2.13.0"), torch.__version__
assert transformers.__version__ == "5.24.0", transformers.__version__

V, S = 41, 12
SETTINGS = [  # penalty, temperature, k, p, min_p
    (1, 1, 5, 1, 0), (1, 0.7, 7, 1, 0), (1.3, 1, 0, 1, 0), (0.6, 1, 0, 1, 0), (1, 0.5, 0, 1, 0), (1, 3, 0, 1, 0),
    (1, 1, 0, 0.9, 0), (1, 1, 0, 0.3, 0), (1, 1, 0, 0.001, 0), (1, 1, 0, 1, 0.1), (1, 1, 0, 1, 0.6), (1, 1, 1, 1, 0),
    (1, 1, 40, 1, 0), (1, 1, 41, 1, 0), (1, 1, 1000, 1, 0), (1.2, 0.8, 20, 0.95, 0.02), (1.2, 1.7, 30, 0.8, 0.05), (2, 0.3, 10, 0.5, 0.2),
    (1.1, 1, 50, 0.99, 0), (1.5, 2, 0, 0.6, 0.01), (1, 1.5, 12, 1, 0.1), (1.05, 0.9, 3, 0.7, 0),
]


def main():
    g = torch.Generator().manual_seed(20240229)
    n = len(SETTINGS)
    logits = torch.randn(n, V, generator=g) * 3
    logits[0, 10:20] = logits[0].topk(5).values[4]
    logits[1] = logits[1].round()
    seen = torch.full((n, S), -1, dtype=torch.int32)
    scores = torch.empty(n, V)
    for i, (penalty, t, k, p, m) in enumerate(SETTINGS):
        ids = torch.randint(0, V, (1, 1 + i % S), generator=g)
        ids[0, -1] = ids[0, 0]                       # an id that occurs twice counts once
        seen[i, : ids.shape[1]] = ids[0]
        chain = LogitsProcessorList()
        if penalty != 1:
            chain.append(RepetitionPenaltyLogitsProcessor(float(penalty)))
        if t != 1:
            chain.append(TemperatureLogitsWarper(float(t)))
        if k:
            chain.append(TopKLogitsWarper(k))
        if p < 1:
            chain.append(TopPLogitsWarper(float(p)))
        if m > 0:
            chain.append(MinPLogitsWarper(float(m)))
        scores[i] = chain(ids, logits[i : i + 1].clone())[0]
    here = os.path.join(os.path.dirname(__file__), "..", "fixtures", "sample.safetensors")
    save_file({"logits": logits, "seen": seen, "settings": torch.tensor(SETTINGS, dtype=torch.float64), "scores": scores}, here,
              metadata={"transformers": transformers.__version__, "torch": torch.__version__, "seed": "20240229"})


main()
