//! Callers by reference token: a text without meaning, of which only somebody else knows whose it is. That is the provider,
//! which is asked over HTTP (RFC 7662), or a token store in Redis, where the token stands for a signed one: the value token.
//!
//! What is said is remembered, never beyond the token's `exp` nor for longer than `max_age` after it was asked: that is how
//! late a revocation may be noticed. However many requests bring a token along, one question about it is under way. Without
//! an answer nobody is let in; tokens that are remembered stay good until their time is over.
//!
//! Questions are asked on the control thread, so that no connection belongs to a worker's runtime; requests wait for the
//! answer. Tokens are known by their hashes. Not here: who is asked, and how (`introspect.rs`, `store.rs`).

mod introspect;
mod store;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use moka::sync::Cache;
use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::Instant,
};

use self::{introspect::Introspection, store::Store};
use super::{
    Refusal,
    config::{IntrospectConfig, TokenStoreConfig},
    principal::Principal,
    told::Told,
};
use crate::{
    mistake::{Mistake, below},
    units::Span,
};

/// Questions that wait to be asked.
const MOST_WAITING: usize = 1_024;
/// Tokens that are remembered, some kilobytes each.
const MOST_KNOWN: u64 = 50_000;
/// Tokens that are remembered as bad: made-up ones must not drive each other to the provider, nor take more memory than this.
const MOST_REFUSED: u64 = 10_000;
/// A reference is short, and even a signed token is shorter.
const LONGEST_TOKEN: usize = 8 << 10;
/// What a client is told to wait when the provider is gone: it may be back at any time.
const SOON: Duration = Duration::from_secs(1);

type Hash = [u8; 32];

/// The reference tokens of one provider.
pub(super) struct References {
    desk: Arc<Desk>,
    /// Until somebody answers questions.
    questions: Mutex<Option<mpsc::Receiver<Question>>>,
}

/// Where requests and answers meet.
struct Desk {
    provider: String,
    office: Office,
    times: Times,
    known: Cache<Hash, Known>,
    refused: Cache<Hash, Instant>,
    flights: Mutex<HashMap<Hash, watch::Receiver<Option<Answer>>>>,
    asking: mpsc::Sender<Question>,
    /// Whether the last question had no answer, which is said once.
    away: AtomicBool,
}

/// Who is asked.
enum Office {
    Introspection(Introspection),
    Store(Store),
}

/// How long things are good.
#[derive(Clone, Copy)]
struct Times {
    max_age: Span,
    refused_max_age: Span,
    timeout: Span,
}

/// What is said of a token.
enum Said {
    /// Whose it is, and its end in seconds since 1970.
    Good { principal: Arc<Principal>, expires: u64 },
    /// Why it is nobody's.
    Bad(String),
}

#[derive(Clone)]
struct Known {
    principal: Arc<Principal>,
    /// `max_age` after it was asked about.
    until: Instant,
    /// Its end, in seconds since 1970.
    expires: u64,
}

struct Question {
    hash: Hash,
    token: String,
    landing: watch::Sender<Option<Answer>>,
}

/// What became of a question.
#[derive(Clone)]
enum Answer {
    Good(Known),
    Bad(String),
    None,
}

impl References {
    /// Reference tokens of the provider `name`, typed at the key path `at`, which is asked over HTTP.
    ///
    /// # Errors
    /// [`Mistake`] for an address that cannot be asked, and for times that make no sense beside each other.
    pub(super) fn introspected(
        name: &str,
        config: &IntrospectConfig,
        told: &[Told],
        at: &str,
    ) -> Result<Self, Mistake> {
        let IntrospectConfig { max_age, refused_max_age, timeout, .. } = *config;
        let office = Introspection::build(name, config, told, at)?;
        Self::build(name, Office::Introspection(office), Times { max_age, refused_max_age, timeout }, at)
    }

    /// Reference tokens that a store exchanges for value tokens.
    ///
    /// # Errors
    /// [`Mistake`] for a store that is none, for times that make no sense, and for what is wrong with `jwt`.
    pub(super) fn exchanged(
        name: &str,
        config: &TokenStoreConfig,
        told: &[Told],
        at: &str,
    ) -> Result<Self, Mistake> {
        let TokenStoreConfig { max_age, refused_max_age, timeout, .. } = *config;
        let office = Store::build(name, config, told, at)?;
        Self::build(name, Office::Store(office), Times { max_age, refused_max_age, timeout }, at)
    }

    fn build(name: &str, office: Office, times: Times, at: &str) -> Result<Self, Mistake> {
        if times.timeout.0.is_zero() || times.timeout > times.max_age {
            let message = format!("provider `{name}` would answer after what it says is too old");
            let mistake = Mistake::new(below(at, "timeout"), message);
            return Err(mistake.expected("above 0, and `max_age` at most"));
        }
        let (asking, questions) = mpsc::channel(MOST_WAITING);
        let desk = Desk {
            provider: name.to_owned(),
            office,
            times,
            known: Cache::new(MOST_KNOWN),
            refused: Cache::new(MOST_REFUSED),
            flights: Mutex::default(),
            asking,
            away: AtomicBool::new(false),
        };
        Ok(References { desk: Arc::new(desk), questions: Mutex::new(Some(questions)) })
    }

    /// Whether it has what it needs to read what it is told.
    pub(super) fn ready(&self) -> bool {
        match &self.desk.office {
            Office::Introspection(_) => true,
            Office::Store(store) => store.tokens.keyring.ready(),
        }
    }

    /// Waits for that. Somebody must keep it fresh meanwhile.
    pub(super) async fn until_ready(&self) {
        if let Office::Store(store) = &self.desk.office {
            store.tokens.keyring.until_ready().await;
        }
    }

