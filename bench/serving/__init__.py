"""Load, parts, peers and rollouts of the endpoint."""
