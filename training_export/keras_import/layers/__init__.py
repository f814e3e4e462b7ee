"""How each Keras layer is written as ONNX, one module a family; ``table`` lists them all."""
