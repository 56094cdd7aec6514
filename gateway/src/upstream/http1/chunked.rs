//! The chunked transfer coding, read (RFC 9112 section 7.1).
//!
//! Strict: lines end with CRLF, sizes are hexadecimal digits and nothing else, and what a line may hold is bounded.
//! Not here: writing it (`upload.rs`).

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;

/// The longest line of a chunk's size, with its extensions, which are skipped.
const LONGEST_LINE: usize = 4 << 10;
/// The most bytes of trailers.
const LONGEST_TRAILERS: usize = 16 << 10;
/// The most trailers.
const MOST_TRAILERS: usize = 64;

/// Where in the body the reader is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Step {
    #[default]
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    End,
}

/// A chunked body, as far as it has been read.
#[derive(Debug, Default)]
pub(super) struct Chunked(Step);

impl Chunked {
    /// Whether the last chunk and its trailers have been read.
    pub(super) fn is_over(&self) -> bool {
        self.0 == Step::End
    }

    /// The next frame in `buf`; `None` when more must be read, or it is over.
    ///
    /// # Errors
    /// What is wrong.
    pub(super) fn next(&mut self, buf: &mut BytesMut) -> Result<Option<Frame<Bytes>>, &'static str> {
        loop {
            match self.0 {
                Step::Size => {
                    let Some(line) = line(buf, LONGEST_LINE)? else { return Ok(None) };
                    self.0 = match size(&line)? {
                        0 => Step::Trailers,
                        size => Step::Data(size),
                    };
                }
                Step::Data(left) => {
                    if buf.is_empty() {
                        return Ok(None);
                    }
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
                    let left = left - here as u64;
                    self.0 = if left == 0 { Step::DataEnd } else { Step::Data(left) };
                    let data = buf.split_to(here).freeze();
                    // The end is told with the last data, so that whoever has that need not ask again.
                    if left == 0 && buf[..] == *b"\r\n0\r\n\r\n" {
                        buf.clear();
                        self.0 = Step::End;
                    }
                    return Ok(Some(Frame::data(data)));
                }
                Step::DataEnd => {
                    if buf.len() < 2 {
                        return Ok(None);
                    }
                    if buf[..2] != *b"\r\n" {
                        return Err("a chunk that does not end where it says");
                    }
                    buf.advance(2);
                    self.0 = Step::Size;
                }
                Step::Trailers => {
                    let Some(trailers) = trailers(buf)? else { return Ok(None) };
                    self.0 = Step::End;
                    return Ok((!trailers.is_empty()).then(|| Frame::trailers(trailers)));
                }
                Step::End => return Ok(None),
            }
        }
    }
}

/// The next line without its end, once it is there.
fn line(buf: &mut BytesMut, longest: usize) -> Result<Option<BytesMut>, &'static str> {
    let Some(end) = buf.iter().take(longest).position(|byte| *byte == b'\n') else {
        return if buf.len() < longest { Ok(None) } else { Err("a line that is too long between chunks") };
    };
    let mut line = buf.split_to(end + 1);
    if end == 0 || line[end - 1] != b'\r' || line[..end - 1].contains(&b'\r') {
        return Err("a line between chunks that does not end with CRLF");
    }
    line.truncate(end - 1);
    Ok(Some(line))
}

/// The size at the begin of a chunk's first line. Extensions mean nothing to anybody here.
fn size(line: &[u8]) -> Result<u64, &'static str> {
    const WRONG: &str = "a chunk's size that is none";
    let end = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let (digits, rest) = line.split_at(end);
    let extends = rest.trim_ascii_start();
    if digits.is_empty() || !(extends.is_empty() || extends[0] == b';') {
        return Err(WRONG);
    }
    let digits = std::str::from_utf8(digits).map_err(|_| WRONG)?;
    u64::from_str_radix(digits, 16).map_err(|_| WRONG)
}

/// The trailers, once their last line is there.
fn trailers(buf: &mut BytesMut) -> Result<Option<HeaderMap>, &'static str> {
    const WRONG: &str = "a trailer that is no field";
    let mut fields = [httparse::EMPTY_HEADER; MOST_TRAILERS];
    let (size, map) = match httparse::parse_headers(buf, &mut fields).map_err(|_| WRONG)? {
        httparse::Status::Partial if buf.len() < LONGEST_TRAILERS => return Ok(None),
        httparse::Status::Partial => return Err("too many bytes of trailers"),
        httparse::Status::Complete((size, fields)) => {
            let mut map = HeaderMap::new();
            for field in fields {
                let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| WRONG)?;
                map.append(name, HeaderValue::from_bytes(field.value).map_err(|_| WRONG)?);
            }
            (size, map)
        }
    };
    buf.advance(size);
    Ok(Some(map))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All data and trailers of `text`, given `step` bytes at a time; what is left, and whether it was over.
    fn read(text: &[u8], step: usize) -> Result<(Vec<u8>, HeaderMap, usize, bool), &'static str> {
        let (mut chunked, mut buf) = (Chunked::default(), BytesMut::new());
        let (mut data, mut trailers) = (Vec::new(), HeaderMap::new());
        for piece in text.chunks(step) {
            buf.extend_from_slice(piece);
            while let Some(frame) = chunked.next(&mut buf)? {
                match frame.into_data() {
                    Ok(more) => data.extend_from_slice(&more),
                    Err(frame) => trailers = frame.into_trailers().unwrap(),
                }
            }
        }
        Ok((data, trailers, buf.len(), chunked.is_over()))
    }

    #[test]
    fn however_it_comes_it_is_read_alike() {
        let text = b"5\r\nhello\r\n00A;name=\"v\"\r\n, you there\r\n0\r\nA: b\r\nc:d\r\n\r\nnext";
        // The second size is ten, and eleven bytes follow it.
        assert!(read(text, 1).is_err());
        let text = b"5\r\nhello\r\n00b ;name=\"v\"\r\n, you there\r\n0\r\nA: b\r\nc:d\r\n\r\nnext";
        for step in 1..text.len() {
            let (data, trailers, left, over) = read(text, step).unwrap();
            assert_eq!((data.as_slice(), left, over), (&b"hello, you there"[..], 4, true), "{step}");
            assert_eq!((trailers["a"].as_bytes(), trailers["c"].as_bytes()), (&b"b"[..], &b"d"[..]));
        }
    }

    #[test]
    fn what_ends_early_is_not_over() {
        let text = b"5\r\nhello\r\n0\r\n\r\n";
        for end in 0..text.len() {
            assert!(!read(&text[..end.max(1)], 3).unwrap().3, "{end}");
        }
        assert!(read(text, 3).unwrap().3);
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for wrong in [
            &b"x\r\n"[..],
            b"-1\r\n",
            b"+5\r\nhello\r\n",
            b"0x5\r\nhello\r\n",
            b"\r\n",
            b"5\nhello\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"5\r\nhello!\r\n",
            b"5\r\r\nhello\r\n",
            b"5 5\r\nhello\r\n",
            b"10000000000000000\r\n",
            b"5;a\nb\r\nhello\r\n",
            b"0\r\nno field\r\n\r\n",
            b"0\r\na b: c\r\n\r\n",
        ] {
            assert!(read(wrong, 64).is_err(), "{:?}", String::from_utf8_lossy(wrong));
        }
        assert!(read(&[b'1'; LONGEST_LINE], 64).is_err());
    }
}
