"""How the bank is served: `gunicorn` in this folder reads this file.

Pages that wait do so at the relay, so that a thread is busy for milliseconds; those that ask the
relay are bounded (bank/relay.py), so that some threads are free however long the relay takes.
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
# A worker that does not answer at all is replaced; a stop lets requests end first.
timeout = 30
graceful_timeout = 30
# Which proxies are trusted is BANK_PROXIES' to say, and to it alone.
secure_scheme_headers: dict[str, str] = {}

_stop = threading.Event()


def when_ready(server: Any) -> None:
    where = ", ".join(str(listener) for listener in server.LISTENERS)
    print(f"Harbour Bank is open: {where}", flush=True)


def post_worker_init(worker: Any) -> None:
    """Each worker has a reconciler; they take turns."""
    from bank import reconcile

    threading.Thread(
        target=reconcile.run, args=(worker.wsgi, _stop), name="reconcile", daemon=True
    ).start()


def worker_exit(server: Any, worker: Any) -> None:
    _stop.set()
