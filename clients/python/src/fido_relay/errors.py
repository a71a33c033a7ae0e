"""What can go wrong, each with a stable `code` to go by. No message repeats what was sent."""


class FidoRelayError(Exception):
    """Everything that this package raises of its own."""

    code = "error"


class Problem(FidoRelayError):
    """The relay refused: RFC 9457, or at the token endpoint RFC 6749 section 5.2."""

    def __init__(
        self, status: int, code: str, title: str, detail: str | None, retry_after: float | None
    ) -> None:
        super().__init__(f"{code}: {title}" + (f" ({detail})" if detail else ""))
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.retry_after = retry_after
        """Seconds after which to try again, where the relay told."""


class Unreachable(FidoRelayError):
    """No answer, also not to the repetitions."""

    code = "unreachable"


class WaitTimeout(FidoRelayError):
    """The caller's own patience ended before the ceremony did. It goes on at the relay."""

    code = "wait_timeout"


class InvalidResult(FidoRelayError):
    """A result token that proves nothing of what was asked for: do not act."""

    def __init__(self, code: str) -> None:
        super().__init__(f"the result token is not accepted: {code}")
        self.code = code
        """What is wrong: `form`, `typ`, `alg`, `kid`, `signature`, `expired`, or a claim's name."""


class InvalidWebhook(FidoRelayError):
    """Something that the relay did not send like this: answer 400."""

    def __init__(self, code: str) -> None:
        super().__init__(f"the webhook is not accepted: {code}")
        self.code = code
        """What is wrong: `headers`, `timestamp`, `signature` or `form`."""
