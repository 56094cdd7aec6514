//! Files that belong to a configuration, and are noticed when they change.
//!
//! Not here: looking at them (`config/watch.rs`), what they mean.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::PathBuf,
};

/// What is in these files; one that cannot be read is like no other content.
pub(crate) fn fingerprint(files: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    files.iter().for_each(|file| std::fs::read(file).ok().hash(&mut hasher));
    hasher.finish()
}
