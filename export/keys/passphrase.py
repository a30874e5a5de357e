"""Where passphrases come from: a file, the environment, or a person; never the command line, which others can see."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path

from device.errors import UsageError
from device.secret import read_secret

ONLINE_VARIABLE = "EDGEGRAFT_PASSPHRASE"
ROOT_VARIABLE = "EDGEGRAFT_ROOT_PASSPHRASE"


def online_passphrase(file: Path | None) -> str:
    """Of the key that signs from day to day.

    Raises:
        UsageError: nobody is there to be asked, and neither file nor variable gives it.
    """
    return _passphrase(file, ONLINE_VARIABLE, "the online key", "--passphrase-file")


def root_passphrase(file: Path | None) -> str:
    """Of the root key; see ``online_passphrase``."""
    return _passphrase(file, ROOT_VARIABLE, "the root key", "--root-passphrase-file")


def _passphrase(file: Path | None, variable: str, whose: str, option: str) -> str:
    if file is not None:
        return read_secret(f"file:{file}", f"the passphrase of {whose}").value
    if variable in os.environ:
        return os.environ[variable]
    if not sys.stdin.isatty():
        raise UsageError(f"the passphrase of {whose} is needed: {option} FILE, ${variable}, or a terminal to ask in")
    return getpass.getpass(f"Passphrase of {whose}: ")
