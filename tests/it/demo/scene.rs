//! A bank with its page in front of a scripted relay.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fido_relay::backends::embedded::SystemClock;
use fido_relay::tasks::Tasks;
use fido_relay_proto::{Outcome, Step};
use fido_relay_rig::demo::bank::{Account, Bank};
use fido_relay_rig::demo::initiator::Initiator;
use fido_relay_rig::demo::narrate::Narrator;
use fido_relay_rig::demo::{payment, site, web};
use tokio::net::TcpListener;

use super::browser::Browser;
use super::scripted_relay::{API_KEY, ISSUER, ScriptedRelay};

/// The steps until the phone shows the offer.
pub(crate) const UP_TO_DELIVERED: [Step; 2] = [Step::Sent, Step::Delivered];
/// The steps from the code to the card's answer.
pub(crate) const UP_TO_VERIFYING: [Step; 4] =
    [Step::Claimed, Step::Challenged, Step::Card, Step::Verifying];

/// Where a narrator writes in a test.
#[derive(Clone, Default)]
pub(crate) struct Story(Arc<Mutex<Vec<u8>>>);

impl Write for Story {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Story {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// A bank in front of a scripted relay.
pub(crate) struct Scene {
    pub(crate) relay: ScriptedRelay,
    pub(crate) url: String,
    pub(crate) told: Story,
    tasks: Tasks,
}

/// More than any test takes to load a page again.
const LEFT_LIMIT: Duration = Duration::from_secs(600);

impl Scene {
    pub(crate) async fn set() -> Self {
        Self::that_gives(LEFT_LIMIT).await
    }

    /// One whose bank gives a page that was left so long to come back.
    pub(crate) async fn that_gives(left_limit: Duration) -> Self {
        let tasks = Tasks::default();
        let relay = ScriptedRelay::start(&tasks).await;
        let initiator = Initiator::new(relay.base(), API_KEY.into()).unwrap();
        let account = Account {
            client_id: relay.client_id(),
            issuer: ISSUER.to_owned(),
            username: "ada@harbour.example".to_owned().try_into().unwrap(),
            display_name: "Ada Lovelace".to_owned().try_into().unwrap(),
            payment: payment().unwrap(),
            not_me_mute: Duration::from_secs(60),
            left_limit,
        };
        let told = Story::default();
        let clock = Arc::new(SystemClock);
        let narrator = Narrator::new(clock.clone(), Box::new(told.clone()), false);
        let bank = Bank::new(initiator, account, clock, narrator, tasks.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        web::serve(listener, site::router(bank), &tasks).unwrap();
        Self { relay, url, told, tasks }
    }

    /// A person signs in on the page, whatever it shows of it; the browser ends on the overview.
    pub(crate) async fn sign_in(&self, browser: &Browser) {
        let id = self.relay.opened_by(browser.click("[data-action=sign-in]")).await;
        self.relay.steps(id, &UP_TO_DELIVERED);
        self.relay.steps(id, &UP_TO_VERIFYING);
        self.relay.close(id, Outcome::Succeeded, None);
        browser.read("#headline", "You are signed in").await;
        browser.click("#back").await;
        browser.read("#choose-title", "Good to see you, Ada Lovelace").await;
    }

    pub(crate) async fn clear(self) {
        assert!(self.tasks.stop(Duration::from_secs(5)).await, "everything ends when told to");
    }
}
