//! What a person sees and types.

use clap::Parser as _;
use fido_relay_proto::device::{CardErrorCode, DeclineReason, Offer};
use fido_relay_proto::http::{BrowserContext, Transaction, TransactionField};
use fido_relay_proto::{
    CeremonyId, CeremonyType, DeviceId, DisplayName, Message, Outcome, PlainText, Username,
};
use tokio::sync::mpsc;

use super::fleet::{Tally, links};
use super::person::{FromFile, Lines, Terminal, Types};
use super::{Arguments, show};
use crate::phone::{Ask, Decision, DropAt, Person, PhoneEvent, SecondAnswer, Stopped};
use crate::security::random;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: Arguments,
}

fn args(words: &str) -> Result<Arguments, String> {
    let words = std::iter::once("phone").chain(words.split_whitespace());
    Line::try_parse_from(words).map(|line| line.args).map_err(|error| error.to_string())
}

fn ask(code_length: u8, wrong_codes: u8) -> Ask {
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
            user_agent: Some(PlainText::new("Firefox").unwrap()),
            location: None,
        }),
        code_length,
        expires_in: 118,
    };
    Ask { offer, wrong_codes }
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
  The relay refused that code.
Type the 6-digit code that the page shows. [n = no, x = not me]";
    assert_eq!(show::question(&ask(6, 1)), expected);
    assert!(show::question(&ask(0, 0)).ends_with("[Enter = yes, n = no, x = not me]"));
}

#[tokio::test]
async fn a_person_at_the_terminal_types_codes_and_refusals() {
    let (typed, lines) = mpsc::channel(8);
    let terminal = Terminal::asking(Lines::new(lines));
    for (line, code_length, decision) in [
        ("271 828", 6, Decision::Code("271828".to_owned())),
        ("٢٧١-٨٢٨", 6, Decision::Code("271828".to_owned())),
        ("n", 6, Decision::Decline),
        ("X", 0, Decision::NotMe),
        ("", 0, Decision::HoldCard),
    ] {
        typed.send(line.to_owned()).await.unwrap();
        assert_eq!(terminal.decide(ask(code_length, 0)).await, decision, "{line:?}");
    }
    // What is no code is asked again.
    for line in ["27182", "abcdef", "", "314159"] {
        typed.send(line.to_owned()).await.unwrap();
    }
    assert_eq!(terminal.decide(ask(6, 0)).await, Decision::Code("314159".to_owned()));
    drop(typed);
    assert_eq!(terminal.decide(ask(6, 0)).await, Decision::Ignore);
}

#[tokio::test]
async fn a_scripted_code_is_not_typed_again_after_a_refusal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("code");
    std::fs::write(&path, "271828\n").unwrap();
    let people: [Box<dyn Person>; 2] =
        [Box::new(Types::new("271828".to_owned())), Box::new(FromFile::new(path))];
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
    let numbers: Vec<u16> = faults.card_errors.iter().map(|code| code.number()).collect();
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
fn a_tally_counts_a_phone_online_once_however_often_it_dials() {
    let tally = Tally::default();
    let device = DeviceId::from_bytes(random::bytes());
    let lost = PhoneEvent::Disconnected { code: None, why: String::new() };
    let connected = PhoneEvent::Connected {
        connection_id: fido_relay_proto::ConnectionId::from_bytes(random::bytes()),
    };
    for event in [&lost, &connected, &lost, &connected] {
        tally.count(device, event);
    }
    assert!(tally.to_string().starts_with("1 online; 2 connects, 2 disconnects, 0 given up"));
    tally.count(device, &PhoneEvent::Stopped(Stopped::Revoked));
    assert!(tally.to_string().starts_with("0 online; 2 connects, 2 disconnects, 1 given up"));
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
