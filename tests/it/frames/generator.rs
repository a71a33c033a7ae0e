//! Device frames by a grammar, and what becomes of them in hostile hands. The same seed makes the
//! same frames.

use fido_relay_proto::CeremonyId;
use serde_json::{Value, json};

use crate::simulation::rng::Rng;

const CEREMONY: &str = "cer_AAAAAAAAAAAAAAAAAAAAAA";
const ATTEMPT: &str = "att_AAAAAAAAAAAAAAAAAAAAAA";

/// Values that break what is careless with numbers, texts and types.
const ODD: [&str; 24] = [
    "null",
    "true",
    "0",
    "-0",
    "-1",
    "0.1e-400",
    "1e400",
    "18446744073709551616",
    "-9223372036854775809",
    "99999999999999999999999999999999999999999999999999999999999999999999999999",
    "\"\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\\udfff\\ud800\"",
    "\"\\uD83D\\uDE00\"",
    "\"\\u202e\"",
    "\"\u{feff}\"",
    "\"cer_\"",
    "\"cer_AAAAAAAAAAAAAAAAAAAAAB\"",
    "\"dev_AAAAAAAAAAAAAAAAAAAAAA\"",
    "\"../../../etc/passwd\"",
    "[]",
    "{}",
    "\"000000\"",
];
/// Pieces of bytes that change what a text means.
const PIECES: [&[u8]; 20] = [
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\\u",
    b"\\ud800",
    b"\x00",
    b"\xff",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xef\xbb\xbf",
    b"\"type\":\"auth\",",
    b"\"ceremony_id\":1,",
    b"1e9999",
    b"/**/",
];

pub(crate) struct Generator {
    pub(crate) rng: Rng,
    /// A ceremony that is open for the device that sends.
    open: String,
}

impl Generator {
    pub(crate) fn new(seed: u64, open: Option<CeremonyId>) -> Self {
        let open = open.map_or(CEREMONY.to_owned(), |id| id.to_string());
        Self { rng: Rng::new(seed), open }
    }

