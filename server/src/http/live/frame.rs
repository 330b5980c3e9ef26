//! Frames of the live socket: a header of 24 bytes, little-endian, and a payload.
//!
//! `u8 type | u8 flags | u16 0 | u32 id | u64 seq | i64 watermark_ms | payload`

use bytes::{BufMut, Bytes, BytesMut};
use freshet_segment::time::Timestamp;
use serde_json::json;

use crate::http::reply::Problem;

const HEADER_BYTES: usize = 24;

/// What a payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// All rows, Arrow IPC.
    Snapshot,
    /// All rows of the buckets from the schema's `from` on, Arrow IPC.
    Delta,
    /// JSON.
    Status,
    /// Druid's error body, JSON, with `retry`.
    Error,
    /// Nothing.
    Heartbeat,
}

impl Kind {
    /// The first byte.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Snapshot => 1,
            Self::Delta => 2,
            Self::Status => 4,
            Self::Error => 5,
            Self::Heartbeat => 6,
        }
    }
}

/// One frame.
#[derive(Debug, Clone)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// The subscription; 0 for the socket itself.
    pub id: u32,
    /// Rises within a subscription; what the client acknowledges.
    pub seq: u64,
    /// Wall clock of the reading.
    pub watermark: Timestamp,
    /// The rest.
    pub payload: Bytes,
}

impl Frame {
    /// A sign of life.
    #[must_use]
    pub fn heartbeat(now: Timestamp) -> Self {
        Self { kind: Kind::Heartbeat, id: 0, seq: 0, watermark: now, payload: Bytes::new() }
    }

    /// A failure of one subscription, or of the socket with id 0.
    #[must_use]
    pub fn error(id: u32, now: Timestamp, problem: &Problem) -> Self {
        let mut body = problem.body(&uuid::Uuid::new_v4().to_string());
        body["retry"] = json!(problem.retry());
        Self { kind: Kind::Error, id, seq: 0, watermark: now, payload: body.to_string().into() }
    }

    /// The bytes on the wire.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(HEADER_BYTES + self.payload.len());
        out.put_u8(self.kind.code());
        out.put_u8(0);
        out.put_u16_le(0);
        out.put_u32_le(self.id);
        out.put_u64_le(self.seq);
        out.put_i64_le(self.watermark.as_millis());
        out.put_slice(&self.payload);
        out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_24_bytes_little_endian() {
        let frame = Frame {
            kind: Kind::Delta,
            id: 0x0102_0304,
            seq: 5,
            watermark: Timestamp::from_millis(-2),
            payload: Bytes::from_static(b"xy"),
        };
        let bytes = frame.encode();
        assert_eq!(bytes[..8], [2, 0, 0, 0, 4, 3, 2, 1]);
        assert_eq!(bytes[8..16], [5, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[16..24], (-2_i64).to_le_bytes());
        assert_eq!(&bytes[24..], b"xy");
    }

    #[test]
    fn an_error_says_whether_it_will_be_tried_again() {
        let frame = Frame::error(3, Timestamp::from_millis(1), &Problem::unavailable("away"));
        let body: serde_json::Value = serde_json::from_slice(&frame.payload).unwrap();
        assert_eq!((&body["retry"], &body["errorMessage"]), (&json!(true), &json!("away")));
        let frame = Frame::error(3, Timestamp::from_millis(1), &Problem::invalid("wrong"));
        let body: serde_json::Value = serde_json::from_slice(&frame.payload).unwrap();
        assert_eq!(body["retry"], json!(false));
    }
}
