"""Every layer that can be imported, by Keras' class name. What is not here is refused by that name."""

from __future__ import annotations

from training_export.keras_import.layers import activation, convolution, merge, normalization, pooling, shape
from training_export.keras_import.layers.contract import Handler

HANDLERS: dict[str, Handler] = {
    "Conv2D": convolution.conv2d,
    "DepthwiseConv2D": convolution.depthwise_conv2d,
    "SeparableConv2D": convolution.separable_conv2d,
    "Dense": convolution.dense,
    "BatchNormalization": normalization.batch_normalization,
    "BatchNormalizationV1": normalization.batch_normalization,  # as TensorFlow 1.13 to 2.1 name it
    "BatchNormalizationV2": normalization.batch_normalization,
    "Activation": activation.activation_layer,
    "ReLU": activation.relu_layer,
    "LeakyReLU": activation.leaky_relu_layer,
    "PReLU": activation.prelu_layer,
    "ELU": activation.elu_layer,
    "ThresholdedReLU": activation.thresholded_relu_layer,
    "Softmax": activation.softmax_layer,
    "MaxPooling2D": pooling.max_pooling,
    "AveragePooling2D": pooling.average_pooling,
    "GlobalAveragePooling2D": pooling.global_average_pooling,
    "GlobalMaxPooling2D": pooling.global_max_pooling,
    "Add": merge.joined_by("Add"),
    "Subtract": merge.joined_by("Sub", exactly=2),
    "Multiply": merge.joined_by("Mul"),
    "Maximum": merge.joined_by("Max"),
    "Minimum": merge.joined_by("Min"),
    "Average": merge.average,
    "Concatenate": merge.concatenate,
    "Merge": merge.merge,
    "ZeroPadding2D": shape.zero_padding,
    "Flatten": shape.flatten,
    "Reshape": shape.reshape,
    "Dropout": shape.nothing("rate"),
    "SpatialDropout2D": shape.nothing("rate"),
    "AlphaDropout": shape.nothing("rate"),
    "GaussianDropout": shape.nothing("rate"),
    "GaussianNoise": shape.nothing("stddev"),
    "ActivityRegularization": shape.nothing("l1", "l2"),
}
# Why some of the others are refused, in words.
REASONS = {
    "Lambda": "it holds Python code, which is never run",
    "TFOpLambda": "it stands for code outside the file",
    "Masking": "what is masked depends on the values",
    "Embedding": "it is made for words",
}
