"""Image files in folders to shards."""
