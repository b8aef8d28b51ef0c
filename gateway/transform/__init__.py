"""Documented changes to request bodies, each a splice that leaves every other byte alone."""
