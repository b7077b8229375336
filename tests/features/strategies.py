"""Hypothesis strategies for the events of few shoppers, few products and few moments, so that ties are common."""

from hypothesis import settings
from hypothesis import strategies as st

from components.features.history import ACTION_CODES, Behaviour, Search

unhurried = settings(deadline=None)
"""For every property: a shared machine is slow at times, which is no failure."""

moments = st.integers(min_value=0, max_value=12)
shoppers = st.sampled_from(["ann", "bob", "Zoë"])
behaviours = st.builds(
    Behaviour, moments, st.sampled_from(["p1", "p10", "p2", "ñ", "P1"]), st.sampled_from(sorted(ACTION_CODES))
)
searches = st.builds(Search, moments, st.sampled_from(["red lamp", "lamp", "Lamp", ""]))
events = st.lists(behaviours | searches, max_size=30)
