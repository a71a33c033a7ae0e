//! The binary: everything is in [`fido_relay::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    fido_relay::cli::main()
}
