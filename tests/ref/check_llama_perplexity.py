"""Perplexity of GGUF files: `switchyard eval --perplexity` against llama.cpp's own program on the same file, text and context.

    python tests/ref/check_llama_perplexity.py build/release/switchyard LLAMA_PERPLEXITY TEXT MODEL.gguf...

LLAMA_PERPLEXITY is the program of the llama.cpp that llama-cpp-python 0.3.36 carries (vendor/llama.cpp: cmake, target llama-perplexity). Its keys and values are kept in
float32, without flash attention. Prints both figures of every file; fails where they differ by more than 0.1 %, or by 1 % for a file with blocks, whose
products llama.cpp takes with activations rounded to eight bits.
"""
import argparse
import json
import re
import subprocess
import sys

from gguf import GGUFReader

WHOLE = {"F32", "F16", "BF16"}


def of(command, pattern):
    for _ in range(3):                                  # its log thread now and then loses the last line
        done = subprocess.run(command, capture_output=True, text=True)
        found = re.search(pattern, done.stdout + done.stderr)
        if done.returncode == 0 and found:
            return float(found[1])
    sys.exit(f"{' '.join(command)}: {done.returncode}\n{done.stdout[-500:]}{done.stderr[-1500:]}")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("switchyard")
    p.add_argument("llama_perplexity")
    p.add_argument("text")
    p.add_argument("models", nargs="+")
    p.add_argument("--ctx", type=int, default=128)
    p.add_argument("--chunks", type=int, default=32)
    a = p.parse_args()
    bad = 0
    for model in a.models:
        blocks = {t.tensor_type.name for t in GGUFReader(model).tensors} - WHOLE
        theirs = of([a.llama_perplexity, "-m", model, "-f", a.text, "-c", str(a.ctx), "-b", str(a.ctx), "--chunks", str(a.chunks), "-t", "2", "-fa", "off", "-ctk", "f32", "-ctv", "f32"],
                    r"Final estimate: PPL = ([0-9.]+)")
        done = subprocess.run([a.switchyard, "eval", model, "--perplexity", "--data", a.text, "--ctx", str(a.ctx), "--chunks", str(a.chunks), "--json"], capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        ours = json.loads(done.stdout)["perplexity"]
        far = abs(ours / theirs - 1) > (0.01 if blocks else 0.001)
        bad += far
        print(f"{model} ({', '.join(sorted(blocks)) or 'no blocks'}): switchyard {ours:.4f}, llama.cpp {theirs:.4f}, ratio {ours / theirs:.6f}{' <-- !' if far else ''}", flush=True)
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
