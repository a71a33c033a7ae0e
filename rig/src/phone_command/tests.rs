//! What the person sees and types.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Parser as _;
use fido_relay_kit::random;
use fido_relay_proto::device::{
    CardErrorCode, DeclineReason, FrameErrorCode, Notice, NoticeEvent, Offer, Preview,
};
use fido_relay_proto::http::{BrowserContext, Transaction, TransactionField};
use fido_relay_proto::{
    CeremonyId, CeremonyType, ConnectionId, DeviceId, DisplayName, Message, NoticeId, Outcome,
    PlainText, Reason, Username,
};
use futures::FutureExt as _;
use tokio::sync::mpsc;

use super::fleet::{FleetCounts, links};
use super::person::{CodeFile, FixedCode, InputLines, InputState, Terminal, UnpromptedInput};
use super::screen::Screen;
use super::watch::{HINT, PhoneMonitor};
use super::{PhoneArguments, show};
use crate::phone::{Decision, DropAt, Person, PhoneEvent, PromptRequest, SecondAnswer, StopReason};

#[derive(clap::Parser)]
struct TestCli {
    #[command(flatten)]
    args: PhoneArguments,
}

fn args(words: &str) -> Result<PhoneArguments, String> {
    let words = std::iter::once("phone").chain(words.split_whitespace());
    TestCli::try_parse_from(words).map(|line| line.args).map_err(|error| error.to_string())
}

fn ask(code_length: u8, wrong_codes: u8) -> PromptRequest {
    let text = |text| PlainText::new(text).unwrap();
    let offer = Offer {
        ceremony_id: CeremonyId::from_bytes([7; 16]),
        ceremony_type: CeremonyType::Approval,
        client_name: text("Example Bank"),
        rp_id: "exa\u{1b}mple.com".to_owned(),
        username: Username::new("ada").unwrap(),
        display_name: DisplayName::new("Ada").unwrap(),
        message: Some(Message::new("Your transfer").unwrap()),
        transaction: Some(Transaction {
            title: PlainText::new("Payment to Bob").unwrap(),
            fields: vec![TransactionField {
                label: PlainText::new("Amount").unwrap(),
                value: PlainText::new("120.00 EUR").unwrap(),
            }],
        }),
        context: Some(BrowserContext {
            ip: Some(PlainText::new("203.0.113.7").unwrap()),
            user_agent: Some("Firefox".to_owned()),
            location: None,
            browser: None,
        }),
        code_length,
        expires_in: 118,
        preview: None,
    };
    PromptRequest { offer, wrong_codes, again: wrong_codes > 0 }
}

#[test]
fn a_prompt_tells_who_asks_for_what_and_from_where() {
    let expected = "
Example Bank asks for your approval at example.com
  Account    ada (Ada)
  Message    Your transfer
  Approve    Payment to Bob
             Amount: 120.00 EUR
  Browser    Firefox, address 203.0.113.7
  Time left  118 s
  Wrong code: 2 tries left.
Type the 6-digit code that the page shows. [n = no, x = this was not me]";
    assert_eq!(show::question(&ask(6, 1), Some(118)), expected);
    assert!(show::question(&ask(6, 2), None).contains("\n  Wrong code: 1 try left.\n"));
    let counted_down = show::question(&ask(0, 0), None);
    assert!(counted_down.ends_with("[Enter = yes, n = no, x = this was not me]"));
    assert!(!counted_down.contains("Time left"), "a count stands below");
}

#[test]
fn each_value_of_a_prompt_is_isolated_from_the_text_around_it() {
    let value = "\u{5D0} 100 EUR \u{5D1} 5";
    let mut ask = ask(6, 0);
    let offer = &mut ask.offer;
    offer.client_name = PlainText::new(value).unwrap();
    offer.rp_id = value.to_owned();
    offer.username = Username::new(value).unwrap();
    offer.display_name = DisplayName::new(value).unwrap();
    offer.message = Some(Message::new(value).unwrap());
    let field = TransactionField {
        label: PlainText::new(value).unwrap(),
        value: PlainText::new(value).unwrap(),
    };
    offer.transaction =
        Some(Transaction { title: PlainText::new(value).unwrap(), fields: vec![field] });
    offer.context = Some(BrowserContext {
        location: Some(PlainText::new(value).unwrap()),
        ..BrowserContext::default()
    });
    let shown = show::question(&ask, Some(118));
    let isolated = format!("\u{2068}{value}\u{2069}");
    assert_eq!(shown.matches(&isolated).count(), 9, "{shown:?}");
    assert_eq!(shown.matches(value).count(), 9, "{shown:?}");
}

