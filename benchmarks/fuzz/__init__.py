"""`python -m benchmarks fuzz`: only a clear refusal, or a network that onnxruntime agrees with, may come out of a broken file."""

from .command import command, fuzz

__all__ = ["command", "fuzz"]
