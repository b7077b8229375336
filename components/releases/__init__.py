"""Releases: promote, roll back, share traffic with a canary, and retire what one run produced."""
