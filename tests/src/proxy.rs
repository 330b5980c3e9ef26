//! A TCP proxy on loopback that makes the faults of a network, switched while it runs.
//!
//! ```text
//! client ──► Proxy ──► server        answers take the same way back
//! ```
//!
//! It knows nothing of what is spoken through it. What it does is a [`Mode`], either one for all connections ([`Proxy::set`], in force
//! at once, for open connections too) or one drawn for each new connection ([`Proxy::choose`]). A cut is a reset in both directions, as
//! a crashed machine or a firewall makes it, and not the polite end that a program could take for the end of an answer.
//!
//! Before a Kafka broker the broker has to name the proxy as its own address: see `FRESHET_TEST_KAFKA_PROXY` in
//! `tests/services/kafka.sh`.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::{cluster, wait};

/// What happens to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// All bytes go through.
    Pass,
    /// Nobody listens; open connections are cut.
    Refuse,
    /// A connection is cut once this many bytes have come from that side in this mode; the bytes before go through.
    CutAfter(Side, u64),
    /// What the client sends goes through, and the first byte of an answer cuts the connection: done, but nobody is told.
    SwallowAnswers,
    /// Each piece of bytes waits this long before it goes on, in both directions.
    Delay(Duration),
    /// Connections are taken and stay open, and no byte moves. Bytes that were on their way go on when the mode ends.
    Stall,
    /// The proxy gives this answer to what the client sends first, and ends the connection. The server never hears of it.
    Answer(&'static str),
}

/// Where bytes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that connected.
    Client,
    /// The one behind the proxy.
    Server,
}

/// An answer of an HTTP server that has too much to do, for [`Mode::Answer`].
pub const HTTP_503: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

type Chooser = Box<dyn FnMut() -> Mode + Send>;

/// A running proxy; dropping it ends it and its connections.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Clone, Copy)]
struct Order {
    mode: Mode,
    /// Raised by each change: the proxy says which one it has reached.
    version: u64,
    /// Connections accepted under a lower number are cut.
    cuts: u64,
    ended: bool,
}

struct Shared {
    target: Mutex<SocketAddr>,
    order: watch::Sender<Order>,
    reached: AtomicU64,
    chooser: Mutex<Option<Chooser>>,
    connections: AtomicU64,
    faults: AtomicU64,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").field("port", &self.port).field("order", &*self.shared.order.borrow()).finish()
    }
}

impl Proxy {
    /// A proxy on a free port before `target` (`host:port`, an address). Nothing has to listen there yet.
    #[must_use]
    pub fn start(target: &str) -> Self {
        let (order, orders) = watch::channel(Order { mode: Mode::Pass, version: 1, cuts: 0, ended: false });
        let shared = Arc::new(Shared {
            target: Mutex::new(address(target)),
            order,
            reached: AtomicU64::new(0),
            chooser: Mutex::new(None),
            connections: AtomicU64::new(0),
            faults: AtomicU64::new(0),
        });
        let port = cluster::free_port();
        let thread = {
            let shared = Arc::clone(&shared);
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
            let work = move || {
                runtime.block_on(accept(port, shared, orders));
                // Connections that still wait for something end with the runtime.
                runtime.shutdown_background();
            };
            std::thread::Builder::new().name(format!("proxy {port}")).spawn(work).expect("a thread can be started")
        };
        let proxy = Self { port, shared, thread: Some(thread) };
        proxy.wait_until_reached(1);
        proxy
    }

    /// Its port on loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port` for clients.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Sends connections made from now on to another place.
    pub fn set_target(&self, target: &str) {
        *self.shared.target.lock().expect("nothing panics while holding the target") = address(target);
    }

    /// Puts all connections, open and new, into this mode. In force when it returns.
    pub fn set(&self, mode: Mode) {
        *self.shared.chooser.lock().expect("nothing panics while holding the chooser") = None;
        self.change(|order| {
            order.mode = mode;
            order.cuts += u64::from(mode == Mode::Refuse);
        });
    }

    /// Has the mode of each connection made from now on drawn by `choose`, until [`Proxy::set`]. [`Mode::Refuse`] is for all
    /// connections or none, so a drawn one counts as an immediate cut.
    pub fn choose(&self, choose: impl FnMut() -> Mode + Send + 'static) {
        self.set(Mode::Pass);
        *self.shared.chooser.lock().expect("nothing panics while holding the chooser") = Some(Box::new(choose));
    }

    /// Cuts all open connections once; new ones are taken as before.
    pub fn cut(&self) {
        self.change(|order| order.cuts += 1);
    }

