"""The client that blocks.

Made from `_async` by `scripts/unasync.py`; not to be edited."""
