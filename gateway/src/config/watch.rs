//! Notices that the configuration should be looked at again: on SIGHUP, or when the content of its file, or of a file that
//! it names, is another one. Also
//! that the file is gone, once, when it stays away for longer than a replacement takes.
//!
//! The directory is watched, not the file: editors and ConfigMaps replace files instead of writing them. Events only make
//! it fast; the content is looked at every second all the same, because network file systems send no events, and a link
//! may lead into a directory that nobody watches.
//!
//! Not here: reading the configuration, and what becomes of one that is wrong.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{Instant, Interval, MissedTickBehavior, interval_at, sleep},
};

use crate::files::fingerprint;

/// A save is several events: write, rename, permissions. Below the 300 ms in which a change is to be noticed.
const SETTLE: Duration = Duration::from_millis(100);

/// How soon a change is noticed of which the system told nothing.
const LOOK: Duration = Duration::from_secs(1);

/// Why to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Someone sent SIGHUP; the file may be the same.
    Signal,
    /// The file's content is another one, or the file is back.
    File,
    /// The file cannot be read any more.
    Gone,
}

/// Watches one file.
pub struct Watch {
    path: PathBuf,
    /// What was in it; none while it is gone, so that it is taken up when it comes back, whatever is in it.
    seen: Option<u64>,
    /// Files that belong to it, in groups, and what was in each group.
    beside: Vec<(Vec<PathBuf>, u64)>,
    /// Since when it could not be read.
    unread: Option<Instant>,
    hangup: Option<Signal>,
    /// A signal came that nobody has been told of yet.
    hung_up: bool,
    events: mpsc::Receiver<()>,
    tick: Interval,
    /// Dropped, it would send no more events.
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// Watches `path` from now on, whether it exists or not. Start watching before reading the file, so that no change
    /// falls in between. Must be called within a tokio runtime.
    #[must_use]
    pub fn new(path: PathBuf) -> Watch {
        let (sender, events) = mpsc::channel(1);
        let watcher = watcher(&path, sender)
            .inspect_err(|error| tracing::warn!(%error, "no file events: looking every second"));
        let mut tick = interval_at(Instant::now() + LOOK, LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let seen = std::fs::read(&path).ok().map(|content| hash(&content));
        let hangup = signal(SignalKind::hangup()).ok();
        Watch {
            path,
            seen,
            beside: Vec::new(),
            unread: None,
            hangup,
            hung_up: false,
            events,
            tick,
            _watcher: watcher.ok(),
        }
    }

    /// From now on looks at these files as well, in groups, each with what is known to be in it. Only every second: they change
    /// seldom.
    pub fn beside(&mut self, groups: impl Iterator<Item = (Vec<PathBuf>, u64)>) {
        self.beside = groups.collect();
    }

    /// Waits until the file should be looked at again. May be dropped and called again: nothing is lost by that.
    pub async fn changed(&mut self) -> Change {
        loop {
            tokio::select! {
                () = hung_up(&mut self.hangup) => self.hung_up = true,
                Some(()) = self.events.recv() => {
                    sleep(SETTLE).await;
                    // What came meanwhile is part of the same change.
                    while self.events.try_recv().is_ok() {}
                }
                _ = self.tick.tick() => {}
            }
            let change = self.look().await;
            if std::mem::take(&mut self.hung_up) {
                return Change::Signal;
            }
            if let Some(change) = change {
                return change;
            }
        }
    }

    async fn look(&mut self) -> Option<Change> {
        let beside = self.look_beside().then_some(Change::File);
        self.look_at_it().await.or(beside)
    }

    /// Whether anything changed there. What is there now is told once, be it right or wrong.
    fn look_beside(&mut self) -> bool {
        let changed = |(files, seen): &mut (Vec<PathBuf>, u64)| {
            let found = fingerprint(files);
            std::mem::replace(seen, found) != found
        };
        self.beside.iter_mut().filter_map(|group| changed(group).then_some(())).count() > 0
    }

    async fn look_at_it(&mut self) -> Option<Change> {
        let Ok(content) = tokio::fs::read(&self.path).await else { return self.missed() };
        self.unread = None;
        let found = Some(hash(&content));
        (std::mem::replace(&mut self.seen, found) != found).then_some(Change::File)
    }

    /// A file that has just gone is about to come back: it is being replaced. One that stays away is told once.
    fn missed(&mut self) -> Option<Change> {
        let since = *self.unread.get_or_insert_with(Instant::now);
        (since.elapsed() >= LOOK && self.seen.take().is_some()).then_some(Change::Gone)
    }
}

fn watcher(path: &Path, sender: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let tell = move |event: notify::Result<notify::Event>| {
        // Looking opens the file: an event that would ask for another look, for ever.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            // A full channel already says what there is to say.
            let _ = sender.try_send(());
        }
    };
    let mut watcher = notify::recommended_watcher(tell)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    watcher.watch(directory.unwrap_or(Path::new(".")), RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

async fn hung_up(hangup: &mut Option<Signal>) {
    match hangup {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

fn hash(content: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An empty directory that goes away with the test.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("gateway-watch-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).expect("the temporary directory is writable");
            Directory(path)
        }

        fn write(&self, name: &str, content: &str) -> PathBuf {
            let path = self.0.join(name);
            std::fs::write(&path, content).expect("the temporary directory is writable");
            path
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn a_changed_file_is_noticed_within_300_ms() {
        let directory = Directory::new("changed");
        let mut watch = Watch::new(directory.write("bff.yaml", "a: 1"));
        let start = Instant::now();
        directory.write("bff.yaml", "a: 2");
        assert_eq!(watch.changed().await, Change::File);
        assert!(start.elapsed() < Duration::from_millis(300), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn a_file_that_is_replaced_by_renames_is_noticed_and_its_absence_is_not() {
        let directory = Directory::new("renamed");
        let path = directory.write("bff.yaml", "a: 1");
        let mut watch = Watch::new(path.clone());
        for content in ["a: 2", "a: 3"] {
            std::fs::rename(&path, directory.0.join("bff.yaml~")).expect("both are in the same directory");
            let early = tokio::time::timeout(Duration::from_millis(200), watch.changed()).await;
            assert!(early.is_err(), "there is nothing to look at");
            std::fs::rename(directory.write("new", content), &path).expect("both are in the same directory");
            assert_eq!(watch.changed().await, Change::File);
        }
    }

    #[tokio::test]
    async fn a_file_that_stays_away_is_told_once_and_taken_up_when_it_is_back() {
        let directory = Directory::new("away");
        let path = directory.write("bff.yaml", "a: 1");
        let mut watch = Watch::new(path.clone());
        std::fs::remove_file(&path).expect("it is there");
        assert_eq!(watch.changed().await, Change::Gone);
        let again = tokio::time::timeout(LOOK * 2 + SETTLE, watch.changed()).await;
        assert!(again.is_err(), "it has been told already");
        directory.write("bff.yaml", "a: 1");
        assert_eq!(watch.changed().await, Change::File);
    }

    #[tokio::test]
    async fn a_link_that_is_swapped_as_in_a_mounted_config_map_is_noticed() {
        let directory = Directory::new("linked");
        for (version, content) in [("v1", "a: 1"), ("v2", "a: 2")] {
            std::fs::create_dir_all(directory.0.join(version)).expect("the temporary directory is writable");
            directory.write(&format!("{version}/bff.yaml"), content);
        }
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, directory.0.join(name));
        link("v1", "..data").and_then(|()| link("..data/bff.yaml", "bff.yaml")).expect("links can be made");
        let mut watch = Watch::new(directory.0.join("bff.yaml"));
        let start = Instant::now();
        link("v2", "..new").expect("links can be made");
        std::fs::rename(directory.0.join("..new"), directory.0.join("..data")).expect("links can be swapped");
        assert_eq!(watch.changed().await, Change::File);
        assert!(start.elapsed() < Duration::from_millis(300), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn looking_is_no_event_that_asks_for_another_look() {
        let directory = Directory::new("looking");
        let mut watch = Watch::new(directory.write("bff.yaml", "a: 1"));
        directory.write("bff.yaml", "a: 2");
        assert_eq!(watch.changed().await, Change::File);
        let event = tokio::time::timeout(Duration::from_millis(300), watch.events.recv()).await;
        assert!(event.is_err(), "the only one who touched the file is the watch");
    }

    #[tokio::test]
    async fn the_same_content_written_again_is_no_change() {
        let directory = Directory::new("same");
        let mut watch = Watch::new(directory.write("bff.yaml", "a: 1"));
        directory.write("bff.yaml", "a: 1");
        let early = tokio::time::timeout(Duration::from_millis(400), watch.changed()).await;
        assert!(early.is_err(), "nothing changed");
    }

    #[tokio::test]
    async fn a_directory_that_cannot_be_watched_is_looked_at_every_second() {
        let directory = Directory::new("unwatched");
        let inner = directory.0.join("later");
        let mut watch = Watch::new(inner.join("bff.yaml"));
        std::fs::create_dir_all(&inner).expect("the temporary directory is writable");
        directory.write("later/bff.yaml", "a: 1");
        assert_eq!(watch.changed().await, Change::File);
    }
}
