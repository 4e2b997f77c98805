"""SCOAT-Net (section III): UNet++ whose six nodes with i ≥ 1 and j ≥ 1 carry spatial and channel attention."""

from __future__ import annotations

from torch import nn

from scoat_lib.attention import AttentionNode
from scoat_lib.networks.unetpp import OPTIONS as UNETPP_OPTIONS
from scoat_lib.networks.unetpp import UNetPlusPlus

# what the authors' published network does, option by option (`book/ambiguities.md`); by default it has 3 channels and width 32
PUBLISHED = {
    "up": "bilinear",
    "align_corners": True,
    "attention_relu": "sum",
    "extraction": "residual",
    "bias": True,
    "head_kernel": 3,
}
ATTENTION_NODES = ("X(1,1)", "X(1,2)", "X(1,3)", "X(2,1)", "X(2,2)", "X(3,1)")
INNER = {"w": lambda c: c, "2w": lambda c: 2 * c, "w/8": lambda c: max(1, c // 8), "1": lambda c: 1}


class SCOATNet(UNetPlusPlus):
    """SCOAT-Net. Options of UNet++ (see `UNetPlusPlus`), and its own, the default first:

    attention_channels: F, the channels of the two H_R in equation 1: "w" (the node's own), "2w", "w/8" or "1".
    skip_limit: the upper limit of k in equation 3: "j", as in UNet++, or "j-1", as printed.
    attention_relu: equation 1's: "each", one in each H_R, as printed, or "sum", one after the sum.
    extraction: H_R² in equation 6: "3x3", or "1x1", which is H_R's own definition twice; or in place of the equation
        "residual", a residual block over the weighted features: its 1 × 1 path sees x_V · x_c, and its ReLU follows the sum.
    attention_up: what the attention nodes do with x(i+1,j): as `up` says ("same"), or keep its raw channels ("raw").
    reduction: r of equation 5, any integer from 1 (the paper's 16).
    """

    options = UNETPP_OPTIONS | {
        "attention_channels": tuple(INNER),
        "skip_limit": ("j", "j-1"),
        "attention_relu": ("each", "sum"),
        "extraction": ("3x3", "1x1", "residual"),
        "attention_up": ("same", "raw"),
        "reduction": int,
    }

    def __init__(
        self,
        in_channels: int = 1,
        width: int = 64,
        attention_channels: str = "w",
        skip_limit: str = "j",
        attention_relu: str = "each",
        extraction: str = "3x3",
        attention_up: str = "same",
        reduction: int = 16,
        **options,
    ):
        self._attention = {
            "inner": INNER[attention_channels],
            "skip_limit": skip_limit,
            "kernel": {"3x3": 3, "1x1": 1}.get(extraction, extraction),
            "relu": attention_relu,
            "raw": attention_up == "raw",
            "reduction": reduction,
        }
        super().__init__(in_channels, width, **options)

    def make_node(self, i: int, j: int) -> nn.Module:
        """An attention node where i ≥ 1, a plain one on the full-resolution row."""
        if i == 0:
            return super().make_node(i, j)
        c, a = self.widths[i], self._attention
        return AttentionNode(
            [c] * j,
            self.widths[i + 1],
            c,
            a["inner"](c),
            up="bilinear" if a["raw"] else self.up,
            skip_limit=a["skip_limit"],
            kernel=a["kernel"],
            reduction=a["reduction"],
            bias=self.bias,
            relu=a["relu"],
            align_corners=self.align_corners,
        )
