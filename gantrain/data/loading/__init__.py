"""Loading of batches from shards: the decoded cache, streaming, the order, the selection."""
