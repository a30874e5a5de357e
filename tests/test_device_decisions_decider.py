"""Settled answers and events, on simulated clocks with regular and irregular frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from device.contract import Decision
from device.decisions import ClassRule, Decided, Decider, Rules, Smoothing
from device.errors import EngineError
from device.prediction import Event, decide

CLASSES = ("empty", "rose", "tulip")
DECISION = Decision(unknown_threshold=0.6)
RAW = Rules(smoothing=Smoothing.NONE, hysteresis=0.0, dwell_s=0.0)


def of(**probabilities: float) -> NDArray[np.float32]:
    """(3,) float32; what is not named shares the rest."""
    rest = (1.0 - sum(probabilities.values())) / max(1, len(CLASSES) - len(probabilities))
    return np.array([probabilities.get(name, rest) for name in CLASSES], np.float32)


ROSE, TULIP, EMPTY, UNSURE = of(rose=0.95), of(tulip=0.95), of(empty=0.95), of(rose=0.4, tulip=0.35)


def feed(decider: Decider, frames: Iterable[tuple[float, NDArray[np.float32]]]) -> Iterator[tuple[float, Decided]]:
    for at_s, probabilities in frames:
        yield at_s, decider.decide(probabilities, at_s)


def signal(
    content: Callable[[float], NDArray[np.float32]], fps: float, seconds: float
) -> Iterator[tuple[float, NDArray[np.float32]]]:
    for number in range(round(seconds * fps)):
        yield number / fps, content(number / fps)


def changes(decided: Iterable[tuple[float, Decided]]) -> list[tuple[float, Event, str | None, str | None]]:
    return [(at, each.event, each.previous, each.settled) for at, each in decided if each.event is not None]


def random_times(random: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Anything from bursts at 1,000 frames a second to pauses of half a minute."""
    return np.cumsum(10.0 ** random.uniform(-3.0, 1.5, count) * random.choice([0.01, 1.0], count, p=[0.9, 0.1]))


def random_walk(random: np.random.Generator, count: int) -> Iterator[NDArray[np.float32]]:
    """Distributions that wander, jump, and are equal now and then."""
    logits = np.zeros(len(CLASSES))
    for _ in range(count):
        logits = random.normal(0, 3, len(CLASSES)) if random.random() < 0.05 else logits + random.normal(0, 0.3, 3)
        powers = np.exp(np.round(logits - logits.max(), 1))
        yield (powers / powers.sum()).astype(np.float32)


ALL_RULES = [
    Rules(),
    Rules.immediate(),
    Rules(smoothing=Smoothing.MAJORITY),
    Rules(smoothing=Smoothing.MAJORITY, hysteresis=0.0, dwell_s=0.0, window_s=0.05),
    Rules(smoothing=Smoothing.NONE, dwell_s=0.5, least_s=2.0, hold_s=1.0),
    Rules(background=("empty",), threshold=0.0, classes={"rose": ClassRule(threshold=0.9, dwell_s=1.0)}),
    Rules(classes={"tulip": ClassRule(ignore=True)}, hysteresis=1.0, dwell_s=0.0),
]


@pytest.mark.parametrize("rules", ALL_RULES)
def test_events_are_always_consistent(rules: Rules) -> None:
    random = np.random.default_rng(3)
    decider = Decider(CLASSES, DECISION, rules)
    settled, kinds = None, set()
    for at_s, probabilities in zip(random_times(random, 10_000), random_walk(random, 10_000), strict=True):
        decided = decider.decide(probabilities, float(at_s))
        expected = {
            (True, True): None,
            (True, False): Event.ENTERED,
            (False, True): Event.LEFT,
            (False, False): Event.CHANGED,
        }[settled is None, decided.settled is None]
        assert decided.event == (None if decided.settled == settled else expected)
        assert decided.previous == (settled if decided.event else None)
        assert decided.settled == decider.settled
        settled = decided.settled
        kinds.add(decided.event)
    assert settled not in rules.background
    assert {Event.ENTERED, Event.LEFT} <= kinds


