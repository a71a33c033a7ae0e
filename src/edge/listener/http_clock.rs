//! Deadlines of the peer's next request on an HTTP connection. Pure: time and activity are
//! arguments.
//!
//! ```text
//!   accept ──first_by──▶ first request ─▶ answered ──idle──▶ closed
//!                              ▲             │ first byte of the next
//!                              └──headers────┘
//! ```
//! The limit of a request's headers runs from its first byte and not from the last answer, so that
//! a balancer that keeps idle connections for a minute finds them open.

use std::time::Duration;

use tokio::time::Instant;

use super::listener_refusal::ListenerRefusal;

/// What happened on the connection since the last check.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionActivity {
    /// Requests whose headers have arrived.
    pub(super) begun: usize,
    /// An answer is being made, or the peer is taking one.
    pub(super) is_busy: bool,
    /// Bytes were read, whether or not they belong to a request.
    pub(super) heard: bool,
    /// Over HTTP/2 bytes need not be a request: an idle peer answers pings.
    pub(super) is_http2: bool,
}

/// What the connection must do, or when to check again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HttpDeadline {
    /// Check again at this time, or at any activity.
    At(Instant),
    /// The connection is idle, and is to be closed in order.
    Idle,
    /// The peer missed a deadline.
    Late(ListenerRefusal),
}

/// The deadlines of one connection.
#[derive(Debug)]
pub(super) struct HttpClock {
    first_by: Instant,
    headers: Duration,
    idle: Duration,
    quiet: Option<Pause>,
    again: Option<Instant>,
}

/// The pause between an answer and the headers of the next request.
#[derive(Clone, Copy, Debug)]
struct Pause {
    begun: usize,
    since: Instant,
    /// The first byte of the next request.
    head_since: Option<Instant>,
}

impl HttpClock {
    /// `first_by` is when the headers of the first request must be there.
    pub(super) fn new(first_by: Instant, headers: Duration, idle: Duration) -> Self {
        Self { first_by, headers, idle, quiet: None, again: None }
    }

    pub(super) fn check(&mut self, now: Instant, seen: ConnectionActivity) -> HttpDeadline {
        if seen.begun == 0 {
            let late = now >= self.first_by;
            return if late {
                HttpDeadline::Late(ListenerRefusal::Silent)
            } else {
                HttpDeadline::At(self.first_by)
            };
        }
        if seen.is_busy {
            self.quiet = None;
            // The end of an HTTP/2 stream may go unnoticed, so there is a next check in any case.
            let again = self.again.filter(|again| now < *again).unwrap_or(now + self.idle);
            self.again = Some(again);
            return HttpDeadline::At(again);
        }
        let begun = seen.begun;
        let fresh = Pause { begun, since: now, head_since: None };
        let quiet = match self.quiet {
            // Bytes until now belong to the requests that were answered.
            None => fresh,
            Some(quiet) if quiet.begun != begun => fresh,
            Some(quiet) if seen.heard && !seen.is_http2 => {
                Pause { head_since: quiet.head_since.or(Some(now)), ..quiet }
            }
            Some(quiet) => quiet,
        };
        self.quiet = Some(quiet);
        let (by, due) = match quiet.head_since {
            Some(head_since) => {
                (head_since + self.headers, HttpDeadline::Late(ListenerRefusal::Headers))
            }
            None => (quiet.since + self.idle, HttpDeadline::Idle),
        };
        if now >= by { due } else { HttpDeadline::At(by) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::listener::AcceptLimits;

    const NOTHING: ConnectionActivity =
        ConnectionActivity { begun: 1, is_busy: false, heard: false, is_http2: false };
    const ANSWERING: ConnectionActivity = ConnectionActivity { is_busy: true, ..NOTHING };
    const BYTES: ConnectionActivity = ConnectionActivity { heard: true, ..NOTHING };

    struct Script {
        clock: HttpClock,
        began: Instant,
    }

    impl Script {
        /// A connection whose first request is answered at its second 1.
        fn answered() -> Self {
            let AcceptLimits { headers, idle, .. } = AcceptLimits::default();
            let began = Instant::now();
            let mut script = Self { clock: HttpClock::new(began + headers, headers, idle), began };
            script.at(0, ANSWERING);
            script.at(1_000, BYTES);
            script
        }

        fn at(&mut self, ms: u64, seen: ConnectionActivity) -> HttpDeadline {
            self.clock.check(self.began + Duration::from_millis(ms), seen)
        }

        fn by(&self, ms: u64) -> HttpDeadline {
            HttpDeadline::At(self.began + Duration::from_millis(ms))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_kept_for_75_s_after_its_last_answer() {
        let mut script = Script::answered();
        for pause in [5_000, 12_000, 61_000, 74_999] {
            assert_eq!(script.at(1_000 + pause, NOTHING), script.by(76_000));
        }
        let second = ConnectionActivity { begun: 2, ..ANSWERING };
        script.at(75_999, second);
        let over = ConnectionActivity { begun: 2, ..NOTHING };
        assert_eq!(script.at(100_000, over), script.by(175_000));
        assert_eq!(script.at(175_000, over), HttpDeadline::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn headers_have_5_s_from_their_first_byte_however_they_dribble() {
        let mut script = Script::answered();
        assert_eq!(script.at(50_000, BYTES), script.by(55_000));
        assert_eq!(script.at(54_000, BYTES), script.by(55_000));
        assert_eq!(script.at(55_000, NOTHING), HttpDeadline::Late(ListenerRefusal::Headers));
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_of_a_request_that_is_being_answered_begin_no_other() {
        let mut script = Script::answered();
        script.at(2_000, ConnectionActivity { begun: 2, heard: true, ..ANSWERING });
        script.at(3_000, ConnectionActivity { begun: 2, heard: true, ..ANSWERING });
        assert_eq!(script.at(4_000, ConnectionActivity { begun: 2, ..BYTES }), script.by(79_000));
    }

    #[tokio::test(start_paused = true)]
    async fn an_http2_peer_that_answers_pings_is_idle_all_the_same() {
        let mut script = Script::answered();
        let ping = ConnectionActivity { is_http2: true, ..BYTES };
        assert_eq!(script.at(31_000, ping), script.by(76_000));
        assert_eq!(script.at(76_000, ping), HttpDeadline::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_has_the_time_until_its_first_headers() {
        let mut script = Script::answered();
        let silent = ConnectionActivity { begun: 0, ..BYTES };
        assert_eq!(script.at(4_999, silent), script.by(5_000));
        assert_eq!(script.at(5_000, silent), HttpDeadline::Late(ListenerRefusal::Silent));
    }
}
