//! An external FIDO2 server over HTTP, behind [`ports::Fido`](crate::ports::Fido).
//!
//! The server has the REST interface that is modelled on the FIDO Alliance's server API: two POSTs
//! per ceremony, tied together by the cookies that the first one sets. It is not trusted to work:
//! every answer is bounded in time and size, success has one exact form ([`answer`]), and a
//! completion call whose bytes may have left this machine is never repeated.
//!
//! ```text
//!   begin ──▶ call ──▶ ok ─────────────▶ Begun (cookies of this very answer in its session)
//!               ▲      408/E0024R ─┐
//!               │      5xx/refused ┼─▶ again, as often as the row allows and time remains
//!               └──────garbled ────┘
//!   complete ─▶ call ─▶ any answer, or none ─▶ Verdict
//!               ▲      never left ─┐
//!               └──────────────────┘ again while time remains, else `NotAsked`
//! ```
//! It knows nothing of the relay, its store or its sockets.

mod answer;
mod call;
mod cookie_date;
mod cookies;
mod credential;
mod gateway_headers;
mod lenient_base64;
mod proxy;
mod request;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use fido_relay_proto::{CeremonyType, Reason, Username};
use futures::future::BoxFuture;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep, timeout_at};

use crate::core::ceremony::{Begun, COMPLETION_LIMIT_MS, TxBinding, UpstreamSession, Verdict};
use crate::ports::{BeginFault, BeginRequest, CertifyStep, Clock, Completion, Fido};
use crate::security::random;

use answer::AnswerKind;
use call::{HttpAnswer, NoAnswer, UpstreamClient};
use cookies::{Cookies, Paths};

pub use call::UpstreamUnreachable;
pub use settings::{ClientCert, FidoHttpSettings, FidoHttpSettingsError, PathSet, UsernameForm};

/// Repeats of a begin call whose connection was refused or that met a 5xx.
const RETRIES_UNWELL: u32 = 2;
/// Repeats of a begin call whose answer was lost, late, garbled, too big or a redirect.
const RETRIES_GARBLED: u32 = 1;
/// Repeats of a begin call whose session had expired at once.
const RETRIES_SESSION: u32 = 1;
/// The part of the core's completion limit that is reserved for storing the verdict.
const STORING: Duration = Duration::from_secs(2);

/// A FIDO2 server reached over HTTP. It holds no state of ceremonies.
#[derive(Debug)]
pub struct FidoHttp {
    settings: FidoHttpSettings,
    client: UpstreamClient,
    origin: String,
    /// For the expiry of cookies.
    clock: Arc<dyn Clock>,
}

/// Why one begin call gave no challenge; each kind has its own number of repeats.
enum BeginFailure {
    Refused,
    /// The server knows no card of this user.
    NoCredential,
    /// The server's session had expired at once.
    SessionLost,
    /// The server could not store.
    Full,
    /// A refused connection or a 5xx.
    Unwell,
    /// Timeout, cut off, not JSON, too big, redirect.
    Garbled,
}

impl FidoHttp {
    /// A backend for the server of the settings. Makes no connection yet.
    ///
    /// # Errors
    /// [`FidoHttpSettingsError`], if the base URL cannot serve, a file cannot be read or the TLS set-up
    /// fails.
    pub fn new(
        settings: FidoHttpSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, FidoHttpSettingsError> {
        let client = UpstreamClient::new(&settings)?;
        let origin = settings
            .origin
            .clone()
            .unwrap_or_else(|| settings.base_url.origin().ascii_serialization());
        Ok(Self { settings, client, origin, clock })
    }

    /// The HTTP status of a call without credentials or content, within the limit of a begin call.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn reach(&self) -> Result<u16, UpstreamUnreachable> {
        let limit = Instant::now() + self.settings.begin_limit;
        timeout_at(limit, self.client.probe()).await.unwrap_or_else(|_| {
            let says = "the server did not answer in time".to_owned();
            Err(UpstreamUnreachable { says, tls: None })
        })
    }

    /// The path of one call within its URL.
    fn url_path(&self, step: CertifyStep) -> String {
        let base = self.settings.base_url.path().trim_end_matches('/');
        format!("{base}{}", self.settings.paths.path(step))
    }

