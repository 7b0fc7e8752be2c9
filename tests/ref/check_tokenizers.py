"""Ids, offsets and texts of `switchyard tokenize` against the `tokenizers` package, over many texts and tokenizers; and how fast both are.

    python tests/ref/check_tokenizers.py BINARY [--data DIR] [--random N] [--seed N] [--speed | --long] TOKENIZER.JSON...

For every tokenizer: each line of each text below DIR, N random texts of code points that Unicode 12 assigns and of what tokenizers trip over, and N texts of
broken UTF-8 (which the package never sees: Python replaces it by U+FFFD). Plain text and text with special tokens and a frame, offsets, decoding. Ends
with 1 when a tokenizer differs and prints how. --speed compares the speeds over DIR/text, --long encodes 131072 times one character.
"""
import argparse
import glob
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import time
import unicodedata

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
import tokenizers
from tokenizers import Tokenizer

assert tokenizers.__version__ == "0.23.3", tokenizers.__version__
SEPARATOR = b"\x01\x02--\x03\n"
PIECES = ["<|endoftext|>", "<unk>", "<s>", "</s>", "<pad>", "[CLS]", "[SEP]", "[MASK]", "Duke", "King", "zz", "[X]", "<0x41>", "##a", " ", "  ", "   ", "\n", "\r\n", "\t", "\n\n", " \n", "'s", "'LL", "'\u017f",
          "a", "the", "Straße", "12345", "3.14", "x1", "don't", "we'll", "fooBar", "_", "__", "\u2581", "\u0120", "e\u0301", "\u0301", "\ufb01", "\u0130", "\u00a0", "\u3000", "中文字", "日本語", "한국어", "हिन्दी",
          "Привет", "😀", "👩‍👩‍👧", "\u200d", "\ufeff", "\u2028", "\u0085", "½", "²", "Ⅷ", "ǅ", "ʰ", "$", "+", "<", "=", "~", "`", "|", "!?", "/", "—", "…"]


def assigned():
    """Code points of Unicode 12, as far as the package's older tables agree on them: marks of later years are left out of normal forms."""
    if unicodedata.unidata_version < "12":
        raise SystemExit("Python's Unicode tables are older than 12")
    old = unicodedata.ucd_3_2_0
    safe = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000 and unicodedata.category(chr(c)) not in ("Cn", "Co")]
    young = {c for lo, hi in LATER for c in range(lo, hi + 1)}
    return [c for c in safe if c not in young], [c for c in safe if old.category(chr(c)) != "Cn"]


# What Unicode 13 and 14 added, by the derived ages of the character database.
LATER = [(0x61D, 0x61D), (0x870, 0x88E), (0x890, 0x891), (0x898, 0x89F), (0x8B5, 0x8B5), (0x8BE, 0x8D2), (0xB55, 0xB55), (0xC3C, 0xC3C), (0xC5D, 0xC5D), (0xCDD, 0xCDD), (0xD04, 0xD04), (0xD81, 0xD81), (0x170D, 0x170D),
         (0x1715, 0x1715), (0x171F, 0x171F), (0x180F, 0x180F), (0x1ABF, 0x1ACE), (0x1B4C, 0x1B4C), (0x1B7D, 0x1B7E), (0x1DFA, 0x1DFA), (0x20C0, 0x20C0), (0x2B97, 0x2B97), (0x2C2F, 0x2C2F), (0x2C5F, 0x2C5F),
         (0x2E50, 0x2E5D), (0x31BB, 0x31BF), (0x4DB6, 0x4DBF), (0x9FF0, 0x9FFF), (0xA7C0, 0xA7C1), (0xA7C7, 0xA7CA), (0xA7D0, 0xA7D9), (0xA7F2, 0xA7F6), (0xA82C, 0xA82C), (0xAB68, 0xAB6B), (0xFBC2, 0xFBC2),
         (0xFD40, 0xFD4F), (0xFDCF, 0xFDCF), (0xFDFE, 0xFDFF), (0x1019C, 0x1019C), (0x10570, 0x105BC), (0x10780, 0x107BA), (0x10E80, 0x10EB1), (0x10F70, 0x10F89), (0x10FB0, 0x10FCB), (0x11070, 0x11075), (0x110C2, 0x110C2),
         (0x11147, 0x11147), (0x111CE, 0x111CF), (0x1145A, 0x1145A), (0x11460, 0x11461), (0x116B9, 0x116B9), (0x11740, 0x11746), (0x11900, 0x11959), (0x11AB0, 0x11ABF), (0x11FB0, 0x11FB0), (0x12F90, 0x12FF2),
         (0x16A70, 0x16AC9), (0x16FE4, 0x16FE4), (0x16FF0, 0x16FF1), (0x18AF3, 0x18CD5), (0x18D00, 0x18D08), (0x1AFF0, 0x1AFFE), (0x1B11F, 0x1B122), (0x1CF00, 0x1CFC3), (0x1D1E9, 0x1D1EA), (0x1DF00, 0x1DF1E),
         (0x1E290, 0x1E2AE), (0x1E7E0, 0x1E7FE), (0x1F10D, 0x1F10F), (0x1F16D, 0x1F16F), (0x1F1AD, 0x1F1AD), (0x1F6D6, 0x1F6D7), (0x1F6DD, 0x1F6DF), (0x1F6FB, 0x1F6FC), (0x1F7F0, 0x1F7F0), (0x1F8B0, 0x1F8B1),
         (0x1F90C, 0x1F90C), (0x1F972, 0x1F972), (0x1F977, 0x1F979), (0x1F9A3, 0x1F9A4), (0x1F9AB, 0x1F9AD), (0x1F9CB, 0x1F9CC), (0x1FA74, 0x1FA74), (0x1FA7B, 0x1FAFF), (0x1FB00, 0x1FBFF), (0x2A6D7, 0x2A6DF),
         (0x2B735, 0x2B738), (0x30000, 0x3134A)]


