"""SCOAT-Net rebuilt from its paper: data, network, losses, metrics, training and inference for lung opacification in CT.

Zhao et al., *SCOAT-Net: A Novel Network for Segmenting COVID-19 Lung Opacification from CT Images*, medRxiv,
DOI 10.1101/2020.09.23.20191726. Equation, table and figure numbers in this package are the paper's.

`scoat_lib.segment(path)` segments a scan; see `scoat_lib.segmentation`.
"""

__version__ = "0.1.0"


def __getattr__(name: str):
    # torch is imported when a scan is to be segmented, not before: `scoat --help` answers at once
    if name == "segment":
        from scoat_lib.segmentation import segment

        return segment
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
