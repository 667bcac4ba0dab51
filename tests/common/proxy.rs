//! A TCP proxy that misbehaves when told to: it refuses connections, cuts them off in the middle of a transfer, or holds back
//! what is sent.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::free_port;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Nobody listens, and what was connected is cut off.
    Refuse,
    /// Connections are taken, and not a byte goes through.
    Stall,
    /// Every connection is cut off after so many bytes in one direction.
    CutAfter(usize),
}

pub struct Proxy {
    pub port: u16,
    state: Arc<State>,
    accepting: Option<JoinHandle<()>>,
}

struct State {
    target: SocketAddr,
    mode: Mutex<Mode>,
    ended: AtomicBool,
    cut: AtomicU64,
    /// Set where a connection is cut off at once.
    generation: AtomicUsize,
}

impl Proxy {
    pub fn start(target_port: u16) -> Self {
        let state = State {
            target: SocketAddr::from(([127, 0, 0, 1], target_port)),
            mode: Mutex::new(Mode::Pass),
            ended: AtomicBool::new(false),
            cut: AtomicU64::new(0),
            generation: AtomicUsize::new(0),
        };
        let (port, state) = (free_port(), Arc::new(state));
        let listener = listen(port);
        let accepting = {
            let state = state.clone();
            std::thread::spawn(move || accept(port, listener, &state))
        };
        Self { port, state, accepting: Some(accepting) }
    }

    pub fn set(&self, mode: Mode) {
        *self.state.mode.lock().unwrap() = mode;
        if mode == Mode::Refuse {
            self.state.generation.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// How many connections it has cut off.
    pub fn cut(&self) -> u64 {
        self.state.cut.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        let _ = self.accepting.take().unwrap().join();
    }
}

impl State {
    fn mode(&self) -> Mode {
        *self.mode.lock().unwrap()
    }
}

fn listen(port: u16) -> TcpListener {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

fn accept(port: u16, listener: TcpListener, state: &Arc<State>) {
    let mut listener = Some(listener);
    while !state.ended.load(Ordering::SeqCst) {
        match (state.mode() == Mode::Refuse, &listener) {
            (true, _) => listener = None,
            (false, None) => listener = Some(listen(port)),
            (false, Some(open)) => {
                if let Ok((client, _)) = open.accept()
                    && let Ok(server) = TcpStream::connect(state.target)
                {
                    Connection::open(client, server, state);
                }
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

struct Connection {
    client: TcpStream,
    server: TcpStream,
    over: AtomicBool,
    generation: usize,
    state: Arc<State>,
}

impl Connection {
    fn open(client: TcpStream, server: TcpStream, state: &Arc<State>) {
        for stream in [&client, &server] {
            stream.set_nonblocking(false).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        }
        let generation = state.generation.load(Ordering::SeqCst);
        let connection = Arc::new(Self { client, server, over: AtomicBool::new(false), generation, state: state.clone() });
        let back = connection.clone();
        std::thread::spawn(move || connection.pump(&connection.client, &connection.server));
        std::thread::spawn(move || back.pump(&back.server, &back.client));
    }

    /// The sockets close when both directions have ended.
    fn pump(&self, mut from: &TcpStream, mut to: &TcpStream) {
        let mut buffer = vec![0; 16 << 10];
        let mut passed = 0;
        while !self.over.load(Ordering::SeqCst) && !self.state.ended.load(Ordering::SeqCst) {
            if self.generation != self.state.generation.load(Ordering::SeqCst) {
                return self.cut();
            }
            let mode = self.state.mode();
            if mode == Mode::Stall {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            let count = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
                Err(_) => break,
            };
            passed += count;
            let cut = matches!(mode, Mode::CutAfter(most) if passed > most);
            // Half of it arrives.
            let part = if cut { count / 2 } else { count };
            if to.write_all(&buffer[..part]).is_err() {
                break;
            }
            if cut {
                return self.cut();
            }
        }
        self.over.store(true, Ordering::SeqCst);
    }

    /// No time to linger: the other side gets a reset, not an end.
    fn cut(&self) {
        if !self.over.swap(true, Ordering::SeqCst) {
            self.state.cut.fetch_add(1, Ordering::SeqCst);
        }
        for stream in [&self.client, &self.server] {
            socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
}
