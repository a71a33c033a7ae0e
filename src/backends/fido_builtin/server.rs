//! The FIDO2 server itself: opens ceremonies, verifies their answers, and gives the changes of the
//! credentials that follow. [`ports::Fido`](crate::ports::Fido) and
//! [`ports::Certify`](crate::ports::Certify) are two interfaces to these operations.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use fido_relay_proto::http::{Requirement, Transaction, UpstreamOptions};
use fido_relay_proto::{DisplayName, TenantId, UnixMillis, Username};
use fido_relay_webauthn::authentication::{self, CredentialRecord};
use fido_relay_webauthn::{
    Answer, AttestationPolicy, Bytes, Expected, UnixTime, VerifyError, registration,
};
use serde_json::{Map, Value};

use super::challenge;
use super::credentials::{AddFault, Credentials, PER_USER, StoredCredential, card_id};
use super::options::{self, FidoSession, OptionsInput, Purpose};
use super::sessions::FidoSessions;
use crate::core::ceremony::{ReceiptEvidence, VerifiedAnswer};
use crate::encoding::sha256_base64url;
use crate::ports::{Batch, CardEvents, Clock, SecurityEvent, SecurityEventKind, Store, StoreError};
use crate::security::random;

/// Attempts to commit an answer whose records are changed concurrently.
const CLOSE_TRIES: usize = 16;
/// Longest life of a session in milliseconds: a little more than the longest ceremony
/// ([`CEREMONY_MAX_S`](fido_relay_proto::limits::CEREMONY_MAX_S)), so that the relay's deadline is
/// the first to fire.
const SESSION_MAX_MS: u64 = (fido_relay_proto::limits::CEREMONY_MAX_S + 60) * 1000;

/// Longest user handle, in bytes (section 5.4.3).
const USER_HANDLE_BYTES: usize = 64;
/// Milliseconds between two writes that update only the time of a card's last use.
const LAST_USED_MS: u64 = 24 * 60 * 60 * 1000;

/// A relying party and its policy.
#[derive(Clone, Debug)]
pub struct BuiltinFidoSettings {
    pub tenant: TenantId,
    pub rp_id: String,
    /// The relying party's name for people.
    pub rp_name: String,
    /// Accepted origins of client data, compared exactly. Challenges name the first.
    pub origins: Vec<String>,
    pub attestation: AttestationPolicy,
    /// Whether ML-DSA is offered.
    pub post_quantum: bool,
    /// Whether client-direct session cookies have `Secure`; without it they also work over plain HTTP
    /// on this machine.
    pub secure_cookies: bool,
    /// Whether a client-direct call may ask for less than user verification.
    pub uv_weaken: bool,
    /// Whether verdicts have the evidence that receipts need.
    pub receipts: bool,
    /// HMAC-SHA-256 key by which user handles are derived; the same for all servers over one store.
    pub user_handle_key: hmac::Key,
    /// Whether the username's bytes, at most 64, are accepted as user handle: the vendor's SDK
    /// registers cards with that handle instead of the server's.
    pub username_as_user_handle: bool,
    /// Commits security events of client-direct calls; `None`: devices get no notice of them.
    pub events: Option<Arc<dyn CardEvents>>,
}

impl BuiltinFidoSettings {
    /// A relying party of the default tenant with one origin, any attestation, and a random user
    /// handle key.
    #[cfg(feature = "test-support")]
    #[must_use]
    pub fn new(rp_id: &str, rp_name: &str, origin: &str) -> Self {
        Self {
            tenant: TenantId::default(),
            rp_id: rp_id.to_owned(),
            rp_name: rp_name.to_owned(),
            origins: vec![origin.to_owned()],
            attestation: AttestationPolicy::default(),
            post_quantum: false,
            secure_cookies: false,
            uv_weaken: false,
            receipts: false,
            user_handle_key: hmac::Key::new(hmac::HMAC_SHA256, &random::bytes::<32>()),
            username_as_user_handle: true,
            events: None,
        }
    }
}

/// The built-in FIDO2 server of one relying party.
#[derive(Debug)]
pub struct BuiltinFido {
    pub(super) credentials: Credentials,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) settings: BuiltinFidoSettings,
    pub(super) sessions: FidoSessions,
}

/// A ceremony to be opened.
pub(super) struct OpenSessionRequest<'a> {
    pub(super) registration: bool,
    pub(super) username: &'a Username,
    pub(super) display_name: &'a DisplayName,
    pub(super) rp_id: &'a str,
    pub(super) options: &'a UpstreamOptions,
    pub(super) transaction: Option<&'a Transaction>,
    pub(super) timeout_ms: u64,
}

