"""Small GGUF files for fuzz/corpus/gguf, written by hand from the format's definition: whole ones of every kind, and damaged ones.

    python tests/ref/make_gguf_corpus.py
"""
import os
import struct

OUT = os.path.join(os.path.dirname(__file__), "..", "..", "fuzz", "corpus", "gguf")


def text(s):
    b = s.encode()
    return struct.pack("<Q", len(b)) + b


def key(name, kind, value):
    return text(name) + struct.pack("<I", kind) + value


def array(kind, n, body):
    return struct.pack("<IQ", kind, n) + body


def info(name, dims, kind, offset):
    return text(name) + struct.pack("<I", len(dims)) + b"".join(struct.pack("<q", d) for d in dims) + struct.pack("<IQ", kind, offset)


def whole(keys, tensors, align=32, version=3):
    """tensors: (name, dims innermost first, type, bytes)."""
    infos, data = b"", b""
    for name, dims, kind, body in tensors:
        data += b"\0" * (-len(data) % align)
        infos += info(name, dims, kind, len(data))
        data += body
    head = b"GGUF" + struct.pack("<Iqq", version, len(tensors), len(keys)) + b"".join(keys) + infos
    return head + b"\0" * (-len(head) % align) + data


ARCH = key("general.architecture", 8, text("llama"))
SCALARS = [key("a.u8", 0, b"\1"), key("a.i8", 1, b"\xff"), key("a.u16", 2, b"\1\0"), key("a.i16", 3, b"\xff\xff"), key("a.u32", 4, struct.pack("<I", 7)),
           key("a.i32", 5, struct.pack("<i", -7)), key("a.f32", 6, struct.pack("<f", 1e-5)), key("a.bool", 7, b"\1"), key("a.u64", 10, struct.pack("<Q", 1 << 63)),
           key("a.i64", 11, struct.pack("<q", -1)), key("a.f64", 12, struct.pack("<d", 0.1))]
TOKENS = [key("tokenizer.ggml.model", 8, text("gpt2")), key("tokenizer.ggml.tokens", 9, array(8, 3, text("a") + text("") + text("\u0120b"))),
          key("tokenizer.ggml.token_type", 9, array(5, 3, struct.pack("<iii", 1, 3, 1))), key("tokenizer.ggml.scores", 9, array(6, 3, struct.pack("<fff", 0, -1, 2)))]
BLOCKS = [("w.q4_0", [32, 2], 2, bytes(range(36))), ("w.q6_k", [256], 14, bytes(210)), ("w.mxfp4", [32, 1, 2], 39, bytes(34)), ("w.iq2_xxs", [256], 16, bytes(66)),
          ("w.f16", [3], 1, b"\0\x7c\1\0\0\xfe"), ("w.i64", [1], 27, bytes(8)), ("w.nvfp4", [64], 40, bytes(36))]
PLAIN = whole([ARCH] + SCALARS, [("token_embd.weight", [4, 3], 0, bytes(48)), ("norm", [4], 0, bytes(16))])

SIZES = [key("llama.block_count", 4, struct.pack("<I", 2)), key("llama.context_length", 4, struct.pack("<I", 64)), key("llama.embedding_length", 4, struct.pack("<I", 8)),
         key("llama.attention.head_count", 4, struct.pack("<I", 2)), key("llama.attention.layer_norm_rms_epsilon", 6, struct.pack("<f", 1e-5)),
         key("llama.feed_forward_length", 9, array(5, 2, struct.pack("<ii", 16, 16))), key("llama.expert_count", 4, struct.pack("<I", 4)),
         key("llama.expert_used_count", 4, struct.pack("<I", 2)), key("llama.vocab_size", 4, struct.pack("<I", 3))]

FILES = {
    "model": whole([ARCH] + SIZES, [("token_embd.weight", [8, 3], 0, bytes(96)), ("rope_freqs.weight", [2], 0, struct.pack("<ff", 1, 8))]),
    "plain": PLAIN,
    "tokens": whole([ARCH] + TOKENS, []),
    "blocks": whole([ARCH], BLOCKS),
    "aligned": whole([ARCH, key("general.alignment", 4, struct.pack("<I", 64))], [("x", [5], 30, bytes(10)), ("y", [1, 1, 1, 1], 0, bytes(4))], align=64),
    "version2": whole([ARCH], [("x", [1], 0, bytes(4))], version=2),
    "nested": whole([key("a", 9, array(9, 1, array(0, 1, b"\0")))], []),
    "long_array": whole([key("a", 9, array(4, 1 << 61, b""))], []),
    "count": b"GGUF" + struct.pack("<Iqq", 3, -1, 1 << 62) + bytes(64),
    "overlap": b"GGUF" + struct.pack("<Iqq", 3, 2, 0) + info("a", [8], 0, 0) + info("b", [8], 0, 16) + bytes(96),
    "cut": PLAIN[:-20],
}

if __name__ == "__main__":
    os.makedirs(OUT, exist_ok=True)
    for name, body in FILES.items():
        with open(os.path.join(OUT, name), "wb") as f:
            f.write(body)
