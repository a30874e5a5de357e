"""Row 41: passwords and keys of network sinks: in no message, representation, log or list of processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from broker import free_port

from device.errors import SinkError
from device.sinks import open_sink

SECRET = "opensesame-4711-opensesame"

# Opens both sinks, lets them fail, and shows all that can be shown of them, with all the logging there is.
PROGRAM = """
import gc, logging, pathlib, sys, time
from device.errors import SinkError
from device.prediction import PREDICTION_SCHEMA, Event, Prediction, StageTimes
from device.secret import Secret
from device.sinks import open_sink
from device.sinks.base import Result

logging.basicConfig(level=logging.DEBUG)
times = StageTimes(0.0, 0.0, 0.0, 0.0)
one = Prediction(PREDICTION_SCHEMA, "c", 1, 0.0, 1.0, "a", 0.9, (("a", 0.9),), False, Event.ENTERED, times, 0)
sinks = [open_sink(uri) for uri in sys.argv[1:]]
deadline = time.monotonic() + 20
told = 0
for sink in sinks:
    while time.monotonic() < deadline:
        try:
            sink.write(Result(one))
            time.sleep(0.1)
        except SinkError as err:
            told += 1
            print(err, repr(err), err.__cause__)
            break
for sink in sinks:
    print(sink, vars(sink))
print([each for each in gc.get_objects() if isinstance(each, Secret)])
print("command line:", pathlib.Path("/proc/self/cmdline").read_bytes())
for sink in sinks:
    sink.close()
print("told", told)
"""


def test_nothing_shows_the_password_or_the_key(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text(SECRET + "\n")
    kept.chmod(0o644)  # so that there is a warning, too
    uris = [
        f"mqtt://board@127.0.0.1:{free_port()}/b?password=file:{kept}",
        f"http://127.0.0.1:{free_port()}/hook#key=file:{kept}",
    ]
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", PROGRAM, *uris], capture_output=True, text=True, timeout=300, check=False
    )
    shown = done.stdout + done.stderr
    assert "told 2" in shown, shown
    assert "chmod 600" in shown
    assert str(kept) in shown, "where the secrets come from is no secret"
    assert SECRET not in shown


@pytest.mark.parametrize(
    "uri",
    [
        f"mqtt://board:{SECRET}@127.0.0.1/b",
        f"mqtt://board@127.0.0.1/b?password={SECRET}",
        f"mqtt://board@127.0.0.1/b?pasword={SECRET}",
        f"mqtt://board@127.0.0.1/b?{SECRET}",
        f"mqtts://board:{SECRET}@127.0.0.1:port/b",
        f"mqtt://board:{SECRET}@[::1/b",
        f"https://hook:{SECRET}@127.0.0.1/",
        f"https://127.0.0.1/#key={SECRET}",
        f"https://127.0.0.1/#kee={SECRET}",
        f"http://example.com/{SECRET}?token={SECRET}",
    ],
)
def test_a_secret_in_the_wrong_place_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(SinkError) as caught:
        open_sink(uri)
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in repr(error)
        error = error.__cause__
