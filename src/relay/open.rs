//! Opening: the ceremony is stored before anybody is told, and the same idempotency key opens the
//! same ceremony.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_proto::http::OpenCeremony;
use fido_relay_proto::life::PriorAuth;
use fido_relay_proto::limits::CEREMONY_DEFAULT_S;
use fido_relay_proto::{
    AttemptId, CeremonyId, ClientId, PlainText, TenantId, UnixMillis, WireName,
};
use serde::{Deserialize, Serialize};

use super::ceremonies::CeremonyKey;
use super::copies::Held;
use super::places::{Dropped, Full, Places};
use super::user_agent;
use super::user_prompts;
use super::view::View;
use super::{DriveError, Relay};
use crate::core::ceremony::{Ceremony, Event, Request};
use crate::core::prompt_limits::{Admission, BrowserHash, Lane};
use crate::fault_point::{self, Point};
use crate::ports::{Batch, Bucket, Due, DueRule, Record, Revision, StoreError, records};
use crate::security::random;

/// How long an idempotency key stands for its ceremony, in seconds.
const IDEMPOTENCY_S: u64 = 24 * 60 * 60;

/// How often an opening is tried anew because another write came first.
const RACES: usize = 64;

/// How long after its commit an opening is shown to phones. More than the opener's answer takes to
/// leave, and nothing to a person: with no pause a connected phone's work showed in the answer's
/// time, by 0.4 ms on two cores.
pub(super) const SHOWN_AFTER: Duration = Duration::from_millis(5);

/// A ceremony to be opened.
#[derive(Debug)]
pub struct OpenRequest {
    /// What is asked for; `request.id` is used unless the idempotency key stands for another.
    pub request: Request,
    /// The caller's idempotency key, with the SHA-256 of the request body.
    pub idempotency: Option<(String, [u8; 32])>,
}

/// The initiator that asks.
#[derive(Clone, Debug)]
pub struct Initiator {
    /// Its relying party.
    pub tenant: TenantId,
    /// Who.
    pub id: ClientId,
    /// Its name, as people see it.
    pub name: PlainText<64>,
    /// Whether its word on how it knew a user is believed.
    pub is_believed: bool,
    /// Whether a code alone finds its ceremonies.
    pub code_alone: bool,
}

impl OpenRequest {
    /// What an initiator's body asks for, as of now. `rp_id` is the tenant's. `browser` names the
    /// browser in place of its secret, which is not kept.
    #[must_use]
    pub fn new(
        asker: Initiator,
        body: OpenCeremony,
        browser: Option<BrowserHash>,
        rp_id: String,
        now: UnixMillis,
    ) -> Self {
        let display_name = body.display_name.unwrap_or_else(|| body.username.clone().into());
        let mut context = body.context;
        if let Some(context) = &mut context {
            context.user_agent = context.user_agent.as_deref().and_then(user_agent::reduced);
            context.browser = None;
        }
        let request = Request {
            id: CeremonyId::from_bytes(random::time_ordered(now)),
            tenant: asker.tenant,
            client_id: asker.id,
            client_name: asker.name,
            ceremony_type: body.ceremony_type,
            username: body.username,
            display_name,
            device_id: body.device_id,
            binding: body.binding,
            message: body.message,
            transaction: body.transaction,
            context,
            client_nonce: body.client_nonce,
            prior_auth: if asker.is_believed { body.prior_auth } else { PriorAuth::None },
            browser,
            lane: Lane::default(),
            code_alone: asker.code_alone,
            show_delivery: Some(body.show_delivery),
            rp_id,
            options: body.options,
            opened_at: now,
            deadline: now.plus_secs(body.timeout_s.unwrap_or(CEREMONY_DEFAULT_S)),
        };
        Self { request, idempotency: None }
    }
}

/// Why nothing was opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The idempotency key was used with another body.
    #[error("the idempotency key was used with another body")]
    Mismatch,
    /// Too many are open already, whoever they are for.
    #[error(transparent)]
    Full(#[from] Full),
    /// It could not be stored.
    #[error("{0}")]
    Unavailable(StoreError),
}

