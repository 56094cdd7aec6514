//! What an attacker sends, and what is unusual and right: bytes in, and what came of them on both sides.
//!
//! A case holds only if the client's answer *and* what came to the service are as its row says. Afterwards a connection that
//! stays open must be in step: one more request on it is answered, and is the next that the service sees.
//! `docs/security.md` lists the cases; it cannot differ from the tables.

#![allow(clippy::too_many_lines, reason = "tables are long")]

mod fields;
pub(crate) mod frames;
mod framing;
mod http2;
mod origin;
mod paths;
mod proxies;
mod run;
mod tokens;

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use self::{
    frames::{PREFACE, Reply, SETTINGS, frame, replies},
    origin::{Origin, find},
};
use crate::harness::{Gate, TempFile};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(10);

/// One row.
struct Case {
    name: &'static str,
    /// Where it is said how this must end: a section of an RFC, or an advisory about somebody who got it wrong.
    source: &'static str,
    sent: Vec<u8>,
    over_http2: bool,
    answer: Answer,
    /// Whether the gateway ends the connection.
    closed: bool,
    /// For each request at the service what it holds. Empty: not one byte gets there.
    origin: Vec<Vec<String>>,
    /// What none of them holds.
    lacks: Vec<&'static str>,
    /// Whether bytes of a request that never becomes whole may get there.
    cut: bool,
}

/// What the client gets.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    /// Answers with these statuses, in this order.
    Statuses(Vec<u16>),
    /// The one stream is reset with this code (RFC 9113 section 7).
    Reset(u32),
    /// The connection is given up with this code.
    GoAway(u32),
}

/// A case over HTTP/1.1.
fn http1(name: &'static str, source: &'static str, sent: impl Into<Vec<u8>>) -> Case {
    Case {
        name,
        source,
        sent: sent.into(),
        over_http2: false,
        answer: Answer::Statuses(vec![200]),
        closed: false,
        origin: Vec::new(),
        lacks: Vec::new(),
        cut: false,
    }
}

/// A case over HTTP/2: these frames after the preface and `SETTINGS`.
fn http2(name: &'static str, source: &'static str, frames: impl Into<Vec<u8>>) -> Case {
    Case { over_http2: true, ..http1(name, source, frames) }
}

impl Case {
    /// Refused with this status; nothing gets to the service, and the connection stays in use.
    fn refused(self, status: u16) -> Case {
        Case { answer: Answer::Statuses(vec![status]), ..self }
    }

    /// The same, and the connection is closed.
    fn refused_and_closed(self, status: u16) -> Case {
        Case { closed: true, ..self.refused(status) }
    }

    /// The stream is reset; nothing gets to the service.
    fn reset(self, code: u32) -> Case {
        Case { answer: Answer::Reset(code), ..self }
    }

    /// The connection is given up; nothing gets to the service.
    fn gone(self, code: u32) -> Case {
        Case { answer: Answer::GoAway(code), closed: true, ..self }
    }

    /// What the service may have seen of it is never a whole request.
    fn never_whole(self) -> Case {
        Case { cut: true, ..self }
    }

    /// Passed on and answered: the service sees one request that holds all of this.
    fn passes(mut self, holds: &[&str]) -> Case {
        self.origin.push(holds.iter().map(|text| (*text).to_owned()).collect());
        let answers = self.origin.len();
        Case { answer: Answer::Statuses(vec![200; answers]), ..self }
    }

    fn and_closes(self) -> Case {
        Case { closed: true, ..self }
    }

    fn statuses(self, statuses: &[u16]) -> Case {
        Case { answer: Answer::Statuses(statuses.to_vec()), ..self }
    }

