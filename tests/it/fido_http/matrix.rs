//! Every status with every body, at begin and at complete, for registrations and
//! authentications: exactly the cells "200 and ok" succeed.

use std::sync::{Arc, Mutex};

use fido_relay::core::ceremony::Verdict;
use fido_relay::ports::Fido as _;
use fido_relay_proto::{CeremonyType, Reason};

use super::{CREDENTIAL, OPTIONS, backend, credential, no_cookies, request};
use crate::support::scripted_upstream::{Answer, Reply, ScriptedUpstream};

const STATUSES: [u16; 12] = [200, 201, 204, 302, 400, 401, 403, 404, 408, 500, 503, 507];
const TYPES: [CeremonyType; 3] =
    [CeremonyType::Registration, CeremonyType::Authentication, CeremonyType::Approval];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Body {
    Ok,
    Failed,
    False,
    /// The boolean `true`, which is no status.
    True,
    /// `failed` because the session ran out.
    Expired,
    /// An error page.
    Html,
}

const BODIES: [Body; 6] =
    [Body::Ok, Body::Failed, Body::False, Body::True, Body::Expired, Body::Html];

impl Body {
    fn answer(self, status: u16) -> Answer {
        let with_status = |word: &str| {
            Answer::json(
                status,
                OPTIONS.replace("\"status\":\"ok\"", &format!("\"status\":{word}")),
            )
        };
        match self {
            Self::Ok => with_status("\"ok\""),
            Self::Failed => with_status("\"failed\""),
            Self::False => with_status("\"false\""),
            Self::True => with_status("true"),
            Self::Expired => with_status("\"failed\",\"statuscode\":\"E0024R\""),
            Self::Html => {
                Answer { status, headers: Vec::new(), body: "<html>ok</html>".to_owned() }
                    .with("Content-Type", "text/html")
            }
        }
        .with("Location", "/elsewhere")
    }
}

/// What a begin call must come to, and after how many calls.
fn begin_table(
    ceremony_type: CeremonyType,
    status: u16,
    body: Body,
) -> (Result<(), Reason>, usize) {
    let refused = (Err(Reason::UpstreamRejected), 1);
    let again_once = (Err(Reason::UpstreamUnavailable), 2);
    // Without a challenge no session of this ceremony can have run out.
    let session_lost = (Err(Reason::UpstreamUnavailable), 2);
    // The server's own 403 has a `status`; an error page is that of a gateway.
    let is_the_servers = matches!(body, Body::Ok | Body::Failed | Body::False);
    match (status, body) {
        (200, Body::Ok) => (Ok(()), 1),
        (200, Body::Failed | Body::False) => refused,
        (200, Body::True | Body::Html) => again_once,
        (201 | 204 | 302, _) => again_once,
        (507, _) => (Err(Reason::UpstreamFull), 1),
        (408, _) | (_, Body::Expired) | (401, Body::False) => session_lost,
        (403, _) if is_the_servers && ceremony_type != CeremonyType::Registration => {
            (Err(Reason::NoCredential), 1)
        }
        (400 | 401 | 403 | 404, _) => refused,
        (500 | 503, _) => (Err(Reason::UpstreamUnavailable), 3),
        _ => unreachable!("not in the matrix"),
    }
}

/// What a completion call must come to; always after one call.
fn complete_table(status: u16, body: Body) -> &'static str {
    match (status, body) {
        (200, Body::Ok) => "approved",
        (200, Body::Failed | Body::False) => "rejected",
        (200, Body::True | Body::Html) | (201 | 204 | 302, _) => "unknown",
        (507, _) => "full",
        (408, _) | (_, Body::Expired) | (401, Body::False) => "session lost",
        // Without the interface's `status` it is a gateway's word.
        (400 | 401 | 403 | 404, Body::True | Body::Html) => "unknown",
        (400 | 401 | 403 | 404, _) => "rejected",
        (500 | 503, _) => "unknown",
        _ => unreachable!("not in the matrix"),
    }
}

pub(super) fn name(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Approved(_) => "approved",
        Verdict::Rejected(_) => "rejected",
        Verdict::SessionLost => "session lost",
        Verdict::Full => "full",
        Verdict::NotAsked => "not asked",
        Verdict::Unknown => "unknown",
    }
}

/// A server that answers every call by the cell that is set at the time.
fn by_the_cell() -> (ScriptedUpstream, Arc<Mutex<(u16, Body)>>) {
    let cell = Arc::new(Mutex::new((200, Body::Ok)));
    let current = Arc::clone(&cell);
    let server = ScriptedUpstream::listening(move |_, _| {
        let (status, body) = *current.lock().unwrap();
        Reply::Answer(body.answer(status))
    });
    (server, cell)
}

#[tokio::test]
async fn a_begin_gives_a_challenge_in_exactly_the_ok_cells() {
    let (server, current) = by_the_cell();
    let backend = backend(&server.url());
    let (mut succeeded, mut calls_before) = (0, 0);
    for ceremony_type in TYPES {
        for status in STATUSES {
            for body in BODIES {
                let cell = format!("{ceremony_type:?} {status} {body:?}");
                *current.lock().unwrap() = (status, body);
                let came_to = backend.begin(request(ceremony_type)).await;
                let (expected, calls) = begin_table(ceremony_type, status, body);
                let came_to = came_to.map(drop).map_err(|fault| fault.reason);
                assert_eq!(came_to, expected, "{cell}");
                assert_eq!(server.received().len() - calls_before, calls, "{cell}");
                calls_before += calls;
                succeeded += usize::from(came_to.is_ok());
            }
        }
    }
    assert_eq!(succeeded, TYPES.len());
}

#[tokio::test]
async fn a_completion_approves_in_exactly_the_ok_cells_and_is_sent_once_in_all() {
    let (server, current) = by_the_cell();
    let backend = backend(&server.url());
    let (mut approved, mut calls_before) = (0, 0);
    for ceremony_type in TYPES {
        for status in STATUSES {
            for body in BODIES {
                let cell = format!("{ceremony_type:?} {status} {body:?}");
                *current.lock().unwrap() = (status, body);
                let verdict = backend
                    .complete(ceremony_type, &no_cookies(), &credential(), 60_000)
                    .await
                    .verdict;
                assert_eq!(name(&verdict), complete_table(status, body), "{cell}");
                let received = server.received();
                assert_eq!(received.len(), calls_before + 1, "{cell}");
                assert_eq!(received[calls_before].body, CREDENTIAL, "{cell}");
                calls_before += 1;
                approved += usize::from(matches!(verdict, Verdict::Approved(_)));
            }
        }
    }
    assert_eq!(approved, TYPES.len());
}

#[tokio::test]
async fn a_begin_that_fails_for_a_moment_is_asked_again() {
    for (first, calls) in [
        (vec![503, 500], 3),
        (vec![408], 2),
        (vec![201], 2),
        // Each row has its own patience.
        (vec![503, 408, 302, 500], 5),
    ] {
        let server = ScriptedUpstream::listening(move |number, _| {
            let status = first.get(number).copied().unwrap_or(200);
            Reply::Answer(Body::Ok.answer(status))
        });
        let begun = backend(&server.url()).begin(request(CeremonyType::Authentication)).await;
        assert_eq!(begun.unwrap().challenge, "Y2hhbGxlbmdlLWNoYWxsZW5nZQ");
        assert_eq!(server.received().len(), calls);
    }
}
