"""The worker child: results, limits, deaths and what they leave behind."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from onnxslim.errors import (
    DataError,
    MissingRuntimeError,
    ProviderError,
    UnsupportedModelError,
    UsageError,
    WorkerError,
)
from onnxslim.runtime import failures
from onnxslim.runtime.limits import Limits
from onnxslim.runtime.worker import Worker
from tests.runtime.workermodels import chain, divide, divide_smallest, endless, huge, model

X = np.array([[1, -2, 3], [0.5, 4, -1]], np.float32)


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker() as made:
        yield made


@pytest.fixture
def tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty TMPDIR."""
    folder = tmp_path / "tmpdir"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


def direct(data: bytes, feeds: dict[str, Any]) -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return list(onnxruntime.InferenceSession(data, options).run(None, feeds))


def test_results_are_those_of_onnxruntime(worker: Worker) -> None:
    with worker.session(chain()) as session:
        assert session.run({"x": X})["y"].tobytes() == direct(chain(), {"x": X})[0].tobytes()
        assert [(s.name, str(s.dtype), s.shape) for s in session.inputs] == [
            ("x", "float32", ("N", 3))
        ]
        assert session.providers == ["CPUExecutionProvider"]


def test_large_tensors_go_through_mapped_files_and_leave_none(worker: Worker) -> None:
    big = np.random.default_rng(0).standard_normal((50_000, 3)).astype(np.float32)
    with worker.session(chain()) as session:
        result = session.run({"x": big})["y"]
        assert np.array_equal(result, direct(chain(), {"x": big})[0])
        result[0] = 7  # the caller may write into what it got
        folder = session.source.path.parent
        assert sorted(p.name[0] for p in folder.iterdir()) == ["m", "s"]  # the model, stderr
    assert [p.name for p in folder.iterdir()] == ["stderr"]


def test_exposed_values_come_after_the_outputs(worker: Worker) -> None:
    with worker.session(chain(), outputs=["b", "y", "a"]) as session:
        assert [s.name for s in session.outputs] == ["y", "b", "a"]
        result = session.run({"x": X})
        assert np.array_equal(result["a"], -X)
        assert np.array_equal(session.run({"x": X}, ["b"])["b"], np.maximum(-X, 0))


