//! `fido-relay bench`: memory of an idle phone, rate and latency of ceremonies, latency of watchers and
//! of wakes, and the cost of a start with a full store. Each figure is reported with a floor of
//! the same run, because only ratios can be compared between machines.
//!
//! The relay under test is a child process; phones, initiator and clock are in this one. With few cores
//! both share them, so rates are those of both ends together.

mod ceremonies;
mod child;
mod endpoint;
mod floor;
mod idle;
mod phones;
mod report;
mod start;
mod wake;
mod watch;
mod watchers;

use std::time::Duration;

use fido_relay_kit::signals::Signals;

use self::report::Latencies;
use crate::command::{Failure, answer};
use crate::host::RelayHost;

/// Holds idle phones, then signs users in. Starts its own relay with its own store. Progress goes
/// to standard error, the report to standard output.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  fido-relay bench
  fido-relay bench --phones 20000           after ulimit -n 65536
  fido-relay bench --only ceremonies --in-flight 256 --seconds 30
  fido-relay bench --only wake --sleepers 500 --wakes-per-minute 10000
  fido-relay bench --only start --stored 1000000")]
pub struct BenchArguments {
    /// Idle phones; needs twice as many file descriptors (see `ulimit -n`)
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    phones: u32,
    /// Concurrent ceremonies, each of another user
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    in_flight: u32,
    /// Concurrent watchers for each way to wait
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    watchers: u32,
    /// Phones that sleep and are woken repeatedly
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    sleepers: u32,
    /// Wakes of all sleepers per minute, during the sign-ins
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    wakes_per_minute: u32,
    /// Ended ceremonies in the store of the starting relay
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    stored: u32,
    /// Seconds of sign-ins
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Measure only this
    #[arg(long, value_enum)]
    only: Option<Measurement>,
    /// Be the process at which the floor of idle phones is measured
    #[arg(long, hide = true)]
    hold_sockets: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Measurement {
    /// Memory of idle phones
    Idle,
    /// Ceremonies a second
    Ceremonies,
    /// From an end to its watchers
    Watch,
    /// From an opening to a sleeping phone
    Wake,
    /// A start with a full store
    Start,
}

/// Measures and reports.
///
/// # Errors
/// [`Failure`] if something could not be measured, or a signal came first.
pub fn run(arguments: &BenchArguments, host: &dyn RelayHost) -> Result<(), Failure> {
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::failed)?;
    if arguments.hold_sockets {
        return runtime.block_on(floor::hold_sockets());
    }
    runtime.block_on(async {
        let mut signals = Signals::new().map_err(Failure::failed)?;
        tokio::select! {
            measured = measure(arguments, host) => measured,
            stop = signals.next() => Err(Failure::stopped(stop)),
        }
    })
}

async fn measure(arguments: &BenchArguments, host: &dyn RelayHost) -> Result<(), Failure> {
    if cfg!(debug_assertions) {
        answer("This is a debug build: neither speed nor memory is representative.\n");
    }
    let wanted = |part| arguments.only.is_none_or(|only| only == part);
    if wanted(Measurement::Idle) {
        let phones = usize::try_from(arguments.phones).map_err(Failure::usage)?;
        answer(&idle_report(&idle::measure(phones).await?));
    }
    if wanted(Measurement::Ceremonies) {
        let in_flight = usize::try_from(arguments.in_flight).map_err(Failure::usage)?;
        let duration = Duration::from_secs(arguments.seconds);
        answer(&ceremonies_report(&ceremonies::measure(in_flight, duration).await?));
    }
    if wanted(Measurement::Watch) {
        let watchers = usize::try_from(arguments.watchers).map_err(Failure::usage)?;
        answer(&watch_report(&watch::measure(watchers).await?));
    }
    if wanted(Measurement::Wake) {
        let sleepers = usize::try_from(arguments.sleepers).map_err(Failure::usage)?;
        let duration = Duration::from_secs(arguments.seconds);
        answer(&wake_report(&wake::measure(sleepers, arguments.wakes_per_minute, duration).await?));
    }
    if wanted(Measurement::Start) {
        let stored = usize::try_from(arguments.stored).map_err(Failure::usage)?;
        answer(&start_report(&start::measure(host, stored).await?));
    }
    Ok(())
}

