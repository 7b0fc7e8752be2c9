"""Added tokens against the `tokenizers` package: all combinations of single_word, lstrip, rstrip, normalized and special, before every kind of model.

    python tests/ref/check_added_tokens.py BINARY [--tokenizers N] [--texts N] [--seed N]

Makes N small tokenizers, each with a dozen added tokens that overlap, lie in each other and in words of the vocabulary, and texts of these tokens, blanks and
words; compares ids, offsets and decoded texts as check_tokenizers.py does, with special tokens as text and as ids. Texts at which the package itself gives up are left out. Ends
with 1 when one differs.
"""
import argparse
import json
import os
import random
import sys
import tempfile

os.environ["RUST_BACKTRACE"] = "0"
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from check_tokenizers import check
from tokenizers import AddedToken, Regex, Tokenizer, decoders as D, models as M, normalizers as N, pre_tokenizers as P, processors as X, trainers as T

CONTENTS = ["a", "ab", "abc", "b", "the", "he", "King", "king", "KING", "<s>", "</s>", "<|x|>", "|x|", "_", "__", "a_b", "1", "12", ".", "..", "!", "\u00e9", "e\u0301", "\u00c9", "\u4e2d", "\u4e2d\u6587", "\ufb01",
            " a", "a ", " b ", "  ", "\n", "\t", "x y", "\u2581a", "\u2581", "\u00a0", "\u0301", "\u200d", "\U0001f600", "'s", "-", "don't", "\u00df", "SS", "\u0130", "i"]
WORDS = ["a", "b", "ab", "abc", "abcab", "the", "then", "he", "she", "King", "kings", "x", "y", "xy", "12", "3", "_", "a_b", "caf\u00e9", "cafe\u0301", "\u00c9t\u00e9", "\u4e2d", "\u6587", "\ufb01n", "fin", "stra\u00dfe", "STRASSE",
         "\u0130stanbul", ".", "!", "'", "'s", "-", "\u2581", "\U0001f600", "\u200d", "\u0301", "\u203f", "\u0660", "\u00b2", "\u24b6", "\u0902", "\u3000"]
BLANKS = ["", "", "", " ", " ", " ", "  ", "\n", "\t", "\u00a0", " \n ", "\u3000", "\u2028", "\u0085", "\u200b"]


def corpus(rnd):
    return ["".join(rnd.choice(WORDS) + rnd.choice(BLANKS) for _ in range(12)) for _ in range(300)]


def model(rnd, kind):
    """A small model of a kind with what belongs around it."""
    lines = corpus(rnd)
    if kind == "bytes":
        t = Tokenizer(M.BPE())
        t.normalizer = rnd.choice((None, None, N.NFC(), N.NFKC(), N.Lowercase(), N.Sequence([N.NFD(), N.StripAccents()])))
        prefix = rnd.random() < 0.3
        t.pre_tokenizer = rnd.choice((P.ByteLevel(add_prefix_space=prefix), P.Sequence([P.Digits(True), P.ByteLevel(add_prefix_space=prefix)]), P.Sequence([P.Split(Regex(r"\p{L}+|\s+"), "isolated"), P.ByteLevel(add_prefix_space=prefix, use_regex=False)])))
        t.decoder = D.ByteLevel()
        t.post_processor = rnd.choice((None, X.ByteLevel(trim_offsets=True), X.ByteLevel(trim_offsets=False, add_prefix_space=prefix)))
        t.train_from_iterator(lines, T.BpeTrainer(vocab_size=330, initial_alphabet=sorted(P.ByteLevel.alphabet()), show_progress=False))
    elif kind == "characters":
        t = Tokenizer(M.BPE(unk_token="<unk>", fuse_unk=rnd.random() < 0.5))
        if rnd.random() < 0.5:
            t.normalizer = N.Sequence([N.Prepend("\u2581"), N.Replace(" ", "\u2581")])
        else:
            t.normalizer = rnd.choice((None, N.NFKC(), N.Lowercase()))
            t.pre_tokenizer = P.Metaspace(prepend_scheme=rnd.choice(("first", "always", "never")), split=rnd.random() < 0.5)
        t.decoder = D.Sequence([D.Replace("\u2581", " "), D.ByteFallback(), D.Fuse(), D.Strip(" ", 1, 0)])
        t.train_from_iterator(lines, T.BpeTrainer(vocab_size=150, special_tokens=["<unk>"], show_progress=False))
        j = json.loads(t.to_str())
        if rnd.random() < 0.5:
            vocab = j["model"]["vocab"]
            for b in range(256):
                vocab.setdefault(f"<0x{b:02X}>", len(vocab))
            j["model"]["byte_fallback"] = True
        j["model"]["ignore_merges"] = rnd.random() < 0.3
        t = Tokenizer.from_str(json.dumps(j))
    elif kind == "unigram":
        t = Tokenizer(M.Unigram())
        t.normalizer = rnd.choice((None, N.NFKC(), N.Sequence([N.Nmt(), N.Lowercase()]), N.Replace(Regex(" {2,}"), " ")))
        t.pre_tokenizer = rnd.choice((P.Metaspace(), P.Metaspace(prepend_scheme="first"), P.Sequence([P.WhitespaceSplit(), P.Metaspace()])))
        t.decoder = D.Metaspace()
        t.train_from_iterator(lines, T.UnigramTrainer(vocab_size=120, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False))
    else:
        t = Tokenizer(M.WordPiece(unk_token="[UNK]"))
        t.normalizer = rnd.choice((N.BertNormalizer(), N.BertNormalizer(lowercase=False), N.Sequence([N.NFD(), N.StripAccents(), N.Strip()])))
        t.pre_tokenizer = rnd.choice((P.BertPreTokenizer(), P.Whitespace()))
        t.decoder = D.WordPiece()
        t.train_from_iterator(lines, T.WordPieceTrainer(vocab_size=150, special_tokens=["[UNK]"], show_progress=False))
    return t


