"""Rivals of `edgegraft train` for scripts/bench_train: other people's recipes, each as its source has it.

``python -m recipes NAME PHOTOS ...`` trains one; see ``__main__``. They use Keras as TensorFlow brings it.
"""
