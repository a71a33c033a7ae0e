//! Every variable that a document, an example or a client names.

use super::{files, root};

/// The names in a text that begin with the program's prefix.
fn named(text: &str) -> Vec<String> {
    let of_a_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let names = text.split(|c: char| !of_a_name(c)).filter(|name| name.starts_with("FIDO_RELAY_"));
    // What ends so is the prefix of a family of names.
    names.filter(|name| !name.ends_with('_')).map(str::to_owned).collect()
}

#[test]
fn whatever_a_document_says_to_export_does_not_break_the_relays_own_commands() {
    let mut seen = 0;
    for extension in ["md", "py", "ts", "yml", "toml"] {
        for path in files(extension) {
            let within = path.strip_prefix(root()).unwrap();
            let is_meant =
                ["docs", "examples", "clients"].iter().any(|room| within.starts_with(room));
            // The changelog tells of what was, and the tests' own tools run no command of ours.
            if !is_meant && within.components().count() > 1 || within.starts_with("CHANGELOG.md") {
                continue;
            }
            for name in named(&std::fs::read_to_string(&path).unwrap()) {
                seen += 1;
                let loaded = fido_relay::config::from_texts(None, &[(&name, "x")]);
                let told = loaded.err().map(|mistakes| mistakes.to_string()).unwrap_or_default();
                assert!(!told.contains("is not a known key"), "{}: {told}", within.display());
            }
        }
    }
    assert!(seen > 100, "only {seen} were found");
}
