//! The demo's bank, a model of an initiator's backend. It holds the API key, opens ceremonies for its
//! page, gives the page code and ticket, and accepts a result only after it has read the ceremony with
//! its own key and verified the signed token.
//!
//! Knows the published interface alone. [`super::site`] is its web side.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fido_relay_kit::clock::Clock;
use fido_relay_kit::random;
use fido_relay_kit::tasks::Tasks;
use fido_relay_proto::http::{BrowserContext, CeremonyView, OpenCeremony, Status, Transaction};
use fido_relay_proto::life::PriorAuth;
use fido_relay_proto::{
    BrowserSecret, CeremonyId, CeremonyType, ClientId, ClientNonce, DisplayName, Outcome, Phase,
    Reason, Step, Username,
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::watch;

use super::initiator::{Initiator, LongPoll};
use super::mute::MuteEstimate;
use super::narrate::{Narrator, Party, opened_text, outcome_text, parse_timestamp, status_text};
use super::request::{Action, BankError, BankVerdict, OpenedForPage, Settlement};
use super::result_token::{self, Expected};
use super::session::{SessionToken, Sessions};

/// Ceremonies in the ledger; the page of an older one starts again.
const REMEMBERED: usize = 256;
/// Seconds of the bank's own long polls.
const WAIT_S: u64 = 25;

/// The bank's identity at the relay, and its one customer.
#[derive(Clone, Debug)]
pub struct Account {
    /// The audience of the bank's result tokens.
    pub client_id: ClientId,
    pub issuer: String,
    pub username: Username,
    pub display_name: DisplayName,
    pub payment: Transaction,
    /// The relay's `prompts.not_me_mute_s`.
    pub not_me_mute: Duration,
    /// How long a page that was left may take to return, as a reloaded one does.
    pub left_limit: Duration,
}

/// A ceremony in the ledger.
struct LedgerEntry {
    expected: Expected,
    code: Option<SecretString>,
    ticket: SecretString,
    /// The session in which it was requested.
    session: Option<SessionToken>,
    /// The prior authentication by which a report of "not me" is counted: `none` in a known browser.
    prior_auth: PriorAuth,
    browser: Option<BrowserSecret>,
    /// The effect of its success, which happens once, however often a page asks.
    settled: Option<Settlement>,
    /// Whether the bank has seen its outcome.
    ended: bool,
    /// Page requests under way, and those ever begun.
    looks: (usize, u64),
    /// Steps narrated so far.
    narrated: usize,
    /// Whether the bank has seen the step `delivered`.
    delivered: bool,
}

/// The bank. Clones share its state.
#[derive(Clone)]
pub struct Bank {
    initiator: Initiator,
    account: Arc<Account>,
    clock: Arc<dyn Clock>,
    narrator: Narrator,
    ledger: Arc<Mutex<VecDeque<LedgerEntry>>>,
    sessions: Sessions,
    mute: Arc<Mutex<MuteEstimate>>,
    tasks: Tasks,
    /// Counts deliveries seen, to notify waiters.
    delivered: watch::Sender<u64>,
}

impl std::fmt::Debug for Bank {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bank").field("account", &self.account).finish_non_exhaustive()
    }
}

