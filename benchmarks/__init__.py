"""Benchmarks: each prints one table; `python -m benchmarks NAME [options]`, `python -m benchmarks` lists them."""
