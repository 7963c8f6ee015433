"""Proofs: files that a small independent checker accepts (`verifier/checker`, which describes the format, too).

file       a proof while it is being written
trees      leaves of a search, as the arrays of a proof
prover     finds trees and multipliers for a statement that a verdict claims
"""