/// An idempotency key dies with the day that it stands for its ceremony.
pub(super) const IDEMPOTENCY_KEYS: DueRule =
    DueRule { bucket: Bucket::Idempotency, due: records::due_of::<Remembered> };

impl Record for Remembered {
    fn due(&self) -> Option<Due> {
        Some(Due::removal(self.at.plus_secs(IDEMPOTENCY_S)))
    }
}

/// What an idempotency key stands for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Remembered {
    body: [u8; 32],
    ceremony: CeremonyId,
    at: UnixMillis,
}

fn idempotency_key(client: ClientId, key: &str) -> String {
    format!("{client}.{}", URL_SAFE_NO_PAD.encode(digest(&SHA256, key.as_bytes())))
}

impl Relay {
    /// Opens a ceremony, or finds the one that the same order opened before. When this returns,
    /// the ceremony is stored durably.
    ///
    /// # Errors
    /// [`OpenError`]; then nothing is open.
    pub async fn open(&self, order: OpenRequest) -> Result<View, OpenError> {
        let relay = self.clone();
        // As with drive: a caller that hangs up leaves nothing half done.
        let opened = self.run_detached(async move { relay.open_once(order).await }).await;
        let ceremony = opened.unwrap_or_else(|| {
            Err(OpenError::Unavailable(StoreError::Unavailable("a task ended early".to_owned())))
        })?;
        fault_point::passing(Point::Answered);
        Ok(View::from(&*ceremony))
    }

    async fn open_once(&self, order: OpenRequest) -> Result<Arc<Ceremony>, OpenError> {
        fault_point::reached(Point::Received);
        self.must_be_seen().map_err(OpenError::Unavailable)?;
        let OpenRequest { mut request, idempotency } = order;
        let turn = self.node.user_prompts.take(user_prompts::user(&request).as_str()).await;
        for _ in 0..RACES {
            let mut batch = Batch::new();
            if let Some((key, body)) = &idempotency {
                match self.order(&request, key, *body).await? {
                    Order::New(remember) => batch = remember,
                    Order::Known(id) => {
                        request.id = id;
                        if let Some(ceremony) = self.opened_before(&request).await? {
                            return Ok(ceremony);
                        }
                    }
                }
            }
            let (batch, admission) =
                self.admit(batch, &request).await.map_err(OpenError::Unavailable)?;
            let (places, limits) = (&self.node.places, self.node.open_limits);
            let dropped = places.admit(&request, &admission.lane, limits)?;
            let mut place = Place { places: Some(places), ceremony: request.id, dropped };
            let attempt = AttemptId::from_bytes(random::bytes());
            let code = self.node.open_ceremonies.draw_code(&user_prompts::user(&request));
            request.lane.clone_from(&admission.lane);
            let suppressed = admission.held.map(|hold| hold.why);
            let ceremony = Ceremony::open(request.clone(), code, attempt, suppressed);
            let (key, facts) = (CeremonyKey::from(&ceremony), &ceremony.history);
            let before = self.node.copies.before(&key);
            match self.commit(batch, Revision::ABSENT, &ceremony, facts).await {
                Ok(revision) => {
                    if let Some(dropped) = place.keep() {
                        self.drop_for_room(dropped.key);
                    }
                    let ceremony = Arc::new(ceremony);
                    // The next code of this user is drawn beside this one.
                    self.remember(&ceremony);
                    // What follows must not hold up others.
                    drop(turn);
                    let copy = Held::new(Arc::clone(&ceremony), revision);
                    self.node.copies.opened(&key, copy, before);
                    self.follow_opening(&ceremony, &admission);
                    return Ok(ceremony);
                }
                Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(OpenError::Unavailable(error)),
            }
        }
        Err(OpenError::Unavailable(StoreError::too_many_races()))
    }

