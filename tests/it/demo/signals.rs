//! Signals to the demo at every moment: it removes its temporary directory, and says by its exit code
//! which signal it was.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// Far more than an orderly end takes.
const LIMIT: Duration = Duration::from_secs(20);
const SIGNALS: [(&str, i32); 2] = [("INT", 130), ("TERM", 143)];

/// The demo, with a directory of its own for what is temporary.
struct Demo {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    temporary: TempDir,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_fido-relay"))
            .arg("demo")
            .args(arguments)
            .env("TMPDIR", temporary.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines, temporary }
    }

    /// Waits for a line that holds this; what follows it there.
    async fn tells(&mut self, text: &str) -> String {
        loop {
            let line = self.lines.next_line().await.unwrap().expect("it still runs");
            if let Some((_, rest)) = line.split_once(text) {
                return rest.to_owned();
            }
        }
    }

    fn leaves(&self) -> Vec<String> {
        let left = std::fs::read_dir(self.temporary.path()).unwrap();
        left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    async fn signal(&self, name: &str) {
        let arguments = [format!("-{name}"), self.child.id().unwrap().to_string()];
        assert!(Command::new("kill").args(arguments).status().await.unwrap().success());
    }

    /// Waits for the end; nothing may be left.
    async fn ends(&mut self, when: &str) -> ExitStatus {
        // As a terminal would take it.
        let Self { child, lines, .. } = self;
        let drain = async { while let Ok(Some(_)) = lines.next_line().await {} };
        let ended = async { tokio::join!(child.wait(), drain).0 };
        let ended = tokio::time::timeout(LIMIT, ended).await;
        let status = ended.unwrap_or_else(|_| panic!("{when}: does not end")).unwrap();
        assert_eq!(self.leaves(), [""; 0], "{when}");
        status
    }
}

#[tokio::test]
async fn a_signal_while_the_demo_starts_leaves_nothing_behind() {
    for (signal, code) in SIGNALS {
        let mut demo = Demo::start(&[]);
        while demo.leaves().is_empty() {
            tokio::task::yield_now().await;
        }
        demo.signal(signal).await;
        assert_eq!(demo.ends(signal).await.code(), Some(code), "{signal}");
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
            demo.tells(moment).await;
            demo.signal(signal).await;
            let when = format!("{signal} at {moment:?}");
            assert_eq!(demo.ends(&when).await.code(), Some(code), "{when}");
        }
    }
}

#[tokio::test]
async fn a_signal_while_a_browser_waits_is_how_the_kept_demo_is_meant_to_end() {
    for (signal, _) in SIGNALS {
        let mut demo = Demo::start(&["--keep"]);
        let url = demo.tells("The page is open at ").await;
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let opened = http.post(format!("{url}api/sign-in")).send().await.unwrap();
        let opened: serde_json::Value = opened.json().await.unwrap();
        let text = |name: &str| opened[name].as_str().unwrap().to_owned();
        let waits = format!("{url}api/ceremonies/{}?wait=25&since=0", text("id"));
        let waits = http.get(waits).bearer_auth(text("ticket")).send();
        let ends = async {
            demo.tells("asks the bank").await;
            demo.signal(signal).await;
            demo.ends(signal).await
        };
        let (answered, ended) = tokio::join!(waits, ends);
        assert!(ended.success(), "{signal}");
        // An answer of what there was until then, or none.
        drop(answered);
    }
}

#[tokio::test]
async fn a_second_signal_ends_the_demo_at_once_and_leaves_nothing_behind() {
    for (signal, code) in SIGNALS {
        let mut demo = Demo::start(&[]);
        demo.tells("1  Register a card").await;
        demo.signal(signal).await;
        // The first may have been enough.
        let arguments = [format!("-{signal}"), demo.child.id().unwrap().to_string()];
        Command::new("kill").args(arguments).stderr(Stdio::null()).status().await.unwrap();
        assert_eq!(demo.ends(signal).await.code(), Some(code), "{signal}");
    }
}
