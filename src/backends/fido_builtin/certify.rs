//! *Client-direct*: [`Certify`] over the server, in the vendor's answer format. A begin call stores
//! its session under a random cookie; the result call consumes it in any case.

use fido_relay_proto::http::Requirement;
use fido_relay_webauthn::VerifyError;
use futures::future::BoxFuture;
use serde_json::{Map, Value, json};

use super::begin_body::BeginBody;
use super::credentials::PER_USER;
use super::options::{FidoSession, Purpose};
use super::server::{BuiltinFido, CloseRefusal, OpenRefusal, OpenSessionRequest};
use super::sessions::SESSION_MS;
use crate::ports::{Certify, CertifyCall, CertifyReply, CertifyStep};

/// The session cookie's name.
const COOKIE: &str = "fido_session";
/// The vendor's code for a session that has expired.
const SESSION_EXPIRED: &str = "E0024R";

impl Certify for BuiltinFido {
    fn call(&self, call: CertifyCall) -> BoxFuture<'_, CertifyReply> {
        Box::pin(async move {
            match call.step {
                CertifyStep::AttestationOptions => self.certify_begin(true, &call.body).await,
                CertifyStep::AssertionOptions => self.certify_begin(false, &call.body).await,
                CertifyStep::AttestationResult => self.certify_result(true, &call).await,
                CertifyStep::AssertionResult => self.certify_result(false, &call).await,
            }
        })
    }
}

impl BuiltinFido {
    async fn certify_begin(&self, registration: bool, body: &[u8]) -> CertifyReply {
        let mut body = match BeginBody::parse(body) {
            Ok(body) => body,
            Err(sentence) => return failed(400, sentence),
        };
        if !self.settings.uv_weaken {
            body.options.user_verification = Some(Requirement::Required);
        }
        let opened = self
            .open(&OpenSessionRequest {
                registration,
                username: &body.username,
                display_name: &body.display_name,
                rp_id: body.rp_id.as_deref().unwrap_or(&self.settings.rp_id),
                options: &body.options,
                transaction: None,
                timeout_ms: SESSION_MS,
            })
            .await;
        let mut opened = match opened {
            Ok(opened) => opened,
            Err(error) => {
                tracing::debug!(%error, "a client-direct ceremony was not opened");
                return match error {
                    OpenRefusal::RpId => failed(400, "the relying party id is not served here"),
                    OpenRefusal::Algorithms => {
                        failed(400, "none of these algorithms is known here")
                    }
                    OpenRefusal::Transaction => failed(400, "the request is malformed"),
                    OpenRefusal::NoAccount => failed(403, "there is no account for this user"),
                    OpenRefusal::CardLimit => card_limit(),
                    OpenRefusal::Store(_) => failed(507, "the store cannot be reached"),
                };
            }
        };
        if let Some(extensions) = body.extensions {
            opened.public_key.insert("extensions".to_owned(), extensions);
        }
        let Some(token) = self.sessions.keep(opened.session, self.clock.now()) else {
            return failed(507, "too many ceremonies are open");
        };
        let mut reply = answer(200, "ok", "200", "", opened.public_key);
        reply.set_cookies.push(self.cookie(&token, SESSION_MS / 1000));
        reply
    }

    async fn certify_result(&self, registration: bool, call: &CertifyCall) -> CertifyReply {
        let now = self.clock.now();
        let session = call
            .cookie
            .as_deref()
            .and_then(|header| tokens(header).find_map(|token| self.sessions.take(token, now)));
        let right_kind = |session: &FidoSession| {
            matches!(session.purpose, Purpose::Registration { .. }) == registration
        };
        let Some(session) = session.filter(right_kind) else { return expired() };
        let mut reply = match self.close(&session, &call.body).await {
            Ok(_) => answer(200, "ok", "200", "", Map::new()),
            Err(error) => {
                error.log();
                match error {
                    CloseRefusal::Refused(step) if step.is_malformed() => {
                        failed(400, "the credential is malformed")
                    }
                    CloseRefusal::Refused(VerifyError::UserVerification) => {
                        failed(401, "the card did not verify its user: it may have no PIN")
                    }
                    CloseRefusal::Refused(VerifyError::CredentialIdTaken) => {
                        failed(401, "the card is registered already")
                    }
                    CloseRefusal::Refused(_) => failed(401, "verification failed"),
                    CloseRefusal::Expired => expired(),
                    CloseRefusal::CardLimit => card_limit(),
                    CloseRefusal::NotRead(_) | CloseRefusal::NotStored(_) => {
                        failed(507, "the credential could not be stored")
                    }
                }
            }
        };
        reply.set_cookies.push(self.cookie("", 0));
        reply
    }

    fn cookie(&self, token: &str, max_age_s: u64) -> String {
        let secure = if self.settings.secure_cookies { "; Secure" } else { "" };
        format!(
            "{COOKIE}={token}; Path=/fidoapi; Max-Age={max_age_s}; HttpOnly; SameSite=Strict{secure}"
        )
    }
}

/// The tokens in a `Cookie` header (RFC 6265 section 4.2.1), in its order.
fn tokens(header: &str) -> impl Iterator<Item = &str> {
    header
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| *name == COOKIE)
        .map(|(_, token)| token)
}

fn expired() -> CertifyReply {
    let message = format!("{SESSION_EXPIRED}: the session is unknown or has expired");
    answer(408, "false", SESSION_EXPIRED, &message, Map::new())
}

/// Not 507: a retry without removing a card fails again.
fn card_limit() -> CertifyReply {
    failed(409, &format!("the user has {PER_USER} cards, the most there may be: remove one first"))
}

fn failed(status: u16, message: &str) -> CertifyReply {
    answer(status, "failed", &status.to_string(), message, Map::new())
}

fn answer(
    status: u16,
    word: &str,
    code: &str,
    message: &str,
    mut body: Map<String, Value>,
) -> CertifyReply {
    body.insert("status".into(), word.into());
    body.insert("errorMessage".into(), message.into());
    body.insert("statuscode".into(), code.into());
    body.insert("responseCode".into(), status.into());
    let body = json!(body).to_string().into_bytes();
    CertifyReply { status, set_cookies: Vec::new(), content_encoding: None, body }
}
