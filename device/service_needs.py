"""What a classification needs of the machine: devices, groups, network, files; and nothing else."""

from __future__ import annotations

import grp
import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

from device.cameras.address import redacted
from device.errors import DeviceError
from device.web.address import parse_address

_NETWORK_CAMERAS = ("rtsp", "rtsps", "http", "https")
_NETWORK_SINKS = ("mqtt", "mqtts", "http", "https")
_FOLDER_SINKS = ("jsonl", "snapshots", "clips")
# Options of sinks that name a file for everybody, and those that name a secret: ``file:PATH``, or a path (a PEM key).
_OPEN_OPTIONS = ("ca", "cert")
_SECRET_OPTIONS = ("password", "key")
# By major number, not by file: a camera that is plugged in later, or gets another number, may be opened too.
_VIDEO = "char-video4linux"
_PI_CAMERA = (_VIDEO, "char-media", "char-dma_heap")
_JETSON_NODES = ("nvhost-*", "nvmap", "nvgpu/*/*", "nvsciipc", "dri/render*", "video*", "media*")
_GPU_NODES = ("nvidia*", "nvidia-caps/*")
_CORAL_NODES = ("apex_*",)
_CORAL_USB = ("1a6e:089a", "18d1:9302")
# What ``gst:`` pipelines fetch from the network with.
_GST_NETWORK = re.compile(r"://|\b(?:rtsp|soup|udp|tcp|rtmp|srt|hls|web)\w*src\b")
_ARGUS_SOCKET = "/tmp/argus_socket"


class Network(IntEnum):
    """How far it reaches."""

    NONE = 0
    LOOPBACK = 1
    ANY = 2


@dataclass
class Needs:
    """What is asked of the machine.

    Attributes:
        devices: as ``DeviceAllow=`` names them; ``char-NAME`` is a whole kind.
        groups: that own them.
        network: how far it reaches.
        netlink: the Pi's camera library listens for devices over a netlink socket.
        sockets: of daemons that it talks to; they may be absent.
        credentials: name to file, for secrets and for files that its user could not read.
        private: name to a text that is secret, to be kept in a file of root's.
        read: files and folders that it opens by their path.
        gpu: a GPU's compiler writes code at run time.
    """

    devices: set[str] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)
    network: Network = Network.NONE
    netlink: bool = False
    sockets: set[str] = field(default_factory=set)
    credentials: dict[str, Path] = field(default_factory=dict)
    private: dict[str, str] = field(default_factory=dict)
    read: set[Path] = field(default_factory=set)
    gpu: bool = False

    def reach(self, network: Network) -> None:
        """It reaches at least so far."""
        self.network = max(self.network, network)


@dataclass(frozen=True, slots=True)
class Machine:
    """What stands at this machine; ``root`` is of its file system."""

    root: Path = Path("/")

    def nodes(self, patterns: Iterable[str]) -> set[str]:
        """Device files of these names that are there."""
        found = (path for pattern in patterns for path in (self.root / "dev").glob(pattern) if not path.is_dir())
        return {f"/{path.relative_to(self.root)}" for path in found}

    @property
    def jetson(self) -> bool:
        """Whether it is one of NVIDIA's boards."""
        return (self.root / "etc/nv_tegra_release").exists() or (self.root / "dev/nvmap").exists()

    @property
    def coral_usb(self) -> bool:
        """Whether an Edge TPU is plugged in."""
        for device in (self.root / "sys/bus/usb/devices").glob("*"):
            try:
                name = ":".join((device / part).read_text().strip() for part in ("idVendor", "idProduct"))
            except OSError:
                continue
            if name in _CORAL_USB:
                return True
        return False

    def group(self, name: str) -> bool:
        """Whether there is such a group: systemd starts nothing with one that is missing."""
        try:
            grp.getgrnam(name)
        except KeyError:
            return False
        return True


