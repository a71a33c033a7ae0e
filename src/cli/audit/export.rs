//! `fido-relay audit export`: entries by time, ceremony or user, as JSON lines or CSV.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use fido_relay_proto::{CeremonyId, Username};
use serde_json::Value;

use super::super::pairing::parse_username;
use super::super::{ConfigFile, Failure};

#[derive(Debug, Args)]
pub(super) struct ExportArguments {
    /// The log's directory [default: that of this configuration]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Entries from this time on (UTC): 2026-11-23, 2026-11-23T10:00 or 2026-11-23T10:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<String>,
    /// Entries before this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<String>,
    /// Entries of this ceremony
    #[arg(long, value_name = "ID")]
    ceremony: Option<CeremonyId>,
    /// Entries of this user
    #[arg(long, value_name = "NAME", value_parser = parse_username)]
    user: Option<Username>,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// The log's lines, unchanged
    Jsonl,
    /// A table with a heading, for spreadsheets
    Csv,
}

/// Columns of the table; other fields are left out.
const COLUMNS: [&str; 12] = [
    "seq", "time", "event", "at", "tenant", "ceremony", "client", "user", "device", "type",
    "outcome", "reason",
];

/// Parses the beginning of an RFC 3339 time in UTC. Such texts sort like times.
fn parse_time(text: &str) -> Result<String, String> {
    let plain = text.strip_suffix('Z').unwrap_or(text);
    let form = "0000-00-00T00:00:00.000";
    let fits = plain.len() >= 4
        && plain.len() <= form.len()
        && plain.bytes().zip(form.bytes()).all(|(given, wanted)| match wanted {
            b'0' => given.is_ascii_digit(),
            other => given == other,
        });
    if fits {
        Ok(plain.to_owned())
    } else {
        Err("must be the beginning of a UTC time such as 2026-11-23T10:00:00Z".to_owned())
    }
}

impl ExportArguments {
    fn matches(&self, entry: &Value) -> bool {
        let text = |name: &str| entry.get(name).and_then(Value::as_str);
        let time = text("time").map(|time| time.trim_end_matches('Z')).unwrap_or_default();
        let user = || text("user").or_else(|| text("username"));
        let ceremony = || text("ceremony").or_else(|| text("ceremony_id"));
        self.since.as_deref().is_none_or(|since| time >= since)
            && self.until.as_deref().is_none_or(|until| time < until)
            && self.ceremony.is_none_or(|id| ceremony() == Some(id.to_string().as_str()))
            && self.user.as_ref().is_none_or(|name| user() == Some(name.as_str()))
    }
}

pub(super) fn run(file: &ConfigFile, arguments: &ExportArguments) -> Result<(), Failure> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    if matches!(arguments.format, Format::Csv) && writeln!(out, "{}", COLUMNS.join(",")).is_err() {
        return Ok(());
    }
    for path in super::segments(file, arguments.dir.as_deref())? {
        let failed =
            |error: std::io::Error| Failure::failed(format!("{}: {error}", path.display()));
        for line in BufReader::new(File::open(&path).map_err(failed)?).split(b'\n') {
            let line = line.map_err(failed)?;
            let Ok(entry) = serde_json::from_slice::<Value>(&line) else { continue };
            if !arguments.matches(&entry) {
                continue;
            }
            let written = match arguments.format {
                Format::Jsonl => out.write_all(&line).and_then(|()| out.write_all(b"\n")),
                Format::Csv => writeln!(out, "{}", row(&entry)),
            };
            // A reader that closes the pipe is no failure.
            if written.is_err() {
                return Ok(());
            }
        }
    }
    let _ = out.flush();
    Ok(())
}

fn row(entry: &Value) -> String {
    let other = |column: &str| {
        match column {
            "user" => "username",
            "ceremony" => "ceremony_id",
            "client" => "client_id",
            "device" => "device_id",
            same => same,
        }
        .to_owned()
    };
    let cell = |column: &&str| match entry.get(*column).or_else(|| entry.get(other(column))) {
        Some(Value::String(text)) => quoted(text),
        Some(Value::Number(number)) => number.to_string(),
        Some(_) | None => String::new(),
    };
    COLUMNS.iter().map(cell).collect::<Vec<_>>().join(",")
}

/// A cell (RFC 4180). A name that a spreadsheet would take for a formula stays a text.
fn quoted(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let guard = if formula { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_beginnings_of_utc_times() {
        assert_eq!(parse_time("2026-11-23T10:00:00Z").unwrap(), "2026-11-23T10:00:00");
        assert_eq!(parse_time("2026-11").unwrap(), "2026-11");
        for text in ["", "yesterday", "2026-11-23T10:00:00+01:00", "23.11.2026"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_table_holds_no_formula_and_no_stray_quote() {
        let entry = serde_json::json!({ "seq": 1, "event": "opened", "user": "=cmd|'/c calc'!A1" });
        assert_eq!(row(&entry), "1,,\"opened\",,,,,\"'=cmd|'/c calc'!A1\",,,,");
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }
}
