//! A wire that fails, before any server.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use super::wire_faults::{WireCounts, WireFault, WirePlan};
use super::wire_pipe::Pipe;

/// How long the server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// A TCP proxy on 127.0.0.1, before any server. It passes everything on until it is told otherwise: to cut, to stall, to
/// turn away, to delay, or to do something to the next request that contains some bytes, or by seed to any. It
/// works on threads of its own, so it needs no runtime, and a blocked one does not stop it. It ends with its drop.
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::{TcpListener, TcpStream};
/// use soloist::testing::{FaultyWire, WireFault};
///
/// // A server that says "yes" to everything.
/// let server = TcpListener::bind("127.0.0.1:0")?;
/// let wire = FaultyWire::before(server.local_addr()?)?;
/// std::thread::spawn(move || {
///     for mut client in server.incoming().flatten() {
///         while matches!(client.read(&mut [0; 64]), Ok(1..)) {
///             let _ = client.write_all(b"yes");
///         }
///     }
/// });
///
/// let mut client = TcpStream::connect(wire.addr())?;
/// let mut answer = [0; 3];
/// client.write_all(b"first?")?;
/// client.read_exact(&mut answer)?;
/// assert_eq!(&answer, b"yes");
///
/// // The second request arrives, and its reply is cut off after one byte.
/// wire.on_request(b"second", WireFault::CutInReply(1));
/// client.write_all(b"second?")?;
/// assert_eq!(client.read_to_end(&mut Vec::new())?, 1);
/// assert_eq!(wire.counts().cut, 1);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct FaultyWire {
    addr: SocketAddr,
    shared: Arc<Shared>,
    door: Option<JoinHandle<()>>,
}

/// What the wire and its connections know together.
pub(super) struct Shared {
    state: Mutex<State>,
    /// Told whenever a connection that waits has to look again.
    changed: Condvar,
    counts: watch::Sender<WireCounts>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) plan: WirePlan,
    /// There, and back.
    pub(super) delay: [Duration; 2],
    pub(super) stalled: bool,
    refusing: bool,
    ended: bool,
    /// Both ends of every connection.
    open: Vec<(u64, [TcpStream; 2])>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl FaultyWire {
    /// A wire that leads to a server: `127.0.0.1:6379`, or `("127.0.0.1", port)`.
    ///
    /// # Errors
    /// What the system says about the address, or about a port for the wire.
    pub fn before(server: impl ToSocketAddrs) -> io::Result<Self> {
        let server = server.to_socket_addrs()?.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let addr = listener.local_addr()?;
        let (state, changed) = (Mutex::default(), Condvar::new());
        let counts = watch::channel(WireCounts::default()).0;
        let shared = Arc::new(Shared { state, changed, counts });
        let door = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.accept(&listener, server))
        };
        Ok(FaultyWire { addr, shared, door: Some(door) })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `redis://127.0.0.1:PORT`, for a wire before a Redis server.
    pub fn url(&self) -> String {
        format!("redis://{}", self.addr)
    }

    /// Cuts all connections that stand; answers how many.
    pub fn cut(&self) -> usize {
        let open = std::mem::take(&mut self.shared.state().open);
        for (_, ends) in &open {
            shut(ends);
        }
        self.shared.changed.notify_all();
        self.shared.count(|counts| counts.cut += open.len() as u64);
        open.len()
    }

    /// Whether new connections are turned away.
    pub fn refuse(&self, refuse: bool) {
        self.shared.state().refusing = refuse;
    }

    /// Whether nothing passes, in either direction, and nobody is told: as when a cable is pulled. New connections are
    /// made, and silent. What was held back arrives when the stall ends.
    pub fn stall(&self, stall: bool) {
        self.shared.state().stalled = stall;
        self.shared.changed.notify_all();
    }

    /// By how much everything is late on its way to the server, and back.
    pub fn delay(&self, there: Duration, back: Duration) {
        self.shared.state().delay = [there, back];
    }

    /// What happens to the next request that contains these bytes (none: to any), once what was planned before has
    /// happened. What a server sends in answer to several requests at once is their reply together.
    pub fn on_request(&self, contains: &[u8], fault: WireFault) {
        self.shared.state().plan.on_request.push_back((contains.to_vec(), fault));
    }

    /// What happens when the server next says something that contains these bytes, asked or not: a message to a
    /// subscriber. [`WireFault::CutRequest`] is a cut here as well.
    pub fn on_reply(&self, contains: &[u8], fault: WireFault) {
        self.shared.state().plan.on_reply.push_back((contains.to_vec(), fault));
    }

    /// Has something happen to so many of a thousand requests, by seed: cuts, silence, delays of up to half a second.
    /// A rate of 0 ends it. On real connections the order of the requests is the system's, so a run is like another
    /// of the same seed, not the same.
    pub fn weather(&self, seed: u64, rate: u16) {
        self.shared.state().plan.weather = (rate > 0).then_some((seed, rate));
    }

    /// What it did so far.
    pub fn counts(&self) -> WireCounts {
        *self.shared.counts.borrow()
    }

    /// The same, to wait for: `wire.watch().wait_for(|counts| counts.cut == 1).await`.
    pub fn watch(&self) -> watch::Receiver<WireCounts> {
        self.shared.counts.subscribe()
    }
}

