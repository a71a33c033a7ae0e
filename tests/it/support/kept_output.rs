//! A writer for a log subscriber, whose text the test reads.

use std::sync::{Arc, Mutex};

/// Clones write to the same text.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeptOutput(Arc<Mutex<Vec<u8>>>);

impl KeptOutput {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for KeptOutput {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
