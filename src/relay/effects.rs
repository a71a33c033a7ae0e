//! Calls to the FIDO2 server. Each runs in a task of its own and comes back as an event.

use std::time::Duration;

use fido_relay_proto::{AttemptId, Reason};
use tokio::time::Instant;
use tracing::Instrument as _;

use super::ceremonies::CeremonyKey;
use super::{DriveError, Driven, Relay};
use crate::app::devices::with_card_news;
use crate::ceremony::{
    Answer, Begun, Ceremony, Challenge, Effect, Event, State, UpstreamSession, Verdict,
};
use crate::fault_point::{self, Point};
use crate::ports::{Batch, BeginRequest, Completion, Happening, Notice, SecurityEvent};

/// How often an answer is handed in to a server whose records were changed meanwhile.
const HAND_INS: usize = 16;

/// What became of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reported {
    Stored,
    /// A record that it rests on was changed meanwhile.
    Stale,
    GivenUp,
}

impl Relay {
    /// Performs an effect of a state that is stored.
    pub(super) fn perform(&self, ceremony: &Ceremony, effect: Effect) {
        let key = CeremonyKey::from(ceremony);
        let relay = self.clone();
        match effect {
            Effect::Begin { attempt } => {
                fault_point::reached(Point::Claimed);
                let request = self.begin_request(ceremony);
                self.world().tasks.spawn("begin", async move {
                    fault_point::passing(Point::BeginInFlight);
                    let begun = relay.world().fido.begin(request).await;
                    fault_point::reached(Point::Begun);
                    let event = match begun {
                        Ok(begun) => relay.sealed(&key, attempt, begun),
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
                    relay.report(&key, event, (Batch::new(), None)).await;
                });
            }
            Effect::Complete { attempt } => {
                let State::Verifying { challenge, answer, .. } = &ceremony.state else {
                    tracing::error!(ceremony = %key.id, "a completion without an answer");
                    return;
                };
                fault_point::reached(Point::AnswerStored);
                let (challenge, answer) = (challenge.clone(), answer.clone());
                let left = self.time_left_ms(ceremony);
                let kind = ceremony.request.ceremony_type;
                self.world().tasks.spawn("complete", async move {
                    fault_point::reached(Point::CompletionIntentStored);
                    let Challenge { session, .. } = &*challenge;
                    let Answer { credential, .. } = &answer;
                    let fido = &relay.world().fido;
                    for _ in 0..HAND_INS {
                        fault_point::passing(Point::CompletionInFlight);
                        let completion = match relay.opened(&key, session) {
                            Some(session) => {
                                // What a FIDO2 server logs of an answer names its ceremony.
                                let span = tracing::info_span!("complete", ceremony = %key.id);
                                let call = fido.complete(kind, &session, credential, left);
                                call.instrument(span).await
                            }
                            None => Verdict::NotAsked.into(),
                        };
                        fault_point::reached(Point::UpstreamAnswered);
                        let Completion { verdict, records, event } = completion;
                        if verdict == Verdict::Unknown {
                            tracing::error!(ceremony = %key.id, "a completion's answer was not learnt");
                        }
                        let completed = Event::Completed { attempt, verdict };
                        if relay.report(&key, completed, (records, event)).await != Reported::Stale {
                            return;
                        }
                    }
                    tracing::error!(ceremony = %key.id, "a card's record was changed too often");
                });
            }
        }
    }

    /// What was begun, with its session sealed for this ceremony: so it is stored, and so it stays
    /// until the completion call.
    fn sealed(&self, key: &CeremonyKey, attempt: AttemptId, mut begun: Begun) -> Event {
        match self.world().sealer.seal(&key.to_string(), begun.session.0.as_bytes()) {
            Ok(sealed) => {
                begun.session = UpstreamSession(sealed);
                Event::Begun { attempt, begun: Box::new(begun) }
            }
            Err(error) => {
                tracing::error!(ceremony = %key.id, %error, "a session could not be sealed");
                Event::BeginFailed { attempt, reason: Reason::UpstreamUnavailable }
            }
        }
    }

    fn opened(&self, key: &CeremonyKey, session: &UpstreamSession) -> Option<UpstreamSession> {
        let opened = self.world().sealer.open(&key.to_string(), &session.0);
        let session = opened.ok().and_then(|bytes| String::from_utf8(bytes).ok());
        if session.is_none() {
            tracing::error!(ceremony = %key.id, "a stored session does not open");
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
        ceremony.request.deadline.millis_since(self.world().clock.now())
    }

    /// Brings a result home. A store that is down for a moment must not lose it: what the FIDO2
    /// server said cannot be asked again. It gives up only when the ceremony's own limit is due,
    /// after which the result would count as unknown anyway. With `happening` the same commit has its
    /// entry of the journal, and what it means for the user's devices.
    async fn report(
        &self,
        key: &CeremonyKey,
        event: Event,
        (records, happening): (Batch, Option<Happening>),
    ) -> Reported {
        let world = self.world();
        let happened =
            happening.map(|what| SecurityEvent::new(key.tenant.clone(), world.clock.now(), what));
        // Not by the wall clock, which may be set in the meantime.
        let give_up = Instant::now() + Duration::from_millis(crate::ceremony::COMPLETION_LIMIT_MS);
        let mut pause = Duration::from_millis(50);
        loop {
            let error = match self.report_once(key, &event, &records, happened.as_ref()).await {
                Ok(Some(driven)) => {
                    if happened.is_some() && driven.changed {
                        let username = driven.ceremony.request.username.clone();
                        world.bus.publish(Notice::News(key.tenant.clone(), username)).await;
                    }
                    return Reported::Stored;
                }
                Ok(None) => return Reported::Stale,
                Err(error) => error,
            };
            if matches!(error, DriveError::NotFound) || Instant::now() >= give_up {
                tracing::error!(ceremony = %key.id, %error, "a result was not stored");
                return Reported::GivenUp;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    async fn report_once(
        &self,
        key: &CeremonyKey,
        event: &Event,
        records: &Batch,
        happened: Option<&SecurityEvent>,
    ) -> Result<Option<Driven>, DriveError> {
        let mut records = records.clone();
        if let Some(happened) = happened {
            let with_entry = records.entry(happened.entry());
            records = with_card_news(&*self.world().store, with_entry, happened)
                .await
                .map_err(|error| DriveError::Unavailable(error.to_string()))?;
        }
        self.drive_with(key, event.clone(), records).await
    }
}
