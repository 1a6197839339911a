"""Sets of webdataset tars with their manifest: writing, reading, verifying, fetching."""
