"""Waves and inventories: what is planned, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from device.errors import UsageError
from device.inventory import EXAMPLE, Board, InventoryError, load_inventory
from export.flash.waves import Policy, Share, parse_share, parse_waves


@pytest.mark.parametrize(
    ("text", "total", "sizes"),
    [
        ("1,10%,50%,100%", 20, [1, 1, 8, 10]),
        ("1,10%,50%,100%", 7, [1, 3, 3]),
        ("1,10%,50%,100%", 1, [1]),
        ("2, 4, 100%", 3, [2, 1]),
        ("100%", 5, [5]),
        (None, 1, [1]),
        (None, 20, [1, 19]),
        (None, 200, [1, 19, 80, 100]),
    ],
)
def test_sizes_of_waves(text: str | None, total: int, sizes: list[int]) -> None:
    policy = Policy(parse_waves(text) if text else ())
    assert policy.sizes(total) == sizes


@pytest.mark.parametrize("text", ["", "1,50%", "1,1,100%", "50%,10%,100%", "0,100%", "1,200%", "1,-3,100%", "1,x,100%"])
def test_waves_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--waves"):
        parse_waves(text)


@pytest.mark.parametrize(
    ("limit", "failed", "begun", "borne"),
    [
        (None, 1, 2, True),
        (None, 2, 19, False),
        (None, 2, 20, True),
        (None, 100, 100, False),
        (Share(0, False), 1, 100, False),
        (Share(3, False), 3, 4, True),
        (Share(3, False), 4, 400, False),
        (Share(50, True), 1, 2, True),
        (Share(50, True), 2, 3, False),
    ],
)
def test_how_many_failures_are_borne(limit: Share | None, failed: int, begun: int, borne: bool) -> None:
    assert Policy(max_failed=limit).bears(failed, begun) is borne


@pytest.mark.parametrize("text", ["", "x", "101%", "-1", "1.5", "%"])
def test_a_share_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="--max-failed"):
        parse_share("--max-failed", text)


def test_a_boards_option_wins_over_its_groups_and_that_over_the_command_lines(tmp_path: Path) -> None:
    path = tmp_path / "boards.toml"
    path.write_text(EXAMPLE)
    boards = load_inventory(path, {"camera": ["0"], "threads": 2, "motion": True, "sink": [], "web": None})
    assert boards == [
        Board("pi@bench-1", ("--camera=csi:0", "--threads=2", "--motion")),
        Board("pi@bench-2", ("--camera=csi:0", "--threads=2", "--motion")),
        Board(
            "pi@gate-north",
            ("--camera=v4l2:Door", "--sink=mqtt://broker/gates", "--max-fps=5.0", "--threads=2", "--motion"),
            rules=tmp_path / "door.toml",
        ),
        Board(
            "ssh://pi@gate-south:2222",
            (
                "--camera=0",
                "--camera=rtsp://10.0.0.9/stream",
                "--sink=mqtt://broker/gates",
                "--max-fps=5.0",
                "--threads=2",
                "--motion",
            ),
        ),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "0 boards; expected 1 to 10000"),
        ("a = 1", "a: expected [group.NAME] and"),
        ('[group.a]\ncamera = "0"', "group.a: object missing required field `boards`"),
        ("[group.a]\nboards = []", " line 2, group.a.boards: expected `array` of length >= 1"),
        ('[group.a]\nboards = ["x", "x"]', "'x' came before; name it once"),
        ('[group.a]\nboards = ["x"]\n[group.b]\nboards = ["x"]', "group.b.boards: 'x' came before"),
        ('[board.x]\ncamra = "0"', " line 2, board.x.camra: no such option; there are camera, sink, "),
        ('[board.x]\ncamera = ["0", 3]', " line 2, board.x.camera: expected `str`, got `int`"),
        ("[board.x]\nmax_fps = nan", " line 2, board.x.max_fps: nan came"),
        ('[board.x]\nsink = "a\\u001b[2J"', "'a\\x1b[2J' came; expected printable text"),
        ('[board.x]\nsink = "a\\nExecStart=/bin/false"', "'a\\nExecStart=/bin/false' came"),
        ("[board]\nx = 3", "board.x: expected a table"),
        ("[[group]]", "group: expected [group.NAME]"),
        ('[board."-oProxyCommand=x"]', "expected user@host or a name from your SSH configuration"),
        ('[board."a\\u001bb"]', "expected user@host or a name from your SSH configuration"),
        ('[board.x]\nname = "../../x"', "'../../x' is no name for a service"),
        ("x = [1\n", "not TOML: "),
        ("x = 1\ny == 2\n", "(at line 2, column 4)"),
        ("x = " + "[" * 100_000, "not TOML: "),
    ],
)
def test_an_inventory_that_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "boards.toml"
    path.write_text(text)
    with pytest.raises(InventoryError) as caught:
        load_inventory(path, {})
    message = str(caught.value)
    assert message.startswith(str(path)), message
    assert said in message
    assert message.isprintable()


@pytest.mark.parametrize("data", [b"\xff\xfe", b"#" * (4 * 1024 * 1024 + 1)])
def test_an_inventory_that_is_no_text_or_too_large(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "boards.toml"
    path.write_bytes(data)
    with pytest.raises(InventoryError):
        load_inventory(path, {})
    with pytest.raises(InventoryError, match="No such file"):
        load_inventory(tmp_path / "none.toml", {})
