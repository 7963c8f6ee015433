"""Batches under kills, full disks and missing files: every query is answered once, as without them."""
