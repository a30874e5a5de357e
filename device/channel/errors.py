"""Exceptions of channels."""

from __future__ import annotations

from device.errors import DeviceError


class ChannelError(DeviceError):
    """A channel that is not reached, answers with something else, or does not fit this board; the next poll may."""

    exit_code = 27
