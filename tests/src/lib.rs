//! The FTGO stub services and what the system tests stand on.

pub mod stubs;
