"""What a model file says about itself: TFLite metadata and ONNX properties, for use outside the bundle."""
