"""Batch jobs: a TOML file of models, data, norms and radii, settled by worker processes or a Dask cluster, kept in a store."""
