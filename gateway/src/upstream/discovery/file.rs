//! Endpoints from a YAML file that others write: `endpoints:`, as it is typed in a configuration.
//!
//! Read again whenever its content changes, whole or not at all: what is wrong is refused, and the last good set stays in
//! use. So it does when the file goes away. Variables are not for this file: it is data.
//!
//! Not here: noticing changes (`config/watch.rs`).

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokio::sync::watch;

use super::{Dns, Endpoint, Targets, build::build_endpoints, config::EndpointConfig};
use crate::config::{
    load::{Loaded, load_as},
    watch::{Change, Watch},
};

/// A file of endpoints, and what was in it when the source was built.
#[derive(Debug, Clone)]
pub struct File {
    path: PathBuf,
    endpoints: Vec<Endpoint>,
}

/// The whole file as typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileConfig {
    /// At least one.
    endpoints: Vec<EndpointConfig>,
}

/// Why a file is not used.
enum Refused {
    Unreadable(String),
    Wrong(Box<Loaded<FileConfig>>),
}

impl File {
    /// Reads the file at `path`, which is relative to the working directory.
    ///
    /// # Errors
    /// When there is none, or something in it is wrong: the first thing that is, as the rest of a sentence.
    pub fn open(path: &Path) -> Result<Self, String> {
        let endpoints = read(path).map_err(|refused| refused.in_a_sentence(&path.display().to_string()))?;
        Ok(File { path: path.to_owned(), endpoints })
    }

    /// Whether its endpoints are spoken to over TLS. That cannot change while the source runs.
    #[must_use]
    pub fn tls(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.tls)
    }

    pub(super) fn first(&self) -> Targets {
        Dns::of_names(self.endpoints.clone()).first()
    }

    /// Reads and publishes for ever.
    pub(super) async fn run(&self, upstream: &str, sender: &watch::Sender<Targets>) {
        let mut watch = Watch::new(self.path.clone());
        // It may have changed since it was opened, while nobody was watching.
        let mut dns = Dns::of_names(self.read_again(upstream).unwrap_or_else(|| self.endpoints.clone()));
        loop {
            tokio::select! {
                () = dns.run(upstream, sender) => {}
                change = watch.changed() => {
                    if let Some(endpoints) = self.after(change, upstream) {
                        dns = Dns::of_names(endpoints);
                    }
                }
            }
        }
    }

    fn after(&self, change: Change, upstream: &str) -> Option<Vec<Endpoint>> {
        if change == Change::Gone {
            let file = self.path.display();
            tracing::warn!(upstream, %file, "the file cannot be read any more, the last endpoints stay in use");
            return None;
        }
        self.read_again(upstream)
    }

    fn read_again(&self, upstream: &str) -> Option<Vec<Endpoint>> {
        let file = self.path.display();
        match read(&self.path).map_err(|refused| refused.in_full()) {
            Ok(endpoints) if endpoints.iter().all(|endpoint| endpoint.tls == self.tls()) => Some(endpoints),
            Ok(_) => {
                let why = "http:// and https:// cannot change places while the gateway runs";
                tracing::error!(upstream, %file, why, "endpoints refused, the last ones stay in use");
                None
            }
            Err(why) => {
                tracing::error!(upstream, %file, "endpoints refused, the last ones stay in use\n{why}");
                None
            }
        }
    }
}

/// A short file on a local disk, read by the control thread: no request waits for it.
fn read(path: &Path) -> Result<Vec<Endpoint>, Refused> {
    let file = path.display().to_string();
    let unreadable = |error| Refused::Unreadable(format!("the file `{file}` cannot be read: {error}"));
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    if text.trim().is_empty() {
        return Err(Refused::Unreadable(format!("the file `{file}` is empty")));
    }
    let mut loaded = load_as::<FileConfig>(&file, &text, &|_| None);
    let built = match &loaded.config {
        Some(typed) => build_endpoints(&typed.endpoints, "", "endpoints"),
        None => return Err(Refused::Wrong(Box::new(loaded))),
    };
    match built {
        Ok(endpoints) if loaded.mistakes.is_empty() => Ok(endpoints),
        Ok(_) => Err(Refused::Wrong(Box::new(loaded))),
        Err(mistakes) => {
            loaded.join(mistakes);
            Err(Refused::Wrong(Box::new(loaded)))
        }
    }
}

impl Refused {
    fn in_a_sentence(self, file: &str) -> String {
        match self {
            Refused::Unreadable(why) => why,
            Refused::Wrong(loaded) => loaded.mistakes.0.first().map_or_else(String::new, |first| {
                format!("the file `{file}`, line {}: {}", loaded.source.line_of(first), first.message)
            }),
        }
    }

