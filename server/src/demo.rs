//! The demo stream: events of [`events`], pushed through the public HTTP API, so that a demo shows nothing that a user could not
//! do. A quarter of an hour of history comes first, with live events in between its batches so that the page moves at once. A table
//! that has rows already goes on after its newest one: a restart adds what it missed of that quarter of an hour, and nothing twice.
//!
//! One task sends; state and wishes meet in a mutex that is held for a few lines. When the server answers slower than events are
//! made, the stream falls behind by at most `BEHIND_MS_MAX` and leaves out the rest, rather than piling up.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use freshet_segment::clock::Clock;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub mod events;

use events::Events;

/// The table it fills.
pub const TABLE: &str = "demo";
/// Most events a second.
pub const RATE_MAX: u32 = 100_000;
/// How far the history reaches back.
const HISTORY_MS: i64 = 15 * 60_000;
/// History has at most so many events a second, or it would take minutes to send at high rates.
const HISTORY_RATE_MAX: u32 = 200;
/// Added to the seed for live events.
const LIVE_SEED: u64 = 0x9E37_79B9_7F4A_7C15;
/// Events in one request.
const BATCH_MAX: usize = 4_000;
/// How often live events are sent.
const TICK: Duration = Duration::from_millis(100);
/// How far live events may fall behind.
const BEHIND_MS_MAX: i64 = 5_000;
/// Wait after a refusal or a failure.
const PAUSE: Duration = Duration::from_millis(500);

/// The demo stream of a node; it runs at most once.
#[derive(Debug)]
pub struct Demo {
    address: SocketAddr,
    clock: Arc<dyn Clock>,
    shared: Arc<Mutex<State>>,
    running: tokio::sync::Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// What can be seen of it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Whether events are being sent.
    pub running: bool,
    /// The table.
    pub table: &'static str,
    /// Events a second, averaged over a week.
    pub rate: u32,
    /// The seed.
    pub seed: u64,
    /// Events sent since the start.
    pub sent: u64,
    /// Of these, rows that the server rejected.
    pub rejected: u64,
    /// Whether the history is there.
    pub backfilled: bool,
    /// The last failure, until a request succeeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Demo {
    /// A stream that will push to `address`.
    #[must_use]
    pub fn new(address: SocketAddr, clock: Arc<dyn Clock>, rate: u32, seed: u64) -> Self {
        let state =
            State { running: false, table: TABLE, rate, seed, sent: 0, rejected: 0, backfilled: false, problem: None };
        Self { address, clock, shared: Arc::new(Mutex::new(state)), running: tokio::sync::Mutex::new(None) }
    }

    /// What can be seen now.
    #[must_use]
    pub fn state(&self) -> State {
        self.shared.lock().clone()
    }

    /// Starts it, or changes the rate of the running one. A running stream keeps its seed.
    pub async fn start(&self, rate: Option<u32>, seed: Option<u64>) -> State {
        let mut running = self.running.lock().await;
        {
            let mut state = self.shared.lock();
            state.rate = rate.unwrap_or(state.rate).min(RATE_MAX);
            if running.is_none() {
                *state = State {
                    running: true,
                    seed: seed.unwrap_or(state.seed),
                    rate: state.rate,
                    table: TABLE,
                    sent: 0,
                    rejected: 0,
                    backfilled: false,
                    problem: None,
                };
            }
        }
        if running.is_none() {
            let stop = CancellationToken::new();
            let sender = Sender {
                address: self.address,
                clock: Arc::clone(&self.clock),
                shared: Arc::clone(&self.shared),
                stop: stop.clone(),
            };
            *running = Some(Running { stop, task: tokio::spawn(sender.run()) });
        }
        self.state()
    }

    /// Stops it and waits for the request that is on its way.
    pub async fn stop(&self) -> State {
        if let Some(running) = self.running.lock().await.take() {
            running.stop.cancel();
            if running.task.await.is_err() {
                tracing::error!("the demo stream died");
            }
        }
        self.shared.lock().running = false;
        self.state()
    }
}

struct Sender {
    address: SocketAddr,
    clock: Arc<dyn Clock>,
    shared: Arc<Mutex<State>>,
    stop: CancellationToken,
}

