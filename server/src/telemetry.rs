//! Logs and metrics: names and units.
//!
//! Counters of the server are plain atomics rendered by [`Telemetry::render`] in Prometheus' text format; counters that other
//! crates keep through the `metrics` facade are appended. Per-table numbers are read from their owners at the scrape, so nothing
//! is counted twice. A panic anywhere in the process is counted by the panic hook, because a panic inside a spawned task never
//! passes the HTTP layers.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};
use crate::error::ServerError;

static PANICS: AtomicU64 = AtomicU64::new(0);
static FACADE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Upper bounds of the histograms of requests and queries, in milliseconds.
const BOUNDS_MS: [u64; 11] = [1, 2, 5, 10, 25, 50, 100, 250, 1_000, 5_000, 30_000];

/// Starts logs, the panic counter and the recorder of other crates' metrics. Once per process; later calls only check the filter.
///
/// # Errors
/// [`ServerError::Config`] when the log filter is not one.
pub fn start(config: &Config) -> Result<(), ServerError> {
    let filter = EnvFilter::try_new(&config.log).map_err(|error| {
        ServerError::Config(format!(
            "log is \"{}\", which is not a filter such as info or freshet_ingest=debug,warn: {error}",
            config.log
        ))
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // A second start in one process (tests) keeps the first subscriber.
    let _already = match config.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    FACADE.get_or_init(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.fetch_add(1, Ordering::Relaxed);
            tracing::error!(at = info.location().map(ToString::to_string), "panic: {info}");
            before(info);
        }));
        PrometheusBuilder::new().install_recorder().ok()
    });
    Ok(())
}

/// Panics of this process so far. A healthy process has none.
#[must_use]
pub fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

/// Counts and durations of one kind of work.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS_MS.len()],
    count: AtomicU64,
    sum_us: AtomicU64,
}

impl Histogram {
    /// Adds one.
    pub fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        for (bound, bucket) in BOUNDS_MS.iter().zip(&self.buckets) {
            if micros <= bound * 1_000 {
                bucket.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(micros, Ordering::Relaxed);
    }

    fn render(&self, name: &str, help: &str, out: &mut String) {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
        for (bound, bucket) in BOUNDS_MS.iter().zip(&self.buckets) {
            let seconds = *bound as f64 / 1_000.0;
            let _ = writeln!(out, "{name}_bucket{{le=\"{seconds}\"}} {}", bucket.load(Ordering::Relaxed));
        }
        let count = self.count.load(Ordering::Relaxed);
        let sum = self.sum_us.load(Ordering::Relaxed) as f64 / 1_000_000.0;
        let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}");
    }
}

/// What one node counts itself.
#[derive(Debug, Default)]
pub struct Telemetry {
    http_by_class: [AtomicU64; 5],
    http: Histogram,
    /// Queries through any door, from acceptance to the last byte.
    pub queries: Histogram,
    /// Queries that ended in an error.
    pub queries_failed: AtomicU64,
    /// Queries that were refused for lack of a place.
    pub queries_refused: AtomicU64,
    /// Bytes of query results handed to clients.
    pub result_bytes: AtomicU64,
    /// Bytes of accepted push bodies, before decompression.
    pub push_bytes: AtomicU64,
    /// Open live sockets.
    pub live_sockets: AtomicU64,
    /// Evaluations made for live subscriptions.
    pub live_evaluations: AtomicU64,
    /// Frames sent to live subscriptions.
    pub live_frames: AtomicU64,
}

impl Telemetry {
    /// Counts one answered request.
    pub fn http(&self, status: StatusCode, took: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        if let Some(count) = self.http_by_class.get(class) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.http.record(took);
    }

    /// The server's own metrics and those of the facade.
    pub fn render(&self, out: &mut String) {
        counter(out, "freshet_panics_total", "Panics of this process; above 0 is a defect.", panics());
        let name = "freshet_http_requests_total";
        let _ = writeln!(out, "# HELP {name} Requests answered, by class of status.\n# TYPE {name} counter");
        for (class, count) in self.http_by_class.iter().enumerate() {
            let _ = writeln!(out, "{name}{{class=\"{}xx\"}} {}", class + 1, count.load(Ordering::Relaxed));
        }
        self.http.render(
            "freshet_http_request_seconds",
            "Time to the answer's head; a streamed body is not in it.",
            out,
        );
        self.queries.render("freshet_query_seconds", "Time of a query to its last byte.", out);
        for (name, help, value) in [
            ("freshet_queries_failed_total", "Queries that ended in an error.", &self.queries_failed),
            ("freshet_queries_refused_total", "Queries refused for lack of a place.", &self.queries_refused),
            ("freshet_result_bytes_total", "Bytes of query results handed to clients.", &self.result_bytes),
            ("freshet_push_bytes_total", "Bytes of accepted push bodies as received.", &self.push_bytes),
            ("freshet_live_evaluations_total", "Queries made for live subscriptions.", &self.live_evaluations),
            ("freshet_live_frames_total", "Frames sent to live subscriptions.", &self.live_frames),
        ] {
            counter(out, name, help, value.load(Ordering::Relaxed));
        }
        gauge(out, "freshet_live_sockets", "Open live sockets.", self.live_sockets.load(Ordering::Relaxed));
        if let Some(Some(facade)) = FACADE.get() {
            out.push_str(&facade.render());
        }
    }
}

/// Writes one counter.
pub fn counter(out: &mut String, name: &str, help: &str, value: u64) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}");
}

/// Writes one gauge.
pub fn gauge(out: &mut String, name: &str, help: &str, value: u64) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
}

/// A label's value in Prometheus' escapes.
#[must_use]
pub fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Memory of this process in bytes: resident, and the largest it was allowed to see. `None` where the system does not say.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_are_cumulative_and_end_in_the_count() {
        let histogram = Histogram::default();
        for millis in [1, 3, 3, 40_000] {
            histogram.record(Duration::from_millis(millis));
        }
        let mut out = String::new();
        histogram.render("x", "help", &mut out);
        assert!(out.contains("x_bucket{le=\"0.001\"} 1\n"), "{out}");
        assert!(out.contains("x_bucket{le=\"0.005\"} 3\n"), "{out}");
        assert!(out.contains("x_bucket{le=\"30\"} 3\nx_bucket{le=\"+Inf\"} 4\n"), "{out}");
        assert!(out.ends_with("x_sum 40.007\nx_count 4\n"), "{out}");
    }

    #[test]
    fn labels_cannot_break_out_of_their_quotes() {
        assert_eq!(label("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
