//! A user as a whole: why prompts do not ring and until when, lifting that, and parting a name from
//! the person who had it.
//!
//! What is kept of a user's attention ([`UserPromptState`]) is stored here for the relay too, which changes
//! it together with ceremonies.

use fido_relay_proto::device::NoticeEvent;
use fido_relay_proto::{ClientId, TenantId, UnixMillis, Username};

use super::clients::Client;
use super::devices::{self, Device, UserKey};
use super::{Actor, App, RACES, RevokeError, cards, pairings};
use crate::core::prompt_limits::{CodeAttempts, Lane, Suppression, UserPromptState};
use crate::ports::{
    Batch, Bucket, Due, DueRule, Notice, Record, Revision, SecurityEventKind, Store, StoreError,
    records,
};

/// A record dies a day after its last change, or with the last browser that it knows.
pub const STANDINGS: DueRule =
    DueRule { bucket: Bucket::Standings, due: records::due_of::<UserPromptState> };

impl Record for UserPromptState {
    fn due(&self) -> Option<Due> {
        self.expires_at().map(Due::removal)
    }
}

/// What is kept of a user's attention, with its revision.
///
/// # Errors
/// The store's.
pub async fn prompt_state(
    store: &dyn Store,
    user: &UserKey,
) -> Result<(UserPromptState, Revision), StoreError> {
    let found = records::load(store, Bucket::Standings, user.as_str()).await?;
    Ok(found.unwrap_or((UserPromptState::default(), Revision::ABSENT)))
}

/// Adds what is kept of a user's attention to a batch.
///
/// # Errors
/// The store's.
pub fn put_prompt_state(
    batch: Batch,
    user: &UserKey,
    expected: Revision,
    prompt_state: &UserPromptState,
) -> Result<Batch, StoreError> {
    records::put(batch, Bucket::Standings, user.as_str(), expected, prompt_state)
}

/// What holds back an initiator's next prompts for a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnPrompts {
    /// Of a browser that is not known.
    pub stranger: Option<Suppression>,
    /// That it vouches for.
    pub vouched: Option<Suppression>,
    /// How often it may still lift this today.
    pub unlocks_left: usize,
}

/// Why an initiator's next prompts for a user do not ring. Without `sees_presence` by its own
/// openings and their outcomes alone, so that nothing of the user, the phones or other initiators
/// shows.
///
/// # Errors
/// The store's.
pub async fn own_prompts(
    app: &App,
    by: &Client,
    username: &Username,
    sees_presence: bool,
) -> Result<OwnPrompts, StoreError> {
    let (prompt_state, _) = prompt_state(&*app.store, &UserKey::new(&by.tenant, username)).await?;
    let now = app.clock.now();
    let hold = |lane: &Lane| {
        if sees_presence {
            prompt_state.next_suppression(&app.prompts, now, lane, by.id)
        } else {
            prompt_state.own_suppression(&app.prompts, now, lane, by.id)
        }
    };
    Ok(OwnPrompts {
        stranger: hold(&Lane::Stranger),
        vouched: hold(&Lane::Vouched(by.id)),
        unlocks_left: prompt_state.unlocks_left(now, by.id),
    })
}

