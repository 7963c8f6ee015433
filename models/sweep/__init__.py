"""Sweeps: networks trained with one thing changed at a time, or everything crossed, and what that does to the certified radius."""
