#!/usr/bin/env python3
"""make_encode_golden.py: what other encoders lose on rows that anyone can make again.

    make_encode_golden.py [--ggml LIBGGML_BASE.so] > tests/quant/encode_golden.h

The squared error, summed over ROWS rows of 1024 values, of the `gguf` package's encoders in numpy
(the types with 32 values in a block), and of llama.cpp's plain ones (quantize_row_*_ref) where its
library is given: without it the super-blocks are left out. tests/quant/test_encode.c makes the same
rows and demands that no type loses more. Needs numpy and gguf.
"""
import argparse
import ctypes
import sys

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import quants

ROWS, COLS = 64, 1024
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
SIMPLE = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"]
SUPER = ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]


def mix(x):
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def rows():
    """Value i: the sum of four numbers of 16 bits, about Gaussian; every 64th is ten times as large,
    as the outliers of real weights are. All exact in f32."""
    i = np.arange(ROWS * COLS, dtype=np.uint64)
    v = mix((i + np.uint64(1)) * GOLDEN)
    total = np.zeros(len(i), dtype=np.int64)
    for k in range(4):
        total += ((v >> np.uint64(16 * k)) & np.uint64(0xFFFF)).astype(np.int64) - 32768
    total[63::64] *= 10
    return (total.astype(np.float32) * np.float32(2.0**-20)).reshape(ROWS, COLS)


def lost(x, data, kind):
    y = quants.dequantize(np.frombuffer(data, dtype=np.uint8), kind).reshape(x.shape)
    return float(((x.astype(np.float64) - y.astype(np.float64)) ** 2).sum())


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--ggml", help="llama.cpp's libggml-base")
    ggml = p.parse_args().ggml
    library = ctypes.CDLL(ggml) if ggml else None
    x = np.ascontiguousarray(rows())
    print("/* encode_golden.h: made by tools/make_encode_golden.py, which says what it is. */")
    print("static const struct {\n    enum dtype type;\n    double numpy, plain; /* 0: not known */")
    print("} encode_golden[] = {")
    for name in SIMPLE + SUPER:
        kind = Type[name]
        numpy = lost(x, quants.quantize(x, kind).tobytes(), kind) if name in SIMPLE else 0
        plain = 0
        if library:
            out = np.zeros(ROWS * COLS * 4, dtype=np.uint8)
            library.ggml_quantize_chunk.restype = ctypes.c_size_t
            n = library.ggml_quantize_chunk(
                int(kind), x.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p),
                ctypes.c_int64(0), ctypes.c_int64(ROWS), ctypes.c_int64(COLS), None)
            plain = lost(x, out[:n].tobytes(), kind)
        print(f"    {{DT_{name}, {numpy:.9g}, {plain:.9g}}},", file=sys.stdout)
    print("};")


if __name__ == "__main__":
    main()