def test_external_data_stays_beside_the_model(worker: Worker, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    proto = onnx.load_model_from_string(chain())
    weights = onnx.numpy_helper.to_array(proto.graph.initializer[0]).tobytes()
    proto.graph.initializer[0].ClearField("float_data")
    proto.graph.initializer[0].raw_data = weights
    onnx.save(proto, path, save_as_external_data=True, location="m.data", size_threshold=0)
    assert (tmp_path / "m.data").stat().st_size == len(weights)
    expected = direct(chain(), {"x": X})[0]
    for given, base in ((path, None), (path.read_bytes(), tmp_path)):
        for outputs in (None, ["c"]):
            with worker.session(given, outputs=outputs, base_dir=base) as session:
                assert np.array_equal(session.run({"x": X}, ["y"])["y"], expected)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.data", "m.onnx"]


def test_strings_sequences_and_empty_optionals(worker: Worker) -> None:
    data = model(
        "g (string[K] s, float[3] x, optional(float[3]) o) "
        "=> (string[K] t, seq(float[N]) q, bool h, float[3] e) "
        "{ t = Identity(s) q = SequenceConstruct(x, x) h = OptionalHasElement(o) e = Neg(x) }"
    )
    texts = np.array(["naïve", "", "x\ny"], object)
    with worker.session(data) as session:
        assert [s.dtype for s in session.inputs][0] == "string"
        assert session.outputs[1].dtype == "seq(tensor(float))"
        result = session.run({"s": texts, "x": X[0], "o": None})
    assert result["t"].tolist() == texts.tolist()
    assert [part.tolist() for part in result["q"]] == [X[0].tolist()] * 2
    assert result["h"].shape == () and not result["h"]
    seq = model("g (seq(float[N]) s) => (int64 n) { n = SequenceLength(s) }")
    with worker.session(seq) as session:
        assert session.run({"s": [X[0], X[1], X[0]]})["n"] == 3


@pytest.mark.parametrize(
    ("name", "ort", "number"),
    [
        ("bfloat16", "bfloat16", 16),
        ("float8_e4m3fn", "float8e4m3fn", 17),
        ("float8_e5m2", "float8e5m2", 19),
        ("int4", "int4", 22),
        ("uint4", "uint4", 21),
    ],
)
def test_types_that_numpy_lacks(worker: Worker, name: str, ort: str, number: int) -> None:
    import ml_dtypes

    kind = getattr(ml_dtypes, name)
    data = model(
        f"g (float[5] x) => ({ort}[5] y) {{ y = Cast<to = {number}>(x) }}", opset=21, ir_version=10
    )
    x = np.array([1, 2, 3, 0, 7 if name == "uint4" else -4], np.float32)
    with worker.session(data) as session:
        y = session.run({"x": x})["y"]
    assert y.dtype == kind and y.astype(np.float32).tolist() == x.tolist()
    back = model(
        f"g ({ort}[5] y) => (float[5] x) {{ x = Cast<to = 1>(y) }}", opset=21, ir_version=10
    )
    with worker.session(back) as session:
        assert session.inputs[0].dtype == kind
        if name.endswith("int4"):
            with pytest.raises(DataError, match="int4"):
                session.run({"y": y})
        else:
            assert session.run({"y": y})["x"].tolist() == x.tolist()


def test_a_wrong_feed_is_an_error_and_the_child_lives_on(worker: Worker) -> None:
    with worker.session(chain(), label="chain.onnx") as session:
        before = worker._resources.process
        with pytest.raises(WorkerError, match=r"^chain\.onnx: .*x") as caught:
            session.run({"z": X})
        assert caught.value.reason == "error" and "\n" not in str(caught.value)
        with pytest.raises(DataError, match="datetime"):
            session.run({"x": np.array(["2026-01-01"], "datetime64[s]")})
        assert session.run({"x": X})["y"].shape == (2, 2)
        assert worker._resources.process is before


def test_a_broken_model_is_an_error(worker: Worker, tmp_path: Path) -> None:
    with pytest.raises(WorkerError) as caught:
        worker.session(b"no model at all")
    assert caught.value.reason == "error"
    with pytest.raises(UnsupportedModelError, match=r"gone\.onnx"):
        worker.session(tmp_path / "gone.onnx")
    os.mkfifo(tmp_path / "fifo.onnx")
    for request in (worker.session, worker.check, worker.infer_shapes):
        with pytest.raises(UnsupportedModelError, match=r"fifo\.onnx"):
            request(tmp_path / "fifo.onnx")
    with pytest.raises(UnsupportedModelError, match="not|no serialized"):
        worker.session(b"no model at all", outputs=["a"])
    with pytest.raises(UsageError, match="optimization"):
        worker.session(chain(), optimization="most")  # type: ignore[arg-type]


@pytest.mark.skipif(os.uname().machine not in ("x86_64", "AMD64"), reason="x86 traps the division")
def test_a_crash_names_signal_and_model_and_the_next_request_works(worker: Worker) -> None:
    one = np.array([1], np.int32)
    with worker.session(divide(), label="divide.onnx") as session:
        assert session.run({"a": one, "b": one})["y"] == 1
        with pytest.raises(WorkerError, match=r"divide\.onnx.*SIGFPE") as caught:
            session.run({"a": np.array([-(2**31)], np.int32), "b": -one})
        assert caught.value.reason == "crash"
        assert session.run({"a": one * 6, "b": one * 2})["y"] == 3  # a fresh child, loaded again
    with pytest.raises(WorkerError, match="node q") as caught:
        worker.evaluate(divide_smallest(), label="node q")
    assert caught.value.reason == "crash"


def test_a_hang_hits_the_wall_limit(worker: Worker) -> None:
    with worker.session(endless(), label="loop.onnx") as session:
        start = time.monotonic()
        with pytest.raises(WorkerError, match=r"loop\.onnx.*0\.5 s") as caught:
            session.run({}, seconds=0.5)
        assert caught.value.reason == "timeout" and time.monotonic() - start < 5
    worker.check(chain())


@pytest.mark.skipif(os.name == "nt", reason="no signals to ask with")
def test_a_hang_is_logged_with_the_place(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "onnxslim.runtime")
    with worker.session(endless(), label="loop.onnx") as session, pytest.raises(WorkerError):
        session.run({}, seconds=0.5)
    assert "it is at:" in caplog.text and "executor.py" in caplog.text


def test_evaluate_is_limited_in_cpu_time(worker: Worker) -> None:
    with pytest.raises(WorkerError, match="CPU") as caught:
        worker.evaluate(endless(), seconds=0.3)
    assert caught.value.reason == "timeout"


def test_evaluate_gives_all_outputs(worker: Worker) -> None:
    result = worker.evaluate(huge(1000))
    assert list(result) == ["y"] and result["y"].shape == (1000,)


def test_memory_is_refused(worker: Worker) -> None:
    with pytest.raises(WorkerError) as caught:
        worker.evaluate(huge(2_000_000_000), label="node k")
    assert caught.value.reason == "memory" and "node k" in str(caught.value)
    with pytest.raises(WorkerError, match="1000") as caught:
        worker.evaluate(huge(300), max_bytes=1000)
    assert caught.value.reason == "memory"
    with worker.session(huge(2_000_000_000)) as session, pytest.raises(WorkerError) as caught:
        session.run({})
    assert caught.value.reason == "memory"
    with worker.session(huge(200_000_000)) as session:  # 0.8 GB is within the base
        assert session.run({})["y"].nbytes == 800_000_000


def test_a_lower_hard_limit_is_respected() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "from onnxslim.errors import WorkerError\n"
        "from onnxslim.runtime.worker import Worker\n"
        "from tests.runtime.workermodels import huge\n"
        "with Worker() as w, w.session(huge(400_000_000)) as s:\n"
        "    w.self_test()\n"
        "    try: s.run({})\n"
        "    except WorkerError as error: print(error.reason)\n"
    )
    assert python(code).stdout == "memory\n"


