"""Accelerator-facing operations: a contract, a plain XLA program (the default), and back ends. See README.md."""

from facejax.kernels.convolution import conv_general_dilated
from facejax.kernels.gather import add_rows, gather_rows
from facejax.kernels.visibility import nearest_triangle

__all__ = ["add_rows", "conv_general_dilated", "gather_rows", "nearest_triangle"]
