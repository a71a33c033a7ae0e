//! The demo's bank: what an initiator's backend is. It holds the API key, opens ceremonies for
//! its page, gives the page a code and a ticket, and believes in a result only after it has read
//! the ceremony with its own key and checked the signed token.
//!
//! Knows the relay by its published interface alone. See [`super::site`] for the web side.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fido_relay_proto::http::{BrowserContext, CeremonyView, OpenCeremony, Status, Transaction};
use fido_relay_proto::life::PriorAuth;
use fido_relay_proto::{
    Binding, BrowserSecret, CeremonyId, CeremonyType, ClientId, ClientNonce, DisplayName, Outcome,
    Phase, Reason, Step, Username,
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::watch;

use super::initiator::{Initiator, Wait};
use super::narrate::{Narrator, Who, instant, opened_text, status_text, told};
use super::request::{Action, BankError, Ending, OpenedHere, Settled};
use super::result_token::{self, Expected};
use super::session::{SessionToken, Sessions};
use super::silence::Silence;
use fido_relay_kit::clock::Clock;
use fido_relay_kit::random;
use fido_relay_kit::tasks::Tasks;

/// Ceremonies that the bank remembers: a page that has been open longer starts again.
const REMEMBERED: usize = 256;
/// Seconds of a long poll of the bank's own.
const WAIT_S: u64 = 25;

/// Who the bank is to the relay, and whom it serves.
#[derive(Clone, Debug)]
pub struct Account {
    /// The bank's client id at the relay: the audience of its result tokens.
    pub client_id: ClientId,
    /// The relay's issuer name.
    pub issuer: String,
    /// The customer.
    pub username: Username,
    /// How the customer is greeted.
    pub display_name: DisplayName,
    /// The payment that waits for approval.
    pub payment: Transaction,
    /// How long the relay mutes the customer's phones after "not me".
    pub not_me_mute: Duration,
    /// How long a page that was left may take to come back, as one does that is loaded again.
    pub left_limit: Duration,
}

/// What the bank remembers of a ceremony.
struct Entry {
    expected: Expected,
    code: Option<SecretString>,
    ticket: SecretString,
    /// The session that asked for it.
    session: Option<SessionToken>,
    /// How the bank knew the customer, as far as a report of "not me" depends on it: `none` in a
    /// known browser.
    prior_auth: PriorAuth,
    /// The browser that asked.
    browser: Option<BrowserSecret>,
    /// What its success has led to here: once, however often a page asks.
    settled: Option<Settled>,
    /// Whether it has its outcome, as far as the bank has seen.
    ended: bool,
    /// Looks of pages that are under way, and those that ever began.
    looks: (usize, u64),
    /// How many of its steps were narrated.
    narrated: usize,
    /// Whether the bank knows that the phone has the offer.
    delivered: bool,
}

/// The bank. Clones are the same bank.
#[derive(Clone)]
pub struct Bank {
    initiator: Initiator,
    account: Arc<Account>,
    clock: Arc<dyn Clock>,
    narrator: Narrator,
    ledger: Arc<Mutex<VecDeque<Entry>>>,
    sessions: Sessions,
    silence: Arc<Mutex<Silence>>,
    tasks: Tasks,
    /// Counts the offers that phones have acknowledged, as far as the bank knows.
    delivered: watch::Sender<u64>,
}

impl std::fmt::Debug for Bank {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bank").field("account", &self.account).finish_non_exhaustive()
    }
}

