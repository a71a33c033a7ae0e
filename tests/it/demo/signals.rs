//! Signals to the demo at every moment: it removes its temporary directory, and says by its exit code
//! which signal it was.

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::child::{ChildProcess, fido_relay};
use crate::support::relay::http;

const SIGNALS: [(Signal, i32); 2] = [(Signal::INT, 130), (Signal::TERM, 143)];

/// The demo, with a directory of its own for what is temporary.
struct Demo {
    process: ChildProcess,
    temporary: TempDir,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let mut demo = fido_relay(&[&["demo"], arguments].concat());
        Self { process: ChildProcess::start(demo.env("TMPDIR", temporary.path())), temporary }
    }

    fn leaves(&self) -> Vec<String> {
        let left = std::fs::read_dir(self.temporary.path()).unwrap();
        left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// Waits for the end, which leaves no file; the exit code.
    async fn exit_code(&mut self, when: &str) -> i32 {
        let exit = self.process.exit().await;
        assert_eq!(self.leaves(), [""; 0], "{when}");
        exit.code.unwrap_or_else(|| panic!("{when}: {}", exit.text()))
    }
}

#[tokio::test]
async fn a_signal_while_the_demo_starts_leaves_nothing_behind() {
    for (signal, code) in SIGNALS {
        let mut demo = Demo::start(&[]);
        while demo.leaves().is_empty() {
            tokio::task::yield_now().await;
        }
        demo.process.signal(signal);
        assert_eq!(demo.exit_code("a signal").await, code);
    }
}

#[tokio::test]
async fn a_signal_while_the_demo_plays_leaves_nothing_behind() {
    for (signal, code) in SIGNALS {
        for (arguments, moment) in [
            (&[][..], "1  Register a card"),
            (&[], "2  Sign in"),
            (&["--keep", "--ask-code"], "asks ada@harbour.example"),
        ] {
            let mut demo = Demo::start(arguments);
            demo.process.prints(moment).await;
            demo.process.signal(signal);
            assert_eq!(demo.exit_code(moment).await, code, "{moment}");
        }
    }
}

#[tokio::test]
async fn a_signal_while_a_browser_waits_is_how_the_kept_demo_is_meant_to_end() {
    for (signal, _) in SIGNALS {
        let mut demo = Demo::start(&["--keep"]);
        let url = demo.process.prints("The page is open at ").await;
        let opened = http().post(format!("{url}api/sign-in")).send().await.unwrap();
        let opened: serde_json::Value = opened.json().await.unwrap();
        let text = |name: &str| opened[name].as_str().unwrap().to_owned();
        let waits = format!("{url}api/ceremonies/{}?wait=25&since=0", text("id"));
        let waits = http().get(waits).bearer_auth(text("ticket")).send();
        let ends = async {
            demo.process.prints("asks the bank").await;
            demo.process.signal(signal);
            demo.exit_code("a signal under a waiting browser").await
        };
        let (answered, ended) = tokio::join!(waits, ends);
        assert_eq!(ended, 0);
        // An answer of what there was until then, or none.
        drop(answered);
    }
}

#[tokio::test]
async fn a_second_signal_ends_the_demo_at_once_and_leaves_nothing_behind() {
    for (signal, code) in SIGNALS {
        let mut demo = Demo::start(&[]);
        demo.process.prints("1  Register a card").await;
        demo.process.signal(signal);
        demo.process.signal(signal);
        assert_eq!(demo.exit_code("a signal").await, code);
    }
}
