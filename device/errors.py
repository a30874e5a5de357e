"""Exceptions. A message says what came, what was expected and what to do about it."""


class EdgegraftError(Exception):
    """The root of all three packages' errors: the command line prints it as one line, without a stack trace.

    Attributes:
        exit_code: of the command that ends with it; see the table in device/README.md.
    """

    exit_code = 1


class UsageError(EdgegraftError):
    """The command line's options contradict one another."""

    exit_code = 2


class DeviceError(EdgegraftError):
    """The root of this package's errors."""


class PhotoError(DeviceError):
    """Bytes that cannot be decoded to a picture."""


class ContractError(DeviceError):
    """A manifest that is not one: unknown or missing fields, wrong types, values out of range."""


class BundleError(DeviceError):
    """A bundle that is not intact or not well formed; nothing in it may be used."""


class EngineError(DeviceError):
    """A model that does not load, does not fit its manifest, or answers with something that is no probability."""


class CameraError(DeviceError):
    """A camera URI that is not understood, or a source that does not open or fails."""


class BadFrame(CameraError):  # noqa: N818 - the source goes on; it is counted and the next frame asked for
    """One frame that cannot be used: cut short, corrupt or far too large."""


class SinkError(DeviceError):
    """A sink URI that is not understood, or a sink that cannot be opened."""


class RemoteError(DeviceError):
    """Another machine that is not reached, lacks edgegraft, or answers with something else than asked for."""
