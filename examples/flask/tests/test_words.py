"""Every outcome has a text, and no failure reads like a success."""

from bank import words

ENDINGS = [
    ("rejected", "upstream_rejected"),
    ("rejected", "clone_suspected"),
    ("failed", "wrong_code"),
    ("failed", "pin_failed"),
    ("failed", "no_credential"),
    ("failed", "card_613"),
    ("failed", "upstream_unavailable"),
    ("failed", "upstream_rejected"),
    ("failed", "pin_not_set"),
    ("failed", "already_registered"),
    ("failed", "card_limit"),
    ("expired", "deadline"),
    ("expired", "session_expired"),
    ("cancelled", None),
    ("unproven", None),
    ("denied", "declined"),
    ("denied", "not_me"),
    ("indeterminate", "upstream_unknown"),
    ("indeterminate", "interrupted"),
    ("indeterminate", "forgotten"),
    ("something_new", None),
]


def test_no_failure_text_reads_like_a_success() -> None:
    good = {words.of(kind, "succeeded", None).headline for kind in words.DONE}
    for kind in words.DONE:
        for status, reason in ENDINGS:
            said = words.of(kind, status, reason)
            assert said.headline not in good and said.detail, (kind, status, reason)
            assert said.advice or status == "cancelled", (kind, status, reason)
        assert "Call the bank" in words.of(kind, "rejected", "clone_suspected").advice


def test_nothing_was_done_is_used_only_where_certain() -> None:
    for kind in words.DONE:
        for status in ("indeterminate", "unproven", "something_new"):
            assert "Nothing" not in words.of(kind, status, None).detail
    for said in (words.NOT_NOW, words.OURS, words.TOO_MANY, words.NOT_TAKEN):
        assert "Nothing" not in said.detail


def test_only_registration_pages_mention_the_card() -> None:
    reasons = ("pin_not_set", "already_registered", "card_limit")
    for kind in words.DONE:
        card = {words.of(kind, "failed", r) for r in ("pin_failed", "no_credential", "card_613")}
        assert len(card) == 1
        for status in ("failed", "rejected"):
            said = {words.of(kind, status, reason) for reason in reasons}
            other = words.of(kind, status, "card_613")
            if kind == "registration":
                assert len(said) == 3 and other not in said
            else:
                assert said == {other}
