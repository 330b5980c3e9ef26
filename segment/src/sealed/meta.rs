//! The JSON beside a segment's data: what it is, and the checksums of its files.
//!
//! Written last, so that a segment whose JSON is there is whole. The catalog keeps the JSON's own hash, so a
//! chain of checksums reaches from the catalog's row to each block.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::AttemptId;
use super::blocks::BLOCK_BYTES;
use crate::error::{Result, SegmentError};
use crate::id::SegmentId;
use crate::schema::{Column, ColumnRole, TableSchema};
use crate::time::Timestamp;

/// Version of the deep form that this build writes.
pub const FORMAT: u16 = 1;

/// What the JSON says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Meta {
    pub(super) format: u16,
    pub(super) segment: String,
    pub(super) attempt: String,
    pub(super) rows: u64,
    pub(super) min_time: i64,
    pub(super) max_time: i64,
    pub(super) content_sum: String,
    pub(super) unit_rows: u32,
    pub(super) units_per_group: u32,
    pub(super) page_rows: u32,
    pub(super) schema: StoredSchema,
    pub(super) cluster_by: Vec<Arc<str>>,
    pub(super) parquet: FileMeta,
    pub(super) index: FileMeta,
}

/// A table's schema as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoredSchema {
    pub(super) version: u64,
    pub(super) columns: Vec<StoredColumn>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoredColumn {
    name: Arc<str>,
    r#type: String,
    role: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    multi_value: bool,
}

/// Length and checksums of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FileMeta {
    pub(super) bytes: u64,
    pub(super) sha256: String,
    /// CRC32C of each 1 MiB.
    pub(super) blocks: Vec<u32>,
}

impl StoredSchema {
    pub(super) fn of(schema: &TableSchema) -> Self {
        let role = |role| match role {
            ColumnRole::Time => "time",
            ColumnRole::Dimension => "dimension",
            ColumnRole::Metric => "metric",
        };
        let column = |c: &Column| StoredColumn {
            name: Arc::clone(&c.name),
            r#type: c.column_type.name().to_owned(),
            role: role(c.role).to_owned(),
            multi_value: c.multi_value,
        };
        Self { version: schema.version(), columns: schema.columns().iter().map(column).collect() }
    }

    pub(super) fn read(self) -> Result<TableSchema> {
        let column = |c: StoredColumn| {
            let role = match &*c.role {
                "time" => ColumnRole::Time,
                "metric" => ColumnRole::Metric,
                "dimension" => ColumnRole::Dimension,
                other => return Err(SegmentError::invalid("column role", format!("`{other}` is none"))),
            };
            Ok(Column { name: c.name, column_type: c.r#type.parse()?, role, multi_value: c.multi_value })
        };
        TableSchema::restore(self.version, self.columns.into_iter().map(column).collect::<Result<_>>()?)
    }
}

impl Meta {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("plain values always have a JSON form");
        bytes.push(b'\n');
        bytes
    }

    /// Reads the JSON, whose hash matched already.
    ///
    /// # Errors
    /// `Corrupt` when it is not what this build writes, naming both formats when it is a newer one.
    pub(super) fn parse(bytes: &[u8], id: &SegmentId) -> Result<Self> {
        let bad = |reason: String| SegmentError::corrupt(format!("meta.json of segment {id}"), reason);
        #[derive(Deserialize)]
        struct Version {
            format: u16,
        }
        let version: Version = serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))?;
        if version.format != FORMAT {
            return Err(bad(format!("it has format {} and this build reads {FORMAT}", version.format)));
        }
        let meta: Self = serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))?;
        // The catalog's hash of this file says that it is the right one. Its number and version may be others: taking a
        // commit back shows the same files under a new id.
        let of: SegmentId = meta.segment.parse().map_err(|_| bad("it names no segment".to_owned()))?;
        if (&of.table, of.interval) != (&id.table, id.interval) {
            return Err(bad(format!("it is of segment {of}")));
        }
        Ok(meta)
    }

    pub(super) fn content_sum(&self) -> Option<u64> {
        u64::from_str_radix(&self.content_sum, 16).ok()
    }

    pub(super) fn time_range(&self) -> (Timestamp, Timestamp) {
        (Timestamp::from_millis(self.min_time), Timestamp::from_millis(self.max_time))
    }

    pub(super) fn attempt(&self) -> Option<AttemptId> {
        self.attempt.parse().ok()
    }
}

/// Length and checksums of bytes as they go by.
#[derive(Debug, Default)]
pub(super) struct Sums {
    bytes: u64,
    sha256: Sha256,
    blocks: Vec<u32>,
    /// CRC32C of the block under way, and its bytes so far.
    block: (u32, usize),
}

impl Sums {
    pub(super) fn add(&mut self, mut bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.sha256.update(bytes);
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.block.1));
            self.block = (crc32c::crc32c_append(self.block.0, now), self.block.1 + now.len());
            if self.block.1 == BLOCK_BYTES {
                self.blocks.push(self.block.0);
                self.block = (0, 0);
            }
            bytes = later;
        }
    }

    /// The sums, and the hash as bytes.
    pub(super) fn finish(mut self) -> (FileMeta, [u8; 32]) {
        if self.block.1 > 0 {
            self.blocks.push(self.block.0);
        }
        let sha256: [u8; 32] = self.sha256.finalize().into();
        (FileMeta { bytes: self.bytes, sha256: hex(&sha256), blocks: self.blocks }, sha256)
    }

    pub(super) fn of(bytes: &[u8]) -> (FileMeta, [u8; 32]) {
        let mut sums = Self::default();
        sums.add(bytes);
        sums.finish()
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
