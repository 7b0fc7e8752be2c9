"""Blocks of every stored format with their numbers, and rows written by ggml.

Writes tests/fixtures/quant.safetensors. For each type T: `T.blocks` U8 [n, bytes] (random integers under random and extreme scales) and `T.values`
F32 [n, block], dequantised by the gguf package. `rows` F32 [16, 512], half normal, half heavy-tailed (Student t, 2 degrees of freedom), `edges` F32
[n, 64] and `importance` F32 [512]. For Q8_0, Q4_0, MXFP4: `T.rows`, `T.edges`, the bytes that ggml_quantize_chunk writes. For the others:
`T.error`, `T.error_weighted` F64 [16], the sums of squared errors of what it writes, without and with importances.

    python tests/ref/make_quant_fixtures.py
"""
import ctypes
import importlib.metadata
import os

import libggml
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize
from safetensors.numpy import save_file

VERSIONS = {"gguf": "0.19.0", "libggml-python": "0.20.2.post1", "numpy": "2.4.6"}
for name, version in VERSIONS.items():
    assert importlib.metadata.version(name) == version, (name, importlib.metadata.version(name))

OUT = os.path.join(os.path.dirname(__file__), "..", "fixtures", "quant.safetensors")
TYPES = "F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS MXFP4".split()
EXACT = ("Q8_0", "Q4_0", "MXFP4")
HALVES = {"F32": [], "F16": [0], "BF16": [], "Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q2_K": [80, 82], "Q3_K": [108],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0], "MXFP4": []}
EXTREME = [0x0000, 0x8000, 0x0001, 0x83ff, 0x0400, 0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7e01, 0xfe00, 0x3c00]      # zeros, denormals, largest, infinities, NaNs, 1
lib = ctypes.CDLL(os.path.join(os.path.dirname(libggml.__file__), "lib64", "libggml-base.so"))
lib.ggml_quantize_chunk.restype = ctypes.c_size_t
lib.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
rng = np.random.default_rng(20)


def blocks(name):
    """Random blocks with moderate scales, then one with each extreme scale."""
    block, size = GGML_QUANT_SIZES[Type[name]]
    n = 600 if block == 1 else 4 + len(EXTREME)
    b = rng.integers(0, 256, (n, size), dtype=np.uint8)
    for at in HALVES[name]:
        if block == 1:
            break
        scale = (rng.standard_normal(n) * 0.05).astype(np.float16).view(np.uint16)
        scale[4:] = np.roll(EXTREME, at // 2 % 5)
        b[:, at:at + 2] = scale.view(np.uint8).reshape(n, 2)
    if name == "MXFP4":
        b[:, 0] = [120, 127, 128, 100, 0, 1, 2, 3, 252, 253, 254, 255, 126, 129, 64, 200]
    return b


def written(name, x, weights=None):
    block, size = GGML_QUANT_SIZES[Type[name]]
    out = np.zeros((x.shape[0], x.shape[1] // block * size), np.uint8)
    x = np.ascontiguousarray(x)
    lib.ggml_quantize_chunk(int(Type[name]), x.ctypes.data, out.ctypes.data, 0, x.shape[0], x.shape[1], weights.ctypes.data if weights is not None else None)
    return out


def edges():
    """Rows on which rounding and ties decide: zeros, powers of two and their neighbours, halves, tiny and large numbers, one outlier."""
    rows = [np.zeros(64), np.linspace(-1, 1, 64), np.arange(64) - 31.5, (np.arange(64) % 17 - 8) / 2]
    for p in (-20, -3, -1, 0, 1, 7, 30):
        for x in (2.0 ** p, np.nextafter(np.float32(2.0 ** p), np.float32(0)), 3 * 2.0 ** p):
            r = rng.standard_normal(64) * x / 8
            r[[5, 40]] = [x, -x]
            rows.append(r)
    rows += [rng.standard_normal(64) * 1e-7, rng.standard_normal(64) * 1e4, np.where(np.arange(64) == 9, -300, 1), -np.ones(64)]
    return np.array(rows, dtype=np.float32)


def main():
    out = {}
    np.seterr(all="ignore")
    rows = np.concatenate([rng.standard_normal((8, 512)), rng.standard_t(2, (8, 512))]).astype(np.float32) * np.float32(0.1)
    importance = (rng.standard_normal(512) ** 2 + 0.01).astype(np.float32)
    out["rows"], out["edges"], out["importance"] = rows, edges(), importance
    for name in TYPES:
        b = blocks(name)
        out[f"{name}.blocks"] = b
        v = dequantize(b, Type[name]).astype(np.float32)
        out[f"{name}.values"] = v.reshape(len(b), -1)
        if name in EXACT:
            out[f"{name}.rows"], out[f"{name}.edges"] = written(name, rows), written(name, out["edges"])
        elif name not in ("F32", "F16", "BF16"):
            for key, weights in (("error", None), ("error_weighted", importance)):
                back = dequantize(written(name, rows, weights), Type[name]).astype(np.float64)
                out[f"{name}.{key}"] = ((rows - back) ** 2 * (importance if weights is not None else 1)).sum(1)
    save_file(out, OUT, metadata=VERSIONS)


if __name__ == "__main__":
    main()