    fn in_full(self) -> String {
        match self {
            Refused::Unreadable(why) => why,
            Refused::Wrong(loaded) => loaded.render(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::upstream::discovery::Source;

    /// A file that goes away with the test.
    struct Written(PathBuf);

    impl Written {
        fn new(name: &str, text: &str) -> Self {
            let name = format!("gateway-endpoints-{name}-{}", std::process::id());
            let directory = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&directory).unwrap();
            let written = Written(directory.join("kitchen.yaml"));
            written.write(text);
            written
        }

        /// Writes beside the file and puts that in its place, as one should.
        fn write(&self, text: &str) {
            let beside = self.0.with_extension("new");
            std::fs::write(&beside, text).unwrap();
            std::fs::rename(beside, &self.0).unwrap();
        }

        fn follow(&self) -> watch::Receiver<Targets> {
            let source = Source::File(File::open(&self.0).unwrap());
            let (sender, receiver) = watch::channel(source.first());
            tokio::spawn(async move { source.run("kitchen", sender).await });
            receiver
        }
    }

    impl Drop for Written {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(self.0.parent().unwrap());
        }
    }

    async fn next(receiver: &mut watch::Receiver<Targets>) -> Vec<String> {
        timeout(Duration::from_secs(3), receiver.changed()).await.expect("a change is due").unwrap();
        receiver.borrow_and_update().iter().map(|target| target.address.to_string()).collect()
    }

    async fn nothing_new(receiver: &mut watch::Receiver<Targets>) {
        let early = timeout(Duration::from_millis(1500), receiver.changed()).await;
        assert!(early.is_err(), "{:?}", receiver.borrow());
    }

    #[tokio::test]
    async fn a_changed_file_is_taken_into_use() {
        let file = Written::new("changed", "endpoints: [http://10.0.0.1:80]");
        let mut receiver = file.follow();
        assert_eq!(receiver.borrow_and_update().len(), 1, "known before it runs");
        file.write("endpoints: [{ url: http://10.0.0.2:80, weight: 3, zone: a, metadata: { k: v } }]");
        assert_eq!(next(&mut receiver).await, ["10.0.0.2:80"]);
        let target = receiver.borrow()[0].clone();
        assert_eq!((target.weight, target.zone.as_deref()), (3, Some("a")));
        assert_eq!(target.metadata["k"], "v");
    }

    #[tokio::test]
    async fn a_bad_edit_is_refused_and_the_next_good_one_is_taken() {
        let file = Written::new("bad", "endpoints: [http://10.0.0.1:80]");
        let mut receiver = file.follow();
        for bad in ["endpoints: []", "endpoints: [10.0.0.2", "", "endpoints: [https://10.0.0.2:443]", "a: 1"]
        {
            file.write(bad);
        }
        nothing_new(&mut receiver).await;
        file.write("endpoints: [http://10.0.0.2:80, http://10.0.0.1:80]");
        assert_eq!(next(&mut receiver).await, ["10.0.0.1:80", "10.0.0.2:80"]);
    }

    #[tokio::test]
    async fn a_file_that_goes_away_changes_nothing_and_is_taken_when_it_is_back() {
        let file = Written::new("gone", "endpoints: [http://10.0.0.1:80]");
        let mut receiver = file.follow();
        std::fs::remove_file(&file.0).unwrap();
        nothing_new(&mut receiver).await;
        file.write("endpoints: [http://10.0.0.2:80]");
        assert_eq!(next(&mut receiver).await, ["10.0.0.2:80"]);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told_when_it_is_opened() {
        let told = |text: &str| {
            let file = Written::new("told", text);
            let told = File::open(&file.0).unwrap_err();
            told.replace(&file.0.display().to_string(), "kitchen.yaml")
        };
        insta::assert_snapshot!(
            told("endpoints:\n  - http://10.0.0.1:80\n  - { url: http://a:80, weight: 0 }"),
            @"the file `kitchen.yaml`, line 3: the endpoint `http://a:80` cannot weigh 0"
        );
        insta::assert_snapshot!(told("endpoints: []"), @"the file `kitchen.yaml`, line 1: there is no endpoint");
        insta::assert_snapshot!(
            told("endpoint: [http://10.0.0.1:80]"),
            @"the file `kitchen.yaml`, line 1: unknown key `endpoint` at the top level"
        );
        insta::assert_snapshot!(told(" "), @"the file `kitchen.yaml` is empty");
        insta::assert_snapshot!(
            File::open(Path::new("missing.yaml")).unwrap_err(),
            @"the file `missing.yaml` cannot be read: No such file or directory (os error 2)"
        );
    }
}
