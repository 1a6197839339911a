"""ImageDataset: rendered or imported, packed into webdataset shards, read back as batches."""