impl Sender {
    async fn run(self) {
        let client = match reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build() {
            Ok(client) => client,
            Err(error) => {
                self.failed(format!("no HTTP client: {error}"));
                return;
            }
        };
        let started = self.clock.now().as_millis();
        let seed = self.shared.lock().seed;
        let newest = self.newest(&client).await;
        let begin = newest.map_or(started - HISTORY_MS, |at| (at + 1).clamp(started - HISTORY_MS, started));
        let mut past = Events::new(seed, begin);
        // Streams of their own, so that the past is the same whenever live events come in between.
        let mut live = Events::new(seed.wrapping_add(LIVE_SEED), started);
        let mut next_tick = Instant::now();
        while !self.stop.is_cancelled() {
            let now = self.clock.now().as_millis();
            let rate = self.shared.lock().rate;
            live.skip_to(if rate == 0 { now } else { now - BEHIND_MS_MAX });
            let due = Instant::now() >= next_tick;
            let more = due && self.send(&client, &mut live, now, rate).await == BATCH_MAX;
            if due && !more {
                next_tick = (next_tick + TICK).max(Instant::now());
            }
            if past.made_until() < started && rate > 0 {
                // Live events come first at every turn: the page moves while its past fills.
                self.send(&client, &mut past, started, rate.min(HISTORY_RATE_MAX)).await;
                continue;
            }
            self.shared.lock().backfilled = true;
            if !more {
                tokio::select! {
                    () = tokio::time::sleep_until(next_tick.into()) => {}
                    () = self.stop.cancelled() => {}
                }
            }
        }
    }

    /// Time of the newest row that is there, as anyone would ask for it; waits for a table that is being recovered.
    async fn newest(&self, client: &reqwest::Client) -> Option<i64> {
        let url = format!("http://{}/druid/v2/sql", self.address);
        let query = format!("SELECT TIMESTAMP_TO_MILLIS(MAX(__time)) FROM \"{TABLE}\"");
        let body = serde_json::json!({"query": query, "resultFormat": "array"}).to_string();
        while !self.stop.is_cancelled() {
            let request = client.post(&url).header("content-type", "application/json").body(body.clone());
            match request.send().await {
                Ok(response) if response.status().is_success() => {
                    let rows: Vec<Vec<Option<i64>>> = response.json().await.unwrap_or_default();
                    return rows.into_iter().flatten().next().flatten();
                }
                // No such table.
                Ok(response) if response.status().is_client_error() && response.status().as_u16() != 429 => {
                    return None;
                }
                Ok(response) => self.failed(format!("the server asks to wait: {}", response.status())),
                Err(error) => self.failed(format!("a question did not arrive: {error}")),
            }
            self.pause().await;
        }
        None
    }

    /// Makes and sends the next batch, and says how many events it had.
    async fn send(&self, client: &reqwest::Client, events: &mut Events, until: i64, rate: u32) -> usize {
        let mut body = String::new();
        let count = events.write(until, rate, BATCH_MAX, &mut body);
        if count > 0 {
            self.push(client, body, count).await;
        }
        count
    }

    /// Sends one batch, again as long as the server asks to come back later.
    async fn push(&self, client: &reqwest::Client, body: String, count: usize) {
        #[derive(serde::Deserialize)]
        struct Reply {
            rejected: u64,
        }
        let url = format!("http://{}/api/v1/push/{TABLE}?onError=skip&timestampColumn=timestamp", self.address);
        let body = bytes::Bytes::from(body);
        while !self.stop.is_cancelled() {
            let request = client.post(&url).header("content-type", "application/x-ndjson").body(body.clone());
            let problem = match request.send().await {
                Ok(response) if response.status().is_success() => match response.json::<Reply>().await {
                    Ok(reply) => {
                        let mut state = self.shared.lock();
                        state.sent += count as u64;
                        state.rejected += reply.rejected;
                        state.problem = None;
                        return;
                    }
                    Err(error) => format!("the answer to a push cannot be read: {error}"),
                },
                Ok(response) if matches!(response.status().as_u16(), 429 | 503) => {
                    format!("the server asks to wait: {}", response.status())
                }
                Ok(response) => {
                    let status = response.status();
                    self.failed(format!("a push was refused: {status} {}", response.text().await.unwrap_or_default()));
                    // Sending it again would not help; the stream goes on with the next batch.
                    self.pause().await;
                    return;
                }
                Err(error) => format!("a push did not arrive: {error}"),
            };
            self.failed(problem);
            self.pause().await;
        }
    }

    async fn pause(&self) {
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = self.stop.cancelled() => {}
        }
    }

    fn failed(&self, problem: String) {
        let mut state = self.shared.lock();
        if state.problem.is_none() {
            tracing::warn!(problem, "the demo stream is held up");
        }
        state.problem = Some(problem);
    }
}
