//! A relay that does what the test says, one step at a time: the published interface as a bank
//! sees it, with nothing behind it. Endings that a real loop reaches only by misfortune are
//! reached here at will.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use fido_relay::tasks::Tasks;
use fido_relay_proto::http::{CeremonyView, OpenCeremony, OpenedCeremony, ProgressEntry, Status};
use fido_relay_proto::life::PriorAuth;
use fido_relay_proto::{CeremonyId, ClientId, Outcome, Phase, Problem, ProblemCode, Reason, Step};
use fido_relay_rig::demo::result_token::{RESULT_TYP, transaction_hash};
use fido_relay_rig::demo::web;
use jsonwebtoken::jwk::{Jwk, JwkSet, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use url::Url;

/// The only API key that it knows.
pub(crate) const API_KEY: &str = "rk_for_the_test";
/// The code of every ceremony.
pub(crate) const CODE: &str = "481205";
/// Its name in result tokens.
pub(crate) const ISSUER: &str = "https://relay.example";
/// Seconds that a ceremony claims to have left, unless the test says otherwise.
const EXPIRES_IN: u64 = 120;

struct Ceremony {
    open: OpenCeremony,
    ticket: String,
    steps: Vec<Step>,
    status: Status,
    reason: Option<Reason>,
}

struct Inner {
    ceremonies: Mutex<HashMap<CeremonyId, Ceremony>>,
    changes: watch::Sender<Option<CeremonyId>>,
    client_id: ClientId,
    keys: JwkSet,
    signing: Mutex<Signing>,
    expires_in: AtomicU64,
    /// The codes of the next ceremonies, in their order, before [`CODE`].
    codes: Mutex<VecDeque<&'static str>>,
    reach: Mutex<Reach>,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    Answers,
    /// It is refused for now, also one that waits.
    Refuses,
    /// One that begins is never answered.
    Swallows,
}

/// How tokens are made: rightly, unless the test wants one that must not be believed.
struct Signing {
    key: EncodingKey,
    /// Claims to overwrite.
    claims: Value,
    /// Header fields to overwrite.
    header: Value,
}

fn new_key() -> EncodingKey {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    EncodingKey::from_ec_der(pair.serialized_der())
}

/// The relay of one test.
#[derive(Clone)]
pub(crate) struct ScriptedRelay {
    inner: Arc<Inner>,
    base: Url,
}

impl ScriptedRelay {
    pub(crate) async fn start(tasks: &Tasks) -> Self {
        let key = new_key();
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
        jwk.common.key_id = Some(jwk.thumbprint(ThumbprintHash::SHA256).unwrap());
        let inner = Arc::new(Inner {
            ceremonies: Mutex::default(),
            changes: watch::Sender::new(None),
            client_id: ClientId::from_bytes([7; 16]),
            keys: JwkSet { keys: vec![jwk] },
            signing: Mutex::new(Signing { key, claims: json!({}), header: json!({}) }),
            expires_in: AtomicU64::new(EXPIRES_IN),
            codes: Mutex::default(),
            reach: Mutex::new(Reach::Answers),
        });
        let routes = Router::new()
            .route("/v1/ceremonies", post(open))
            .route("/v1/ceremonies/{id}", get(view).delete(cancel))
            .route("/.well-known/jwks.json", get(keys))
            .with_state(Arc::clone(&inner));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        web::serve(listener, routes, tasks).unwrap();
        Self { inner, base }
    }

    pub(crate) fn base(&self) -> Url {
        self.base.clone()
    }

    pub(crate) fn client_id(&self) -> ClientId {
        self.inner.client_id
    }

    /// Overwrites claims of every token from now on.
    pub(crate) fn forge(&self, claims: Value) {
        self.inner.signing.lock().unwrap().claims = claims;
    }

    /// Overwrites header fields of every token from now on.
    pub(crate) fn forge_header(&self, header: Value) {
        self.inner.signing.lock().unwrap().header = header;
    }

    /// Signs with another key than the published one from now on.
    pub(crate) fn sign_with_another_key(&self) {
        self.inner.signing.lock().unwrap().key = new_key();
    }

    /// Every ceremony claims to have so many seconds left from now on.
    pub(crate) fn leave_seconds(&self, seconds: u64) {
        self.inner.expires_in.store(seconds, Ordering::Relaxed);
    }

    /// The next ceremonies get these codes.
    pub(crate) fn show_codes(&self, codes: &[&'static str]) {
        self.inner.codes.lock().unwrap().extend(codes);
    }

    /// What becomes of every call from now on.
    pub(crate) fn reach(&self, reach: Reach) {
        *self.inner.reach.lock().unwrap() = reach;
        self.inner.changes.send_modify(|_| {});
    }

    pub(crate) fn is_pending(&self, id: CeremonyId) -> bool {
        self.inner.ceremonies.lock().unwrap()[&id].status == Status::Pending
    }

    /// The browser's secret that this one was opened with.
    pub(crate) fn browser_of(&self, id: CeremonyId) -> String {
        let ceremonies = self.inner.ceremonies.lock().unwrap();
        let context = ceremonies[&id].open.context.as_ref().unwrap();
        context.browser.as_ref().unwrap().expose().to_owned()
    }

    /// Waits for the next ceremony that is opened after `run` has begun.
    pub(crate) async fn opened_by<F: Future>(&self, run: F) -> CeremonyId {
        let mut changes = self.inner.changes.subscribe();
        changes.mark_unchanged();
        run.await;
        changes.changed().await.unwrap();
        changes.borrow_and_update().unwrap()
    }

    pub(crate) fn steps(&self, id: CeremonyId, steps: &[Step]) {
        self.change(id, |ceremony| ceremony.steps.extend(steps));
    }

    pub(crate) fn close(&self, id: CeremonyId, outcome: Outcome, reason: Option<Reason>) {
        self.change(id, |ceremony| {
            ceremony.steps.push(Step::Closed);
            ceremony.status = Status::Ended(outcome);
            ceremony.reason = reason;
        });
    }

    /// Waits until this one has ended.
    pub(crate) async fn ended(&self, id: CeremonyId) {
        let mut changes = self.inner.changes.subscribe();
        while self.is_pending(id) {
            changes.changed().await.unwrap();
        }
    }

    fn change(&self, id: CeremonyId, change: impl FnOnce(&mut Ceremony)) {
        change(self.inner.ceremonies.lock().unwrap().get_mut(&id).unwrap());
        self.inner.changes.send_replace(Some(id));
    }
}

type Refusal = (StatusCode, Json<Problem>);

fn refusal(code: ProblemCode) -> Refusal {
    (StatusCode::from_u16(code.status()).unwrap(), Json(Problem::new(code)))
}

fn bearer(headers: &HeaderMap) -> &str {
    headers["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap()
}

async fn open(
    State(relay): State<Arc<Inner>>,
    headers: HeaderMap,
    Json(open): Json<OpenCeremony>,
) -> Result<(StatusCode, Json<OpenedCeremony>), Refusal> {
    if bearer(&headers) != API_KEY {
        return Err(refusal(ProblemCode::Unauthorized));
    }
    let id = CeremonyId::from_bytes(fido_relay::security::random::bytes());
    let ticket = fido_relay::security::random::token();
    let ceremony = Ceremony {
        open,
        ticket: ticket.clone(),
        steps: vec![Step::Opened],
        status: Status::Pending,
        reason: None,
    };
    relay.ceremonies.lock().unwrap().insert(id, ceremony);
    relay.changes.send_replace(Some(id));
    let opened = OpenedCeremony {
        id,
        status: Status::Pending,
        phase: Phase::Offered,
        code: Some(relay.codes.lock().unwrap().pop_front().unwrap_or(CODE).to_owned()),
        ticket,
        prior_auth: PriorAuth::None,
        expires_in: relay.expires_in.load(Ordering::Relaxed),
    };
    Ok((StatusCode::CREATED, Json(opened)))
}

#[derive(Deserialize)]
struct Poll {
    wait: u64,
    since: u32,
}

async fn view(
    State(relay): State<Arc<Inner>>,
    Path(id): Path<CeremonyId>,
    Query(poll): Query<Poll>,
    headers: HeaderMap,
) -> Result<Json<CeremonyView>, Refusal> {
    let mut changes = relay.changes.subscribe();
    let limit = tokio::time::sleep(std::time::Duration::from_secs(poll.wait));
    tokio::pin!(limit);
    relay.reached().await?;
    loop {
        if *relay.reach.lock().unwrap() == Reach::Refuses {
            return Err(refusal(ProblemCode::Unavailable));
        }
        let view = relay.look(id, bearer(&headers))?;
        if view.seq != poll.since || view.status != Status::Pending {
            return Ok(Json(view));
        }
        tokio::select! {
            changed = changes.changed() => changed.unwrap(),
            () = &mut limit => return Ok(Json(view)),
        }
    }
}

impl Inner {
    async fn reached(&self) -> Result<(), Refusal> {
        let reach = *self.reach.lock().unwrap();
        match reach {
            Reach::Answers => Ok(()),
            Reach::Refuses => Err(refusal(ProblemCode::Unavailable)),
            Reach::Swallows => std::future::pending().await,
        }
    }

    fn look(&self, id: CeremonyId, bearer: &str) -> Result<CeremonyView, Refusal> {
        let ceremonies = self.ceremonies.lock().unwrap();
        let ceremony = ceremonies.get(&id).ok_or_else(|| refusal(ProblemCode::NotFound))?;
        let opener = bearer == API_KEY;
        if !opener && bearer != ceremony.ticket {
            return Err(refusal(ProblemCode::NotFound));
        }
        let entry = |(n, step): (usize, &Step)| ProgressEntry {
            seq: step.number(),
            step: *step,
            at: format!("2026-11-23T12:00:{:02}.{:03}Z", n * 2, 100 + n * 37),
        };
        let shows = |step: &Step| opener || ceremony.open.show_delivery || !step.tells_presence();
        let shown = ceremony.steps.iter().enumerate().filter(|(_, step)| shows(step));
        let progress: Vec<_> = shown.map(entry).collect();
        let pending = ceremony.status == Status::Pending;
        Ok(CeremonyView {
            id,
            ceremony_type: ceremony.open.ceremony_type,
            username: opener.then(|| ceremony.open.username.clone()),
            status: ceremony.status,
            phase: match ceremony.steps.last() {
                Some(Step::Verifying) => Phase::Verifying,
                _ if pending => Phase::Offered,
                _ => Phase::Closed,
            },
            seq: progress.last().map_or(0, |entry| entry.seq),
            progress,
            reason: ceremony.reason.filter(|reason| opener || !reason.is_hidden_from_pages()),
            result: (opener && ceremony.status == Status::Ended(Outcome::Succeeded))
                .then(|| self.sign(id, ceremony)),
            same_network: None,
            expires_in: if pending { self.expires_in.load(Ordering::Relaxed) } else { 0 },
        })
    }

    fn sign(&self, id: CeremonyId, ceremony: &Ceremony) -> String {
        let now = jsonwebtoken::get_current_timestamp();
        let transaction = ceremony.open.transaction.as_ref();
        let mut claims = json!({
            "iss": ISSUER,
            "aud": self.client_id,
            "sub": ceremony.open.username,
            "jti": id,
            "iat": now,
            "exp": now + 60,
            "client_nonce": ceremony.open.client_nonce,
            "ceremony_type": ceremony.open.ceremony_type,
            "outcome": Outcome::Succeeded,
            "binding": ceremony.open.binding,
            "amr": ["hwk", "pin"],
            "auth_time": now,
            "tx_hash": transaction.map(transaction_hash),
            "tx_binding": transaction.map(|_| "card"),
        });
        let signing = self.signing.lock().unwrap();
        claims.as_object_mut().unwrap().extend(signing.claims.as_object().unwrap().clone());
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some(RESULT_TYP.to_owned());
        header.kid = self.keys.keys[0].common.key_id.clone();
        let mut header = serde_json::to_value(header).unwrap();
        header.as_object_mut().unwrap().extend(signing.header.as_object().unwrap().clone());
        let header: Header = serde_json::from_value(header).unwrap();
        jsonwebtoken::encode(&header, &claims, &signing.key).unwrap()
    }
}

async fn cancel(
    State(relay): State<Arc<Inner>>,
    Path(id): Path<CeremonyId>,
    headers: HeaderMap,
) -> Result<StatusCode, Refusal> {
    assert_eq!(bearer(&headers), API_KEY, "only the opener's credential cancels");
    relay.reached().await?;
    let mut ceremonies = relay.ceremonies.lock().unwrap();
    let ceremony = ceremonies.get_mut(&id).ok_or_else(|| refusal(ProblemCode::NotFound))?;
    if ceremony.status != Status::Pending {
        return Err(refusal(ProblemCode::AlreadyClosed));
    }
    ceremony.steps.push(Step::Closed);
    ceremony.status = Status::Ended(Outcome::Cancelled);
    drop(ceremonies);
    relay.changes.send_replace(Some(id));
    Ok(StatusCode::NO_CONTENT)
}

async fn keys(State(relay): State<Arc<Inner>>) -> Json<JwkSet> {
    Json(relay.keys.clone())
}
