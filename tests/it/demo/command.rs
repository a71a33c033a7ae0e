//! The demo as a whole: the real relay, its built-in FIDO2 server, the simulated phone, and the
//! bank's page in a browser; and the command that stages it all.

use std::sync::Arc;
use std::time::Duration;

use fido_relay::backends::embedded::SystemClock;
use fido_relay::cli::rig::Host;
use fido_relay_proto::device::DeclineReason;
use fido_relay_rig::demo::narrate::Narrator;
use fido_relay_rig::demo::person::CodeSource;
use fido_relay_rig::demo::setup::{Demo, DemoOptions};
use fido_relay_rig::phone::Faults;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::process::Command;

use super::browser::Browser;
use super::scene::Story;
use crate::support::child::{ChildProcess, fido_relay, run};
use crate::support::needs;
use crate::support::relay::http;

/// The pause of a quick person.
const QUICK: Duration = Duration::from_millis(50);

async fn stage(faults: Faults) -> (Demo, Story, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let story = Story::default();
    let clock = Arc::new(SystemClock);
    let narrator = Narrator::new(clock.clone(), Box::new(story.clone()), false);
    let cast = DemoOptions { port: 0, code_source: CodeSource::Page(QUICK), faults };
    let stage = Demo::start(&Host, directory.path(), cast, clock, narrator).await.unwrap();
    (stage, story, directory)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_registers_signs_in_and_approves_through_the_real_relay_by_keyboard_alone() {
    let Some(chromium) = needs::chromium("the demo in a browser") else { return };
    let (mut stage, story, _directory) = stage(Faults::none()).await;
    let browser = Browser::start(&chromium).await;
    browser.open(stage.bank_url().as_str()).await;
    for (action, headline) in [
        ("register", "Card registered"),
        ("sign-in", "You are signed in"),
        ("approve", "Payment approved"),
    ] {
        if action == "approve" {
            stage.phone_sleeps().await.unwrap();
        }
        browser.enter(&format!("[data-action={action}]")).await;
        browser.read("#headline", headline).await;
        assert!(browser.focus_is_on("#headline").await, "{action}: the end is read out");
        let code = browser.text("#code").await;
        assert_eq!(code.trim(), "", "a code that was used is gone");
        let done = browser.run(
            "return [...document.querySelectorAll('[data-state=done]')].map(li => li.dataset.step)",
        );
        let every = [
            "opened",
            "woken",
            "sent",
            "delivered",
            "claimed",
            "challenged",
            "card",
            "verifying",
            "closed",
        ];
        let of_the_phone = |step: &&str| ["woken", "sent", "delivered"].contains(step);
        let shown = every.iter().filter(|step| action == "approve" || !of_the_phone(step));
        let shown: Vec<_> = shown.collect();
        assert_eq!(done.await, serde_json::json!(shown), "{action}: presence is for the signed-in");
        browser.enter("#back").await;
        browser.see("#choose").await;
        assert!(browser.focus_is_on("#choose-title").await, "{action}");
    }
    browser.read("#approve-title", "Payment approved").await;
    browser.enter("#sign-out").await;
    browser.read("#choose-title", "Welcome to Harbour Bank").await;
    assert!(!browser.shows("#sign-out").await && !browser.shows("[data-action=approve]").await);
    assert!(story.text().contains("result token verified"), "{}", story.text());
    browser.quit().await;
    assert!(stage.stop().await, "everything ends when told to");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_is_told_that_the_phone_said_no() {
    let Some(chromium) = needs::chromium("the demo in a browser") else { return };
    let (stage, story, _directory) = stage(Faults::declines(DeclineReason::Declined)).await;
    let browser = Browser::start(&chromium).await;
    browser.open(stage.bank_url().as_str()).await;
    browser.click("[data-action=sign-in]").await;
    browser.read("#headline", "Declined on your phone").await;
    browser.read("#advice", "If that was a mistake, start again.").await;
    browser.see("[data-step=claimed][data-state=skipped]").await;
    browser.see("[data-step=closed][data-state=bad]").await;
    assert!(story.text().contains("denied (declined)"), "{}", story.text());
    browser.quit().await;
    assert!(stage.stop().await, "everything ends when told to");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tabs_at_once_both_come_to_their_end() {
    let Some(chromium) = needs::chromium("the demo in a browser") else { return };
    let (stage, story, _directory) = stage(Faults::none()).await;
    let browser = Browser::start(&chromium).await;
    browser.open(stage.bank_url().as_str()).await;
    browser.click("[data-action=register]").await;
    browser.read("#headline", "Card registered").await;
    let one = browser.tab().await;
    browser.click("#back").await;
    // The phone rings for one of them at a time.
    browser.click("[data-action=sign-in]").await;
    let two = browser.new_tab(stage.bank_url().as_str()).await;
    browser.click("[data-action=register]").await;
    browser.read("#headline", "Card registered").await;
    browser.turn_to(&one).await;
    browser.read("#headline", "You are signed in").await;
    browser.turn_to(&two).await;
    browser.read("#who-name", "ada@harbour.example").await;
    assert_eq!(story.text().matches("result token verified").count(), 3, "{}", story.text());
    browser.quit().await;
    assert!(stage.stop().await, "everything ends when told to");
}

fn demo(arguments: &[&str]) -> Command {
    fido_relay(&[&["demo"], arguments].concat())
}

#[tokio::test]
async fn the_demo_tells_every_step_of_three_ceremonies_and_exits_with_0() {
    let exit = run(&mut demo(&[])).await;
    assert_eq!((exit.code, exit.err.as_str()), (Some(0), ""), "{}", exit.out);
    let told = exit.out;
    let blocks: Vec<&str> = told.split("\n\n").collect();
    assert_eq!(blocks.len(), 5, "what runs, three blocks, and the summary: {told}");
    let titles = ["1  Register a card", "2  Sign in", "3  Approve a payment"];
    for (block, title) in blocks[1..4].iter().zip(titles) {
        assert!(block.starts_with(title), "{block}");
        let mut rest = *block;
        for step in [
            "page   asks the bank",
            "relay  opened      stored; code ",
            "relay  sent ",
            "phone  delivered ",
            "phone  shows       Harbour Bank asks ada@harbour.example",
            "phone  claimed ",
            "fido2  challenged ",
            "card   card ",
            "relay  verifying ",
            "relay  closed      succeeded",
            "bank   result token verified (ES256",
        ] {
            let found = rest.find(step).unwrap_or_else(|| panic!("{step:?} follows in {block}"));
            rest = &rest[found..];
        }
    }
    let woken = blocks[1..4].iter().map(|block| block.contains("relay  woken "));
    assert_eq!(woken.collect::<Vec<_>>(), [false, false, true], "the phone sleeps once: {told}");
    assert!(blocks[3].contains("120.00 EUR"), "the phone shows the payment: {}", blocks[3]);
    assert_eq!(blocks[4].matches("succeeded").count(), 3, "{}", blocks[4]);
    assert!(!told.contains('\x1b'), "no colours off a terminal");
}

#[tokio::test]
async fn the_demo_that_is_kept_serves_its_page_until_ctrl_c() {
    let mut demo = ChildProcess::start(&mut demo(&["--keep"]));
    let url = demo.prints("The page is open at ").await;
    let page = http().get(&url).send().await.unwrap();
    assert!(page.status().is_success());
    demo.signal(Signal::INT);
    demo.exit().await.stdout();
}

#[tokio::test]
async fn whoever_sits_at_the_terminal_may_mistype_the_code_or_say_no() {
    let mut demo = ChildProcess::start(&mut demo(&["--keep", "--ask-code"]));
    for ceremony in ["registration", "sign-in", "approval"] {
        let code = demo.prints("stored; code ").await;
        let wrong = if code.starts_with("111 111") { "222222" } else { "111111" };
        let typed = match ceremony {
            "registration" => format!("{wrong}\n{}\n", &code[..7]),
            "sign-in" => format!("{}\n", &code[..7]),
            _ => "n\n".to_owned(),
        };
        demo.types(&typed).await;
    }
    demo.prints("The page is open at ").await;
    demo.signal(Signal::INT);
    let exit = demo.exit().await;
    assert_eq!(exit.code, Some(1), "not all three succeeded");
    let told = exit.out;
    assert!(told.contains("That was not the code. Code, or n (no)"), "{told}");
    assert!(told.contains("denied (declined)"), "{told}");
    let (_, summary) = told.split_once("Summary").unwrap();
    assert_eq!(summary.matches("result proven").count(), 2, "{told}");
    assert!(summary.contains("Declined on your phone"), "the summary says what went wrong: {told}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_in_words() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let complaints = run(&mut demo(&["--port", &port])).await.with_code(1);
    assert!(complaints.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{complaints}");
    assert!(complaints.contains("choose another --port"), "{complaints}");
}

#[tokio::test]
async fn a_temporary_directory_that_is_not_to_be_had_is_told_in_words() {
    let complaints = run(demo(&[]).env("TMPDIR", "/nowhere/at/all")).await.with_code(1);
    assert!(complaints.contains("can be created in /nowhere/at/all"), "{complaints}");
    assert!(complaints.contains("set TMPDIR"), "{complaints}");
}
