//! Files cut into pieces that a decoder can take: whole rows, a few MiB at a time.
//!
//! Where a row ends depends on the format. A line is a row, except that a quoted field may hold line ends; a JSON object
//! may stretch over lines, and ends where the next line begins with `{` although nothing before it is left open. A broken
//! row is thereby told from the ones behind it: no valid JSON goes on with `{` at the beginning of a line, except behind a
//! comma, a colon or an opening bracket.

use std::io::{BufReader, Read};
use std::ops::Range;

use crate::decode::RECORD_BYTES_MAX;
use crate::error::{IngestError, Result};
use crate::spec::DecoderSpec;

/// Bytes of a piece; one row may overshoot.
const PIECE_BYTES: usize = 4 << 20;

/// How rows end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    Lines,
    /// Lines, but for line ends within double quotes.
    QuotedLines,
    Objects,
}

/// A file being read.
pub(super) struct Pieces {
    reader: Box<dyn Read + Send>,
    name: String,
    ends: Ends,
    buffer: Vec<u8>,
    /// What of the buffer was given out.
    given: usize,
    ended: bool,
    /// Lines given out so far.
    lines: u64,
}

impl Pieces {
    /// Reads `reader`, uncompressed by what `name` ends with.
    pub(super) fn new(reader: impl Read + Send + 'static, name: &str, decoder: &DecoderSpec) -> Result<Self> {
        let plain = BufReader::with_capacity(1 << 20, reader);
        let reader: Box<dyn Read + Send> = match name.rsplit('.').next() {
            Some("gz") => Box::new(flate2::bufread::MultiGzDecoder::new(plain)),
            Some("zst") => {
                Box::new(zstd::stream::read::Decoder::with_buffer(plain).map_err(|error| unreadable(name, &error))?)
            }
            _ => Box::new(plain),
        };
        let ends = match decoder {
            DecoderSpec::Json | DecoderSpec::Flatten(_) => Ends::Objects,
            DecoderSpec::Delimited(format) if format.quotes => Ends::QuotedLines,
            DecoderSpec::Delimited(_) | DecoderSpec::Regex(_) | DecoderSpec::Lines => Ends::Lines,
        };
        let name = name.to_owned();
        Ok(Self { reader, name, ends, buffer: Vec::new(), given: 0, ended: false, lines: 0 })
    }

    /// The next piece, and how many lines lie before it; nothing at the end.
    ///
    /// # Errors
    /// `Invalid` when the file cannot be read or unpacked, or one row is longer than a record may be.
    pub(super) fn next(&mut self) -> Result<Option<(&[u8], u64)>> {
        self.lines += newlines(self.buffer.get(..self.given).unwrap_or_default());
        self.buffer.drain(..self.given);
        self.given = 0;
        loop {
            self.fill()?;
            let end = if self.ended { self.buffer.len() } else { last_end(self.ends, &self.buffer) };
            if end > 0 {
                self.given = end;
                return Ok(Some((self.buffer.get(..end).unwrap_or_default(), self.lines)));
            }
            if self.ended {
                return Ok(None);
            }
            if self.buffer.len() > RECORD_BYTES_MAX {
                return Err(IngestError::Invalid {
                    what: format!("a row of `{}` is longer than {RECORD_BYTES_MAX} bytes", self.name),
                    at: Some(format!("line {}", self.lines + 1)),
                    hint: Some("look for a quote or a bracket that is never closed".to_owned()),
                });
            }
        }
    }

    /// Reads on, at least one piece.
    fn fill(&mut self) -> Result<()> {
        let wanted = (self.buffer.len() + PIECE_BYTES) as u64;
        let missing = wanted - self.buffer.len() as u64;
        let read = (&mut self.reader).take(missing).read_to_end(&mut self.buffer);
        let read = read.map_err(|error| unreadable(&self.name, &error))?;
        self.ended = (read as u64) < missing;
        Ok(())
    }
}

fn unreadable(name: &str, error: &std::io::Error) -> IngestError {
    IngestError::Invalid {
        what: format!("`{name}` cannot be read: {error}"),
        at: None,
        hint: Some("check that the file is there, readable, and of the kind its name ends with".to_owned()),
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|b| **b == b'\n').count() as u64
}

/// Where the last whole row ends; 0 when none does.
fn last_end(ends: Ends, bytes: &[u8]) -> usize {
    match ends {
        Ends::Lines => bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1),
        Ends::QuotedLines => {
            let mut end = 0;
            let mut quotes = 0_usize;
            for (at, b) in bytes.iter().enumerate() {
                match b {
                    b'"' => quotes += 1,
                    b'\n' if quotes.is_multiple_of(2) => end = at + 1,
                    _ => {}
                }
            }
            end
        }
        Ends::Objects => (1..bytes.len()).rev().find(|at| begins_object(bytes, *at)).unwrap_or(0),
    }
}

/// Whether a new object begins at `at`: at the beginning of a line, and nothing before it asks to be continued.
fn begins_object(bytes: &[u8], at: usize) -> bool {
    if bytes.get(at) != Some(&b'{') {
        return false;
    }
    let before = bytes.get(..at).unwrap_or_default();
    let mut line_begins = false;
    for b in before.iter().rev() {
        match b {
            b'\n' => line_begins = true,
            b' ' | b'\t' | b'\r' => {}
            b',' | b':' | b'[' => return false,
            _ => return line_begins,
        }
    }
    // Nothing but white space before it: the first object.
    false
}

