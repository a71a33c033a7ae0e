//! Many people at the page that waits, on the bank's own server configuration.

use std::io::Write as _;
use std::time::Duration;

use fido_relay::config::Config;
use futures::StreamExt as _;
use reqwest::header::{ACCEPT, ORIGIN};
use tokio::time::Instant;

use super::bank::Bank;
use super::visitor::Visitor;
use super::{MODULES, WHAT};
use crate::support::needs;
use crate::support::relay::{TestRelay, http};

/// Far more pages than the server has threads (32).
const PAGES: usize = 200;
/// Run on demand, for the figure in the application's README.
const MANY_PAGES: usize = 1000;
const AT_ONCE: usize = 16;
/// For a page of the bank while all of them wait, also on a busy machine.
const PROMPTLY: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_wait_leave_the_server_to_others() {
    wait_together(PAGES).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a thousand sign-ins take their time"]
async fn a_thousand_pages_that_wait_leave_the_server_to_others() {
    wait_together(MANY_PAGES).await;
}

async fn wait_together(pages: usize) {
    let Some(python) = needs::python_with(MODULES, WHAT) else { return };
    let change = |config: &mut Config| config.limits.rates.open_per_client = 10_000;
    let relay = TestRelay::start_with(change).await;
    let initiator = relay.initiator().await;
    let bank = Bank::open(&python, &relay.url(), &initiator.key).await;
    initiator.list_page(&relay, &bank.url).await;
    let began = Instant::now();
    let opening = futures::stream::iter(0..pages).map(|number| {
        let url = bank.url.clone();
        async move {
            let username = format!("user-{number}");
            let page = Visitor::at(&url).await.post("/sign-in", &[("username", &username)]).await;
            assert_eq!(page.0, 200, "{}", page.1);
            (between(&page.1, "data-watch=\""), between(&page.1, "data-ticket=\""))
        }
    });
    let opened: Vec<_> = opening.buffer_unordered(AT_ONCE).collect().await;
    let opening = began.elapsed();

    // Each stream has said something, and stays open.
    let relay_client = http();
    let watching = futures::stream::iter(opened).map(|(watch, ticket)| {
        let request = relay_client.get(format!("{watch}/events")).bearer_auth(ticket);
        let request = request.header(ORIGIN, &bank.url).header(ACCEPT, "text/event-stream");
        async move {
            let mut stream = request.send().await.unwrap();
            assert_eq!(stream.status(), 200);
            assert!(stream.chunk().await.unwrap().is_some());
            stream
        }
    });
    let streams: Vec<_> = watching.buffer_unordered(AT_ONCE).collect().await;
    assert_eq!(streams.len(), pages);
    let mut slowest = Duration::ZERO;
    for _ in 0..10 {
        let began = Instant::now();
        let (status, _) =
            Visitor::at(&bank.url).await.post("/sign-in", &[("username", "ada")]).await;
        assert_eq!(status, 200);
        slowest = slowest.max(began.elapsed());
    }
    let figures = format!("{pages} pages opened in {opening:?}; slowest sign-in {slowest:?}\n");
    std::io::stderr().write_all(figures.as_bytes()).unwrap();
    assert!(slowest < PROMPTLY, "{figures}");
}

/// The text after `mark`, up to the quotation mark.
fn between(page: &str, mark: &str) -> String {
    let (_, rest) = page.split_once(mark).unwrap_or_else(|| panic!("no {mark} in {page}"));
    rest.split_once('"').unwrap().0.to_owned()
}