#[test]
fn an_end_that_the_person_can_do_something_about_says_what() {
    for (reason, words) in [
        ("pin_not_set", "Set a PIN"),
        ("already_registered", "sign in"),
        ("card_limit", "Remove a card"),
    ] {
        assert!(show::advice(reason).contains(words), "{reason}");
    }
    let closed = |reason| {
        let ceremony_id = CeremonyId::from_bytes([7; 16]);
        show::event(&PhoneEvent::Closed { ceremony_id, outcome: Outcome::Failed, reason })
    };
    let line = closed(Some(Reason::CardFull)).unwrap();
    assert!(line.ends_with(": failed (card_full)."), "{line}");
}

/// The output of a screen.
#[derive(Clone, Default)]
struct SharedBuffer(Arc<Mutex<Vec<u8>>>);

impl SharedBuffer {
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut self.0.lock().unwrap())).unwrap()
    }
}

impl std::io::Write for SharedBuffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A person at a screen, and what they type.
fn sitting(
    is_terminal: bool,
    asks: bool,
) -> (Terminal, mpsc::Sender<Option<String>>, SharedBuffer) {
    let (typed, lines) = mpsc::channel(8);
    let shown = SharedBuffer::default();
    let screen = Screen::on(Box::new(shown.clone()), is_terminal);
    (Terminal::new(InputLines::new(lines), screen, asks), typed, shown)
}

#[tokio::test]
async fn a_person_at_the_terminal_types_codes_and_refusals() {
    let (terminal, typed, shown) = sitting(false, true);
    for (line, code_length, decision) in [
        ("271 828", 6, Decision::Code("271828".to_owned())),
        ("٢٧١-٨٢٨", 6, Decision::Code("271828".to_owned())),
        ("n", 6, Decision::Decline),
        ("X", 0, Decision::NotMe),
        ("", 0, Decision::HoldCard),
    ] {
        typed.send(Some(line.to_owned())).await.unwrap();
        assert_eq!(terminal.decide(ask(code_length, 0)).await, decision, "{line:?}");
    }
    shown.take();
    // What is no code is asked for again.
    for line in ["27182", "abcdef", "", "314159"] {
        typed.send(Some(line.to_owned())).await.unwrap();
    }
    assert_eq!(terminal.decide(ask(6, 0)).await, Decision::Code("314159".to_owned()));
    let said = shown.take();
    let hint = "Not understood. Type the 6 digits, or n or x.\n";
    assert_eq!(said.matches(hint).count(), 3, "{said}");
    assert_eq!(said.matches("Type the 6-digit code").count(), 1, "{said}");
    assert!(!said.contains('\u{1b}'), "no terminal, no escapes: {said:?}");
}

#[tokio::test(start_paused = true)]
async fn on_a_terminal_the_time_left_counts_down_in_front_of_what_is_typed() {
    let (terminal, typed, shown) = sitting(true, true);
    let mut deciding = terminal.decide(ask(6, 0));
    let decided = tokio::time::timeout(Duration::from_millis(2500), &mut deciding);
    assert!(decided.await.is_err());
    let said = shown.take();
    let (question, counting) = said.split_once("this was not me]\n").unwrap();
    assert!(!question.contains("Time left"), "{question}");
    let redrawn = |left| format!("\u{1b}7\r{left:>4} s left > \u{1b}8");
    assert_eq!(counting, format!(" 118 s left > {}{}", redrawn(117), redrawn(116)));
    // Events are printed above, and the countdown stays.
    terminal.screen().say("Disconnected.");
    assert_eq!(shown.take(), "\r\u{1b}[KDisconnected.\n 116 s left > ");
    typed.send(Some("271828".to_owned())).await.unwrap();
    assert_eq!(deciding.await, Decision::Code("271828".to_owned()));
    assert_eq!(shown.take(), "\r\u{1b}[K");
    // The same prompt again has the time that is left of it, and not what it came with.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let again = tokio::time::timeout(Duration::from_millis(1), terminal.decide(ask(6, 1)));
    assert!(again.await.is_err());
    assert!(shown.take().ends_with("\n 105 s left > \r\u{1b}[K"), "and it was taken down");
}

