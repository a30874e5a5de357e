"""cloud-init's files: what the user asked for, written by a YAML library: no text of theirs can be more than a text.

What is on the card already (Raspberry Pi Imager asks for a user, a network) is kept, and ours is added.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from device.errors import UsageError
from device.releases.refusals import UnsuitableCard
from export.flash.first_boot.card import FOLDER

_HOST = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_KEY = re.compile(r"(ssh-(ed25519|rsa)|ecdsa-sha2-nistp\d+|sk-[a-z0-9@.-]+) [A-Za-z0-9+/=]+( .*)?")
# Found again when a card is prepared a second time.
_MARK = f"{FOLDER}/first_boot.py"
# Where systems mount the seed; where none does, it is looked for by its label.
_BOOT_COMMAND = f"""\
for card in /boot/firmware /boot; do
  if [ -f "$card/{_MARK}" ]; then exec python3 "$card/{_MARK}" enable; fi
done
for label in CIDATA cidata system-boot bootfs; do
  [ -e "/dev/disk/by-label/$label" ] || continue
  mkdir -p /run/edgegraft-card
  mount "/dev/disk/by-label/$label" /run/edgegraft-card || continue
  if [ -f "/run/edgegraft-card/{_MARK}" ]; then exec python3 "/run/edgegraft-card/{_MARK}" enable; fi
  umount /run/edgegraft-card
