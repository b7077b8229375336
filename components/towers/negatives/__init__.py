"""Samplers of negatives, one a file, and the schedule of their weights."""