#[test]
fn a_preview_says_how_it_was_found_and_warns_after_not_me() {
    let mut found = ask(0, 0);
    let preview = Preview {
        by_code: true,
        rang: false,
        known_browser: false,
        after_not_me: true,
        claim_id: None,
    };
    found.offer.preview = Some(preview.clone());
    let expected = "
  Browser    Firefox, address 203.0.113.7
  Found by   the code that you typed; it rang on no phone
  Known      you have not signed in with this browser before
  Time left  118 s
  You said \"not me\" a short while ago: if you did not just open this page yourself, press x.
Did you open this page yourself, to do this? [Enter = yes, n = no, x = this was not me]";
    let shown = show::question(&found, Some(118));
    assert!(shown.ends_with(expected), "{shown}");
    let usual = Preview { rang: true, known_browser: true, after_not_me: false, ..preview };
    found.offer.preview = Some(usual);
    let shown = show::question(&found, None);
    assert!(shown.contains("it was also shown to your phones"), "{shown}");
    assert!(shown.contains("you have signed in with this browser before"), "{shown}");
    assert!(!shown.contains("press x"), "{shown}");
}

#[test]
fn a_refused_code_and_prompts_held_back_say_what_to_do() {
    let refused = |code: FrameErrorCode| {
        let message = code.message().to_owned();
        show::event(&PhoneEvent::Refused { code, message, ceremony_id: None }).unwrap()
    };
    for (code, words) in [
        (FrameErrorCode::OtherDevice, "(other_device). Type it on that one."),
        (FrameErrorCode::CodeAmbiguous, "(code_ambiguous). Start again at the page"),
        (FrameErrorCode::TooManyCodes, "(too_many_codes). Another phone of yours"),
        (FrameErrorCode::DeviceLocked, "(device_locked). Have the operator unlock it"),
    ] {
        assert!(refused(code).contains(words), "{}", refused(code));
    }
    let notice = Notice {
        notice_id: NoticeId::from_bytes([1; 16]),
        event: NoticeEvent::PromptsHeld,
        device_id: None,
        card_id: None,
        name: None,
        platform: None,
        ago_s: 3,
        count: Some(1),
        since_s: Some(60),
    };
    let line = show::event(&PhoneEvent::Noticed(Box::new(notice))).unwrap();
    assert!(line.starts_with("Notice: 1 prompt was held back since 60 s ago."), "{line}");
    assert!(line.ends_with("if these were not yours, type x."), "{line}");
}

#[tokio::test]
async fn what_is_typed_while_nothing_asks_is_a_code_alone_or_not_me() {
    let (terminal, typed, shown) = sitting(true, true);
    for line in ["", "hello", "n", "271 828"] {
        typed.send(Some(line.to_owned())).await.unwrap();
    }
    assert_eq!(terminal.unprompted().await, Some(UnpromptedInput::Code("271828".to_owned())));
    assert_eq!(shown.take().matches("No prompt is open").count(), 2);
    typed.send(Some("x".to_owned())).await.unwrap();
    assert_eq!(terminal.unprompted().await, Some(UnpromptedInput::NotMe));
    // A prompt takes the lines over while it asks.
    let mut unprompted = Box::pin(terminal.unprompted());
    assert!((&mut unprompted).now_or_never().is_none());
    let mut deciding = terminal.decide(ask(6, 0));
    assert!((&mut unprompted).now_or_never().is_none());
    assert!((&mut deciding).now_or_never().is_none());
    typed.send(Some("314159".to_owned())).await.unwrap();
    assert!((&mut unprompted).now_or_never().is_none());
    assert_eq!(deciding.await, Decision::Code("314159".to_owned()));
    typed.send(Some("161803".to_owned())).await.unwrap();
    assert_eq!(unprompted.await, Some(UnpromptedInput::Code("161803".to_owned())));
    typed.send(None).await.unwrap();
    assert_eq!(terminal.unprompted().await, None);
    // What a file says waits for its prompt.
    let (file, typed, _) = sitting(false, true);
    typed.send(Some("271828".to_owned())).await.unwrap();
    assert_eq!(file.unprompted().await, None);
    assert_eq!(file.decide(ask(6, 0)).await, Decision::Code("271828".to_owned()));
}

