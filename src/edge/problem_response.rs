//! A problem on its way out: `application/problem+json` with the headers that its status asks for.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fido_relay_proto::{Problem, ProblemCode};

use crate::app::ceremonies::{AdvanceError, OpenError, OpenLimitReached, OpenRefusal, ViewRefusal};
use crate::app::clients::MissingScope;
use crate::edge::listener::ListenerRefusal;
use crate::ports::StoreError;
use crate::security::limits::TooFast;
use crate::security::random;

/// The WebSocket version of RFC 6455, the only one served.
pub(super) const WEBSOCKET_VERSION: &str = "13";

/// Seconds after which a refused caller may try again.
const RETRY_AFTER_S: u64 = 2;

/// The same where everybody is refused at once: 5 to 15, so that they do not come back at once.
const RETRY_TOGETHER_S: (u64, u64) = (5, 10);

/// The answer of a handler that refuses.
#[derive(Debug)]
pub(crate) struct ProblemResponse {
    problem: Problem,
    retry_after_s: u64,
    /// Why the listener refused, if it did.
    by_listener: Option<ListenerRefusal>,
}

impl ProblemResponse {
    /// 400, with the place of the mistake and what is allowed there. Input is never repeated.
    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Problem::new(ProblemCode::InvalidRequest).with_detail(detail).into()
    }

    /// 422, in the same form.
    pub(crate) fn unprocessable(detail: impl Into<String>) -> Self {
        Problem::new(ProblemCode::Unprocessable).with_detail(detail).into()
    }

    /// What programs go by.
    pub(crate) fn code(&self) -> ProblemCode {
        self.problem.code
    }
}

impl From<Problem> for ProblemResponse {
    fn from(problem: Problem) -> Self {
        Self { problem, retry_after_s: RETRY_AFTER_S, by_listener: None }
    }
}

impl From<ProblemCode> for ProblemResponse {
    fn from(code: ProblemCode) -> Self {
        Problem::new(code).into()
    }
}

impl From<ListenerRefusal> for ProblemResponse {
    fn from(refused: ListenerRefusal) -> Self {
        let refusal: Self = match refused {
            ListenerRefusal::Plaintext => {
                let detail = "this socket is served over TLS alone: dial it by wss";
                Problem::new(ProblemCode::UpgradeRequired).with_detail(detail).into()
            }
            ListenerRefusal::HandshakesPerIp
            | ListenerRefusal::ConnectionsPerIp
            | ListenerRefusal::Sockets
            | ListenerRefusal::SocketsPerClient => ProblemCode::TooManyRequests.into(),
            ListenerRefusal::HandshakesPerNode
            | ListenerRefusal::ConnectionsPerNode
            | ListenerRefusal::Tls
            | ListenerRefusal::ProxyHeader
            | ListenerRefusal::Silent
            | ListenerRefusal::Headers
            | ListenerRefusal::Stalled
            | ListenerRefusal::Evicted
            | ListenerRefusal::PressureConnections
            | ListenerRefusal::PressureMemory => {
                let (from, more) = RETRY_TOGETHER_S;
                let after = from + u64::from(random::bytes::<1>()[0]) % (more + 1);
                Self { retry_after_s: after, ..ProblemCode::Unavailable.into() }
            }
        };
        Self { by_listener: Some(refused), ..refusal }
    }
}

impl From<StoreError> for ProblemResponse {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the store failed");
        ProblemCode::Unavailable.into()
    }
}

impl From<TooFast> for ProblemResponse {
    fn from(TooFast { retry_after_s }: TooFast) -> Self {
        Self { retry_after_s, ..ProblemCode::TooManyRequests.into() }
    }
}

impl From<MissingScope> for ProblemResponse {
    fn from(missing: MissingScope) -> Self {
        Problem::new(ProblemCode::ScopeMissing).with_detail(missing.to_string()).into()
    }
}

impl From<ViewRefusal> for ProblemResponse {
    fn from(refusal: ViewRefusal) -> Self {
        match refusal {
            ViewRefusal::Scope(missing) => missing.into(),
            ViewRefusal::NotFound | ViewRefusal::TicketVoid => refusal.code().into(),
        }
    }
}

impl From<OpenRefusal> for ProblemResponse {
    fn from(refusal: OpenRefusal) -> Self {
        Problem::new(refusal.code()).with_detail(refusal.to_string()).into()
    }
}

impl From<AdvanceError> for ProblemResponse {
    fn from(error: AdvanceError) -> Self {
        match error {
            AdvanceError::NotFound => ProblemCode::NotFound.into(),
            AdvanceError::Unavailable(error) => {
                tracing::error!(error, "the store failed");
                ProblemCode::Unavailable.into()
            }
        }
    }
}

impl From<OpenError> for ProblemResponse {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Mismatch => ProblemCode::IdempotencyMismatch.into(),
            OpenError::Full(OpenLimitReached::Client) => ProblemCode::TooManyRequests.into(),
            OpenError::Full(OpenLimitReached::Node) => ProblemCode::Unavailable.into(),
            OpenError::Unavailable(error) => error.into(),
        }
    }
}

impl IntoResponse for ProblemResponse {
    fn into_response(self) -> Response {
        let Self { problem, retry_after_s, by_listener } = self;
        let status =
            StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after_s));
            }
            StatusCode::UPGRADE_REQUIRED => {
                // RFC 9110 section 7.8: Upgrade is for this connection alone.
                headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                // RFC 6455 section 4.4.
                let version = HeaderValue::from_static(WEBSOCKET_VERSION);
                headers.insert(header::SEC_WEBSOCKET_VERSION, version);
            }
            _ => {}
        }
        // For the metrics, and for the paths with a form of their own.
        response.extensions_mut().insert(problem);
        if let Some(refused) = by_listener {
            response.extensions_mut().insert(refused);
        }
        response
    }
}