impl Drop for FaultyWire {
    fn drop(&mut self) {
        self.shared.state().ended = true;
        self.cut();
        // Whoever knocks wakes the door, which then sees that it is over.
        let _ = TcpStream::connect(self.addr);
        if let Some(door) = self.door.take() {
            let _ = door.join();
        }
    }
}

pub(super) fn shut(ends: &[TcpStream; 2]) {
    for end in ends {
        let _ = end.shutdown(Shutdown::Both);
    }
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut WireCounts)) {
        self.counts.send_modify(change);
    }

    /// Takes connections until the wire ends.
    fn accept(self: &Arc<Self>, listener: &TcpListener, server: SocketAddr) {
        for (number, client) in (0..).zip(listener.incoming()) {
            let (ended, refusing) = {
                let state = self.state();
                (state.ended, state.refusing)
            };
            if ended {
                return;
            }
            let Ok(client) = client else { continue };
            self.count(|counts| {
                counts.connections += 1;
                counts.refused += u64::from(refusing);
            });
            if refusing {
                continue;
            }
            // Nobody there: the client is told by the end of its connection.
            let Ok(server) = TcpStream::connect_timeout(&server, CONNECT) else { continue };
            let _ = Pipe::open(self, number, client, server);
        }
    }

    /// Notes a connection; `false` if the wire has ended meanwhile.
    pub(super) fn opened(&self, number: u64, ends: [TcpStream; 2]) -> bool {
        let mut state = self.state();
        if !state.ended {
            state.open.push((number, ends));
        }
        !state.ended
    }

    /// Ends a connection; answers whether it stood.
    pub(super) fn close(&self, number: u64) -> bool {
        let mut state = self.state();
        let at = state.open.iter().position(|(open, _)| *open == number);
        if let Some(at) = at {
            shut(&state.open.swap_remove(at).1);
        }
        drop(state);
        self.changed.notify_all();
        at.is_some()
    }

    /// Waits for so long, and while nothing passes; `false` when the connection has ended meanwhile.
    pub(super) fn pass(&self, number: u64, late: Duration) -> bool {
        let is_open = |state: &State| state.open.iter().any(|(open, _)| *open == number);
        let mut state = self.state();
        if !late.is_zero() {
            let waited = self.changed.wait_timeout_while(state, late, |state| is_open(state));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let held = self.changed.wait_while(state, |state| state.stalled && is_open(state));
        is_open(&held.unwrap_or_else(PoisonError::into_inner))
    }
}
