//! Origins that are none of the listed ones, however much they look like it: one corpus for every
//! road on which a browser comes.

/// What a request says in place of the listed origin: one value of `Origin` for each header line.
/// `own` is the relay's own origin, which is no page's either.
///
/// The listed origin must be `https://` and a name of at least three labels without a port.
pub(crate) fn not_listed(listed: &str, own: &str) -> Vec<Vec<String>> {
    let host = listed.strip_prefix("https://").unwrap();
    let (label, parent) = host.split_once('.').unwrap();
    assert!(parent.contains('.'), "{listed} must have a parent that could be somebody else's");
    let capital = format!("{}{}", host[..1].to_uppercase(), &host[1..]);
    let alone = [
        "null".to_owned(),
        "NULL".to_owned(),
        String::new(),
        " ".to_owned(),
        "*".to_owned(),
        "https://".to_owned(),
        "https://*".to_owned(),
        format!("https://*.{parent}"),
        // the same place in other words
        format!("{listed}/"),
        format!("{listed}."),
        format!("{listed}:443"),
        format!("HTTPS://{host}"),
        format!("https://{}", host.to_uppercase()),
        format!("https://{capital}"),
        format!("//{host}"),
        host.to_owned(),
        format!("https:/{host}"),
        format!("https:\\\\{host}"),
        format!("\"{listed}\""),
        listed.replace('.', "%2e"),
        listed.replace('.', "\u{3002}"),
        // another scheme or port
        format!("http://{host}"),
        format!("wss://{host}"),
        format!("{listed}:8443"),
        format!("{listed}:80"),
        format!("{listed}:"),
        // another host
        format!("https://{parent}"),
        format!("https://evil.{host}"),
        format!("https://evil{host}"),
        format!("https://{label}-{parent}"),
        format!("{listed}.evil.example"),
        format!("{listed}evil.example"),
        format!("https://xn--{label}-9za.{parent}"),
        format!("{listed}\u{e9}"),
        format!("https://{}", host.replace('a', "\u{430}")),
        "https://[::1]".to_owned(),
        "https://127.0.0.1".to_owned(),
        "http://localhost".to_owned(),
        // the listed one inside of another
        format!("{listed}@evil.example"),
        format!("https://user@{host}"),
        format!("https://user:pass@{host}"),
        format!("https://evil.example/{listed}"),
        format!("https://evil.example?{listed}"),
        format!("https://evil.example#{listed}"),
        format!("{listed}/path"),
        format!("{listed}?query"),
        format!("{listed}#fragment"),
        // several in one
        format!("{listed}, https://evil.example"),
        format!("https://evil.example, {listed}"),
        format!("https://evil.example {listed}"),
        format!("{listed} https://evil.example"),
        format!("{listed},{listed}"),
        // not of the web
        "file://".to_owned(),
        "data:".to_owned(),
        "chrome-extension://abcdefghijklmnop".to_owned(),
        own.to_owned(),
    ];
    let several = [
        [listed, "https://evil.example"],
        ["https://evil.example", listed],
        [listed, listed],
        [listed, ""],
        ["null", listed],
    ];
    let alone = alone.into_iter().map(|origin| vec![origin]);
    alone.chain(several.map(|lines| lines.map(str::to_owned).to_vec())).collect()
}
