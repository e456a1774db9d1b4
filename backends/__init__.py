"""Storage plug-ins: the contract they fit, the errors they speak, and the suite that proves them.

This package is a leaf: it imports nothing else of Bucketline, so a third-party backend needs only this.
Start with `backends.base` for the contract and `backends.local` for a short, complete example.
"""
