"""Geometry of decision boundaries: cross-sections, curvature, normals, subspaces (Moosavi-Dezfooli, Fawzi, Frossard)."""
