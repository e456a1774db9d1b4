"""Each storage backend beside its own library's upload, on the same local server: `python -m benchmarks.stores`."""
