"""Results of many queries in one SQLite file: one writer, any number of readers, one row a query by content."""

from .store import Store, StoredQuery

__all__ = ["Store", "StoredQuery"]
