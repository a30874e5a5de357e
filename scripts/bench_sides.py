"""The other sides of scripts/bench_device, each a process of its own: a bare LiteRT loop and MediaPipe Tasks.

    python scripts/bench_sides.py litert MODEL.tflite FILM --frames 400 --threads 1 [--memory]

Prints a JSON object at the end, with ``--first`` a line after the first prediction instead. With ``--memory`` the
frames are decoded before the clock starts, else read from the film in the same thread, as a short script would.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any


def main() -> None:
    """Measure one side."""
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=("litert", "mediapipe"))
    parser.add_argument("model", type=Path)
    parser.add_argument("film", type=Path)
    parser.add_argument("--frames", type=int, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--first", action="store_true")
    args = parser.parse_args()
    with ExitStack() as stack:
        classify = litert(args.model, args.threads) if args.side == "litert" else mediapipe(args.model, stack)
        frames: Any = film(args.film, args.frames)
        loop(classify, list(frames) if args.memory else frames, args.first)


def loop(classify: Callable[[Any], Any], frames: Iterable[Any], first: bool) -> None:
    """Classify all frames, or one, and print."""
    count, start, cpu_start = 0, time.perf_counter(), time.process_time()
    for pixels in frames:
        classify(pixels)
        count += 1
        if first:
            print("first", flush=True)
            return
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu_start
    print(json.dumps({"frames": count, "seconds": seconds, "cpu_ms_per_frame": cpu * 1e3 / count}))


def film(path: Path, count: int) -> Iterator[Any]:
    """Frames of a film, from its start again at its end; decoded by one thread, as edgegraft does."""
    import cv2

    taken = 0
    while taken < count:
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        while taken < count:
            ok, pixels = capture.read()
            if not ok:
                break
            taken += 1
            yield pixels
        capture.release()


def litert(model: Path, threads: int) -> Callable[[Any], Any]:
    """Resize and invoke, no more."""
    import cv2
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(model), num_threads=threads)
    interpreter.allocate_tensors()
    (given,), (out,) = interpreter.get_input_details(), interpreter.get_output_details()
    _, height, width, _ = given["shape"]

    def classify(pixels: Any) -> Any:
        interpreter.set_tensor(given["index"], cv2.resize(pixels, (width, height))[None])
        interpreter.invoke()
        return interpreter.get_tensor(out["index"])[0].argmax()

    return classify


def mediapipe(model: Path, stack: ExitStack) -> Callable[[Any], Any]:
    """ImageClassifier in VIDEO mode, its five best answers; it takes as many threads as it sees fit."""
    import cv2
    from mediapipe import Image, ImageFormat
    from mediapipe.tasks.python import BaseOptions
    from mediapipe.tasks.python.vision import ImageClassifier, ImageClassifierOptions, RunningMode

    options = ImageClassifierOptions(
        base_options=BaseOptions(model_asset_path=str(model)), running_mode=RunningMode.VIDEO, max_results=5
    )
    classifier = stack.enter_context(ImageClassifier.create_from_options(options))
    clock_ms = 0

    def classify(pixels: Any) -> Any:
        nonlocal clock_ms
        clock_ms += 33
        picture = Image(image_format=ImageFormat.SRGB, data=cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
        return classifier.classify_for_video(picture, clock_ms)

    return classify


if __name__ == "__main__":
    main()
