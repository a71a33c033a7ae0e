"""Exceptions, each with a stable `code`. No message repeats what was sent. Exceptions keep their
arguments unchanged, so that a task queue can pickle them."""


class FidoRelayError(Exception):
    """Base class of the exceptions of this package."""

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
        """Seconds to wait before a retry, if the relay says so."""

    def __str__(self) -> str:
        return f"{self.code}: {self.title}" + (f" ({self.detail})" if self.detail else "")


class UnexpectedAnswer(FidoRelayError):
    """An answer that is not the relay's: a proxy's page, a redirect, another format. `__cause__`
    has the details."""

    code = "unexpected_answer"

    def __init__(self, status: int, wanted: str) -> None:
        super().__init__(status, wanted)
        self.status = status

    def __str__(self) -> str:
        status, wanted = self.args
        return f"HTTP {status} without {wanted}: is base_url the relay's?"


class Unreachable(FidoRelayError):
    """No answer, also not to the retries. The subclasses name the common reasons; `__cause__` is
    the HTTP library's error."""

    code = "unreachable"


class HostNotFound(Unreachable):
    """The host name cannot be resolved (DNS)."""

    code = "host_not_found"


class ConnectionRefused(Unreachable):
    """The host is reachable, but nothing listens on the port."""

    code = "connection_refused"


class TlsFailed(Unreachable):
    """The certificate is not trusted: unknown issuer, another host's, or expired."""

    code = "tls_failed"


class CallTimeout(Unreachable):
    """The relay did not answer within `timeout`."""

    code = "call_timeout"


class WaitTimeout(FidoRelayError):
    """The caller's timeout ended before the ceremony, which continues at the relay. If the last
    request had no answer, `__cause__` is its error."""

    code = "wait_timeout"


class UnknownKey(FidoRelayError):
    """A result token names a key that was not in the relay's set when it was last fetched, less
    than a minute ago. Verify it again after `retry_after` seconds."""

    code = "unknown_key"

    def __init__(self, retry_after: float) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"the result token's key is not known yet: retry in {self.retry_after:.0f} s"


class InvalidResult(FidoRelayError):
    """The result token does not prove what was expected: do not act."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code
        """The failed check: `form`, `typ`, `alg`, `kid`, `signature`, `expired`, or a claim."""

    def __str__(self) -> str:
        return f"the result token is not accepted: {self.code}"


class InvalidWebhook(FidoRelayError):
    """The request is not a webhook of the relay: answer 400."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code
        """The failed check: `headers`, `timestamp`, `signature` or `form`."""

    def __str__(self) -> str:
        return f"the webhook is not accepted: {self.code}"
