from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxslim.errors import OnnxSlimError, UsageError
from onnxslim.graph import save as saving
from onnxslim.graph import temporary
from onnxslim.graph.load import from_proto, load
from onnxslim.graph.save import check_target, save, stage
from onnxslim.graph.serialize import serialize, to_proto
from tests.graph.iomodels import adding, branch, choice, external, info, model, node, weights

BIG = 1 << 19


def _external(folder: Path, seed: int = 0, count: int = BIG) -> ir.Model:
    folder.mkdir(exist_ok=True)
    tensor = weights("w", count, seed)
    (folder / "w.bin").write_bytes(tensor.raw_data)
    proto = adding(external("w.bin", dims=(count,)))
    (folder / "model.onnx").write_bytes(proto.SerializeToString())
    return load(folder / "model.onnx")


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of one megabyte are already large."""
    monkeypatch.setattr(saving, "EXTERNAL_LIMIT", 1 << 20)


def _names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_it_writes_a_file_with_ordinary_permissions(tmp_path: Path) -> None:
    loaded = from_proto(adding(weights("w")))
    saved = save(loaded, tmp_path / "out.onnx")
    assert saved.path == tmp_path / "out.onnx" and saved.data_path is None
    assert saved.path.read_bytes() == serialize(to_proto(loaded))
    assert saved.bytes == saved.path.stat().st_size
    umask = os.umask(0)
    os.umask(umask)
    assert saved.path.stat().st_mode & 0o777 == 0o666 & ~umask
    assert _names(tmp_path) == ["out.onnx"]


def test_it_keeps_the_permissions_of_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "out.onnx").write_bytes(b"old")
    (tmp_path / "out.onnx").chmod(0o600)
    save(from_proto(adding(weights("w"))), tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx").stat().st_mode & 0o777 == 0o600


def test_targets_that_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "old.onnx").write_bytes(b"old")
    for path, message in [
        (tmp_path, "a folder"),
        (tmp_path / "fifo", "a FIFO"),
        (Path("/dev/full"), "a device"),
        (tmp_path / "none" / "out.onnx", "no folder"),
        (tmp_path / "old.onnx" / "out.onnx", "cannot write"),
    ]:
        with pytest.raises(UsageError, match=message) as caught:
            save(from_proto(adding(weights("w"))), path)
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="--force"):
        save(from_proto(adding(weights("w"))), tmp_path / "old.onnx", force=False)
    with pytest.raises(UsageError, match="the model itself"):
        check_target(tmp_path / "old.onnx", tmp_path / "." / "old.onnx", force=False)
    assert check_target(tmp_path / "new.onnx", force=False) == tmp_path / "new.onnx"
    assert (tmp_path / "old.onnx").read_bytes() == b"old"
    assert _names(tmp_path) == ["fifo", "old.onnx"]


def test_the_target_of_a_symlink_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "m.onnx").write_bytes(b"old")
    (tmp_path / "link.onnx").symlink_to("real/m.onnx")
    saved = save(from_proto(adding(weights("w"))), tmp_path / "link.onnx")
    assert (tmp_path / "link.onnx").is_symlink()
    assert saved.path == tmp_path / "real" / "m.onnx"
    assert load(tmp_path / "link.onnx").graph.name == "g"
    assert _names(tmp_path / "real") == ["m.onnx"]


def test_external_weights_become_self_contained_elsewhere(tmp_path: Path) -> None:
    loaded = _external(tmp_path / "in", count=1000)
    (tmp_path / "out").mkdir()
    saved = save(loaded, tmp_path / "out" / "m.onnx")
    assert _names(tmp_path / "out") == ["m.onnx"] and saved.data_path is None
    assert load(saved.path).graph.initializers["w"].const_value is not None


@pytest.mark.usefixtures("small_limits")
def test_large_external_weights_get_a_data_file_of_their_own(tmp_path: Path) -> None:
    loaded = _external(tmp_path / "in")
    (tmp_path / "out").mkdir()
    saved = save(loaded, tmp_path / "out" / "m.onnx")
    assert saved.data_path is not None
    assert saved.data_path.name.startswith("m.") and saved.data_path.suffix == ".data"
    assert saved.data_path.read_bytes() == (tmp_path / "in" / "w.bin").read_bytes()
    assert saved.bytes == sum(p.stat().st_size for p in (tmp_path / "out").iterdir())
    assert _names(tmp_path / "out") == [saved.data_path.name, "m.onnx"]
    (tmp_path / "in" / "w.bin").unlink()
    again = save(load(saved.path), tmp_path / "out" / "m.onnx")
    assert again == saved and len(_names(tmp_path / "out")) == 2


@pytest.mark.usefixtures("small_limits")
def test_the_superseded_data_file_is_removed_and_others_are_not(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    first = save(_external(tmp_path / "in", seed=1), out / "m.onnx")
    other = save(_external(tmp_path / "in", seed=2), out / "other.onnx")
    (out / "m.0123456789ab.data").write_bytes(b"not referred to")
    second = save(_external(tmp_path / "in", seed=3), out / "m.onnx")
    assert first.data_path and second.data_path and other.data_path
    assert not first.data_path.exists()
    assert _names(out) == sorted(
        ["m.onnx", "other.onnx", "m.0123456789ab.data", second.data_path.name, other.data_path.name]
    )
    save(from_proto(adding(weights("w"))), out / "m.onnx")
    assert not second.data_path.exists() and other.data_path.exists()


@pytest.mark.usefixtures("small_limits")
def test_saving_over_the_model_itself_keeps_it_usable(tmp_path: Path) -> None:
    saved = save(_external(tmp_path / "in"), tmp_path / "m.onnx")
    loaded = load(saved.path)
    tensor = loaded.graph.initializers["w"].const_value
    assert tensor is not None
    before = np.array(tensor.numpy())
    loaded.graph[0].op_type = "Sub"
    save(loaded, tmp_path / "m.onnx")
    np.testing.assert_array_equal(tensor.numpy(), before)
    assert load(tmp_path / "m.onnx").graph[0].op_type == "Sub"


@pytest.mark.usefixtures("small_limits")
def test_one_region_is_written_once(tmp_path: Path) -> None:
    names = [f"w{i}" for i in range(6)]
    tensors = []
    for name in names:
        tensor = external("w.bin", dims=(BIG // 4,), offset=0)
        tensor.name = name
        tensors.append(tensor)
    (tmp_path / "w.bin").write_bytes(weights("w", BIG // 4).raw_data)
    nodes = [node("Add", f"{'x' if i == 0 else f't{i}'} w{i}", f"t{i + 1}") for i in range(6)]
    proto = model([*nodes, node("Relu", "t6", "y")], tensors)
    (tmp_path / "in.onnx").write_bytes(proto.SerializeToString())
    saved = save(load(tmp_path / "in.onnx"), tmp_path / "out.onnx")
    assert saved.data_path is not None and saved.data_path.stat().st_size == BIG
    again = load(saved.path).graph.initializers["w5"].const_value
    assert again is not None and again.tobytes() == weights("w", BIG // 4).raw_data


def test_streaming_large_weights_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    then = branch("t", node("Add", "x v", "t"), initializer=[weights("v", BIG, 2)])
    proto = model(
        [node("Add", "x w", "a"), choice(then, branch("e", node("Neg", "a", "e")))],
        [weights("w", BIG, 1), weights("small", 3)],
        inputs=[info("x"), info("c", (), 9)],
    )
    loaded = from_proto(proto)
    plain = save(loaded, tmp_path / "plain.onnx")
    monkeypatch.setattr(saving, "EXTERNAL_LIMIT", 1 << 20)
    assert saving.weight_bytes(loaded) > saving.EXTERNAL_LIMIT
    streamed = save(loaded, tmp_path / "streamed.onnx")
    assert streamed.path.read_bytes() == plain.path.read_bytes()


def test_above_the_inline_limit_weights_become_external(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saving, "INLINE_LIMIT", 1 << 20)
    monkeypatch.setattr(saving, "EXTERNAL_LIMIT", 1 << 20)
    proto = adding(weights("w", BIG))
    saved = save(from_proto(proto), tmp_path / "m.onnx")
    assert saved.data_path is not None
    again = to_proto(load(saved.path))
    assert again.graph == proto.graph


@pytest.mark.usefixtures("small_limits")
def test_a_staged_model_can_be_loaded_committed_or_discarded(tmp_path: Path) -> None:
    loaded = _external(tmp_path / "in")
    out = tmp_path / "out"
    out.mkdir()
    (out / "m.onnx").write_bytes(b"old")
    with stage(loaded, out, name="m.onnx") as staged:
        assert staged.data_path is not None and staged.data_path.parent == out
        assert load(staged.model_path).graph.name == "g"
        assert (out / "m.onnx").read_bytes() == b"old"
    assert _names(out) == ["m.onnx"]
    with stage(loaded, out, name="m.onnx") as staged:
        with pytest.raises(UsageError, match="was staged in"):
            staged.commit(tmp_path / "m.onnx")
        saved = staged.commit(out / "m.onnx")
    assert saved.data_path is not None and saved.bytes == staged.bytes
    assert saved.bytes == saved.path.stat().st_size + saved.data_path.stat().st_size
    assert _names(out) == sorted(["m.onnx", saved.data_path.name])


def test_without_a_folder_it_is_staged_in_a_private_one(tmp_path: Path) -> None:
    with stage(_external(tmp_path / "in")) as staged:
        private = staged.model_path.parent
        assert private.stat().st_mode & 0o077 == 0
        assert load(staged.model_path).graph.name == "g"
    assert not private.exists() and _names(tmp_path / "in") == ["model.onnx", "w.bin"]


# -- faults


def _failing(real: Callable[..., Any], at: list[int], number: int) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        at[0] += 1
        if at[0] == number:
            raise OSError(number % 2 and errno.ENOSPC or errno.EIO, "injected")
        return real(*args, **kwargs)

    return call


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("is_external", [False, True])
def test_any_failing_call_leaves_the_old_pair_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_external: bool
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    old = save(_external(tmp_path / "in", seed=1), out / "m.onnx")
    names = _names(out)
    content = {name: (out / name).read_bytes() for name in names}
    new = _external(tmp_path / "in2", seed=2) if is_external else from_proto(adding(weights("w")))
    failures = 0
    for number in range(1, 60):
        at = [0]
        with monkeypatch.context() as patch:
            for call in ("write", "fsync", "replace", "open", "fchmod"):
                patch.setattr(os, call, _failing(getattr(os, call), at, number))
            try:
                save(new, out / "m.onnx")
            except OnnxSlimError as error:
                failures += 1
                assert "injected" in str(error) and "\n" not in str(error)
            else:
                break
        assert {name: (out / name).read_bytes() for name in _names(out)} == content, number
    assert failures >= (9 if is_external else 4)
    assert old.data_path is not None and not old.data_path.exists()


def test_a_file_size_limit_leaves_the_old_file(tmp_path: Path) -> None:
    onnx.save(adding(weights("w", 1 << 16)), tmp_path / "in.onnx")
    (tmp_path / "out.onnx").write_bytes(b"old")
    code = (
        "import sys; from onnxslim.graph.load import load; from onnxslim.graph.save import save;"
        "from onnxslim.errors import OnnxSlimError\n"
        "try: save(load(sys.argv[1]), sys.argv[2])\n"
        "except OnnxSlimError as error: print(error); sys.exit(7)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "in.onnx"), str(tmp_path / "out.onnx")],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 7 and "File too large" in done.stdout, done.stderr
    assert done.stdout.count("\n") == 1
    assert (tmp_path / "out.onnx").read_bytes() == b"old"
    assert _names(tmp_path) == ["in.onnx", "out.onnx"]


_SAVER = """
import sys
from onnxslim.graph.load import load
from onnxslim.graph import save as saving
saving.EXTERNAL_LIMIT = 1 << 20
model = load(sys.argv[1])
print("ready", flush=True)
while True:
    saving.save(model, sys.argv[2])