def test_without_an_address_space_limit() -> None:
    with (
        Worker(limits=Limits(base_bytes=1 << 20, address_space=False)) as free,
        free.session(huge(50_000_000)) as session,
    ):
        assert session.run({})["y"].nbytes == 200_000_000


def test_providers(worker: Worker) -> None:
    assert "CPUExecutionProvider" in worker.available_providers()
    with worker.session(chain(), provider="CPUExecutionProvider") as session:
        assert session.providers == ["CPUExecutionProvider"]
    with pytest.raises(ProviderError, match="nosuch.*CPUExecutionProvider"):
        worker.session(chain(), provider="nosuch")
    if "CUDAExecutionProvider" not in worker.available_providers():
        with pytest.raises(ProviderError, match=r"CUDAExecutionProvider.*onnxslim-toolkit\[gpu\]"):
            worker.session(chain(), provider="cuda")


def test_a_silent_fallback_is_an_error(worker: Worker) -> None:
    others = [p for p in worker.available_providers() if p != "CPUExecutionProvider"]
    for name in others:  # Azure in the CPU build, CUDA in the GPU build: neither starts here
        try:
            with worker.session(chain(), provider=name) as session:
                assert session.providers[0] == name
        except ProviderError as error:
            assert name in str(error)  # noqa: PT017  (both are right, depending on the machine)


def test_a_fallback_says_what_the_runtime_said(worker: Worker) -> None:
    process = worker.start()._running()
    with (process.folder / "stderr").open("a") as file:
        file.write("\x1b[0;93m1 1 [E:a, b] no cuDNN\x1b[m\n\x1b[m\n")
    error = failures.refused("provider", "X was asked for, but it fell back to Y", "m", process)
    assert isinstance(error, ProviderError)
    assert str(error) == (
        "X was asked for, but it fell back to Y (no cuDNN); "
        "see onnxslim doctor, or use --provider cpu"
    )


def test_missing_runtime_names_the_extra(worker: Worker) -> None:
    process = worker.start()._running()
    error = failures.refused("missing", "No module named 'onnxruntime'", "m", process)
    assert isinstance(error, MissingRuntimeError) and "onnxslim-toolkit[cpu]" in str(error)


def test_missing_runtime_for_real(tmp_path: Path) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('hidden by a test')\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from onnxslim.errors import MissingRuntimeError\n"
        "from onnxslim.runtime.worker import Worker\n"
        "from tests.runtime.workermodels import chain\n"
        "with Worker() as w:\n"
        "    w.check(chain())\n"  # onnx works without
        "    print(w.versions()['onnxruntime'])\n"
        "    try: w.session(chain())\n"
        "    except MissingRuntimeError as error: print(error)\n"
    )
    assert python(code).stdout.startswith("None\nONNX Runtime is needed")


