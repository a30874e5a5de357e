"""The board: everything needed to run a Bundle. The bottom layer: imports nothing else of ours, never TensorFlow."""

import os

# A damaged photo is reported by us, with its path; OpenCV's own lines would only repeat it without one. Set before
# anything here imports OpenCV, which reads it once.
os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
