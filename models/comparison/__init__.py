"""Comparing networks by their exact radii: attacks beside proofs, statistics of brackets, and sanity checks of both."""
