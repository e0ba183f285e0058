"""What the worker child can do: sessions, reducers, onnx's checker, inference and converter."""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onnxslim.runtime import native, profile, protocol, reducers
from onnxslim.runtime.protocol import ELEMENTS, FIRST_EXOTIC, Answer, RawTensor, Refusal, Value

try:
    import onnxruntime as ort

    _missing = ""
except ImportError as problem:
    ort = None
    _missing = protocol.one_line(problem)

_LEVELS = {
    "disable": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
_LARGE = 8 << 20  # bytes that are looked at in place; handing out fewer takes longer than a copy
_NUMBERS = {name: number for name, number, _ in ELEMENTS.values()}


class Executor:
    """Holds the loaded sessions and running reductions by number."""

    def __init__(self) -> None:
        self._sessions: dict[int, Any] = {}
        self._reductions: dict[int, _Reduction] = {}

    def handler(self, op: str) -> Callable[[Mapping[str, Any], list[Value]], Answer]:
        """The method for a request."""
        found: dict[str, Callable[[Mapping[str, Any], list[Value]], Answer]] = {
            "load": self._load,
            "unload": self._unload,
            "run": self._run,
            "time": self._time,
            "optimized": _optimized,
            "profile": _profile,
            "pin": _pin,
            "evaluate": self._evaluate,
            "reduce": self._reduce,
            "infer_shapes": native.infer_shapes,
            "check": native.check,
            "convert": native.convert,
            "providers": _providers,
            "versions": _versions,
        }
        if op not in found:
            raise Refusal("error", f"unknown request {op!r}")
        return found[op]

    def _load(self, head: Mapping[str, Any], values: list[Value]) -> Answer:
        session = _session(head["path"], head)
        self._sessions[head["session"]] = session
        return {
            "inputs": [_spec(arg) for arg in session.get_inputs()],
            "outputs": [_spec(arg) for arg in session.get_outputs()],
            "overridable": [_spec(arg) for arg in session.get_overridable_initializers()],
            "providers": session.get_providers(),
        }, []

    def _unload(self, head: Mapping[str, Any], values: list[Value]) -> Answer:
        self._sessions.pop(head["session"], None)
        return {}, []

    def _run(self, head: Mapping[str, Any], values: list[Value]) -> Answer:
        feeds = dict(zip(head["feeds"], values, strict=True))
        return {}, _run(self._sessions[head["session"]], head["outputs"], feeds)

    def _time(self, head: Mapping[str, Any], values: list[Value]) -> Answer:
        session = self._sessions[head["session"]]
        feeds = dict(zip(head["feeds"], values, strict=True))
        for _ in range(head["warmup"]):
            session.run(None, feeds)
        clock = profile.Clock(alone=head["alone"])
        return {"seconds": [clock.time(session.run, None, feeds) for _ in range(head["runs"])]}, []

    def _evaluate(self, head: Mapping[str, Any], values: list[Value]) -> Answer:
        session = _session(values[0], {"provider": "cpu", "optimization": "disable", "threads": 1})
        names = [arg.name for arg in session.get_outputs()]
        results = _run(session, names, {})
        size = sum(_size(result) for result in results)
        if size > head["max_bytes"]:
            raise Refusal("memory", f"the result has {size} bytes, {head['max_bytes']} are allowed")
        return {"names": names}, results

    def _reduce(self, head: Mapping[str, Any], values: list[Value]) -> Answer:
        """Feeds of a reduction: the first ones start it, the last ones end it; so does an error."""
        number, given = head["reduction"], iter(values)
        if "reducers" in head:
            made = [(reducers.make(r["kind"], r["options"]), r["values"]) for r in head["reducers"]]
            reduction = _Reduction(self._sessions[head["session"]], made)
        else:
            reduction = self._reductions.pop(number)
        for names in head["names"]:
            reduction.feed({name: next(given) for name in names})
        if not head["last"]:
            self._reductions[number] = reduction
            return {}, []
        states = reduction.states()
        keys = [list(state) for state in states]
        return {"keys": keys}, [array for state in states for array in state.values()]


class _Reduction:
    """Reducers beside a session; a tap is a graph output or a fed input."""

    def __init__(self, session: Any, made: list[tuple[reducers.Reducer, list[str]]]) -> None:
        self._session, self._made, self._types = session, made, _types(session)
        self._taps = list(dict.fromkeys(name for _, names in made for name in names))
        self._bytes = _LARGE  # of the last feed's values

    def feed(self, feeds: Mapping[str, Value]) -> None:
        names = [name for name in self._taps if name not in feeds]
        values: dict[str, Any] = dict(feeds)
        if names:  # an empty list would mean all outputs to ONNX Runtime
            run = _run_views if self._bytes >= _LARGE else _run
            found = run(self._session, names, feeds, self._types)
            values |= zip(names, found, strict=True)
        self._bytes = sum(_size(values[name]) for name in self._taps)
        for reducer, taps in self._made:
            reducer.update(*(_numeric(name, values[name]) for name in taps))

    def states(self) -> list[reducers.State]:
        return [reducer.state() for reducer, _ in self._made]


def _numeric(name: str, value: Value) -> Any:
    if isinstance(value, RawTensor):
        return value.array().astype(np.float32)
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value
    raise Refusal("data", f"{name!r} is not a tensor of numbers and cannot be reduced")


def _size(value: Value) -> int:
    if isinstance(value, RawTensor):
        return len(value.data)
    if isinstance(value, (list, tuple)):
        return sum(_size(item) for item in value)
    if isinstance(value, dict):
        return sum(_size(item) for item in value.values())
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            return sum(len(str(item)) + 8 for item in value.reshape(-1))
        return int(value.nbytes)
    return 8


def _session(model: str | bytes, head: Mapping[str, Any]) -> Any:
    name = _provider(head["provider"])
    options = ort.SessionOptions()
    cpu, reference = name == "CPUExecutionProvider", head["optimization"] == "disable"
    options.log_severity_level = 4 if cpu else 3
    options.intra_op_num_threads, options.inter_op_num_threads = head["threads"], 1
    options.graph_optimization_level = getattr(
        ort.GraphOptimizationLevel, _LEVELS[head["optimization"]]
    )
    options.enable_mem_pattern = head.get("planned", True)
    if reference:
        options.add_session_config_entry("session.disable_prepacking", "1")
        options.enable_cpu_mem_arena = False
    if head.get("optimized"):
        options.optimized_model_filepath = head["optimized"]
        prefix = "session.optimized_model_external_initializers"
        options.add_session_config_entry(f"{prefix}_file_name", "optimized.data")
        options.add_session_config_entry(f"{prefix}_min_size_in_bytes", "1024")
    if head.get("profile"):
        options.enable_profiling, options.profile_file_prefix = True, head["profile"]
    if head.get("base_dir"):
        key = "session.model_external_initializers_file_folder_path"
        options.add_session_config_entry(key, head["base_dir"])
    for library in head.get("custom_ops", ()):
        options.register_custom_ops_library(library)
    listed: list[Any] = [(name, {"use_tf32": "0"}) if "CUDA" in name and reference else name]
    if not cpu:
        listed.append("CPUExecutionProvider")
    session = ort.InferenceSession(model, options, providers=listed)
    if session.get_providers()[:1] != [name]:
        raise Refusal(
            "provider",
            f"{name} was asked for, but ONNX Runtime silently fell back to "
            f"{', '.join(session.get_providers())}; the driver or a library it needs is missing",
        )
    session.disable_fallback()
    return session


def _optimized(head: Mapping[str, Any], values: list[Value]) -> Answer:
    """Nodes of the main graph that ONNX Runtime really runs; weights are not handed over."""
    import onnx

    with tempfile.TemporaryDirectory(dir=head["folder"]) as folder:
        path = Path(folder) / "optimized.onnx"
        _session(values[0] if values else head["path"], {**head, "optimized": str(path)})
        nodes = _nodes(onnx.load(path, load_external_data=False).graph)
    return {"nodes": nodes}, []


def _nodes(graph: Any) -> list[dict[str, Any]]:
    return [
        {
            "name": node.name,
            "op": f"{node.domain}:{node.op_type}" if node.domain else node.op_type,
            "inputs": list(node.input),
            "outputs": list(node.output),
        }
        for node in graph.node
    ]


def _profile(head: Mapping[str, Any], values: list[Value]) -> Answer:
    """Run a model with ONNX Runtime's profiler, and say what ran and how long each node took."""
    import onnx

    with tempfile.TemporaryDirectory(dir=head["folder"]) as folder:
        saved, prefix = Path(folder) / "optimized.onnx", Path(folder) / "profile"
        asked = {**head, "optimized": str(saved), "profile": str(prefix)}
        session = _session(head["path"], asked)
        feeds = dict(zip(head["feeds"], values, strict=True))
        for _ in range(head["warmup"] + head["runs"]):
            session.run(None, feeds)
        events = profile.read(Path(session.end_profiling()), head["warmup"])
        nodes = _nodes(onnx.load(saved, load_external_data=False).graph)
    return {"nodes": nodes, **events}, []


def _pin(head: Mapping[str, Any], values: list[Value]) -> Answer:
    """Keep this process, and the threads it starts from now on, on so many processors."""
    if not hasattr(os, "sched_setaffinity"):
        return {"cpus": []}, []
    allowed = sorted(os.sched_getaffinity(0))
    cpus = allowed[-head["threads"] :]
    os.sched_setaffinity(0, cpus)
    return {"cpus": cpus}, []


def _provider(asked: str) -> str:
    if ort is None:
        raise Refusal("missing", _missing)
    wanted = asked.lower().removesuffix("executionprovider")
    available = ort.get_available_providers()
    for name in available:
        if name.lower().removesuffix("executionprovider") == wanted:
            if wanted in ("cuda", "tensorrt") and hasattr(ort, "preload_dlls"):
                ort.preload_dlls()  # CUDA libraries that came as packages
            return str(name)
    known = [n for n in ort.get_all_providers() if n.lower().startswith(wanted)]
    raise Refusal(
        "provider",
        f"provider {asked!r}: this onnxruntime has no {known[0] if known else 'such provider'} "
        f"(it has {', '.join(available)})",
    )


def _spec(arg: Any) -> dict[str, Any]:
    shape = [size if isinstance(size, (int, str)) else None for size in arg.shape]
    return {"name": arg.name, "type": arg.type, "shape": shape}


def _types(session: Any) -> dict[str, str]:
    """ONNX Runtime's type of every output."""
    return {arg.name: arg.type for arg in session.get_outputs()}


def _run(
    session: Any,
    names: list[str] | None,
    feeds: Mapping[str, Value],
    types: Mapping[str, str] | None = None,
) -> list[Value]:
    types = types or _types(session)
    wanted = list(types) if names is None else names
    exotic_feed = any(isinstance(value, RawTensor) for value in feeds.values())
    if not exotic_feed and not any(_exotic(types.get(name, "")) for name in wanted):
        return list(session.run(wanted, dict(feeds)))
    fed = {name: _ort_value(name, value) for name, value in feeds.items()}
    results = session.run_with_ort_values(wanted, fed)
    return [_from_ort(name, value) for name, value in zip(wanted, results, strict=True)]


def _run_views(
    session: Any, names: list[str], feeds: Mapping[str, Value], types: Mapping[str, str]
) -> list[Value]:
    """The same, where possible without copying what comes out; views keep their owner alive."""
    plain = all(isinstance(v, np.ndarray) and v.dtype.kind in "fiub" for v in feeds.values())
    if not plain or any(types.get(name) != "tensor(float)" for name in names):
        return _run(session, names, feeds, types)
    fed = {name: ort.OrtValue.ortvalue_from_numpy(value) for name, value in feeds.items()}
    return [_View(value).array() for value in session.run_with_ort_values(names, fed)]


class _View:
    """A float tensor of ONNX Runtime as NumPy sees it."""

    def __init__(self, value: Any) -> None:
        self._value = value
        self.__array_interface__ = {
            "shape": tuple(value.shape()),
            "typestr": "<f4",
            "data": (value.data_ptr(), True),
            "version": 3,
        }

    def array(self) -> np.ndarray:
        """Read-only; refers to this object, and so to the tensor."""
        shape: tuple[int, ...] = tuple(self._value.shape())
        if not all(shape):
            return np.zeros(shape, np.float32)
        return np.asarray(self)


def _exotic(kind: str) -> bool:
    element = ELEMENTS.get(kind.removeprefix("tensor(").removesuffix(")"))
    return element is not None and element[1] >= FIRST_EXOTIC


def _ort_value(name: str, value: Value) -> Any:
    if isinstance(value, RawTensor):
        if protocol.BITS[value.dtype] < 8:
            raise Refusal(
                "data", f"input {name!r}: ONNX Runtime takes no {value.dtype} tensor here"
            )
        kind = np.uint16 if protocol.BITS[value.dtype] == 16 else np.uint8
        array = np.frombuffer(value.data, kind).reshape(value.shape)
        number = _NUMBERS[value.dtype]
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, number)
    if not isinstance(value, np.ndarray) or value.dtype == object:
        raise Refusal(
            "data", f"input {name!r}: only numbers can be fed beside tensors of types numpy lacks"
        )
    return ort.OrtValue.ortvalue_from_numpy(value)


def _from_ort(name: str, value: Any) -> Value:
    kind = value.data_type()
    if not kind.startswith("tensor("):
        raise Refusal("data", f"output {name!r} of type {kind} cannot be read beside such tensors")
    if not _exotic(kind):
        return value.numpy()
    data = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
    return RawTensor(ELEMENTS[kind[7:-1]][0], tuple(value.shape()), data)


def _providers(head: Mapping[str, Any], values: list[Value]) -> Answer:
    if ort is None:
        raise Refusal("missing", _missing)
    return {"providers": list(ort.get_available_providers())}, []


def _versions(head: Mapping[str, Any], values: list[Value]) -> Answer:
    from importlib import metadata

    found: dict[str, str | None] = {"onnxruntime": None if ort is None else ort.__version__}
    for name in _distributions(("onnx", "numpy", "onnxruntime-gpu")):
        found[name] = metadata.version(name)
    return {"versions": found, "device": None if ort is None else ort.get_device()}, []


def _distributions(names: Iterable[str]) -> list[str]:
    from importlib import metadata

    found = []
    for name in names:
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        found.append(name)
    return found
