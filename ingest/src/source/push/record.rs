//! A push as the journal keeps it: how its body is to be read, a line feed, and the body as it came.
//!
//! Reading the same bytes by the same rules gives the same rows, so the rules stand in the record and not beside it: a
//! table whose supervisor changes meanwhile is replayed as it was written.

use std::str::FromStr;

use bytes::{BufMut as _, Bytes, BytesMut};
use freshet_segment::error::SegmentError;
use freshet_segment::schema::ColumnType;
use freshet_segment::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Body, OnError};
use crate::decode::json::JsonDecoder;
use crate::decode::{BadField, DecodeRules, Decoder as _, Rows};
use crate::error::{IngestError, Result};
use crate::spec::{DimensionSpec, DimensionsSpec, GranularitySpec, TimeSpec};
use crate::transform::TimeColumn;

/// Form of the header; another one is not read.
const VERSION: u16 = 1;

/// How a pushed body is read, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushHeader {
    version: u16,
    /// The field that holds the time.
    pub time: String,
    /// Columns with a given type.
    declared: Vec<(String, String)>,
    /// Whether bad rows were left out.
    skip: bool,
    /// When it came, in milliseconds.
    received: i64,
    /// Rows that were stored: replay must find as many.
    pub accepted: u64,
}

impl PushHeader {
    /// For a body that is read now; what came of it is not known yet.
    pub fn new(time: &str, declared: &[DimensionSpec], on_error: OnError, received: Timestamp) -> Self {
        let declared = declared.iter().map(|d| (d.name.clone(), d.column_type.to_string())).collect();
        Self {
            version: VERSION,
            time: time.to_owned(),
            declared,
            skip: on_error == OnError::Skip,
            received: received.as_millis(),
            accepted: 0,
        }
    }

    /// When it came.
    pub fn received(&self) -> Timestamp {
        Timestamp::from_millis(self.received)
    }

    /// Every field becomes a column; what is declared keeps its type, or the row is refused.
    ///
    /// # Errors
    /// `Invalid` when a declared type is none.
    pub fn rules(&self) -> Result<DecodeRules> {
        let mut dimensions = DimensionsSpec::discovered();
        for (name, column_type) in &self.declared {
            let column_type = ColumnType::from_str(column_type)?;
            dimensions.declared.push(DimensionSpec { name: name.clone(), column_type });
        }
        let time = TimeSpec::auto(&self.time);
        let column = TimeColumn::new(&time, &GranularitySpec::default());
        Ok(DecodeRules::new(&dimensions, &time, column, BadField::RejectRow))
    }

    /// Reads the records of a body into `rows`.
    pub fn decode(body: &[u8], records: &Body, rows: &mut Rows) {
        let mut decoder = JsonDecoder::default();
        for (number, (range, _)) in (0u32..).zip(&records.records) {
            decoder.decode(number, body.get(range.clone()).unwrap_or_default(), rows);
        }
    }

    /// The record of a push.
    ///
    /// # Errors
    /// `Internal` when the header has no JSON form.
    pub fn record(&self, body: &[u8]) -> Result<Bytes> {
        let header = serde_json::to_vec(self).map_err(|e| IngestError::internal(format!("header of a push: {e}")))?;
        let mut record = BytesMut::with_capacity(header.len() + 1 + body.len());
        record.put_slice(&header);
        record.put_u8(b'\n');
        record.put_slice(body);
        Ok(record.freeze())
    }

    /// Header and body of a record.
    ///
    /// # Errors
    /// `Corrupt` when it is not one.
    pub fn read(record: &Bytes) -> Result<(Self, Bytes), SegmentError> {
        let damaged = |reason: String| SegmentError::corrupt("a record of the journal", reason);
        let end = record.iter().position(|b| *b == b'\n').ok_or_else(|| damaged("it has no header".to_owned()))?;
        let header: Self = serde_json::from_slice(&record[..end]).map_err(|e| damaged(format!("its header: {e}")))?;
        if header.version != VERSION {
            return Err(damaged(format!("its form is {}, this program knows {VERSION}", header.version)));
        }
        Ok((header, record.slice(end + 1..)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_gives_back_the_rows_that_were_pushed() {
        let declared = [DimensionSpec { name: "n".to_owned(), column_type: ColumnType::Double }];
        let mut header = PushHeader::new("ts", &declared, OnError::Skip, Timestamp::from_millis(7));
        header.accepted = 2;
        let body = "{\"ts\":1,\"n\":\"2\"}\n\n{\"ts\":2,\"a\":\"b\"}";
        let record = header.record(body.as_bytes()).expect("a record");
        let (read, rest) = PushHeader::read(&record).expect("the header");
        assert_eq!((&read, &rest[..]), (&header, body.as_bytes()));
        let mut rows = Rows::new(read.rules().expect("known types"));
        PushHeader::decode(&rest, &Body::read(&rest).expect("a body"), &mut rows);
        assert_eq!(rows.len(), 2);
    }

    #[test]
    fn what_is_no_record_is_damage() {
        for bad in [
            "",
            "{}",
            "{}\n{}",
            "{\"version\":9,\"time\":\"t\",\"declared\":[],\"skip\":false,\"received\":0,\"accepted\":0}\n",
        ] {
            let error = PushHeader::read(&Bytes::from(bad)).expect_err(bad);
            assert_eq!(error.kind(), crate::error::ErrorKind::Corrupt, "{bad}");
        }
    }
}
