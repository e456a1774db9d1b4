"""One upload to each kind of store, by our backend and by the library that one would use instead, on the same server.

python -m benchmarks.stores
"""
