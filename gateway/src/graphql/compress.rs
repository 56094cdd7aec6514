//! The encoders: Zstandard (RFC 8878, RFC 9659), Brotli (RFC 7932), gzip (RFC 1952).
//!
//! All run on the worker that answers. One piece of the answer takes about a millisecond at most; between two of them the
//! worker goes round its other requests, so that a long answer holds none of them up.
//! Not here: which one a client gets (`coding.rs`); answers of services, which pass through in the coding that they came in.

use std::{
    cell::Cell,
    io::{Error, Result, Write},
};

use brotli::{CompressorWriter, enc::BrotliEncoderParams};
use flate2::{Compression, write::GzEncoder};
use tokio::task::yield_now;
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, SafeResult, compress_bound, get_error_name};

use super::config::Coding;

/// So much is encoded in one go: nearly all answers in one piece, and Brotli takes about a millisecond for it.
const PIECE: usize = 64 << 10;

/// The levels above 1 take longer and save hardly anything of JSON.
const ZSTD_LEVEL: i32 = 1;

/// Brotli's quality, and the logarithm of its window: of an answer in one piece, 5 takes no longer than 4 and is smaller by a
/// tenth; of a long one it takes three times as long. Greater windows, which are cleared for each answer, only take longer.
const BROTLI: (i32, i32) = (5, 17);
const BROTLI_LONG: (i32, i32) = (4, 18);

thread_local! {
    /// A worker's encoder of Zstandard: to make one takes longer than to encode a usual answer. It only ever sees answers of one
    /// piece, for which it takes some 300 KiB.
    static ZSTD: Cell<Option<CCtx<'static>>> = const { Cell::new(None) };
}

/// `body` in `coding`.
///
/// # Errors
/// When the encoder has no memory.
pub(super) async fn encode(body: &[u8], coding: Coding) -> Result<Vec<u8>> {
    match coding {
        Coding::Zstd if body.len() <= PIECE => zstd_at_once(body),
        _ if body.len() <= PIECE => {
            let mut encoder = Encoder::new(coding, body.len())?;
            encoder.take(body)?;
            encoder.finish()
        }
        _ => Box::pin(by_pieces(body, coding)).await,
    }
}

async fn by_pieces(body: &[u8], coding: Coding) -> Result<Vec<u8>> {
    let mut encoder = Encoder::new(coding, body.len())?;
    for piece in body.chunks(PIECE) {
        encoder.take(piece)?;
        yield_now().await;
    }
    encoder.finish()
}

fn zstd_at_once(body: &[u8]) -> Result<Vec<u8>> {
    let mut context = ZSTD.take().map_or_else(zstd_context, Ok)?;
    let mut encoded = Vec::with_capacity(compress_bound(body.len()));
    said(context.compress2(&mut encoded, body))?; // one that failed is not used again
    ZSTD.set(Some(context));
    encoded.shrink_to_fit();
    Ok(encoded)
}

fn zstd_context() -> Result<CCtx<'static>> {
    let mut context = CCtx::try_create().ok_or_else(|| Error::other("no memory for an encoder"))?;
    said(context.set_parameter(CParameter::CompressionLevel(ZSTD_LEVEL)))?;
    Ok(context)
}

fn said(result: SafeResult) -> Result<usize> {
    result.map_err(|code| Error::other(get_error_name(code)))
}

/// What takes an answer piece by piece.
enum Encoder {
    Zstd(CCtx<'static>, Vec<u8>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Gzip(GzEncoder<Vec<u8>>),
}

impl Encoder {
    /// For `length` bytes.
    fn new(coding: Coding, length: usize) -> Result<Self> {
        let encoded = Vec::with_capacity(length / 8);
        Ok(match coding {
            Coding::Zstd => {
                let mut context = zstd_context()?;
                said(context.set_pledged_src_size(Some(length as u64)))?;
                Encoder::Zstd(context, encoded)
            }
            Coding::Br => {
                let (quality, lgwin) = if length <= PIECE { BROTLI } else { BROTLI_LONG };
                let params = BrotliEncoderParams {
                    quality,
                    lgwin,
                    size_hint: length,
                    ..BrotliEncoderParams::default()
                };
                Encoder::Brotli(Box::new(CompressorWriter::with_params(encoded, 4 << 10, &params)))
            }
            Coding::Gzip => Encoder::Gzip(GzEncoder::new(encoded, Compression::fast())),
        })
    }

