"""From shards to batches: cache, stream, order, selection."""
