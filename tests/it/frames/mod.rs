//! A million frames as a hostile phone writes them: nothing panics, and the relay's memory does
//! not grow.
//!
//! ```text
//!   seed ─▶ generator ─┬─▶ codec: bounds, frames, bodies, a session    (in a process of its own)
//!                      └─▶ live: frames over TCP ─▶ the real program ◀─ an honest phone
//! ```
//! `FRAMES` sets how many go through the codec (100,000 in an ordinary run) and, a tenth of them
//! and at least 20,000, over sockets; `FRAMES_SEED` sets where chance begins. For the whole number:
//!
//! ```sh
//! FRAMES=1000000 cargo test --test it frames:: -- --nocapture
//! ```

mod codec;
pub(crate) mod generator;
#[cfg(target_os = "linux")]
mod live;
mod wire;

/// Frames in an ordinary run of the tests.
const FRAMES: u64 = 100_000;
/// Memory may grow by so much over a run: what an allocator keeps, and no record of frames.
const GROWTH: u64 = 50 * 1024 * 1024;

fn number(variable: &str, otherwise: u64) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "how a longer run is asked for")]
    std::env::var(variable).map_or(otherwise, |value| value.parse().unwrap())
}

fn frames() -> u64 {
    number("FRAMES", FRAMES)
}

fn seed() -> u64 {
    number("FRAMES_SEED", 1)
}

/// Bytes of a process's memory that are in RAM, as Linux tells them.
#[cfg(target_os = "linux")]
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Says a figure past the test runner's capture, so that a run can be reported.
fn tell(line: &str) {
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{line}\n").as_bytes());
}
