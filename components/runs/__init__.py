"""A run seen from outside: its state, what the terminal shows, the report, the schedule, and the cluster's API."""
