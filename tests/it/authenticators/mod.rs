//! Authenticators that other projects wrote, against the running relay and its built-in FIDO2
//! server: what each can make of formats, algorithms and user verification, and what comes of it.

mod page;
mod programs;
mod refusals;
mod whole;

use fido_relay_proto::CeremonyType;
use fido_relay_webauthn::VerifyError;
use serde_json::{Value, json};

use crate::differential::attestation;
use crate::support::child_relay::{ChildRelay, Home};
use crate::support::client_direct::ClientDirect;

/// What comes of a card that is registered and then signs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Both succeed, and the attestation object is of this format.
    Accepted(&'static str),
    /// The server refuses the registration: 401 to the app, and this in the log.
    Refused(VerifyError),
    /// The authenticator makes no credential, and its error contains this.
    Declined(&'static str),
}

/// One of the authenticators, with a card of its own.
trait Authenticator {
    /// Makes a credential (registration) or uses it, as a page of this origin would have it done;
    /// `Err` with the authenticator's own error.
    async fn answer(
        &mut self,
        ceremony: CeremonyType,
        options: &Value,
        origin: &str,
    ) -> Result<Value, String>;
}

/// A relay whose log says why it refuses.
struct Server {
    relay: ChildRelay,
    app: ClientDirect,
    /// The origin that it accepts.
    origin: String,
    users: u32,
    _home: Home,
}

impl Server {
    /// One whose apps may ask for less than user verification, as far as `weaker` is true.
    async fn start(weaker: bool) -> Self {
        let home = Home::new(&[
            ("FIDO_RELAY_LOG__LEVEL", "debug"),
            ("FIDO_RELAY_ALLOW_UV_WEAKEN", if weaker { "true" } else { "false" }),
        ]);
        let relay = ChildRelay::start(&home).await;
        let app = ClientDirect::of(relay.url());
        let origin = relay.url().replace("127.0.0.1", "localhost");
        Self { relay, app, origin, users: 0, _home: home }
    }

    /// A name that no test used before.
    fn user(&mut self) -> String {
        self.users += 1;
        format!("user-{}", self.users)
    }

    /// Completes a ceremony, and waits until the log has the reason of its refusal.
    async fn complete(
        &self,
        ceremony: CeremonyType,
        cookie: &str,
        credential: &Value,
        reason: Option<VerifyError>,
    ) -> u16 {
        let reason = reason.map(|reason| reason.to_string());
        let before = self.relay.written();
        let status = self.app.complete(ceremony, cookie, credential).await;
        if let Some(reason) = reason.filter(|_| status == 401) {
            self.relay.logged(&reason, before.matches(&reason).count() + 1).await;
        }
        status
    }

    /// Registers a card of a new user and signs in with it.
    async fn run(
        &mut self,
        card: &mut impl Authenticator,
        wishes: &Value,
        expected: Outcome,
    ) -> Result<(), String> {
        let mut wishes = wishes.clone();
        wishes["username"] = self.user().into();
        let mut format = None;
        for ceremony in [CeremonyType::Registration, CeremonyType::Authentication] {
            let begun = self.app.begin(ceremony, &wishes).await;
            let credential = match card.answer(ceremony, &begun.options, &self.origin).await {
                Ok(credential) => credential,
                Err(error) => {
                    return match expected {
                        Outcome::Declined(part) if error.contains(part) => Ok(()),
                        _ => Err(format!("{ceremony:?}: declined: {error}")),
                    };
                }
            };
            format = format.or_else(|| attestation::format(&credential));
            let reason = match expected {
                Outcome::Refused(reason) => Some(reason),
                Outcome::Accepted(_) | Outcome::Declined(_) => None,
            };
            let status = self.complete(ceremony, &begun.cookie, &credential, reason).await;
            match (status, reason) {
                (200, None) => {}
                (401, Some(_)) => return Ok(()),
                _ => return Err(format!("{ceremony:?}: status {status}, {format:?}")),
            }
        }
        let got = format.unwrap_or_default();
        match expected {
            Outcome::Accepted(expected) if got == expected => Ok(()),
            _ => Err(format!("accepted as {got}")),
        }
    }
}

/// What an app asks for, by name; an empty verification is none that it asks for.
fn wishes(verification: &str, attestation: &str, algorithm: &str) -> Value {
    json!({
        "userVerification": verification,
        "attestation": attestation,
        "algorithms": [algorithm],
    })
}

/// What a browser calls the ceremony, and the programs too.
fn verb(ceremony: CeremonyType) -> &'static str {
    match ceremony {
        CeremonyType::Registration => "create",
        CeremonyType::Authentication | CeremonyType::Approval => "get",
    }
}

/// The credential in an authenticator's answer, or its error.
fn made(mut answer: Value) -> Result<Value, String> {
    match answer["declined"].as_str() {
        Some(error) => Err(error.to_owned()),
        None => Ok(answer["credential"].take()),
    }
}
