//! The services of FTGO as stateful stubs in memory, with faults and counters turned from outside.

pub mod service;
