"""The command ``onnxslim``: parses, calls the API, prints, and turns errors into exit codes.

Typer is only imported for what :mod:`onnxslim.cli.quick` does not read: help, mistakes and the
rarer commands and options.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from onnxslim import _lazy_modules
from onnxslim.errors import OnnxSlimError, UsageError

COMMANDS = (
    "optimize",
    "prune",
    "validate",
    "diff",
    "inspect",
    "bench",
    "batch",
    "compress",
    "quantize",
    "reduce",
    "passes",
    "doctor",
    "demo",
)


def run(argv: Sequence[str] | None = None) -> NoReturn:
    """Entry point of the console script: runs a command and exits with its code.

    The process ends without taking the model and the modules apart, object by object.
    """
    gc.disable()  # imports make no garbage; :mod:`onnxslim.cli.job` switches it on again
    _lazy_modules.install()
    from onnxslim import _lazy_dataclasses  # after that: it imports modules that are seldom used

    _lazy_dataclasses.install()
    code = invoke(list(sys.argv[1:] if argv is None else argv))
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # nobody reads any more
        code = code or 2
    os._exit(code)


def invoke(argv: list[str]) -> int:
    """Run one command line; returns the exit code, never raises for a user's mistake."""
    import logging

    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.ERROR)
    _warn_of_name_clash()
    try:
        return _dispatch(_shortcut(argv))
    except OnnxSlimError as error:
        _complain(str(error))
        if _verbose(argv):
            logging.getLogger(__name__).error("details", exc_info=True)
        return error.exit_code
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except (OSError, MemoryError, RecursionError) as error:
        text = getattr(error, "strerror", None) or str(error) or type(error).__name__
        name = getattr(error, "filename", None)
        _complain(f"{name}: {text}" if name else text)
        if _verbose(argv):
            logging.getLogger(__name__).error("details", exc_info=True)
        return 2


def _warn_of_name_clash() -> None:
    """One line when the other distribution called ``onnxslim`` lies beside ours."""
    for folder in sys.path:
        if os.path.basename(folder) not in ("site-packages", "dist-packages"):
            continue
        with contextlib.suppress(OSError):
            if any(re.fullmatch(r"onnxslim-[\d.]+\.dist-info", n) for n in os.listdir(folder)):
                from onnxslim.runtime.installed import name_clash

                _complain(f"warning: {name_clash()}")
                return


def _dispatch(argv: list[str]) -> int:
    from onnxslim.cli import quick

    job = quick.parse(argv)
    if job is not None:
        from onnxslim.cli import comparison
        from onnxslim.cli.job import Job, execute

        return execute(job) if isinstance(job, Job) else comparison.execute(job)
    _as_ever()
    import typer
    from typer._click.exceptions import ClickException, NoArgsIsHelpError
    from typer._click.exceptions import UsageError as Misused

    from onnxslim.cli.app import app

    gc.enable()
    try:
        code = app(args=argv, prog_name="onnxslim", standalone_mode=False)
    except NoArgsIsHelpError as error:
        typer.echo(error.format_message(), err=True)
        return 2
    except ClickException as error:
        command = error.ctx.command_path if isinstance(error, Misused) and error.ctx else ""
        _complain(f"{error.format_message()} (see `{command or 'onnxslim'} --help`)")
        return 2
    except typer.Abort:
        _complain("interrupted")
        return 130
    except typer.Exit as stop:
        return stop.exit_code
    return code if isinstance(code, int) else 0


def _as_ever() -> None:
    """For the libraries of the other commands, some of which look into modules and classes."""
    from onnxslim import _lazy_dataclasses

    _lazy_modules.remove()
    _lazy_dataclasses.remove()


def _shortcut(argv: list[str]) -> list[str]:
    """``onnxslim IN OUT ...`` as users of other simplifiers type it.

    Raises:
        UsageError: The first word is neither a command nor a model with a place to go.
    """
    if not argv or argv[0] in COMMANDS or argv[0].startswith("-"):
        return argv
    first, *rest = argv
    if not os.path.exists(first) and "." not in first:
        raise UsageError(_unknown(first))
    if not rest or rest[0].startswith("-"):
        raise UsageError(f"{first} is no command: type `onnxslim optimize {first} -o OUT`")
    return ["optimize", first, "-o", rest[0], "--force", *rest[1:]]


def _unknown(word: str) -> str:
    import difflib

    near = difflib.get_close_matches(word, COMMANDS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(COMMANDS)}"
    return f"there is no command {word!r} and no such file: {hint}"


def _verbose(argv: Sequence[str]) -> bool:
    return "-v" in argv or "--verbose" in argv


def _complain(text: str) -> None:
    from onnxslim.cli.console import plain

    sys.stderr.write(f"onnxslim: {plain(text)}\n")
