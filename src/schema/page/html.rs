//! HTML of which every tag stands in the source of this module's users, and every text from a
//! document is nothing but text.

/// A piece of a page.
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// Markup. It is part of the program: what comes from a document cannot be `'static`.
    pub(super) fn tag(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text, also within the quotes of an attribute.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                other => self.0.push(other),
            }
        }
        self
    }

    /// An anchor's name: letters, digits and hyphens.
    pub(super) fn anchor(&mut self, words: &[&str]) -> &mut Self {
        let name = anchor(words);
        self.text(&name)
    }

    pub(super) fn code(&mut self, text: &str) -> &mut Self {
        self.tag("<code>").text(text).tag("</code>")
    }

    /// A sentence: what is between backticks is code.
    pub(super) fn sentence(&mut self, text: &str) -> &mut Self {
        for (index, part) in text.split('`').enumerate() {
            if index % 2 == 1 {
                self.code(part);
            } else {
                self.text(part);
            }
        }
        self
    }

    /// Paragraphs and tables, as the descriptions of the documents have them (CommonMark).
    pub(super) fn prose(&mut self, text: &str) -> &mut Self {
        for block in text.split("\n\n").filter(|block| !block.trim().is_empty()) {
            if block.starts_with('|') {
                self.table(block);
            } else {
                self.tag("<p>").sentence(block).tag("</p>");
            }
        }
        self
    }

    fn table(&mut self, block: &str) {
        let cells = |line: &str| -> Vec<String> {
            line.trim().trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
        };
        let mut lines = block.lines();
        self.tag("<table class=\"words\"><thead><tr>");
        for cell in lines.next().map(cells).unwrap_or_default() {
            self.tag("<th scope=\"col\">").sentence(&cell).tag("</th>");
        }
        self.tag("</tr></thead><tbody>");
        for line in lines.skip(1) {
            self.tag("<tr>");
            for cell in cells(line) {
                self.tag("<td>").sentence(&cell).tag("</td>");
            }
            self.tag("</tr>");
        }
        self.tag("</tbody></table>");
    }

    /// What follows.
    pub(super) fn append(&mut self, other: Self) -> &mut Self {
        self.0.push_str(&other.0);
        self
    }

    /// Whether an element has this anchor.
    pub(super) fn has(&self, words: &[&str]) -> bool {
        self.0.contains(&format!(" id=\"{}\"", anchor(words)))
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// The name of an anchor for these words.
pub(super) fn anchor(words: &[&str]) -> String {
    let letters = words.join(" ");
    let parts = letters.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
    parts.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_text_is_nothing_but_text(text in "\\PC*") {
            let mut html = Html::default();
            html.text(&text);
            let html = html.finish();
            prop_assert!(!html.contains(['<', '>', '"', '\'']));
            let back = html.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
            prop_assert_eq!(back.replace("&#39;", "'").replace("&amp;", "&"), text);
        }

        #[test]
        fn an_anchor_is_a_word(words in "\\PC*") {
            let name = anchor(&[&words]);
            prop_assert!(name.chars().all(|c| c == '-' || c.is_ascii_alphanumeric()));
        }
    }

    #[test]
    fn prose_has_paragraphs_code_and_tables() {
        let mut html = Html::default();
        html.prose("One `<two>`.\n\n| a | b |\n| --- | --- |\n| `1` | 2 |");
        assert_eq!(
            html.finish(),
            "<p>One <code>&lt;two&gt;</code>.</p><table class=\"words\"><thead><tr><th scope=\"col\">a</th>\
             <th scope=\"col\">b</th></tr></thead><tbody><tr><td><code>1</code></td><td>2</td></tr>\
             </tbody></table>"
        );
    }
}