done
"""


@dataclass(frozen=True, slots=True)
class Wifi:
    """A network to join.

    Attributes:
        ssid: up to 32 bytes.
        psk: 64 hex digits, derived from the password: that itself is not on the card.
        country: two letters, whose rules the radio follows.
    """

    ssid: str
    psk: str = field(repr=False)
    country: str


@dataclass(frozen=True, slots=True)
class Person:
    """Who may log in, and what the board is called; empty: as the image has it."""

    hostname: str = ""
    user: str = ""
    ssh_keys: tuple[str, ...] = ()


def wifi(ssid: str, password: str, country: str) -> Wifi:
    """Derive the key as WPA2 does (IEEE 802.11i, annex H.4).

    Raises:
        UsageError: not a network's name, password or country.
    """
    name = ssid.encode("utf-8", "surrogateescape")
    if not 1 <= len(name) <= 32 or b"\0" in name:
        raise UsageError(f"--wifi-ssid has {len(name)} bytes; a network's name has 1 to 32")
    if not ssid.isprintable() or re.search(r"[\ud800-\udfff]", ssid):
        # netplan writes it as it is into wpa_supplicant's lines: a break would begin another setting there.
        raise UsageError(
            f"--wifi-ssid is {ssid!r}: line breaks, other control characters and bytes that are no UTF-8 "
            "cannot be written into a network's configuration; rename the network"
        )
    if not re.fullmatch(r"[A-Z]{2}", country):
        raise UsageError(f"--wifi-country is {country!r}; expected two capital letters, e.g. DE")
    if re.fullmatch(r"[0-9a-fA-F]{64}", password):
        return Wifi(ssid, password.lower(), country)
    if not 8 <= len(password) <= 63 or not all(" " <= char <= "~" for char in password):
        raise UsageError(
            "the wifi password has 8 to 63 characters of ASCII, or 64 hex digits; the file holds something else"
        )
    return Wifi(ssid, hashlib.pbkdf2_hmac("sha1", password.encode(), name, 4096, 32).hex(), country)


def check_person(person: Person) -> None:
    """Refuse what no system would take.

    Raises:
        UsageError: a host name, user name or key that is none.
    """
    if person.hostname and not _HOST.fullmatch(person.hostname):
        raise UsageError(f"--hostname is {person.hostname!r}; expected up to 63 of a-z, 0-9 and '-', e.g. greenhouse")
    if person.user and not _USER.fullmatch(person.user):
        raise UsageError(f"--user-name is {person.user!r}; expected a-z, 0-9, '_' and '-', e.g. gardener")
    if person.user and not person.ssh_keys:
        raise UsageError("--user-name needs --ssh-key FILE.pub, or nobody could log in")
    for key in person.ssh_keys:
        if not _KEY.fullmatch(key):
            raise UsageError(f"--ssh-key holds {key[:30]!r}; expected a public key, e.g. of ~/.ssh/id_ed25519.pub")


def user_data(before: bytes, person: Person, radio: bool, where: str, replace: bool = False) -> bytes:
    """Ours, joined with what was there.

    Args:
        before: the card's own.
        person: to be set up.
        radio: a blocked wireless is switched on.
        where: for messages.
        replace: throw away what is there.

    Raises:
        UnsuitableCard: what is there is no plain cloud-config, so nothing can be added to it.
    """
    config: dict[str, Any] = {} if replace else _mapping(before, f"{where}: user-data", "#cloud-config")
    commands = [each for each in config.get("bootcmd") or [] if _MARK not in str(each)]
    config["bootcmd"] = [*commands, ["sh", "-c", _BOOT_COMMAND]]
    if person.hostname:
        config |= {"hostname": person.hostname, "preserve_hostname": False, "manage_etc_hosts": True}
        config.pop("fqdn", None)
    if person.user:
        others = [each for each in config.get("users") or [] if not _is(each, person.user)]
        config["users"] = [*(others or ["default"]), _account(person)]
    elif person.ssh_keys:
        known = [each for each in config.get("ssh_authorized_keys") or [] if each not in person.ssh_keys]
        config["ssh_authorized_keys"] = [*known, *person.ssh_keys]
    if person.ssh_keys:
        # Raspberry Pi OS leaves the server off unless told; elsewhere this key is unknown and passed over.
        config["runcmd"] = _with(config.get("runcmd"), ["sh", "-c", "systemctl enable --now ssh || true"])
    if radio:
        config["runcmd"] = _with(config.get("runcmd"), ["sh", "-c", "rfkill unblock wifi || true"])
    return b"#cloud-config\n" + _dump(config)


def meta_data(before: bytes, instance: str, where: str) -> bytes:
    """A fresh instance id, so that cloud-init takes the card for a new machine.

    Raises:
        UnsuitableCard: what is there is no mapping.
    """
    config = _mapping(before, f"{where}: meta-data")
    config.pop("instance_id", None)  # pi-gen's spelling, which cloud-init does not know
    # Without "local" the settings would wait for a network.
    return _dump({**config, "instance-id": instance, "dsmode": "local"})


def network_config(before: bytes | None, network: Wifi | None, where: str, optional: bool = True) -> bytes | None:
    """The network: what is there stays; else a cable, if there is one, is used, and no boot waits for it.

    Args:
        before: the card's own.
        network: to join, or None.
        where: for messages.
        optional: no link is waited for; see ``System``.

    Raises:
        UnsuitableCard: what is there cannot be added to.
    """
    config = _mapping(before or b"", f"{where}: network-config")
    inner = config.get("network", config)
    if not isinstance(inner, dict) or inner.get("version", 2) != 2 or inner.get("config") == "disabled":
        if network is None:
            return None
        raise UnsuitableCard(
            f"{where}: network-config is not of version 2, no wifi can be added to it; remove the file"
        )
    if network is None and inner.keys() - {"version", "renderer"}:
        return None
    fresh: dict[str, Any] = {**inner, "version": 2}
    waits = {"optional": True} if optional else {}
    fresh.setdefault("ethernets", {"eth0": {"dhcp4": True, **waits}})
    if network is not None:
        place = {"dhcp4": True, **waits, "regulatory-domain": network.country}
        place["access-points"] = {network.ssid: {"password": network.psk}}
        fresh["wifis"] = {**(fresh.get("wifis") or {}), "wlan0": place}
    return _dump({"network": fresh} if "network" in config or not config else fresh)


def command_line(before: bytes, instance: str, network: Wifi | None, where: str) -> bytes | None:
    """The kernel's, changed only where it would overrule the seed, or for the radio's country; None: as it is.

    Raises:
        UnsuitableCard: it makes cloud-init read another place.
    """
    words = before.decode("utf-8", "surrogateescape").split()
    if any(
        word.startswith(("ds=nocloud", "ds=nocloud-net")) and re.search(r"[;=]s(eedfrom)?=", word) for word in words
    ):
        raise UnsuitableCard(
            f"{where}: cmdline.txt makes cloud-init read from elsewhere; remove its 'ds=' and try again"
        )
    # Imager writes the instance id here, and this one wins over meta-data.
    fresh = [re.sub(r"^(ds=nocloud.*?;)(i|instance-id)=[^;]*", rf"\g<1>i={instance}", word) for word in words]
    if network is not None:
        fresh = [word for word in fresh if not word.startswith("cfg80211.ieee80211_regdom=")]
        fresh.append(f"cfg80211.ieee80211_regdom={network.country}")
    return None if fresh == words else (" ".join(fresh) + "\n").encode("utf-8", "surrogateescape")


def _account(person: Person) -> dict[str, Any]:
    return {
        "name": person.user,
        "groups": ["adm", "sudo", "video"],
        "shell": "/bin/bash",
        "lock_passwd": True,
        "sudo": "ALL=(ALL) NOPASSWD:ALL",
        "ssh_authorized_keys": list(person.ssh_keys),
    }


def _is(entry: object, user: str) -> bool:
    return isinstance(entry, dict) and entry.get("name") == user


def _with(commands: object, fresh: list[str]) -> list[object]:
    known = commands if isinstance(commands, list) else []
    return [*(each for each in known if each != fresh), fresh]


def _mapping(text: bytes, where: str, first: str = "") -> dict[str, Any]:
    try:
        body = text.decode()
        lines = [line for line in body.splitlines() if line.strip()]
        if first and lines and not lines[0].startswith(first) and any(not line.startswith("#") for line in lines):
            raise UnsuitableCard(
                f"{where} begins with {lines[0][:40]!r}, expected '{first}'; nothing can be added to it: "
                "--replace throws it away"
            )
        found = yaml.safe_load(body)
    except (UnicodeDecodeError, yaml.YAMLError) as err:
        reason = " ".join(str(err).split())[:120]
        raise UnsuitableCard(f"{where} is no YAML ({reason}); mend or remove it, or pass --replace") from err
    if found is not None and not isinstance(found, dict):
        raise UnsuitableCard(
            f"{where} holds a {type(found).__name__}, expected 'key: value' lines; --replace throws it away"
        )
    return found or {}


def _dump(config: dict[str, Any]) -> bytes:
    text: str = yaml.safe_dump(config, sort_keys=False, allow_unicode=False, default_flow_style=False, width=1 << 20)
    return text.encode()
