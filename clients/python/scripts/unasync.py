"""Generates `fido_relay/_sync` from `fido_relay/_async`: the same code without async.

python scripts/unasync.py           writes it
python scripts/unasync.py --check   fails if the files differ
"""

import re
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src/fido_relay"

RULES = (
    (
        r'\A"""(.*?)"""',
        r'"""\1\n\nGenerated from `_async` by `scripts/unasync.py`; do not edit."""',
    ),
    (r"The async client\.", "The blocking client."),
    (r" `_sync` is generated from this folder by `scripts/unasync\.py`\.", ""),
    (r"one relay; for one event loop\.", "one relay; safe to use from several threads."),
    (r"import asyncio\n(?=import time\n)", ""),
    (r"import asyncio\n", "import time\n"),
    (r"\basyncio\.sleep\b", "time.sleep"),
    (r"AsyncGenerator\[Event, None\]", "Generator[Event, None, None]"),
    (r"\bAbstractAsyncContextManager\b", "AbstractContextManager"),
    (r"\bawait ", ""),
    (r"\basync (?=def|for|with)", ""),
    (r"\bAsync(?=FidoRelay|Driver|Deadline|Webhooks|Generator|Client|HTTPTransport|Network)", ""),
    (r"__a(?=enter__|exit__)", "__"),
    (r"\.a(?=iter_bytes|close)", "."),
    (r"\bdef aclose\b", "def close"),
    (r"`aclosing`", "`closing`"),
)


def blocking(source: str) -> str:
    for pattern, instead in RULES:
        source = re.sub(pattern, instead, source, flags=re.DOTALL)
    return source


def main() -> int:
    names = sorted(path.name for path in (PACKAGE / "_async").glob("*.py"))
    made = {name: blocking((PACKAGE / "_async" / name).read_text()) for name in names}
    if "--check" in sys.argv[1:]:
        there = {path.name: path.read_text() for path in (PACKAGE / "_sync").glob("*.py")}
        others = [name for name in made | there if made.get(name) != there.get(name)]
        left = [name for name in names if re.search("async |await|asyncio", made[name].lower())]
        print(f"not as generated: {others}, with async left: {left}")
        return 1 if others or left else 0
    for name, source in made.items():
        (PACKAGE / "_sync" / name).write_text(source)
    return 0


if __name__ == "__main__":
    sys.exit(main())
