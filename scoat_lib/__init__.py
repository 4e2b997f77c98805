"""SCOAT-Net rebuilt from its paper: data, network, losses, metrics, training and inference for lung opacification in CT.

Zhao et al., *SCOAT-Net: A Novel Network for Segmenting COVID-19 Lung Opacification from CT Images*, medRxiv,
DOI 10.1101/2020.09.23.20191726. Equation, table and figure numbers in this package are the paper's.
"""

__version__ = "0.1.0"