    /// A ceremony that was just stored.
    fn follow_opening(&self, ceremony: &Arc<Ceremony>, admission: &Admission) {
        fault_point::reached(Point::Stored);
        tracing::info!(
            ceremony = %ceremony.request.id,
            client = %ceremony.request.client_id,
            ceremony_type = %WireName(ceremony.request.ceremony_type),
            "opened",
        );
        if let Some(hold) = admission.held {
            self.log_held(&ceremony.request, hold);
        }
        if let Some(held) = admission.notice {
            self.tell_held(&ceremony.request, held);
        }
        if let Some(effect) = ceremony.pending_effect() {
            self.perform(ceremony, effect);
        }
        self.begin_showing(Arc::clone(ceremony));
    }

    /// Lets phones know, once the opener has its answer: made before it, what a connected phone
    /// costs would show in the answer's time, and with it who has one.
    fn begin_showing(&self, ceremony: Arc<Ceremony>) {
        let relay = self.clone();
        self.dependencies().tasks.spawn_untraced(async move {
            tokio::time::sleep(SHOWN_AFTER).await;
            relay.publish(&ceremony.request).await;
            relay.escalate_later(&CeremonyKey::from(&*ceremony));
        });
    }

    /// Ends a ceremony whose place another has taken.
    fn drop_for_room(&self, key: CeremonyKey) {
        let relay = self.clone();
        self.dependencies().tasks.spawn_untraced(async move {
            loop {
                match relay.drive_here(&key, Event::Drop).await {
                    Ok(_) => return tracing::info!(ceremony = %key.id, "dropped: no room left"),
                    Err(DriveError::NotFound) => return relay.node.places.release(key.id),
                    Err(error) => tracing::warn!(ceremony = %key.id, %error, "not dropped yet"),
                }
                let pause = tokio::time::sleep(std::time::Duration::from_secs(1));
                if relay.dependencies().tasks.stopping().run_until_cancelled(pause).await.is_none()
                {
                    return;
                }
            }
        });
    }

    async fn opened_before(&self, request: &Request) -> Result<Option<Arc<Ceremony>>, OpenError> {
        let key = CeremonyKey { tenant: request.tenant.clone(), id: request.id };
        self.load(&key).await.map_err(OpenError::Unavailable)
    }

    /// What the initiator's idempotency key stands for.
    async fn order(
        &self,
        request: &Request,
        key: &str,
        body: [u8; 32],
    ) -> Result<Order, OpenError> {
        let store = &*self.dependencies().store;
        let key = format!("{}.{}", request.tenant, idempotency_key(request.client_id, key));
        let found = records::load::<Remembered>(store, Bucket::Idempotency, &key)
            .await
            .map_err(OpenError::Unavailable)?;
        let expected = match found {
            Some((known, _)) if request.opened_at < known.at.plus_secs(IDEMPOTENCY_S) => {
                return if known.body == body {
                    Ok(Order::Known(known.ceremony))
                } else {
                    Err(OpenError::Mismatch)
                };
            }
            Some((_, revision)) => revision,
            None => Revision::ABSENT,
        };
        let fresh = Remembered { body, ceremony: request.id, at: request.opened_at };
        records::put(Batch::new(), Bucket::Idempotency, &key, expected, &fresh)
            .map(Order::New)
            .map_err(OpenError::Unavailable)
    }
}

/// A place among the open ceremonies, given back unless it is kept.
struct Place<'a> {
    places: Option<&'a Places>,
    ceremony: CeremonyId,
    /// The one that had to make room.
    dropped: Option<Dropped>,
}

impl Place<'_> {
    fn keep(&mut self) -> Option<Dropped> {
        self.places = None;
        self.dropped.take()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(places) = self.places {
            places.release(self.ceremony);
            if let Some(dropped) = self.dropped.take() {
                places.keep(dropped);
            }
        }
    }
}

/// What an idempotency key stands for.
enum Order {
    /// This ceremony. It may be missing: earlier versions stored the key first.
    Known(CeremonyId),
    /// None yet: the batch makes it stand for the ceremony that is being opened.
    New(Batch),
}