    fn lacks(mut self, what: &[&'static str]) -> Case {
        self.lacks.extend(what);
        self
    }

    fn passes_on(&self) -> bool {
        !self.origin.is_empty()
    }
}

/// A gateway with a route of any method to a service, and one that needs a token.
struct Ground {
    origin: Origin,
    gate: Gate,
    _keys: TempFile,
}

impl Ground {
    /// With these keys of its listener.
    async fn start(listener: &str) -> Ground {
        let origin = Origin::start().await;
        let keys = TempFile::new("keys.json", &tokens::key_set());
        let methods = "methods: [GET, POST, PUT, DELETE, PATCH], ";
        let gate = Gate::of(&format!(
            "listen: [{{ address: \"127.0.0.1:0\"{listener} }}]\nadmin: {{ address: \"127.0.0.1:0\" }}\naccess_log: off\n\
             server: {{ workers: 1 }}\nproviders:\n  ftgo: {{ jwt: {{ issuer: \"https://id.example\", audience: ftgo, \
             jwks: \"file://{}\" }} }}\nupstreams:\n  it: {{ url: \"http://{}\" }}\nroutes:\n  \
             - {{ path: /it, {methods}auth: none, forward: {{ to: it }} }}\n  \
             - {{ path: \"/it/{{*rest}}\", {methods}auth: none, forward: {{ to: it }} }}\n  \
             - {{ path: /it/mine, {methods}auth: {{ provider: ftgo }}, forward: {{ to: it }} }}\n  \
             - {{ path: \"/it/mine/{{id}}\", {methods}auth: {{ provider: ftgo }}, forward: {{ to: it }} }}\n  \
             - {{ path: /small, methods: [POST], max_body: 8B, auth: none, forward: {{ to: it }} }}\n  \
             - {{ path: /mine, methods: [GET, POST], auth: {{ provider: ftgo }}, forward: {{ to: it }} }}\n",
            keys.name(),
            origin.address
        ));
        crate::harness::until("the gateway has keys", || gate.ready()).await;
        Ground { origin, gate, _keys: keys }
    }