impl Bank {
    /// A bank without ceremonies.
    #[must_use]
    pub fn new(
        initiator: Initiator,
        account: Account,
        clock: Arc<dyn Clock>,
        narrator: Narrator,
        tasks: Tasks,
    ) -> Self {
        Self {
            initiator,
            tasks,
            mute: Arc::new(Mutex::new(MuteEstimate::new(account.not_me_mute))),
            account: Arc::new(account),
            sessions: Sessions::new(Arc::clone(&clock)),
            clock,
            narrator,
            ledger: Arc::default(),
            delivered: watch::Sender::new(0),
        }
    }

    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }

    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Opens a ceremony for a page, in the browser's session if it has one.
    ///
    /// # Errors
    /// [`BankError`]: an approval needs a session, and there is one for each.
    pub async fn open(
        &self,
        action: Action,
        session: Option<SessionToken>,
        context: BrowserContext,
    ) -> Result<OpenedForPage, BankError> {
        let session = session.filter(|session| self.sessions.is_open(session));
        if action == Action::Approve {
            let session = session.as_ref().ok_or(BankError::SignedOut)?;
            if self.sessions.has_approved(session) {
                return Err(BankError::AlreadyApproved);
            }
        }
        let ceremony_type = action.ceremony_type();
        let client_nonce = random::token();
        let prior_auth = if session.is_some() { PriorAuth::Session } else { PriorAuth::None };
        let transaction = (action == Action::Approve).then(|| self.account.payment.clone());
        let body = OpenCeremony {
            display_name: Some(self.account.display_name.clone()),
            transaction: transaction.clone(),
            context: Some(context),
            client_nonce: ClientNonce::new(&client_nonce).ok(),
            prior_auth,
            show_delivery: prior_auth != PriorAuth::None,
            ..OpenCeremony::new(ceremony_type, self.account.username.clone())
        };
        let browser = body.context.as_ref().and_then(|context| context.browser.clone());
        let clicked = self.clock.now();
        let opened = self.initiator.open(&body, &random::token()).await?;
        self.narrator.opened(opened.id, ceremony_type, clicked);
        self.narrator.step(
            opened.id,
            clicked,
            Party::Page,
            "asks the bank, and the bank the relay",
        );
        let expected = Expected {
            issuer: self.account.issuer.clone(),
            audience: self.account.client_id,
            id: opened.id,
            ceremony_type,
            binding: body.binding,
            opened_at: clicked,
            username: self.account.username.clone(),
            client_nonce,
            transaction,
        };
        let (is_known, left_s) = {
            let mute = self.mute.lock().unwrap_or_else(PoisonError::into_inner);
            (mute.is_known(browser.as_ref()), mute.left_s(prior_auth, clicked))
        };
        self.remember(LedgerEntry {
            expected,
            code: opened.code.clone().map(SecretString::from),
            ticket: SecretString::from(opened.ticket.clone()),
            session,
            prior_auth: if is_known { PriorAuth::None } else { prior_auth },
            browser,
            settled: None,
            ended: false,
            looks: (0, 0),
            narrated: 0,
            delivered: false,
        });
        self.follow(opened.id);
        let rings_in_s = left_s.filter(|_| !is_known);
        Ok(OpenedForPage { ceremony: opened, rings_in_s, shows_delivery: body.show_delivery })
    }

    /// The ceremony as the page's ticket shows it.
    ///
    /// # Errors
    /// [`BankError`].
    pub async fn watch(
        &self,
        id: CeremonyId,
        ticket: &str,
        wait: LongPoll,
    ) -> Result<CeremonyView, BankError> {
        let _watch =
            self.of_this_page(id, ticket).is_ok().then(|| PageWatch::begin(self.clone(), id));
        Ok(self.initiator.view_with_ticket(id, ticket, wait).await?)
    }

    /// The proven outcome, read with the bank's own key: a page's "succeeded" means nothing to a bank.
    /// `session` belongs to the requesting browser.
    ///
    /// # Errors
    /// [`BankError`].
    pub async fn ending(
        &self,
        id: CeremonyId,
        ticket: &str,
        session: Option<SessionToken>,
    ) -> Result<BankVerdict, BankError> {
        let expected = self.of_this_page(id, ticket)?;
        self.conclude(&expected, session).await
    }

    async fn conclude(
        &self,
        expected: &Expected,
        session: Option<SessionToken>,
    ) -> Result<BankVerdict, BankError> {
        let id = expected.id;
        let view = self.initiator.view(id, LongPoll::default()).await?;
        self.narrate(&view);
        let outcome = match view.status {
            Status::Pending => return Ok(BankVerdict::Pending),
            Status::Ended(outcome) => outcome,
        };
        if outcome != Outcome::Succeeded {
            self.narrator.ended(id, false, &outcome_text(outcome, view.reason));
            return Ok(BankVerdict::Other(view.ceremony_type, outcome, view.reason));
        }
        let keys = self.initiator.keys().await?;
        let token = view.result.unwrap_or_default();
        Ok(match result_token::verify(&token, &keys, expected, self.clock.now()) {
            Ok(verified) => {
                let text = format!("result token verified (ES256, key {})", verified.key_id);
                self.narrator.ended(id, true, &text);
                let settled = self.settle(id, session).ok_or(BankError::NotYours)?;
                BankVerdict::Proven(Box::new(verified), settled)
            }
            Err(error) => {
                self.narrator.ended(id, false, &format!("refuses the result: {error}"));
                BankVerdict::Unproven(error)
            }
        })
    }

    /// The effect of a proven success. A sign-in begins a session or continues the browser's, so that a
    /// second tab does not end the work of the first; an approval settles the payment of the session
    /// that requested it. Idempotent, so that a lost response does not cost a second use of the card.
    fn settle(&self, id: CeremonyId, session: Option<SessionToken>) -> Option<Settlement> {
        let settled = |entry: &LedgerEntry| match entry.expected.ceremony_type {
            CeremonyType::Registration => Settlement::Registered,
            CeremonyType::Authentication => {
                let open = session.filter(|session| self.sessions.is_open(session));
                Settlement::SignedIn(open.unwrap_or_else(|| self.sessions.begin()))
            }
            CeremonyType::Approval => {
                match entry.session.as_ref().and_then(|session| self.sessions.approve(session)) {
                    Some(false) => Settlement::Paid,
                    Some(true) => Settlement::PaidBefore,
                    None => Settlement::SignedOut,
                }
            }
        };
        self.with_entry(id, |entry| {
            if let Some(browser) = &entry.browser {
                self.mute.lock().unwrap_or_else(PoisonError::into_inner).know(browser);
            }
            let settled = entry.settled.take().unwrap_or_else(|| settled(entry));
            entry.settled.insert(settled).clone()
        })
    }

    /// Ends a session and cancels its open ceremonies.
    pub async fn sign_out(&self, session: &SessionToken) {
        self.sessions.end(session);
        let asked = |entry: &&LedgerEntry| {
            !entry.ended && entry.session.as_ref().is_some_and(|asked| asked.is(session))
        };
        let ids: Vec<_> = {
            let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            ledger.iter().filter(asked).map(|entry| entry.expected.id).collect()
        };
        for id in ids {
            self.narrator.now(id, Party::Page, "the person signs out");
            // If this fails, the ceremony has no effect: its session is over.
            let _ = self.initiator.cancel(id).await;
        }
    }

    /// The page with this ticket was closed or reloaded. Unless it watches again soon, its ceremony is
    /// cancelled, as no page would show its end.
    ///
    /// # Errors
    /// [`BankError::NotYours`].
    pub fn left(&self, id: CeremonyId, ticket: &str) -> Result<(), BankError> {
        let expected = self.of_this_page(id, ticket)?;
        let began = self.with_entry(id, |entry| entry.looks.1);
        let (bank, stopping) = (self.clone(), self.tasks.stopping().clone());
        self.tasks.spawn("page left", async move {
            let gone = async {
                tokio::time::sleep(bank.account.left_limit).await;
                if bank.with_entry(id, |entry| entry.looks) == began.map(|began| (0, began)) {
                    bank.cancel_left(&expected).await;
                }
            };
            stopping.run_until_cancelled(gone).await;
        });
        Ok(())
    }

    /// Cancels, unless the card has answered: then the outcome takes effect although no page asks.
    async fn cancel_left(&self, expected: &Expected) {
        let id = expected.id;
        let Ok(mut view) = self.initiator.view(id, LongPoll::default()).await else { return };
        self.narrate(&view);
        if view.status == Status::Pending && view.phase != Phase::Verifying {
            self.narrator.now(id, Party::Page, "its tab is closed: the bank takes this back");
            if self.initiator.cancel(id).await.is_ok() {
                return;
            }
        }
        while view.status == Status::Pending {
            let wait = LongPoll { seconds: WAIT_S, since: view.seq };
            let Ok(next) = self.initiator.view(id, wait).await else { return };
            view = next;
        }
        let _ = self.conclude(expected, None).await;
    }

    /// Cancels a ceremony for the page with its ticket.
    ///
    /// # Errors
    /// [`BankError`].
    pub async fn cancel(&self, id: CeremonyId, ticket: &str) -> Result<(), BankError> {
        let _ = self.of_this_page(id, ticket)?;
        self.narrator.now(id, Party::Page, "the person presses Cancel");
        Ok(self.initiator.cancel(id).await?)
    }

    /// The code of the ceremony's page. Waits for the step `delivered`, at most `limit`, so that steps
    /// are narrated in the order in which a person sees them.
    pub async fn code_on_page(&self, id: CeremonyId, limit: Duration) -> Option<SecretString> {
        let mut changes = self.delivered.subscribe();
        let delivered = async {
            loop {
                changes.mark_unchanged();
                if self.with_entry(id, |entry| entry.delivered) == Some(true) {
                    return;
                }
                if changes.changed().await.is_err() {
                    // Unreachable: the bank holds the sender.
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(limit, delivered).await;
        self.with_entry(id, |entry| entry.code.clone()).flatten()
    }

    #[must_use]
    pub fn narrator(&self) -> &Narrator {
        &self.narrator
    }

    fn remember(&self, entry: LedgerEntry) {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        if ledger.len() == REMEMBERED {
            ledger.pop_front();
        }
        ledger.push_back(entry);
    }

    fn with_entry<T>(&self, id: CeremonyId, read: impl FnOnce(&mut LedgerEntry) -> T) -> Option<T> {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.iter_mut().find(|entry| entry.expected.id == id).map(read)
    }

    fn of_this_page(&self, id: CeremonyId, ticket: &str) -> Result<Expected, BankError> {
        self.with_entry(id, |entry| {
            let known = entry.ticket.expose_secret().as_bytes();
            aws_lc_rs::constant_time::verify_slices_are_equal(known, ticket.as_bytes())
                .is_ok()
                .then(|| entry.expected.clone())
        })
        .flatten()
        .ok_or(BankError::NotYours)
    }

    /// Narrates the ceremony's steps by long polls with the bank's key, which sees more than a ticket.
    fn follow(&self, id: CeremonyId) {
        let (bank, stopping) = (self.clone(), self.tasks.stopping().clone());
        self.tasks.spawn("bank follows", async move {
            let follows = async {
                let mut since = 0;
                loop {
                    let wait = LongPoll { seconds: WAIT_S, since };
                    // Missed steps are narrated with the outcome.
                    let Ok(view) = bank.initiator.view(id, wait).await else { return };
                    bank.narrate(&view);
                    if view.status != Status::Pending {
                        return;
                    }
                    since = view.seq;
                }
            };
            stopping.run_until_cancelled(follows).await;
        });
    }

    /// Narrates new steps and counts a report of "not me". Under the ledger's lock, so that concurrent
    /// views keep the order of steps.
    fn narrate(&self, view: &CeremonyView) {
        let delivered = self.with_entry(view.id, |entry| {
            entry.ended |= view.status != Status::Pending;
            let since = entry.narrated;
            entry.narrated = since.max(view.progress.len());
            if view.reason == Some(Reason::NotMe) && view.progress.len() > since {
                let at = self.clock.now();
                let mut mute = self.mute.lock().unwrap_or_else(PoisonError::into_inner);
                mute.reported(entry.prior_auth, at);
            }
            for step in view.progress.iter().skip(since) {
                let at = parse_timestamp(&step.at).unwrap_or_else(|| self.clock.now());
                let (who, text) = step_text(step.step, entry.code.as_ref(), view);
                self.narrator.step(view.id, at, who, &text);
            }
            let known = entry.delivered;
            entry.delivered |= view.progress.iter().any(|step| step.step == Step::Delivered);
            entry.delivered && !known
        });
        if delivered == Some(true) {
            self.delivered.send_modify(|count| *count += 1);
        }
    }
}

/// The party of a step and its line.
fn step_text(step: Step, code: Option<&SecretString>, view: &CeremonyView) -> (Party, String) {
    match step {
        Step::Opened => (Party::Relay, opened_text(code, view.expires_in)),
        Step::Sent => (Party::Relay, "sent        offered to the phone".to_owned()),
        Step::Woken => (Party::Relay, "woken       the phone by its push service".to_owned()),
        Step::Delivered => (Party::Phone, "delivered   the app has it".to_owned()),
        Step::Claimed => (Party::Phone, "claimed     the page's code is typed in".to_owned()),
        Step::Challenged => {
            (Party::Fido2, "challenged  makes a challenge for this phone alone".to_owned())
        }
        Step::Card => (Party::Card, "card        held to the phone".to_owned()),
        Step::Verifying => (Party::Relay, "verifying   the card's answer is stored".to_owned()),
        Step::Closed => (Party::Relay, format!("closed      {}", status_text(view))),
    }
}

/// Counts a page's request until it is dropped.
struct PageWatch {
    bank: Bank,
    id: CeremonyId,
}

impl PageWatch {
    fn begin(bank: Bank, id: CeremonyId) -> Self {
        bank.with_entry(id, |LedgerEntry { looks: (now, ever), .. }| {
            (*now, *ever) = (*now + 1, *ever + 1)
        });
        Self { bank, id }
    }
}

impl Drop for PageWatch {
    fn drop(&mut self) {
        self.bank.with_entry(self.id, |entry| entry.looks.0 = entry.looks.0.saturating_sub(1));
    }
}
