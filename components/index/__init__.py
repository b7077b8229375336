"""Index: from item vectors to a searchable release: embed, store in Milvus, tune, verify, control relevance, boost."""