"""


def test_killed_runs_leave_a_whole_file_and_litter_is_removed(tmp_path: Path) -> None:
    source = _external(tmp_path / "in")
    out = tmp_path / "out"
    out.mkdir()
    target = out / "m.onnx"
    save(source, target)
    expected = load(target)
    reference = expected.graph.initializers["w"].const_value
    assert reference is not None
    for trial in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", _SAVER, str(tmp_path / "in" / "model.onnx"), str(target)],
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.01 + 0.013 * trial)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        found = load(target).graph.initializers["w"].const_value
        assert found is not None and found.tobytes() == reference.tobytes()
    save(source, target)
    assert [name for name in _names(out) if "onnxslim-tmp" in name] == []


def test_only_stale_files_of_ours_are_removed(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    mine = temporary.TemporaryFile(tmp_path, "mine.onnx")
    held = temporary.TemporaryFile(tmp_path, "held.onnx")
    locked = tmp_path / f".held.onnx.{gone.pid}.onnxslim-tmp-00000000"
    os.replace(held.path, locked)  # as if of another container: dead by number, but locked
    stale = [
        f".m.onnx.{gone.pid}.onnxslim-tmp-01234567",
        f".m.onnx.{gone.pid}.onnxslim-tmp-01234567.data",
    ]
    kept = [
        f".m.onnx.{os.getpid()}.onnxslim-tmp-01234567",
        f".m.onnx.{gone.pid}.other-tmp-01234567",
        f"m.onnx.{gone.pid}.onnxslim-tmp-01234567",
    ]
    for name in (*stale, *kept):
        (tmp_path / name).write_bytes(b"x")
    temporary.remove_stale(tmp_path)
    assert _names(tmp_path) == sorted([*kept, mine.path.name, locked.name])
    mine.discard()
    held.close()
    temporary.remove_stale(tmp_path)
    assert _names(tmp_path) == sorted(kept)


def test_a_long_name_still_has_a_temporary_one(tmp_path: Path) -> None:
    name = "ü" * 120 + ".onnx"
    assert save(from_proto(adding(weights("w"))), tmp_path / name).path.name == name
