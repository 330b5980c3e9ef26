//! `/api/v1/live`: a WebSocket on which queries keep themselves up to date.
//!
//! ```text
//! socket ── sub ──▶ Hub ──▶ runner (one for equal subscriptions) ──▶ engine
//!   ▲                          │  each tick: what changed? one evaluation for all who are ready
//!   └──── frames (24-byte header + Arrow IPC or JSON), at most 2 unacknowledged a subscription
//! ```
//!
//! A subscription is pulled, not queued: while a client has not acknowledged two frames the runner only remembers what the client
//! lacks (`Need`: nothing, buckets from some time on, everything), and the next frame covers all of it. So a slow browser costs
//! neither memory nor evaluations, and what it shows is always whole.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::StatusCode;
use axum::response::Response;
use futures::SinkExt as _;
use futures::stream::{SplitSink, StreamExt as _};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::reply::Problem;
use crate::node::Node;

pub mod frame;
pub mod hub;
pub mod runner;
pub mod template;

pub use hub::Hub;

use frame::{Frame, Kind};
use hub::{Subject, Subscriber, Window};
use template::Wanted;

/// Largest message of a client: SQL and its parameters.
const MESSAGE_BYTES_MAX: usize = (1 << 20) + (64 << 10);
/// Frames on their way to one socket. Each subscription has at most two, so a full channel is a client that reads nothing.
const FRAMES_MAX: usize = 160;
/// Subscriptions of one socket.
const SUBSCRIPTIONS_MAX: usize = 64;
const HEARTBEAT: Duration = Duration::from_secs(10);
/// A socket that takes no byte for so long is given up.
const WRITE_PATIENCE: Duration = Duration::from_secs(60);

/// What a client says.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Operation {
    Sub {
        id: u32,
        #[serde(flatten)]
        subject: Value,
    },
    Unsub {
        id: u32,
    },
    Ack {
        id: u32,
        seq: u64,
    },
}

/// `GET /api/v1/live`, upgraded.
pub async fn socket(
    State(node): State<Arc<Node>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let upgrade = upgrade.map_err(|rejection| {
        Problem::invalid(format!("this path takes a WebSocket only: {rejection}"))
            .status(StatusCode::UPGRADE_REQUIRED)
            .hint("open it with a WebSocket client, as ws://")
    })?;
    let upgrade = upgrade.max_message_size(MESSAGE_BYTES_MAX).max_frame_size(MESSAGE_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| async move {
        node.telemetry.live_sockets.fetch_add(1, Ordering::Relaxed);
        Connection::new(&node).serve(socket).await;
        node.telemetry.live_sockets.fetch_sub(1, Ordering::Relaxed);
    }))
}

struct Subscription {
    window: Arc<Window>,
    ended: CancellationToken,
}

/// One socket and its subscriptions. Dropping it ends them.
struct Connection<'a> {
    node: &'a Arc<Node>,
    subscriptions: HashMap<u32, Subscription>,
    frames: mpsc::Sender<Frame>,
    outgoing: Option<mpsc::Receiver<Frame>>,
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        for subscription in self.subscriptions.values() {
            subscription.ended.cancel();
        }
    }
}

impl<'a> Connection<'a> {
    fn new(node: &'a Arc<Node>) -> Self {
        let (frames, outgoing) = mpsc::channel(FRAMES_MAX);
        Self { node, subscriptions: HashMap::new(), frames, outgoing: Some(outgoing) }
    }

