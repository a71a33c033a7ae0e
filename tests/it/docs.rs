//! The documents hold what the code says: every name of the wire is in the document whose
//! readers meet it, every link leads somewhere, and the examples of the device protocol are
//! frames and proofs that this relay takes, and the tests that a claim leans on exist.

mod examples;
mod links;
mod names;
mod proofs;
#[cfg(unix)]
mod quick_start;
mod symptoms;
mod variables;
mod weaknesses;

use std::path::{Path, PathBuf};

/// The project's own folder.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A document's text.
fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Markdown file of the project.
fn documents() -> Vec<PathBuf> {
    files("md")
}

/// Every file of the project with this extension.
fn files(extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let is_ours = !name.starts_with('.') && name != "target" && name != "node_modules";
            if path.is_dir() && is_ours {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found
}
