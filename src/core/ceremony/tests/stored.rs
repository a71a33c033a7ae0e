//! Records as the versions before histories wrote them, literally, one of every state.

use insta::assert_snapshot;

use super::*;

/// Offered after a wrong code, suppressed, preparing, challenged, verifying, succeeded, and ended
/// by wrong codes.
const EARLIER: &str = include_str!("earlier.jsonl");

fn earlier() -> Vec<Ceremony> {
    EARLIER.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_record_of_an_earlier_version_has_the_history_that_it_can_tell() {
    let mut text = String::new();
    for ceremony in earlier() {
        assert!(ceremony.history.is_sorted_by_key(|fact| fact.at));
        text.push_str(&format!("{:?}", ceremony.phase()).to_lowercase());
        for fact in &ceremony.history {
            text.push_str(&format!("\n  {}", serde_json::to_string(fact).unwrap()));
        }
        text.push('\n');
    }
    let text = text.replace("dev_AQEBAQEBAQEBAQEBAQEBAQ", "phone").replace(&"35,".repeat(31), "");
    assert_snapshot!(text, @r#"
offered
  {"at":1000000,"kind":"opened"}
  {"at":1001000,"kind":"sent"}
  {"at":1002000,"kind":"delivered"}
  {"at":1002000,"kind":{"wrong_code":{"nth":1}}}
offered
  {"at":1000000,"kind":"opened"}
  {"at":1000000,"kind":{"suppressed":{}}}
preparing
  {"at":1000000,"kind":"opened"}
  {"at":1001000,"kind":"sent"}
  {"at":1002000,"kind":"delivered"}
  {"at":1004000,"device":"phone","kind":"claimed"}
challenged
  {"at":1000000,"kind":"opened"}
  {"at":1001000,"kind":"sent"}
  {"at":1002000,"kind":"delivered"}
  {"at":1004000,"device":"phone","kind":"claimed"}
  {"at":1005000,"device":"phone","kind":{"challenged":{"attempt":"att_AwMDAwMDAwMDAwMDAwMDAw"}}}
  {"at":1006000,"device":"phone","kind":{"card":{"event":"present"}}}
verifying
  {"at":1000000,"kind":"opened"}
  {"at":1001000,"kind":"sent"}
  {"at":1002000,"kind":"delivered"}
  {"at":1004000,"device":"phone","kind":"claimed"}
  {"at":1005000,"device":"phone","kind":{"challenged":{"attempt":"att_AwMDAwMDAwMDAwMDAwMDAw"}}}
  {"at":1006000,"device":"phone","kind":{"card":{"event":"present"}}}
  {"at":1007000,"device":"phone","kind":{"answered":{"attempt":"att_AwMDAwMDAwMDAwMDAwMDAw","digest":[35],"by":"nod_BwcHBwcHBwcHBwcHBwcHBw"}}}
closed
  {"at":1000000,"kind":"opened"}
  {"at":1001000,"kind":"sent"}
  {"at":1002000,"kind":"delivered"}
  {"at":1004000,"device":"phone","kind":"claimed"}
  {"at":1005000,"kind":{"challenged":{"attempt":"att_AwMDAwMDAwMDAwMDAwMDAw"}}}
  {"at":1006000,"kind":{"card":{"event":"present"}}}
  {"at":1007000,"device":"phone","kind":{"answered":{"attempt":"att_AwMDAwMDAwMDAwMDAwMDAw","digest":[35]}}}
  {"at":1008000,"device":"phone","kind":{"closed":{"outcome":"succeeded"}}}
closed
  {"at":1000000,"kind":"opened"}
  {"at":1011000,"kind":{"wrong_code":{"nth":1}}}
  {"at":1011000,"kind":{"wrong_code":{"nth":2}}}
  {"at":1011000,"kind":{"wrong_code":{"nth":3}}}
  {"at":1011000,"kind":{"closed":{"outcome":"failed","reason":"wrong_code"}}}
"#);
}

#[test]
fn its_public_steps_are_what_they_were_and_it_is_stored_with_its_history() {
    for (line, ceremony) in EARLIER.lines().zip(earlier()) {
        let before: serde_json::Value = serde_json::from_str(line).unwrap();
        let steps: Vec<_> = ceremony
            .progress()
            .map(|entry| serde_json::json!({ "step": entry.step, "at": entry.at }))
            .collect();
        assert_eq!(before["progress"], serde_json::json!(steps));
        let again = json(&ceremony);
        assert!(!again.contains("progress"), "{again}");
        let read: Ceremony = serde_json::from_str(&again).unwrap();
        assert_eq!(json(&read), again);
    }
}

#[test]
fn it_goes_on_as_if_this_version_had_written_it() {
    let next = [
        claim(TABLET, FIRST, "000000"),
        decline(PHONE, DeclineReason::NotMe),
        begun(FIRST),
        answer(PHONE, FIRST, SIGNED),
        completed(FIRST, Verdict::Approved(approval())),
    ];
    let ends = [
        FactKind::WrongCode { nth: 2 },
        FactKind::Closed { outcome: Outcome::Denied, reason: Some(Reason::NotMe) },
        FactKind::Challenged { attempt: Some(FIRST) },
        FactKind::Answered { attempt: FIRST, digest: [35; 32], by: Some(NODE) },
        FactKind::Closed { outcome: Outcome::Succeeded, reason: None },
    ];
    for ((mut ceremony, event), kind) in earlier().into_iter().zip(next).zip(ends) {
        let last = ceremony.history.last().unwrap().at;
        let facts = ceremony.step(last.plus_millis(1), event).facts;
        assert_eq!(facts.iter().map(|fact| fact.kind).collect::<Vec<_>>(), [kind]);
        assert_eq!(ceremony.history.last(), facts.last());
    }
}
