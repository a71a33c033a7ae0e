//! The bank's web side: one page and the calls of its script.
//!
//! A ticket proves that a ceremony belongs to a page; a cookie holds the browser's session. Answers
//! hold texts for the customer; the relay's own errors stay at the bank.

use std::future::ready;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use fido_relay_kit::random;
use fido_relay_proto::http::{BrowserContext, CeremonyView, Transaction};
use fido_relay_proto::{BrowserSecret, CeremonyId, Outcome, PlainText, ProblemCode};
use serde::{Deserialize, Serialize};

use super::bank::Bank;
use super::initiator::LongPoll;
use super::messages::{self, UserMessage};
use super::request::{Action, BankError, BankVerdict, OpenedForPage, Settlement};
use super::result_token::{TxBinding, Verified};
use super::session::{LIFETIME_S, SessionToken};
use super::visitor::VISITOR;

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

const PAGE: &str = include_str!("page/index.html");

/// The page's files: path, media type, text.
pub const FILES: [(&str, &str, &str); 16] = [
    ("/", HTML, PAGE),
    ("/icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
    ("/tokens.css", STYLE, include_str!("page/tokens.css")),
    ("/page.css", STYLE, include_str!("page/page.css")),
    ("/run.css", STYLE, include_str!("page/run.css")),
    ("/page.js", SCRIPT, include_str!("page/page.js")),
    ("/bank.js", SCRIPT, include_str!("page/bank.js")),
    ("/ceremony.js", SCRIPT, include_str!("page/ceremony.js")),
    ("/code.js", SCRIPT, include_str!("page/code.js")),
    ("/dom.js", SCRIPT, include_str!("page/dom.js")),
    ("/ladder.js", SCRIPT, include_str!("page/ladder.js")),
    ("/overview.js", SCRIPT, include_str!("page/overview.js")),
    ("/kept.js", SCRIPT, include_str!("page/kept.js")),
    ("/silence.js", SCRIPT, include_str!("page/silence.js")),
    ("/timeleft.js", SCRIPT, include_str!("page/timeleft.js")),
    ("/voice.js", SCRIPT, include_str!("page/voice.js")),
];

/// The cookie of a session. Without `Secure`, as the bank is on loopback and has no certificate.
const COOKIE: &str = "harbour_session";
/// The cookie of a browser, by which the relay knows it again (`context.browser`). It identifies no
/// person, so it outlives sessions; its lifetime is the relay's own.
const BROWSER_COOKIE: &str = "harbour_browser";
const BROWSER_LIFETIME_S: u64 = 90 * 24 * 60 * 60;

pub fn router(bank: Bank) -> Router {
    let api = Router::new()
        .route("/api/account", get(account))
        .route("/api/session", delete(sign_out))
        .route("/api/{action}", post(open))
        .route("/api/ceremonies/{id}", get(watch).delete(cancel))
        .route("/api/ceremonies/{id}/outcome", post(outcome))
        .route("/api/ceremonies/{id}/left", post(left))
        .with_state(bank);
    let files = FILES.into_iter().filter(|(path, ..)| *path != "/");
    files.fold(api.route("/", get(page)), |site, (path, kind, text)| {
        let file = ([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], text);
        site.route(path, get(move || ready(file.clone())))
    })
}

async fn page(headers: HeaderMap) -> Response {
    let mut response =
        ([(header::CONTENT_TYPE, HeaderValue::from_static(HTML))], PAGE).into_response();
    let browser = browser(&headers).map_or_else(random::token, String::from);
    let seconds = BROWSER_LIFETIME_S;
    let cookie =
        format!("{BROWSER_COOKIE}={browser}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax");
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// What the page shows at first: nothing of the customer without a session.
#[derive(Serialize)]
struct AccountView {
    customer: Option<CustomerView>,
}

#[derive(Serialize)]
struct CustomerView {
    username: String,
    display_name: String,
    payment: Transaction,
    approved: bool,
}

async fn account(State(bank): State<Bank>, headers: HeaderMap) -> Json<AccountView> {
    let session = session(&headers).filter(|session| bank.sessions().is_open(session));
    let customer = session.map(|session| {
        let account = bank.account();
        CustomerView {
            username: account.username.to_string(),
            display_name: account.display_name.to_string(),
            payment: account.payment.clone(),
            approved: bank.sessions().has_approved(&session),
        }
    });
    Json(AccountView { customer })
}

/// Ends the session at the bank and in the browser.
async fn sign_out(State(bank): State<Bank>, headers: HeaderMap) -> Response {
    if let Some(session) = session(&headers) {
        bank.sign_out(&session).await;
    }
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie("", 0))]).into_response()
}