    /// Answers questions while `alive`.
    pub(super) fn keep_fresh(
        &self,
        mut alive: watch::Receiver<()>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (desk, questions) = (self.desk.clone(), self.questions.lock().take());
        let writing = desk.office.keep_fresh(alive.clone());
        async move {
            let Some(questions) = questions else { return };
            tokio::select! {
                _ = alive.changed() => {}
                () = async { tokio::join!(desk.open(questions), writing); } => {}
            }
        }
    }

    /// Whose token it is at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// When it is nobody's, or when that cannot be told.
    pub(super) async fn whose(&self, token: &str, now: u64) -> Result<Arc<Principal>, Refusal> {
        if token.len() > LONGEST_TOKEN {
            return Err(Refusal::Bad("it is too long for a reference".to_owned()));
        }
        let hash: Hash = digest(&SHA256, token.as_bytes()).as_ref().try_into().expect("SHA-256 has 32 bytes");
        if let Some(told) = self.desk.remembered(&hash, now) {
            return told;
        }
        let mut flight = self.desk.board(hash, token)?;
        let landed = flight.wait_for(Option::is_some).await.ok().and_then(|answer| answer.clone());
        match landed.unwrap_or(Answer::None) {
            Answer::Good(known) if known.is_good(now) => Ok(known.principal),
            Answer::Good(known) if now >= known.expires => Err(Refusal::Bad("it has expired".to_owned())),
            // It may have been revoked since: whoever waited for so long does not know.
            Answer::Good(_) => Err(Refusal::Unavailable("the answer came too late to be believed", SOON)),
            Answer::Bad(why) => Err(Refusal::Bad(why)),
            Answer::None => Err(Refusal::Unavailable("the provider does not say whose token it is", SOON)),
        }
    }
}

impl Known {
    fn is_good(&self, now: u64) -> bool {
        now < self.expires && Instant::now() < self.until
    }
}

impl Office {
    /// Questions under way at a time.
    fn most_asked(&self) -> usize {
        match self {
            Office::Introspection(_) => introspect::MOST_ASKED,
            Office::Store(_) => MOST_WAITING, // they share a connection
        }
    }

    fn keep_fresh(&self, alive: watch::Receiver<()>) -> impl Future<Output = ()> + Send + use<> {
        let background = match self {
            Office::Introspection(_) => None,
            Office::Store(store) => Some(store.keep_fresh(alive)),
        };
        async move {
            match background {
                Some(background) => background.await,
                None => std::future::pending().await,
            }
        }
    }

    /// What is said of a token.
    ///
    /// # Errors
    /// Why nothing is said.
    async fn ask(&self, question: &Question) -> Result<Said, String> {
        match self {
            Office::Introspection(provider) => provider.ask(&question.token).await,
            Office::Store(store) => store.ask(&question.hash).await,
        }
    }
}

impl Desk {
    /// Answers questions until it is dropped.
    async fn open(self: Arc<Self>, mut questions: mpsc::Receiver<Question>) {
        let free = Arc::new(Semaphore::new(self.office.most_asked()));
        while let Ok(permit) = free.clone().acquire_owned().await {
            let Some(question) = questions.recv().await else { return };
            let desk = self.clone();
            tokio::spawn(async move {
                desk.answer(question).await;
                drop(permit);
            });
        }
    }

    /// The hot path: a look-up and two comparisons.
    fn remembered(&self, hash: &Hash, now: u64) -> Option<Result<Arc<Principal>, Refusal>> {
        if let Some(known) = self.known.get(hash).filter(|known| known.is_good(now)) {
            return Some(Ok(known.principal));
        }
        let until = self.refused.get(hash)?;
        (Instant::now() < until).then(|| Err(Refusal::Bad("it was not good a moment ago".to_owned())))
    }

    /// The question about this token that is under way, or a new one.
    fn board(&self, hash: Hash, token: &str) -> Result<watch::Receiver<Option<Answer>>, Refusal> {
        let mut flights = self.flights.lock();
        if let Some(flight) = flights.get(&hash).filter(|flight| flight.has_changed().is_ok()) {
            return Ok(flight.clone());
        }
        let (landing, flight) = watch::channel(None);
        let question = Question { hash, token: token.to_owned(), landing };
        let asked = self.asking.try_send(question);
        asked.map_err(|_full| Refusal::Unavailable("too many tokens wait to be asked about", SOON))?;
        flights.insert(hash, flight.clone());
        Ok(flight)
    }

    async fn answer(&self, question: Question) {
        // What is said later may have been decided as early as this.
        let asked = Instant::now();
        let said = self.office.ask(&question).await;
        self.tell(said.as_ref().err());
        let answer = match said {
            Ok(Said::Good { principal, expires }) => {
                Answer::Good(Known { principal, until: asked + self.times.max_age.0, expires })
            }
            Ok(Said::Bad(why)) => Answer::Bad(why),
            Err(_) => Answer::None,
        };
        match &answer {
            Answer::Good(known) => self.known.insert(question.hash, known.clone()),
            Answer::Bad(_) => {
                self.known.invalidate(&question.hash);
                self.refused.insert(question.hash, asked + self.times.refused_max_age.0);
            }
            Answer::None => {}
        }
        // Remembered first: whoever finds no question under way finds the answer.
        self.flights.lock().remove(&question.hash);
        question.landing.send_replace(Some(answer));
    }

    /// One line for each change, however many questions notice it.
    fn tell(&self, why: Option<&String>) {
        if self.away.swap(why.is_some(), Relaxed) == why.is_some() {
            return;
        }
        let provider = self.provider.as_str();
        match why {
            Some(why) => tracing::warn!(provider, why, "nobody says whose tokens are: those are refused"),
            None => tracing::info!(provider, "it is said again whose tokens are"),
        }
    }
}

#[cfg(test)]
mod tests;
