//! Speaks the live socket, and keeps the state of a subscription as the page does.
//!
//! The socket runs on a thread of its own, so that tests stay plain: they send, and take frames with a deadline.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMillisecondType};
use arrow::ipc::reader::StreamReader;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::cluster::Server;
use crate::wait;

/// Kind of a frame: a whole result.
pub const SNAPSHOT: u8 = 1;
/// Kind of a frame: the rows from a bucket on.
pub const DELTA: u8 = 2;
/// Kind of a frame: JSON.
pub const STATUS: u8 = 4;
/// Kind of a frame: an error body.
pub const ERROR: u8 = 5;
/// Kind of a frame: the server is there.
pub const HEARTBEAT: u8 = 6;

const HEADER_BYTES: usize = 24;

/// One frame of the server.
#[derive(Debug, Clone)]
pub struct Frame {
    /// One of the constants of this module.
    pub kind: u8,
    /// Subscription, 0 for none.
    pub id: u32,
    /// Grows with each frame of a subscription.
    pub seq: u64,
    /// Wall clock of the reading.
    pub watermark_ms: i64,
    /// What follows the header.
    pub payload: Vec<u8>,
}

impl Frame {
    fn parse(bytes: &[u8]) -> Self {
        assert!(
            bytes.len() >= HEADER_BYTES,
            "a frame has a header of {HEADER_BYTES} bytes, this one has {}",
            bytes.len()
        );
        assert_eq!(&bytes[2..4], [0, 0], "reserved");
        Self {
            kind: bytes[0],
            id: u32::from_le_bytes(bytes[4..8].try_into().expect("four bytes")),
            seq: u64::from_le_bytes(bytes[8..16].try_into().expect("eight bytes")),
            watermark_ms: i64::from_le_bytes(bytes[16..24].try_into().expect("eight bytes")),
            payload: bytes[HEADER_BYTES..].to_vec(),
        }
    }

    /// The payload as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.payload)
            .unwrap_or_else(|error| panic!("a frame of kind {} holds JSON: {error}: {:?}", self.kind, self.payload))
    }

    /// The payload as an Arrow stream: metadata of the schema, and the rows.
    #[must_use]
    pub fn rows(&self) -> (BTreeMap<String, String>, Vec<Vec<Value>>) {
        let reader = StreamReader::try_new(self.payload.as_slice(), None).expect("an Arrow IPC stream");
        let metadata = reader.schema().metadata().clone().into_iter().collect();
        let mut rows = Vec::new();
        for batch in reader {
            append_rows(&batch.expect("a whole Arrow IPC stream"), &mut rows);
        }
        (metadata, rows)
    }
}

fn append_rows(batch: &RecordBatch, rows: &mut Vec<Vec<Value>>) {
    for row in 0..batch.num_rows() {
        rows.push(batch.columns().iter().map(|column| value(column.as_ref(), row)).collect());
    }
}

