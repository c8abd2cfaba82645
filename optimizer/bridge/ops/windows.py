"""Geometry of sliding windows, shared by convolutions and pools: padding and auto_pad.

All functions work on Python integers and are called at import when the sizes are known.
"""

from dataclasses import dataclass

from optimizer.bridge.call import Call
from optimizer.bridge.registry import UnsupportedVariant

Sizes = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Window:
    """A window over the spatial axes of ``(N, C, *spatial)``.

    Attributes:
        kernel: Size per axis.
        stride: Step per axis.
        dilation: Distance of neighbouring elements per axis.
        begin: Padding before each axis; zeros if ``same`` is set.
        end: Padding after each axis; zeros if ``same`` is set.
        same: ``upper`` or ``lower`` for auto_pad SAME_*, else empty.
        ceil: Whether a last window may stick out of the padded input, if it starts in the input or
            in the padding before it.
    """

    kernel: Sizes
    stride: Sizes
    dilation: Sizes
    begin: Sizes
    end: Sizes
    same: str = ""
    ceil: bool = False

    @property
    def is_symmetric(self) -> bool:
        """Whether one padding per axis says it all."""
        return not self.same and self.begin == self.end

    @property
    def reach(self) -> Sizes:
        """Elements from the first to the last one that the window covers, per axis."""
        return tuple(
            (size - 1) * step + 1 for size, step in zip(self.kernel, self.dilation, strict=True)
        )


WindowSettings = tuple[Sizes, Sizes, Sizes, Sizes, Sizes, str, bool]


def window_from(settings: WindowSettings) -> Window:
    """Build a window from its plain form, the one that can stand in generated code."""
    kernel, stride, dilation, begin, end, same, ceil = settings
    return Window(
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        begin=begin,
        end=end,
        same=same,
        ceil=ceil,
    )


def window_of(call: Call, kernel: Sizes) -> Window:
    """Read strides, dilations, pads, auto_pad and ceil_mode of a node."""
    ones, zeros = (1,) * len(kernel), (0,) * len(kernel)
    pads = tuple(call.attribute("pads", ())) or zeros + zeros
    auto_pad = call.attribute("auto_pad", "NOTSET")
    if auto_pad == "VALID":
        pads = zeros + zeros
    same = {"SAME_UPPER": "upper", "SAME_LOWER": "lower"}.get(auto_pad, "")
    return Window(
        kernel=kernel,
        stride=tuple(call.attribute("strides", ())) or ones,
        dilation=tuple(call.attribute("dilations", ())) or ones,
        begin=zeros if same else pads[: len(kernel)],
        end=zeros if same else pads[len(kernel) :],
        same=same,
        ceil=bool(call.attribute("ceil_mode", 0)) and not same,
    )


def kernel_of(call: Call) -> Sizes:
    """Read the window size of a pooling node."""
    kernel = call.attribute("kernel_shape")
    if not kernel:
        message = "lacks kernel_shape"
        raise UnsupportedVariant(message)
    return tuple(kernel)


def same_padding(spatial: Sizes, window: Window) -> tuple[Sizes, Sizes]:
    """Return begin and end padding so that the output has ``ceil(size / stride)`` per axis."""
    begin, end = [], []
    for size, stride, reach in zip(spatial, window.stride, window.reach, strict=True):
        total = max((-(-size // stride) - 1) * stride + reach - size, 0)
        small, large = total // 2, total - total // 2
        begin.append(small if window.same == "upper" else large)
        end.append(large if window.same == "upper" else small)
    return tuple(begin), tuple(end)


def torch_padding(begin: Sizes, end: Sizes) -> Sizes:
    """Return pads in the order of ``torch.nn.functional.pad``: last axis first, begin and end."""
    return tuple(pad for pair in zip(reversed(begin), reversed(end), strict=True) for pad in pair)


def padding_at(spatial: Sizes, window: Window) -> tuple[Sizes, Sizes]:
    """Return begin and end padding at an input of ``spatial`` sizes.

    With ``ceil`` the end is chosen so that whole windows fit; negative, it crops what none covers.
    """
    if window.same:
        return same_padding(spatial, window)
    if not window.ceil:
        return window.begin, window.end
    end = []
    for axis, size in enumerate(spatial):
        stride, reach, before = window.stride[axis], window.reach[axis], window.begin[axis]
        last = -(-(size + before + window.end[axis] - reach) // stride)
        if last * stride >= size + before:
            last -= 1
        end.append(last * stride + reach - size - before)
    return window.begin, tuple(end)
