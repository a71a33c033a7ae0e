//! Isolation of foreign texts (initiators', users') within the phone's own.

const FIRST_STRONG_ISOLATE: char = '\u{2068}';
const POP_DIRECTIONAL_ISOLATE: char = '\u{2069}';

/// Isolates a text so that it cannot reorder its surroundings: an initiator's `א 100` before a phone's
/// own `5 left` must not show as `5 100 א left` (UAX #9). Control and bidirectional characters are
/// removed, as not all of a frame's texts are checked. ASCII stays as it is: it has no direction, and
/// terminals without bidirectional text would show the isolates.
#[must_use]
pub fn isolated(text: &str) -> String {
    let reorders = |c: char| matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    let text: String = text.chars().filter(|c| !c.is_control() && !reorders(*c)).collect();
    if text.is_ascii() {
        text
    } else {
        format!("{FIRST_STRONG_ISOLATE}{text}{POP_DIRECTIONAL_ISOLATE}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_with_a_direction_is_isolated_and_cannot_end_its_isolation() {
        for (text, wanted) in [
            ("120.00 EUR", "120.00 EUR"),
            ("\u{5D0} 100 EUR \u{5D1} 5", "\u{2068}\u{5D0} 100 EUR \u{5D1} 5\u{2069}"),
            ("\u{5D0}\u{2069}\u{202E}5", "\u{2068}\u{5D0}5\u{2069}"),
            ("exa\u{1b}mple.com\u{202E}", "example.com"),
        ] {
            assert_eq!(isolated(text), wanted, "{text:?}");
        }
    }
}
