//! What the terminal shows: one aligned line per step, with the time since the ceremony was
//! opened and who did it.
//!
//! Knows nothing of where the steps come from. Colours only where the output is a terminal.

use std::fmt;
use std::io::{self, IsTerminal as _, Write};
use std::sync::{Arc, Mutex, PoisonError};

use fido_relay_proto::http::{CeremonyView, Status};
use fido_relay_proto::{CeremonyId, CeremonyType, Outcome, Reason, UnixMillis};
use secrecy::{ExposeSecret as _, SecretString};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use fido_relay_kit::clock::Clock;

/// Who does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The page in the browser, and the bank's backend behind it.
    Page,
    /// The bank's backend, where it acts by itself.
    Bank,
    /// The relay.
    Relay,
    /// The app on the phone, and the person who holds it.
    Phone,
    /// The card at the phone.
    Card,
    /// The FIDO2 server.
    Fido2,
}

impl Who {
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

    /// An ANSI colour of the terminal's own palette, so that it fits light and dark ones.
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

/// The name of a ceremony's kind, as the demo calls it.
#[must_use]
pub const fn title(ceremony_type: CeremonyType) -> &'static str {
    match ceremony_type {
        CeremonyType::Registration => "Register a card",
        CeremonyType::Authentication => "Sign in",
        CeremonyType::Approval => "Approve a payment",
    }
}

/// Writes the story. Clones write to the same place.
#[derive(Clone)]
pub struct Narrator {
    clock: Arc<dyn Clock>,
    stage: Arc<Mutex<Stage>>,
}

impl fmt::Debug for Narrator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Narrator").finish_non_exhaustive()
    }
}

/// What has been written so far.
struct Stage {
    out: Box<dyn Write + Send>,
    colours: bool,
    /// Whether the last line is a question that was not answered.
    asking: bool,
    blocks: u32,
    /// Whose block the last line belongs to.
    current: Option<CeremonyId>,
    /// The ceremonies under way, the latest last, with their heading and the time of their opening.
    known: Vec<(CeremonyId, String, UnixMillis)>,
}

/// Ceremonies whose opening is remembered: far more than a person has open in tabs.
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
        let stage =
            Stage { out, colours, asking: false, blocks: 0, current: None, known: Vec::new() };
        Self { clock, stage: Arc::new(Mutex::new(stage)) }
    }

    /// A line outside of any ceremony.
    pub fn plain(&self, text: &str) {
        self.with(|stage| stage.write(text));
    }

    /// A question to the person at the terminal, who types behind it.
    pub fn question(&self, text: &str) {
        self.with(|stage| {
            stage.write_out(&format!("            {text}"));
            stage.asking = true;
        });
    }

    /// The person has typed an answer, and is on a new line by that.
    pub fn answered(&self) {
        self.with(|stage| stage.asking = false);
    }

    /// A heading outside of any ceremony.
    pub fn heading(&self, text: &str) {
        self.with(|stage| {
            let text = stage.paint(BOLD, text);
            stage.write(&text);
        });
    }

    /// A name and what is to be known of it, outside of any ceremony.
    pub fn fact(&self, name: &str, text: &str) {
        self.with(|stage| {
            let name = stage.paint(DIM, &format!("{name:<14}"));
            stage.write(&format!("  {name}{text}"));
        });
    }

    /// A name, how it went, and what is to be known of it.
    pub fn verdict(&self, good: bool, name: &str, verdict: &str, text: &str) {
        self.with(|stage| {
            let verdict = stage.paint(if good { GREEN } else { RED }, &format!("{verdict:<14}"));
            stage.write(&format!("  {name:<20}{verdict}{text}"));
        });
    }

    /// Begins the block of a ceremony that was opened just now.
    pub fn opened(&self, id: CeremonyId, ceremony_type: CeremonyType, at: UnixMillis) {
        self.with(|stage| {
            if stage.known.len() == REMEMBERED {
                stage.known.remove(0);
            }
            stage.blocks += 1;
            let heading = format!("{}  {}", stage.blocks, title(ceremony_type));
            stage.known.push((id, heading.clone(), at));
            let heading = stage.paint(BOLD, &heading);
            stage.write("");
            stage.write(&heading);
            stage.current = Some(id);
        });
    }

    /// A step that happens now.
    pub fn now(&self, id: CeremonyId, who: Who, text: &str) {
        self.step(id, self.clock.now(), who, text);
    }

    /// A step that happened at this time.
    pub fn step(&self, id: CeremonyId, at: UnixMillis, who: Who, text: &str) {
        self.with(|stage| stage.step(id, at, who, text));
    }

    /// The end of a ceremony, good or bad.
    pub fn ended(&self, id: CeremonyId, good: bool, text: &str) {
        let now = self.clock.now();
        self.with(|stage| {
            let text = stage.paint(if good { GREEN } else { RED }, text);
            stage.step(id, now, Who::Bank, &text);
        });
    }

    fn with(&self, write: impl FnOnce(&mut Stage)) {
        write(&mut self.stage.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Stage {
    fn step(&mut self, id: CeremonyId, at: UnixMillis, who: Who, text: &str) {
        let known = self.known.iter().find(|known| known.0 == id).cloned();
        if self.current != Some(id) {
            // By its number: two of the same kind may be under way, each in a tab of its own.
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

    /// Below a question that was not answered, not behind it. A terminal that is gone is no reason
    /// to stop: the exit code still tells how it went.
    fn write_out(&mut self, text: &str) {
        let above = if std::mem::take(&mut self.asking) { "\n" } else { "" };
        let _ = write!(self.out, "{above}{text}").and_then(|()| self.out.flush());
    }
}

/// The line of an opening.
pub(super) fn opened_text(code: Option<&SecretString>, expires_in: u64) -> String {
    let code = code.map(|code| code.expose_secret()).and_then(|code| code.split_at_checked(3));
    match code {
        Some((left, right)) => {
            format!("opened      stored; code {left} {right}, {expires_in} s left")
        }
        None => format!("opened      stored; {expires_in} s left"),
    }
}

/// The line of an end.
pub(super) fn status_text(view: &CeremonyView) -> String {
    match view.status {
        Status::Pending => "pending".to_owned(),
        Status::Ended(outcome) => told(outcome, view.reason),
    }
}

/// An outcome and its reason, in the words of the contract.
#[must_use]
pub fn told(outcome: Outcome, reason: Option<Reason>) -> String {
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

/// The relay's RFC 3339 time.
pub(crate) fn instant(text: &str) -> Option<UnixMillis> {
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
        narrator.now(ids[0], Who::Page, "again");
        let written = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        assert!(written.contains("1  Sign in, continued"), "{written}");
    }
}
