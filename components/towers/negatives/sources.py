"""Names of the samplers and their codes in `Negatives.source`."""

from components.towers.interfaces import DYNAMIC_HARD, IN_BATCH, UNIFORM

POPULARITY = 3
"""`Negatives.source` of a row drawn by popularity."""

NAMES = {UNIFORM: "uniform", IN_BATCH: "in_batch", DYNAMIC_HARD: "dynamic_hard", POPULARITY: "popularity"}
"""Code -> name, for settings and logs."""
