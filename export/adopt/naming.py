"""Which label a folder or a file means by its name.

Others name photos as they like: ``tench``, ``n01440764``, ``0000_n01440764_tench``, ``cash machine`` for "cash machine,
cash dispenser, ATM". A number counts from the label that most of the names beside it agree on.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from export.adopt.errors import AdoptError
from export.adopt.labels import Labels
from pipeline.dataset import UNKNOWN_FOLDER, Listed, Listing, list_folder

_SYNSET = re.compile(r"(?:^|[ _-])(n\d{8})(?=$|[ _-])")
_NUMBER = re.compile(r"^(\d{1,6})(?=$|[ _.-])")
_TRAILING_NUMBER = re.compile(r"[ _-]+\(?\d+\)?$")
# Names with both words and a number, of which so many must agree on where the numbers begin.
_AGREEING, _LEAST_AGREEING = 0.9, 3
_BACKGROUNDS = ("background", "__background__", "???", "none", "dummy")
_MOST_SHOWN = 5


@dataclass(frozen=True, slots=True)
class _Parts:
    """A name taken apart; what is absent is None or empty."""

    number: int | None
    synset: str
    words: str


@dataclass(frozen=True, slots=True)
class Matched:
    """Labels by name, and a sentence about how they were found."""

    labels: dict[str, int]
    how: str


def list_labelled(root: Path, labels: Labels) -> tuple[Listing, str]:
    """List the photos of a folder by the model's labels, without opening any.

    One folder per class (any but ``_unknown``), or all photos in one folder, their names saying the class.

    Returns:
        the listing, its classes the model's, and a sentence about how names were read.

    Raises:
        AdoptError: a name that no label, or more than one, fits.
        DatasetError: no such folder.
    """
    listing = list_folder(root)
    if listing.classes:
        matched = match_names(listing.classes, labels, root)
        files = tuple(
            Listed(file.path, matched.labels[listing.classes[file.label]], file.folder_split) for file in listing.files
        )
        return Listing(root, labels.names, files, listing.ready_made, listing.ignored, listing.unknown), matched.how

    photos, ignored = _flat(root)
    if not photos:
        raise AdoptError(f"{root}: no photos; expected a folder per class, named as the labels")
    matched = match_names([path.stem for path in photos], labels, root)
    listed = tuple(Listed(path, matched.labels[path.stem], None) for path in photos)
    return Listing(root, labels.names, listed, False, ignored, listing.unknown), matched.how


def match_names(names: Iterable[str], labels: Labels, where: Path) -> Matched:
    """The label of every name.

    Args:
        names: of folders, or of files without suffix.
        labels: of the model.
        where: for messages.

    Raises:
        AdoptError: names the first few that no label, or more than one, fits.
    """
    exact = {_fold(name): index for index, name in enumerate(labels.names)}
    table = _table(labels)
    parts = {name: _take_apart(name) for name in dict.fromkeys(names)}
    offset = _offset(parts.values(), table, labels)
    found: dict[str, int] = {}
    ways: Counter[str] = Counter()
    for name, part in parts.items():
        way, candidates = _candidates(name, part, exact, table, offset, len(labels.names))
        if len(candidates) == 1:
            found[name] = next(iter(candidates))
            ways[way] += 1
    lacking = [name for name in parts if name not in found]
    if lacking:
        raise AdoptError(_unmatched(lacking, labels, where))
    return Matched(found, _sentence(ways, offset, labels))


def _candidates(
    name: str, part: _Parts, exact: dict[str, int], table: dict[str, set[int]], offset: int | None, count: int
) -> tuple[str, set[int]]:
    if _fold(name) in exact:
        return "name", {exact[_fold(name)]}
    if part.synset in table:
        return "synset", table[part.synset]
    # A number beside words is surer than the words: two labels may share these.
    if part.number is not None and offset is not None and 0 <= part.number + offset < count:
        return "number", {part.number + offset}
    return "name", table.get(part.words) or table.get(_TRAILING_NUMBER.sub("", part.words), set())


def _table(labels: Labels) -> dict[str, set[int]]:
    """Labels by synset, by whole name and by each synonym between commas."""
    table: dict[str, set[int]] = defaultdict(set)
    for index, label in enumerate(labels.originals):
        part = _take_apart(label)
        for key in (_fold(label), part.synset, part.words, *(_fold(word) for word in part.words.split(","))):
            if key:
                table[key].add(index)
    return dict(table)


def _offset(parts: Iterable[_Parts], table: dict[str, set[int]], labels: Labels) -> int | None:
    """What to add to a number to get a label's index; None where the words contradict the numbers."""
    numbered = [part for part in parts if part.number is not None]
    known = [(part.number, table.get(part.words, set())) for part in numbered if part.words]
    votes = Counter(next(iter(found)) - number for number, found in known if number is not None and len(found) == 1)
    if votes:
        offset, count = votes.most_common(1)[0]
        return offset if count >= max(_LEAST_AGREEING, _AGREEING * votes.total()) else None
    if any(part.words for part in numbered):
        return None
    return 1 if labels.names[0].casefold() in _BACKGROUNDS else 0


def _take_apart(name: str) -> _Parts:
    rest = unicodedata.normalize("NFC", name).strip()
    number, synset = _NUMBER.match(rest), _SYNSET.search(rest)
    if synset:
        rest = rest.replace(synset.group(1), " ", 1)
    if number:
        rest = rest[number.end() :]
    return _Parts(
        int(number.group(1)) if number else None, synset.group(1) if synset else "", _fold(rest).strip(" .:-")
    )


def _fold(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).replace("_", " ").casefold().split())


def _flat(root: Path) -> tuple[list[Path], dict[str, str]]:
    from device.preprocess import PHOTO_SUFFIXES

    paths = sorted(path for path in root.iterdir() if path.is_file() and not path.name.startswith("."))
    photos = [path for path in paths if path.suffix.lower() in PHOTO_SUFFIXES]
    others = {path.name: "not a photo by its name" for path in paths if path.suffix.lower() not in PHOTO_SUFFIXES}
    return photos, others


def _unmatched(lacking: list[str], labels: Labels, where: Path) -> str:
    shown = []
    for name in lacking[:_MOST_SHOWN]:
        near = difflib.get_close_matches(_fold(name), [_fold(label) for label in labels.names], n=1)
        shown.append(f"'{name}'" + (f" (nearest label: '{near[0]}')" if near else ""))
    more = f" and {len(lacking) - _MOST_SHOWN} more" if len(lacking) > _MOST_SHOWN else ""
    return (
        f"{where}: no single label fits {', '.join(shown)}{more}; name folders as the lines of the labels file, and "
        f"put photos of no class into {UNKNOWN_FOLDER}"
    )


def _sentence(ways: Counter[str], offset: int | None, labels: Labels) -> str:
    if ways["number"]:
        assert offset is not None
        first = labels.names[offset] if 0 <= offset < len(labels.names) else "?"
        return f"the number in a photo's name is its class, 0 is '{first}'"
    return "by synset" if ways["synset"] else "by the names of the labels"
