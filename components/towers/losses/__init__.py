"""Losses over the vectors of the two towers, one a file."""
