"""Run to Bundle: variants, their proof, and the file that a board takes."""

import pipeline  # noqa: F401 - sets what TensorFlow reads from the environment before it is imported
