"""Mixed-integer programs: targets in turn, solvers' claims, and what is proved of them."""
