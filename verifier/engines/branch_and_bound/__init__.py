"""Branch and bound: over ReLU phases (any network), over input boxes (few inputs), over supports (norm 0)."""
