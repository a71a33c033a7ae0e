//! Named places on a ceremony's road where a test can have this process stand still, so as to kill
//! it exactly there. Only builds with debug assertions have them: in a release build both functions
//! are empty, the names are not in the program, and no variable is read.
//!
//! `FAULT_POINT=answer_stored` in the environment arms the first arrival at that place,
//! `FAULT_POINT=answer_stored:2` the second. Whoever arrives says so on standard output in one
//! line, `fault point reached: answer_stored`, and then:
//! - at [`reached`] its thread parks for good: nothing after it ever happens;
//! - at [`passing`] it goes on, because the step that the place is named for (an answer that
//!   arrives, a call in flight) lies outside of this process. The test kills once it sees it there.
//!
//! It must not know what happens at these places, nor anything of the relay.

/// The steps of a ceremony, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// An order to open is parsed and checked; nothing is stored.
    Received,
    /// The ceremony is stored; nobody was told.
    Stored,
    /// The initiator's 201 is on its way ([`passing`]).
    Answered,
    /// An offer was written to a phone's socket.
    Offered,
    /// A push service took a wake; it is not noted. Only devices without a socket are woken, so it
    /// is not among [`Point::ALL`].
    Woken,
    /// The right code was taken; no challenge was asked for. It is stored with the challenge, or a
    /// moment after this.
    Claimed,
    /// The begin call is about to leave ([`passing`]).
    BeginInFlight,
    /// The FIDO2 server gave a challenge; it is not stored.
    Begun,
    /// The challenge was written to a phone's socket.
    ChallengeSent,
    /// The card's answer is here; it is not stored.
    AnswerReceived,
    /// The answer is stored, and in the same commit who completes it; nothing follows yet.
    AnswerStored,
    /// The task that completes has begun; nothing has left.
    CompletionIntentStored,
    /// The completion call is about to leave ([`passing`]).
    CompletionInFlight,
    /// The FIDO2 server's word is here; it is not stored.
    UpstreamAnswered,
    /// The outcome is stored; nobody was told.
    Closed,
    /// Phones and watchers are being told the outcome ([`passing`]).
    Notified,
}

#[cfg(debug_assertions)]
impl Point {
    /// Every point, in the order of a ceremony.
    pub const ALL: [Self; 15] = [
        Self::Received,
        Self::Stored,
        Self::Answered,
        Self::Offered,
        Self::Claimed,
        Self::BeginInFlight,
        Self::Begun,
        Self::ChallengeSent,
        Self::AnswerReceived,
        Self::AnswerStored,
        Self::CompletionIntentStored,
        Self::CompletionInFlight,
        Self::UpstreamAnswered,
        Self::Closed,
        Self::Notified,
    ];

    /// Its name in the variable and on standard output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Stored => "stored",
            Self::Answered => "answered_201",
            Self::Offered => "offered",
            Self::Woken => "woken",
            Self::Claimed => "claimed",
            Self::BeginInFlight => "begin_in_flight",
            Self::Begun => "begun",
            Self::ChallengeSent => "challenge_sent",
            Self::AnswerReceived => "answer_received",
            Self::AnswerStored => "answer_stored",
            Self::CompletionIntentStored => "completion_intent_stored",
            Self::CompletionInFlight => "completion_in_flight",
            Self::UpstreamAnswered => "upstream_answered",
            Self::Closed => "closed",
            Self::Notified => "notified",
        }
    }
}

/// Says so and stands still for good, if this is the arrival that the test waits for.
#[cfg(debug_assertions)]
pub fn reached(point: Point) {
    if armed::is_due(point.name()) {
        armed::say(point.name());
        loop {
            std::thread::park();
        }
    }
}

/// Says so and goes on, if this is the arrival that the test waits for.
#[cfg(debug_assertions)]
pub fn passing(point: Point) {
    if armed::is_due(point.name()) {
        armed::say(point.name());
    }
}

/// Nothing: this is a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub const fn reached(_point: Point) {}

/// Nothing: this is a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub const fn passing(_point: Point) {}

#[cfg(debug_assertions)]
mod armed {
    use std::io::Write as _;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    const VARIABLE: &str = "FAULT_POINT";

    /// What the test waits for: the place and which arrival.
    static AWAITED: LazyLock<Option<(String, u32)>> = LazyLock::new(|| {
        #[expect(clippy::disallowed_methods, reason = "no setting: it arms a test's own process")]
        let text = std::env::var(VARIABLE).ok()?;
        let (name, nth) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), nth.parse().ok()?))
    });
    static ARRIVALS: AtomicU32 = AtomicU32::new(0);

    pub(super) fn is_due(point: &str) -> bool {
        let Some((name, nth)) = &*AWAITED else { return false };
        name == point && ARRIVALS.fetch_add(1, Ordering::Relaxed) + 1 == *nth
    }

    pub(super) fn say(point: &str) {
        let line = format!("fault point reached: {point}\n");
        let mut out = std::io::stdout().lock();
        // A test that no longer listens waits for nothing either.
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }
}
