"""Recurrent networks: cells of both directions, stacked, between dense layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from tests.topologies.builder import Net, image

Model = onnx.ModelProto

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def _time_first(features: int = 8) -> tuple[Net, str]:
    net = Net(17)
    return net, net.input("x", ["L", "N", features])


def _cell(
    net: Net, kind: str, x: str, cin: int, hidden: int, *, both: bool = False,
    state: bool = True, extra: str = "",
) -> list[str]:  # fmt: skip
    """The node; outputs Y (L, directions, N, hidden), Y_h and, for LSTM, Y_c."""
    gates, directions = _GATES[kind], 2 if both else 1
    w = net.weight(directions, gates * hidden, cin, fan_in=2 * cin)
    r = net.weight(directions, gates * hidden, hidden, fan_in=2 * hidden)
    b = net.vector(directions, 2 * gates * hidden)
    inputs = [x, w, r, b, ""]
    if state:  # zeros of the size of the batch, as both exporters write them
        shape = net.dims(directions, net.size(x, 1), hidden)
        zero = net.op("Expand", net.scalar(0.0), shape)
        inputs += [zero, zero] if kind == "LSTM" else [zero]
    elif extra:
        inputs += ["", "", extra]
    more: dict[str, Any] = {"linear_before_reset": 1} if kind == "GRU" else {}
    return net.many(
        3 if kind == "LSTM" else 2, kind, *inputs, hidden_size=hidden,
        direction="bidirectional" if both else "forward", **more,
    )  # fmt: skip


def _single(kind: str) -> Model:
    """Dense, cell, dense."""
    net, x = _time_first()
    h = net.op("Relu", net.linear(x, 8, 24))
    y = net.squeeze(_cell(net, kind, h, 24, 32)[0], 1)
    net.output(net.linear(y, 32, 10), ["L", "N", 10])
    return net.model()


def lstm() -> Model:
    """Dense, LSTM, dense."""
    return _single("LSTM")


def gru() -> Model:
    """Dense, GRU, dense."""
    return _single("GRU")


def rnn() -> Model:
    """Dense, RNN, dense."""
    return _single("RNN")


def _both(kind: str, legacy: bool) -> Model:
    """Two layers of both directions between dense layers."""
    net, x = _time_first()
    h, c = net.op("Relu", net.linear(x, 8, 24)), 24
    for _ in range(2):
        y = net.transpose(_cell(net, kind, h, c, 16, both=True)[0], 0, 2, 1, 3)
        h = net.view(y, net.size(h, 0), net.size(h, 1), 32) if legacy else net.reshape(y, 0, 0, -1)
        c = 32
    h = net.op("Relu", net.linear(h, 32, 24))
    net.output(net.linear(h, 24, 10), ["L", "N", 10])
    return net.model()


def lstm_bidirectional() -> Model:
    """Two bidirectional LSTM layers."""
    return _both("LSTM", False)


def lstm_bidirectional_legacy() -> Model:
    """The same with a literal width in a computed shape."""
    return _both("LSTM", True)


def gru_bidirectional() -> Model:
    """Two bidirectional GRU layers."""
    return _both("GRU", False)


def rnn_bidirectional() -> Model:
    """Two bidirectional RNN layers."""
    return _both("RNN", False)


def lstm_last_state() -> Model:
    """The last hidden state goes into the classifier; no initial state; peepholes."""
    net, x = _time_first()
    h = net.op("Relu", net.linear(x, 8, 24))
    y = _cell(net, "LSTM", h, 24, 32, state=False, extra=net.vector(1, 96))[1]
    net.output(net.gemm(net.squeeze(y, 0), 32, 10), ["N", 10])
    return net.model()


def lstm_both_states() -> Model:
    """The last states of both directions, side by side by Gather and Concat, into a classifier."""
    net, x = _time_first()
    y = _cell(net, "LSTM", net.linear(x, 8, 24), 24, 16, both=True)[1]
    h = net.op("Concat", net.pick(y, 0, 0), net.pick(y, 1, 0), axis=1)
    net.output(net.gemm(net.op("Relu", net.gemm(h, 32, 24)), 24, 10), ["N", 10])
    return net.model()


def gru_embedding() -> Model:
    """Words into a GRU with a learned initial state; batch first outside."""
    net = Net(17)
    ids = net.input("ids", ["N", 6], TensorProto.INT64)
    x = net.transpose(net.op("Gather", net.weight(20, 24, fan_in=2), ids), 1, 0, 2)
    w, r = net.weight(1, 96, 24, fan_in=48), net.weight(1, 96, 32, fan_in=64)
    start = net.op("Expand", net.vector(1, 1, 32), net.dims(1, net.size(x, 1), 1))
    y = net.many(2, "GRU", x, w, r, net.vector(1, 192), "", start, hidden_size=32)[0]
    h = net.transpose(net.squeeze(y, 1), 1, 0, 2)
    net.output(net.linear(h, 32, 10), ["N", 6, 10])
    return net.model()


def lstm_embedding_residual() -> Model:
    """Two LSTM layers with a shortcut between them and layer normalization."""
    net, x = _time_first()
    h = net.linear(x, 8, 32)
    for _ in range(2):
        y = net.squeeze(_cell(net, "LSTM", h, 32, 32)[0], 1)
        h = net.layer_norm(net.op("Add", y, h), 32)
    net.output(net.linear(h, 32, 10), ["L", "N", 10])
    return net.model()


def crnn() -> Model:
    """Text recognition: convolutions, height squeezed, bidirectional LSTM, dense."""
    net, x = image()
    h = net.op("MaxPool", net.cbr(x, 3, 16), kernel_shape=[4, 1], strides=[4, 1])
    h = net.op("MaxPool", net.cbr(h, 16, 32), kernel_shape=[4, 1], strides=[4, 1])
    h = net.transpose(net.squeeze(h, 2), 2, 0, 1)
    y = net.transpose(_cell(net, "LSTM", h, 32, 16, both=True)[0], 0, 2, 1, 3)
    h = net.reshape(y, 0, 0, -1)
    net.output(net.op("LogSoftmax", net.linear(h, 32, 10), axis=2), [16, "N", 10])
    return net.model()


def crnn_columns() -> Model:
    """Channels and height together are the features of a step."""
    net, x = image(size=8)
    h = net.cr(net.cr(x, 3, 16), 16, 16, stride=2)
    h = net.transpose(net.reshape(net.transpose(h, 0, 3, 1, 2), 0, 4, 64), 1, 0, 2)
    y = net.squeeze(_cell(net, "GRU", h, 64, 32)[0], 1)
    net.output(net.linear(y, 32, 10), [4, "N", 10])
    return net.model()


def lstm_batch_first() -> Model:
    """The attribute layout of opset 14 is not run by ONNX Runtime: Transposes stand around."""
    net = Net(17)
    x = net.input("x", ["N", "L", 8])
    h = net.transpose(net.op("Relu", net.linear(x, 8, 24)), 1, 0, 2)
    y = net.transpose(_cell(net, "LSTM", h, 24, 16, both=True)[0], 2, 0, 1, 3)
    h = net.op("Reshape", y, net.const(np.array([0, 0, 32], np.int64)))
    net.output(net.linear(h, 32, 10), ["N", "L", 10])
    return net.model()


RECURRENT = (
    lstm, gru, rnn, lstm_bidirectional, lstm_bidirectional_legacy, gru_bidirectional,
    rnn_bidirectional, lstm_last_state, lstm_both_states, gru_embedding, lstm_embedding_residual,
    crnn, crnn_columns, lstm_batch_first,
)  # fmt: skip
