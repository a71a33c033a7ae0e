"""The client that blocks is the awaited one without the waiting: `python tests/test_twins.py` makes
it, and the test holds the two together."""

import re
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src/fido_relay"

RULES = (
    (
        r'\A""".*?"""',
        '"""The client that blocks. Made from `_async_client` by `tests/test_twins.py`;'
        ' not to be edited."""',
    ),
    (r"one backend; for one event loop\.", "one backend; safe to use from several threads."),
    (r"\bimport asyncio\b", "import time"),
    (r"\basyncio\.sleep\b", "time.sleep"),
    (r"\bawait ", ""),
    (r"\basync (?=def|for|with)", ""),
    (r"\bAsync(?=FidoRelay|Iterator|Client)", ""),
    (r"__a(?=enter__|exit__)", "__"),
    (r"\.a(?=iter_lines|read|close)", "."),
)


def blocking(source: str) -> str:
    for pattern, instead in RULES:
        source = re.sub(pattern, instead, source, flags=re.DOTALL)
    return source


def test_the_client_that_blocks_is_the_awaited_one_without_the_waiting() -> None:
    made = blocking((PACKAGE / "_async_client.py").read_text())
    assert made == (PACKAGE / "_client.py").read_text()
    assert not re.search("async|await", made.partition('"""\n')[2])


if __name__ == "__main__":
    (PACKAGE / "_client.py").write_text(blocking((PACKAGE / "_async_client.py").read_text()))
