"""Evaluation: how good a model is beside baselines and the served release, and whether that is good enough."""
