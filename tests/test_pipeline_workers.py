"""Which worker a process is, and how long it waits."""

from __future__ import annotations

import json

import pytest

from pipeline.config import Workers
from pipeline.errors import PipelineError
from pipeline.workers import WAIT_VARIABLE, read_workers, wait_seconds

PAIR = ("first:2345", "second:2345")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.delenv(WAIT_VARIABLE, raising=False)


def tf_config(monkeypatch: pytest.MonkeyPatch, cluster: dict[str, list[str]], kind: str, index: int | str) -> None:
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}}))


def test_without_anything_a_process_is_alone_and_writes() -> None:
    workers = read_workers(None, None, 2)
    assert (workers.count, workers.is_chief, workers.devices) == (1, True, 2)


def test_the_first_worker_writes_and_the_second_does_not() -> None:
    first, second = (read_workers("first:2345,second:2345", index, 1) for index in range(2))
    assert first == Workers(PAIR, 0) and first.is_chief
    assert second == Workers(PAIR, 1) and not second.is_chief and second.count == 2


def test_the_command_line_wins_over_tf_config(monkeypatch: pytest.MonkeyPatch) -> None:
    tf_config(monkeypatch, {"worker": ["a:1", "b:2"]}, "worker", 0)
    assert read_workers("first:2345,second:2345", 1, 1) == Workers(PAIR, 1)


def test_tf_config_as_slurm_resolvers_write_it(monkeypatch: pytest.MonkeyPatch) -> None:
    tf_config(monkeypatch, {"worker": list(PAIR)}, "worker", 1)
    assert read_workers(None, None, 1) == Workers(PAIR, 1)


@pytest.mark.parametrize(("kind", "index", "expected"), [("chief", 0, 0), ("worker", "0", 1), ("worker", 1, 2)])
def test_a_kubernetes_operators_chief_is_worker_0(
    monkeypatch: pytest.MonkeyPatch, kind: str, index: int | str, expected: int
) -> None:
    tf_config(monkeypatch, {"chief": ["chief:2222"], "worker": ["a:2222", "b:2222"]}, kind, index)
    assert read_workers(None, None, 1) == Workers(("chief:2222", "a:2222", "b:2222"), expected)


def test_a_cluster_of_one_is_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    tf_config(monkeypatch, {"worker": ["a:2222"]}, "worker", 0)
    assert read_workers(None, None, 1).count == 1


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"cluster": {}}', '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker"}}']
)
def test_a_tf_config_that_cannot_be_read_is_shown_the_form(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(PipelineError, match=r'TF_CONFIG cannot be read .*expected \{"cluster"'):
        read_workers(None, None, 1)


@pytest.mark.parametrize(
    ("addresses", "reason"),
    [
        ("first,second:2345", "'first' is no host:port"),
        ("first:2345,", "'' is no host:port"),
        ("a:1,a:1", "comes twice"),
        ("first:2345;second:2345", "is no host:port"),
    ],
)
def test_wrong_addresses_are_named(addresses: str, reason: str) -> None:
    with pytest.raises(PipelineError, match=f"--workers: .*{reason}"):
        read_workers(addresses, 0, 1)


@pytest.mark.parametrize(("addresses", "index"), [(None, 0), ("first:2345,second:2345", None)])
def test_one_of_the_two_options_is_not_enough(addresses: str | None, index: int | None) -> None:
    with pytest.raises(PipelineError, match="belong together; give both"):
        read_workers(addresses, index, 1)


@pytest.mark.parametrize("index", [-1, 2])
def test_an_index_beyond_the_list_is_refused(index: int) -> None:
    with pytest.raises(PipelineError, match=f"--worker {index}: --workers names 2"):
        read_workers("first:2345,second:2345", index, 1)


def test_a_worker_waits_half_an_hour_or_as_long_as_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert wait_seconds() == 1800
    monkeypatch.setenv(WAIT_VARIABLE, "7200")
    assert wait_seconds() == 7200


@pytest.mark.parametrize("text", ["soon", "0", "-3", "nan", "inf"])
def test_a_wait_that_is_no_time_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(WAIT_VARIABLE, text)
    with pytest.raises(PipelineError, match=f"{WAIT_VARIABLE}={text}: expected a number of seconds"):
        wait_seconds()
