//! The public HTTP cache tests (npm `http-cache-tests`) against a gateway in a process of its own.
//!
//! `./tests/run` installs the suite and says where it is by `HTTP_CACHE_TESTS`. What a cache of RFC 9111 cannot pass stands in
//! `http_cache/not_passed.txt`, each with its reason: that nothing else fails is what is tested.
//! Not here: our own tests of the cache (`src/cache/`, and the system tests).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Killed if the test ends before it does.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Starts what says on which port it listens, on its standard error or output.
fn start(command: &mut Command, on_stderr: bool) -> (Process, u16) {
    let (out, err) =
        if on_stderr { (Stdio::null(), Stdio::piped()) } else { (Stdio::piped(), Stdio::null()) };
    let mut process = Process(command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().unwrap());
    let pipe: Box<dyn std::io::Read + Send> = match process.0.stdout.take() {
        Some(stdout) => Box::new(stdout),
        None => Box::new(process.0.stderr.take().unwrap()),
    };
    let mut lines = BufReader::new(pipe).lines().map_while(Result::ok);
    let port = lines.find_map(|line| port(&line)).expect("it says where it listens");
    std::thread::spawn(move || lines.for_each(drop)); // it must not block on a full pipe
    (process, port)
}

fn port(line: &str) -> Option<u16> {
    let lower = line.to_lowercase();
    let (_, after) = lower.split_once("listening on ")?;
    after.trim().trim_end_matches('/').rsplit_once(':')?.1.parse().ok()
}

fn folder() -> PathBuf {
    let told = std::env::var_os("HTTP_CACHE_TESTS").expect("`./tests/run` installs the suite and runs this");
    PathBuf::from(told)
}

/// The suite's own service, and a gateway before it.
fn started(folder: &Path) -> (Process, Process, u16) {
    let temp = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let mut service = Command::new("node");
    service.arg("server/server.mjs").current_dir(folder);
    service.env("npm_config_protocol", "http").env("npm_config_port", "0");
    service.env("npm_config_pidfile", temp.join("http-cache-service.pid"));
    let (service, port) = start(&mut service, false);
    let yaml = include_str!("http_cache/gateway.yaml").replace("SERVICE", &format!("127.0.0.1:{port}"));
    let file = temp.join(format!("http-cache-{}.yaml", std::process::id()));
    std::fs::write(&file, yaml).unwrap();
    let mut gateway = Command::new(env!("CARGO_BIN_EXE_gateway"));
    let (gateway, port) = start(gateway.arg("--config").arg(&file), true);
    std::fs::remove_file(file).unwrap();
    (service, gateway, port)
}

#[test]
#[ignore = "needs the suite that `./tests/run` installs"]
fn nothing_fails_but_what_a_cache_of_rfc_9111_cannot_pass() {
    let folder = folder();
    let (_service, _gateway, port) = started(&folder);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http_cache/run.mjs");
    let mut run = Command::new("node");
    let run = run.arg(script).arg(&folder).arg(format!("http://127.0.0.1:{port}")).output().unwrap();
    let lines = String::from_utf8(run.stdout).unwrap();
    assert!(run.status.success(), "{lines}{}", String::from_utf8_lossy(&run.stderr));

    let known: BTreeMap<&str, &str> = include_str!("http_cache/not_passed.txt")
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| line.split_once('\t').expect("an id and a result"))
        .map(|(id, rest)| (id, rest.split('\t').next().unwrap_or_default()))
        .collect();
    let (mut counts, mut wrong) = (BTreeMap::<(&str, &str), u32>::new(), Vec::new());
    for line in lines.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [kind, result, id, why] = fields[..] else { panic!("not a result: {line}") };
        *counts.entry((kind, result)).or_default() += 1;
        if kind != "check" && result != "pass" && known.get(id) != Some(&result) {
            wrong.push(format!("{kind} {id}: {result}: {why}"));
        }
    }
    println!("{counts:#?}");
    assert!(wrong.is_empty(), "{wrong:#?}");
    let passed = |kind| counts.get(&(kind, "pass")).copied().unwrap_or_default();
    assert!(passed("required") >= REQUIRED && passed("optimal") >= OPTIMAL, "{counts:#?}");
}

/// Of 163 that the suite requires.
const REQUIRED: u32 = 156;
/// Of 95 that it calls optimal.
const OPTIMAL: u32 = 81;
