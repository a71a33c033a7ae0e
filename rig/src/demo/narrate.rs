//! The demo's output: one aligned line a step, with the time since the opening and the acting party.
//!
//! Knows nothing of where steps come from. Colours only on a terminal.

use std::fmt;
use std::io::{self, IsTerminal as _, Write};
use std::sync::{Arc, Mutex, PoisonError};

use fido_relay_proto::http::{CeremonyView, Status};
use fido_relay_proto::{CeremonyId, CeremonyType, Outcome, Reason, UnixMillis};
use secrecy::{ExposeSecret as _, SecretString};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use fido_relay_kit::clock::Clock;

/// The acting party of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// The page in the browser, with the backend that serves it.
    Page,
    /// The bank's backend, acting by itself.
    Bank,
    Relay,
    /// The app and the person who uses it.
    Phone,
    Card,
    Fido2,
}

impl Party {
    const fn name(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Bank => "bank",
            Self::Relay => "relay",
            Self::Phone => "phone",
            Self::Card => "card",
            Self::Fido2 => "fido2",
        }
    }

    /// An ANSI colour of the terminal's palette, which fits light and dark ones.
    const fn colour(self) -> &'static str {
        match self {
            Self::Page | Self::Bank => "36",
            Self::Relay => "34",
            Self::Phone => "35",
            Self::Card => "33",
            Self::Fido2 => "32",
        }
    }
}

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";

/// The demo's name of a ceremony type.
#[must_use]
pub const fn title(ceremony_type: CeremonyType) -> &'static str {
    match ceremony_type {
        CeremonyType::Registration => "Register a card",
        CeremonyType::Authentication => "Sign in",
        CeremonyType::Approval => "Approve a payment",
    }
}

/// Writes steps. Clones share the output.
#[derive(Clone)]
pub struct Narrator {
    clock: Arc<dyn Clock>,
    output: Arc<Mutex<NarratorOutput>>,
}

impl fmt::Debug for Narrator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Narrator").finish_non_exhaustive()
    }
}

/// The output and the state of its last line.
struct NarratorOutput {
    out: Box<dyn Write + Send>,
    colours: bool,
    /// Whether the last line is an open question.
    asking: bool,
    blocks: u32,
    /// The ceremony of the last line's block.
    current: Option<CeremonyId>,
    /// Known ceremonies, the latest last, with heading and time of opening.
    known: Vec<(CeremonyId, String, UnixMillis)>,
}

/// Known ceremonies: far more than a person has tabs.
const REMEMBERED: usize = 64;

impl Narrator {
    /// A narrator on the standard output.
    #[must_use]
    pub fn on_stdout(clock: Arc<dyn Clock>) -> Self {
        let out = io::stdout();
        let colours = out.is_terminal();
        Self::new(clock, Box::new(out), colours)
    }

