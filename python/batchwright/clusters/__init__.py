"""Cluster functions: how jobs get onto a system, are listed and killed."""
