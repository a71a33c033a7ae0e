//! The samples of `examples/{node,go,java}`, each built with a program of its own or of a test's.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::process::Command;

use super::child::run;
use super::needs;

/// A language in which a sample is written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Language {
    Node,
    Go,
    Java,
}

impl Language {
    const fn folder(self) -> &'static str {
        match self {
            Self::Node => "examples/node",
            Self::Go => "examples/go",
            Self::Java => "examples/java",
        }
    }
}

/// A sample that can be run.
#[derive(Debug)]
pub(crate) struct Sample {
    program: PathBuf,
    arguments: Vec<String>,
    _directory: TempDir,
}

impl Sample {
    /// The sample with the program that it comes with.
    pub(crate) async fn main(language: Language) -> Option<Self> {
        Self::built(language, language.folder(), ["main.mjs", "main.go", "Main.java"]).await
    }

    /// The sample with the program of `tests/samples`, which asks its verification.
    pub(crate) async fn check(language: Language) -> Option<Self> {
        Self::built(language, "tests/samples", ["check.mjs", "check.go", "Check.java"]).await
    }

    async fn built(language: Language, place: &str, programs: [&str; 3]) -> Option<Self> {
        let what = format!("the sample in {language:?}");
        let directory = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let (files, program): (&[&str], _) = match language {
            Language::Node => (&["relay.mjs"], programs[0]),
            Language::Go => (&["go.mod", "relay.go", "verify.go"], programs[1]),
            Language::Java => (&["Json.java", "Relay.java"], programs[2]),
        };
        let at = |file: &str| directory.path().join(file).to_string_lossy().into_owned();
        for file in files {
            std::fs::copy(root.join(language.folder()).join(file), at(file)).unwrap();
        }
        std::fs::copy(root.join(place).join(program), at(program)).unwrap();
        let (program, arguments) = match language {
            Language::Node => (needs::node_alone(&what)?, vec![at(program)]),
            Language::Go => {
                let mut build = Command::new(needs::go(&what)?);
                build.args(["build", "-o", "sample"]).current_dir(&directory);
                run(&mut build).await.stdout();
                (directory.path().join("sample"), Vec::new())
            }
            Language::Java => {
                let javac = needs::javac(&what)?;
                let mut build = Command::new(&javac);
                // What is built runs for a second: the compiler needs no optimised code.
                build.args(["-J-XX:TieredStopAtLevel=1", "-encoding", "UTF-8", "-d", "."]);
                build.args(["Json.java", "Relay.java", program]).current_dir(&directory);
                run(&mut build).await.stdout();
                let options =
                    ["-XX:TieredStopAtLevel=1", "-cp", &at(""), program.trim_end_matches(".java")];
                (javac.with_file_name("java"), options.map(str::to_owned).to_vec())
            }
        };
        Some(Self { program, arguments, _directory: directory })
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        command
    }
}
