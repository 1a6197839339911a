"""Data sets: rendering and importing images, webdataset shards, and loading of batches."""
