//! The listener's sockets: small answers are sent at once, and a reader that takes nothing is not waited for.
//!
//! An answer that nobody takes holds its query's place and what is buffered of it. When a write has waited for the whole limit
//! without one byte being taken, it fails; the connection closes, and dropping its answer stops the query.

use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, sleep};

/// The listener.
pub struct Sockets {
    listener: TcpListener,
    stall_max: Duration,
}

impl Sockets {
    /// Closes connections whose reader takes nothing for `stall_max`.
    #[must_use]
    pub fn new(listener: TcpListener, stall_max: Duration) -> Self {
        Self { listener, stall_max }
    }
}

impl Listener for Sockets {
    type Io = Patient<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        // Waits out a shortage of file handles, as axum's own does.
        let (socket, address) = Listener::accept(&mut self.listener).await;
        // Small answers must not wait for an acknowledgement of the one before.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "a socket keeps its delay");
        }
        (Patient { socket, stall_max: self.stall_max, stalled: None }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A socket whose writes fail when the other end takes nothing for too long.
pub struct Patient<S> {
    socket: S,
    stall_max: Duration,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    fn watch<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.stalled = None;
            return done;
        }
        let stall_max = self.stall_max;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep(stall_max)));
        ready!(timer.as_mut().poll(cx));
        tracing::info!(stall_ms = stall_max.as_millis(), "a client took nothing of its answer and is dropped");
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client took nothing of its answer")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.watch(cx, done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.watch(cx, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.socket).poll_flush(cx);
        self.watch(cx, done)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    fn patient(stall_ms: u64) -> (Patient<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (near, far) = duplex(16);
        (Patient { socket: near, stall_max: Duration::from_millis(stall_ms), stalled: None }, far)
    }

    #[tokio::test]
    async fn a_reader_that_takes_nothing_fails_the_write() {
        let (mut near, _far) = patient(50);
        let error = near.write_all(&[7; 32]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_reader_that_takes_something_is_waited_for() {
        let (mut near, mut far) = patient(60_000);
        let mut taken = [0; 4_000];
        let (written, read) = tokio::join!(near.write_all(&[7; 4_000]), far.read_exact(&mut taken));
        assert_eq!((written.is_ok(), read.unwrap(), taken), (true, 4_000, [7; 4_000]));
        assert!(near.stalled.is_none(), "the clock stops with each byte taken");
    }
}