    /// A narrator on any output.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, out: Box<dyn Write + Send>, colours: bool) -> Self {
        let output = NarratorOutput {
            out,
            colours,
            asking: false,
            blocks: 0,
            current: None,
            known: Vec::new(),
        };
        Self { clock, output: Arc::new(Mutex::new(output)) }
    }

    /// A line without a ceremony.
    pub fn plain(&self, text: &str) {
        self.with(|output| output.write(text));
    }

    /// A question to the person at the terminal, who answers in its line.
    pub fn question(&self, text: &str) {
        self.with(|output| {
            output.write_out(&format!("            {text}"));
            output.asking = true;
        });
    }

    /// The person has answered, which began a new line.
    pub fn answered(&self) {
        self.with(|output| output.asking = false);
    }

    /// A heading without a ceremony.
    pub fn heading(&self, text: &str) {
        self.with(|output| {
            let text = output.paint(BOLD, text);
            output.write(&text);
        });
    }

    /// A name and its text, without a ceremony.
    pub fn fact(&self, name: &str, text: &str) {
        self.with(|output| {
            let name = output.paint(DIM, &format!("{name:<14}"));
            output.write(&format!("  {name}{text}"));
        });
    }

    /// A name, a coloured verdict, and a text.
    pub fn verdict(&self, good: bool, name: &str, verdict: &str, text: &str) {
        self.with(|output| {
            let verdict = output.paint(if good { GREEN } else { RED }, &format!("{verdict:<14}"));
            output.write(&format!("  {name:<20}{verdict}{text}"));
        });
    }

    /// Begins the block of a ceremony.
    pub fn opened(&self, id: CeremonyId, ceremony_type: CeremonyType, at: UnixMillis) {
        self.with(|output| {
            if output.known.len() == REMEMBERED {
                output.known.remove(0);
            }
            output.blocks += 1;
            let heading = format!("{}  {}", output.blocks, title(ceremony_type));
            output.known.push((id, heading.clone(), at));
            let heading = output.paint(BOLD, &heading);
            output.write("");
            output.write(&heading);
            output.current = Some(id);
        });
    }

    /// A step that happens now.
    pub fn now(&self, id: CeremonyId, who: Party, text: &str) {
        self.step(id, self.clock.now(), who, text);
    }

    /// A step that happened at this time.
    pub fn step(&self, id: CeremonyId, at: UnixMillis, who: Party, text: &str) {
        self.with(|output| output.step(id, at, who, text));
    }

    /// The bank's last line about a ceremony, in the colour of success or failure.
    pub fn ended(&self, id: CeremonyId, good: bool, text: &str) {
        let now = self.clock.now();
        self.with(|output| {
            let text = output.paint(if good { GREEN } else { RED }, text);
            output.step(id, now, Party::Bank, &text);
        });
    }

    fn with(&self, write: impl FnOnce(&mut NarratorOutput)) {
        write(&mut self.output.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl NarratorOutput {
    fn step(&mut self, id: CeremonyId, at: UnixMillis, who: Party, text: &str) {
        let known = self.known.iter().find(|known| known.0 == id).cloned();
        if self.current != Some(id) {
            // With its number, as two of the same type may be under way in two tabs.
            let heading = known.as_ref().map_or("   Another ceremony", |known| &known.1);
            let heading = self.paint(BOLD, &format!("{heading}, continued"));
            self.write("");
            self.write(&heading);
            self.current = Some(id);
        }
        let elapsed = known.map_or(0, |(_, _, opened)| at.millis_since(opened));
        let elapsed = format!("{:>4}.{:03} s", elapsed / 1000, elapsed % 1000);
        let elapsed = self.paint(DIM, &elapsed);
        let who = self.paint(who.colour(), &format!("{:<5}", who.name()));
        self.write(&format!("{elapsed}  {who}  {text}"));
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn write(&mut self, line: &str) {
        self.write_out(&format!("{line}\n"));
    }

    /// Writes below an open question, not behind it. A failed write is ignored: the exit code still
    /// tells the result.
    fn write_out(&mut self, text: &str) {
        let above = if std::mem::take(&mut self.asking) { "\n" } else { "" };
        let _ = write!(self.out, "{above}{text}").and_then(|()| self.out.flush());
    }
}

/// The text of the step `opened`.
pub(super) fn opened_text(code: Option<&SecretString>, expires_in: u64) -> String {
    let code = code.map(|code| code.expose_secret()).and_then(|code| code.split_at_checked(3));
    match code {
        Some((left, right)) => {
            format!("opened      stored; code {left} {right}, {expires_in} s left")
        }
        None => format!("opened      stored; {expires_in} s left"),
    }
}

/// The text of the step `closed`.
pub(super) fn status_text(view: &CeremonyView) -> String {
    match view.status {
        Status::Pending => "pending".to_owned(),
        Status::Ended(outcome) => outcome_text(outcome, view.reason),
    }
}

/// An outcome and its reason by their wire names.
#[must_use]
pub fn outcome_text(outcome: Outcome, reason: Option<Reason>) -> String {
    let outcome = match outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::Denied => "denied",
        Outcome::Rejected => "rejected",
        Outcome::Failed => "failed",
        Outcome::Expired => "expired",
        Outcome::Cancelled => "cancelled",
        Outcome::Indeterminate => "indeterminate",
    };
    reason.map_or_else(|| outcome.to_owned(), |reason| format!("{outcome} ({reason})"))
}

/// A time of the relay's (RFC 3339).
pub(crate) fn parse_timestamp(text: &str) -> Option<UnixMillis> {
    let millis = OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos() / 1_000_000;
    u64::try_from(millis).ok().map(UnixMillis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fido_relay_kit::clock::SystemClock;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_story_goes_on_below_a_question_that_was_not_answered() {
        let paper = Paper::default();
        let narrator = Narrator::new(Arc::new(SystemClock), Box::new(paper.clone()), false);
        narrator.question("Code? ");
        narrator.plain("cancelled");
        narrator.question("Code? ");
        narrator.answered();
        narrator.plain("claimed");
        let written = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        let indent = " ".repeat(12);
        assert_eq!(written, format!("{indent}Code? \ncancelled\n{indent}Code? claimed\n"));
    }

    #[test]
    fn a_story_that_goes_on_names_its_ceremony_by_number() {
        let paper = Paper::default();
        let narrator = Narrator::new(Arc::new(SystemClock), Box::new(paper.clone()), false);
        let ids = [1, 2].map(|n| CeremonyId::from_bytes([n; 16]));
        for id in ids {
            narrator.opened(id, CeremonyType::Authentication, UnixMillis(0));
        }
        narrator.now(ids[0], Party::Page, "again");
        let written = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        assert!(written.contains("1  Sign in, continued"), "{written}");
    }
}
