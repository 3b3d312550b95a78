"""The ``routewright`` command: its frame.  Every room brings its own sub-commands in a ``register(app)`` of its own.

Exit codes: 0 done (a command may return another), 1 failed or goal not met, 2 bad input, 130 interrupted.  What goes
wrong by input or circumstances is one line on stderr; a traceback is a bug of ours.
"""

from __future__ import annotations

import errno
import importlib
import importlib.metadata
import importlib.util
import os
import re
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from deploy.help_texts import put_plainly
from topology_sync.errors import InputError, RoutewrightError

COMMAND_MODULES = (
    "deploy.commands",
    "deploy.supervisor_commands",
    "deploy.testbed.commands",
    "deploy.testbed.measurement.commands",
    "controller.commands",
    "optimizer.commands",
    "optimizer.optimize_command",
    "optimizer.rl.commands",
    "optimizer.bench_commands",
    "optimizer.bench_candidates",
    "optimizer.what_if_commands",
    "optimizer.suite_commands",
    "gnn_model.commands",
    "gnn_model.bench_commands",
    "gnn_model.learning_commands",
    "gnn_model.dataset.commands",
    "gnn_model.service.commands",
    "gnn_model.wireless.commands",
)
"""Modules with ``register(app)``, ``register_bench(group)`` for the shared group ``bench``, or both.

They import what is heavy inside their functions.
"""

HELP_OPTIONS = ["-h", "--help"]
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
CIRCUMSTANCES = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)


def application() -> typer.Typer:
    """The command with the sub-commands of all rooms that are installed."""
    app = typer.Typer(
        name="routewright",
        help="Keeps the promised delay, jitter and loss in an OpenFlow network by re-routing it, safely and explained.",
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": HELP_OPTIONS},
    )
    app.callback()(_top)
    bench = typer.Typer(help="Side-by-side figures, each reproducible (live ones need root).", no_args_is_help=True)
    for name in COMMAND_MODULES:
        if _exists(name):
            module = importlib.import_module(name)
            if hasattr(module, "register"):
                module.register(app)
            if hasattr(module, "register_bench"):
                module.register_bench(bench)
    app.add_typer(bench, name="bench")
    return app


def _top(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and leave.", callback=lambda value: _version(value), is_eager=True
        ),
    ] = False,
) -> None:
    pass


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"routewright {importlib.metadata.version('routewright')}")
        raise typer.Exit


def _exists(module: str) -> bool:
    """Is there such a module?  One that is there and does not import is an error, not an absence."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError as error:
        if error.name is not None and module.startswith(error.name):
            return False
        raise


def run(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command line and return its exit code; a command's integer result is its exit code."""
    command = typer.main.get_command(application())
    put_plainly(command, HELP_OPTIONS)
    try:
        result = command.main(
            None if arguments is None else list(arguments), prog_name="routewright", standalone_mode=False
        )
        if sys.stdout is not None:  # None: closed by whoever started us
            sys.stdout.flush()
    except InputError as error:
        return _fail(str(error), EXIT_BAD_INPUT)
    except RoutewrightError as error:
        return _fail(str(error), EXIT_FAILED)
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return EXIT_FAILED
    except OSError as error:
        if error.filename is not None and error.errno not in CIRCUMSTANCES:
            return _fail(f"{error.filename}: {error.strerror}; name a path that can be used", EXIT_BAD_INPUT)
        if error.errno not in CIRCUMSTANCES:
            raise
        if error.filename is None:
            _discard_output()
        return _fail(f"{error.filename or 'output'}: {error.strerror}; make room or write elsewhere", EXIT_FAILED)
    except MemoryError:
        return _fail("this needs more memory than there is; ask for less at once", EXIT_FAILED)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        return _fail(_usage(error), EXIT_BAD_INPUT)
    return result if isinstance(result, int) and not isinstance(result, bool) else 0


def _discard_output() -> None:
    """Nobody takes our output any more; nothing must be written when the interpreter flushes at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usage(error: Exception) -> str:
    """What is wrong with the command line, and where it is explained."""
    message = str(error.format_message()).rstrip(".")  # type: ignore[attr-defined]
    message = re.sub(r"Value error, |, unable to parse string as an? \w+", "", message)
    message = message.replace("Input should be", "it should be")
    context = getattr(error, "ctx", None)
    path = getattr(context, "command_path", None) or "routewright"
    return f"{message}; see {path} --help"


def _fail(text: str, code: int) -> int:
    line = " ".join(text.split())
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)
    print(f"routewright: {shown}", file=sys.stderr)
    return code


def main() -> NoReturn:
    """Entry point of the installed command."""
    sys.exit(run())


if __name__ == "__main__":
    main()
