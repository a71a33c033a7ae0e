//! The configuration in effect as TOML: a configuration file with the source of each value as a
//! comment.

use std::fmt::Write as _;

use super::Loaded;

impl Loaded {
    /// A configuration file of the settings in effect.
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
