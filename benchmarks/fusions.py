"""Is a standard operator as fast as the operators it stands for, in ONNX Runtime at ENABLE_ALL?

Every row is one idea: a small model written with elementary operators and the same model with the
standard operator, alone and next to the layers that ONNX Runtime fuses it with. The two are timed
in turns; the ratio is fused to elementary (below 1: the standard operator is faster), given as
median and range over rounds. ``docs/fusions.md`` quotes this table.

    python benchmarks/fusions.py [--rounds 15] [--threads 1] [--only gelu]
"""

from __future__ import annotations

import argparse
import statistics
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from onnxslim.runtime.worker import Session, Worker

GELU = "d = Div(h, sqrt2) e = Erf(d) f = Add(e, one) m = Mul(h, f) g = Mul(m, half)"
TANH = (
    "p = Pow(h, three) q = Mul(p, c1) s = Add(h, q) t = Mul(s, c2) u = Tanh(t)"
    " f = Add(one, u) v = Mul(h, half) g = Mul(v, f)"
)
NORM = (
    "mu = ReduceMean<axes = [-1]>(h) d = Sub(h, mu) p = Pow(d, two) v = ReduceMean<axes = [-1]>(p)"
    " w = Add(v, eps) s = Sqrt(w) n = Div(d, s) z = Mul(n, gamma) g = Add(z, beta)"
)
RMS = (
    "p = Pow(h, two) v = ReduceMean(p, last) w = Add(v, eps) s = Sqrt(w) r = Div(one, s)"
    " n = Mul(h, r) g = Mul(n, gamma)"
)
SWISH = "s = Sigmoid(h) g = Mul(h, s)"
HSWISH = "a = Add(h, three) c = Clip(a, zero, six) m = Mul(h, c) g = Div(m, six)"
HSIGMOID = "a = Add(h, three) c = Clip(a, zero, six) g = Div(c, six)"
MISH = "s = Softplus(h) t = Tanh(s) g = Mul(h, t)"

DENSE = "h0 = MatMul(x, w1) h = Add(h0, b1) {} y = MatMul(g, w2)"
RESIDUAL = "h0 = MatMul(x, w3) h1 = Add(h0, b3) h = Add(h1, x) {} y = MatMul(g, w1)"
CONV = "h = Conv<pads = [1, 1, 1, 1]>(x, k, kb) {} y = Conv<pads = [1, 1, 1, 1]>(g, k, kb)"
GATE = "p0 = GlobalAveragePool(x) h = Conv(p0, k1, kb) {} y = Mul(x, g)"
ALONE = "h = Neg(x) {} y = Neg(g)"

TOKENS, IMAGE = "float[1,128,256]", "float[1,32,40,40]"
HSIG = "g = HardSigmoid<alpha = 0.1666666716337204, beta = 0.5>(h)"
GATED = "t = HardSigmoid<alpha = 0.1666666716337204, beta = 0.5>(h) g = Mul(h, t)"
RMSN = "g = RMSNormalization<epsilon = 1e-5>(h, gamma)"


@dataclass(frozen=True)
class Case:
    """One comparison."""

    name: str
    opset: int
    context: str
    elementary: str
    fused: str
    x: str


CASES = (
    Case("gelu", 20, DENSE, GELU, "g = Gelu(h)", TOKENS),
    Case("gelu alone", 20, ALONE, GELU, "g = Gelu(h)", TOKENS),
    Case("gelu tanh", 20, DENSE, TANH, 'g = Gelu<approximate = "tanh">(h)', TOKENS),
    Case("gelu tanh alone", 20, ALONE, TANH, 'g = Gelu<approximate = "tanh">(h)', TOKENS),
    Case("layer norm", 17, RESIDUAL, NORM, "g = LayerNormalization(h, gamma, beta)", TOKENS),
    Case("layer norm alone", 17, ALONE, NORM, "g = LayerNormalization(h, gamma, beta)", TOKENS),
    Case("rms norm", 23, RESIDUAL, RMS, RMSN, TOKENS),
    Case("rms norm alone", 23, ALONE, RMS, RMSN, TOKENS),
    Case("swish", 24, CONV, SWISH, "g = Swish(h)", IMAGE),
    Case("swish alone", 24, ALONE, SWISH, "g = Swish(h)", IMAGE),
    Case("mish", 18, CONV, MISH, "g = Mish(h)", IMAGE),
    Case("hard swish", 14, CONV, HSWISH, "g = HardSwish(h)", IMAGE),
    Case("hard swish alone", 14, ALONE, HSWISH, "g = HardSwish(h)", IMAGE),
    Case("hard swish as x * HardSigmoid", 11, CONV, HSWISH, GATED, IMAGE),
    Case("x * HardSigmoid as HardSwish", 14, CONV, GATED, "g = HardSwish(h)", IMAGE),
    Case("hard sigmoid", 11, CONV, HSIGMOID, HSIG, IMAGE),
    Case("hard sigmoid of a gate", 11, GATE, HSIGMOID, HSIG, IMAGE),
)

