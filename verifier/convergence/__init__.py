"""How bounds converge: both sides of a bracket over time, their gaps and integrals, and what sets of runs have in common.

Everything here is read from answers that were kept, their traces and the records of their MIPs; no network is needed.
"""