class Options:
    """The options of ``run`` as a service gets them: secrets become credentials, and the needs are noted.

    Args:
        machine: where it is installed.
        system: for a service of the system, which sees no home folder and writes into its own folder only; else it is
            a user's own, which may do what he may.
        own_folder: what it may write into, for messages.
    """

    def __init__(self, machine: Machine, system: bool, own_folder: str) -> None:
        self.needs = Needs()
        self._machine = machine
        self._system = system
        self._own_folder = own_folder
        accelerators = machine.nodes((*_GPU_NODES, *_CORAL_NODES))
        self.needs.devices |= accelerators
        self.needs.gpu = machine.jetson or any("nvidia" in node for node in accelerators)
        if machine.jetson:
            self._jetson()
        if machine.coral_usb:
            self.needs.devices.add("char-usb_device")
            self.needs.groups.add("plugdev")

    def camera(self, uri: str, number: int) -> str:
        """A camera's URI for the service.

        Raises:
            DeviceError: a file that is not there.
        """
        address, _, query = uri.partition("?")
        scheme = address.partition(":")[0].lower() if ":" in address else ""
        if Path(address).exists() and not address.startswith("/dev/"):
            path = self._readable(Path(address))
            return f"{path}?{query}" if query else path
        if address.isdigit() or address.startswith("/dev/") or scheme in ("usb", "v4l2", ""):
            self._devices({_VIDEO}, "video")
        elif scheme == "csi":
            self._csi()
        elif scheme == "gst":
            self._pipeline(uri)
        elif scheme in _NETWORK_CAMERAS:
            self.needs.reach(Network.ANY)
        private = scheme in _NETWORK_CAMERAS or redacted(uri) != uri or (scheme == "gst" and "://" in uri)
        return self._private(uri, f"camera-{number}") if private else uri

    def sink(self, uri: str, number: int) -> str:
        """A sink's URI for the service.

        Raises:
            DeviceError: a file that is not there, or a folder that the service could not write.
        """
        scheme, _, rest = uri.partition(":")
        if scheme in _FOLDER_SINKS and rest != "-":
            self.folder(rest.partition("?")[0], f"--sink {scheme}:")
        if scheme == "gpio":
            self._devices({"char-gpiochip"}, "gpio")
        if scheme not in _NETWORK_SINKS:
            return uri
        self.needs.reach(Network.ANY)
        separator = "#" if scheme.startswith("http") else "?"
        address, _, query = uri.partition(separator)
        options = [(key, self._option(key, value, number)) for key, value in parse_qsl(query, keep_blank_values=True)]
        # Safe characters keep a path readable; '$' stands for the folder of the credentials.
        whole = f"{address}{separator}{urlencode(options, safe='/:${}')}" if options else uri
        # A web hook's path is often all that is secret about it.
        return self._private(whole, f"sink-{number}") if scheme.startswith("http") else whole

    def web(self, address: str) -> str:
        """The live view's address."""
        loopback = parse_address(address).loopback
        self.needs.reach(Network.LOOPBACK if loopback else Network.ANY)
        return address

    def secret(self, source: str, name: str) -> str:
        """``file:PATH`` as the service gets it.

        Raises:
            DeviceError: another form, or the file is not there.
        """
        kind, _, target = source.partition(":")
        if kind == "credential":
            raise DeviceError(f"credential:{target} is what a service has; give file:PATH, and it is made of that")
        if kind != "file" or not target:
            raise DeviceError(f"--{name} is expected as file:PATH, not itself: others could see it")
        path = _existing(target)
        if not self._system:
            return f"file:{path}"
        self.needs.credentials[name] = path
        return f"credential:{name}"

    def file(self, target: str | Path, name: str) -> str:
        """A file that the service reads; returned is its path there.

        Raises:
            DeviceError: it is not there.
        """
        path = _existing(target)
        if not self._system:
            return str(path)
        self.needs.credentials[name] = path
        return f"${{CREDENTIALS_DIRECTORY}}/{name}"

    def folder(self, target: str, option: str) -> str:
        """A folder or file that the service writes: of its own folder, wherever that is.

        Raises:
            DeviceError: an absolute path elsewhere.
        """
        inside = os.path.normpath(target).startswith((self._own_folder + "/", "../")) or not Path(target).is_absolute()
        if self._system and (not inside or os.path.normpath(target).startswith("..")):
            raise DeviceError(
                f"{option}{target}: a service writes into its own folder only; give a relative path, which is in "
                f"{self._own_folder}, or install it with --user"
            )
        return target

    def _option(self, key: str, value: str, number: int) -> str:
        name = f"sink-{number}-{key}"
        if key in _OPEN_OPTIONS:
            return self._readable(_existing(value))
        if key in _SECRET_OPTIONS:
            return self.secret(value, name) if value.startswith(("file:", "credential:")) else self.file(value, name)
        return value

    def _readable(self, path: Path) -> str:
        path = path.resolve()
        if self._system and not path.stat().st_mode & stat.S_IROTH:
            raise DeviceError(f"{path}: the service's user could not read it; chmod o+r {path}")
        self.needs.read.add(path)
        return str(path)

    def _private(self, text: str, name: str) -> str:
        self.needs.private[name] = text
        return f"credential:{name}"

    def _devices(self, devices: Iterable[str], group: str) -> None:
        self.needs.devices |= set(devices)
        if self._machine.group(group):
            self.needs.groups.add(group)

    def _csi(self) -> None:
        if self._machine.jetson:
            self._jetson()
            self.needs.sockets.add(_ARGUS_SOCKET)
        else:
            self._devices(_PI_CAMERA, "video")
            self.needs.netlink = True

    def _jetson(self) -> None:
        self._devices(self._machine.nodes(_JETSON_NODES), "video")

    def _pipeline(self, uri: str) -> None:
        if "nvargus" in uri or "libcamera" in uri:
            self._csi()
        if "v4l2" in uri:
            self._devices({_VIDEO}, "video")
        if _GST_NETWORK.search(uri):
            self.needs.reach(Network.ANY)


def hidden_paths(paths: Sequence[Path]) -> tuple[Path, ...]:
    """Of these, the ones that a service of the system does not see: it has no home folders and its own /tmp."""
    hidden = ("/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/")
    found = {path for path in paths if f"{path}/".startswith(hidden)}
    # What lies in another one comes with it.
    return tuple(sorted(path for path in found if not any(other in path.parents for other in found)))


def _existing(target: str | Path) -> Path:
    path = Path(target).absolute()
    if not path.is_file():
        raise DeviceError(f"{path}: no such file; the service would not start")
    return path
