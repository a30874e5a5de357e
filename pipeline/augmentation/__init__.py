"""Random views of photos, their distributions, and a sheet that shows them.

``config`` and ``mirror`` import no TensorFlow; ``views`` (augment), ``mixing`` (mix) and ``preview`` do.
"""
