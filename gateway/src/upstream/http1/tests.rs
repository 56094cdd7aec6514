//! Exchanges with a service that says exactly what it is told to, over real sockets.

use std::{pin::Pin, sync::Arc, task::Context};

use http::{HeaderName, header, uri::PathAndQuery};
use http_body::Body as _;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{head::parse, *};
use crate::{
    body,
    upstream::metrics::{EndpointMetrics, Spoken},
};

/// A connection, and the service's end of it.
async fn pair() -> (Box<Connection>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (ours, theirs) =
        tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), async { listener.accept().await });
    let open = Arc::new(EndpointMetrics::default()).opened_connection(Spoken::Http1);
    (Connection::new(Io::Plain(ours.unwrap()), 1 << 16, open), theirs.unwrap().0)
}

fn request(method: &str, body: body::Body) -> Box<Outgoing> {
    let mut request = Outgoing::get(PathAndQuery::from_static("/it?a=b"), 1);
    (request.method, request.body) = (method.parse().unwrap(), body);
    request.fields.push(HeaderName::from_static("x-a"), HeaderValue::from_static("1"));
    Box::new(request)
}

/// What becomes of a GET that is answered by `text`, after which the service waits or, with `close`, ends.
async fn answered(method: &'static str, text: &str, close: bool) -> Result<(Answer, TcpStream), Failed> {
    let (connection, mut service) = pair().await;
    let asked = tokio::spawn(async move {
        let host = HeaderValue::from_static("kitchen");
        connection.exchange(request(method, body::Body::Empty), &host).await
    });
    let mut head = [0; 256];
    let read = service.read(&mut head).await.unwrap();
    assert!(head[..read].ends_with(b"\r\n\r\n"));
    service.write_all(text.as_bytes()).await.unwrap();
    if close {
        service.shutdown().await.unwrap();
    }
    asked.await.unwrap().map(|answer| (answer, service))
}

/// The whole body, and whether another request may follow on its connection.
async fn whole(body: Body) -> Result<(Bytes, bool), BodyError> {
    match body {
        Body::Whole(bytes, free) => Ok((bytes, free.is_some())),
        Body::Coming(mut coming) => {
            let mut all = BytesMut::new();
            while let Some(frame) = poll_fn(|cx| coming.poll(cx)).await {
                if let Ok(data) = frame?.into_data() {
                    all.extend_from_slice(&data);
                }
            }
            assert!(coming.is_over());
            Ok((all.freeze(), coming.take_connection().is_some()))
        }
    }
}

#[tokio::test]
async fn an_answer_ends_where_it_says_and_its_connection_is_free_if_there_is_no_doubt() {
    for (method, text, body, free) in [
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", "hi", true),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\nContent-Length: 2\r\n\r\nhi", "hi", true),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: x, Close\r\n\r\nhi", "hi", false),
        ("GET", "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi", "hi", false),
        ("GET", "HTTP/1.0 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nhi", "hi", true),
        // What follows is an answer to nothing.
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi!", "hi", false),
        ("GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "hi", true),
        (
            "GET",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n2\r\nhi\r\n0\r\na: b\r\n\r\n",
            "hi",
            true,
        ),
        // Whether the length or the coding holds, somebody else may see otherwise.
        (
            "GET",
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            "hi",
            false,
        ),
        ("GET", "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "hi", false),
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", "", true),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", "", true),
        ("GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 2\r\n\r\n", "", true),
        (
            "GET",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: a\r\n\r\nHTTP/1.1 204\r\n\r\n",
            "",
            true,
        ),
    ] {
        let Ok((answer, _service)) = answered(method, text, false).await else { panic!("{text}") };
        let (bytes, is_free) = whole(answer.body).await.unwrap();
        assert_eq!((bytes.as_ref(), is_free), (body.as_bytes(), free), "{text}");
    }
    let Ok((answer, _)) = answered("GET", "HTTP/1.1 200 OK\r\n\r\nto the end", true).await else { panic!() };
    assert_eq!(whole(answer.body).await.unwrap(), (Bytes::from("to the end"), false));
}