def made(rnd, number):
    t = model(rnd, ("bytes", "characters", "unigram", "wordpiece")[number % 4])
    contents = rnd.sample(CONTENTS, 12)
    vocab = t.get_vocab()
    words = [w for w in vocab if 1 < len(w) < 8 and w.isascii() and w.isalnum()]
    if number % 4 == 0:                              # letters that spell a byte are no texts there
        contents = [c for c in contents if c.isascii() or c not in vocab]
    contents += rnd.sample(sorted(words), min(3, len(words)))
    shapes = rnd.sample(range(32), 15)               # bits: single_word, lstrip, rstrip, normalized, special
    taken = {"": 0}                                  # of nothing the package makes a match everywhere; of tokens that become one text it finds one or the other
    for content, bits in zip(contents, shapes):
        normal = t.normalizer.normalize_str(content) if bits & 8 and t.normalizer else content
        if normal in taken or (normal != content and (normal in contents or normal.isspace() or number % 4 == 0 and not normal.isascii())):
            continue
        taken[normal] = 1
        t.add_tokens([AddedToken(content, single_word=bool(bits & 1), lstrip=bool(bits & 2), rstrip=bool(bits & 4), normalized=bool(bits & 8), special=bool(bits & 16))])
    return t, contents, shapes


def texts_of(rnd, contents, n):
    def piece():
        p = rnd.choice(contents) if rnd.random() < 0.5 else rnd.choice(WORDS)
        return rnd.choice((p, p, p, p, p.upper(), p.lower(), p.title()))
    for _ in range(n):
        yield "".join(piece() + rnd.choice(BLANKS) for _ in range(rnd.choice((1, 2, 4, 8, 20)))).replace("\0", "")


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("binary")
    a.add_argument("--tokenizers", type=int, default=120)
    a.add_argument("--texts", type=int, default=200)
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--keep", help="where the first tokenizer that differs is written")
    a = a.parse_args()
    path = os.path.join(tempfile.mkdtemp(), "tokenizer.json")
    all_shapes, count, bad = set(), 0, 0
    for number in range(a.tokenizers):
        rnd = random.Random(f"{a.seed}/{number}")
        t, contents, shapes = made(rnd, number)
        t.save(path)
        texts = [text.encode() for text in texts_of(rnd, contents, a.texts)]
        what = check(a.binary, path, texts, fragile=True)
        all_shapes |= {(number % 4, s) for s in shapes}
        count += len(texts)
        if what is not None:
            bad += 1
            added = [x for x in json.loads(t.to_str())["added_tokens"]]
            print(f"tokenizer {number}: {what}\n  added: {added}\n  normalizer {t.normalizer}, pre-tokenizer {t.pre_tokenizer}", flush=True)
            if a.keep:
                t.save(a.keep)
                break
    print(f"{a.tokenizers} tokenizers, {count} texts, {len(all_shapes)} of 128 combinations of model and flags: {'the same' if not bad else f'{bad} tokenizers differ'}")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
