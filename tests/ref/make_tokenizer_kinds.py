"""Small tokenizers of every kind, trained by the `tokenizers` package, and what it says about texts.

    python tests/ref/make_tokenizer_kinds.py DATA [--folder DIR]

Writes tests/fixtures/tokenizer_kinds.json: `tokenizers` by name, `texts`, and by name for each text: ids and offsets as plain text; the same with special tokens
and frame, where they differ; the decoded text. --folder also writes each tokenizer as a file, for check_tokenizers.py, with larger vocabularies and all patterns.
DATA is the folder of real texts.
"""
import argparse
import base64
import json
import os
import random
import struct

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders as D, models as M, normalizers as N, pre_tokenizers as P, processors as X, trainers as T

assert tokenizers.__version__ == "0.23.3", tokenizers.__version__
HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures")
CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
AFTER = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CASED = rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
HAN_HANGUL = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
PATTERNS = {
    "llama3": [CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + AFTER],
    "qwen2": [CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + AFTER],
    "qwen35": [CONTRACTION + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"],
    "o200k": [rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{CONTRACTION}?|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{CONTRACTION}?|\p{{N}}{{1,3}}" + CASED],
    "tekken": [rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*|\p{{N}}" + CASED],
    "deepseek3": [r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    "coder": [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", HAN_HANGUL, r"\p{N}"],
    "deepseek": ["[\r\n]", "\\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376\u0377\u0400-\u0481]+",
                 "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+", "\\s+$", HAN_HANGUL, "\\p{N}+"],
    "bloom": [" ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"],
    "starcoder": [r"\p{N}", GPT2],
    "pcre": [r"(?:foo|[a-z](?=[A-Z]))+|(?<=x)y|\d+(?:\.\d+)?"],
}


class Maker:
    def __init__(self, data, large):
        self.large = large
        plays = open(os.path.join(data, "text", "shakespeare.txt"), encoding="utf-8").read()
        self.text = plays[:200000 if large else 30000].split("\n")
        for name in ("de", "fr", "ru", "hi"):
            self.text += open(os.path.join(data, "text", "parallel", name + ".txt"), encoding="utf-8").read().split("\n")[:150 if large else 12]
        self.text += [line[:12] for line in open(os.path.join(data, "text", "parallel", "zh.txt"), encoding="utf-8").read().split("\n")[:40 if large else 4]]
        self.made = {}

    def keep(self, name, t, post=None, added=(), specials=()):
        t.post_processor = post
        t.add_special_tokens(list(specials))
        t.add_tokens(list(added))
        self.made[name] = json.loads(t.to_str())

    def unigram(self, name, norm, pre, dec, fallback=False, **keep):
        t = Tokenizer(M.Unigram())
        t.normalizer, t.pre_tokenizer = norm, pre
        t.train_from_iterator(self.text, T.UnigramTrainer(vocab_size=1500 if self.large else 400, special_tokens=["<unk>", "<s>", "</s>"], unk_token="<unk>", show_progress=False))
        j = json.loads(t.to_str())
        j["model"]["vocab"] = [[p, round(s, 4)] for p, s in j["model"]["vocab"]]
        if fallback:
            j["model"]["vocab"] += [[f"<0x{b:02X}>", -30.0] for b in range(256)]
            j["model"]["byte_fallback"] = True
        t = Tokenizer.from_str(json.dumps(j))
        t.decoder = dec
        self.keep(name, t, **keep)

    def wordpiece(self, name, norm, pre, dec, prefix="##", edit=None, **keep):
        t = Tokenizer(M.WordPiece(unk_token="[UNK]", continuing_subword_prefix=prefix))
        t.normalizer, t.pre_tokenizer = norm, pre
        t.train_from_iterator(self.text, T.WordPieceTrainer(vocab_size=1500 if self.large else 420, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], continuing_subword_prefix=prefix, show_progress=False))
        j = json.loads(t.to_str())
        j["model"].update(edit or {})
        t = Tokenizer.from_str(json.dumps(j))
        t.decoder = dec
        self.keep(name, t, **keep)

    def bpe(self, name, norm, pre, dec, train=None, edit=None, fallback=False, size=340, post=None, added=(), specials=None, **trainer):
        t = Tokenizer(M.BPE(**(train or {})))
        t.normalizer, t.pre_tokenizer = norm, pre
        t.train_from_iterator(self.text, T.BpeTrainer(vocab_size=1500 if self.large else size, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False, **trainer))
        j = json.loads(t.to_str())
        j["model"].update(edit or {})
        vocab = j["model"]["vocab"]
        for b in range(256 if fallback else 0):
            vocab[f"<0x{b:02X}>"] = len(vocab)
        t = Tokenizer.from_str(json.dumps(j))
        t.decoder = dec
        self.keep(name, t, post, added, [AddedToken("<pad>", lstrip=True, rstrip=True)] if specials is None else specials)

    def letters(self, name, norm=None, pre=(), prefix=False, regex=True, size=300, **more):
        self.bpe(name, norm, P.Sequence([*pre, P.ByteLevel(add_prefix_space=prefix, use_regex=regex)]), D.ByteLevel(), size=size, initial_alphabet=sorted(P.ByteLevel.alphabet()), **more)

    def all(self):
        frame = X.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
        llama = D.Sequence([D.Replace("\u2581", " "), D.ByteFallback(), D.Fuse(), D.Strip(" ", 1, 0)])
        few = {"limit_alphabet": 70, "max_token_length": 12}
        self.unigram("unigram", N.Sequence([N.NFKC(), N.Replace(Regex(" {2,}"), " ")]), P.Metaspace(), D.Metaspace(), post=X.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 2)]))
        self.unigram("unigram, bytes", N.Sequence([N.Nmt(), N.NFKD(), N.StripAccents(), N.Lowercase()]), P.Sequence([P.WhitespaceSplit(), P.Metaspace(prepend_scheme="first")]),
                     D.Sequence([D.ByteFallback(), D.Metaspace(prepend_scheme="first")]), fallback=True, added=[AddedToken("Duke", single_word=True), AddedToken("zz", lstrip=True, rstrip=True, normalized=False)])
        self.unigram("unigram, one piece", None, P.Metaspace(prepend_scheme="never", split=False), D.Metaspace(prepend_scheme="never"))
        self.unigram("unigram, no decoder", N.NFD(), P.Punctuation("merged_with_previous"), None)
        self.wordpiece("bert", N.BertNormalizer(), P.BertPreTokenizer(), D.WordPiece(), post=X.BertProcessing(("[SEP]", 3), ("[CLS]", 2)))
        self.wordpiece("bert, cased", N.BertNormalizer(lowercase=False, strip_accents=False, handle_chinese_chars=False, clean_text=False), P.Whitespace(), D.WordPiece(cleanup=False), edit={"max_input_chars_per_word": 8},
                       added=[AddedToken("[X]", lstrip=True), "King"])
        self.wordpiece("wordpiece, odd", N.Sequence([N.Strip(), N.NFC(), N.Replace("a", "uu")]), P.Sequence([P.CharDelimiterSplit("e"), P.Digits(True), P.Punctuation("contiguous")]), D.WordPiece(prefix="_"), prefix="_")
        self.bpe("llama", N.Sequence([N.Prepend("\u2581"), N.Replace(" ", "\u2581")]), None, llama, edit={"byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>"}, fallback=True,
                 post=X.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]), **few)
        self.bpe("llama, later", None, P.Metaspace(prepend_scheme="first", split=False), llama, edit={"byte_fallback": True, "unk_token": "<unk>"}, fallback=True, added=["  ", "Duke"], **few)
        self.bpe("gemma", N.Replace(" ", "\u2581"), P.Split(" ", "merged_with_previous"), D.Sequence([D.Replace("\u2581", " "), D.ByteFallback(), D.Fuse()]), edit={"byte_fallback": True, "unk_token": "<unk>"}, fallback=True, **few)
        self.bpe("suffix", N.Lowercase(), P.WhitespaceSplit(), D.BPEDecoder("</w>"), train={"unk_token": "<unk>"}, edit={"fuse_unk": True}, limit_alphabet=60, end_of_word_suffix="</w>")
        self.bpe("prefix and suffix", None, P.Whitespace(), D.BPEDecoder("</w>"), train={"unk_token": "<unk>"}, limit_alphabet=60, continuing_subword_prefix="##", end_of_word_suffix="</w>")
        self.bpe("no unknown token", N.NFKC(), P.Split(Regex("[aeiou]+"), "merged_with_next"), None, limit_alphabet=60)
        self.bpe("whole words", None, P.Split(Regex(r"\w+|[^\w\s]+"), "removed", invert=True), D.WordPiece(), continuing_subword_prefix="##", edit={"ignore_merges": True, "unk_token": "<unk>"}, size=420)
        self.letters("roberta", prefix=True, post=X.RobertaProcessing(("</s>", 2), ("<s>", 1), trim_offsets=True, add_prefix_space=True))
        self.letters("trimmed", post=X.ByteLevel(trim_offsets=True), added=[AddedToken("Duke", lstrip=True), AddedToken("King", rstrip=True, normalized=False)])
        self.letters("normal form", norm=N.NFC(), post=X.ByteLevel(trim_offsets=False))
        self.letters("several", pre=[P.Digits(True), P.Punctuation("isolated")], regex=False, post=X.Sequence([X.ByteLevel(trim_offsets=True), frame]))
        self.bpe("letters by the normalizer", N.Sequence([N.Lowercase(), N.ByteLevel()]), None, D.ByteLevel(), size=300, initial_alphabet=sorted(P.ByteLevel.alphabet()), max_token_length=12)
        self.bpe("letters, unknown", None, P.ByteLevel(add_prefix_space=True), D.ByteLevel(), edit={"unk_token": "<unk>", "fuse_unk": True}, size=300)
        self.bpe("letters in the midst", None, P.Sequence([P.ByteLevel(add_prefix_space=False), P.Digits(False)]), D.ByteLevel(), size=300, initial_alphabet=sorted(P.ByteLevel.alphabet()))
        self.words()
        self.charsmap()
        for name in PATTERNS if self.large else ():
            self.letters("pattern " + name, pre=[P.Split(Regex(x), "isolated") for x in PATTERNS[name]], regex=False)

    def words(self):
        t = Tokenizer(M.WordLevel(unk_token="<unk>"))
        t.pre_tokenizer = P.Sequence([P.Whitespace(), P.FixedLength(4)])
        t.train_from_iterator(self.text, T.WordLevelTrainer(vocab_size=300, special_tokens=["<unk>"], show_progress=False))
        self.keep("words", t)

    def charsmap(self):
        """A Precompiled normalizer whose table is made here: four keys in a double array that has a block for every node."""
        keys = {"\ufb01": "fi", "\u00a0": " ", "e\u0301": "E", "\u2026": "...", "\u0301": "", "\U0001f600": ":)"}
        j = json.loads(json.dumps(self.made["unigram, no decoder"]))
        j["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(double_array(keys)).decode()}
        self.made["precompiled"] = json.loads(Tokenizer.from_str(json.dumps(j)).to_str())


def double_array(keys):
    """SentencePiece's table: u32 size, units, texts. Unit: bits 0-7 label, 8 has a value, 10-30 offset (exclusive or), 9: offset times 256."""
    texts, at = b"", {}
    for key, text in keys.items():
        at[key] = len(texts)
        texts += text.encode() + b"\0"
    tree = {}
    for key in keys:
        node = tree
        for byte in key.encode():
            node = node.setdefault(byte, {})
        node[None] = at[key]
    units = [0] * 256
    block = [1]

    def place(node, index):
        base = block[0] * 256                        # every node has a block of 256 units of its own
        block[0] += 1
        units.extend([0] * (base + 256 - len(units)))
        offset = base ^ index
        shift = offset >> 8 << 10 | 1 << 9 if offset & 255 == 0 and offset >> 21 == 0 and offset >= 1 << 21 else offset << 10
        units[index] |= shift
        if None in node:
            units[index] |= 1 << 8
            units[base] = node[None] | 1 << 31
        for byte, child in node.items():
            if byte is not None:
                units[base ^ byte] = byte
                place(child, base ^ byte)

    place(tree, 0)
    units[0] &= ~0xFF
    return struct.pack("<I", 4 * len(units)) + struct.pack(f"<{len(units)}I", *units) + texts


def texts():
    rnd = random.Random(11)
    pieces = ["<unk>", "<s>", "</s>", "<pad>", "[CLS]", "[SEP]", "[MASK]", "Duke", "King", "zz", "[X]", "<0x41>", " ", "  ", "\n", "\r\n", "\t", "'s", "'LL", "the", "Straße", "12345", "3.14", "don't", "_", "\u2581", "\u0120",
              "e\u0301", "\ufb01", "\u0130", "\u00a0", "\u3000", "中文", "日本語", "한국", "हिन्दी", "Привет", "😀", "\u200d", "\ufeff", "\u0085", "½", "$", "!?", "—", "…", "\u0301", "A", "x"]
    yield from ["", " ", "\n", "a", " a ", "Hello, world!", " Hello  world ", "First Citizen:\nBefore we proceed any further, hear me speak.", "x\u0301\u0316y", "\u1100\u1161\u11a8", "Ça me plaît, c'était déjà l'été.",
                "Большой дом у реки 1234567", "a<pad> b", "Duke and Dukes", "e e e e", "ﬁne…\u00a0ok", "\u0301\u0301", "supercalifragilisticexpialidocious"]
    for n in (3, 8, 20):
        yield from ("".join(rnd.choice(pieces) for _ in range(n)) for _ in range(5))


def said(t, text, special):
    t.encode_special_tokens = not special
    e = t.encode(text, add_special_tokens=special)
    return [e.ids, [x for o in e.offsets for x in o]]


def main():
    a = argparse.ArgumentParser()
    a.add_argument("data")
    a.add_argument("--folder")
    a = a.parse_args()
    if a.folder:
        m = Maker(a.data, True)
        m.all()
        os.makedirs(a.folder, exist_ok=True)
        for name, j in m.made.items():
            json.dump(j, open(os.path.join(a.folder, name.replace(",", "").replace(" ", "_") + ".json"), "w", encoding="utf-8"), ensure_ascii=False)
    m = Maker(a.data, False)
    m.all()
    every = list(texts())
    out = {"made by": f"tests/ref/make_tokenizer_kinds.py, tokenizers {tokenizers.__version__}", "texts": every, "tokenizers": m.made, "cases": {}}
    for name, j in m.made.items():
        t = Tokenizer.from_str(json.dumps(j))
        out["cases"][name] = []
        for text in every:
            plain, framed = said(t, text, False), said(t, text, True)
            out["cases"][name].append([*plain, t.decode(plain[0]), *(framed if framed != plain else [])])
    with open(os.path.join(HERE, "tokenizer_kinds.json"), "w", encoding="utf-8") as f:
        json.dump(out, f, ensure_ascii=False, separators=(",", ":"))
        f.write("\n")
    print(len(m.made), "tokenizers,", len(every), "texts")


main()