@pytest.mark.parametrize("kind", list(Smoothing))
@pytest.mark.parametrize("seed", range(4))
def test_a_flapping_input_never_makes_the_settled_answer_flap_faster_than_the_dwell(kind: Smoothing, seed: int) -> None:
    random = np.random.default_rng(seed)
    rules = Rules(smoothing=kind, window_s=0.05, dwell_s=0.4, hysteresis=0.0, hold_s=3600.0)
    decider = Decider(CLASSES, DECISION, rules)
    at_s, last, count = 0.0, -1.0, 0
    for _ in range(5000):
        at_s += float(random.exponential(0.03))
        shown = (ROSE, TULIP, UNSURE)[random.integers(3)] if random.random() < 0.2 else (ROSE, TULIP)[int(at_s) % 2]
        if decider.decide(shown, at_s).event is not None:
            assert at_s - last >= 0.4
            last, count = at_s, count + 1
    assert count > 20


def test_a_class_that_flickers_for_less_than_the_dwell_never_settles() -> None:
    rules = Rules(smoothing=Smoothing.NONE, dwell_s=0.3)
    flicker = signal(lambda at: TULIP if at > 1 and at % 0.5 < 0.25 else ROSE, 50, 20)
    assert [change[1:] for change in changes(feed(Decider(CLASSES, DECISION, rules), flicker))] == [
        (Event.ENTERED, None, "rose")
    ]


@pytest.mark.parametrize("kind", [Smoothing.EMA, Smoothing.MAJORITY])
def test_the_same_signal_gives_the_same_events_at_any_frame_rate(kind: Smoothing) -> None:
    def content(at: float) -> NDArray[np.float32]:
        return EMPTY if at < 3 else ROSE if at < 10 else TULIP if at < 16 else EMPTY

    # The dwell bridges the moment in which neither class reaches the threshold; else that would hang on a frame.
    rules = Rules(smoothing=kind, window_s=1.0, dwell_s=0.6, background=("empty",))
    found = {fps: changes(feed(Decider(CLASSES, DECISION, rules), signal(content, fps, 25))) for fps in (5, 50, 500)}
    expected = [(Event.ENTERED, None, "rose"), (Event.CHANGED, "rose", "tulip"), (Event.LEFT, "tulip", None)]
    for fps, each in found.items():
        assert [change[1:] for change in each] == expected
        for change, reference in zip(each, found[500], strict=True):
            # The frame that shows a change may come one interval late, and so may the one that ends the dwell.
            assert change[0] == pytest.approx(reference[0], abs=2 / fps + 1e-6)


def test_the_moving_average_is_the_filter_in_continuous_time_at_irregular_intervals() -> None:
    """A step response crosses 0.6 where ``1 - exp(-t / tau)`` does, whatever the frames' times."""
    random = np.random.default_rng(1)
    rules = Rules(window_s=2.0, threshold=0.6, hysteresis=0.0, dwell_s=0.0, hold_s=1e4)
    certain, other = np.array([0, 1, 0], np.float32), np.array([0, 0, 1], np.float32)
    for _ in range(20):
        decider = Decider(CLASSES, DECISION, rules)
        decider.decide(other, 0.0)
        times = np.cumsum(random.exponential(0.2, 200))
        at = next(at for at, each in feed(decider, ((float(t), certain) for t in times)) if each.settled == "rose")
        crossing = 2.0 * np.log(1 / (1 - 0.6))
        assert at == times[np.searchsorted(times, crossing)]


def test_a_majority_counts_time_not_frames() -> None:
    """Fast frames for a short time have no more say than slow frames for the same time."""
    rules = Rules(smoothing=Smoothing.MAJORITY, window_s=10.0, dwell_s=0.0, hysteresis=0.0)
    decider = Decider(CLASSES, DECISION, rules)
    for at_s in np.arange(0.0, 6.0, 0.5):
        decider.decide(ROSE, float(at_s))
    burst = [decider.decide(TULIP, float(at_s)).settled for at_s in np.arange(6.0, 8.0, 0.001)]
    assert set(burst) == {"rose"}
    later = changes(feed(decider, ((float(at), TULIP) for at in np.arange(8.0, 20.0, 0.1))))
    # Roses filled 5.5 of the first 8 seconds; they lose their half of the window at 11 s.
    assert [change[1:] for change in later] == [(Event.CHANGED, "rose", "tulip")]
    assert later[0][0] == pytest.approx(11.0, abs=0.6)


