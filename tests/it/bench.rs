//! `fido-relay bench`, small: that it measures and reports. Its measurements are not asserted.

use crate::support::child::{fido_relay, run};

#[tokio::test]
async fn a_small_bench_reports_each_figure_beside_its_floor() {
    let mut bench = fido_relay(&["bench", "--phones", "10", "--in-flight", "2", "--seconds", "1"]);
    bench.args(["--watchers", "20", "--sleepers", "5", "--wakes-per-minute", "300"]);
    let report = run(bench.args(["--stored", "100"])).await.stdout();
    let line = |part: &str, name: &str| {
        let (_, rest) = report.split_once(part).unwrap_or_else(|| panic!("{part} in {report}"));
        let line = rest.lines().find(|line| line.trim_start().starts_with(name));
        line.unwrap_or_else(|| panic!("{name} after {part} in {report}")).to_owned()
    };
    assert!(line("Idle phones: 10", "floor").contains(" bytes "));
    assert!(line("Idle phones: 10", "relay").contains(" connects/s "));
    assert!(line("Ceremonies: 2 in flight", "floor").contains(" p99 "));
    assert!(line("Ceremonies: 2 in flight", "relay").contains(" p50 "));
    for road in ["floor", "woken", "deliv."] {
        assert!(line(" of 5 sleeping phones", road).contains(" p99 "), "{report}");
    }
    assert!(report.contains("brought no acknowledgement: 0"), "{report}");
    for road in ["floor", "poll", "events", "socket", "webhook"] {
        assert!(line("Watchers: 20 by each way", road).contains(" p99 "));
    }
}
