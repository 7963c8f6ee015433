"""What users call from Python: modules, files and images as they have them, keywords, results that show themselves.

The calls of `verifier.api` take a network that was read, one image, a `Threat` and `Settings`; these here make them of what a
notebook holds. One idea a file: `opening` models, `images`, `options`, the `question` that they make up, the `calls`, their
`outcomes`, `figures`; `attacking`, `exporting`; of MIPs `programs` and `solvers`.
"""
