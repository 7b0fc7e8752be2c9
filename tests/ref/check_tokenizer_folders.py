"""Folders with a tokenizer.json and files beside it: `switchyard tokenize` against transformers' AutoTokenizer.

    python tests/ref/check_tokenizer_folders.py BINARY [--folders N] [--seed N]

Makes N folders: a tokenizer of tests/fixtures/tokenizer_kinds.json or one of a family's own class, with a random tokenizer_config.json (names of special tokens, some of them
new, add_bos_token, add_eos_token, added_tokens_decoder, tokens without names, clean_up_tokenization_spaces) and special_tokens_map.json. Compares ids with and
without the frame, and the texts of ids with and without special tokens. Ends with 1 at the first folder that differs.

Classes that build their pipeline anew are given files that agree with what they build, without flags of added tokens: transformers 5 takes no more than vocabulary,
merges, texts of added tokens and post-processor from the file then; here the file counts.
"""
import argparse
import json
import logging
import os
import random
import shutil
import sys
import tempfile

os.environ["TOKENIZERS_PARALLELISM"] = "false"
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from check_tokenizers import decoded, program
import transformers
from transformers import AutoTokenizer

assert transformers.__version__.startswith("5.24"), transformers.__version__
transformers.logging.set_verbosity_error()
logging.disable(logging.WARNING)
KINDS = json.load(open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "tokenizer_kinds.json"), encoding="utf-8"))["tokenizers"]
QWEN = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
NEW = ["<|end|>", "[NEW]", "<b>", "</tool>"]
ROLES = ["bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"]


def byte_level(normalizer, pre, post):
    j = json.loads(json.dumps(KINDS["normal form"]))
    j["normalizer"], j["pre_tokenizer"], j["post_processor"] = normalizer, pre, post
    return j


def letters(regex):
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": regex}


