//! `/openapi.json`, `/asyncapi.json` and `/docs`: what this interface is, for programs and for
//! people. They are the same for everybody, made once in the life of the process, and say nothing
//! of this installation. No page elsewhere may read them (there is no CORS answer): that would tell
//! any web page whether a relay stands in the reader's network.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::edge::problem_response::ProblemResponse;
use crate::schema::{asyncapi, openapi};
use fido_relay_proto::ProblemCode;

/// A document, ready to be sent.
struct Document {
    bytes: Bytes,
    media_type: &'static str,
    etag: String,
    policy: Option<String>,
}

impl Document {
    fn new(text: impl Into<Bytes>, media_type: &'static str) -> Self {
        let bytes = text.into();
        let hash = digest(&SHA256, &bytes);
        let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16]));
        Self { bytes, media_type, etag, policy: None }
    }

    /// A page that loads nothing but its own style, its own script and what this relay serves, and
    /// whose script cannot make markup of a text.
    fn page(text: &'static str) -> Self {
        let digest_of = |begin: &str, end: &str| {
            let own = text.split_once(begin).and_then(|(_, rest)| rest.split_once(end));
            STANDARD.encode(digest(&SHA256, own.map_or("", |(own, _)| own).as_bytes()))
        };
        let style = digest_of("<style>", "</style>");
        let script = digest_of("<script type=\"module\">", "</script>");
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; \
             connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'; trusted-types 'none'"
        );
        Self { policy: Some(policy), ..Self::new(text, "text/html; charset=utf-8") }
    }

    /// The document, unless the caller has it.
    fn answer(&self, asked: &HeaderMap) -> Result<Response, ProblemResponse> {
        let value = |text: &str| HeaderValue::from_str(text).map_err(|_| ProblemCode::Internal);
        let known = asked.get_all(header::IF_NONE_MATCH).into_iter();
        let known = known.filter_map(|tags| tags.to_str().ok()).flat_map(|tags| tags.split(','));
        // RFC 9110 section 13.1.2: by the weak comparison.
        let mut known = known.map(|tag| tag.trim().trim_start_matches("W/"));
        let mut response = if known.any(|tag| tag == self.etag || tag == "*") {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let media_type = HeaderValue::from_static(self.media_type);
            ([(header::CONTENT_TYPE, media_type)], self.bytes.clone()).into_response()
        };
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
        headers.insert(header::ETAG, value(&self.etag)?);
        if let Some(policy) = &self.policy {
            headers.insert(header::CONTENT_SECURITY_POLICY, value(policy)?);
        }
        Ok(response)
    }
}

static OPENAPI: LazyLock<Document> =
    LazyLock::new(|| Document::new(openapi::document().to_string(), "application/json"));
static ASYNCAPI: LazyLock<Document> =
    LazyLock::new(|| Document::new(asyncapi::document().to_string(), "application/json"));
/// It reads the two documents in the browser, from beside its own address.
static PAGE: LazyLock<Document> = LazyLock::new(|| Document::page(include_str!("docs.html")));

/// `GET /openapi.json`.
pub(in crate::edge) async fn openapi(headers: HeaderMap) -> Result<Response, ProblemResponse> {
    OPENAPI.answer(&headers)
}

/// `GET /asyncapi.json`.
pub(in crate::edge) async fn asyncapi(headers: HeaderMap) -> Result<Response, ProblemResponse> {
    ASYNCAPI.answer(&headers)
}

/// `GET /`: where a person who has only the relay's address finds out what it is. Relative, since
/// a proxy may serve the relay under a path.
pub(in crate::edge) async fn root() -> impl IntoResponse {
    (StatusCode::SEE_OTHER, [(header::LOCATION, HeaderValue::from_static("docs"))])
}

/// `GET /docs`.
pub(in crate::edge) async fn docs(headers: HeaderMap) -> Result<Response, ProblemResponse> {
    PAGE.answer(&headers)
}