    /// What is wrong about a case, if anything.
    async fn run(&self, case: &Case) -> Result<(), String> {
        let (answer, closed, probed) = if case.over_http2 {
            over_http2(case, self.gate.address()).await
        } else {
            over_http1(case, self.gate.address()).await
        };
        let mut seen = self.origin.take().await;
        let mut wrong = Vec::new();
        if answer != format!("{:?}", case.answer) {
            wrong.push(format!("answered {answer}, not {:?}", case.answer));
        }
        if closed != case.closed {
            wrong.push(format!("closed: {closed}"));
        }
        if probed && seen.whole.pop().is_none_or(|last| !last.starts_with("GET /it/probe ")) {
            wrong.push("the service did not see the next request last".to_owned());
        }
        if seen.whole.len() != case.origin.len() || seen.broken > 0 && !case.cut {
            wrong.push(format!("at the service: {seen:?}"));
        }
        for (request, holds) in seen.whole.iter().zip(&case.origin) {
            for text in holds.iter().filter(|text| !request.contains(*text)) {
                wrong.push(format!("the service does not see {text:?} but {request:?}"));
            }
            for text in case.lacks.iter().filter(|text| request.contains(**text)) {
                wrong.push(format!("the service sees {text:?} in {request:?}"));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(format!("{}: {}", case.name, wrong.join("; "))) }
    }

    async fn run_all(cases: Vec<Case>) {
        Ground::start("").await.run_each(&cases).await;
    }

    async fn run_each(&self, cases: &[Case]) {
        let mut wrong = Vec::new();
        for case in cases {
            wrong.extend(self.run(case).await.err());
        }
        assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    }
}

/// The statuses, whether the connection was closed, and whether one more request was answered.
async fn over_http1(case: &Case, to: SocketAddr) -> (String, bool, bool) {
    let mut stream = TcpStream::connect(to).await.unwrap();
    drop(stream.write_all(&case.sent).await);
    let wanted = if let Answer::Statuses(statuses) = &case.answer { statuses.len() } else { 0 };
    let head = case.sent.starts_with(b"HEAD ");
    let (mut read, mut statuses) = (Vec::new(), Vec::new());
    while statuses.len() < wanted
        && let Some(status) = answer(&mut stream, &mut read, head).await
    {
        statuses.push(status);
    }
    if !case.closed {
        drop(stream.write_all(b"GET /it/probe HTTP/1.1\r\nhost: a\r\n\r\n").await);
        let probed = answer(&mut stream, &mut read, false).await == Some(200);
        return (format!("{:?}", Answer::Statuses(statuses)), !probed, probed);
    }
    // Whatever comes now comes too much.
    while let Some(status) = answer(&mut stream, &mut read, head).await {
        statuses.push(status);
    }
    // The end, or a reset, has been read; a connection that only says nothing stays open.
    let closed = timeout(Duration::from_millis(1), stream.read_buf(&mut read)).await.is_ok();
    (format!("{:?}", Answer::Statuses(statuses)), closed, false)
}

/// The status of the next answer, which is read whole; `None` when the connection ends.
async fn answer(stream: &mut TcpStream, read: &mut Vec<u8>, head_only: bool) -> Option<u16> {
    let head = loop {
        if let Some(end) = find(read, b"\r\n\r\n") {
            break read.drain(..end + 4).collect::<Vec<u8>>();
        }
        more(stream, read).await?;
    };
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let status = head.get(9..12)?.parse().ok()?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.filter(|_| !head_only).map_or(0, |length| length.parse().unwrap());
    while read.len() < length {
        more(stream, read).await?;
    }
    read.drain(..length);
    Some(status)
}

async fn more(stream: &mut TcpStream, read: &mut Vec<u8>) -> Option<usize> {
    let count = timeout(Duration::from_secs(2), stream.read_buf(read)).await.ok()?.ok()?;
    (count > 0).then_some(count)
}

/// The same over HTTP/2. What tells that the connection is still in use is the answer to a `PING`.
async fn over_http2(case: &Case, to: SocketAddr) -> (String, bool, bool) {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let mut sent = Vec::new();
    if !case.sent.starts_with(b"PRI") {
        sent = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    }
    sent.extend(&case.sent);
    drop(stream.write_all(&sent).await);
    let (mut read, mut answered) = (Vec::new(), None);
    let until_told = async {
        loop {
            let replies = replies(&read);
            let gone = replies.iter().find(|reply| matches!(reply, Reply::GoAway(code) if *code != 0));
            let statuses: Vec<u16> = replies
                .iter()
                .filter_map(|reply| if let Reply::Status(_, status) = reply { Some(*status) } else { None })
                .collect();
            let reset = replies
                .iter()
                .find_map(|reply| if let Reply::Reset(_, code) = reply { Some(*code) } else { None });
            answered = match gone {
                Some(Reply::GoAway(code)) => Some(Answer::GoAway(*code)),
                _ if !statuses.is_empty() => Some(Answer::Statuses(statuses)),
                _ => reset.map(Answer::Reset),
            };
            let wanted = if let Answer::Statuses(statuses) = &case.answer { statuses.len() } else { 1 };
            let count =
                if let Some(Answer::Statuses(statuses)) = &answered { statuses.len() } else { wanted };
            if answered.is_some() && count >= wanted || more(&mut stream, &mut read).await.is_none() {
                return;
            }
        }
    };
    timeout(LONG, until_told).await.expect("an answer in time");
    drop(stream.write_all(&frame(frames::PING, 0, 0, b"are you?")).await);
    let mut alive = false;
    while !alive && more(&mut stream, &mut read).await.is_some() {
        alive = replies(&read).contains(&Reply::Pong);
    }
    let answer = answered.map_or_else(|| "nothing".to_owned(), |answer| format!("{answer:?}"));
    (answer, !alive, false)
}

/// Every table, under the heading that it has in `docs/security.md`.
fn tables() -> Vec<(&'static str, Vec<Case>)> {
    vec![
        ("Framing and smuggling", framing::cases()),
        ("Header trust", fields::cases()),
        ("Trusted proxies", proxies::cases()),
        ("Paths and targets", paths::cases()),
        ("Tokens", tokens::cases()),
        ("HTTP/2 messages", http2::messages()),
        ("HTTP/2 frames", http2::frames()),
    ]
}

#[test]
fn the_document_lists_exactly_these_cases() {
    let mut list = String::new();
    for (heading, cases) in tables() {
        let legal = cases.iter().filter(|case| case.passes_on()).count();
        list += &format!("\n### {heading}: {} cases, {legal} pass through\n\n", cases.len());
        for case in &cases {
            let legal = if case.passes_on() { " (passes)" } else { "" };
            list += &format!("- {}{legal}: {}\n", case.name, case.source);
        }
    }
    let document = include_str!("../../../docs/security.md");
    let listed = document.split_once("## The cases\n").map_or("", |(_, rest)| rest);
    assert!(listed.trim_end().ends_with(list.trim()), "the list must be:\n{list}");
}

#[test]
fn there_are_enough_cases_and_no_two_of_one_name() {
    let cases: Vec<Case> = tables().into_iter().flat_map(|(_, cases)| cases).collect();
    let mut names: Vec<_> = cases.iter().map(|case| case.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), cases.len());
    let legal = cases.iter().filter(|case| case.passes_on()).count();
    assert!(cases.len() >= 150 && legal * 7 >= cases.len(), "{legal} of {} are legal", cases.len());
}