#[tokio::test]
async fn what_can_be_read_in_two_ways_or_not_at_all_is_no_answer() {
    for text in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nhi!",
        "HTTP/1.1 200 OK\r\ncontent-length: 2, 3\r\n\r\nhi!",
        "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\ncontent-length: \r\n\r\nhi",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\na : b\r\n\r\n",
        "HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
    ] {
        let failed = answered("GET", text, true).await.err().expect(text);
        assert!(matches!(failed.broken, Broken::Malformed(_)), "{text}: {:?}", failed.broken);
        assert!(failed.unsent.is_none(), "{text}");
    }
    let failed = answered("GET", "HTTP/1.1 200 OK\r\ncontent-le", true).await.err().unwrap();
    assert!(matches!(failed.broken, Broken::Closed));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(101));
    assert!(matches!(answered("GET", &many, false).await.err().unwrap().broken, Broken::TooLarge));
    let large = format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "b".repeat(1 << 16));
    assert!(matches!(answered("GET", &large, false).await.err().unwrap().broken, Broken::TooLarge));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_an_error_and_what_came_before_it_is_told() {
    for text in [
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\nnonsense\r\n",
    ] {
        let Ok((answer, _)) = answered("GET", text, true).await else { panic!("{text}") };
        let Body::Coming(mut coming) = answer.body else { panic!("{text}") };
        let first = poll_fn(|cx| coming.poll(cx)).await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, "hi");
        assert!(poll_fn(|cx| coming.poll(cx)).await.unwrap().is_err(), "{text}");
        assert!(coming.is_over() && coming.take_connection().is_none());
    }
}

#[test]
fn a_head_is_read_alike_however_it_comes() {
    let text = b"HTTP/1.1 200 OK\r\nA: 1\r\nb:  two words \r\n\r\nrest";
    for end in 0..text.len() {
        let parsed = parse(&text[..end], Asked::default(), 1 << 16).unwrap();
        let whole = end >= text.len() - 4;
        assert_eq!(parsed.is_some(), whole, "{end}");
        let Some(head) = parsed else { continue };
        assert_eq!((head.size, head.parts.headers.len()), (text.len() - 4, 2));
        assert_eq!(head.parts.headers["a"], "1");
        assert_eq!(head.parts.headers["b"], "two words");
    }
}

#[tokio::test]
async fn a_request_says_how_long_it_is_and_nobody_else_does() {
    let chunks = |pieces: Vec<&'static [u8]>| {
        let pieces =
            pieces.into_iter().map(|piece| Ok::<_, BodyError>(http_body::Frame::data(Bytes::from(piece))));
        body::Body::stream(http_body_util::StreamBody::new(futures_util::stream::iter(pieces)))
    };
    for (method, body, rest) in [
        ("GET", body::Body::Empty, "\r\n"),
        ("POST", body::Body::Empty, "content-length: 0\r\n\r\n"),
        ("POST", body::Body::full("hello"), "content-length: 5\r\n\r\nhello"),
        ("DELETE", body::Body::full("hello"), "content-length: 5\r\n\r\nhello"),
        (
            "POST",
            chunks(vec![b"hel", b"", b"lo"]),
            "transfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
        ),
        ("POST", chunks(vec![]), "transfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ] {
        let (connection, mut service) = pair().await;
        let asked = tokio::spawn(async move {
            let mut request = request(method, body);
            request.fields.push(header::HOST, HeaderValue::from_static("evil"));
            request.fields.push(header::TRANSFER_ENCODING, HeaderValue::from_static("gzip"));
            connection.exchange(request, &HeaderValue::from_static("kitchen")).await
        });
        let expected = format!("{method} /it?a=b HTTP/1.1\r\nhost: kitchen\r\nx-a: 1\r\n{rest}");
        let mut read = vec![0; expected.len()];
        service.read_exact(&mut read).await.unwrap();
        assert_eq!(String::from_utf8(read).unwrap(), expected);
        service.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        let Ok(answer) = asked.await.unwrap() else { panic!("{rest}") };
        assert!(whole(answer.body).await.unwrap().1, "{rest}");
    }
}