    /// One begin call, judged.
    async fn begin_once(
        &self,
        request: &BeginRequest,
        deadline: Instant,
    ) -> Result<Begun, (BeginFailure, String)> {
        let step = begin_step(request.ceremony_type);
        let path = self.settings.paths.path(step);
        let limit = deadline.min(Instant::now() + self.settings.begin_limit);
        let response = self.client.begin(path, None, request::body(request), limit).await;
        let response = response.and_then(HttpAnswer::plain).map_err(|lost| match lost {
            NoAnswer::Unsent(why) => (BeginFailure::Unwell, why),
            NoAnswer::Unknown(why) => (BeginFailure::Garbled, why),
        })?;
        let row = match answer::classify(&response) {
            AnswerKind::Ok => {
                let begun = self.begun(request.ceremony_type, &response);
                return begun.map_err(|why| (BeginFailure::Garbled, why.to_owned()));
            }
            // A registration needs no account yet: there, 403 is an ordinary refusal.
            AnswerKind::NoAccount if step == CertifyStep::AssertionOptions => {
                BeginFailure::NoCredential
            }
            AnswerKind::Refused | AnswerKind::NoAccount | AnswerKind::Gateway => {
                BeginFailure::Refused
            }
            AnswerKind::SessionLost => BeginFailure::SessionLost,
            AnswerKind::Full => BeginFailure::Full,
            AnswerKind::Unwell => BeginFailure::Unwell,
            AnswerKind::Garbled => BeginFailure::Garbled,
        };
        Err((row, answer::describe(&response)))
    }

    fn begun(
        &self,
        ceremony_type: CeremonyType,
        response: &HttpAnswer,
    ) -> Result<Begun, &'static str> {
        let (challenge, public_key) = answer::options(&response.body)?;
        let begin = self.url_path(begin_step(ceremony_type));
        let complete = self.url_path(complete_step(ceremony_type));
        let paths = Paths { begin: &begin, complete: &complete };
        let cookies = Cookies::set_by(&response.set_cookies, paths, self.clock.now())?;
        Ok(Begun {
            session: cookies.into_session(),
            challenge,
            origin: self.origin.clone(),
            public_key,
            // The server does not know the transaction.
            tx_binding: TxBinding::Relay,
        })
    }

    async fn begin_with_retries(&self, request: BeginRequest) -> Result<Begun, BeginFault> {
        if !self.takes_username(&request.username) {
            let detail = "not called: the username has characters that the server does not accept";
            let (reason, detail) = (Reason::UpstreamRejected, detail.to_owned());
            return Err(BeginFault { reason, detail });
        }
        let deadline = Instant::now() + Duration::from_millis(request.time_left_ms);
        let (mut unwell, mut garbled, mut session) = (0, 0, 0);
        loop {
            let (row, detail) = match self.begin_once(&request, deadline).await {
                Ok(begun) => return Ok(begun),
                Err(fault) => fault,
            };
            let (used, allowed, reason) = match row {
                BeginFailure::Refused => (&mut 0, 0, Reason::UpstreamRejected),
                BeginFailure::NoCredential => (&mut 0, 0, Reason::NoCredential),
                BeginFailure::Full => (&mut 0, 0, Reason::UpstreamFull),
                BeginFailure::SessionLost => {
                    (&mut session, RETRIES_SESSION, Reason::UpstreamUnavailable)
                }
                BeginFailure::Unwell => (&mut unwell, RETRIES_UNWELL, Reason::UpstreamUnavailable),
                BeginFailure::Garbled => {
                    (&mut garbled, RETRIES_GARBLED, Reason::UpstreamUnavailable)
                }
            };
            let pause = self.pause();
            if *used >= allowed || Instant::now() + pause >= deadline {
                return Err(BeginFault { reason, detail });
            }
            *used += 1;
            tracing::debug!(%detail, "no challenge yet; repeating the begin call");
            sleep(pause).await;
        }
    }

    async fn complete_once_sent(
        &self,
        ceremony_type: CeremonyType,
        session: &UpstreamSession,
        credential: &RawValue,
        time_left: Duration,
    ) -> Verdict {
        let path = self.settings.paths.path(complete_step(ceremony_type));
        let Some(cookies) = Cookies::of_session(session) else {
            tracing::error!("the stored session is not one of this backend's");
            return Verdict::NotAsked;
        };
        let patience = Duration::from_millis(COMPLETION_LIMIT_MS)
            .saturating_sub(self.settings.complete_limit + STORING);
        let last_start = Instant::now() + time_left.min(patience);
        loop {
            let limit = Instant::now() + self.settings.complete_limit;
            let body = credential.get().to_owned();
            let cookies = cookies.header(self.clock.now());
            let response = self.client.complete(path, cookies, body, limit).await;
            match response.and_then(HttpAnswer::plain) {
                Ok(response) => {
                    let mut verdict =
                        verdict(answer::classify(&response), ceremony_type, credential);
                    if let (true, Verdict::Approved(approval)) =
                        (self.settings.receipts, &mut verdict)
                    {
                        // The public key is not known here; the ceremony adds the answer.
                        approval.evidence = Some(Box::default());
                    }
                    if !matches!(verdict, Verdict::Approved(_)) {
                        tracing::info!(
                            answer = answer::describe(&response),
                            "completion not approved"
                        );
                    }
                    return verdict;
                }
                Err(NoAnswer::Unknown(why)) => {
                    tracing::warn!(why, "a completion call has an unknown result");
                    return Verdict::Unknown;
                }
                Err(NoAnswer::Unsent(why)) => {
                    let again = Instant::now() + self.pause();
                    if again >= last_start {
                        tracing::warn!(why, "a completion call was not sent");
                        return Verdict::NotAsked;
                    }
                    tokio::time::sleep_until(again).await;
                }
            }
        }
    }

    /// The configured pause with jitter, from half to one and a half of it, so that ceremonies that
    /// failed together are not repeated together.
    fn pause(&self) -> Duration {
        let pause = u64::try_from(self.settings.retry_pause.as_micros()).unwrap_or(u64::MAX / 2);
        Duration::from_micros(pause / 2 + random::below(pause))
    }
}

