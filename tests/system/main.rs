//! System tests.
fn main_placeholder() {}
