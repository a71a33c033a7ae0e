//! *Client-direct* with an external server: forwards the four calls of programs that use the server's
//! own interface.
//!
//! Only parts of the interface are forwarded: the JSON body (with its `Content-Encoding`, if it has
//! one), the `Cookie` header one way and `Set-Cookie` the other, as if the relay's `/fidoapi` were
//! the server's. Nothing is repeated or stored.

use futures::future::BoxFuture;
use reqwest::header::HeaderValue;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::FidoHttp;
use super::answer;
use super::call::NoAnswer;
use super::cookies;
use crate::ports::{Certify, CertifyCall, CertifyReply, CertifyStep, latin1};

/// Longest `Cookie` header that is forwarded.
const COOKIE_MAX: usize = 16 * 1024;
/// The path at which the relay serves the interface.
const INTERFACE: &str = "/fidoapi";

impl Certify for FidoHttp {
    fn call(&self, call: CertifyCall) -> BoxFuture<'_, CertifyReply> {
        Box::pin(self.pass_on(call))
    }
}

impl FidoHttp {
    async fn pass_on(&self, call: CertifyCall) -> CertifyReply {
        let path = self.settings.paths.path(call.step);
        let body = match self.rebuilt(&call) {
            Ok(body) => body,
            Err(why) => return refusal(400, why),
        };
        let Ok(cookie) = call.cookie.as_deref().map(cookie_header).transpose() else {
            return refusal(400, "the cookies cannot be passed on");
        };
        let response = match call.step {
            CertifyStep::AttestationOptions | CertifyStep::AssertionOptions => {
                let limit = Instant::now() + self.settings.begin_limit;
                self.client.begin(path, cookie, body, limit).await
            }
            CertifyStep::AttestationResult | CertifyStep::AssertionResult => {
                let limit = Instant::now() + self.settings.complete_limit;
                self.client.complete(path, cookie, body, limit).await
            }
        };
        match response {
            Ok(response) if response.is_json && !(300..400).contains(&response.status) => {
                CertifyReply {
                    status: response.status,
                    set_cookies: response
                        .set_cookies
                        .iter()
                        .map(|set| self.for_programs(set))
                        .collect(),
                    content_encoding: response.encoding.map(|encoding| latin1(encoding.as_bytes())),
                    body: response.body,
                }
            }
            Ok(response) => {
                tracing::warn!(
                    answer = answer::describe(&response),
                    "the FIDO2 server's answer is invalid"
                );
                refusal(502, "the FIDO2 server gave an invalid answer")
            }
            Err(NoAnswer::Unsent(why) | NoAnswer::Unknown(why)) => {
                tracing::warn!(why, "the FIDO2 server did not answer");
                refusal(502, "the FIDO2 server did not answer")
            }
        }
    }

    /// The body to forward: options are parsed and serialised again, a credential keeps its bytes.
    ///
    /// # Errors
    /// The body is no JSON object within the bounds, or for a username that the server does not
    /// accept.
    fn rebuilt(&self, call: &CertifyCall) -> Result<String, &'static str> {
        const NO_OBJECT: &str = "the body must be a JSON object";
        let text = std::str::from_utf8(&call.body).map_err(|_| NO_OBJECT)?;
        if !text.trim_start().starts_with('{') || !answer::is_modest(text) {
            return Err(NO_OBJECT);
        }
        match call.step {
            CertifyStep::AttestationOptions | CertifyStep::AssertionOptions => {
                let options: Map<String, Value> =
                    serde_json::from_str(text).map_err(|_| NO_OBJECT)?;
                let username = options.get("username").and_then(Value::as_str);
                if username.is_some_and(|username| !self.settings.usernames.takes(username)) {
                    return Err("the server accepts no username with such characters");
                }
                serde_json::to_string(&options).map_err(|_| NO_OBJECT)
            }
            CertifyStep::AttestationResult | CertifyStep::AssertionResult => {
                let credential: &RawValue = serde_json::from_str(text).map_err(|_| NO_OBJECT)?;
                Ok(credential.get().to_owned())
            }
        }
    }

    /// A `Set-Cookie` as programs may send it back to the relay: without `Domain`, which is the
    /// server's; without `Secure` where they come by plain http; on the relay's path.
    fn for_programs(&self, header: &HeaderValue) -> String {
        let text = latin1(header.as_bytes());
        let mut parts = text.split(';');
        let mut kept = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (name, value) = cookies::attribute(part);
            if name.eq_ignore_ascii_case("domain")
                || (name.eq_ignore_ascii_case("secure") && !self.settings.secure_cookies)
            {
                continue;
            }
            if name.eq_ignore_ascii_case("path") {
                kept.push_str("; Path=");
                kept.push_str(relay_path(value, self.settings.base_url.path()));
            } else {
                kept.push(';');
                kept.push_str(part);
            }
        }
        kept
    }
}

/// The relay's path for a cookie path of the server whose base URL has the path `base`. Paths above
/// `/fidoapi` stay distinct from it, so that deleting a cookie of one does not delete one of the
/// other.
fn relay_path<'a>(path: &'a str, base: &str) -> &'a str {
    if !path.starts_with('/') {
        // No path: the program uses the default path of its own call.
        return path;
    }
    let base = base.trim_end_matches('/');
    let within = path.strip_prefix(base).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    match within {
        // Also for paths below: a program may call either of the relay's two sets of paths.
        Some(rest) if cookies::matches(rest, INTERFACE) => INTERFACE,
        Some("") => "/",
        Some(rest) => rest,
        None if cookies::matches(base, path) => "/",
        None => path,
    }
}

fn cookie_header(text: &str) -> Result<HeaderValue, ()> {
    if text.len() > COOKIE_MAX {
        return Err(());
    }
    cookies::header(text).ok_or(())
}

/// An answer of the relay's own, in the interface's form.
fn refusal(status: u16, message: &str) -> CertifyReply {
    let body = serde_json::json!({ "status": "failed", "errorMessage": message });
    let body = body.to_string().into_bytes();
    CertifyReply { status, set_cookies: Vec::new(), content_encoding: None, body }
}
