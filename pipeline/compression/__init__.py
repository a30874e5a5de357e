"""Making the network of a finished Run smaller by training: pruning, clustering, quantisation-aware training.

``config`` names what can be asked for and imports no TensorFlow, nor does ``record``; ``compress`` does the work.
"""