/// A body that never ends after `pieces` of a kilobyte.
fn endless(pieces: usize) -> body::Body {
    struct Endless(usize);
    impl http_body::Body for Endless {
        type Data = Bytes;
        type Error = BodyError;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Bytes>, BodyError>>> {
            if self.0 == 0 {
                return Poll::Pending;
            }
            self.0 -= 1;
            Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from(vec![b'x'; 1 << 10])))))
        }
    }
    body::Body::stream(Endless(pieces))
}

#[tokio::test]
async fn a_service_may_answer_before_it_has_read_all_and_is_not_asked_again_here() {
    let (connection, mut service) = pair().await;
    let asked = tokio::spawn(async move {
        connection.exchange(request("POST", endless(3)), &HeaderValue::from_static("kitchen")).await
    });
    let mut read = [0; 1024];
    assert!(service.read(&mut read).await.unwrap() > 0);
    service.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
    let Ok(answer) = asked.await.unwrap() else { panic!() };
    assert_eq!(
        (answer.head.status.as_u16(), whole(answer.body).await.unwrap()),
        (413, (Bytes::from("no"), false))
    );
}

#[tokio::test]
async fn a_large_body_goes_up_while_another_comes_down() {
    const SIZE: usize = 4 << 20;
    let (connection, service) = pair().await;
    let (mut from, mut to) = service.into_split();
    let answering = tokio::spawn(async move {
        to.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n").as_bytes()).await.unwrap();
        to.write_all(&vec![b'y'; SIZE]).await.unwrap();
        to
    });
    let reading = tokio::spawn(async move {
        let (mut seen, mut buf) = (0, vec![0; 1 << 16]);
        while seen < SIZE {
            seen += from.read(&mut buf).await.unwrap();
        }
    });
    let pieces =
        (0..64).map(|_| Ok::<_, BodyError>(http_body::Frame::data(Bytes::from(vec![b'x'; SIZE / 64]))));
    let up = body::Body::stream(http_body_util::StreamBody::new(futures_util::stream::iter(pieces)));
    let Ok(answer) = connection.exchange(request("POST", up), &HeaderValue::from_static("kitchen")).await
    else {
        panic!()
    };
    assert_eq!(whole(answer.body).await.unwrap().0.len(), SIZE);
    reading.await.unwrap();
    drop(answering.await.unwrap());
}

#[tokio::test]
async fn a_request_of_which_nothing_was_written_comes_back_whole() {
    let (connection, service) = pair().await;
    // A reset that has arrived fails the first write.
    service.set_zero_linger().unwrap();
    drop(service);
    connection.io.socket().ready(tokio::io::Interest::ERROR).await.unwrap();
    let body = endless(1);
    let failed = connection.exchange(request("POST", body), &HeaderValue::from_static("kitchen")).await;
    let failed = failed.err().unwrap();
    assert!(matches!(failed.broken, Broken::Io(_)));
    let back = failed.unsent.expect("the request");
    assert!(back.target == "/it?a=b" && !back.body.is_end_stream());
}

#[tokio::test]
async fn an_idle_connection_is_stale_once_the_service_has_closed_it_or_said_something() {
    let (mut connection, mut service) = pair().await;
    assert!(!connection.is_stale());
    service.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await.unwrap();
    connection.io.socket().readable().await.unwrap();
    assert!(connection.is_stale());
    let (mut connection, service) = pair().await;
    drop(service);
    connection.io.socket().readable().await.unwrap();
    assert!(connection.is_stale());
}