fn cookie(value: &str, seconds: u64) -> String {
    format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict")
}

fn session(headers: &HeaderMap) -> Option<SessionToken> {
    sent(headers, COOKIE).map(SessionToken::sent)
}

fn browser(headers: &HeaderMap) -> Option<BrowserSecret> {
    sent(headers, BROWSER_COOKIE)?.to_owned().try_into().ok()
}

fn sent<'a>(headers: &'a HeaderMap, cookie: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| name.trim() == cookie).map(|(_, value)| value.trim())
}

async fn open(
    State(bank): State<Bank>,
    Path(action): Path<Action>,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<OpenedForPage>), PageError> {
    let user_agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    // By the location, as the relay keeps only browser and system of a User-Agent.
    let place = user_agent.filter(|name| *name == VISITOR).unwrap_or("this machine");
    let context = BrowserContext {
        ip: PlainText::new("127.0.0.1").ok(),
        user_agent: user_agent.map(str::to_owned),
        location: PlainText::new(place).ok(),
        browser: browser(&headers),
    };
    Ok((StatusCode::CREATED, Json(bank.open(action, session(&headers), context).await?)))
}

/// The query of a long poll.
#[derive(Deserialize)]
struct PollQuery {
    #[serde(default)]
    wait: u64,
    #[serde(default)]
    since: u32,
}

async fn watch(
    State(bank): State<Bank>,
    Path(id): Path<CeremonyId>,
    Query(poll): Query<PollQuery>,
    headers: HeaderMap,
) -> Result<Json<CeremonyView>, PageError> {
    let wait = LongPoll { seconds: poll.wait, since: poll.since };
    Ok(Json(bank.watch(id, ticket(&headers)?, wait).await?))
}

