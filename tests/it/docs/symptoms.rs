//! Messages that the tables of symptoms quote exist in the sources, so that a reader who searches
//! for a message finds its row; and files of `packaging` are referred to, not copied.

use std::path::Path;

use super::{documents, files, read, root};

/// A table of symptoms begins so.
const HEADER: &str = "| you see |";

/// Everything that the programs say or take: the sources, without tests, with texts that are
/// broken over lines put together.
fn sources() -> String {
    let is_test = |path: &Path| path.components().any(|part| part.as_os_str() == "tests");
    let ours = |path: &Path| !is_test(path) && !path.ends_with("tests.rs");
    let paths = files("rs").into_iter().filter(|path| ours(path.strip_prefix(root()).unwrap()));
    let text: String = paths.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let mut joined = String::with_capacity(text.len());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        match line.strip_suffix('\\') {
            Some(begun) => {
                joined.push_str(begun);
                let rest = lines.next().unwrap_or_default();
                joined.push_str(rest.trim_start());
            }
            None => joined.push_str(line),
        }
        joined.push('\n');
    }
    joined
}

/// The code of the first cells of a document's tables of symptoms.
fn quoted(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with(HEADER) {
            let rows = lines.by_ref().skip(1).take_while(|row| row.starts_with('|'));
            let cells = rows.filter_map(|row| row.split(" | ").next());
            found.extend(
                cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned),
            );
        }
    }
    found
}

/// A code as the variant of an enum from which it is made: `not_found` as `NotFound`.
fn variant(code: &str) -> String {
    let word = |word: &str| match word.split_at_checked(1) {
        Some((first, rest)) => first.to_uppercase() + rest,
        None => String::new(),
    };
    code.split('_').map(word).collect()
}

#[test]
fn every_symptom_is_quoted_in_the_words_of_the_program() {
    let sources = sources();
    let mut all = 0;
    for document in documents() {
        let text = std::fs::read_to_string(&document).unwrap();
        let quotes = quoted(&text);
        all += quotes.len();
        // What differs from case to case is `…` in the document.
        let exists = |part: &str| sources.contains(part) || sources.contains(&variant(part));
        let is_said = |quote: &String| quote.split('…').all(|part| exists(part.trim()));
        let unknown: Vec<_> = quotes.into_iter().filter(|quote| !is_said(quote)).collect();
        assert!(unknown.is_empty(), "{}: {unknown:#?}", document.display());
    }
    assert!(all > 50, "{all}");
}

/// Every file below `packaging`, by its path in the project.
fn packaged() -> Vec<String> {
    let mut folders = vec![root().join("packaging")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(root()).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    found
}

#[test]
fn every_file_of_the_packaging_is_referred_to_and_copied_into_no_document() {
    let documents: String =
        documents().iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let packaged = packaged();
    assert!(packaged.len() >= 8, "{packaged:?}");
    for name in &packaged {
        // By a document's link, or by the file that uses it.
        let is_used = packaged
            .iter()
            .filter(|other| *other != name)
            .any(|other| read(other).contains(name.rsplit('/').next().unwrap()));
        assert!(is_used || documents.contains(name.as_str()), "{name}");
        // Shorter lines may be the same by chance.
        let text = read(name);
        let copied: Vec<_> = text
            .lines()
            .map(str::trim)
            .filter(|line| line.len() > 24 && !line.starts_with('#'))
            .filter(|line| documents.contains(&format!("\n{line}")))
            .collect();
        assert!(copied.is_empty(), "{name} stands in a document, too: {copied:?}");
    }
}

#[test]
fn the_unit_gives_a_stopping_relay_the_time_that_it_may_take() {
    let unit = read("packaging/fido-relay.service");
    let value = |key: &str| {
        unit.lines().find_map(|line| line.strip_prefix(&format!("{key}="))).unwrap().to_owned()
    };
    // The longest `limits.drain_s`, and what is under way.
    let seconds: u64 = value("TimeoutStopSec").parse().unwrap();
    assert!(seconds > 20 + 20, "{seconds}");
    assert_eq!(value("RestartPreventExitStatus"), "2", "the exit code of a mistake");
    assert!(value("ExecStart").ends_with(" --config /etc/fido-relay.toml serve"));
}
