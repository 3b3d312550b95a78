"""Data sets of our own: drawn scenarios, labelled by the packet simulator, in Parquet shards with a manifest."""
