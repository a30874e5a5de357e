"""The workstation: photos to a Run."""

import logging
import os

# Before anything imports TensorFlow: tensorflow-model-optimization works on tf_keras only, and TensorFlow's C++
# side reads its log level once, while it loads.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Its Python side: hints for TensorFlow's developers, not for ours.
logging.getLogger("tensorflow").setLevel(logging.ERROR)
logging.getLogger("tf2onnx").setLevel(logging.ERROR)
logging.getLogger("absl").setLevel(logging.ERROR)