_F = np.float32
_NUMBERS = {
    "sqrt2": 2**0.5, "one": 1, "half": 0.5, "three": 3, "two": 2, "eps": 1e-5, "zero": 0, "six": 6,
    "c1": 0.044715, "c2": (2 / np.pi) ** 0.5,
}  # fmt: skip
_SHAPES = {
    "w1": (256, 1024), "b1": (1024,), "w2": (1024, 256), "w3": (256, 256), "b3": (256,),
    "gamma": (256,), "beta": (256,), "k": (32, 32, 3, 3), "kb": (32,), "k1": (32, 32, 1, 1),
}  # fmt: skip


def build(case: Case, body: str) -> bytes:
    """A model file around the nodes; constants by name."""
    text = case.context.format(body)
    imports = f'<ir_version: 10, opset_import: ["" : {case.opset}]>'
    model = onnx.parser.parse_model(f"{imports} g ({case.x} x) => (float y) {{ {text} }}")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    read = {name for node in model.graph.node for name in node.input}
    for name in sorted(read):
        if name in _NUMBERS:
            array = np.array(_NUMBERS[name], _F)
        elif name in _SHAPES:
            rng = np.random.default_rng(zlib.crc32(name.encode()))
            array = (rng.standard_normal(_SHAPES[name]) * 0.05).astype(_F)
        elif name == "last":
            array = np.array([-1])
        else:
            continue
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    data: bytes = model.SerializeToString()
    return data


def compare(worker: Worker, case: Case, rounds: int, threads: int) -> tuple[float, list[float]]:
    """Milliseconds of the elementary form and the ratio fused to elementary, per round."""
    rng = np.random.default_rng(0)
    shape = [int(d) for d in case.x[6:-1].split(",")]
    feed = {"x": rng.standard_normal(shape).astype(_F)}
    models = [build(case, case.elementary), build(case, case.fused)]
    sessions = [worker.session(m, optimization="all", threads=threads) for m in models]
    try:
        first, second = (s.run(feed)["y"] for s in sessions)
        np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-4)
        runs = max(3, int(0.05 / max(1e-6, _median(sessions[0], feed, 5))))
        times = [[_median(s, feed, runs) for s in _turn(sessions, i)] for i in range(rounds)]
        pairs = [t if i % 2 == 0 else t[::-1] for i, t in enumerate(times)]
        return statistics.median(p[0] for p in pairs) * 1e3, [p[1] / p[0] for p in pairs]
    finally:
        for session in sessions:
            session.close()


def _turn(sessions: Sequence[Session], index: int) -> Iterator[Session]:
    return iter(sessions if index % 2 == 0 else sessions[::-1])


def _median(session: Session, feed: dict[str, np.ndarray], runs: int) -> float:
    return statistics.median(session.time(feed, runs=runs, warmup=2))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    print("| fusion | opset | elementary ms | ratio, median | quartiles |\n|---|---|---|---|---|")
    with Worker() as worker:
        for case in CASES:
            if options.only not in case.name:
                continue
            ms, ratios = compare(worker, case, options.rounds, options.threads)
            low, middle, high = statistics.quantiles(ratios, n=4)
            row = (case.name, case.opset, f"{ms:.3f}", f"{middle:.2f}", f"{low:.2f}-{high:.2f}")
            print("|", " | ".join(map(str, row)), "|", flush=True)


if __name__ == "__main__":
    main()
