"""Behaviour sequences at a point in time and the query-product graph, handed to and taken from Feast."""
