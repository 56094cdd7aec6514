//! For tests: a DNS server that says what it is told to say, over UDP, and counts what it is asked.
//!
//! It needs nothing of the crate. Not here: TCP, compression of anything but the question's name, EDNS.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::{net::UdpSocket, sync::watch, task::JoinHandle};

/// What a question of one name and type is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// Records with their TTL in seconds. None at all: the name exists, and has no such record.
    Records(u32, Vec<Data>),
    /// A response code (RFC 1035 section 4.1.1).
    Code(u8),
    /// Nothing at all.
    Silence,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Data {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Cname(String),
    /// Priority, weight, port, target.
    Srv(u16, u16, u16, String),
}

pub(super) const SERVFAIL: Reply = Reply::Code(2);
pub(super) const NXDOMAIN: Reply = Reply::Code(3);

/// Types of records (RFC 1035 section 3.2.2, RFC 3596, RFC 2782).
pub(super) const A: u16 = 1;
pub(super) const CNAME: u16 = 5;
pub(super) const AAAA: u16 = 28;
pub(super) const SRV: u16 = 33;

type Zone = BTreeMap<(String, u16), Reply>;

/// A DNS server on a port of its own, which ends with the test.
pub(super) struct DnsServer {
    pub(super) address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    asked: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl DnsServer {
    /// Knows no name: everything is NXDOMAIN.
    pub(super) async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = socket.local_addr().expect("it is bound");
        let zone = Arc::<Mutex<Zone>>::default();
        let (counter, asked) = watch::channel(0);
        let task = tokio::spawn(serve(socket, zone.clone(), counter));
        DnsServer { address, zone, asked, task }
    }

    /// From now on, `name` has these A records.
    pub(super) fn has(&self, name: &str, ttl: u32, addresses: &[&str]) {
        let a = |address: &&str| Data::A(address.parse().expect("it is an address"));
        self.says(name, A, Reply::Records(ttl, addresses.iter().map(a).collect()));
    }

    /// From now on, questions for `name` and `kind` are answered so. Other types of a known name have no record.
    pub(super) fn says(&self, name: &str, kind: u16, reply: Reply) {
        self.zone.lock().insert((name.to_owned(), kind), reply);
    }

    /// Waits until it has been asked `more` questions from now on.
    pub(super) async fn until_asked(&self, more: usize) {
        let mut asked = self.asked.clone();
        let enough = *asked.borrow() + more;
        asked.wait_for(|asked| *asked >= enough).await.expect("the server runs");
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: UdpSocket, zone: Arc<Mutex<Zone>>, counter: watch::Sender<usize>) {
    let mut buffer = [0; 1500];
    while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
        let answer = answer(&buffer[..length], &zone.lock());
        counter.send_modify(|asked| *asked += 1);
        if let Some(answer) = answer {
            socket.send_to(&answer, client).await.expect("loopback takes everything");
        }
    }
}

/// A header of 12 bytes, the question as it came, the records (RFC 1035 section 4.1).
fn answer(query: &[u8], zone: &Zone) -> Option<Vec<u8>> {
    let (name, kind, end) = question(query)?;
    let reply = zone.get(&(name.clone(), kind)).or_else(|| zone.get(&(name.clone(), CNAME)));
    let nothing =
        if zone.keys().any(|(known, _)| *known == name) { Reply::Records(0, vec![]) } else { NXDOMAIN };
    let (code, ttl, records) = match reply.unwrap_or(&nothing) {
        Reply::Silence => return None,
        Reply::Code(code) => (*code, 0, &[][..]),
        Reply::Records(ttl, records) => (0, *ttl, records.as_slice()),
    };
    let mut message = query[..2].to_vec();
    message.extend([0x85, 0x80 | code]); // an answer, authoritative, recursion desired and available
    message.extend([0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
    message.extend(&query[12..end]);
    for record in records {
        put_record(&mut message, ttl, record);
    }
    Some(message)
}

/// The name asked for, in lower case; the type; where the question ends.
fn question(query: &[u8]) -> Option<(String, u16, usize)> {
    let (mut labels, mut at) = (Vec::new(), 12);
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes([*query.get(at)?, *query.get(at + 1)?]);
    Some((labels.join("."), kind, at + 4))
}

fn put_record(message: &mut Vec<u8>, ttl: u32, record: &Data) {
    let (kind, data) = match record {
        Data::A(address) => (A, address.octets().to_vec()),
        Data::Aaaa(address) => (AAAA, address.octets().to_vec()),
        Data::Cname(name) => (CNAME, in_labels(name)),
        Data::Srv(priority, weight, port, target) => {
            let numbers = [priority, weight, port].map(|number| number.to_be_bytes()).concat();
            (SRV, [numbers, in_labels(target)].concat())
        }
    };
    message.extend([0xc0, 12]); // the name of the question
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]); // class IN
    message.extend(ttl.to_be_bytes());
    message.extend((data.len() as u16).to_be_bytes());
    message.extend(data);
}

fn in_labels(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}
