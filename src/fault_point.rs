//! Named points in the course of a ceremony where a test can halt this process, to kill it exactly
//! there. Only builds with debug assertions have them: in a release build both functions are empty,
//! the names are not in the program, and no variable is read.
//! `FAULT_POINT=answer_stored` in the environment arms the first arrival at that point,
//! `FAULT_POINT=answer_stored:2` the second. The arriving thread prints
//! `fault point reached: answer_stored` on standard output, and then:
//! - at [`reached`] parks forever: nothing after the point happens;
//! - at [`passing`] goes on, because the step (an answer that arrives, a call in flight) is outside
//!   of this process. The test kills the process when it observes the step.

/// The points of a ceremony, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A request to open is parsed and checked; nothing is stored.
    Received,
    /// The ceremony is stored; nothing is sent.
    Stored,
    /// The initiator's 201 is on its way ([`passing`]).
    Answered,
    /// An offer was written to a phone's socket.
    Offered,
    /// A push service accepted a wake; it is not stored. Only devices without a socket are woken,
    /// so it is not in [`Point::ALL`].
    Woken,
    /// The right code was accepted; the begin call has not started. The claim is stored with the
    /// challenge, or shortly after this point.
    Claimed,
    /// The begin call is about to leave ([`passing`]).
    BeginInFlight,
    /// The FIDO2 server gave a challenge; it is not stored.
    Begun,
    /// The challenge was written to a phone's socket.
    ChallengeSent,
    /// The card's answer is received; it is not stored.
    AnswerReceived,
    /// The answer is stored, in one commit with the node that completes it; the call has not
    /// started.
    AnswerStored,
    /// The task of the completion call has started; nothing is sent.
    CompletionIntentStored,
    /// The completion call is about to leave ([`passing`]).
    CompletionInFlight,
    /// The FIDO2 server's answer is received; it is not stored.
    UpstreamAnswered,
    /// The outcome is stored; nothing is sent.
    Closed,
    /// Devices and watchers are being notified of the outcome ([`passing`]).
    Notified,
}

#[cfg(debug_assertions)]
impl Point {
    /// In the order of a ceremony.
    #[cfg(feature = "test-support")]
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

    /// The name in the variable and on standard output.
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

/// Prints the point and parks forever, if this is the awaited arrival.
#[cfg(debug_assertions)]
pub fn reached(point: Point) {
    if armed::is_due(point.name()) {
        armed::print(point.name());
        loop {
            std::thread::park();
        }
    }
}

/// Prints the point and goes on, if this is the awaited arrival.
#[cfg(debug_assertions)]
pub fn passing(point: Point) {
    if armed::is_due(point.name()) {
        armed::print(point.name());
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

    /// The awaited point, and which arrival at it.
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

    pub(super) fn print(point: &str) {
        let line = format!("fault point reached: {point}\n");
        let mut out = std::io::stdout().lock();
        // A test that has closed the pipe waits for nothing.
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }
}
