"""Somebody else's TFLite or ONNX classifier to a proven Bundle: ``edgegraft bundle``.

``adopt.py`` walks the way; what touches the foreign model (``tflite_file``, ``onnx_file``, ``original``) runs in a
child process with limits (``sandbox``, ``child``).
"""
