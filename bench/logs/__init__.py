"""Benchmarks of the logs room."""
