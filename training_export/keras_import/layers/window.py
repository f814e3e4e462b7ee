"""Windows that slide over a map: size, stride, dilation, padding; what TensorFlow does for them, in ONNX's words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from training_export.keras_import.options import Options


@dataclass(frozen=True)
class Window:
    """A window over rows and columns."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    same: bool  # padded so that the stride alone sets the size

    def slide(self, rows: int, columns: int) -> tuple[tuple[int, int], list[int]]:
        """Return the size that is left, and the padding (top, left, bottom, right)."""
        sizes, before, after = [], [], []
        for n, kernel, stride, dilation in zip((rows, columns), self.kernel, self.strides, self.dilations, strict=True):
            extent = (kernel - 1) * dilation + 1
            size = -(-n // stride) if self.same else (n - extent) // stride + 1
            total = max((size - 1) * stride + extent - n, 0) if self.same else 0
            sizes.append(max(size, 0))
            before.append(total // 2)  # the odd pixel goes behind
            after.append(total - total // 2)
        return (sizes[0], sizes[1]), [*before, *after]

    def attributes(self, rows: int, columns: int) -> dict[str, Any]:
        """Return ONNX's attributes; dilations only where there are some (pooling has none)."""
        dilated = {"dilations": list(self.dilations)} if self.dilations != (1, 1) else {}
        return {
            "kernel_shape": list(self.kernel),
            "strides": list(self.strides),
            "pads": self.slide(rows, columns)[1],
            **dilated,
        }


def convolution_window(options: Options) -> Window:
    """Read the window of a convolution."""
    return Window(
        options.pair("kernel_size", None),
        options.pair("strides", (1, 1)),
        options.pair("dilation_rate", (1, 1)),
        options.choice("padding", ("valid", "same"), "valid") == "same",
    )


def pooling_window(options: Options) -> Window:
    """Read the window of a pooling layer, whose stride is its size unless stated."""
    kernel = options.pair("pool_size", (2, 2))
    strides = kernel if options.raw("strides") is None else options.pair("strides", kernel)
    return Window(kernel, strides, (1, 1), options.choice("padding", ("valid", "same"), "valid") == "same")