def families():
    """Files of the classes that build their own pipeline, as these build them."""
    qwen = {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": QWEN}, "behavior": "Isolated", "invert": False}, letters(False)]}
    yield "Qwen2Tokenizer", byte_level({"type": "NFC"}, qwen, letters(False))
    yield "GPT2Tokenizer", byte_level(None, letters(True), letters(True))
    yield "GPTNeoXTokenizer", byte_level({"type": "NFC"}, letters(True), letters(True))
    llama = json.loads(json.dumps(KINDS["llama, later"]))
    llama["model"]["fuse_unk"] = True
    llama["post_processor"] = KINDS["llama"]["post_processor"]
    llama["added_tokens"] = [x for x in llama["added_tokens"] if x["special"]]
    yield "LlamaTokenizer", llama


def folder(path, rnd, number):
    kinds = sorted(KINDS)
    own = list(families())
    if number % 3 == 0:
        name, j = own[number // 3 % len(own)]
    else:
        name, j = "PreTrainedTokenizerFast", json.loads(json.dumps(KINDS[kinds[number % len(kinds)]]))
    own_class = name != "PreTrainedTokenizerFast"
    for x in j["added_tokens"] if own_class else ():
        x.update(lstrip=False, rstrip=False, single_word=False, normalized=False)
    vocab = j["model"]["vocab"]
    texts = [p for p, _ in vocab] if isinstance(vocab, list) else list(vocab)
    plain = [x for x in texts if 1 < len(x) < 6 and x.isascii() and x.isalpha()]
    added = [x["content"] for x in j["added_tokens"]]
    config, taken = {"tokenizer_class": name, "added_by": "a test"}, []
    roles = {"LlamaTokenizer": ROLES[:3], "GPT2Tokenizer": ROLES[:3], "GPTNeoXTokenizer": ROLES[:4], "Qwen2Tokenizer": ROLES[1:4]}.get(name, ())      # which those classes would name themselves
    for role in ROLES:
        if role in roles or rnd.random() < 0.5:
            text = rnd.choice([rnd.choice(added or NEW), rnd.choice(added or NEW), rnd.choice(NEW), rnd.choice(plain or NEW)])
            taken.append(text)
            config[role] = text if own_class or rnd.random() < 0.7 else {"__type": "AddedToken", "content": text, "lstrip": rnd.random() < 0.5, "rstrip": rnd.random() < 0.5, "normalized": rnd.random() < 0.5, "single_word": rnd.random() < 0.3, "special": True}
        elif rnd.random() < 0.2:
            config[role] = None
    for flag in ("add_bos_token", "add_eos_token", "clean_up_tokenization_spaces"):
        if rnd.random() < 0.7:
            config[flag] = rnd.random() < 0.6
    if rnd.random() < 0.5:
        config["image_token"] = "<image>"
        taken.append("<image>")
    if rnd.random() < 0.4:
        extra = rnd.sample([x for x in NEW + plain[:5] if x not in taken] or ["<new>", "<other>"], 2)      # named twice with other flags, a token is two halves there
        config[rnd.choice(("extra_special_tokens", "additional_special_tokens"))] = extra
        taken += extra
    if rnd.random() < 0.4 and j["added_tokens"] and not own_class:
        config["added_tokens_decoder"] = {str(x["id"]): {k: (rnd.random() < 0.3 if k in ("lstrip", "rstrip", "single_word") else v) for k, v in x.items() if k != "id"} for x in j["added_tokens"]}
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    json.dump(j, open(os.path.join(path, "tokenizer.json"), "w"))
    json.dump(config, open(os.path.join(path, "tokenizer_config.json"), "w"))
    beside = None
    if rnd.random() < 0.4:
        text = rnd.choice(NEW)
        taken.append(text)
        beside = {rnd.choice(ROLES): text if rnd.random() < 0.5 else {"content": text, "lstrip": False, "normalized": False, "rstrip": True, "single_word": False}}
        json.dump(beside, open(os.path.join(path, "special_tokens_map.json"), "w"))
    return name, config, beside, taken + added + plain[:40]


def ids_of(binary, path, texts, *flags):
    return [[int(i) for i in line.split()] for line in program(binary, path, "\x01".join(texts).encode() + b"\x01", "--separator", "\x01", "--special", *flags).decode().split("\n")[:-1]]


def check(binary, path, rnd, words):
    t = AutoTokenizer.from_pretrained(path)
    t._tokenizer.no_truncation()
    t._tokenizer.no_padding()
    pieces = words + ["a", " ", "  ", ".", " .", "?", " ,", "'s", " n't", "the Duke", "King", "don't", "\n", "\u00e9", "12"]
    texts = ["".join(rnd.choice(pieces) + rnd.choice(("", " ")) for _ in range(rnd.choice((1, 3, 8, 16)))) for _ in range(60)]
    for frame in (False, True):
        want = [t(text, add_special_tokens=frame)["input_ids"] for text in texts]
        for text, g, w in zip(texts, ids_of(binary, path, texts, *(("--add-special",) if frame else ())), want):
            if g != w:
                return f"frame {frame}, ids of {text!r}\n  got  {g}\n  want {w}\n       {t.convert_ids_to_tokens(w)}"
    for flag, skip in ((), True), (("--special",), False):
        for i, g in zip(want, decoded(binary, path, want, *flag)):
            if g != (w := t.decode(i, skip_special_tokens=skip)):
                return f"text of {i}, special tokens {'left out' if skip else 'kept'}\n  got  {g!r}\n  want {w!r}"
    return None


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("binary")
    a.add_argument("--folders", type=int, default=150)
    a.add_argument("--seed", type=int, default=1)
    a = a.parse_args()
    path, bad, classes = os.path.join(tempfile.mkdtemp(), "model"), 0, {}
    for number in range(a.folders):
        rnd = random.Random(f"{a.seed}/{number}")
        name, config, beside, words = folder(path, rnd, number)
        what = check(a.binary, path, rnd, words)
        classes[name] = classes.get(name, 0) + 1
        if what is not None:
            bad += 1
            print(f"folder {number}: {json.dumps(config)}, map {json.dumps(beside)}\n{what}", flush=True)
    print(f"{a.folders} folders, by class {classes}: {'the same' if not bad else f'{bad} differ'}")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
