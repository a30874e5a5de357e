"""What viewers of the live view cost `edgegraft run`; part of scripts/bench_device.

As a program of its own, `bench_viewers.py ADDRESS one|slow`, it is the viewers: they cost time on this machine too, but
not in the process that is measured.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from bench_lib import BenchError, Log, markdown

EDGEGRAFT = Path(sys.executable).with_name("edgegraft")
SLOW = 50
# What a viewer behind a bad line takes; a picture has some 30,000 bytes.
SLOW_BYTES_PER_SECOND = 500
_ANSWERS_PER_SECOND = 10
_PHASE_S = 6.0
_SETTLE_S = 1.0
PHASES = ("nobody", "one", "one and 50 slow")


def viewers_cost(bundle: Path, variant: str, film: Path, threads: int, turns: int, log: Log) -> str:
    """Frames a second of one run with nobody looking, one viewer, and 50 slow ones beside, again and again in turn.

    Args:
        bundle: what runs, as fast as it can.
        variant: of the bundle.
        film: what it looks at, over and over.
        threads: of the model's runtime.
        turns: how often each is measured.
        log: keeps the figures.

    Returns:
        Markdown.

    Raises:
        BenchError: it does not start, or ends.
    """
    rows = []
    with _running(bundle, variant, film, threads) as (address, process):
        for turn in range(turns):
            row = {}
            for phase in PHASES if turn % 2 == 0 else reversed(PHASES):
                row[phase] = _phase(address, process, phase)
            log.append({"viewers": bundle.stem, "threads": threads, "turn": turn, **row})
            rows.append(row)
    nobody, one, slow = (statistics.median(row[phase] for row in rows) for phase in PHASES)
    costs = [1 - row[PHASES[1]] / row[PHASES[0]] for row in rows]
    extra = [1 - row[PHASES[2]] / row[PHASES[1]] for row in rows]
    header = (
        "model, threads",
        "nobody: frames/s",
        "one viewer",
        "and 50 slow ones",
        "one costs",
        "50 slow cost beside",
    )
    cells = (
        f"{bundle.stem}, {threads}",
        f"{nobody:.0f}",
        f"{one:.0f}",
        f"{slow:.0f}",
        _percent(costs),
        _percent(extra),
    )
    return markdown(header, [cells])


@contextlib.contextmanager
def _running(bundle: Path, variant: str, film: Path, threads: int) -> Iterator[tuple[str, int]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command: list[object] = [EDGEGRAFT, "run", bundle, "--variant", variant, "--threads", threads, "--web", address]
    words = [str(word) for word in [*command, "--camera", f"{film}?loop=1"]]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        try:
            deadline = time.monotonic() + 60
            while _classified(address) < 1:
                if child.poll() is not None or time.monotonic() > deadline:
                    raise BenchError(f"it does not start: {' '.join(words)}")
                time.sleep(0.2)
            yield address, child.pid
        finally:
            child.terminate()


def _phase(address: str, process: int, phase: str) -> float:
    """Frames a second of some seconds with these viewers."""
    kinds = {"nobody": (), "one": ("one",), "one and 50 slow": ("one", "slow")}[phase]
    clients = [subprocess.Popen([sys.executable, __file__, address, kind]) for kind in kinds]
    try:
        time.sleep(_SETTLE_S)
        before, start = _classified(address), time.monotonic()
        time.sleep(_PHASE_S)
        after, seconds = _classified(address), time.monotonic() - start
        if any(client.poll() is not None for client in clients) or not Path(f"/proc/{process}").exists():
            raise BenchError(f"'{phase}': a viewer, or what it looks at, has ended")
    finally:
        for client in clients:
            client.kill()
            client.wait()
    time.sleep(_SETTLE_S)
    return (after - before) / seconds


def _classified(address: str) -> int:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{address}/api/status", timeout=10) as answer:
        return sum(int(camera["classified"]) for camera in json.load(answer)["cameras"])
    return 0


def _percent(costs: list[float]) -> str:
    middle = f"{100 * statistics.median(costs):.1f} %"
    return f"{middle} ({100 * min(costs):.1f} to {100 * max(costs):.1f})"


def _look(address: str) -> None:
    """One viewer, as the page does it: the next picture when the last has come, and answers as they are."""
    threading.Thread(target=_listen, args=(address,), daemon=True).start()
    connection, number = http.client.HTTPConnection(address, timeout=30), "0"
    while True:
        connection.request("GET", f"/api/picture.jpg?not={number}")
        answer = connection.getresponse()
        answer.read()
        number = answer.headers.get("edgegraft-picture") or number


def _listen(address: str) -> None:
    with urllib.request.urlopen(f"http://{address}/api/predictions?per_second={_ANSWERS_PER_SECOND}") as answer:
        while answer.read1(65536):
            pass
    os._exit(1)


def _crawl(address: str) -> None:
    """Viewers that ask for pictures and for every answer and hardly take them."""
    host, _, port = address.rpartition(":")
    readers = []
    for number in range(SLOW):
        reader = socket.socket()
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect((host, int(port)))
        path = "/api/predictions" if number % 2 else "/api/picture.jpg?not=0"
        # Asked for ten times at once: a viewer that gets through one picture has the next one coming.
        asked = f"GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode()
        reader.sendall(asked * (1 if number % 2 else 10))
        reader.setblocking(False)
        readers.append(reader)
    while True:
        time.sleep(0.2)
        for reader in readers:
            with contextlib.suppress(BlockingIOError):
                if not reader.recv(SLOW_BYTES_PER_SECOND // 5):
                    sys.exit("a slow viewer was sent away")


if __name__ == "__main__":
    {"one": _look, "slow": _crawl}[sys.argv[2]](sys.argv[1])
