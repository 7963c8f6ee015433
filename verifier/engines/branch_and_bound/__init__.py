"""Branch and bound: best-first trees over ReLU phases (any network) and over input boxes (few inputs)."""
