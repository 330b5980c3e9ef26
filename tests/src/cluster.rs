//! Starts, kills and asks `freshet` processes, from the outside only.
//!
//! The binary is the real one: `FRESHET_TEST_BIN`, else the one beside the test executable in the target folder. Each server has a
//! free port and a data folder of its own. Most tests share one ([`shared`]) and keep apart by table names; a test
//! that stops its server, or needs other flags, starts its own.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use reqwest::blocking::{Client, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{reaper, wait};

const REQUEST_DEADLINE: Duration = Duration::from_secs(60);
const END_DEADLINE: Duration = Duration::from_secs(30);

/// The binary under test.
///
/// # Panics
/// When there is none: it says how to build it.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("FRESHET_TEST_BIN") {
        return PathBuf::from(path);
    }
    // target/debug/deps/all-0123 → target/debug/freshet
    let test = std::env::current_exe().expect("the system knows this executable");
    let path = test.parent().and_then(Path::parent).expect("tests are in deps/").join("freshet");
    assert!(
        path.exists(),
        "{} is missing; build it with: cargo build --workspace --locked --bins --tests",
        path.display()
    );
    path
}

/// `freshet` with these arguments and no setting from the environment of the tests.
#[must_use]
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FRESHET_") {
            command.env_remove(name);
        }
    }
    command
}

/// A name no other test has: for a table, a topic, a supervisor.
#[must_use]
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // The process id: a broker may outlive a test run.
    format!("{prefix}_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The server that most tests share, with the default settings.
#[must_use]
pub fn shared() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(|| Server::start(&[]))
}

/// How a server is started, for tests that need more than flags.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    flags: Vec<String>,
    environment: Vec<(String, String)>,
    data_dir: Option<PathBuf>,
}

impl Setup {
    /// Adds flags.
    #[must_use]
    pub fn flags<S: AsRef<str>>(mut self, flags: &[S]) -> Self {
        self.flags.extend(flags.iter().map(|flag| flag.as_ref().to_owned()));
        self
    }

    /// Adds a variable to the environment of every run.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Takes this data folder, which stays when the server is dropped, and not one of its own.
    #[must_use]
    pub fn data_dir(mut self, folder: &Path) -> Self {
        self.data_dir = Some(folder.to_owned());
        self
    }

    /// Starts a server so and waits until it answers.
    #[must_use]
    pub fn start(self) -> Server {
        self.try_start().unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// [`Setup::start`] for servers that may refuse to start.
    ///
    /// # Errors
    /// When it ends before it answers: its exit status and the end of its log.
    pub fn try_start(self) -> Result<Server, String> {
        let folder = tempfile::Builder::new().prefix("freshet-test-").tempdir().expect("a temporary folder");
        let data = self.data_dir.unwrap_or_else(|| folder.path().join("data"));
        let port = free_port();
        let run = Run {
            flags: self.flags,
            environment: self.environment,
            port,
            data,
            log: folder.path().join("freshet.log"),
        };
        let child = Mutex::new(run.spawn(&[]));
        let client = Client::builder()
            .timeout(REQUEST_DEADLINE)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            // A connection for each request: after an answer that came before the whole body was sent the server closes, and the next
            // request on that connection would meet its end.
            .pool_max_idle_per_host(0)
            .build()
            .expect("a client without special settings");
        let server = Server { child, run, _folder: folder, client };
        server.until_healthy()?;
        Ok(server)
    }
}

/// One `freshet` process that answers HTTP.
#[derive(Debug)]
pub struct Server {
    child: Mutex<Child>,
    run: Run,
    /// Log, and data unless the test named another folder for it.
    _folder: TempDir,
    client: Client,
}

/// What every run of one server has in common.
#[derive(Debug)]
struct Run {
    flags: Vec<String>,
    environment: Vec<(String, String)>,
    port: u16,
    data: PathBuf,
    log: PathBuf,
}

/// An answer, read whole.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: reqwest::header::HeaderMap,
    /// Body as it came.
    pub bytes: Vec<u8>,
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// With status and text when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|error| panic!("not JSON ({error}), status {}: {}", self.status, self.text()))
    }

    /// One header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body as JSON, after a check of the status.
    #[track_caller]
    #[must_use]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }

    /// Checks an error: the status, and a body in the shape all clients rely on. Gives the message for a closer look.
    #[track_caller]
    #[must_use]
    pub fn expect_error(&self, status: u16) -> String {
        let body = self.expect(status);
        for field in ["error", "errorMessage"] {
            assert!(body[field].is_string(), "an error names `{field}`: {body}");
        }
        let message = body["errorMessage"].as_str().expect("checked above").to_owned();
        for leak in ["panicked", ".rs:", "RUST_BACKTRACE", "/src/"] {
            assert!(!message.contains(leak), "an error for people does not show the inside ({leak}): {message}");
        }
        message
    }
}

