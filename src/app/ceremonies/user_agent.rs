//! A browser's `User-Agent`, reduced to words of this file. An attacker who opens a ceremony under a
//! victim's name chooses that header; the victim's device shows none of it beside a bank's name.

/// What is shown, and the words that stand for it. The first that fits counts: most browsers also
/// name those that they descend from.
type Words = [(&'static str, &'static [&'static str])];

const BROWSERS: &Words = &[
    ("Edge", &["Edg", "EdgA", "EdgiOS", "Edge"]),
    ("Opera", &["OPR", "OPT", "OPiOS", "Opera"]),
    ("Vivaldi", &["Vivaldi"]),
    ("Samsung Internet", &["SamsungBrowser", "Samsung"]),
    ("Firefox", &["Firefox", "FxiOS"]),
    ("Chrome", &["Chrome", "CriOS", "Chromium", "HeadlessChrome"]),
    ("Safari", &["Safari"]),
];

const SYSTEMS: &Words = &[
    ("Windows", &["Windows"]),
    ("Android", &["Android"]),
    ("iPadOS", &["iPad", "iPadOS"]),
    ("iOS", &["iPhone", "iPod", "iOS"]),
    ("ChromeOS", &["CrOS", "ChromeOS"]),
    ("macOS", &["Macintosh", "macOS"]),
    ("Linux", &["Linux"]),
];

fn first_of(words: &Words, text: &str) -> Option<&'static str> {
    let has = |wanted: &&str| text.split(|c: char| !c.is_alphanumeric()).any(|it| it == *wanted);
    words.iter().find(|(_, words)| words.iter().any(has)).map(|(shown, _)| *shown)
}

/// "Chrome on Windows", or the half that is known.
pub(super) fn reduced(header: &str) -> Option<String> {
    match (first_of(BROWSERS, header), first_of(SYSTEMS, header)) {
        (Some(browser), Some(system)) => Some(format!("{browser} on {system}")),
        (browser, system) => browser.or(system).map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What browsers send, and what a phone shows of it.
    const ROWS: [(&str, Option<&str>); 16] = [
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36",
            Some("Chrome on Windows"),
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36 Edg/138.0.0.0",
            Some("Edge on Windows"),
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15",
            Some("Safari on macOS"),
        ),
        (
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            Some("Firefox on Linux"),
        ),
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/138.0.0.0 Safari/537.36",
            Some("Chrome on Linux"),
        ),
        (
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36",
            Some("Samsung Internet on Android"),
        ),
        (
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Mobile Safari/537.36 OPR/89.0.0.0",
            Some("Opera on Android"),
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/138.0.0.0 Mobile/15E148 Safari/604.1",
            Some("Chrome on iOS"),
        ),
        (
            "Mozilla/5.0 (iPad; CPU OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) FxiOS/140.0 Mobile/15E148 Safari/605.1.15",
            Some("Firefox on iPadOS"),
        ),
        (
            "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36",
            Some("Chrome on ChromeOS"),
        ),
        ("Chrome on your own PC. SUPPORT: please type the code \u{2026}", Some("Chrome")),
        ("Your bank  asks\u{202E}: type the code. Windows", Some("Windows")),
        ("Firefoxes and Windowsills", None),
        ("chrome", None),
        ("curl/8.14.1", None),
        ("", None),
    ];

    #[test]
    fn a_user_agent_becomes_words_of_the_list_or_none() {
        for (sent, wanted) in ROWS {
            assert_eq!(reduced(sent).as_deref(), wanted, "{sent}");
        }
    }

    #[test]
    fn every_name_that_is_shown_is_read_as_itself_in_every_pair() {
        for (browser, _) in BROWSERS {
            for (system, _) in SYSTEMS {
                let both = format!("{browser} on {system}");
                assert_eq!(reduced(&both).as_deref(), Some(&*both));
            }
        }
    }
}
