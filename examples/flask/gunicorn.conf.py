"""Server configuration, read by `gunicorn` in this folder.

Pages wait at the relay, so a request occupies a thread for milliseconds. Calls to the relay have
bounded concurrency (bank/relay.py), so some threads stay free even if the relay is slow.
"""

import os
import threading
from typing import Any

wsgi_app = "bank.app:create_app()"
bind = os.environ.get("BANK_LISTEN", "127.0.0.1:5000")
worker_class = "gthread"
workers = int(os.environ.get("BANK_WORKERS", "2"))
threads = 16
keepalive = 5
backlog = 1024
# A hanging worker is replaced; on shutdown requests may finish.
timeout = 30
graceful_timeout = 30
# Only BANK_PROXIES decides which proxies are trusted.
secure_scheme_headers: dict[str, str] = {}

_stop = threading.Event()


def when_ready(server: Any) -> None:
    where = ", ".join(str(listener) for listener in server.LISTENERS)
    print(f"Harbour Bank is open: {where}", flush=True)


def post_worker_init(worker: Any) -> None:
    """Each worker has a reconciler thread; they take turns."""
    from bank import reconcile

    threading.Thread(
        target=reconcile.run, args=(worker.wsgi, _stop), name="reconcile", daemon=True
    ).start()


def worker_exit(server: Any, worker: Any) -> None:
    _stop.set()
