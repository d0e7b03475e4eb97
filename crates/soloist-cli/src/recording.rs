//! What a command wrote, in order, and how it ended: recorded once, replayed anywhere.
//!
//! The format: a version byte, the exit code, then chunks: a byte for the stream (1 stdout, 2 stderr), the
//! length as a little-endian `u32`, the bytes.

use std::io::{self, Write};

use bytes::Bytes;

const VERSION: u8 = 1;
const HEAD: usize = 2;
const CHUNK_HEAD: usize = 5;

/// The longest recording of so much output: every byte may be a chunk.
pub(crate) fn longest(output: u64) -> u64 {
    output.saturating_mul(CHUNK_HEAD as u64 + 1).saturating_add(HEAD as u64)
}

/// Which of the two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Out = 1,
    Err = 2,
}

/// A recording under way. Over its limit of output it only counts: memory stays bounded.
pub(crate) struct Recorder {
    bytes: Vec<u8>,
    /// Where the head of the last chunk stands, and its stream.
    last: Option<(usize, Stream)>,
    limit: u64,
    /// How much was written, without the heads.
    size: u64,
}

impl Recorder {
    pub(crate) fn new(limit: u64) -> Self {
        Recorder { bytes: vec![VERSION, 0], last: None, limit, size: 0 }
    }

    /// Adds what was written. What follows on the same stream joins the chunk before.
    pub(crate) fn add(&mut self, stream: Stream, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let grown = |at: usize| self.bytes.len() - at - CHUNK_HEAD + data.len() <= u32::MAX as usize;
        let joins = self.last.filter(|&(at, last)| last == stream && grown(at));
        self.size += data.len() as u64;
        if self.size > self.limit {
            self.bytes = Vec::new();
            self.last = None;
            return;
        }
        let at = joins.map_or(self.bytes.len(), |(at, _)| at);
        if joins.is_none() {
            self.bytes.extend([stream as u8, 0, 0, 0, 0]);
            self.last = Some((at, stream));
        }
        self.bytes.extend_from_slice(data);
        let len = self.bytes.len() - at - CHUNK_HEAD;
        self.bytes[at + 1..at + CHUNK_HEAD].copy_from_slice(&(len as u32).to_le_bytes());
    }

    /// The recording of a command that ended with this code; or its size, if that is over the limit.
    pub(crate) fn finish(mut self, code: u8) -> Result<Bytes, u64> {
        if self.size > self.limit {
            return Err(self.size);
        }
        self.bytes[1] = code;
        Ok(self.bytes.into())
    }
}

/// A whole recording.
#[derive(Debug)]
pub(crate) struct Recording {
    bytes: Bytes,
    /// The exit code, or 128 + n.
    pub(crate) code: u8,
}

impl Recording {
    /// Checks what was published; `None` if it is no recording of this version.
    pub(crate) fn read(bytes: Bytes) -> Option<Self> {
        let (&version, &code) = (bytes.first()?, bytes.get(1)?);
        let recording = Recording { bytes, code };
        let whole = recording.chunks().all(|chunk| chunk.is_some());
        (version == VERSION && whole).then_some(recording)
    }

    /// Its chunks in order; `None` for what is none, as the last one.
    fn chunks(&self) -> impl Iterator<Item = Option<(Stream, &[u8])>> {
        let mut rest = self.bytes.get(HEAD..).unwrap_or_default();
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let chunk = (|| {
                let (head, after) = rest.split_first_chunk::<CHUNK_HEAD>()?;
                let stream = match head[0] {
                    1 => Stream::Out,
                    2 => Stream::Err,
                    _ => return None,
                };
                let len = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
                Some((stream, after.split_at_checked(len)?))
            })();
            rest = chunk.map_or(&[], |(_, (_, after))| after);
            Some(chunk.map(|(stream, (data, _))| (stream, data)))
        })
    }

    /// Writes it out as the command did. A reader that has gone away ends its stream only.
    pub(crate) fn replay(&self, mut out: impl Write, mut err: impl Write) -> io::Result<()> {
        for (stream, data) in self.chunks().flatten() {
            let written = match stream {
                Stream::Out => out.write_all(data).and_then(|()| out.flush()),
                Stream::Err => err.write_all(data).and_then(|()| err.flush()),
            };
            match written {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn replayed(bytes: Bytes) -> (Vec<u8>, Vec<u8>, u8) {
        let recording = Recording::read(bytes).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        recording.replay(&mut out, &mut err).unwrap();
        (out, err, recording.code)
    }

    #[test]
    fn it_replays_what_was_recorded() {
        let all: Vec<u8> = (0..=255).collect();
        let mut recorder = Recorder::new(519);
        recorder.add(Stream::Out, &all);
        recorder.add(Stream::Err, b"talk");
        recorder.add(Stream::Out, b"");
        recorder.add(Stream::Out, &all);
        recorder.add(Stream::Out, b"end");
        let bytes = recorder.finish(7).unwrap();
        assert_eq!(bytes.len(), 2 + 3 * 5 + 256 + 4 + 259, "what follows on one stream is one chunk");
        let (out, err, code) = replayed(bytes);
        assert_eq!((out, err, code), ([&all[..], &all[..], b"end"].concat(), b"talk".to_vec(), 7));
        assert_eq!(replayed(Recorder::new(0).finish(0).unwrap()), (vec![], vec![], 0));
    }

    proptest::proptest! {
        /// What is read is replayed byte for byte, whoever wrote it; cut short it is none.
        #[test]
        fn any_bytes_are_a_recording_or_refused(
            mut bytes: Vec<u8>,
            chunks in proptest::collection::vec((proptest::bool::ANY, proptest::collection::vec(0_u8.., 1..9)), 0..6),
            at: usize,
            byte: u8,
        ) {
            let _ = Recording::read(Bytes::from(bytes.clone()));
            let mut recorder = Recorder::new(1000);
            for (out, data) in &chunks {
                recorder.add(if *out { Stream::Out } else { Stream::Err }, data);
            }
            let recorded = recorder.finish(3).unwrap();
            let of = |wanted| chunks.iter().filter(move |(out, _)| *out == wanted).flat_map(|(_, data)| data.clone());
            assert_eq!(replayed(recorded.clone()), (of(true).collect(), of(false).collect(), 3));
            bytes = recorded.to_vec();
            let cut = recorded.slice(..recorded.len() - 1);
            assert!(chunks.is_empty() || Recording::read(cut).is_none(), "cut short");
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Some(other) = Recording::read(bytes.into()) {
                let (mut out, mut err) = (Vec::new(), Vec::new());
                other.replay(&mut out, &mut err).unwrap();
                assert!(out.len() + err.len() <= recorded.len());
            }
        }
    }

    #[test]
    fn over_the_limit_it_only_counts() {
        let mut recorder = Recorder::new(10);
        for _ in 0..1000 {
            recorder.add(Stream::Out, b"12345");
        }
        assert!(recorder.bytes.capacity() < 100);
        assert_eq!(recorder.finish(0).unwrap_err(), 5000);
    }

    #[test]
    fn what_is_no_recording_is_refused() {
        for bad in [
            &b""[..],
            b"\x01",
            b"\x02\x00",
            b"{}",
            b"\x01\x00\x01\x05\x00\x00\x00abcd",
            b"\x01\x00\x03\0\0\0\0",
            b"\x01\x00\x01",
        ] {
            assert!(Recording::read(Bytes::copy_from_slice(bad)).is_none(), "{bad:?}");
        }
    }
}