def random_texts(rnd, n):
    every, old = assigned()
    for _ in range(n):
        k = rnd.choice((1, 3, 10, 40))
        yield "".join(chr(rnd.choice(every)) if rnd.random() < 0.3 else chr(rnd.choice(old[:600])) if rnd.random() < 0.5 else rnd.choice(PIECES) for _ in range(k)).replace("\0", "")


def broken_texts(rnd, n):
    for text in random_texts(rnd, n):
        b = bytearray(text.encode())
        for _ in range(rnd.randrange(1, 6)):
            at = rnd.randrange(len(b) + 1)
            if rnd.random() < 0.5 and b:
                del b[at:at + rnd.randrange(1, 3)]
            else:
                b[at:at] = rnd.choice((b"\xff", b"\xc3", b"\xe2\x82", b"\xf0\x9f", b"\x80", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80"))
        yield bytes(b)


def lines_of(data):
    for path in sorted(glob.glob(os.path.join(data, "**", "*.txt"), recursive=True) + glob.glob(os.path.join(data, "**", "*.jsonl"), recursive=True)):
        yield from open(path, "rb").read().split(b"\n")


def program(binary, path, data, *flags):
    return subprocess.run([binary, "tokenize", path, "-q", *flags], input=data, stdout=subprocess.PIPE, check=True).stdout


def ours(binary, path, texts, *flags):
    """The lines that the program prints: "ID:BEGIN-END ..."."""
    return program(binary, path, SEPARATOR.join(texts) + SEPARATOR, "--offsets", "--separator", SEPARATOR.decode().replace("\n", "\\n"), *flags).split(b"\n")[:-1]


def line_of(e):
    return " ".join([f"{i}:{b}-{e}" for i, (b, e) in zip(e.ids, e.offsets)]).encode()


def decoded(binary, path, ids, *flags):
    return [json.loads(line)["text"] for line in program(binary, path, "\n".join(" ".join(map(str, i)) for i in ids).encode() + b"\n", "--decode", "--json", *flags).splitlines()]


def survives(t, text):
    """The package panics at some added tokens that lie in blanks."""
    try:
        t.encode(text)
        return True
    except BaseException as e:
        if type(e).__name__ != "PanicException":
            raise
        return False


def check_block(binary, path, t, texts, fragile=False):
    """None, or what differs first."""
    for special in (False, True) if fragile else ():
        t.encode_special_tokens = not special
        texts = [text for text in texts if survives(t, text.decode("utf-8", "replace"))]
    strings = [text.decode("utf-8", "replace") for text in texts]
    for special in (False, True):
        t.encode_special_tokens = not special
        got = ours(binary, path, texts, *(("--special", "--add-special") if special else ()))
        want = t.encode_batch(strings, add_special_tokens=special)
        if len(got) != len(want):
            return f"{len(got)} outputs for {len(want)} texts"
        for text, g, w in zip(texts, got, want):
            if g != (line := line_of(w)):
                return f"special {special}: {text!r}\n  got  {g.decode()}\n  want {line.decode()}\n       {w.tokens}"
        ids = [w.ids for w in want]
        del want
        for flag, skip in ((), True), (("--special",), False):
            for i, g, w in zip(ids, decoded(binary, path, ids, *flag), t.decode_batch(ids, skip_special_tokens=skip)):
                if g != w:
                    return f"text of {i}, special tokens {'left out' if skip else 'kept'}\n  got  {g!r}\n  want {w!r}"
    return None


def check(binary, path, texts, block=8192, fragile=False):
    t = Tokenizer.from_file(path)
    t.no_truncation()
    t.no_padding()
    for at in range(0, len(texts), block):
        what = check_block(binary, path, t, texts[at:at + block], fragile)
        if what is not None:
            return what
    return None


def long_texts(binary, path, n=131072):
    """Seconds of the processor for n times one character, the slowest of a few, with the program's start."""
    times = {}
    for letter in ("a", "Z", " ", "1", ".", "\u00e9", "\u4e2d", "\u0301", "\U0001f600", "ab", "a ", "_"):
        before = children()
        program(binary, path, (letter * n).encode(), "--separator", "\\0")
        times[letter] = children() - before
    worst = max(times, key=times.get)
    return times[worst], worst


def children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def speed(binary, path, data, pairs):
    """Processor time of both on one thread, in pairs that follow each other: medians, and the median of the ratios. What the program needs to start and to open
    the tokenizer is taken off; printing the ids stays in. The package encodes in batches of lines, without offsets by its faster call."""
    text = b"".join(open(p, "rb").read() for p in sorted(glob.glob(os.path.join(data, "text", "*.txt")) + glob.glob(os.path.join(data, "text", "parallel", "*.txt"))))
    lines = text.decode().split("\n")
    mb = len(text) / 1e6
    t = Tokenizer.from_file(path)
    t.encode_special_tokens = True

    def of_program(*flags):
        before = children()
        program(binary, path, text, *flags)
        middle = children()
        program(binary, path, b"", *flags)
        return (middle - before) - (children() - middle)

    def of_package(f):
        before = time.process_time()
        f(lines, add_special_tokens=False)
        return time.process_time() - before

    parts = []
    for what, flags, f in ("ids", (), t.encode_batch_fast), ("ids and offsets", ("--offsets",), t.encode_batch):
        both = [(of_program(*flags), of_package(f)) for _ in range(pairs)]
        own, other = (statistics.median(mb / x[k] for x in both) for k in (0, 1))
        parts.append(f"{what}: {own:6.1f} MB/s, package {other:6.1f}, ratio {statistics.median(y / x for x, y in both):5.2f}")
    return "; ".join(parts)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("binary")
    a.add_argument("files", nargs="+")
    a.add_argument("--data")
    a.add_argument("--random", type=int, default=300)
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--speed", action="store_true")
    a.add_argument("--pairs", type=int, default=5)
    a.add_argument("--long", action="store_true")
    a = a.parse_args()
    bad = 0
    for path in a.files:
        rnd = random.Random(a.seed)
        if a.speed:
            print(f"{os.path.basename(os.path.dirname(path)) + '/' + os.path.basename(path):40}", speed(a.binary, path, a.data, a.pairs), flush=True)
            continue
        if a.long:
            seconds, letter = long_texts(a.binary, path)
            print(f"{path}: 131072 times {letter!r} takes {seconds:.2f} s", flush=True)
            bad += seconds > 1
            continue
        texts = [t.encode() for t in random_texts(rnd, a.random)] + list(broken_texts(rnd, a.random))
        if a.data:
            texts += list(lines_of(a.data))
        texts = [t for t in texts if SEPARATOR not in t]
        what = check(a.binary, path, texts)
        print(f"{path}: {len(texts)} texts, {'the same' if what is None else what}", flush=True)
        bad += what is not None
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