    /// Connections taken so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Connections that the proxy ended by its own will so far.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.shared.faults.load(Ordering::Relaxed)
    }

    fn change(&self, change: impl FnOnce(&mut Order)) {
        let mut version = 0;
        self.shared.order.send_modify(|order| {
            change(order);
            order.version += 1;
            version = order.version;
        });
        self.wait_until_reached(version);
    }

    fn wait_until_reached(&self, version: u64) {
        wait::until("the proxy to take its orders", || {
            let reached = self.shared.reached.load(Ordering::Acquire);
            if reached >= version { Ok(()) } else { Err(format!("at {reached}, not {version}")) }
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.order.send_modify(|order| {
            order.ended = true;
            order.cuts += 1;
        });
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|error| panic!("{text} is not an address with a port: {error}"))
}

/// Takes connections until the proxy ends.
async fn accept(port: u16, shared: Arc<Shared>, mut orders: watch::Receiver<Order>) {
    let mut listener = None;
    loop {
        let order = *orders.borrow_and_update();
        if order.ended {
            return;
        }
        if order.mode == Mode::Refuse {
            listener = None;
        } else if listener.is_none() {
            let bound = TcpListener::bind(("127.0.0.1", port)).await;
            listener = Some(bound.unwrap_or_else(|error| panic!("the proxy cannot listen on port {port}: {error}")));
        }
        shared.reached.store(order.version, Ordering::Release);
        tokio::select! {
            changed = orders.changed() => if changed.is_err() { return },
            accepted = take(listener.as_ref()) => if let Ok(client) = accepted {
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let chosen = shared.chooser.lock().expect("nothing panics while holding the chooser").as_mut().map(|choose| choose());
                let connection = Connection { shared: Arc::clone(&shared), chosen, cuts: order.cuts, orders: orders.clone() };
                tokio::spawn(connection.serve(client));
            },
        }
    }
}

async fn take(listener: Option<&TcpListener>) -> std::io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

struct Connection {
    shared: Arc<Shared>,
    chosen: Option<Mode>,
    cuts: u64,
    orders: watch::Receiver<Order>,
}

/// Why a direction ended.
#[derive(PartialEq)]
enum End {
    /// The side that sends has no more to say; the other direction goes on.
    Closed,
    /// The connection is to be cut, by a fault or because one of the two has gone.
    Cut { fault: bool },
}

impl Connection {
    async fn serve(self, mut client: TcpStream) {
        if let Mode::Answer(answer) = self.mode() {
            return self.answer(client, answer).await;
        }
        let target = *self.shared.target.lock().expect("nothing panics while holding the target");
        let Ok(mut server) = TcpStream::connect(target).await else { return };
        let _ = client.set_nodelay(true);
        let _ = server.set_nodelay(true);
        let end = {
            let (from_client, to_client) = client.split();
            let (from_server, to_server) = server.split();
            let asked = self.pump(Side::Client, from_client, to_server);
            let answered = self.pump(Side::Server, from_server, to_client);
            let both = async {
                tokio::pin!(asked, answered);
                // The first direction that is cut takes the other with it; one that is closed does not.
                tokio::select! {
                    end = &mut asked => if end == End::Closed { answered.await } else { end },
                    end = &mut answered => if end == End::Closed { asked.await } else { end },
                }
            };
            tokio::select! {
                end = both => end,
                () = self.until_cut() => End::Cut { fault: true },
            }
        };
        if let End::Cut { fault } = end {
            self.shared.faults.fetch_add(u64::from(fault), Ordering::Relaxed);
            // A reset when dropped, whatever was still to be sent.
            let _ = client.set_zero_linger();
            let _ = server.set_zero_linger();
        }
    }

    fn mode(&self) -> Mode {
        self.chosen.unwrap_or_else(|| self.orders.borrow().mode)
    }

    async fn until_cut(&self) {
        let mut orders = self.orders.clone();
        // An error: the proxy has ended.
        let _ = orders.wait_for(|order| order.cuts > self.cuts).await;
    }

    async fn answer(self, mut client: TcpStream, answer: &str) {
        let mut head = vec![0; 64 * 1024];
        if !matches!(client.read(&mut head).await, Ok(0) | Err(_)) {
            self.shared.faults.fetch_add(1, Ordering::Relaxed);
            let _ = client.write_all(answer.as_bytes()).await;
            let _ = client.shutdown().await;
            // What is still on its way is read, or its arrival would reset the connection before the answer is read.
            while matches!(client.read(&mut head).await, Ok(1..)) {}
        }
    }

    /// Moves bytes one way.
    async fn pump(&self, side: Side, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> End {
        let end = self.moves(side, &mut from, &mut to).await;
        if end == End::Closed {
            let _ = to.shutdown().await;
        }
        end
    }

    async fn moves(&self, side: Side, from: &mut ReadHalf<'_>, to: &mut WriteHalf<'_>) -> End {
        let mut buffer = vec![0; 16 * 1024];
        let mut orders = self.orders.clone();
        // Bytes since the mode in force began.
        let (mut counted, mut last) = (0_u64, None);
        loop {
            let Ok(read) = from.read(&mut buffer).await else { return End::Cut { fault: false } };
            if read == 0 {
                return End::Closed;
            }
            let mut pass = read;
            loop {
                let mode = self.mode();
                if last.replace(mode) != Some(mode) {
                    counted = 0;
                }
                match mode {
                    Mode::Stall => match self.chosen {
                        Some(_) => std::future::pending().await,
                        None => {
                            if orders.wait_for(|order| order.mode != Mode::Stall).await.is_err() {
                                return End::Cut { fault: true };
                            }
                            continue;
                        }
                    },
                    Mode::Delay(time) => tokio::time::sleep(time).await,
                    Mode::CutAfter(from, bytes) if from == side => {
                        let left = usize::try_from(bytes - counted.min(bytes)).unwrap_or(usize::MAX);
                        pass = pass.min(left);
                    }
                    Mode::SwallowAnswers if side == Side::Server => return End::Cut { fault: true },
                    // An open connection meets `Answer` only by an order: it is cut, and the next one gets the answer.
                    Mode::Refuse | Mode::Answer(_) => return End::Cut { fault: true },
                    Mode::Pass | Mode::CutAfter(..) | Mode::SwallowAnswers => {}
                }
                break;
            }
            if to.write_all(buffer.get(..pass).unwrap_or_default()).await.is_err() {
                return End::Cut { fault: false };
            }
            counted += u64::try_from(pass).expect("a buffer is small");
            if matches!(last, Some(Mode::CutAfter(from, bytes)) if from == side && counted >= bytes) {
                return End::Cut { fault: true };
            }
        }
    }
}

#[cfg(test)]
mod tests;
