//! The REST BFF.