#[tokio::test]
async fn a_prompt_that_waits_for_a_closed_input_ends_the_wait() {
    let (terminal, typed, _) = sitting(false, false);
    let input = terminal.input();
    assert!(input.closed(true).now_or_never().is_none(), "not while more may come");
    typed.send(None).await.unwrap();
    assert_eq!(terminal.decide(ask(6, 0)).await, Decision::Ignore);
    assert!(input.closed(false).now_or_never().is_some());
}

#[tokio::test]
async fn a_scripted_code_is_not_typed_again_after_a_refusal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("code");
    std::fs::write(&path, "271828\n").unwrap();
    let people: [Box<dyn Person>; 2] =
        [Box::new(FixedCode::new("271828".to_owned())), Box::new(CodeFile::new(path))];
    for person in people {
        assert_eq!(person.decide(ask(6, 0)).await, Decision::Code("271828".to_owned()));
        assert_eq!(person.decide(ask(6, 1)).await, Decision::Ignore);
        assert_eq!(person.decide(ask(0, 0)).await, Decision::HoldCard);
    }
}

#[test]
fn the_fault_options_become_faults() {
    let faults = args(
        "--not-me --wrong-codes 2 --card-error 600 --card-error 608 --answer-twice different \
         --drop-at answer-sent --drop-at closed --withhold-acks",
    )
    .unwrap()
    .faults
    .faults();
    assert_eq!(faults.decline, Some(DeclineReason::NotMe));
    assert_eq!(faults.wrong_codes, 2);
    let numbers: Vec<u16> = faults.card_errors.iter().map(|code| code.number().unwrap()).collect();
    assert_eq!(numbers, [600, 608]);
    assert_eq!(faults.second_answer, Some(SecondAnswer::Different));
    assert_eq!(faults.drop_at, [DropAt::AnswerSent, DropAt::Closed]);
    assert!(faults.withhold_acks && !faults.withhold_card);
    assert!(CardErrorCode::new(618).is_err());
}

#[test]
fn options_that_make_no_sense_are_refused() {
    for bad in [
        "--card-error 599",
        "--drop-at lunch",
        "--answer-twice never",
        "--decline --not-me",
        "--code 1 --code-from -",
        "--fleet 3",
        "--pairings links.txt",
    ] {
        assert!(args(bad).is_err(), "{bad}");
    }
    assert!(args("--fleet 3 --pairings links.txt").is_ok());
}

#[test]
fn a_fleet_needs_a_link_for_every_phone() {
    let link = "fido-relay://pair?relay=https%3A%2F%2Frelay.example&token=t";
    let file = format!("{link}\n\n{link}\n{link}\n");
    assert_eq!(links(&file, 2).unwrap().len(), 2);
    assert_eq!(links(&file, 4).unwrap_err(), "3 links for a fleet of 4");
    let error = links("\nnonsense\n", 1).unwrap_err();
    assert!(error.starts_with("line 2: not a pairing link"), "{error}");
}

#[test]
fn fleet_counts_hold_a_phone_online_once_however_often_it_dials() {
    let counts = FleetCounts::default();
    let device = DeviceId::from_bytes(random::bytes());
    let lost = PhoneEvent::Disconnected { code: None, why: String::new() };
    let connected = PhoneEvent::Connected {
        connection_id: fido_relay_proto::ConnectionId::from_bytes(random::bytes()),
    };
    for event in [&lost, &connected, &lost, &connected] {
        counts.count(device, event);
    }
    assert!(counts.to_string().starts_with("1 online; 2 connects, 2 disconnects, 0 given up"));
    counts.count(device, &PhoneEvent::Stopped(StopReason::Revoked));
    assert!(counts.to_string().starts_with("0 online; 2 connects, 2 disconnects, 1 given up"));
    let one = FleetCounts::default();
    one.count(device, &connected);
    assert!(one.to_string().starts_with("1 online; 1 connect, 0 disconnects, 0 given up"));
}