def test_shapes_checker_and_converter(worker: Worker, tmp_path: Path) -> None:
    inferred = onnx.load_model_from_string(worker.infer_shapes(chain()))
    found = {v.name: v for v in inferred.graph.value_info}
    assert found["b"].type.tensor_type.shape.dim[1].dim_value == 3
    path = tmp_path / "m.onnx"
    path.write_bytes(chain())
    assert worker.infer_shapes(path) == worker.infer_shapes(chain())
    worker.check(path)
    broken = chain().replace(b"Relu", b"Rely")
    with pytest.raises(WorkerError, match=r"m\.onnx.*Rely") as caught:
        worker.check(broken, label="m.onnx")
    assert caught.value.reason == "error"
    assert (
        onnx.load_model_from_string(worker.convert_opset(chain(), 20)).opset_import[0].version == 20
    )


def test_time(worker: Worker) -> None:
    with worker.session(chain(), optimization="all") as session:
        seconds = session.time({"x": X}, runs=5, warmup=1)
    assert len(seconds) == 5 and all(0 < second < 1 for second in seconds)


def test_facts_for_doctor(worker: Worker) -> None:
    assert worker.versions()["onnxruntime"] == onnxruntime.__version__
    worker.self_test()


def test_overridable_initializers(worker: Worker) -> None:
    data = model("g (float[2] x, float[2] w = {1, 2}) => (float[2] y) { y = Mul(x, w) }")
    with worker.session(data) as session:
        assert [s.name for s in session.overridable] == ["w"]
        assert session.run({"x": X[0, :2]})["y"].tolist() == [1, -4]
        assert session.run({"x": X[0, :2], "w": X[0, :2]})["y"].tolist() == [1, 4]


def test_a_closed_session_says_so(worker: Worker) -> None:
    session = worker.session(chain())
    session.close()
    with pytest.raises(UsageError, match="closed"):
        session.run({"x": X})
    assert not session.source.path.exists()


def test_an_unused_session_is_unloaded(worker: Worker) -> None:
    session = worker.session(chain())
    number, path = session.number, session.source.path
    assert number in worker._held
    del session
    worker.check(chain())
    assert number not in worker._held and not path.exists()


def test_close_is_fast_and_leaves_nothing(tmp: Path) -> None:
    worker = Worker()
    session = worker.session(chain())
    session.run({"x": np.zeros((100_000, 3), np.float32)})
    assert [p.stat().st_mode & 0o777 for p in tmp.iterdir()] == [0o700]
    start = time.monotonic()
    worker.close()
    assert time.monotonic() - start < 0.5
    assert list(tmp.iterdir()) == []
    worker.start()  # may be used again
    assert worker._running().alive()
    worker.close()
    assert list(tmp.iterdir()) == []


def opened_shm() -> set[Path]:
    folder = Path("/dev/shm")
    mine = {p for p in folder.iterdir() if "onnxslim" in p.name} if folder.is_dir() else set()
    return mine


def test_shm_is_not_used(tmp: Path) -> None:
    before = opened_shm()
    with Worker() as worker, worker.session(chain()) as session:
        session.run({"x": np.zeros((100_000, 3), np.float32)})
        opened = Path(f"/proc/{worker._running().pid}/fd")
        targets = [os.readlink(entry) for entry in opened.iterdir() if entry.is_symlink()]
        assert not [name for name in targets if name.startswith("/dev/shm")]
        assert not [p for p in opened_shm() if p not in before]
    assert list(tmp.iterdir()) == []


PARENT = (
    "import sys, os, time, signal\n"
    "import numpy as np\n"
    "from onnxslim.runtime.worker import Worker\n"
    "from tests.runtime.workermodels import chain, endless\n"
    "w = Worker(); s = w.session(chain())\n"
    "s.run({'x': np.zeros((100_000, 3), np.float32)})\n"
    "print(w._running().pid, flush=True)\n"
)


