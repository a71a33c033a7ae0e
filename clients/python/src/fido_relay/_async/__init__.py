"""The client that is awaited. `_sync` is made from this folder by `scripts/unasync.py`."""
