"""The independent checker of proofs: numpy and onnx only, no code shared with the engines.

network      reads the weights from the ONNX file
evaluation   what onnx's own evaluator says of constants and of moved entries
operators    linear maps, and how their products round
region       input regions and their parts
arithmetic   lower bounds in float64 with rigorous rounding
statement    what a proof claims, in words; statements that say nothing are refused
question     whether it answers a question
trees        trees over ReLU phases, as a file has them
check        the proof format and its steps
"""

from .check import Report, check
from .network import Rejected
from .question import difference
from .statement import Statement

__all__ = ["Rejected", "Report", "Statement", "check", "difference"]
