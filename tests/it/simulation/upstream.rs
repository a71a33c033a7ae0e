//! A FIDO2 server that is slow, fails, says no and loses its answers, and that tells the history
//! every call. A bus that loses, doubles, delays and reorders.

use std::sync::{Arc, Mutex};

use fido_relay::core::ceremony::{Begun, TxBinding, UpstreamSession, Verdict, VerifiedAnswer};
use fido_relay::ports::{BeginFault, BeginRequest, BoxFuture, Bus, Completion, Fido, Notice};
use fido_relay::tasks::Tasks;
use fido_relay_proto::{CeremonyType, Reason};
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::history::Event;
use super::world::{World, pause};

#[derive(Debug)]
pub(super) struct SimFido {
    world: Arc<World>,
    begun: Mutex<u32>,
}

impl SimFido {
    pub(super) fn new(world: Arc<World>) -> Self {
        Self { world, begun: Mutex::default() }
    }

    fn verdict(&self, session: &str) -> Verdict {
        if !self.world.happens(self.world.faults().upstream) {
            let cred_hash = session.to_owned();
            return Verdict::Approved(VerifiedAnswer {
                cred_hash,
                user_verified: None,
                evidence: None,
            });
        }
        match self.world.rng().below(4) {
            0 | 1 => Verdict::Rejected(Reason::UpstreamRejected),
            2 => Verdict::SessionLost,
            _ => Verdict::Full,
        }
    }
}

impl Fido for SimFido {
    fn judges_locally(&self) -> bool {
        self.world.is_local
    }

    fn begin(&self, request: BeginRequest) -> BoxFuture<'_, Result<Begun, BeginFault>> {
        Box::pin(async move {
            let faults = self.world.faults();
            self.world.take(faults.upstream_ms.min(5_000)).await;
            if self.world.happens(faults.upstream / 2) {
                let reason = Reason::UpstreamUnavailable;
                return Err(BeginFault { reason, detail: "simulated".to_owned() });
            }
            let number = {
                let mut begun = self.begun.lock().unwrap();
                *begun += 1;
                *begun
            };
            let session = format!("session-{number}");
            let challenge = format!("challenge-{number}");
            self.world.tell(Event::Begun {
                username: request.username,
                session: session.clone(),
                challenge: challenge.clone(),
            });
            self.world.take(faults.upstream_ms.min(5_000)).await;
            Ok(Begun {
                session: UpstreamSession(session),
                challenge,
                origin: "https://bank.example".to_owned(),
                public_key: RawValue::from_string("{}".to_owned()).unwrap(),
                tx_binding: TxBinding::Relay,
            })
        })
    }

    fn complete<'a>(
        &'a self,
        _: CeremonyType,
        session: &'a UpstreamSession,
        credential: &'a RawValue,
        _: u64,
    ) -> BoxFuture<'a, Completion> {
        Box::pin(async move {
            let faults = self.world.faults();
            let session = session.0.clone();
            if self.world.is_local {
                self.world.take(faults.store_ms).await;
                let verdict = self.verdict(&session);
                self.world.tell(Event::Judged { session, verdict: verdict.clone() });
                return verdict.into();
            }
            self.world.tell(Event::Asked {
                session: session.clone(),
                credential: credential.get().to_owned(),
            });
            // The caller has a limit of 10 s.
            self.world.take(faults.upstream_ms.min(5_000)).await;
            let verdict = self.verdict(&session);
            let lost = self.world.happens(faults.upstream / 4);
            self.world.tell(Event::Said { session, verdict: verdict.clone(), lost });
            self.world.take(faults.upstream_ms.min(5_000)).await;
            if lost { Verdict::Unknown.into() } else { verdict.into() }
        })
    }
}

#[derive(Debug)]
pub(super) struct SimBus {
    world: Arc<World>,
    sender: mpsc::Sender<Notice>,
    feed: Mutex<Option<mpsc::Receiver<Notice>>>,
    tasks: Tasks,
}

impl SimBus {
    pub(super) fn new(world: Arc<World>, tasks: Tasks) -> Self {
        let (sender, receiver) = mpsc::channel(1024);
        Self { world, sender, feed: Mutex::new(Some(receiver)), tasks }
    }
}

impl Bus for SimBus {
    fn publish(&self, notice: Notice) -> BoxFuture<'_, ()> {
        let faults = self.world.faults();
        let copies = if self.world.happens(faults.lost_notice) {
            0
        } else if self.world.happens(faults.lost_notice) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let delay = self.world.rng().delay_ms(faults.store_ms * 10);
            let (sender, notice) = (self.sender.clone(), notice.clone());
            self.tasks.spawn_untraced(async move {
                pause(delay).await;
                drop(sender.send(notice).await);
            });
        }
        Box::pin(std::future::ready(()))
    }

    fn feed(&self) -> Option<mpsc::Receiver<Notice>> {
        self.feed.lock().unwrap().take()
    }
}