/// Only the types that the socket's contract names.
fn value(column: &dyn Array, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Int64 => json!(column.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => json!(column.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => json!(column.as_string::<i32>().value(row)),
        DataType::Boolean => json!(column.as_boolean().value(row)),
        DataType::Timestamp(TimeUnit::Millisecond, Some(zone)) if zone.as_ref() == "UTC" => {
            json!(column.as_primitive::<TimestampMillisecondType>().value(row))
        }
        other => panic!("the socket's contract does not name the type {other}"),
    }
}

/// An open socket.
#[derive(Debug)]
pub struct Live {
    commands: UnboundedSender<String>,
    frames: Receiver<Frame>,
}

impl Live {
    /// Connects, with this Origin when one is given.
    ///
    /// # Errors
    /// The status and text of a refusal.
    pub fn connect(server: &Server, origin: Option<&str>) -> Result<Self, String> {
        let mut request =
            format!("ws://{}/api/v1/live", server.address()).into_client_request().expect("a valid address");
        if let Some(origin) = origin {
            request.headers_mut().insert("Origin", origin.parse().expect("a valid header"));
        }
        let (commands, commands_in) = unbounded_channel();
        let (frames_out, frames) = channel();
        let (ready_out, ready) = channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                match tokio_tungstenite::connect_async(request).await {
                    Ok((socket, _)) => {
                        let _ = ready_out.send(Ok(()));
                        carry(socket, commands_in, frames_out).await;
                    }
                    Err(error) => {
                        let _ = ready_out.send(Err(error.to_string()));
                    }
                }
            });
        });
        ready.recv_timeout(wait::DEADLINE).map_err(|error| error.to_string())??;
        Ok(Self { commands, frames })
    }

    /// Connects as the page does.
    #[must_use]
    pub fn open(server: &Server) -> Self {
        let origin = format!("http://{}", server.address());
        Self::connect(server, Some(&origin)).unwrap_or_else(|reason| panic!("the live socket was refused: {reason}"))
    }

    /// Sends one message.
    pub fn send(&self, message: &Value) {
        self.send_text(&message.to_string());
    }

    /// Sends any text.
    pub fn send_text(&self, text: &str) {
        self.commands.send(text.to_owned()).expect("the socket's thread runs");
    }

    /// Acknowledges a frame.
    pub fn ack(&self, frame: &Frame) {
        self.send(&json!({"op": "ack", "id": frame.id, "seq": frame.seq}));
    }

    /// The next frame but heartbeats.
    ///
    /// # Panics
    /// When none comes in time, or the server closed.
    #[track_caller]
    #[must_use]
    pub fn next(&self) -> Frame {
        self.next_within(wait::DEADLINE).expect("a frame within the deadline")
    }

    /// The next frame but heartbeats, or `None` when none comes in this time.
    #[track_caller]
    #[must_use]
    pub fn next_within(&self, deadline: Duration) -> Option<Frame> {
        let end = std::time::Instant::now() + deadline;
        loop {
            let left = end.saturating_duration_since(std::time::Instant::now());
            match self.frames.recv_timeout(left) {
                Ok(frame) if frame.kind == HEARTBEAT => {}
                Ok(frame) => return Some(frame),
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => panic!("the server closed the socket"),
            }
        }
    }

    /// The next heartbeat.
    #[must_use]
    pub fn heartbeat(&self) -> Option<Frame> {
        let end = std::time::Instant::now() + wait::DEADLINE;
        loop {
            let left = end.saturating_duration_since(std::time::Instant::now());
            match self.frames.recv_timeout(left) {
                Ok(frame) if frame.kind == HEARTBEAT => return Some(frame),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }
}

async fn carry<S>(
    socket: tokio_tungstenite::WebSocketStream<S>,
    mut commands: UnboundedReceiver<String>,
    frames: Sender<Frame>,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let (mut write, mut read) = socket.split();
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(text) => {
                    if write.send(Message::text(text)).await.is_err() { return; }
                }
                // The test dropped its end.
                None => {
                    let _ = write.close().await;
                    return;
                }
            },
            message = read.next() => match message {
                Some(Ok(Message::Binary(bytes))) => {
                    if frames.send(Frame::parse(&bytes)).is_err() { return; }
                }
                Some(Ok(Message::Text(text))) => panic!("the server sends binary frames only, not: {text}"),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
        }
    }
}

/// The rows of a subscription, kept from frames as the page keeps them.
#[derive(Debug, Default)]
pub struct State {
    /// Rows by the last frame.
    pub rows: Vec<Vec<Value>>,
    /// Snapshots taken.
    pub snapshots: usize,
    /// Deltas taken.
    pub deltas: usize,
    last_seq: u64,
}

impl State {
    /// Takes a frame: a snapshot replaces all rows, a delta those from its `from` on; rows before the range fall off.
    ///
    /// # Panics
    /// When the frame breaks the contract.
    pub fn take(&mut self, frame: &Frame) {
        assert!(self.last_seq == 0 || frame.seq > self.last_seq, "seq grows: {} after {}", frame.seq, self.last_seq);
        self.last_seq = frame.seq;
        let (metadata, rows) = frame.rows();
        let number = |name: &str| -> Option<i64> { metadata.get(name)?.parse().ok() };
        match frame.kind {
            SNAPSHOT => {
                self.snapshots += 1;
                self.rows = rows;
            }
            DELTA => {
                assert!(self.snapshots > 0, "a delta follows a snapshot");
                self.deltas += 1;
                let from = number("from").expect("a delta says from when on");
                let time = |row: &[Value]| row[0].as_i64().expect("the first column is the bucket");
                assert!(rows.iter().all(|row| time(row) >= from), "a delta holds rows from its `from` on");
                self.rows.retain(|row| time(row) < from);
                self.rows.extend(rows);
                if let Some(start) = number("rangeFrom") {
                    self.rows.retain(|row| time(row) >= start);
                }
            }
            other => panic!("a frame of kind {other} holds no rows: {}", String::from_utf8_lossy(&frame.payload)),
        }
    }

    /// The rows in an order of their own, for comparison.
    #[must_use]
    pub fn sorted(&self) -> Vec<String> {
        let mut rows: Vec<String> = self.rows.iter().map(|row| Value::Array(row.clone()).to_string()).collect();
        rows.sort();
        rows
    }
}
