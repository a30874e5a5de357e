"""Which photo is for training, validation and test: a function of its content alone.

Every photo draws a number in [0, 1) from the hash of its content, so adding photos never moves old ones, and
anybody who holds the rule (it travels in the Run and in the Bundle) finds the same test photos again.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

from device.contract import SplitRule
from pipeline.dataset import Dataset, Photo, Split
from pipeline.errors import DatasetError

VALIDATION_FRACTION = 0.15
TEST_FRACTION = 0.15

_UNKNOWN_FIT_FRACTION = 0.5
_MOST_DRAWS = 10_000
# A split may get less than its share by chance, but not less than half of it, or its figures mean little.
_LEAST_SHARE = 0.5


def make_rule(
    dataset: Dataset, seed: int, validation: float = VALIDATION_FRACTION, test: float = TEST_FRACTION
) -> SplitRule:
    """The rule that splits this dataset.

    In a small class the first draw may leave a split (nearly) empty; such a class draws again until each split has
    one photo and half its share.

    Args:
        dataset: with at least three photos per class.
        seed: another seed gives other splits.
        validation: share of photos; of the training folder's where splits are ready-made without validation.
        test: share of photos; without meaning where splits are ready-made.
    """
    rule = SplitRule(ready_made=dataset.ready_made, seed=seed, validation=validation, test=test)
    resalted = {}
    for label, name in enumerate(dataset.classes):
        photos = [photo for photo in dataset.photos if photo.label == label]
        draw = _first_fair_draw(photos, rule)
        if draw:
            resalted[name] = draw
    return SplitRule(ready_made=dataset.ready_made, seed=seed, validation=validation, test=test, resalted=resalted)


def assign(dataset: Dataset, rule: SplitRule) -> dict[Split, tuple[Photo, ...]]:
    """Split a dataset by a rule.

    Raises:
        DatasetError: the rule is for ready-made splits and the folder has none, or the other way round.
    """
    if rule.ready_made != dataset.ready_made:
        has, expected = ("has", "does not") if dataset.ready_made else ("has no", "does")
        raise DatasetError(
            f"{dataset.root} {has} train/ and test/ folders, but the folder trained on {expected}; "
            f"name that folder, or measure on every photo with --split all"
        )
    with_validation = any(photo.folder_split is Split.VALIDATION for photo in dataset.photos)
    found: dict[Split, list[Photo]] = {split: [] for split in Split}
    for photo in dataset.photos:
        draw = rule.resalted.get(dataset.classes[photo.label], 0)
        found[_split_of(photo, rule, draw, with_validation)].append(photo)
    return {split: tuple(photos) for split, photos in found.items()}


def assign_unknown(photos: Sequence[Photo], seed: int) -> tuple[tuple[Photo, ...], tuple[Photo, ...]]:
    """Halve the photos of no class, by a hash of their content as the others: one half may be empty where they are few.

    Args:
        photos: ``Dataset.unknown``.
        seed: of the split rule.

    Returns:
        those to fit the unknown threshold on, which count as validation, and those held out to measure it as test.
    """
    halves: tuple[list[Photo], list[Photo]] = ([], [])
    for photo in photos:
        halves[_number(photo.sha256, seed, 0) >= _UNKNOWN_FIT_FRACTION].append(photo)
    return tuple(halves[0]), tuple(halves[1])


def check_splits(splits: dict[Split, tuple[Photo, ...]], classes: tuple[str, ...]) -> None:
    """Refuse splits that lack a class.

    Raises:
        DatasetError: names the split and the classes.
    """
    for split, photos in splits.items():
        present = {photo.label for photo in photos}
        lacking = [name for label, name in enumerate(classes) if label not in present]
        if lacking:
            raise DatasetError(f"the {split.value} split has no photo of {', '.join(lacking)}; add some")


def _split_of(photo: Photo, rule: SplitRule, draw: int, with_validation: bool) -> Split:
    number = _number(photo.sha256, rule.seed, draw)
    if photo.folder_split is not None:
        cut = photo.folder_split is Split.TRAIN and not with_validation and number < rule.validation
        return Split.VALIDATION if cut else photo.folder_split
    if number < rule.test:
        return Split.TEST
    return Split.VALIDATION if number < rule.test + rule.validation else Split.TRAIN


def _number(sha256: str, seed: int, draw: int) -> float:
    digest = hashlib.sha256(f"{seed}:{draw}:{sha256}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _first_fair_draw(photos: Sequence[Photo], rule: SplitRule) -> int:
    with_validation = any(photo.folder_split is Split.VALIDATION for photo in photos)
    for draw in range(_MOST_DRAWS):
        counts = Counter(_split_of(photo, rule, draw, with_validation) for photo in photos)
        if _is_fair(counts, len(photos), rule):
            return draw
    # Ready-made folders can be beyond repair; check_splits names what is missing.
    return 0


def _is_fair(counts: Counter[Split], total: int, rule: SplitRule) -> bool:
    shares = {
        Split.TRAIN: 1 - rule.test - rule.validation,
        Split.VALIDATION: rule.validation,
        Split.TEST: rule.test,
    }
    if rule.ready_made:
        return all(counts[split] >= 1 for split in Split)
    # Rounded: of three photos the training split cannot have more than one.
    return all(counts[split] >= max(1, round(_LEAST_SHARE * share * total)) for split, share in shares.items())
