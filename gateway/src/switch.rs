//! What follows an answer that switches protocols (RFC 9110 section 15.2.2): it rides on the answer, and runs in the task of its
//! client's connection, which is counted and waited for as any other.
//!
//! Not here: what it is (`proxy/websocket/`, `graphql/socket/`).

use std::{future::Future, pin::Pin, sync::Arc};

use http::Extensions;
use parking_lot::Mutex;

use crate::observability::record::Record;

/// What runs until the connection is over.
pub(crate) type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Begins it, with the record of the request that asked for it.
type Begin = Box<dyn FnOnce(Record) -> Running + Send>;

/// It rides on the answer that says so.
#[derive(Clone)]
struct Riding(Arc<Mutex<Option<Begin>>>);

/// Lets `begin` ride on an answer. What it is given must be written down even if what it returns never runs.
pub(crate) fn ride(extensions: &mut Extensions, begin: impl FnOnce(Record) -> Running + Send + 'static) {
    extensions.insert(Riding(Arc::new(Mutex::new(Some(Box::new(begin))))));
}

/// Takes it off an answer, and begins it with that answer's record.
pub(crate) fn begin(extensions: &mut Extensions, record: impl FnOnce() -> Option<Record>) -> Option<Running> {
    let begin = extensions.remove::<Riding>()?.0.lock().take()?;
    Some(begin(record()?))
}