/// No turn of the runtime lies between.
#[tokio::test]
async fn what_tokio_has_not_been_told_of_makes_a_connection_stale_too() {
    let (mut connection, service) = pair().await;
    assert!(!connection.is_stale() && !connection.has_gone_stale());
    drop(service);
    assert!(!connection.is_stale(), "nobody has looked");
    assert!(connection.has_gone_stale());
}

#[tokio::test]
async fn a_whole_body_is_told_its_size() {
    let Ok((answer, mut service)) =
        answered("GET", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe", false).await
    else {
        panic!()
    };
    let Body::Coming(coming) = answer.body else { panic!() };
    assert_eq!(coming.size_hint().exact(), Some(5));
    service.write_all(b"llo").await.unwrap();
    assert_eq!(whole(Body::Coming(coming)).await.unwrap(), (Bytes::from("hello"), true));
    let full = body::Body::full("x");
    assert_eq!(full.collect().await.unwrap(), "x");
}

#[tokio::test]
async fn a_chunk_is_whole_before_the_next_one_is_there() {
    for size in [1 << 10, SMALL + 1] {
        let (connection, mut service) = pair().await;
        let piece = Bytes::from(vec![b'x'; size]);
        let first = futures_util::stream::iter([Ok::<_, BodyError>(http_body::Frame::data(piece))]);
        let waiting = futures_util::stream::StreamExt::chain(first, futures_util::stream::pending());
        let body = body::Body::stream(http_body_util::StreamBody::new(waiting));
        let asked = tokio::spawn(async move {
            connection.exchange(request("POST", body), &HeaderValue::from_static("kitchen")).await.is_ok()
        });
        let mut read = Vec::new();
        let chunk = format!("\r\n{size:x}\r\n{}\r\n", "x".repeat(size));
        while !read.ends_with(chunk.as_bytes()) {
            assert!(service.read_buf(&mut read).await.unwrap() > 0, "{size}");
        }
        asked.abort();
    }
}

#[tokio::test]
async fn what_follows_a_streamed_answer_never_passes_for_the_next_one() {
    const SIZE: usize = 3 * READ;
    let text = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n{}HTTP/1.1 200 OK\r\n\r\n",
        "x".repeat(SIZE)
    );
    let (connection, mut service) = pair().await;
    let asked = tokio::spawn(async move {
        connection.exchange(request("GET", body::Body::Empty), &HeaderValue::from_static("kitchen")).await
    });
    service.write_all(text.as_bytes()).await.unwrap();
    let Ok(Answer { body: Body::Coming(mut coming), .. }) = asked.await.unwrap() else { panic!() };
    while let Some(frame) = poll_fn(|cx| coming.poll(cx)).await {
        frame.unwrap();
    }
    assert!(coming.take_connection().is_none_or(|mut connection| connection.is_stale()));
}

#[tokio::test]
async fn an_answer_that_switches_protocols_is_taken_only_when_it_was_asked_for() {
    let switches = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\ncontent-length: 1\r\n\r\nfirst";
    assert!(matches!(
        answered("GET", switches, false).await,
        Err(Failed { broken: Broken::Malformed(_), .. })
    ));
    let (connection, mut service) = pair().await;
    let mut asked = request("GET", body::Body::Empty);
    asked.upgrade = true;
    service.write_all(format!("HTTP/1.1 103 Early Hints\r\n\r\n{switches}").as_bytes()).await.unwrap();
    let answer = connection.exchange(asked, &HeaderValue::from_static("chat")).await.ok().unwrap();
    let Body::Coming(coming) = answer.body else { panic!("it ends") };
    let (mut connection, first) = coming.switched().unwrap();
    assert_eq!((answer.head.status.as_u16(), &first[..]), (101, &b"first"[..]));
    connection.socket().write_all(b"more").await.unwrap();
    let (mut head, mut more) = (vec![0; 1024], Vec::new());
    while !more.ends_with(b"more") {
        let read = service.read(&mut head).await.unwrap();
        more.extend_from_slice(&head[..read]);
    }
}
