//! Calls to the FIDO2 server. Each runs in a task of its own and comes back as an event; only a server
//! that judges locally is asked on the way to the commit.

use std::sync::Arc;
use std::time::Duration;

use fido_relay_proto::{AttemptId, Binding, Reason};
use tokio::time::Instant;
use tracing::Instrument as _;

use super::open::DELIVERY_DELAY;
use super::{AdvanceError, Ceremonies, CeremonyKey};
use crate::core::ceremony::{Begun, Ceremony, Effect, Event, State, UpstreamSession, Verdict};
use crate::fault_point::{self, Point};
use crate::ports::{BeginRequest, Completion};

impl Ceremonies {
    /// Performs an effect. A completion's state is stored; a right code may be stored with the
    /// challenge, since asking for another does no harm.
    pub(super) fn perform(&self, ceremony: &Arc<Ceremony>, effect: Effect) {
        let key = CeremonyKey::from(&**ceremony);
        let ceremonies = self.clone();
        match effect {
            Effect::Begin { attempt } => {
                fault_point::reached(Point::Claimed);
                let request = self.begin_request(ceremony);
                let at_once = ceremony.request.binding == Binding::None;
                self.dependencies().tasks.spawn("begin", async move {
                    fault_point::passing(Point::BeginInFlight);
                    // Without a code, the challenge is the first that devices are shown, and must not
                    // reach them before the 201 has left.
                    let delay = async {
                        if at_once {
                            tokio::time::sleep(DELIVERY_DELAY).await;
                        }
                    };
                    let (begun, ()) = tokio::join!(ceremonies.dependencies().fido.begin(request), delay);
                    fault_point::reached(Point::Begun);
                    let event = match begun {
                        Ok(begun) => ceremonies.begun(&key, attempt, begun),
                        Err(fault) => {
                            // A user without a card is no fault that an operator could mend.
                            if fault.reason == Reason::NoCredential {
                                tracing::info!(ceremony = %key.id, "the user has no card");
                            } else {
                                tracing::warn!(ceremony = %key.id, %fault, "the FIDO2 server gave no challenge");
                            }
                            Event::BeginFailed { attempt, reason: fault.reason }
                        }
                    };
                    ceremonies.report(&key, event).await;
                    if at_once {
                        ceremonies.dependencies().observer.may_ring(&key);
                    }
                });
            }
            Effect::Complete { attempt } => {
                fault_point::reached(Point::AnswerStored);
                let ceremony = Arc::clone(ceremony);
                self.dependencies().tasks.spawn("complete", async move {
                    fault_point::reached(Point::CompletionIntentStored);
                    fault_point::passing(Point::CompletionInFlight);
                    let verdict = ceremonies.judge(&ceremony).await.verdict;
                    fault_point::reached(Point::UpstreamAnswered);
                    if verdict == Verdict::Unknown {
                        tracing::error!(
                            ceremony = %key.id,
                            "a completion call has no known result"
                        );
                    }
                    ceremonies.report(&key, Event::Completed { attempt, verdict }).await;
                });
            }
        }
    }

    /// Has the FIDO2 server judge the ceremony's answer.
    pub(super) async fn judge(&self, ceremony: &Ceremony) -> Completion {
        let key = CeremonyKey::from(ceremony);
        let State::Verifying { challenge, answer, .. } = &ceremony.state else {
            tracing::error!(ceremony = %key.id, "a completion call ended without an answer");
            return Verdict::NotAsked.into();
        };
        let Some(session) = self.decrypt_session(&key, &challenge.session) else {
            return Verdict::NotAsked.into();
        };
        // What a FIDO2 server logs of an answer names the ceremony.
        let span = tracing::info_span!("complete", ceremony = %key.id);
        let (kind, left) = (ceremony.request.ceremony_type, self.time_left_ms(ceremony));
        let call = self.dependencies().fido.complete(kind, &session, &answer.credential, left);
        call.instrument(span).await
    }

    /// The event of a challenge, with its session encrypted for this ceremony: in that form it is
    /// stored until the completion call.
    fn begun(&self, key: &CeremonyKey, attempt: AttemptId, mut begun: Begun) -> Event {
        match self.dependencies().encryptor.seal(&key.to_string(), begun.session.0.as_bytes()) {
            Ok(sealed) => {
                begun.session = UpstreamSession(sealed);
                Event::Begun { attempt, begun: Box::new(begun) }
            }
            Err(error) => {
                tracing::error!(
                    ceremony = %key.id, %error,
                    "a FIDO2 session could not be encrypted"
                );
                Event::BeginFailed { attempt, reason: Reason::UpstreamUnavailable }
            }
        }
    }

    fn decrypt_session(
        &self,
        key: &CeremonyKey,
        session: &UpstreamSession,
    ) -> Option<UpstreamSession> {
        let opened = self.dependencies().encryptor.open(&key.to_string(), &session.0);
        let session = opened.ok().and_then(|bytes| String::from_utf8(bytes).ok());
        if session.is_none() {
            tracing::error!(ceremony = %key.id, "a stored FIDO2 session cannot be decrypted");
        }
        session.map(UpstreamSession)
    }

    fn begin_request(&self, ceremony: &Ceremony) -> BeginRequest {
        let request = &ceremony.request;
        BeginRequest {
            tenant: request.tenant.clone(),
            ceremony_type: request.ceremony_type,
            username: request.username.clone(),
            display_name: request.display_name.clone(),
            rp_id: request.rp_id.clone(),
            options: request.options.clone(),
            transaction: request.transaction.clone(),
            time_left_ms: self.time_left_ms(ceremony),
        }
    }

    fn time_left_ms(&self, ceremony: &Ceremony) -> u64 {
        ceremony.request.deadline.millis_since(self.dependencies().clock.now())
    }

    /// Advances the ceremony by a call's result, again while the store does not answer: the FIDO2
    /// server cannot be asked twice. It gives up only when the ceremony's own limit is due, after
    /// which the result would count as unknown anyway.
    async fn report(&self, key: &CeremonyKey, event: Event) {
        // Not by the wall clock, which may be set in the meantime.
        let give_up =
            Instant::now() + Duration::from_millis(crate::core::ceremony::COMPLETION_LIMIT_MS);
        let mut pause = Duration::from_millis(50);
        while let Err(error) = self.advance_here(key, event.clone()).await {
            if matches!(error, AdvanceError::NotFound) || Instant::now() >= give_up {
                tracing::error!(ceremony = %key.id, %error, "a result could not be stored");
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }
}
