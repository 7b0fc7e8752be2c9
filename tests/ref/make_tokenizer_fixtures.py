"""Ids by the `tokenizers` package, for tokenizers of several kinds and for one that this engine has learned.

Writes tests/fixtures/tokenizer.json: `text` to learn from, a `base` tokenizer.json that the package's own trainer made of it, `variants`
(top-level keys that replace those of the base), and `cases`: text, ids with special tokens taken for text, ids with special tokens. A case of
the variant "learned" belongs to tests/fixtures/tokenizer_learned.json, which tests/model/test_tokenizer.c writes (it says where when the
file differs) and this script only reads.

    python tests/ref/make_tokenizer_fixtures.py SHAKESPEARE.TXT

Texts leave out marks that Unicode knows only since version 10: the package puts them into another order, its tables of normal form C are older.
"""
import json
import os
import random
import sys

import tokenizers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

assert tokenizers.__version__ == "0.23.3", tokenizers.__version__
HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures")
rnd = random.Random(7)


def token(i, content, **flags):
    return {"id": i, "content": content, **{k: flags.get(k, False) for k in ("single_word", "lstrip", "rstrip", "normalized", "special")}}


def byte_level(prefix=False, regex=True):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex}


def split(digits, behavior="Isolated", invert=False):
    """The pattern of GPT-4, Llama 3 and Qwen, which differ in how many digits stay together."""
    regex = ("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" + digits + "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+")
    return {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": invert}, byte_level(regex=False)]}


def training_text(path):
    plays = open(path, encoding="utf-8").read()[:5000]
    parts = ["Straße", "über", "größer", "naïve", "привет", "мир", "говорит", "日本語", "中文", "文字", "한국어", "हिन्दी", "e\u0301t\u00e9", "x1", "2024", "3.14", "don't", "we'll", "==", "->", "\t", "\n\n", "    "]
    return plays + " ".join(rnd.choice(parts) for _ in range(500)) + "\n"


def base_of(text):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator([text], trainers.BpeTrainer(vocab_size=500, special_tokens=["<|endoftext|>", "<|padding|>"], show_progress=False,
                                                      initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return json.loads(t.to_str())


def variants_of(base):
    n, special = len(base["model"]["vocab"]), base["added_tokens"]
    spaces = [token(n + k, " " * (4 - k), normalized=True) for k in range(3)]
    strips = [token(n, "<mask>", lstrip=True, special=True), token(n + 1, "<cut>", rstrip=True, special=True), token(n + 2, "one", single_word=True, normalized=True),
              token(n + 3, "<both>", lstrip=True, rstrip=True), token(n + 4, "e\u0301\u0301", normalized=True)]
    return {
        "plain": {},
        "old merges": {"model": {**base["model"], "merges": [" ".join(m) for m in base["model"]["merges"]]}},
        "spaces": {"normalizer": {"type": "NFC"}, "added_tokens": special + spaces},
        "digits": {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level()]}},
        "runs of digits": {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": False}, byte_level(prefix=True)]}},
        "gpt-4": {"pre_tokenizer": split("\\p{N}{1,3}", "Removed", True)},
        "qwen": {"pre_tokenizer": split("\\p{N}")},
        "one word": {"pre_tokenizer": byte_level(regex=False)},
        "prefix": {"pre_tokenizer": byte_level(prefix=True), "decoder": byte_level(prefix=True)},
        "prefix, one word": {"pre_tokenizer": byte_level(prefix=True, regex=False)},
        "strips": {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]}, "added_tokens": special + strips},
        "whole words": {"model": {**base["model"], "ignore_merges": True, "merges": base["model"]["merges"][:60]}},
    }


def texts(training):
    pool = [chr(c) for c in [*range(9, 14), *range(32, 127), *range(0xA0, 0x180), *range(0x300, 0x340), *range(0x400, 0x450), *range(0x905, 0x94E), *range(0x1100, 0x1113),
                             *range(0x1161, 0x1176), *range(0xAC00, 0xAC20), *range(0x4E00, 0x4E20), *range(0x2000, 0x2010), 0x2028, 0x3000, 0xFEFF, 0x85, 0xB2, 0xBD, 0x660, 0x2460,
                             0x24B6, 0x1F600, 0x1D15E, 0xF900, 0x212B, 0x1E9E]]
    pieces = ["<|endoftext|>", "<|padding|>", "<mask>", "<cut>", "<both>", "one", "everyone", "two", " ", "  ", "   ", "     ", "\n", "\r\n", "\t", "a", "Zeus", "1", "23", "'s", "'LL", "'ll", "'\u017f", "\r\n\r\n", " \n ", "123456789",
              "!", "<", "|>", "é", "e\u0301", "e\u0301\u0301", "_", "\u00a0", "-"]
    yield from ["", " ", "\n", "a", " a", "a ", "\n\n\n", "'", "''s", "don't you'll", "  two  spaces ", "x\u0301\u0316y", "\u1100\u1161\u11a8", "12 345", "a1b22c333", training[300:700], training[-300:]]
    for n in (5, 20, 60):
        yield from ("".join(rnd.choice(pool) for _ in range(n)) for _ in range(4))
        yield from ("".join(rnd.choice(pieces) for _ in range(n)) for _ in range(4))


def ids(t, text, special):
    t.encode_special_tokens = not special
    return t.encode(text, add_special_tokens=False).ids


def main():
    text = training_text(sys.argv[1])
    base = base_of(text)
    variants = variants_of(base)
    cases, every = [], list(texts(text))
    learned = os.path.join(HERE, "tokenizer_learned.json")
    for name in [*variants, "learned"]:
        if name == "learned" and not os.path.exists(learned):
            print("tokenizer_learned.json is missing: run the test, put its file there, run this again")
            continue
        t = Tokenizer.from_file(learned) if name == "learned" else Tokenizer.from_str(json.dumps({**base, **variants[name]}))
        for s in every:
            plain, special = ids(t, s, False), ids(t, s, True)
            cases.append({"variant": name, "text": s, "ids": plain, **({} if plain == special else {"special": special})})
    out = {"made by": f"tests/ref/make_tokenizer_fixtures.py, tokenizers {tokenizers.__version__}, seed 7", "text": text, "base": base, "variants": variants, "cases": cases}
    with open(os.path.join(HERE, "tokenizer.json"), "w", encoding="utf-8") as f:
        json.dump(out, f, ensure_ascii=False, separators=(",", ":"))
        f.write("\n")
    print(len(cases), "cases")


main()
