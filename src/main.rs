//! Arguments → configuration → run → exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    fido_relay::cli::main()
}
