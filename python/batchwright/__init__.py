"""Computations as batch jobs on clusters."""
