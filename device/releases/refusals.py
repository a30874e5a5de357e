"""Why a bundle or a board was refused: one class and one exit code each; the table stands in device/README.md."""

from __future__ import annotations

from device.errors import DeviceError


class Refusal(DeviceError):  # noqa: N818 - the word for what an installer does
    """Something was refused; what ran before goes on running."""


class Damaged(Refusal):
    """The bundle is cut short, changed, or not well formed."""

    exit_code = 10


class Unsigned(Refusal):
    """There is no signature, and ``--allow-unsigned`` was not given."""

    exit_code = 11


class Untrusted(Refusal):
    """A signature that is wrong, of a key that this board does not trust, or of a revoked one."""

    exit_code = 12


class Older(Refusal):
    """A version under this board's high-water mark that was not asked for by name."""

    exit_code = 13


class Expired(Refusal):
    """Metadata past its date, or a clock that cannot be right."""

    exit_code = 14


class Unsuitable(Refusal):
    """Nothing in the bundle runs on this machine: architecture, engine or operators."""

    exit_code = 15


class TrialFailed(Refusal):
    """Tried in a process of its own it crashed, hung, asked for too much memory or gave wrong answers."""

    exit_code = 16


class NoSpace(Refusal):
    """The disk is too full, before or while it was written."""

    exit_code = 17


class ReadOnly(Refusal):
    """The file system cannot be written."""

    exit_code = 18


class Busy(Refusal):
    """Another installation is at work."""

    exit_code = 19


class KnownBad(Refusal):
    """This very bundle was rolled back here before."""

    exit_code = 20


class Unhealthy(Refusal):
    """It was switched to and did not get healthy; the release before is at work again."""

    exit_code = 21


class NoWayBack(Refusal):
    """There is no release to roll back to, or that one is bad too; nothing was switched."""

    exit_code = 22


class BoardsFailed(Refusal):
    """Some of several boards failed; the others were done."""

    exit_code = 23


class WaveStopped(Refusal):
    """Too many boards of a wave failed; the next was not begun."""

    exit_code = 24


class HostKeyRefused(Refusal):
    """A board's SSH host key is unknown or has changed."""

    exit_code = 25


class UnsuitableCard(Refusal):
    """A card or image that is too small, the wrong disk, or holds a system that cannot be prepared."""

    exit_code = 26
