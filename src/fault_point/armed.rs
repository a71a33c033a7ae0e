//! Which arrival a test waits for, and the telling of it. Knows no place in the relay.

use std::io::Write as _;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Point;

const VARIABLE: &str = "FAULT_POINT";

/// What the test waits for: the place and which arrival.
static AWAITED: LazyLock<Option<(String, u32)>> = LazyLock::new(|| {
    #[expect(clippy::disallowed_methods, reason = "no setting: it arms a test's own process")]
    let text = std::env::var(VARIABLE).ok()?;
    let (name, nth) = text.split_once(':').unwrap_or((&text, "1"));
    Some((name.to_owned(), nth.parse().ok()?))
});
static ARRIVALS: AtomicU32 = AtomicU32::new(0);

pub(super) fn is_due(point: Point) -> bool {
    let Some((name, nth)) = &*AWAITED else { return false };
    name == point.name() && ARRIVALS.fetch_add(1, Ordering::Relaxed) + 1 == *nth
}

pub(super) fn say(point: Point) {
    let line = format!("fault point reached: {}\n", point.name());
    let mut out = std::io::stdout().lock();
    // A test that no longer listens waits for nothing either.
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}
