"""Reads the event file of a run with TensorBoard's own reader and compares it with metrics.jsonl.

    python tests/ref/check_events.py RUN            needs tensorboard 2.20.0
"""
import glob
import json
import math
import os
import sys

from tensorboard import version
from tensorboard.backend.event_processing import event_accumulator

assert version.VERSION == "2.20.0", version.VERSION
run = sys.argv[1]
[path] = glob.glob(os.path.join(run, "events.out.tfevents.*"))
events = event_accumulator.EventAccumulator(path, size_guidance={event_accumulator.SCALARS: 0})
events.Reload()
lines = [json.loads(line) for line in open(os.path.join(run, "metrics.jsonl"))]
tags = {"train/loss": lambda m: m["loss"], "train/learning_rate": lambda m: m["lr"], "train/grad_norm": lambda m: m["grad_norm"]}
for name in lines[0]["aux"]:
    tags["aux/" + name] = lambda m, name=name: m["aux"][name]
evaluated = [m for m in lines if "eval" in m]
for name in evaluated[0]["eval"] if evaluated else []:
    tags["eval/" + name] = lambda m, name=name: m["eval"][name]["nats_per_byte"]
found = set(events.Tags()["scalars"])
assert found == set(tags) | {"train/tokens_per_s"}, (found, set(tags))
for tag, value in tags.items():
    got = [(e.step, e.value) for e in events.Scalars(tag)]
    want = [(m["step"], value(m)) for m in (evaluated if tag.startswith("eval/") else lines)]
    assert [s for s, _ in got] == [s for s, _ in want], tag
    assert all(math.isclose(g, w, rel_tol=1e-6) for (_, g), (_, w) in zip(got, want)), tag
print(f"{len(tags) + 1} tags, {len(lines)} lines, {len(evaluated)} evaluations agree")
