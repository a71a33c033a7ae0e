"""Rate limits of sign-ins and letter codes, per minute: by address and by username.

Unknown usernames are counted like existing ones, so that the answer reveals nothing. Browsers in
which the user has signed in before do not count towards the username, so that an attacker cannot
lock the user out. The relay limits how often phones ring; these limits keep the bank's form from
being used to ring them.
"""

import sqlite3
import time
from ipaddress import ip_address, ip_network

from .sessions import KEPT_S


def wait_s(
    db: sqlite3.Connection, limits: tuple[int, int], address: str, username: str, browser: str
) -> int:
    """Counts a try. Returns the seconds until the next one, or 0 if this one is allowed."""
    per_address, per_username = limits
    now = int(time.time())
    counted = [(f"address {_network(address)}", per_address)]
    known = db.execute(
        "SELECT 1 FROM known_browser WHERE browser = ? AND username = ?", (browser, username)
    ).fetchone()
    if not known:
        counted.append((f"username {username}", per_username))
    for what, most in counted:
        rows = db.execute(
            "INSERT INTO attempt VALUES (?, ?, 1)"
            " ON CONFLICT (what, minute) DO UPDATE SET count = count + 1 RETURNING count",
            (what, now // 60),
        ).fetchall()
        if rows[0]["count"] > most:
            return 60 - now % 60
    return 0


def know(db: sqlite3.Connection, browser: str, username: str) -> None:
    """Records that the user has signed in with this browser."""
    db.execute(
        "INSERT OR REPLACE INTO known_browser VALUES (?, ?, ?)", (browser, username, int(time.time()))
    )


def purge(db: sqlite3.Connection) -> None:
    now = int(time.time())
    db.execute("DELETE FROM attempt WHERE minute < ?", (now // 60,))
    db.execute("DELETE FROM known_browser WHERE seen_at <= ?", (now - KEPT_S,))


def _network(address: str) -> str:
    """The unit to count: an IPv6 customer has a whole /64."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    return str(ip_network((ip, 64), strict=False)) if ip.version == 6 else address