impl Fido for FidoHttp {
    fn takes_username(&self, username: &Username) -> bool {
        self.settings.usernames.takes(username.as_str())
    }

    fn begin(&self, request: BeginRequest) -> BoxFuture<'_, Result<Begun, BeginFault>> {
        Box::pin(self.begin_with_retries(request))
    }

    fn complete<'a>(
        &'a self,
        ceremony_type: CeremonyType,
        session: &'a UpstreamSession,
        credential: &'a RawValue,
        time_left_ms: u64,
    ) -> BoxFuture<'a, Completion> {
        let time_left = Duration::from_millis(time_left_ms);
        let said = self.complete_once_sent(ceremony_type, session, credential, time_left);
        Box::pin(async { said.await.into() })
    }
}

/// The verdict of a completed call.
fn verdict(kind: AnswerKind, ceremony_type: CeremonyType, credential: &RawValue) -> Verdict {
    match kind {
        AnswerKind::Ok => Verdict::Approved(credential::approval(ceremony_type, credential)),
        AnswerKind::Refused | AnswerKind::NoAccount => Verdict::Rejected(Reason::UpstreamRejected),
        AnswerKind::SessionLost => Verdict::SessionLost,
        AnswerKind::Full => Verdict::Full,
        // These do not show whether the server processed the request. A gateway's refusal usually
        // means that it was not forwarded, but no status proves that.
        AnswerKind::Unwell | AnswerKind::Garbled | AnswerKind::Gateway => Verdict::Unknown,
    }
}

/// Approvals use a credential just as authentications do.
fn begin_step(ceremony_type: CeremonyType) -> CertifyStep {
    match ceremony_type {
        CeremonyType::Registration => CertifyStep::AttestationOptions,
        CeremonyType::Authentication | CeremonyType::Approval => CertifyStep::AssertionOptions,
    }
}

fn complete_step(ceremony_type: CeremonyType) -> CertifyStep {
    match ceremony_type {
        CeremonyType::Registration => CertifyStep::AttestationResult,
        CeremonyType::Authentication | CeremonyType::Approval => CertifyStep::AssertionResult,
    }
}