def python(code: str, **more: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode in (0, -9), done.stderr
    return done


def gone(pid: int, folder: Path) -> bool:
    for _ in range(100):
        if not list(folder.iterdir()) and not _runs(pid):
            return True
        time.sleep(0.05)
    return False


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("end", "when"),
    [
        ("sys.exit(0)", "without close"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "by SIGKILL"),
        ("os.killpg(0, signal.SIGKILL)", "with its group"),
        (
            "import threading\n"
            "threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGKILL)).start()\n"
            "w.session(endless()).run({})",
            "while the child works",
        ),
    ],
)
def test_a_parent_that_ends_leaves_nothing(tmp: Path, end: str, when: str) -> None:
    code = "import os; os.setpgid(0, 0)\n" + PARENT + end
    pid = int(python(code).stdout)
    assert gone(pid, tmp), f"child or folder left behind by a parent that ended {when}"


def test_a_parent_killed_while_the_child_starts_leaves_nothing(tmp: Path) -> None:
    code = (
        "import os, signal\nfrom onnxslim.runtime.worker import Worker\n"
        "print(Worker().start()._running().pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert gone(int(python(code).stdout), tmp)


def test_an_interrupt_does_not_confuse_the_next_request(worker: Worker) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, stop)
    try:
        with worker.session(endless()) as session:
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            with pytest.raises(KeyboardInterrupt):
                session.run({})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    with worker.session(chain()) as session:
        assert session.run({"x": X})["y"].shape == (2, 2)


def test_a_fork_gets_a_child_of_its_own(tmp: Path) -> None:
    code = (
        PARENT + "x = np.zeros((2, 3), np.float32); mine = w._running().pid\n"
        "if not os.fork():\n"
        "    shape, other = s.run({'x': x})['y'].shape, w._running().pid\n"
        "    w.close()\n"
        "    print(shape == (2, 2), other != mine, flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "print(w._running().pid == mine, s.run({'x': x})['y'].shape)\n"
    )
    assert python(code).stdout.splitlines()[1:] == ["True True", "True (2, 2)"]
    assert list(tmp.iterdir()) == []


def test_the_parent_stays_light() -> None:
    code = (
        "import sys\nfrom onnxslim.runtime.worker import Worker\n"
        "w = Worker(); w.self_test(); w.close()\n"
        "print([n for n in ('onnxruntime', 'onnx', 'onnx_ir', 'pydantic') if n in sys.modules])"
    )
    assert python(code).stdout == "[]\n"


def test_the_child_stays_light(worker: Worker) -> None:
    code = (
        "import sys\nimport onnxslim.runtime.child, onnxslim.runtime.executor\n"
        "print([n for n in ('onnx', 'onnx_ir', 'pydantic', 'networkx') if n in sys.modules])"
    )
    assert python(code).stdout == "[]\n"


def test_modules_of_the_working_directory_are_not_imported(tmp_path: Path) -> None:
    for name in ("onnxruntime", "numpy", "onnx"):
        (tmp_path / f"{name}.py").write_text("open('executed', 'w')")
    here = os.getcwd()
    code = (
        f"import os; os.chdir({str(tmp_path)!r})\nimport sys; sys.path.insert(1, {here!r})\n"
        "import importlib; sys.path.remove('')\n"
        "from onnxslim.runtime.worker import Worker\nsys.path.insert(0, '')\n"
        "w = Worker(); w.self_test(); w.close(); print('fine')"
    )
    assert python(code).stdout == "fine\n" and not (tmp_path / "executed").exists()


def test_nothing_is_reported_to_the_vendor(worker: Worker) -> None:
    process = worker._running()
    worker.self_test()
    said = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
    assert b"ORT_DISABLE_TELEMETRY=1" in said
    entries = Path(f"/proc/{process.pid}/fd").iterdir()
    assert not [e for e in entries if e.is_symlink() and os.readlink(e).startswith("socket:")]


def test_a_full_disk_is_an_error(tmp: Path) -> None:
    code = (
        "import resource\nimport numpy as np\n"
        "from onnxslim.errors import WorkerError\n"
        "from onnxslim.runtime.worker import Worker\n"
        "from tests.runtime.workermodels import chain\n"
        "with Worker() as w, w.session(chain()) as s:\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "    try: s.run({'x': np.zeros((400_000, 3), np.float32)})\n"
        "    except WorkerError as error: print(error.reason, 'TMPDIR' in str(error))\n"
        "    print(s.run({'x': np.zeros((4, 3), np.float32)})['y'].shape)\n"
    )
    assert python(code).stdout == "error True\n(4, 2)\n"
    assert list(tmp.iterdir()) == []
