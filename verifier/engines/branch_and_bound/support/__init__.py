"""Branch and bound over supports, for norm 0: which pixels change."""