/// The records of a piece: each object of JSON by itself, so that a broken one costs no other; all else as it is.
pub(super) fn records(decoder: &DecoderSpec, piece: &[u8]) -> Vec<Range<usize>> {
    if !matches!(decoder, DecoderSpec::Json | DecoderSpec::Flatten(_)) {
        return std::iter::once(0..piece.len()).collect();
    }
    let mut records = Vec::new();
    let mut start = 0;
    for (at, b) in piece.iter().enumerate() {
        if *b == b'{' && begins_object(piece, at) {
            records.push(start..at);
            start = at;
        }
    }
    records.push(start..piece.len());
    records.retain(|range| piece.get(range.clone()).is_some_and(|text| text.iter().any(|b| !b.is_ascii_whitespace())));
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::text::DelimitedFormat;

    fn json(text: &str) -> Vec<&str> {
        records(&DecoderSpec::Json, text.as_bytes()).into_iter().map(|range| text[range].trim()).collect()
    }

    #[test]
    fn each_object_is_a_record_and_a_broken_one_costs_no_other() {
        assert_eq!(json("{\"a\":1}\n{\"a\":2}\n\n"), ["{\"a\":1}", "{\"a\":2}"]);
        assert_eq!(json("{\"a\":1} {\"a\":2}"), ["{\"a\":1} {\"a\":2}"], "one line is left to the decoder");
        let pretty = "{\n  \"a\": [\n  {\n  \"b\": 1 },\n {\"b\": 2}\n],\n \"c\":\n {\"d\": 1}\n}\n  {\"e\": 1}";
        assert_eq!(json(pretty).len(), 2, "{:?}", json(pretty));
        assert_eq!(json("{\"a\":\"open\n{\"a\":2}\n{\"a\":\n"), ["{\"a\":\"open", "{\"a\":2}", "{\"a\":"]);
        assert_eq!(json("garbage\n{\"a\":2}"), ["garbage", "{\"a\":2}"]);
        assert_eq!(json(" \n"), Vec::<&str>::new());
    }

    fn cut(text: &[u8], decoder: &DecoderSpec, name: &str) -> Vec<(Vec<u8>, u64)> {
        let mut pieces = Pieces::new(std::io::Cursor::new(text.to_vec()), name, decoder).expect("a file");
        let mut all = Vec::new();
        while let Some((piece, lines)) = pieces.next().expect("readable") {
            all.push((piece.to_vec(), lines));
        }
        all
    }

    #[test]
    fn pieces_hold_whole_rows_and_together_the_file() {
        let csv = DecoderSpec::Delimited(DelimitedFormat::csv(None));
        let row = "1,\"two\nlines\",x\n".repeat(700_000);
        let lines = "{\"a\":\"some text here\"}\n".repeat(500_000);
        for (text, decoder, per_row) in
            [(&row, &csv, 2), (&lines, &DecoderSpec::Json, 1), (&lines, &DecoderSpec::Lines, 1)]
        {
            let pieces = cut(text.as_bytes(), decoder, "x");
            assert!(pieces.len() > 1, "{decoder:?}");
            let mut before = 0;
            for (piece, at) in &pieces {
                assert_eq!(*at, before, "{decoder:?}");
                assert_eq!(newlines(piece) % per_row, 0, "{decoder:?}");
                before += newlines(piece);
            }
            assert_eq!(pieces.concat_bytes(), text.as_bytes(), "{decoder:?}");
        }
        assert_eq!(cut(b"", &csv, "x"), vec![]);
        assert_eq!(cut(b"no end", &csv, "x"), vec![(b"no end".to_vec(), 0)]);
    }

    trait Concat {
        fn concat_bytes(&self) -> Vec<u8>;
    }

    impl Concat for Vec<(Vec<u8>, u64)> {
        fn concat_bytes(&self) -> Vec<u8> {
            self.iter().flat_map(|(piece, _)| piece.clone()).collect()
        }
    }

    #[test]
    fn packed_files_are_unpacked_and_broken_ones_say_so() {
        use std::io::Write;
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(b"a\nb\n").expect("packed");
        let gz = gz.finish().expect("packed");
        assert_eq!(cut(&gz, &DecoderSpec::Lines, "f.txt.gz"), vec![(b"a\nb\n".to_vec(), 0)]);
        let zst = zstd::stream::encode_all(&b"a\n"[..], 1).expect("packed");
        assert_eq!(cut(&zst, &DecoderSpec::Lines, "f.zst"), vec![(b"a\n".to_vec(), 0)]);
        let mut broken = Pieces::new(&b"no gzip"[..], "f.gz", &DecoderSpec::Lines).expect("opened");
        assert!(broken.next().expect_err("broken").to_string().contains("`f.gz` cannot be read"));
    }

    #[test]
    fn a_row_without_an_end_is_refused_before_it_fills_the_memory() {
        let endless = std::io::repeat(b'x');
        let mut pieces = Pieces::new(endless, "x", &DecoderSpec::Lines).expect("opened");
        assert!(pieces.next().expect_err("too long").to_string().contains("longer than"));
    }
}
