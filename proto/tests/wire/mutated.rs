//! Frames as a broken or hostile peer writes them: nothing panics, and nothing is read as
//! something that it does not say.

use fido_relay_proto::{DeviceFrame, RelayFrame};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use super::samples::{device_frames, relay_frames};

/// Pieces that change what a text means.
const PIECES: [&str; 16] = [
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "null",
    "true",
    "-1",
    "1e9",
    "\"type\":\"auth\",",
    "\\u0000",
    "\u{202E}",
    "\"reason\":\"declined\",",
];

fn wire() -> Vec<String> {
    let relay = relay_frames().into_iter().map(|frame| frame.encode());
    relay.chain(device_frames().into_iter().map(|frame| frame.encode())).collect()
}

#[derive(Clone, Debug)]
enum Mutation {
    Cut(prop::sample::Index, usize),
    Repeat(prop::sample::Index, usize),
    Insert(prop::sample::Index, &'static str),
    Replace(prop::sample::Index, char),
    /// Puts the value of one key in the place of another's, in the JSON and not in the text.
    Swap(prop::sample::Index, prop::sample::Index),
    Drop(prop::sample::Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        (index(), 1..20_usize).prop_map(|(at, len)| Mutation::Cut(at, len)),
        (index(), 1..40_usize).prop_map(|(at, len)| Mutation::Repeat(at, len)),
        (index(), prop::sample::select(PIECES.to_vec()))
            .prop_map(|(at, piece)| Mutation::Insert(at, piece)),
        (index(), any::<char>()).prop_map(|(at, c)| Mutation::Replace(at, c)),
        (index(), index()).prop_map(|(one, other)| Mutation::Swap(one, other)),
        index().prop_map(Mutation::Drop),
    ]
}

fn mutate(text: &str, mutation: &Mutation) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    let len = chars.len().max(1);
    let slice = |at: usize, len: usize, of: usize| at.min(of)..(at + len).min(of);
    let object = || match serde_json::from_str(text) {
        Ok(Value::Object(map)) if !map.is_empty() => Some(map),
        _ => None,
    };
    match mutation {
        Mutation::Cut(at, count) => {
            let of = chars.len();
            chars.drain(slice(at.index(len), *count, of));
        }
        Mutation::Repeat(at, count) => {
            let range = slice(at.index(len), *count, chars.len());
            let end = range.end;
            let piece: Vec<_> = chars[range].to_vec();
            chars.splice(end..end, piece);
        }
        Mutation::Insert(at, piece) => {
            let at = at.index(len).min(chars.len());
            chars.splice(at..at, piece.chars());
        }
        Mutation::Replace(at, c) => {
            if let Some(place) = chars.get_mut(at.index(len)) {
                *place = *c;
            }
        }
        Mutation::Swap(one, other) => {
            let Some(mut map) = object() else { return text.to_owned() };
            let keys: Vec<_> = map.keys().cloned().collect();
            let value = map[&keys[one.index(keys.len())]].clone();
            map.insert(keys[other.index(keys.len())].clone(), value);
            return Value::Object(map).to_string();
        }
        Mutation::Drop(at) => {
            let Some(mut map) = object() else { return text.to_owned() };
            let keys: Vec<_> = map.keys().cloned().collect();
            map.remove(&keys[at.index(keys.len())]);
            return Value::Object(map).to_string();
        }
    }
    chars.into_iter().collect()
}

/// Whether everything that `read` says stands in `said`; `said` may have more fields.
fn says(said: &Value, read: &Value) -> bool {
    match (said, read) {
        (Value::Object(said), Value::Object(read)) => {
            read.iter().all(|(key, value)| said.get(key).is_some_and(|said| says(said, value)))
        }
        (Value::Array(said), Value::Array(read)) => {
            said.len() == read.len() && said.iter().zip(read).all(|(said, read)| says(said, read))
        }
        (said, read) => said == read,
    }
}

fn holds(text: &str, encoded: Option<String>, again: impl Fn(&str) -> Option<String>) {
    let Some(encoded) = encoded else { return };
    // A number in a card's answer may be beyond what this comparison can read; the answer is passed
    // on as text.
    let Ok(said) = serde_json::from_str(text) else { return };
    let read = serde_json::from_str(&encoded).unwrap();
    assert!(says(&said, &read), "{text}\nwas read as\n{encoded}");
    assert_eq!(again(&encoded), Some(encoded));
}

fn check(text: &str) {
    let device = |text: &str| DeviceFrame::decode(text).ok().map(|frame| frame.encode());
    holds(text, device(text), device);
    let relay = |text: &str| RelayFrame::decode(text).ok().map(|frame| frame.encode());
    holds(text, relay(text), relay);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn a_mutated_frame_is_refused_or_read_for_what_it_says(
        which in prop::sample::select(wire()), mutations in vec(mutation(), 1..4)
    ) {
        let text = mutations.iter().fold(which, |text, mutation| mutate(&text, mutation));
        check(&text);
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        check(&text);
        check(&format!("{{\"type\":\"answer\",{text}"));
    }

    #[test]
    fn a_cards_answer_passes_byte_for_byte_whatever_json_it_is(
        id in "\\PC{0,20}", number in any::<f64>(), spaces in "[ \t\n\r]{0,4}", escaped: bool
    ) {
        let id = serde_json::to_string(&id).unwrap();
        let id = if escaped { id.replace('a', "\\u0061").replace('/', "\\/") } else { id };
        let credential = format!("{{{spaces}\"id\"{spaces}:{id},\"n\":{number:e},\"z\":{{}},\"a\":[]}}");
        prop_assume!(number.is_finite());
        let frame = format!(
            "{{\"type\":\"answer\",\"credential\":{credential},\
             \"attempt\":\"att_AAAAAAAAAAAAAAAAAAAAAA\",\
             \"ceremony_id\":\"cer_AAAAAAAAAAAAAAAAAAAAAA\"}}"
        );
        let Ok(DeviceFrame::Answer(answer)) = DeviceFrame::decode(&frame) else {
            panic!("{frame} is an answer")
        };
        prop_assert_eq!(answer.credential.get(), &credential);
        let Ok(DeviceFrame::Answer(again)) =
            DeviceFrame::decode(&DeviceFrame::Answer(answer).encode()) else { panic!() };
        prop_assert_eq!(again.credential.get(), &credential);
    }
}