    fn take(&mut self, piece: &[u8]) -> Result<()> {
        match self {
            Encoder::Zstd(context, encoded) => {
                let mut piece = InBuffer::around(piece);
                while piece.pos < piece.src.len() {
                    with_room(encoded, |room| context.compress_stream(room, &mut piece))?;
                }
                Ok(())
            }
            Encoder::Brotli(writer) => writer.write_all(piece),
            Encoder::Gzip(writer) => writer.write_all(piece),
        }
    }

    fn finish(self) -> Result<Vec<u8>> {
        match self {
            Encoder::Zstd(mut context, mut encoded) => {
                while with_room(&mut encoded, |room| context.end_stream(room))? > 0 {}
                Ok(encoded)
            }
            Encoder::Brotli(writer) => Ok(writer.into_inner()),
            Encoder::Gzip(writer) => writer.finish(),
        }
    }
}

/// Lets Zstandard write behind what there is. Without room it would never get on.
fn with_room(
    encoded: &mut Vec<u8>,
    write: impl FnOnce(&mut OutBuffer<'_, Vec<u8>>) -> SafeResult,
) -> Result<usize> {
    encoded.reserve(PIECE / 4);
    let behind = encoded.len();
    said(write(&mut OutBuffer::around_pos(encoded, behind)))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn decoded(encoded: &[u8], coding: Coding, length: usize) -> Vec<u8> {
        let mut text = Vec::with_capacity(length);
        match coding {
            Coding::Zstd => drop(zstd_safe::decompress(&mut text, encoded).unwrap()),
            Coding::Br => drop(brotli::Decompressor::new(encoded, 4_096).read_to_end(&mut text).unwrap()),
            Coding::Gzip => drop(flate2::read::GzDecoder::new(encoded).read_to_end(&mut text).unwrap()),
        }
        text
    }

    /// As many bytes of something like JSON; or of noise, which no coding makes shorter.
    fn bodies(length: usize) -> [Vec<u8>; 2] {
        let mut random = fastrand::Rng::with_seed(7);
        let mut json = Vec::new();
        while json.len() < length {
            write!(json, r#"{{"orderId":"{}","state":"APPROVED"}},"#, random.u32(..)).unwrap();
        }
        json.truncate(length);
        [json, (0..length).map(|_| random.u8(..)).collect()]
    }

    #[tokio::test]
    async fn what_is_encoded_is_what_is_decoded() {
        for length in [0, 1, 1_400, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 1_000_003] {
            for (body, coding) in
                bodies(length).iter().flat_map(|body| Coding::ALL.map(|coding| (body, coding)))
            {
                let encoded = encode(body, coding).await.unwrap();
                assert!(
                    encoded.len() <= length + length / 500 + 64,
                    "{coding:?} {length}: {}",
                    encoded.len()
                );
                assert!(decoded(&encoded, coding, length) == *body, "{coding:?} {length}");
            }
        }
    }

    #[tokio::test]
    async fn others_get_on_between_two_pieces_of_a_long_answer() {
        let [body, _] = bodies(8 * PIECE);
        for coding in Coding::ALL {
            let (encoding, mut turns) = (encode(&body, coding), 0);
            let others = async {
                loop {
                    turns += 1;
                    yield_now().await;
                }
            };
            tokio::select! { biased; _ = encoding => {}, () = others => {} }
            assert!(turns >= 8, "{coding:?}: {turns}");
        }
    }

    #[tokio::test]
    async fn what_a_worker_keeps_is_bounded() {
        for length in [1_000_003, PIECE, 1_000_003] {
            encode(&bodies(length)[0], Coding::Zstd).await.unwrap();
        }
        let kept = ZSTD.take().unwrap().sizeof();
        assert!(kept < 400 << 10, "{kept}");
    }
}
