"""Processes: forked copies of this one that share its work (`fork`), and workers that may die (`pool`)."""
