//! The PROXY protocol, versions 1 and 2: what a proxy that passes bytes on untouched says of a connection before them
//! (proxy-protocol.txt of HAProxy, sections 2.1 and 2.2).
//!
//! Strict: one way to write each address, and an end to every header. What version 2 adds behind the addresses (TLVs, among them a
//! CRC32c) is skipped. Of the crates that read it, the one without dependencies takes `PROXYxTCP4` and ports like `+80`.
//!
//! Not here: who may say it (`proxies.rs`), how long to wait for it (`connection.rs`).

use std::{
    io::{self, ErrorKind::InvalidData},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::{io::AsyncReadExt, net::TcpStream};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, with its end (section 2.1).
const LINE: usize = 107;
/// The most that version 2 may hold: some proxies add a whole certificate.
const BLOCK: usize = 4 << 10;

/// What was said of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It comes from there.
    From(SocketAddr),
    /// It is the proxy's own, or one without an address of IP.
    Nobody,
    /// Nothing: it was closed before its first byte, as those are that only ask whether anybody listens.
    Nothing,
}

/// Reads the header, and nothing of what follows it.
///
/// # Errors
/// `InvalidData` for what is no such header; else what the connection says.
pub(super) async fn read(stream: &mut TcpStream) -> io::Result<Told> {
    let mut head = [0; SIGNATURE.len()]; // no header is shorter
    let first = stream.read(&mut head).await?;
    if first == 0 {
        return Ok(Told::Nothing);
    }
    stream.read_exact(&mut head[first..]).await?;
    let told = if head == *SIGNATURE {
        binary(stream).await?
    } else if head.starts_with(b"PROXY ") {
        text(stream, &head).await?
    } else {
        None
    };
    told.ok_or_else(|| io::Error::new(InvalidData, "no header of the PROXY protocol"))
}

async fn binary(stream: &mut TcpStream) -> io::Result<Option<Told>> {
    let mut fixed = [0; 4];
    stream.read_exact(&mut fixed).await?;
    let [command, family, length @ ..] = fixed;
    let length = usize::from(u16::from_be_bytes(length));
    if length > BLOCK {
        return Ok(None);
    }
    let mut block = vec![0; length];
    stream.read_exact(&mut block).await?;
    Ok(version_2(command, family, &block))
}

/// Looks before it takes: what stands behind the line is not its own.
async fn text(stream: &mut TcpStream, head: &[u8]) -> io::Result<Option<Told>> {
    let mut line = [0; LINE];
    line[..head.len()].copy_from_slice(head);
    let mut have = head.len();
    while have < LINE {
        let seen = stream.peek(&mut line[have..]).await?;
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let end = line[have..have + seen].iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(seen, |end| end + 1);
        stream.read_exact(&mut line[have..have + taken]).await?;
        have += taken;
        if end.is_some() {
            return Ok(version_1(&line[..have]));
        }
    }
    Ok(None)
}

/// `PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\n`
fn version_1(line: &[u8]) -> Option<Told> {
    let line = std::str::from_utf8(line).ok()?.strip_prefix("PROXY ")?.strip_suffix("\r\n")?;
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Some(Told::Nobody); // what follows is to be ignored
    }
    let parts: Vec<&str> = line.split(' ').collect();
    let [family, source, destination, port, other_port] = parts[..] else { return None };
    let address = |text: &str| match family {
        "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => None,
    };
    let _destination = (address(destination)?, number(other_port)?);
    Some(Told::From(SocketAddr::new(address(source)?.to_canonical(), number(port)?)))
}

