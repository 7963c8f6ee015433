"""Studies that anyone can repeat: `python -m examples.NAME`; what they gave is kept in `results/`."""
