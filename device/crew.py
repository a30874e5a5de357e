"""Several copies of a model side by side, a thread each: for files, of which every frame counts and none hurries.

Two copies on a thread each classify more frames than one copy on two threads, whose threads wait for one another at
every layer: 533 against 481 a second with an int8 MobileNetV2 1.0, 983 against 831 with 0.35, on two x86 cores. A
frame of its own takes longer so, which is why live cameras share one model.
"""

from __future__ import annotations

import queue
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from device.classifier import Classified, Classifier
from device.closing import Closing
from device.contract import ColourOrder
from device.preprocess import Pixels


class Crew(Closing):
    """Takes pictures without waiting for their answers. A context manager; whoever made the classifiers closes them.

    Args:
        classifiers: copies of one, each used by one thread at a time.
    """

    def __init__(self, classifiers: Sequence[Classifier]) -> None:
        self.size = len(classifiers)
        self._idle: queue.SimpleQueue[Classifier] = queue.SimpleQueue()
        for each in classifiers:
            self._idle.put(each)
        self._threads = ThreadPoolExecutor(self.size, "classify")

    def submit(self, picture: Pixels, order: ColourOrder) -> Future[Classified]:
        """See ``Classifier.classify``, whose errors the result raises."""
        return self._threads.submit(self._classify, picture, order)

    def close(self) -> None:
        """Forget what was not begun, and wait for what was."""
        self._threads.shutdown(cancel_futures=True)

    def _classify(self, picture: Pixels, order: ColourOrder) -> Classified:
        classifier = self._idle.get()
        try:
            return classifier.classify(picture, order)
        finally:
            self._idle.put(classifier)