    async fn serve(mut self, socket: WebSocket) {
        let Some(outgoing) = self.outgoing.take() else { return };
        let (sink, mut incoming) = socket.split();
        let node = Arc::clone(self.node);
        let mut writer = tokio::spawn(write(node, sink, outgoing));
        loop {
            tokio::select! {
                message = incoming.next() => match message {
                    Some(Ok(Message::Text(text))) => self.hear(text.as_str()),
                    Some(Ok(Message::Binary(_))) => {
                        self.fail(0, &Problem::invalid("messages of a client are JSON text, not binary"));
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                },
                // The writer ends when the socket is gone or the server stops.
                _ = &mut writer => return,
            }
        }
        writer.abort();
    }

    fn hear(&mut self, text: &str) {
        match serde_json::from_str(text) {
            Ok(Operation::Sub { id, subject }) => {
                if let Err(problem) = self.subscribe(id, subject) {
                    self.fail(id, &problem);
                }
            }
            Ok(Operation::Unsub { id }) => {
                // One that the server has closed is unknown here, and that is no mistake of the client.
                if let Some(subscription) = self.subscriptions.remove(&id) {
                    subscription.ended.cancel();
                }
            }
            Ok(Operation::Ack { id, seq }) => {
                if let Some(subscription) = self.subscriptions.get(&id) {
                    subscription.window.acknowledge(seq);
                }
            }
            Err(error) => {
                let mut problem = super::body::json_problem(&error);
                problem.hint = Some("send {\"op\": \"sub\", \"id\": 1, ...}, unsub or ack".to_owned());
                self.fail(0, &problem);
            }
        }
    }

    fn subscribe(&mut self, id: u32, subject: Value) -> Result<(), Problem> {
        self.subscriptions.retain(|_, subscription| !subscription.ended.is_cancelled());
        if id == 0 || self.subscriptions.contains_key(&id) {
            return Err(Problem::invalid(format!("subscription id {id} is taken"))
                .at("/id")
                .hint("take another number above 0, or unsub the old one first"));
        }
        if self.subscriptions.len() >= SUBSCRIPTIONS_MAX {
            return Err(Problem::busy(format!("this socket has {SUBSCRIPTIONS_MAX} subscriptions already"))
                .hint("unsub those that are not shown any more"));
        }
        let subject = match subject.get("kind").and_then(Value::as_str) {
            Some("tables") => Subject::Tables,
            Some("query") => Subject::Query(Wanted::parse(subject)?),
            other => {
                let said = other.map_or("no kind".to_owned(), |kind| format!("kind {kind:?}"));
                return Err(Problem::invalid(format!("a subscription of {said} is not known"))
                    .at("/kind")
                    .hint("take \"query\" or \"tables\""));
            }
        };
        let window = Arc::new(Window::default());
        let ended = CancellationToken::new();
        self.subscriptions.insert(id, Subscription { window: Arc::clone(&window), ended: ended.clone() });
        self.node.live.join(self.node, subject, Subscriber { id, frames: self.frames.clone(), window, ended });
        Ok(())
    }

    fn fail(&self, id: u32, problem: &Problem) {
        let frame = Frame::error(id, self.node.clock.now(), problem);
        // A client that sends nonsense and reads nothing misses the answers to it.
        let _full = self.frames.try_send(frame);
    }
}

/// Sends frames, heartbeats and the goodbye. Ends when the socket is gone.
async fn write(node: Arc<Node>, mut sink: SplitSink<WebSocket, Message>, mut frames: mpsc::Receiver<Frame>) {
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            frame = frames.recv() => match frame {
                Some(frame) => Message::Binary(frame.encode()),
                None => return,
            },
            _ = heartbeat.tick() => Message::Binary(Frame::heartbeat(node.clock.now()).encode()),
            () = node.stopping.cancelled() => {
                let goodbye = CloseFrame { code: close_code::RESTART, reason: "the server is shutting down".into() };
                let _gone = tokio::time::timeout(WRITE_PATIENCE, sink.send(Message::Close(Some(goodbye)))).await;
                return;
            }
        };
        let data = matches!(&message, Message::Binary(bytes) if bytes.first() != Some(&Kind::Heartbeat.code()));
        match tokio::time::timeout(WRITE_PATIENCE, sink.send(message)).await {
            Ok(Ok(())) if data => {
                node.telemetry.live_frames.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}
