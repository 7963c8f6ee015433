"""Benchmarks: each prints one table; `python -m benchmarks.NAME`."""
