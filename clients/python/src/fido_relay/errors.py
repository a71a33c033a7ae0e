"""What can go wrong, each with a stable `code`. No message repeats what was sent. An exception
keeps its arguments as they are, so that a task queue can pickle it."""


class FidoRelayError(Exception):
    """Everything that this package raises of its own."""

    code = "error"


class Problem(FidoRelayError):
    """The relay refused: RFC 9457, or at the token endpoint RFC 6749 section 5.2."""

    def __init__(
        self, status: int, code: str, title: str, detail: str | None, retry_after: float | None
    ) -> None:
        super().__init__(status, code, title, detail, retry_after)
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.retry_after = retry_after
        """Seconds after which to try again, where the relay says so."""

    def __str__(self) -> str:
        return f"{self.code}: {self.title}" + (f" ({self.detail})" if self.detail else "")


class UnexpectedAnswer(FidoRelayError):
    """An answer that is none of the relay's: a page of a proxy, a redirect, another form.
    `__cause__` says what is wrong with it."""

    code = "unexpected_answer"

    def __init__(self, status: int, wanted: str) -> None:
        super().__init__(status, wanted)
        self.status = status

    def __str__(self) -> str:
        status, wanted = self.args
        return f"HTTP {status} without {wanted}: is base_url the relay's?"


class Unreachable(FidoRelayError):
    """No answer, also not to the repetitions. The subclasses name the common reasons;
    `__cause__` is the HTTP library's error."""

    code = "unreachable"


class HostNotFound(Unreachable):
    """The host's name has no address (DNS)."""

    code = "host_not_found"


class ConnectionRefused(Unreachable):
    """The host is there, and nothing listens at the port."""

    code = "connection_refused"


class TlsFailed(Unreachable):
    """The connection is not trusted: an unknown issuer, another host's certificate, an old one."""

    code = "tls_failed"


class CallTimeout(Unreachable):
    """The relay did not answer within `timeout`."""

    code = "call_timeout"


class WaitTimeout(FidoRelayError):
    """The caller's own patience ended before the ceremony did. It goes on at the relay. Where the
    last request had no answer, `__cause__` is its error."""

    code = "wait_timeout"


class InvalidResult(FidoRelayError):
    """A result token that proves nothing of what was asked for: do not act."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code
        """What is wrong: `form`, `typ`, `alg`, `kid`, `signature`, `expired`, or a claim's name."""

    def __str__(self) -> str:
        return f"the result token is not accepted: {self.code}"


class InvalidWebhook(FidoRelayError):
    """Something that the relay did not send like this: answer 400."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code
        """What is wrong: `headers`, `timestamp`, `signature` or `form`."""

    def __str__(self) -> str:
        return f"the webhook is not accepted: {self.code}"
