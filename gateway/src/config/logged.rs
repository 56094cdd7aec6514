//! What is logged while a configuration is built that is right: for tests of warnings.
//!
//! Not here: what is said about one that is not (`wrong_meanings.rs`).

use std::{io::Write, sync::Arc};

use parking_lot::Mutex;

use super::wrong_meanings::said;

#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<u8>>>);

impl Write for Told {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What is logged while `yaml` is built.
pub(super) fn logged_by(yaml: &str) -> String {
    let told = Told::default();
    let writer = told.clone();
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(log, || assert_eq!(said(yaml), ""));
    let bytes = told.0.lock().clone();
    String::from_utf8(bytes).unwrap()
}
