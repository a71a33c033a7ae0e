//! The settings that are refused or weak, as the security document lists them.

use fido_relay::config::Weakness;

use super::read;

/// A section of `SECURITY.md`.
fn section(title: &str) -> String {
    let text = read("SECURITY.md");
    let (_, section) = text.split_once(&format!("\n## {title}\n")).unwrap();
    section.split("\n## ").next().unwrap().to_owned()
}

#[test]
fn every_weak_setting_stands_in_the_document_in_the_words_of_the_log() {
    let section = section("Weak settings");
    let rows: Vec<_> = section.lines().filter(|line| line.starts_with("| `")).collect();
    let expected: Vec<_> = Weakness::all()
        .iter()
        .map(|weakness| format!("| `{}` | {} | {} |", weakness.key, weakness.text, weakness.remedy))
        .collect();
    assert_eq!(rows, expected, "\n{}", expected.join("\n"));
}

#[test]
fn every_dangerous_setting_of_the_document_is_refused() {
    let section = section("Dangerous settings");
    let refused: Vec<_> = section.lines().filter(|line| line.starts_with("| `")).collect();
    assert!(refused.len() >= 8, "{refused:?}");
    for row in refused {
        let text = row.split('`').nth(1).unwrap().replace("; ", "\n");
        let file = Some((std::path::Path::new("relay.toml"), text.as_str()));
        let result = fido_relay::config::from_texts(file, &[]);
        let mistakes = result.err().unwrap_or_else(|| panic!("{row}: taken"));
        let key = text.lines().last().unwrap().split(" = ").next().unwrap();
        let about = mistakes.0.iter().all(|mistake| mistake.key.as_deref() == Some(key));
        assert!(about, "{row}: {mistakes}");
    }
}
