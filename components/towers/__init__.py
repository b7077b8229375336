"""Query tower and item tower: text units, parts, losses, negatives, the trainer, and three models composed of them."""
