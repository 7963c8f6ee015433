"""The independent checker of proofs: numpy and onnx only, no code shared with the engines.

network      reads the weights from the ONNX file
region       input regions and their parts
arithmetic   lower bounds in float64 with rigorous rounding
check        the proof format, its trees and steps
"""

from .check import Report, check
from .network import Rejected

__all__ = ["Rejected", "Report", "check"]