/// Without zeros before it: to some they mean another base.
fn number(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|digit| digit.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

fn version_2(command: u8, family: u8, block: &[u8]) -> Option<Told> {
    match (command, family) {
        (0x20, _) => Some(Told::Nobody), // LOCAL: its family counts for nothing
        (0x21, 0x11) => {
            let (address, _destination, port) = addresses::<4>(block)?;
            Some(Told::From((address, port).into()))
        }
        (0x21, 0x21) => {
            let (address, _destination, port) = addresses::<16>(block)?;
            let address = IpAddr::from(address).to_canonical();
            Some(Told::From((address, port).into()))
        }
        (0x21, 0x00 | 0x31) => Some(Told::Nobody), // UNSPEC, UNIX
        _ => None,                                 // another version or command, datagrams
    }
}

/// The source, the destination, and the port of the source.
fn addresses<const N: usize>(block: &[u8]) -> Option<([u8; N], [u8; N], u16)> {
    let (source, rest) = block.split_first_chunk()?;
    let (destination, rest) = rest.split_first_chunk()?;
    let (ports, _tlvs) = rest.split_first_chunk::<4>()?;
    Some((*source, *destination, u16::from_be_bytes([ports[0], ports[1]])))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn from(address: &str) -> Option<Told> {
        Some(Told::From(address.parse().unwrap()))
    }

    #[test]
    fn a_line_of_version_1_says_where_from() {
        let said = |line: &str| version_1(line.as_bytes());
        assert_eq!(said("PROXY TCP4 198.51.100.7 192.0.2.1 4711 443\r\n"), from("198.51.100.7:4711"));
        assert_eq!(said("PROXY TCP6 2001:db8::7 ::1 0 65535\r\n"), from("[2001:db8::7]:0"));
        assert_eq!(said("PROXY TCP6 ::ffff:198.51.100.7 ::1 1 2\r\n"), from("198.51.100.7:1"));
        for nobody in
            ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "PROXY UNKNOWN what ever\r\n"]
        {
            assert_eq!(said(nobody), Some(Told::Nobody), "{nobody}");
        }
        for wrong in [
            "PROXY TCP4 198.51.100.7 192.0.2.1 4711 443\n",
            "PROXY TCP4 198.51.100.7 192.0.2.1 4711 443 \r\n",
            "PROXY  TCP4 198.51.100.7 192.0.2.1 4711 443\r\n",
            "PROXY TCP4 198.51.100.7 192.0.2.1 4711\r\n",
            "PROXY TCP4 198.51.100.7 192.0.2.1 +4711 443\r\n",
            "PROXY TCP4 198.51.100.7 192.0.2.1 04711 443\r\n",
            "PROXY TCP4 198.51.100.7 192.0.2.1 4711 65536\r\n",
            "PROXY TCP4 198.51.100.7 2001:db8::1 4711 443\r\n",
            "PROXY TCP4 198.051.100.7 192.0.2.1 4711 443\r\n",
            "PROXY TCP6 198.51.100.7 192.0.2.1 4711 443\r\n",
            "PROXY tcp4 198.51.100.7 192.0.2.1 4711 443\r\n",
            "PROXY UDP4 198.51.100.7 192.0.2.1 4711 443\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY \r\n",
        ] {
            assert_eq!(said(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_block_of_version_2_says_where_from_whatever_stands_behind() {
        let v4 = [198, 51, 100, 7, 192, 0, 2, 1, 0x12, 0x67, 1, 187];
        let mut v6 = [0; 36];
        v6[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        (v6[15], v6[33]) = (7, 80);
        assert_eq!(version_2(0x21, 0x11, &v4), from("198.51.100.7:4711"));
        assert_eq!(
            version_2(0x21, 0x11, &[&v4[..], &[3, 0, 4, 1, 2, 3, 4]].concat()),
            from("198.51.100.7:4711")
        );
        assert_eq!(version_2(0x21, 0x21, &v6), from("[2001:db8::7]:80"));
        for (command, family) in [(0x20, 0x00), (0x20, 0x11), (0x20, 0xff), (0x21, 0x00), (0x21, 0x31)] {
            assert_eq!(version_2(command, family, &[]), Some(Told::Nobody), "{command:x} {family:x}");
        }
        for (command, family, block) in [
            (0x21, 0x11, &v4[..11]),
            (0x21, 0x21, &v6[..35]),
            (0x21, 0x12, &v4[..]),
            (0x21, 0x22, &v6[..]),
            (0x21, 0x41, &v4[..]),
            (0x22, 0x11, &v4[..]),
            (0x11, 0x11, &v4[..]),
            (0x31, 0x11, &v4[..]),
        ] {
            assert_eq!(version_2(command, family, block), None, "{command:x} {family:x}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_sent_breaks_it(command: u8, family: u8, block: Vec<u8>) {
            _ = (version_2(command, family, &block), version_1(&block));
        }
    }
}
