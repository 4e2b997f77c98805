"""Drawings of structure, as SVG: Figures 1 and 2, block diagrams of the rivals, the protocol, a scan's way through the tool."""

from scoat_lib.drawings.grids import beside, grid, node, order, takes, told
from scoat_lib.drawings.rivals import network
from scoat_lib.drawings.svg import ARROWS, COLOURS, Drawing
from scoat_lib.drawings.ways import path, protocol

__all__ = ["ARROWS", "COLOURS", "Drawing", "beside", "grid", "network", "node", "order", "path", "protocol", "takes", "told"]
