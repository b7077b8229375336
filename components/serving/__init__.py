"""The endpoint: feature look-up, query tower, search and relevance control behind KServe, one release at a time."""
