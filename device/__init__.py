"""The board: everything needed to run a Bundle. The bottom layer: imports nothing else of ours, never TensorFlow."""
