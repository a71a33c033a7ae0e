//! Turns a panic of the store's library into an error.
//!
//! redb verifies every page when a file is opened, and none when it reads one later. On a page that
//! was damaged meanwhile it returns an error in some places and panics in others; both mean the
//! same to a relay.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`. A panic in it becomes [`redb::Error::Corrupted`] and prints nothing: its message
/// could quote a record. Values that `work` was changing must not be used afterwards.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, redb::Error> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !GUARDED.get() {
                others(panic);
            }
        }));
    });
    let outer = GUARDED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(outer);
    done.unwrap_or_else(|_| Err(redb::Error::Corrupted("its content contradicts itself".into())))
}