async fn cancel(
    State(bank): State<Bank>,
    Path(id): Path<CeremonyId>,
    headers: HeaderMap,
) -> Result<StatusCode, PageError> {
    bank.cancel(id, ticket(&headers)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The last request of a page that is closed, left or reloaded.
async fn left(
    State(bank): State<Bank>,
    Path(id): Path<CeremonyId>,
    headers: HeaderMap,
) -> Result<StatusCode, PageError> {
    bank.left(id, ticket(&headers)?)?;
    Ok(StatusCode::NO_CONTENT)
}

/// The outcome and what the backend has verified.
#[derive(Serialize)]
struct OutcomeView {
    /// `pending`, `approved`, or `refused`.
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    words: Option<UserMessage>,
    /// Verified claims of the result token, as name and value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checked: Vec<(&'static str, String)>,
}

async fn outcome(
    State(bank): State<Bank>,
    Path(id): Path<CeremonyId>,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let mut begun = None;
    let view = match bank.ending(id, ticket(&headers)?, session(&headers)).await? {
        BankVerdict::Pending => {
            OutcomeView { verdict: "pending", outcome: None, words: None, checked: Vec::new() }
        }
        BankVerdict::Proven(verified, settled) => {
            let verdict = match &settled {
                Settlement::SignedOut => "refused",
                Settlement::Registered
                | Settlement::SignedIn(_)
                | Settlement::Paid
                | Settlement::PaidBefore => "approved",
            };
            let words = messages::settled(&settled);
            if let Settlement::SignedIn(session) = settled {
                begun = Some(session);
            }
            let (outcome, checked) = (Some(Outcome::Succeeded), checked(&verified));
            OutcomeView { verdict, outcome, words: Some(words), checked }
        }
        BankVerdict::Unproven(_) => OutcomeView {
            verdict: "refused",
            outcome: Some(Outcome::Succeeded),
            words: Some(messages::unproven()),
            checked: Vec::new(),
        },
        BankVerdict::Other(ceremony_type, outcome, reason) => OutcomeView {
            verdict: "refused",
            outcome: Some(outcome),
            words: Some(messages::of(ceremony_type, outcome, reason)),
            checked: Vec::new(),
        },
    };
    let begun = begun.map(|session| [(header::SET_COOKIE, cookie(session.expose(), LIFETIME_S))]);
    Ok((begun, Json(view)).into_response())
}

fn checked(verified: &Verified) -> Vec<(&'static str, String)> {
    let claims = &verified.claims;
    let mut checked = vec![
        ("Signature", format!("ES256, key {}", verified.key_id)),
        ("Issuer", claims.iss.clone()),
        ("Audience", claims.aud.clone()),
        ("Ceremony", claims.jti.clone()),
        ("User", claims.sub.clone()),
        ("Nonce", claims.client_nonce.clone().unwrap_or_default()),
        ("Page and phone", "tied together by the code".to_owned()),
        ("User verification", "the card asked for its PIN".to_owned()),
    ];
    if let Some(hash) = &claims.tx_hash {
        let by = match claims.tx_binding {
            Some(TxBinding::Card) => "covered by the card's own signature",
            Some(TxBinding::Relay) | None => "covered by the relay's signature",
        };
        checked.push(("Transaction", format!("{hash} ({by})")));
    }
    checked.extend(claims.cred_hash.clone().map(|card| ("Card", card)));
    checked.extend(claims.device_id.map(|phone| ("Phone", phone.to_string())));
    checked
}

fn ticket(headers: &HeaderMap) -> Result<&str, PageError> {
    headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .ok_or(PageError(BankError::NotYours))
}

/// A refusal as a page receives it.
struct PageError(BankError);

impl From<BankError> for PageError {
    fn from(error: BankError) -> Self {
        Self(error)
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let (status, code) = match &self.0 {
            BankError::Relay(error) => (error.status(), error.code()),
            BankError::NotYours => (404, None),
            BankError::SignedOut => (401, None),
            BankError::AlreadyApproved => (409, None),
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        (status, Json(message_for(&self.0, code))).into_response()
    }
}

fn message_for(error: &BankError, code: Option<ProblemCode>) -> UserMessage {
    let (headline, detail, advice) = match (error, code) {
        (BankError::NotYours, _) | (BankError::Relay(_), Some(ProblemCode::NotFound)) => (
            "This page is too old",
            "The bank does not remember what this page was waiting for.",
            "Start again.",
        ),
        (BankError::SignedOut, _) => (
            "You are not signed in",
            "A payment can be approved only by somebody who is signed in, and sign-ins end by \
             themselves after a quarter of an hour.",
            "Sign in, and approve it then.",
        ),
        (BankError::AlreadyApproved, _) => {
            ("Already approved", "This payment was approved before. It is not made twice.", "")
        }
        (BankError::Relay(_), Some(ProblemCode::AlreadyClosed)) => {
            ("Already finished", "This had ended before it could be stopped.", "")
        }
        (BankError::Relay(_), Some(ProblemCode::TooManyRequests)) => {
            ("Too many tries", "This was started too often.", "Wait a minute, and start again.")
        }
        (BankError::Relay(_), Some(_)) => (
            "That did not work",
            "The relay did not take the bank's request.",
            "Try again shortly.",
        ),
        (BankError::Relay(_), None) => {
            ("The relay does not answer", "The bank cannot reach it.", "Try again shortly.")
        }
    };
    UserMessage { headline, detail, advice }
}
