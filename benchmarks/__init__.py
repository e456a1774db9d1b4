"""Bucketline side by side with what its users would pick instead: `python -m benchmarks`, or `make bench`."""
