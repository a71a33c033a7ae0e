//! What each step tells, word for word as the record keeps it.

use insta::assert_snapshot;

use super::*;

/// A ceremony and the facts of each step since it was opened, a second apart.
struct Told {
    ceremony: Ceremony,
    now: UnixMillis,
    lines: Vec<String>,
}

impl Told {
    fn of(ceremony: Ceremony) -> Self {
        let lines = ceremony.history.iter().map(line).collect();
        Self { ceremony, now: OPENED, lines }
    }

    fn hears(&mut self, event: Event) -> Vec<Fact> {
        self.now = self.now.plus_millis(1000);
        let facts = self.ceremony.step(self.now, event).facts;
        self.lines.extend(facts.iter().map(line));
        facts
    }
}

fn line(fact: &Fact) -> String {
    let text = serde_json::to_string(fact).unwrap();
    assert_eq!(&serde_json::from_str::<Fact>(&text).unwrap(), fact);
    for canary in CANARIES {
        assert!(!text.contains(canary), "{text}");
    }
    let (at, device) = (text.replace("1000000", "0"), "dev_AQEBAQEBAQEBAQEBAQEBAQ");
    at.replace(device, "phone").replace("dev_AgICAgICAgICAgICAgICAg", "tablet")
}

#[test]
fn with_a_code_every_step_tells_which_device_and_what_it_did() {
    let mut told = Told::of(open(Binding::Code));
    told.hears(Event::Sent { device: PHONE });
    told.hears(Event::Sent { device: TABLET });
    told.hears(Event::Acked { device: TABLET, of: AckOf::Offer });
    told.hears(claim(TABLET, FIRST, "000000"));
    told.hears(claim(PHONE, FIRST, CODE));
    told.hears(begun(FIRST));
    told.hears(card(PHONE, Some(600)));
    told.hears(card(PHONE, None));
    told.hears(answer(PHONE, FIRST, SIGNED));
    told.hears(completed(FIRST, Verdict::Approved(approval())));
    let text = told.lines.join("\n").replace(&"35,".repeat(31), "");
    assert_snapshot!(text, @r#"
{"at":0,"kind":"opened"}
{"at":1001000,"device":"phone","kind":"sent"}
{"at":1003000,"device":"tablet","kind":"delivered"}
{"at":1004000,"device":"tablet","kind":{"wrong_code":{"nth":1}}}
{"at":1005000,"device":"phone","kind":"claimed"}
{"at":1006000,"device":"phone","kind":{"challenged":{"attempt":"att_AwMDAwMDAwMDAwMDAwMDAw"}}}
{"at":1007000,"device":"phone","kind":{"card":{"event":"error","code":600}}}
{"at":1009000,"device":"phone","kind":{"answered":{"attempt":"att_AwMDAwMDAwMDAwMDAwMDAw","digest":[35],"by":"nod_BwcHBwcHBwcHBwcHBwcHBw"}}}
{"at":1010000,"device":"phone","kind":{"closed":{"outcome":"succeeded"}}}
"#);
}

#[test]
fn without_a_code_the_challenge_is_nobodys_and_the_answer_is_its_devices() {
    let mut told = Told::of(open(Binding::None));
    told.hears(begun(FIRST));
    told.hears(Event::Sent { device: PHONE });
    told.hears(answer(TABLET, FIRST, SIGNED));
    told.hears(Event::Recover { by: RESTARTED });
    let text = told.lines.join("\n").replace(&"35,".repeat(31), "");
    assert_snapshot!(text, @r#"
{"at":0,"kind":"opened"}
{"at":1001000,"kind":{"challenged":{"attempt":"att_AwMDAwMDAwMDAwMDAwMDAw"}}}
{"at":1002000,"device":"phone","kind":"sent"}
{"at":1003000,"device":"tablet","kind":{"answered":{"attempt":"att_AwMDAwMDAwMDAwMDAwMDAw","digest":[35],"by":"nod_BwcHBwcHBwcHBwcHBwcHBw"}}}
{"at":1004000,"device":"tablet","kind":{"closed":{"outcome":"indeterminate","reason":"interrupted"}}}
"#);
}

#[test]
fn an_end_names_the_device_that_brought_it_about_or_whose_answer_was_accepted() {
    let challenged: &[Event] = &[claim(PHONE, FIRST, CODE), begun(FIRST)];
    let answered = &[challenged, &[answer(PHONE, FIRST, SIGNED)]].concat()[..];
    let wrong: &[Event] = &[claim(PHONE, FIRST, "000000"), claim(PHONE, FIRST, "000000")];
    let failed = Event::BeginFailed { attempt: FIRST, reason: Reason::UpstreamFull };
    let rejected = Verdict::Rejected(Reason::UpstreamRejected);
    let ends: [(&[Event], Event, Option<DeviceId>); 10] = [
        (&[], decline(TABLET, DeclineReason::NotMe), Some(TABLET)),
        (answered, decline(TABLET, DeclineReason::NotMe), Some(TABLET)),
        (wrong, claim(TABLET, FIRST, "000000"), Some(TABLET)),
        (challenged, card(PHONE, Some(608)), Some(PHONE)),
        (answered, completed(FIRST, rejected), Some(PHONE)),
        (answered, Event::Recover { by: RESTARTED }, Some(PHONE)),
        (answered, Event::Cancel, Some(PHONE)),
        (&[], Event::Cancel, None),
        (challenged, Event::Cancel, None),
        (&challenged[..1], failed, None),
    ];
    for (before, end, device) in ends {
        let mut told = Told::of(open(Binding::Code));
        for event in before {
            told.hears(event.clone());
        }
        let facts = told.hears(end.clone());
        assert_eq!(facts.last().unwrap().device, device, "{end:?} after {before:?}");
        assert!(matches!(facts.last().unwrap().kind, Kind::Closed { .. }));
    }
}

#[test]
fn the_last_wrong_code_is_two_facts_and_an_expiry_is_one_that_is_nobodys() {
    let mut told = Told::of(open(Binding::Code));
    for _ in 0..2 {
        told.hears(claim(PHONE, FIRST, "000000"));
    }
    let kinds: Vec<_> =
        told.hears(claim(PHONE, FIRST, "000000")).iter().map(|fact| fact.kind).collect();
    let closed = Kind::Closed { outcome: Outcome::Failed, reason: Some(Reason::WrongCode) };
    assert_eq!(kinds, [Kind::WrongCode { nth: 3 }, closed]);

    let mut late = Told::of(open(Binding::Code));
    late.now = OPENED.plus_millis(LIFE_MS);
    let facts = late.hears(decline(PHONE, DeclineReason::NotMe));
    let kind = Kind::Closed { outcome: Outcome::Expired, reason: Some(Reason::Deadline) };
    assert_eq!(facts, [Fact { at: late.now, device: None, kind }], "no end of the phone's");
}

#[test]
fn a_suppression_is_a_fact_with_its_rule() {
    let opened = open_silent(Binding::Code);
    let kind = |why| Kind::Suppressed { why: Some(why) };
    assert!(opened.suppressed);
    assert_eq!(opened.history[1], Fact { at: OPENED, device: None, kind: kind(Why::Hour) });
    assert_eq!(opened.progress().count(), 1, "watchers are not told");
}

#[test]
fn a_prompt_whose_socket_died_unacknowledged_reached_no_phone() {
    let mut told = Told::of(open(Binding::Code));
    assert!(!told.ceremony.rang());
    let lost = Event::Lost { device: PHONE };
    assert_eq!(told.hears(lost.clone()), [], "it was never sent");
    told.hears(Event::Sent { device: PHONE });
    assert!(told.ceremony.rang());
    assert_eq!(told.hears(lost.clone())[0].kind, Kind::Lost);
    assert_eq!(told.hears(lost.clone()), [], "once for each time that it was sent");
    assert!(!told.ceremony.rang());
    assert_eq!(told.hears(Event::Sent { device: PHONE })[0].kind, Kind::Sent);
    assert!(told.ceremony.rang());
    let steps: Vec<_> = told.ceremony.progress().map(|entry| entry.step).collect();
    assert_eq!(steps, [Step::Opened, Step::Sent], "watchers see it once");
    told.hears(Event::Acked { device: PHONE, of: AckOf::Offer });
    assert_eq!(told.hears(lost), [], "an app that has it was asked");
    assert!(told.ceremony.rang());
}

#[test]
fn losses_are_bounded_and_then_a_prompt_that_was_sent_counts() {
    let mut told = Told::of(open(Binding::Code));
    for _ in 0..20 {
        told.hears(Event::Sent { device: PHONE });
        told.hears(Event::Lost { device: PHONE });
    }
    assert!(told.ceremony.rang());
    assert!(told.ceremony.history.len() <= 10);
}

#[test]
fn a_wake_that_a_service_took_rang_and_is_not_lost_with_a_socket() {
    let mut told = Told::of(open(Binding::Code));
    let woken = Event::Woken { device: PHONE };
    assert_eq!(told.hears(woken.clone())[0].kind, Kind::Woken);
    assert_eq!(told.hears(woken), [], "once a device");
    assert_eq!(told.hears(Event::Woken { device: TABLET }).len(), 1);
    assert!(told.ceremony.rang() && told.ceremony.has_woken(PHONE));
    assert!(!told.ceremony.is_acked_by(PHONE), "nobody has it yet");
    told.hears(Event::Sent { device: PHONE });
    assert_eq!(told.hears(Event::Lost { device: PHONE }), []);
    assert!(told.ceremony.rang());
}

#[test]
fn each_device_acknowledges_for_itself() {
    let mut told = Told::of(open(Binding::Code));
    let acked = |device| Event::Acked { device, of: AckOf::Offer };
    assert_eq!(told.hears(acked(PHONE)).len(), 1);
    assert_eq!(told.hears(acked(PHONE)), []);
    assert!(told.ceremony.is_acked_by(PHONE) && !told.ceremony.is_acked_by(TABLET));
    assert_eq!(told.hears(Event::Previewed { device: TABLET })[0].kind, Kind::Previewed);
    assert!(told.ceremony.is_acked_by(TABLET));
    let steps: Vec<_> = told.ceremony.progress().map(|entry| entry.step).collect();
    assert_eq!(steps, [Step::Opened, Step::Delivered], "a preview is no step");
}

#[test]
fn what_comes_once_a_device_is_kept_of_five() {
    let mut told = Told::of(open(Binding::Code));
    for number in 0..20 {
        let device = DeviceId::from_bytes([number; 16]);
        told.hears(Event::Woken { device });
        told.hears(Event::Acked { device, of: AckOf::Offer });
        told.hears(Event::Previewed { device });
    }
    assert_eq!(told.ceremony.history.len(), 1 + 3 * 5);
}

#[test]
fn steps_have_the_numbers_that_their_kind_has() {
    let numbers: Vec<_> = Step::ALL.iter().map(|step| step.number()).collect();
    assert_eq!(numbers, [10, 11, 12, 13, 20, 30, 40, 50, 60]);
}
