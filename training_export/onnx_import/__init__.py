"""Reads foreign ONNX files and writes them in the form of model packages."""
