"""Classes that a mirror image may turn into something else. Imports no TensorFlow."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.augmentation.config import AugmentConfig

# One text each, split below: as lists these would fill a page.
_NUMBERS = """
    zero one two three four five six seven eight nine ten
    null eins zwei drei vier fünf sechs sieben acht neun zehn
"""
_DIRECTIONS = """
    left right leftward rightward leftwards rightwards lefthand righthand east west port starboard
    links rechts gauche droite izquierda derecha sinistra destra esquerda direita
    clockwise anticlockwise counterclockwise cw ccw
    arrow arrows chevron pfeil pfeile flèche flecha freccia
"""
# Words that make a number or letter beside them one that is written in the picture.
_WRITTEN = "digit digits number num letter char character sign speed limit km kmh mph zahl ziffer buchstabe"
_MOST_NAMED = 5


def mirror_warning(classes: Sequence[str], config: AugmentConfig) -> str | None:
    """A sentence when photos may be mirrored and class names say that this may change what they show.

    Args:
        classes: names of the classes.
        config: of the views.

    Returns: which classes, why, and what to do; None when there is no such name or nothing is mirrored.
    """
    suspects = [name for name in classes if _has_a_handedness(name)]
    if not config.flip or not suspects:
        return None
    named = ", ".join(repr(name) for name in suspects[:_MOST_NAMED])
    more = f" and {len(suspects) - _MOST_NAMED} more" if len(suspects) > _MOST_NAMED else ""
    return (
        f"half of the views are mirrored left to right, and the name{'s' * (len(suspects) > 1)} {named}{more} "
        "suggest digits, letters, arrows or sides, which may mean something else in a mirror; "
        "train with --no-flip if they do"
    )


def _has_a_handedness(name: str) -> bool:
    words = re.findall(r"[^\W\d_]+|\d+", re.sub(r"(?<=[a-zß-ÿ])(?=[A-Z])", " ", name))
    folded = [word.casefold() for word in words]
    if set(_DIRECTIONS.split()).intersection(folded):
        return True
    content = [word for word in folded if word not in _WRITTEN.split()]
    if len(content) != 1:
        return False
    return content[0] in _NUMBERS.split() or content[0].isdecimal() or _is_a_letter(content[0])


def _is_a_letter(word: str) -> bool:
    # Scripts without case (ideographs) have one-character words.
    return len(word) == 1 and word.upper() != word.lower()