/// An opened ceremony: its session and its options object.
pub(super) struct OpenedSession {
    pub(super) session: FidoSession,
    pub(super) public_key: Map<String, Value>,
}

/// Why a ceremony was not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OpenRefusal {
    #[error("the relying party id is not served here")]
    RpId,
    #[error("the user has no credential")]
    NoAccount,
    #[error("none of the algorithms is offered here")]
    Algorithms,
    #[error("the user has {PER_USER} cards: one must be removed first")]
    CardLimit,
    #[error("no canonical form of the transaction")]
    Transaction,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a ceremony was not completed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CloseRefusal {
    /// The answer does not verify.
    #[error(transparent)]
    Refused(#[from] VerifyError),
    #[error("the session has expired")]
    Expired,
    #[error("the user has {PER_USER} cards: one must be removed first")]
    CardLimit,
    /// The store could not be read, so nothing was verified.
    #[error("not verified, the store cannot be read: {0}")]
    NotRead(StoreError),
    /// The answer verifies, but its changes could not be stored.
    #[error("verified, but not stored: {0}")]
    NotStored(StoreError),
}

impl CloseRefusal {
    /// Logs the cause: the caller learns only that verification failed.
    pub(super) fn log(&self) {
        match self {
            Self::Refused(VerifyError::SignCount) => tracing::warn!(
                error = %self,
                "a card's signature counter did not grow: a copy of the card may be in use"
            ),
            Self::Refused(_) | Self::Expired | Self::CardLimit => {
                tracing::info!(error = %self, "the card's answer was not accepted");
            }
            Self::NotRead(_) | Self::NotStored(_) => {
                tracing::warn!(error = %self, "the card's answer was not verified or not stored");
            }
        }
    }
}

impl BuiltinFido {
    /// A server over a store and a clock.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        settings: BuiltinFidoSettings,
    ) -> Self {
        Self {
            credentials: Credentials::new(store, settings.tenant.clone()),
            clock,
            settings,
            sessions: FidoSessions::default(),
        }
    }

    /// Opens a ceremony: makes a challenge and its options object.
    pub(super) async fn open(
        &self,
        request: &OpenSessionRequest<'_>,
    ) -> Result<OpenedSession, OpenRefusal> {
        let settings = &self.settings;
        if request.rp_id != settings.rp_id {
            return Err(OpenRefusal::RpId);
        }
        let (challenge, transaction_nonce) = match request.transaction {
            None => (random::bytes(), None),
            Some(transaction) => {
                let nonce = random::bytes();
                let challenge = challenge::for_transaction(&nonce, transaction);
                (challenge.ok_or(OpenRefusal::Transaction)?, Some(Bytes(nonce.to_vec())))
            }
        };
        let challenge = Bytes(challenge.to_vec());
        let mut known = self.credentials.of_user(request.username).await?;
        if request.registration && known.len() >= PER_USER {
            return Err(OpenRefusal::CardLimit);
        }
        known.retain(|credential| credential.rp_id == request.rp_id);
        let ids: Vec<Bytes> = known.iter().map(|credential| credential.id.clone()).collect();
        let input = OptionsInput {
            challenge: &challenge,
            rp_id: request.rp_id,
            options: request.options,
            timeout_ms: request.timeout_ms,
        };
        let (purpose, public_key) = if request.registration {
            let (epoch, _) = self.credentials.epoch(request.username).await?;
            let derived = self.user_handle(request.username, epoch);
            // Users of versions without derived handles keep the handle of their cards.
            let user_handle =
                known.first().map_or(derived, |credential| credential.user_handle.clone());
            let algorithms = options::algorithms(request.options, settings.post_quantum);
            if algorithms.is_empty() {
                return Err(OpenRefusal::Algorithms);
            }
            let user = (&user_handle, request.username.as_str(), request.display_name.as_str());
            let object = options::creation(&input, &settings.rp_name, user, &algorithms, &ids);
            (Purpose::Registration { user_handle, epoch, algorithms }, object)
        } else {
            if ids.is_empty() {
                return Err(OpenRefusal::NoAccount);
            }
            // A discoverable credential is found without a list.
            let discoverable =
                request.options.discoverable_credential == Some(Requirement::Required);
            let allowed = if discoverable { Vec::new() } else { ids };
            let object = options::request(&input, &allowed);
            (Purpose::Authentication { allowed }, object)
        };
        let session = FidoSession {
            purpose,
            username: request.username.clone(),
            rp_id: request.rp_id.to_owned(),
            challenge,
            transaction_nonce,
            user_verification: options::requires_verification(request.options),
            begun_at: self.clock.now(),
        };
        Ok(OpenedSession { session, public_key })
    }

    /// The same handle for each begin of a user, so that a card overwrites a registration that was
    /// never completed. It reveals no user (14.6.1).
    fn user_handle(&self, username: &Username, epoch: u64) -> Bytes {
        let BuiltinFidoSettings { tenant, user_handle_key, .. } = &self.settings;
        let named = format!("{tenant}\n{epoch}\n{username}");
        Bytes(hmac::sign(user_handle_key, named.as_bytes()).as_ref().to_vec())
    }

    /// Verifies an answer against its session and gives the changes that must be committed for the
    /// approval to count. After a conflict the answer must be verified again.
    pub(super) async fn verify(
        &self,
        session: &FidoSession,
        credential: &[u8],
    ) -> Result<(VerifiedAnswer, Batch), CloseRefusal> {
        let now = self.clock.now();
        if now.millis_since(session.begun_at) > SESSION_MAX_MS {
            return Err(CloseRefusal::Expired);
        }
        let answer = Answer::parse(credential)?;
        match &session.purpose {
            Purpose::Registration { user_handle, epoch, algorithms } => {
                self.register(session, answer, (user_handle, *epoch), algorithms, now).await
            }
            Purpose::Authentication { allowed } => {
                self.authenticate(session, &answer, allowed, now).await
            }
        }
    }

    /// Verifies an answer and commits what follows. An error means that no approval was stored.
    pub(super) async fn close(
        &self,
        session: &FidoSession,
        credential: &[u8],
    ) -> Result<VerifiedAnswer, CloseRefusal> {
        for _ in 0..CLOSE_TRIES {
            let verified = self.verify(session, credential).await;
            let event = security_event(session, credential, &verified);
            let (changes, closed) = match verified {
                Ok((approval, changes)) => (changes, Ok(approval)),
                Err(fault) => (Batch::new(), Err(fault)),
            };
            match (self.commit(changes, event).await, closed) {
                (Err(StoreError::Conflict(_)), _) => {}
                (Err(fault), Ok(_)) => return Err(CloseRefusal::NotStored(fault)),
                (Err(fault), Err(refused)) => {
                    tracing::error!(%fault, "a refused card's event was not stored");
                    return Err(refused);
                }
                (Ok(()), closed) => return closed,
            }
        }
        Err(CloseRefusal::NotStored(StoreError::too_many_races()))
    }

    async fn commit(
        &self,
        changes: Batch,
        event: Option<SecurityEventKind>,
    ) -> Result<(), StoreError> {
        let BuiltinFidoSettings { tenant, events, .. } = &self.settings;
        let event = event.map(|what| SecurityEvent::new(tenant.clone(), self.clock.now(), what));
        match (event, events) {
            (Some(event), Some(events)) => events.commit(changes, event).await,
            (Some(event), None) => self.credentials.commit(changes.entry(event.entry())).await,
            (None, _) if changes.is_empty() => Ok(()),
            (None, _) => self.credentials.commit(changes).await,
        }
    }

    fn expected<'a>(&'a self, session: &'a FidoSession) -> Expected<'a> {
        Expected {
            challenge: &session.challenge.0,
            rp_id: &session.rp_id,
            origins: &self.settings.origins,
            // No page may frame the relying party.
            top_origins: &[],
            user_verification: session.user_verification,
        }
    }

    /// What only this server can add to a receipt.
    fn evidence(&self, session: &FidoSession, public_key: &[u8]) -> Option<Box<ReceiptEvidence>> {
        self.settings.receipts.then(|| {
            Box::new(ReceiptEvidence {
                public_key: Some(Bytes(public_key.to_vec()).text()),
                transaction_nonce: session.transaction_nonce.as_ref().map(Bytes::text),
                ..ReceiptEvidence::default()
            })
        })
    }

    async fn register(
        &self,
        session: &FidoSession,
        answer: Answer,
        (user_handle, epoch): (&Bytes, u64),
        algorithms: &[i64],
        now: UnixMillis,
    ) -> Result<(VerifiedAnswer, Batch), CloseRefusal> {
        let expected = self.expected(session);
        let policy = &self.settings.attestation;
        let at = UnixTime::since_unix_epoch(Duration::from_millis(now.0));
        let made = registration::verify(answer, &expected, algorithms, policy, at)?;
        if let Some(why) = made.ignored {
            tracing::warn!(
                %why,
                "the attestation of a card counts as none: its statement could not be judged"
            );
        }
        let approval = VerifiedAnswer {
            cred_hash: sha256_base64url(&made.id),
            user_verified: Some(made.user_verified),
            evidence: self.evidence(session, &made.public_key),
        };
        let record = StoredCredential {
            id: Bytes(made.id),
            rp_id: session.rp_id.clone(),
            user_handle: user_handle.clone(),
            public_key: Bytes(made.public_key),
            sign_count: made.sign_count,
            uv_initialized: made.user_verified,
            backup_eligible: made.backup_eligible,
            backed_up: made.backed_up,
            aaguid: Bytes(made.aaguid.to_vec()),
            attestation: Some(made.attestation),
            model: made.model,
            registered_at: now,
            last_used_at: None,
            seen_uv: false,
        };
        // Steps 26 and 29.
        match self.credentials.add(&session.username, epoch, &record).await {
            Ok(changes) => Ok((approval, changes)),
            Err(AddFault::Taken) => Err(VerifyError::CredentialIdTaken.into()),
            Err(AddFault::TooMany) => Err(CloseRefusal::CardLimit),
            Err(AddFault::Retired) => Err(CloseRefusal::Expired),
            Err(AddFault::Store(fault)) => Err(CloseRefusal::NotRead(fault)),
        }
    }

    async fn authenticate(
        &self,
        session: &FidoSession,
        answer: &Answer,
        allowed: &[Bytes],
        now: UnixMillis,
    ) -> Result<(VerifiedAnswer, Batch), CloseRefusal> {
        let expected = self.expected(session);
        // The initiator named the user; the credential is looked up among that user's.
        let name = session.username.as_str().as_bytes();
        let by_name = self.settings.username_as_user_handle && name.len() <= USER_HANDLE_BYTES;
        let loaded = self.credentials.load(&session.username, &answer.id).await;
        let loaded = loaded.map_err(CloseRefusal::NotRead)?;
        let handles = loaded.as_ref().map(|(_, record)| {
            let own = record.user_handle.0.as_slice();
            [own, if by_name { name } else { own }]
        });
        let record =
            loaded.as_ref().zip(handles.as_ref()).map(|((_, record), handles)| CredentialRecord {
                user_handles: handles,
                public_key: &record.public_key.0,
                sign_count: record.sign_count,
                backup_eligible: record.backup_eligible,
            });
        let used = authentication::verify(answer, &expected, allowed, record.as_ref())?;
        let Some((revision, mut record)) = loaded else {
            return Err(VerifyError::UnknownCredential.into());
        };
        let approval = VerifiedAnswer {
            cred_hash: sha256_base64url(&answer.id),
            user_verified: Some(used.user_verified),
            evidence: self.evidence(session, &record.public_key.0),
        };
        let seen_uv = record.seen_uv || used.user_verified;
        let last_used = record.last_used_at;
        if record.sign_count == used.sign_count
            && record.backed_up == used.backed_up
            && record.seen_uv == seen_uv
            && last_used.is_some_and(|at| now.millis_since(at) < LAST_USED_MS)
        {
            // Nothing to write; the condition ensures that the card is still registered.
            let unchanged = self.credentials.unchanged(&session.username, &answer.id, revision);
            return Ok((approval, unchanged));
        }
        // Step 24. A concurrent update of the counter conflicts with this one.
        record.sign_count = used.sign_count;
        record.backed_up = used.backed_up;
        record.seen_uv = seen_uv;
        record.last_used_at = Some(now);
        let changes = self.credentials.update(&session.username, revision, &record);
        Ok((approval, changes.map_err(CloseRefusal::NotStored)?))
    }
}

/// The security event of a verified or refused answer, if it is one.
pub(super) fn security_event(
    session: &FidoSession,
    credential: &[u8],
    verified: &Result<(VerifiedAnswer, Batch), CloseRefusal>,
) -> Option<SecurityEventKind> {
    let (card_id, username) =
        (card_id(&Answer::parse(credential).ok()?.id), session.username.clone());
    match (verified, &session.purpose) {
        (Ok(_), Purpose::Registration { .. }) => {
            Some(SecurityEventKind::CardRegistered { card_id, username })
        }
        (Err(CloseRefusal::Refused(VerifyError::SignCount)), _) => {
            Some(SecurityEventKind::CloneSuspected { card_id, username })
        }
        (Ok(_) | Err(_), _) => None,
    }
}
