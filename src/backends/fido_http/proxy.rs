//! *Client-direct* with an external server: the four calls passed on for programs that use the
//! server's own interface.
//!
//! Only what the interface consists of passes: the JSON body, the `Cookie` header one way and
//! `Set-Cookie` the other. Nothing is repeated, followed or remembered.

use futures::future::BoxFuture;
use reqwest::header::HeaderValue;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::FidoHttp;
use super::answer;
use super::call::Lost;
use crate::ports::{Certify, CertifyCall, CertifyReply, CertifyStep};

/// Bytes of a `Cookie` header that is passed on.
const COOKIE_MAX: usize = 8 * 1024;

impl Certify for FidoHttp {
    fn call(&self, call: CertifyCall) -> BoxFuture<'_, CertifyReply> {
        Box::pin(self.pass_on(call))
    }
}

impl FidoHttp {
    async fn pass_on(&self, call: CertifyCall) -> CertifyReply {
        let path = self.settings.paths.path(call.step);
        let Some(body) = rebuilt(&call) else {
            return refusal(400, "the body must be a JSON object");
        };
        let Ok(cookie) = call.cookie.as_deref().map(cookie_header).transpose() else {
            return refusal(400, "the cookies cannot be passed on");
        };
        let heard = match call.step {
            CertifyStep::AttestationOptions | CertifyStep::AssertionOptions => {
                let limit = Instant::now() + self.settings.begin_limit;
                self.caller.begin(path, cookie, body, limit).await
            }
            CertifyStep::AttestationResult | CertifyStep::AssertionResult => {
                let limit = Instant::now() + self.settings.complete_limit;
                self.caller.complete(path, cookie, body, limit).await
            }
        };
        match heard {
            Ok(heard) if heard.is_json && !(300..400).contains(&heard.status) => CertifyReply {
                status: heard.status,
                set_cookies: heard.set_cookies.iter().filter_map(hostless).collect(),
                body: heard.body,
            },
            Ok(heard) => {
                tracing::warn!(answer = answer::describe(&heard), "the server made no sense");
                refusal(502, "the FIDO2 server made no sense")
            }
            Err(Lost::Unsent(why) | Lost::Unknown(why)) => {
                tracing::warn!(why, "the FIDO2 server did not answer");
                refusal(502, "the FIDO2 server did not answer")
            }
        }
    }
}

/// The body as this relay writes it: options are parsed and written anew, a credential keeps its
/// bytes. `None` unless it is a JSON object within the bounds.
fn rebuilt(call: &CertifyCall) -> Option<String> {
    let text = std::str::from_utf8(&call.body).ok()?;
    if !text.trim_start().starts_with('{') || !answer::is_modest(text) {
        return None;
    }
    match call.step {
        CertifyStep::AttestationOptions | CertifyStep::AssertionOptions => {
            let options: serde_json::Map<_, _> = serde_json::from_str(text).ok()?;
            serde_json::to_string(&options).ok()
        }
        CertifyStep::AttestationResult | CertifyStep::AssertionResult => {
            let credential: &RawValue = serde_json::from_str(text).ok()?;
            Some(credential.get().to_owned())
        }
    }
}

fn cookie_header(text: &str) -> Result<HeaderValue, ()> {
    if text.len() > COOKIE_MAX {
        return Err(());
    }
    let mut value = HeaderValue::from_str(text).map_err(|_| ())?;
    value.set_sensitive(true);
    Ok(value)
}

/// A `Set-Cookie` without `Domain`: the program talks to the relay's host, not to the server's.
fn hostless(header: &HeaderValue) -> Option<String> {
    let is_domain = |part: &&str| {
        part.split('=').next().is_some_and(|name| name.trim().eq_ignore_ascii_case("domain"))
    };
    let text = header.to_str().ok()?;
    Some(text.split(';').filter(|part| !is_domain(part)).collect::<Vec<_>>().join(";"))
}

/// An answer of the relay's own, in the interface's form.
fn refusal(status: u16, message: &str) -> CertifyReply {
    let body = serde_json::json!({ "status": "failed", "errorMessage": message });
    CertifyReply { status, set_cookies: Vec::new(), body: body.to_string().into_bytes() }
}