fn idle_report(figures: &idle::IdleFigures) -> String {
    let idle::IdleFigures { phones, floor, relay, floor_connects, relay_connects, lost } = figures;
    format!(
        "Idle phones: {phones}, server's own memory for each over the kernel's (RssAnon)\n\
         \x20 floor   {floor:>9} bytes   {floor_connects:>9.0} connects/s   a task that holds a bare socket\n\
         \x20 relay   {relay:>9} bytes   {relay_connects:>9.0} connects/s   paired, authenticated, pinged\n\
         \x20 sockets lost or not got at the first try: {lost}\n"
    )
}

fn watch_report(figures: &watch::WatchFigures) -> String {
    let line = |latencies: &Latencies| {
        let millis = |percent| latencies.percentile(percent).as_secs_f64() * 1000.0;
        format!("p50 {:>6.0} ms   p99 {:>6.0} ms", millis(50), millis(99))
    };
    let mut report = format!(
        "Watchers: {} by each way, ten of each ceremony, all ceremonies cancelled at once; from the\n\
         \x20 time of the step `closed`, which is taken before it is stored\n",
        figures.watchers,
    );
    for (method, answered, known) in &figures.methods {
        report.push_str(&format!(
            "\x20 floor   {}   the call that cancels is answered\n\
             \x20 {method:<7} {}   the watcher has the outcome\n",
            line(answered),
            line(known),
        ));
    }
    report
}

fn wake_report(figures: &wake::WakeFigures) -> String {
    let line = |latencies: &Latencies| {
        let millis = |percent| latencies.percentile(percent).as_secs_f64() * 1000.0;
        format!("p50 {:>6.0} ms   p99 {:>6.0} ms", millis(50), millis(99))
    };
    let wake::WakeFigures { sleepers, opened, woken, delivered, per_minute, floor, memory, missed } =
        figures;
    format!(
        "Wakes: {} of {sleepers} sleeping phones, {per_minute:.0} a minute; from the step `opened`\n\
         \x20 floor   {}   the call that opens is answered\n\
         \x20 woken   {}   the push service has the wake\n\
         \x20 deliv.  {}   the app has pulled the offer and acknowledged it\n\
         \x20 floor   {floor:>9} bytes stay in memory for an opening that wakes no phone\n\
         \x20 relay   {memory:>9} bytes for one that does\n\
         \x20 wakes that brought no acknowledgement: {missed}\n",
        woken.count(),
        line(opened),
        line(woken),
        line(delivered),
    )
}

fn start_report(figures: &start::StartFigures) -> String {
    let line = |start: &start::StartTiming| {
        let (listens, used) = (start.listens.as_secs_f64() * 1000.0, start.processor_us / 1000);
        format!("listens after {listens:>6.0} ms   {used:>6} ms of processor time in 10 s")
    };
    format!(
        "Start: {} ended ceremonies in the store\n\
         \x20 floor   {}   an empty store\n\
         \x20 relay   {}\n",
        figures.stored,
        line(&figures.floor),
        line(&figures.relay),
    )
}

fn ceremonies_report(figures: &ceremonies::CeremonyFigures) -> String {
    let ceremonies::CeremonyFigures { in_flight, floor, sign_ins, processor_us } = figures;
    format!(
        "Ceremonies: {in_flight} in flight, {} sign-ins with a code, stored durably\n\
         \x20 floor   {floor}   GET /healthz\n\
         \x20 relay   {sign_ins}   open to outcome\n\
         \x20 relay   {processor_us:>9} µs of processor time for each\n",
        sign_ins.count(),
    )
}
