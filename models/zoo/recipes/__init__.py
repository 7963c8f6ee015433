"""Recipes of the shipped networks, TOML files."""