impl Bank {
    /// A bank that has opened nothing yet.
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
            silence: Arc::new(Mutex::new(Silence::new(account.not_me_mute))),
            account: Arc::new(account),
            sessions: Sessions::new(Arc::clone(&clock)),
            clock,
            narrator,
            ledger: Arc::default(),
            delivered: watch::Sender::new(0),
        }
    }

    /// Whom it serves.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Who is signed in.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Opens a ceremony for a page in this browser, for whoever is signed in there.
    ///
    /// # Errors
    /// [`BankError`]: an approval is for the signed-in, and once for a session.
    pub async fn open(
        &self,
        action: Action,
        session: Option<SessionToken>,
        context: BrowserContext,
    ) -> Result<OpenedHere, BankError> {
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
        let shows_delivery = prior_auth != PriorAuth::None;
        let transaction = (action == Action::Approve).then(|| self.account.payment.clone());
        let body = OpenCeremony {
            ceremony_type,
            username: self.account.username.clone(),
            display_name: Some(self.account.display_name.clone()),
            device_id: None,
            timeout_s: None,
            binding: Binding::Code,
            message: None,
            transaction: transaction.clone(),
            context: Some(context),
            client_nonce: ClientNonce::new(&client_nonce).ok(),
            prior_auth,
            show_delivery: shows_delivery,
            options: Default::default(),
        };
        let browser = body.context.as_ref().and_then(|context| context.browser.clone());
        let clicked = self.clock.now();
        let opened = self.initiator.open(&body, &random::token()).await?;
        self.narrator.opened(opened.id, ceremony_type, clicked);
        self.narrator.step(opened.id, clicked, Who::Page, "asks the bank, and the bank the relay");
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
            let silence = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
            (silence.is_known(browser.as_ref()), silence.left_s(prior_auth, clicked))
        };
        self.remember(Entry {
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
        Ok(OpenedHere { ceremony: opened, rings_in_s, shows_delivery })
    }

    /// The ceremony as the page may see it, by the page's own ticket.
    ///
    /// # Errors
    /// [`BankError`].
    pub async fn watch(
        &self,
        id: CeremonyId,
        ticket: &str,
        wait: Wait,
    ) -> Result<CeremonyView, BankError> {
        let _look = self.of_this_page(id, ticket).is_ok().then(|| Look::begin(self.clone(), id));
        Ok(self.initiator.view_with_ticket(id, ticket, wait).await?)
    }

    /// How it ended, from the relay itself and proven: what a page's "succeeded" means to a bank.
    /// `session` is the one of the browser that asks, if it has any.
    ///
    /// # Errors
    /// [`BankError`].
    pub async fn ending(
        &self,
        id: CeremonyId,
        ticket: &str,
        session: Option<SessionToken>,
    ) -> Result<Ending, BankError> {
        let expected = self.of_this_page(id, ticket)?;
        self.conclude(&expected, session).await
    }

    async fn conclude(
        &self,
        expected: &Expected,
        session: Option<SessionToken>,
    ) -> Result<Ending, BankError> {
        let id = expected.id;
        let view = self.initiator.view(id, Wait::default()).await?;
        self.narrate(&view);
        let outcome = match view.status {
            Status::Pending => return Ok(Ending::Pending),
            Status::Ended(outcome) => outcome,
        };
        if outcome != Outcome::Succeeded {
            self.narrator.ended(id, false, &told(outcome, view.reason));
            return Ok(Ending::Other(view.ceremony_type, outcome, view.reason));
        }
        let keys = self.initiator.keys().await?;
        let token = view.result.unwrap_or_default();
        Ok(match result_token::verify(&token, &keys, expected, self.clock.now()) {
            Ok(verified) => {
                let text = format!("result token verified (ES256, key {})", verified.key_id);
                self.narrator.ended(id, true, &text);
                let settled = self.settle(id, session).ok_or(BankError::NotYours)?;
                Ending::Proven(Box::new(verified), settled)
            }
            Err(error) => {
                self.narrator.ended(id, false, &format!("refuses the result: {error}"));
                Ending::Unproven(error)
            }
        })
    }

    /// What a proven success means to the bank: a sign-in begins a session or goes on with that of
    /// the browser, so that a second tab puts nothing aside that waits in the first; an approval
    /// settles the payment for the session that asked. Asked again, it gives the same, so that a
    /// lost answer does not cost a second use of the card.
    fn settle(&self, id: CeremonyId, session: Option<SessionToken>) -> Option<Settled> {
        let settled = |entry: &Entry| match entry.expected.ceremony_type {
            CeremonyType::Registration => Settled::Registered,
            CeremonyType::Authentication => {
                let open = session.filter(|session| self.sessions.is_open(session));
                Settled::SignedIn(open.unwrap_or_else(|| self.sessions.begin()))
            }
            CeremonyType::Approval => {
                match entry.session.as_ref().and_then(|session| self.sessions.approve(session)) {
                    Some(false) => Settled::Paid,
                    Some(true) => Settled::PaidBefore,
                    None => Settled::SignedOut,
                }
            }
        };
        self.with_entry(id, |entry| {
            if let Some(browser) = &entry.browser {
                self.silence.lock().unwrap_or_else(PoisonError::into_inner).know(browser);
            }
            let settled = entry.settled.take().unwrap_or_else(|| settled(entry));
            entry.settled.insert(settled).clone()
        })
    }

    /// Ends a session. What was asked for in it and still runs, in whichever tab, is taken back.
    pub async fn sign_out(&self, session: &SessionToken) {
        self.sessions.end(session);
        let asked = |entry: &&Entry| {
            !entry.ended && entry.session.as_ref().is_some_and(|asked| asked.is(session))
        };
        let ids: Vec<_> = {
            let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            ledger.iter().filter(asked).map(|entry| entry.expected.id).collect()
        };
        for id in ids {
            self.narrator.now(id, Who::Page, "the person signs out");
            // One that is not reached is not settled either: its session is over.
            let _ = self.initiator.cancel(id).await;
        }
    }

    /// The page with this ticket was closed, left or is loaded again. Unless it or a copy of it
    /// watches again soon, its ceremony is not to go on without anybody who could see it.
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
                    bank.take_back(&expected).await;
                }
            };
            stopping.run_until_cancelled(gone).await;
        });
        Ok(())
    }

    /// Cancels, unless the card has answered: then what comes of it counts, and has its
    /// consequence here although no page asks.
    async fn take_back(&self, expected: &Expected) {
        let id = expected.id;
        let Ok(mut view) = self.initiator.view(id, Wait::default()).await else { return };
        self.narrate(&view);
        if view.status == Status::Pending && view.phase != Phase::Verifying {
            self.narrator.now(id, Who::Page, "its tab is closed: the bank takes this back");
            if self.initiator.cancel(id).await.is_ok() {
                return;
            }
        }
        while view.status == Status::Pending {
            let wait = Wait { seconds: WAIT_S, since: view.seq };
            let Ok(next) = self.initiator.view(id, wait).await else { return };
            view = next;
        }
        let _ = self.conclude(expected, None).await;
    }

    /// Takes a ceremony back for the page that has its ticket.
    ///
    /// # Errors
    /// [`BankError`].
    pub async fn cancel(&self, id: CeremonyId, ticket: &str) -> Result<(), BankError> {
        let _ = self.of_this_page(id, ticket)?;
        self.narrator.now(id, Who::Page, "the person presses Cancel");
        Ok(self.initiator.cancel(id).await?)
    }

    /// The code that a page shows for this ceremony, once the bank knows that the phone has the
    /// offer: the order in which a person with both in view would tell it. Waits at most `limit`.
    pub async fn code_on_page(&self, id: CeremonyId, limit: Duration) -> Option<SecretString> {
        let mut news = self.delivered.subscribe();
        let delivered = async {
            loop {
                news.mark_unchanged();
                if self.with_entry(id, |entry| entry.delivered) == Some(true) {
                    return;
                }
                if news.changed().await.is_err() {
                    // The sender lives as long as the bank does.
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(limit, delivered).await;
        self.with_entry(id, |entry| entry.code.clone()).flatten()
    }

    /// The story, for whoever has something to add.
    #[must_use]
    pub fn narrator(&self) -> &Narrator {
        &self.narrator
    }

    fn remember(&self, entry: Entry) {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        if ledger.len() == REMEMBERED {
            ledger.pop_front();
        }
        ledger.push_back(entry);
    }

    fn with_entry<T>(&self, id: CeremonyId, read: impl FnOnce(&mut Entry) -> T) -> Option<T> {
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

    /// Narrates each step as it is made, of which the bank's credential sees more than a page.
    fn follow(&self, id: CeremonyId) {
        let (bank, stopping) = (self.clone(), self.tasks.stopping().clone());
        self.tasks.spawn("bank follows", async move {
            let follows = async {
                let mut since = 0;
                loop {
                    let wait = Wait { seconds: WAIT_S, since };
                    // What is missed here is narrated with the end.
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

    /// Narrates the steps of the bank's own view that are new, and counts a report of "not me".
    /// Under the ledger's lock: two views at once keep the order of their steps.
    fn narrate(&self, view: &CeremonyView) {
        let delivered = self.with_entry(view.id, |entry| {
            entry.ended |= view.status != Status::Pending;
            let since = entry.narrated;
            entry.narrated = since.max(view.progress.len());
            if view.reason == Some(Reason::NotMe) && view.progress.len() > since {
                let at = self.clock.now();
                let mut silence = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
                silence.reported(entry.prior_auth, at);
            }
            for step in view.progress.iter().skip(since) {
                let at = instant(&step.at).unwrap_or_else(|| self.clock.now());
                let (who, text) = said(step.step, entry.code.as_ref(), view);
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

/// Who makes a step, and what the terminal says of it.
fn said(step: Step, code: Option<&SecretString>, view: &CeremonyView) -> (Who, String) {
    match step {
        Step::Opened => (Who::Relay, opened_text(code, view.expires_in)),
        Step::Sent => (Who::Relay, "sent        offered to the phone".to_owned()),
        Step::Woken => (Who::Relay, "woken       the phone by its push service".to_owned()),
        Step::Delivered => (Who::Phone, "delivered   the app has it".to_owned()),
        Step::Claimed => (Who::Phone, "claimed     the page's code is typed in".to_owned()),
        Step::Challenged => {
            (Who::Fido2, "challenged  makes a challenge for this phone alone".to_owned())
        }
        Step::Card => (Who::Card, "card        held to the phone".to_owned()),
        Step::Verifying => (Who::Relay, "verifying   the card's answer is stored".to_owned()),
        Step::Closed => (Who::Relay, format!("closed      {}", status_text(view))),
    }
}

/// A page that looks at its ceremony, for as long as it does.
struct Look {
    bank: Bank,
    id: CeremonyId,
}

impl Look {
    fn begin(bank: Bank, id: CeremonyId) -> Self {
        bank.with_entry(id, |Entry { looks: (now, ever), .. }| {
            (*now, *ever) = (*now + 1, *ever + 1)
        });
        Self { bank, id }
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        self.bank.with_entry(self.id, |entry| entry.looks.0 = entry.looks.0.saturating_sub(1));
    }
}
