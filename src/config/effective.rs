//! The configuration in effect as a TOML text that says where each value came from, and that is
//! itself a configuration file.

use std::fmt::Write as _;

use super::Loaded;

impl Loaded {
    /// The settings in effect as TOML, each with its source as a comment.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut table = "";
        for setting in &self.settings {
            let (in_table, name) = setting.key.rsplit_once('.').unwrap_or(("", setting.key));
            if in_table != table {
                table = in_table;
                let _ = writeln!(text, "\n[{table}]");
            }
            // Writing to a String cannot fail.
            let _ = match &setting.value {
                Some(value) => writeln!(text, "{name} = {value}  # {}", setting.source),
                None => writeln!(text, "# {name} is not set"),
            };
        }
        text
    }
}
