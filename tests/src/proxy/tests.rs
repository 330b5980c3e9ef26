use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use super::*;

/// Repeats each line it gets in capital letters, and counts the lines.
struct Shouter {
    address: String,
    heard: Arc<AtomicUsize>,
}

impl Shouter {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heard = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&heard);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, count) = (stream.unwrap(), Arc::clone(&count));
                std::thread::spawn(move || {
                    let mut line = Vec::new();
                    let mut byte = [0];
                    while matches!(stream.read(&mut byte), Ok(1)) {
                        line.push(byte[0].to_ascii_uppercase());
                        if byte[0] == b'\n' {
                            count.fetch_add(1, Ordering::SeqCst);
                            if stream.write_all(&std::mem::take(&mut line)).is_err() {
                                return;
                            }
                        }
                    }
                });
            }
        });
        Self { address, heard }
    }

    fn heard(&self) -> usize {
        self.heard.load(Ordering::SeqCst)
    }
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Says a line and gives what comes back, up to the end of a line.
fn say(stream: &mut TcpStream, line: &str) -> std::io::Result<String> {
    stream.write_all(line.as_bytes())?;
    hear(stream)
}

fn hear(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\n") {
        match stream.read(&mut byte)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => text.push(byte[0]),
        }
    }
    Ok(String::from_utf8(text).unwrap())
}

#[test]
fn bytes_pass_and_an_end_is_passed_on() {
    let shouter = Shouter::start();
    let proxy = Proxy::start(&shouter.address);
    let mut stream = connect(&proxy);
    assert_eq!(say(&mut stream, "hello\n").unwrap(), "HELLO\n");
    let long = format!("{}\n", "x".repeat(300_000));
    assert_eq!(say(&mut stream, &long).unwrap(), long.to_uppercase());
    stream.write_all(b"last\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "LAST\n", "the answer to what was said before the end, and then a polite end");
    assert_eq!((proxy.connections(), proxy.faults()), (1, 0));
}

#[test]
fn refused_connections_find_nobody_and_are_taken_again_after_that() {
    let shouter = Shouter::start();
    let proxy = Proxy::start(&shouter.address);
    let mut open = connect(&proxy);
    assert_eq!(say(&mut open, "a\n").unwrap(), "A\n");
    proxy.set(Mode::Refuse);
    assert!(say(&mut open, "b\n").is_err(), "open connections are cut");
    for _ in 0..3 {
        let error = TcpStream::connect(proxy.address()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    }
    proxy.set(Mode::Pass);
    assert_eq!(say(&mut connect(&proxy), "c\n").unwrap(), "C\n");
}

#[test]
fn a_cut_ends_open_connections_by_a_reset_and_takes_new_ones() {
    let shouter = Shouter::start();
    let proxy = Proxy::start(&shouter.address);
    let mut open = connect(&proxy);
    assert_eq!(say(&mut open, "a\n").unwrap(), "A\n");
    proxy.cut();
    assert_eq!(hear(&mut open).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(say(&mut connect(&proxy), "b\n").unwrap(), "B\n");
    assert_eq!(proxy.faults(), 1);
}

#[test]
fn a_connection_is_cut_after_so_many_bytes_of_one_side() {
    let shouter = Shouter::start();
    let proxy = Proxy::start(&shouter.address);
    proxy.set(Mode::CutAfter(Side::Server, 3));
    let mut stream = connect(&proxy);
    stream.write_all(b"abcdef\n").unwrap();
    let mut seen = Vec::new();
    let error = stream.read_to_end(&mut seen).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    // A reset may overtake the bytes before it, but never lets more through.
    assert!(b"ABC".starts_with(&seen), "{seen:?}");
    assert_eq!(shouter.heard(), 1);

    proxy.set(Mode::CutAfter(Side::Client, 3));
    assert!(say(&mut connect(&proxy), "abcdef\n").is_err());
    assert_eq!(shouter.heard(), 1, "half a line is not heard");
}

#[test]
fn swallowed_answers_were_heard_and_not_told() {
    let shouter = Shouter::start();
    let proxy = Proxy::start(&shouter.address);
    let mut open = connect(&proxy);
    assert_eq!(say(&mut open, "a\n").unwrap(), "A\n");
    proxy.set(Mode::SwallowAnswers);
    assert!(say(&mut open, "b\n").is_err());
    assert_eq!(shouter.heard(), 2);
    assert!(say(&mut connect(&proxy), "c\n").is_err());
    assert_eq!(shouter.heard(), 3);
}

#[test]
fn a_stalled_connection_moves_on_later() {
    let shouter = Shouter::start();
    let proxy = Proxy::start(&shouter.address);
    let mut open = connect(&proxy);
    assert_eq!(say(&mut open, "a\n").unwrap(), "A\n");
    proxy.set(Mode::Stall);
    let mut new = connect(&proxy);
    for stream in [&mut open, &mut new] {
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let error = say(stream, "b\n").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "neither an answer nor an end");
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    }
    assert_eq!(shouter.heard(), 1);
    proxy.set(Mode::Pass);
    assert_eq!(hear(&mut open).unwrap(), "B\n");
    assert_eq!(hear(&mut new).unwrap(), "B\n");
}

#[test]
fn delayed_bytes_come_late() {
    let shouter = Shouter::start();
    let proxy = Proxy::start(&shouter.address);
    proxy.set(Mode::Delay(Duration::from_millis(150)));
    let began = Instant::now();
    assert_eq!(say(&mut connect(&proxy), "a\n").unwrap(), "A\n");
    assert!(began.elapsed() >= Duration::from_millis(300), "both ways: {:?}", began.elapsed());
}

#[test]
fn the_proxy_can_answer_itself() {
    let shouter = Shouter::start();
    let proxy = Proxy::start(&shouter.address);
    proxy.set(Mode::Answer("no\n"));
    assert_eq!(say(&mut connect(&proxy), "a\n").unwrap(), "no\n");
    assert_eq!(shouter.heard(), 0);
}

#[test]
fn each_connection_can_have_a_mode_of_its_own() {
    let shouter = Shouter::start();
    let proxy = Proxy::start(&shouter.address);
    let mut next = 0;
    proxy.choose(move || {
        next += 1;
        if next % 2 == 1 { Mode::SwallowAnswers } else { Mode::Pass }
    });
    assert!(say(&mut connect(&proxy), "a\n").is_err());
    assert_eq!(say(&mut connect(&proxy), "b\n").unwrap(), "B\n");
    assert!(say(&mut connect(&proxy), "c\n").is_err());
    assert_eq!(shouter.heard(), 3);
    proxy.set(Mode::Pass);
    assert_eq!(say(&mut connect(&proxy), "d\n").unwrap(), "D\n");
}

#[test]
fn a_dropped_proxy_listens_no_more() {
    let shouter = Shouter::start();
    let proxy = Proxy::start(&shouter.address);
    let address = proxy.address();
    let mut open = connect(&proxy);
    assert_eq!(say(&mut open, "a\n").unwrap(), "A\n");
    drop(proxy);
    assert!(hear(&mut open).is_err());
    assert!(TcpStream::connect(address).is_err());
}
