"""The ``edgegraft`` command: finds its sub-commands through entry points and loads only the one asked for.

A sub-command is a module (see ``Command``) named in the entry-point group ``edgegraft.commands``. Such modules
import what is heavy inside ``run``, so that ``edgegraft --help`` can ask all of them for their summary.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points, version
from typing import Protocol

from device.errors import EdgegraftError

COMMAND_GROUP = "edgegraft.commands"

_FAILED, _USAGE, _INTERRUPTED = 1, 2, 130
_ORDER = (
    "demo",
    "capture",
    "train",
    "evaluate",
    "export",
    "bundle",
    "bench",
    "run",
    "service",
    "keys",
    "trust",
    "publish",
    "flash",
    "install",
    "update",
    "status",
    "rollback",
    "collect",
    "doctor",
)
# From the name that cannot be imported to the extra that brings it.
_EXTRAS = {"onnxruntime": "onnx", **dict.fromkeys(("gpiozero", "paho", "starlette", "urllib3", "uvicorn"), "board")}


class Command(Protocol):
    """What a sub-command's module defines."""

    SUMMARY: str

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the options."""

    def run(self, args: argparse.Namespace) -> int | None:
        """Do it; the return value is the exit code, None stands for 0.

        Raises:
            EdgegraftError: printed as one line; the exit code is its own.
        """


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 1 (failed), 2 (usage)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else ""
    try:
        code = _dispatch(name, arguments[1:])
        if code == 0 and sys.stdout is not None:  # a service may have none
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        return 0  # whoever read our output, such as head, has seen enough
    except OSError as err:
        return _fail(name, f"standard output: {err.strerror}; free some space or name another place", _FAILED)
    finally:
        _settle_standard_output()


def _dispatch(name: str, arguments: list[str]) -> int:
    commands = {point.name: point for point in entry_points(group=COMMAND_GROUP)}
    if name in ("", "-h", "--help"):
        print(_overview(commands))
        return 0 if name else _USAGE
    if name == "--version":
        print(f"edgegraft {version('edgegraft')}")
        return 0
    if name not in commands:
        return _unknown(name, commands)
    return _run(name, commands[name].load(), arguments)


def _run(name: str, command: Command, arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog=f"edgegraft {name}", description=command.SUMMARY)
    command.configure(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    args = parser.parse_args(arguments)
    try:
        return command.run(args) or 0
    except EdgegraftError as err:
        return _fail(name, str(err), err.exit_code)
    except ModuleNotFoundError as err:
        extra = _EXTRAS.get((err.name or "").partition(".")[0], "train")
        return _fail(name, f"{err.name} is not installed here; run: pip install 'edgegraft[{extra}]'", _FAILED)
    except BrokenPipeError:
        raise
    except OSError as err:
        where = f"{err.filename}: " if err.filename else ""
        return _fail(name, f"{where}{err.strerror or err}", _FAILED)
    except MemoryError:
        return _fail(name, "out of memory; close other programs, or use a smaller --size or backbone", _FAILED)
    except KeyboardInterrupt:
        return _fail(name, "stopped", _INTERRUPTED)


def _fail(name: str, message: str, code: int) -> int:
    print(f"edgegraft {name}: {message}", file=sys.stderr)
    return code


def _unknown(name: str, commands: dict[str, EntryPoint]) -> int:
    close = difflib.get_close_matches(name, commands, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"commands: {', '.join(_sorted(commands))}"
    print(f"edgegraft: there is no command '{name}'; {hint}", file=sys.stderr)
    return _USAGE


def _overview(commands: dict[str, EntryPoint]) -> str:
    width = max(len(name) for name in commands)
    lines = [f"  {name:<{width}}  {_summary(commands[name])}" for name in _sorted(commands)]
    return "\n".join(
        [
            "usage: edgegraft COMMAND [options]",
            "",
            "A folder of photos in, a proven live camera classification at the edge out.",
            "",
            *lines,
            "",
            "'edgegraft COMMAND --help' tells more. Start with 'edgegraft demo', or with your own photos:",
            "  edgegraft train PHOTOS --out runs/first",
        ]
    )


def _summary(point: EntryPoint) -> str:
    try:
        return str(point.load().SUMMARY)
    except ModuleNotFoundError as err:
        return f"(not usable here: {err.name} is missing)"


def _sorted(commands: dict[str, EntryPoint]) -> list[str]:
    # Ours in the order of the road, others after them.
    return sorted(commands, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))


def _settle_standard_output() -> None:
    # What could not be written is still in the buffer, and Python would complain about it once more at exit.
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