def test_one_certain_outlier_moves_an_average_but_no_majority() -> None:
    weak, outlier = of(rose=0.62), of(tulip=1.0)
    settled = {}
    for kind in (Smoothing.EMA, Smoothing.MAJORITY):
        decider = Decider(CLASSES, DECISION, Rules(smoothing=kind, window_s=0.3, dwell_s=0.0, hysteresis=0.05))
        frames = [(number * 0.1, outlier if number == 20 else weak) for number in range(30)]
        settled[kind] = [each.settled for _, each in feed(decider, frames)]
    assert settled[Smoothing.MAJORITY] == ["rose"] * 30
    assert settled[Smoothing.EMA][20] is None


def test_a_settled_class_stays_in_the_band_of_the_hysteresis_and_leaves_under_it() -> None:
    decider = Decider(CLASSES, DECISION, Rules(smoothing=Smoothing.NONE, dwell_s=0.0, hysteresis=0.1))
    levels = [0.55, 0.65, 0.55, 0.51, 0.58, 0.49, 0.55, 0.61]
    settled = [decider.decide(of(rose=level), at * 0.1).settled for at, level in enumerate(levels)]
    assert settled == [None, "rose", "rose", "rose", "rose", None, None, "rose"]


def test_another_class_must_lead_the_settled_one_by_the_hysteresis() -> None:
    rules = Rules(smoothing=Smoothing.NONE, dwell_s=0.0, hysteresis=0.1, threshold=0.0)
    decider = Decider(CLASSES, DECISION, rules)
    settled = [
        decider.decide(of(rose=rose, tulip=tulip), at).settled
        for at, (rose, tulip) in enumerate([(0.6, 0.3), (0.44, 0.5), (0.4, 0.55), (0.5, 0.45), (0.6, 0.3)])
    ]
    assert settled == ["rose", "rose", "tulip", "tulip", "rose"]


def test_under_a_low_threshold_a_class_can_still_leave() -> None:
    decider = Decider(CLASSES, DECISION, Rules(threshold=0.05, smoothing=Smoothing.NONE, dwell_s=0.0, hysteresis=0.9))
    assert decider.decide(of(rose=0.9), 0.0).settled == "rose"
    assert decider.decide(of(rose=0.03, tulip=0.5), 0.1).settled == "rose"
    assert decider.decide(of(rose=0.02, tulip=0.5), 0.2).settled == "tulip"


def test_a_settled_class_stays_for_its_least_time() -> None:
    rules = Rules(smoothing=Smoothing.NONE, dwell_s=0.1, least_s=2.0)
    found = changes(feed(Decider(CLASSES, DECISION, rules), signal(lambda at: ROSE if at < 0.5 else TULIP, 20, 5)))
    assert [round(change[0], 2) for change in found] == pytest.approx([0.1, 2.1], abs=0.051)


def test_background_is_answered_but_never_settles() -> None:
    decider = Decider(CLASSES, DECISION, Rules(background=("empty",)))
    frames = list(feed(decider, signal(lambda at: EMPTY if at < 2 or at > 4 else ROSE, 20, 6)))
    assert [each.answer.label for at, each in frames if at < 2] == ["empty"] * 40
    assert [change[1:] for change in changes(frames)] == [(Event.ENTERED, None, "rose"), (Event.LEFT, "rose", None)]


def test_rules_of_a_class_go_before_those_of_all_and_those_before_the_bundle() -> None:
    def label(rules: Rules, probabilities: NDArray[np.float32]) -> str | None:
        return Decider(CLASSES, DECISION, rules).decide(probabilities, 0.0).answer.label

    strict = Rules(threshold=0.3, classes={"rose": ClassRule(threshold=0.9)})
    assert label(Rules(), of(rose=0.59)) is None
    assert label(Rules(), of(rose=0.61)) == "rose"
    assert label(strict, of(tulip=0.4)) == "tulip"
    assert label(strict, of(rose=0.89)) is None
    assert label(strict, of(rose=0.91)) == "rose"


