"""The ONNX operators of image networks. None loops, branches, calls other code or makes much out of little."""

from __future__ import annotations

FAMILIES = (
    "Conv Gemm MatMul",
    "AveragePool MaxPool GlobalAveragePool GlobalMaxPool ReduceMax ReduceMean ReduceSum",
    "BatchNormalization InstanceNormalization LayerNormalization LRN Dropout Identity",
    "Clip Elu Gelu HardSigmoid HardSwish LeakyRelu Mish PRelu Relu Selu Sigmoid Softmax Softplus Softsign Tanh ThresholdedRelu",
    "Abs Add Ceil Div Erf Exp Floor Log Max Mean Min Mul Neg Pow Sqrt Sub Sum",
    "Cast Concat Constant Flatten Gather Pad Reshape Shape Slice Split Squeeze Transpose Unsqueeze",
)
OPERATORS = frozenset(name for family in FAMILIES for name in family.split())
OPSETS = range(11, 22)  # of the standard domain
STANDARD_DOMAINS = ("", "ai.onnx")
