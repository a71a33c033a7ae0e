//! Errors of the HTTP interface as RFC 9457 problem details with a stable `code`.
//!
//! Texts here are the relay's own: input is never echoed.

use serde::{Deserialize, Serialize};

/// The stable code of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("x-extensible-enum" = true)))]
#[serde(rename_all = "snake_case")]
pub enum ProblemCode {
    /// 400: not JSON, an unknown field, a value of the wrong form, or too deeply nested.
    InvalidRequest,
    /// 401: no credential, or one that is unknown, expired or for something else.
    Unauthorized,
    /// 401: the device's proof or pairing token was not accepted.
    ProofRefused,
    /// 403: the credential lacks the scope.
    ScopeMissing,
    /// 403: the client may not use this binding.
    BindingNotAllowed,
    /// 403: a field that needs a `prior_auth` other than `none`.
    PriorAuthRequired,
    /// 403: a credential in a page, or a page that the client does not list.
    OriginNotAllowed,
    /// 403: the request names a host that is not this relay's.
    HostNotAllowed,
    /// 404: unknown, or of another client.
    NotFound,
    /// 405: the path exists, the method does not.
    MethodNotAllowed,
    /// 409: the ceremony has its outcome already.
    AlreadyClosed,
    /// 410: the resource existed and was used up.
    Gone,
    /// 413: the body is too large.
    TooLarge,
    /// 415: an unsupported media type, or a content encoding.
    UnsupportedMediaType,
    /// 422: the same idempotency key with another body.
    IdempotencyMismatch,
    /// 422: well-formed, but the values contradict each other or are out of range.
    Unprocessable,
    /// 426: the path speaks WebSocket only, with the subprotocol of that path.
    UpgradeRequired,
    /// 429: too many requests; `Retry-After` says when to try again.
    TooManyRequests,
    /// 500: a fault of the relay.
    Internal,
    /// 501: the configured FIDO2 server does not offer this.
    NotSupported,
    /// 503: the relay cannot process this now.
    Unavailable,
}

impl ProblemCode {
    /// The HTTP status that goes with the code.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidRequest => 400,
            Self::Unauthorized | Self::ProofRefused => 401,
            Self::ScopeMissing
            | Self::BindingNotAllowed
            | Self::PriorAuthRequired
            | Self::OriginNotAllowed
            | Self::HostNotAllowed => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::AlreadyClosed => 409,
            Self::Gone => 410,
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::IdempotencyMismatch | Self::Unprocessable => 422,
            Self::UpgradeRequired => 426,
            Self::TooManyRequests => 429,
            Self::Internal => 500,
            Self::NotSupported => 501,
            Self::Unavailable => 503,
        }
    }

    /// A short text for people, the same for every occurrence.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::InvalidRequest => "The request is malformed",
            Self::Unauthorized => "Authentication is needed",
            Self::ProofRefused => "The device's proof was not accepted",
            Self::ScopeMissing => "The credential lacks the scope for this",
            Self::BindingNotAllowed => "This client may not open ceremonies without a code",
            Self::PriorAuthRequired => "This is only for a user who was authenticated before",
            Self::OriginNotAllowed => "This origin is not allowed",
            Self::HostNotAllowed => "This host is not served here",
            Self::NotFound => "There is nothing here",
            Self::MethodNotAllowed => "This method is not allowed here",
            Self::AlreadyClosed => "The ceremony is closed",
            Self::Gone => "This was used up",
            Self::TooLarge => "The body is too large",
            Self::UnsupportedMediaType => {
                "The body has an unsupported media type or a content encoding"
            }
            Self::IdempotencyMismatch => "The idempotency key was used with another body",
            Self::Unprocessable => "The values cannot be accepted",
            Self::UpgradeRequired => "This path speaks WebSocket",
            Self::TooManyRequests => "Too many requests",
            Self::Internal => "The relay failed",
            Self::NotSupported => "The FIDO2 server of this relay does not offer this",
            Self::Unavailable => "The relay cannot process this now",
        }
    }
}

/// An RFC 9457 problem details object; `type` is `about:blank`, so `title` belongs to the status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Problem {
    /// Always `about:blank`: programs use `code`.
    #[serde(rename = "type")]
    pub kind: String,
    /// A short text for people.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The stable code.
    pub code: ProblemCode,
    /// The field and its error, or the remedy. Every `invalid_request` has one: the RFC 6901
    /// pointer of the field and what it takes (`/username: missing`), or the same of a `query`
    /// parameter or a `header`. Every `scope_missing` names the scope. Never repeats input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Problem {
    /// The problem of this code, without detail.
    #[must_use]
    pub fn new(code: ProblemCode) -> Self {
        Self {
            kind: "about:blank".to_owned(),
            title: code.title().to_owned(),
            status: code.status(),
            code,
            detail: None,
        }
    }

    /// The same problem with a detail.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}