/// Why nothing was unlocked.
#[derive(Debug, thiserror::Error)]
pub enum UnlockError {
    /// The initiator has done so as often as a day allows, for these seconds more.
    #[error("prompts of this user were unlocked as often as a day allows")]
    TooOften { retry_after_s: u64 },
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Lifts the pauses of an initiator's own prompts, whether there are any or not: which of the two
/// does not show. "Not me", locks of devices and what holds others back stay.
///
/// # Errors
/// [`UnlockError`].
pub async fn unlock_own(app: &App, by: &Client, username: &Username) -> Result<(), UnlockError> {
    let (actor, user) = (Actor::client(by), UserKey::new(&by.tenant, username));
    for _ in 0..RACES {
        let now = app.clock.now();
        let (mut prompt_state, revision) = prompt_state(&*app.store, &user).await?;
        if let Err(until) = prompt_state.unlock(&app.prompts, now, by.id) {
            let retry_after_s = until.millis_since(now).div_ceil(1000).max(1);
            return Err(UnlockError::TooOften { retry_after_s });
        }
        let batch = put_prompt_state(Batch::new(), &user, revision, &prompt_state)?;
        if unlocked(app, &actor, username, batch, now).await? {
            return Ok(());
        }
    }
    Err(StoreError::too_many_races().into())
}

/// Lifts every pause of a user and the locks of their devices, "not me" included.
///
/// # Errors
/// The store's.
pub async fn unlock(app: &App, actor: &Actor, username: &Username) -> Result<(), StoreError> {
    let user = UserKey::new(&actor.tenant, username);
    for _ in 0..RACES {
        let now = app.clock.now();
        let (mut prompt_state, revision) = prompt_state(&*app.store, &user).await?;
        prompt_state.unlock_all(now);
        let mut batch = put_prompt_state(Batch::new(), &user, revision, &prompt_state)?;
        for id in devices::of_user(&*app.store, &actor.tenant, username).await? {
            let found = devices::find(&*app.store, &actor.tenant, id).await?;
            let Some((mut device, revision)) = found else { continue };
            if !device.tries.is_empty() {
                device.tries = CodeAttempts::default();
                batch = devices::put(batch, &device, revision)?;
            }
        }
        if unlocked(app, actor, username, batch, now).await? {
            return Ok(());
        }
    }
    Err(StoreError::too_many_races())
}

/// Commits an unlocking with its entry of the journal and the news of it; `false`: another write
/// came first.
async fn unlocked(
    app: &App,
    actor: &Actor,
    username: &Username,
    batch: Batch,
    at: UnixMillis,
) -> Result<bool, StoreError> {
    let (tenant, event) = (&actor.tenant, NoticeEvent::PromptsUnlocked);
    let batch =
        devices::with_user_notice(&*app.store, batch, (tenant, username), event, at).await?;
    let client_id = actor.client_id();
    let what = SecurityEventKind::PromptsUnlocked { username: username.clone(), client_id };
    if !app.commit(batch.entry(actor.entry(at, what))).await? {
        return Ok(false);
    }
    tracing::info!(
        client = client_id.map(tracing::field::display),
        "prompt limits of a user lifted"
    );
    app.bus.publish(Notice::News(tenant.clone(), username.clone())).await;
    Ok(true)
}

/// A lane of a user's prompts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneState {
    /// As the user's list of devices names it.
    pub lane: Lane,
    /// Of this initiator alone.
    pub client: Option<ClientId>,
    /// What holds back its next prompt.
    pub hold: Option<Suppression>,
}

/// A user as the operator sees them.
#[derive(Clone, Debug)]
pub struct UserState {
    /// Lanes that have a budget of their own, and initiators whose prompt was declined a moment ago.
    pub lanes: Vec<LaneState>,
    /// The user's phones, oldest first.
    pub devices: Vec<Device>,
    /// How many cards the user has, where they are kept here.
    pub cards: Option<usize>,
}

/// What there is of a user, whether there is such a user or not.
///
/// # Errors
/// The store's.
pub async fn show(
    app: &App,
    tenant: &TenantId,
    username: &Username,
) -> Result<UserState, StoreError> {
    let (prompt_state, _) = prompt_state(&*app.store, &UserKey::new(tenant, username)).await?;
    let now = app.clock.now();
    let state = |lane: Lane, client: Option<ClientId>| {
        let hold = prompt_state.suppression(&app.prompts, now, &lane, client);
        LaneState { lane, client, hold }
    };
    let lanes = prompt_state.lanes(now).into_iter().map(|lane| {
        let client = if let Lane::Vouched(client) = &lane { Some(*client) } else { None };
        state(lane, client)
    });
    let quiet = prompt_state.quiet(now).map(|client| state(Lane::Stranger, Some(client)));
    let cards = match &app.cards {
        Some(cards) => Some(cards.of_user(tenant, username).await?.len()),
        None => None,
    };
    Ok(UserState {
        lanes: lanes.chain(quiet).collect(),
        devices: devices::list(app, tenant, username).await?,
        cards,
    })
}

/// Removes all that a user had: pairings, cards, devices, the user handle, and what is kept of their
/// attention with the browsers that are known. The name comes before the cards: what is registered
/// from then on is the next user's. Interrupted, it is to be repeated.
///
/// # Errors
/// The store's.
pub async fn remove(app: &App, actor: &Actor, username: &Username) -> Result<(), StoreError> {
    let gone = |error| match error {
        RevokeError::NotFound => Ok(()),
        RevokeError::Store(error) => Err(error),
    };
    pairings::void_of(app, actor, username).await?;
    if let Some(kept) = &app.cards {
        kept.retire_name(&actor.tenant, username).await?;
        for card in kept.of_user(&actor.tenant, username).await? {
            cards::remove(app, actor, username, card.id).await.or_else(gone)?;
        }
    }
    for device in devices::of_user(&*app.store, &actor.tenant, username).await? {
        devices::revoke(app, actor, device).await.map(drop).or_else(gone)?;
    }
    let user = UserKey::new(&actor.tenant, username);
    let entry =
        actor.entry(app.clock.now(), SecurityEventKind::UserRemoved { username: username.clone() });
    for _ in 0..RACES {
        let (_, revision) = prompt_state(&*app.store, &user).await?;
        let mut batch = Batch::new().entry(entry.clone());
        if revision != Revision::ABSENT {
            batch = batch.remove(Bucket::Standings, user.as_str(), revision);
        }
        if app.commit(batch).await? {
            tracing::info!("user removed by the operator");
            return Ok(());
        }
    }
    Err(StoreError::too_many_races())
}