#[test]
fn a_line_tells_the_end_with_its_reason() {
    let ceremony_id = CeremonyId::from_bytes([7; 16]);
    let closed = PhoneEvent::Closed {
        ceremony_id,
        outcome: Outcome::Failed,
        reason: Some(fido_relay_proto::Reason::WrongCode),
    };
    let line = show::event(&closed).unwrap();
    assert_eq!(line, format!("{ceremony_id}: failed (wrong_code)."));
}

#[test]
fn refusals_and_ends_are_told_in_plain_words() {
    let ceremony_id = CeremonyId::from_bytes([7; 16]);
    let refused = |code, message: &str| {
        let message = message.to_owned();
        let event = PhoneEvent::Refused { code, message, ceremony_id: Some(ceremony_id) };
        show::event(&event).unwrap()
    };
    assert_eq!(
        refused(FrameErrorCode::WrongCode, "wrong code, 2 tries left\u{1b}[2J"),
        format!("{ceremony_id}: wrong code, 2 tries left[2J (wrong_code).")
    );
    let closed = FrameErrorCode::AlreadyClosed;
    let line = refused(closed, closed.message());
    assert_eq!(line, format!("{ceremony_id}: the ceremony is closed (already_closed)."));
    assert_eq!(show::event(&PhoneEvent::Stopped(StopReason::Requested)).unwrap(), "Stopped.");
    assert_eq!(
        show::event(&PhoneEvent::Waiting { ms: 1250 }).unwrap(),
        "Connecting again in 1.2 s."
    );
    let card = PhoneEvent::Card { ceremony_id, error: CardErrorCode::new(608).ok() };
    let line = show::event(&card).unwrap();
    assert_eq!(line, format!("{ceremony_id}: the card failed with error 608: wrong PIN."));
}

fn connected() -> PhoneEvent {
    PhoneEvent::Connected { connection_id: ConnectionId::from_bytes([1; 16]) }
}

/// What a screen shows of these events, each so many seconds after the one before, and how the
/// command ends.
async fn watched(events: Vec<(u64, PhoneEvent)>) -> (String, Result<(), u8>) {
    let (sender, events_in) = mpsc::channel(8);
    let shown = SharedBuffer::default();
    let screen = Screen::on(Box::new(shown.clone()), false);
    let watch = PhoneMonitor { screen, input: InputState::default(), once: false, scripted: false };
    let play = async {
        for (after, event) in events {
            tokio::time::sleep(Duration::from_secs(after)).await;
            sender.send(event).await.unwrap();
        }
        drop(sender);
    };
    let (ended, ()) = tokio::join!(watch.run(|| {}, events_in), play);
    (shown.take(), ended.map_err(|failure| failure.exit_code))
}

#[tokio::test(start_paused = true)]
async fn a_connected_phone_that_is_asked_nothing_says_once_why_that_may_be() {
    let offered = PhoneEvent::Offered { offer: Box::new(ask(6, 0).offer), again: false };
    let lost = PhoneEvent::Disconnected { code: None, why: "the relay fell silent".to_owned() };
    let quiet = vec![(0, connected()), (19, lost.clone()), (1, connected()), (90, lost.clone())];
    let (said, _) = watched(quiet).await;
    assert_eq!(said.matches(HINT).count(), 1, "{said}");
    assert_eq!(said.matches("Waiting for a prompt. Ctrl-C ends.").count(), 1, "{said}");
    let (said, _) = watched(vec![(0, connected()), (19, offered), (90, lost)]).await;
    assert!(!said.contains(HINT), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_phone_that_the_relay_sent_away_fails_and_says_it_once() {
    let (said, ended) = watched(vec![(0, PhoneEvent::Stopped(StopReason::Revoked))]).await;
    assert_eq!((said.as_str(), ended), ("", Err(1)));
    let (said, ended) = watched(vec![(0, PhoneEvent::Stopped(StopReason::Requested))]).await;
    assert_eq!((said.as_str(), ended), ("Stopped.\n", Ok(())));
}