impl Server {
    /// Starts a server with these further flags and waits until it answers.
    ///
    /// # Panics
    /// When it ends or does not answer; with the end of its log.
    #[must_use]
    pub fn start(flags: &[&str]) -> Self {
        Setup::default().flags(flags).start()
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().expect("nothing panics while holding the child")
    }

    /// Waits until it answers; an error when it ends before.
    fn until_healthy(&self) -> Result<(), String> {
        wait::until("the server to answer /status/health", || {
            if let Some(status) = self.ended() {
                return Ok(Err(format!("freshet ended while starting ({status}); its log:\n{}", self.log_end())));
            }
            match self.client.get(self.url("/status/health")).send().and_then(reqwest::blocking::Response::text) {
                Ok(text) if text.trim() == "true" => Ok(Ok(())),
                Ok(text) => Err(text),
                Err(error) => Err(format!("{error}; log:\n{}", self.log_end())),
            }
        })
    }

    /// Absolute URL of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.run.port)
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.run.port)
    }

    /// Its data folder.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.run.data.clone()
    }

    /// All it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.run.log).unwrap_or_default()).into_owned()
    }

    /// What it has logged since its log had this many bytes.
    #[must_use]
    pub fn log_since(&self, bytes: usize) -> String {
        self.log().get(bytes..).unwrap_or_default().to_owned()
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child().id()
    }

    /// `kill -9`, and waits for the end.
    pub fn kill(&self) {
        let mut child = self.child();
        child.kill().expect("our child can be killed");
        child.wait().expect("our child can be awaited");
    }

    /// Sends a signal by name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(status.expect("kill can be run").success(), "the process takes signal {name}");
    }

    /// SIGTERM; gives the exit status once it has ended.
    pub fn terminate(&self) -> ExitStatus {
        self.signal("TERM");
        wait::until_within(END_DEADLINE, "the server to end after SIGTERM", || {
            match self.child().try_wait().expect("the child can be asked") {
                Some(status) => Ok(status),
                None => Err(format!("it runs; log:\n{}", self.log_end())),
            }
        })
    }

    /// The exit status, once it has ended.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.child().try_wait().expect("the child can be asked")
    }

    /// Waits until it has ended by itself, as at a failpoint.
    pub fn wait_for_end(&self) -> ExitStatus {
        wait::until("the server to end", || self.ended().ok_or_else(|| format!("it runs; log:\n{}", self.log_end())))
    }

    /// Stops the process where it is (SIGSTOP), as a machine does that has no time for it.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on after [`Server::pause`].
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Starts it again on its port and data after [`Server::kill`] or [`Server::terminate`].
    pub fn restart(&self) {
        self.try_restart(&[]).unwrap_or_else(|reason| panic!("{reason}"));
    }

    /// Starts it again, with further variables for this run alone.
    ///
    /// # Errors
    /// When it ends before it answers: its exit status and the end of its log.
    pub fn try_restart(&self, environment: &[(&str, &str)]) -> Result<(), String> {
        self.spawn_again(environment);
        self.until_healthy()
    }

    /// Starts it again and does not wait for anything: for tests that look at it, or kill it, while it starts.
    pub fn spawn_again(&self, environment: &[(&str, &str)]) {
        assert!(self.ended().is_some(), "it has to end first");
        *self.child() = self.run.spawn(environment);
    }

    /// Waits until it takes work: all it had to recover is there.
    pub fn wait_until_ready(&self) {
        wait::until("the server to be ready", || match self.client.get(self.url("/health/ready")).send() {
            Ok(answer) if answer.status() == 200 => Ok(()),
            Ok(answer) => Err(format!("{}; log:\n{}", answer.status(), self.log_end())),
            Err(error) => Err(format!("{error}; log:\n{}", self.log_end())),
        });
    }

    /// Sends a request built by the caller.
    ///
    /// # Panics
    /// When no answer comes.
    #[track_caller]
    pub fn send(&self, request: RequestBuilder) -> Answer {
        self.try_send(request).unwrap_or_else(|error| panic!("no answer: {error}; log:\n{}", self.log_end()))
    }

    /// [`Server::send`] for servers that may be dead.
    ///
    /// # Errors
    /// When no answer comes.
    pub fn try_send(&self, request: RequestBuilder) -> Result<Answer, String> {
        let response = request.send().map_err(|error| format!("{error:?}"))?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let bytes = response.bytes().map_err(|error| format!("{error:?}"))?.to_vec();
        Ok(Answer { status, headers, bytes })
    }

    /// Sends a body above its limit, which must be answered with 413. The server answers and closes before all is sent; a client
    /// that still writes may see the broken connection and not the answer.
    #[track_caller]
    pub fn expect_too_large(&self, request: RequestBuilder) {
        match self.try_send(request) {
            Ok(answer) => drop(answer.expect_error(413)),
            Err(error) => assert!(
                ["BrokenPipe", "ConnectionReset", "IncompleteMessage"].iter().any(|kind| error.contains(kind)),
                "{error}"
            ),
        }
    }

    /// A client for requests of one's own shape.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// GET.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.send(self.client.get(self.url(path)))
    }

    /// DELETE, as the page sends it.
    #[track_caller]
    pub fn delete(&self, path: &str) -> Answer {
        self.send(self.client.delete(self.url(path)).header("Content-Type", "application/json"))
    }

    /// POST of a JSON value.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.client.post(self.url(path)).json(body))
    }

    /// POST of bytes.
    #[track_caller]
    pub fn post_bytes(&self, path: &str, content_type: &str, body: impl Into<reqwest::blocking::Body>) -> Answer {
        self.send(self.client.post(self.url(path)).header("Content-Type", content_type).body(body))
    }

    /// Pushes rows that must all be taken.
    #[track_caller]
    pub fn push(&self, table: &str, rows: &[Value]) {
        let reply = self.post(&format!("/api/v1/push/{table}"), &Value::Array(rows.to_vec())).expect(200);
        assert_eq!(reply["accepted"], json!(rows.len()), "{reply}");
        assert_eq!(reply["rejected"], 0, "{reply}");
    }

    /// Pushes NDJSON text that must be taken whole; gives the number of rows taken.
    #[track_caller]
    pub fn push_lines(&self, table: &str, lines: String) -> u64 {
        let reply = self.post_bytes(&format!("/api/v1/push/{table}"), "application/x-ndjson", lines).expect(200);
        assert_eq!(reply["rejected"], 0, "{reply}");
        reply["accepted"].as_u64().expect("a count")
    }

    /// Seals and publishes what a table holds now.
    #[track_caller]
    pub fn publish(&self, table: &str) {
        let _ = self.post(&format!("/api/v1/tables/{table}/publish"), &json!({})).expect(200);
    }

    /// POST of a SQL request.
    #[track_caller]
    pub fn sql_request(&self, body: &Value) -> Answer {
        self.post("/druid/v2/sql", body)
    }

    /// The rows of a query that must succeed, each an array of values.
    #[track_caller]
    pub fn sql(&self, query: &str) -> Vec<Vec<Value>> {
        let answer = self.sql_request(&json!({"query": query, "resultFormat": "array"}));
        assert_eq!(answer.status, 200, "{query}\n{}", answer.text());
        serde_json::from_slice(&answer.bytes)
            .unwrap_or_else(|error| panic!("not rows ({error}): {query}\n{}", answer.text()))
    }

    /// [`Server::sql`] as one JSON value, handy beside `json!([[..]])`.
    #[track_caller]
    pub fn rows(&self, query: &str) -> Value {
        Value::Array(self.sql(query).into_iter().map(Value::Array).collect())
    }

    /// The rows, or what went wrong: for tables that may not exist yet.
    ///
    /// # Errors
    /// Status and body, or the failure of the connection.
    pub fn try_rows(&self, query: &str) -> Result<Value, String> {
        let request =
            self.client.post(self.url("/druid/v2/sql")).json(&json!({"query": query, "resultFormat": "array"}));
        let answer = self.try_send(request)?;
        if answer.status == 200 {
            serde_json::from_slice(&answer.bytes).map_err(|error| format!("{error}: {}", answer.text()))
        } else {
            Err(format!("{}: {}", answer.status, answer.text()))
        }
    }

    /// The rows of a query, asked again while the table is being recovered or the server is away.
    ///
    /// # Panics
    /// On any other error, and after [`wait::DEADLINE`].
    #[track_caller]
    pub fn rows_when_served(&self, query: &str) -> Value {
        wait::until(&format!("an answer to {query}"), || match self.try_rows(query) {
            Ok(rows) => Ok(Ok(rows)),
            // The code stands in the body, the way to tell it from a server with too much to do.
            Err(error) if error.starts_with("503") || !error.starts_with(|c: char| c.is_ascii_digit()) => Err(error),
            Err(error) => Ok(Err(error)),
        })
        .unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// Number of rows of a table; 0 when it does not exist yet.
    #[must_use]
    pub fn count(&self, table: &str) -> i64 {
        match self.try_rows(&format!("SELECT COUNT(*) FROM \"{table}\"")) {
            Ok(rows) => rows[0][0].as_i64().unwrap_or(-1),
            Err(_) => 0,
        }
    }

    /// Waits until a table has exactly so many rows; more is a failure at once.
    pub fn wait_for_rows(&self, table: &str, expected: i64) {
        wait::until(&format!("{expected} rows in {table}"), || {
            let seen = self.count(table);
            assert!(seen <= expected, "{table} has {seen} rows, but only {expected} were sent");
            if seen == expected { Ok(()) } else { Err(format!("{seen} rows")) }
        });
    }

    /// Writes raw bytes to the socket and reads until the server closes or the deadline passes: for requests no HTTP client sends.
    #[must_use]
    pub fn raw(&self, request: &[u8]) -> String {
        let mut socket = TcpStream::connect(("127.0.0.1", self.run.port)).expect("the server listens");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout can be set");
        // The server may close before all is written, which is an answer too.
        let _ = socket.write_all(request);
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// No request has made the server panic, not even where the panic was caught.
    #[track_caller]
    pub fn assert_no_panics(&self) {
        let log = self.log();
        assert!(!log.contains("panicked at"), "the server panicked:\n{}", lines_around(&log, "panicked at"));
        let metrics = self.get("/metrics").text();
        for line in metrics.lines().filter(|line| line.starts_with("freshet_panics_total")) {
            assert!(line.ends_with(" 0"), "{line}");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut child = self.child();
        let _ = child.kill();
        let _ = child.wait();
        if std::thread::panicking() {
            drop(child);
            eprintln!("the end of the server's log:\n{}", self.log_end());
        }
    }
}

fn lines_around(log: &str, needle: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let at = lines.iter().position(|line| line.contains(needle)).unwrap_or(0);
    lines[at.saturating_sub(2)..(at + 6).min(lines.len())].join("\n")
}

impl Run {
    fn spawn(&self, environment: &[(&str, &str)]) -> Child {
        let log = File::options().create(true).append(true).open(&self.log).expect("the log can be written");
        let data = self.data.to_string_lossy();
        let child = command(&["--listen", &format!("127.0.0.1:{}", self.port), "--data-dir", &data])
            .args(&self.flags)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log)
            .spawn()
            .expect("freshet can be started");
        reaper::kill_at_exit(child.id(), &data);
        // After the kill, or the process would write into the folder anew.
        let folder = self.log.parent().expect("the log is a file in a folder");
        reaper::at_exit(&format!("rm -rf '{}'", folder.display()));
        child
    }
}

/// A loopback port that was free a moment ago. Below the range the system gives to outgoing connections, so that no client
/// socket takes it in between, and a server can be restarted on it.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(97);
    for _ in 0..2000 {
        let step = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 12_000 + u16::try_from(step % 8_000).expect("below 8,000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free loopback port between 12000 and 20000")
}