def test_a_class_may_have_to_hold_longer_than_the_others() -> None:
    rules = Rules(smoothing=Smoothing.NONE, dwell_s=0.2, classes={"tulip": ClassRule(dwell_s=2.0)})
    found = changes(feed(Decider(CLASSES, DECISION, rules), signal(lambda at: ROSE if at < 1 else TULIP, 20, 5)))
    assert [change[0] for change in found] == pytest.approx([0.2, 3.0], abs=0.051)


def test_an_ignored_class_is_unknown_and_its_guess_is_kept() -> None:
    rules = Rules(dwell_s=0.0, classes={"rose": ClassRule(ignore=True)})
    decided = Decider(CLASSES, DECISION, rules).decide(ROSE, 0.0)
    assert (decided.answer.label, decided.settled) == (None, None)
    assert decided.answer.top[0] == ("rose", pytest.approx(0.95))


def test_at_once_what_settles_is_what_the_frame_says_and_that_is_what_the_bundle_says() -> None:
    random = np.random.default_rng(8)
    decider = Decider(CLASSES, DECISION, Rules.immediate())
    for number, probabilities in enumerate(random_walk(random, 3000)):
        decided = decider.decide(probabilities, number * 0.01)
        assert decided.answer == decide(probabilities, CLASSES, DECISION)
        assert decided.settled == decided.answer.label


def test_after_a_gap_old_evidence_counts_no_more() -> None:
    rules = Rules(window_s=1.0, dwell_s=0.0, hysteresis=0.0)
    for gap, expected in ((0.1, "rose"), (4.0, "tulip")):
        decider = Decider(CLASSES, DECISION, rules)
        for number in range(20):
            decider.decide(ROSE, number * 0.1)
        assert decider.decide(TULIP, 1.9 + gap).settled == expected


def test_what_has_settled_outlives_a_short_silence_and_is_forgotten_after_a_long_one() -> None:
    decider = Decider(CLASSES, DECISION, Rules(hold_s=10.0))
    for number in range(20):
        decider.decide(ROSE, number * 0.1)
    assert decider.decide(ROSE, 11.8) == Decided(decide(ROSE, CLASSES, DECISION), "rose", None, None)
    decider.decide(ROSE, 11.9)
    assert decider.decide(ROSE, 22.2).settled is None
    assert decider.decide(ROSE, 22.6).event is Event.ENTERED


def test_a_long_silence_that_nobody_watched_ends_with_an_event() -> None:
    decider = Decider(CLASSES, DECISION, Rules(hold_s=10.0))
    for number in range(20):
        decider.decide(ROSE, number * 0.1)
    decided = decider.decide(TULIP, 60.0)
    assert (decided.event, decided.previous, decided.settled) == (Event.LEFT, "rose", None)


def test_a_camera_that_is_asked_once_a_minute_settles_too() -> None:
    found = changes(
        feed(Decider(CLASSES, DECISION, Rules()), ((60.0 * n, ROSE if n < 5 else TULIP) for n in range(10)))
    )
    assert [change[1:] for change in found] == [(Event.ENTERED, None, "rose"), (Event.CHANGED, "rose", "tulip")]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_probability_is_refused_and_changes_nothing(bad: float) -> None:
    decider = Decider(CLASSES, DECISION, RAW)
    decider.decide(ROSE, 0.0)
    with pytest.raises(EngineError, match="not finite"):
        decider.decide(np.array([0.1, bad, 0.2], np.float32), 0.1)
    with pytest.raises(EngineError, match=r"shape \(2,\) came, expected \(3,\)"):
        decider.decide(np.array([0.5, 0.5], np.float32), 0.1)
    assert decider.decide(ROSE, 0.2) == Decided(decide(ROSE, CLASSES, DECISION), "rose", None, None)


def test_a_clock_that_steps_back_does_no_harm() -> None:
    decider = Decider(CLASSES, DECISION, Rules())
    for at_s in (100.0, 100.5, 3.0, 3.1, 2.9, 3.5, 4.5):
        decided = decider.decide(ROSE, at_s)
    assert decided.settled == "rose"