    pub(crate) fn one_of<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[usize::try_from(self.rng.below(choices.len() as u64)).unwrap()]
    }

    pub(crate) fn size(&mut self, below: usize) -> usize {
        usize::try_from(self.rng.below(below.max(1) as u64)).unwrap()
    }

    /// Mostly below a twentieth of `most`, seldom up to it: many frames, some of them large.
    fn seldom_large(&mut self, most: usize) -> usize {
        let most = if self.rng.happens(50) { most } else { most / 20 };
        self.size(most)
    }

    /// A frame of the grammar.
    fn valid(&mut self) -> Value {
        let id = match self.rng.below(3) {
            0 => self.open.clone(),
            _ => CEREMONY.to_owned(),
        };
        match self.rng.below(8) {
            0 => json!({ "type": "auth", "proof": "e30.e30.c2ln" }),
            1 => {
                let of = self.one_of(&["offer", "challenge", "closed"]);
                json!({ "type": "ack", "ceremony_id": id, "of": of })
            }
            2 => {
                let code = format!("{:06}", self.rng.below(1_000_000));
                json!({ "type": "claim", "ceremony_id": CEREMONY, "code": code })
            }
            3 => json!({ "type": "card", "ceremony_id": id, "event": "present" }),
            4 => {
                let code = 595 + self.rng.below(30);
                json!({ "type": "card", "ceremony_id": id, "event": "error", "code": code })
            }
            5 => {
                let signature = "A".repeat(self.seldom_large(4_000));
                let response = json!({ "signature": signature, "clientDataJSON": "e30" });
                json!({ "type": "answer", "ceremony_id": id, "attempt": ATTEMPT,
                    "credential": { "id": "AQIDBA", "rawId": "AQIDBA", "response": response } })
            }
            6 => json!({ "type": "ping", "id": "x".repeat(self.size(80)) }),
            _ => {
                let reason = self.one_of(&["declined", "not_me"]);
                json!({ "type": "decline", "ceremony_id": CEREMONY, "reason": reason })
            }
        }
    }

    /// A text frame's bytes: seldom right, mostly wrong in one to three ways.
    pub(crate) fn frame(&mut self) -> Vec<u8> {
        let mut frame = self.valid();
        if self.rng.happens(300) {
            self.misuse_a_field(&mut frame);
        }
        let mut bytes = frame.to_string().into_bytes();
        if self.rng.happens(150) {
            return bytes;
        }
        for _ in 0..=self.rng.below(3) {
            self.mutate(&mut bytes);
        }
        bytes.truncate(40_000);
        bytes
    }

    /// Another value, a missing one, or one too many.
    fn misuse_a_field(&mut self, frame: &mut Value) {
        let odd = self.one_of(&ODD);
        let odd = serde_json::from_str(odd).unwrap_or(Value::Null);
        let Some(fields) = frame.as_object_mut() else { return };
        let keys: Vec<String> = fields.keys().cloned().collect();
        let key = keys[usize::try_from(self.rng.below(keys.len() as u64)).unwrap()].clone();
        match self.rng.below(4) {
            0 => drop(fields.remove(&key)),
            1 => drop(fields.insert("extra".to_owned(), odd)),
            _ => drop(fields.insert(key, odd)),
        }
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        let at = self.size(bytes.len());
        match self.rng.below(12) {
            0 | 1 => {
                for _ in 0..=self.rng.below(4) {
                    let (at, bit) = (self.size(bytes.len()), self.rng.below(8));
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 1 << bit;
                    }
                }
            }
            2 => bytes.truncate(at),
            3 => {
                let end = (at + 1 + self.size(200)).min(bytes.len());
                let piece = bytes[at.min(end)..end].to_vec();
                let times = 1 + self.size(20);
                bytes.splice(at..at, piece.repeat(times));
            }
            4 => {
                let (open, close) =
                    if self.rng.happens(500) { ("[", "]") } else { ("{\"a\":", "}") };
                let depth = self.seldom_large(5_000);
                let whole = self.rng.happens(500);
                let end = if whole { close.repeat(depth) } else { String::new() };
                *bytes = [open.repeat(depth).as_bytes(), &*bytes, end.as_bytes()].concat();
            }
            5 => {
                // Many keys, all different or all the same.
                let same = self.rng.happens(300);
                let keys: String =
                    (0..self.seldom_large(3_000))
                        .map(|n| {
                            if same {
                                "\"type\":\"ack\",".to_owned()
                            } else {
                                format!("\"k{n}\":0,")
                            }
                        })
                        .collect();
                bytes.splice(1.min(bytes.len())..1.min(bytes.len()), keys.into_bytes());
            }
            6 => {
                let odd = self.one_of(&ODD);
                let text = String::from_utf8_lossy(bytes).into_owned();
                if let Some((before, after)) = text.split_once(':') {
                    let after = after.split_once(',').map_or("}", |(_, after)| after);
                    *bytes = format!("{before}:{odd},{after}").into_bytes();
                }
            }
            7 => {
                let digits = "9".repeat(1 + self.seldom_large(3_000));
                bytes.splice(at..at, digits.into_bytes());
            }
            8 | 9 => {
                let piece = self.one_of(&PIECES);
                bytes.splice(at..at, piece.iter().copied());
            }
            10 => {
                let random: Vec<u8> =
                    (0..self.size(300)).map(|_| self.rng.next().to_le_bytes()[0]).collect();
                bytes.splice(at..at, random);
            }
            _ => {
                let space =
                    self.one_of(&[" ", "\n", "\t", "\r", "\u{a0}"]).repeat(self.seldom_large(500));
                bytes.splice(at..at, space.into_bytes());
            }
        }
    }
}

#[test]
fn the_generator_makes_the_same_again_and_every_kind_of_frame() {
    use fido_relay_proto::DeviceFrame;

    let made = || {
        let mut generator = Generator::new(7, None);
        (0..5_000).map(|_| generator.frame()).collect::<Vec<_>>()
    };
    let frames = made();
    assert!(frames == made(), "the same seed");
    let texts: Vec<_> = frames.iter().filter_map(|bytes| std::str::from_utf8(bytes).ok()).collect();
    let read = |tag: &str| {
        let of_tag = |text: &&&str| text.contains(&format!("\"type\":\"{tag}\""));
        texts.iter().filter(of_tag).filter(|text| DeviceFrame::decode(text).is_ok()).count()
    };
    for tag in ["auth", "ack", "claim", "card", "answer", "decline", "ping"] {
        assert!(read(tag) > 20, "{tag} is hardly ever right: {}", read(tag));
    }
    assert!(frames.len() - texts.len() > 200, "some are not UTF-8");
    let wrong = texts.iter().filter(|text| DeviceFrame::decode(text).is_err()).count();
    assert!(wrong > 2_000, "most are wrong: {wrong}");
}
