"""Branch and bound over ReLU phases, for any network: domains, their bounds, the tree, the search, the engine."""
