"""Reads Keras 2.x HDF5 files and writes them as ONNX, without running anything that they contain."""
