//! One connection through a faulty wire: a thread for each direction.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::faulty_wire::Shared;
use super::wire_faults::WireFault;

/// One connection.
#[derive(Clone)]
pub(super) struct Pipe {
    wire: Arc<Shared>,
    number: u64,
    /// What is to happen to the next reply.
    owed: Arc<Mutex<Option<WireFault>>>,
}

impl Pipe {
    /// Joins both ends. The threads end with either end, and when the wire cuts it.
    pub(super) fn open(
        wire: &Arc<Shared>,
        number: u64,
        client: TcpStream,
        server: TcpStream,
    ) -> io::Result<()> {
        for end in [&client, &server] {
            end.set_nodelay(true)?;
        }
        let (from_client, from_server) = (client.try_clone()?, server.try_clone()?);
        let ends = [client.try_clone()?, server.try_clone()?];
        if !wire.opened(number, ends) {
            return Ok(());
        }
        let there = Pipe { wire: Arc::clone(wire), number, owed: Arc::default() };
        let back = there.clone();
        std::thread::spawn(move || {
            let _ = there.there(from_client, server);
            there.wire.close(number);
        });
        std::thread::spawn(move || {
            let _ = back.back(from_server, client);
            back.wire.close(number);
        });
        Ok(())
    }

    fn owed(&self) -> std::sync::MutexGuard<'_, Option<WireFault>> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn there(&self, mut client: TcpStream, mut server: TcpStream) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        while let len @ 1.. = client.read(&mut buffer)? {
            self.wire.count(|counts| counts.requests += 1);
            let (fault, mut late) = {
                let mut state = self.wire.state();
                (state.plan.request(&buffer[..len]), state.delay[0])
            };
            match fault {
                Some(WireFault::CutRequest) => {
                    self.cut();
                    return Ok(());
                }
                Some(WireFault::LateRequest(more)) => {
                    self.wire.count(|counts| counts.late += 1);
                    late += more;
                }
                // Invariant: noted before the request is on its way, so that no reply overtakes it.
                Some(fault) => *self.owed() = Some(fault),
                None => {}
            }
            if !self.wire.pass(self.number, late) {
                return Ok(());
            }
            server.write_all(&buffer[..len])?;
        }
        Ok(())
    }

    fn back(&self, mut server: TcpStream, mut client: TcpStream) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        let mut silent = false;
        while let len @ 1.. = server.read(&mut buffer)? {
            if silent {
                continue;
            }
            let (fault, delay) = {
                let mut state = self.wire.state();
                (self.owed().take().or_else(|| state.plan.reply(&buffer[..len])), state.delay[1])
            };
            let (passes, late) = match fault {
                None => (len, Duration::ZERO),
                Some(WireFault::LateRequest(late) | WireFault::LateReply(late)) => {
                    self.wire.count(|counts| counts.late += 1);
                    (len, late)
                }
                Some(WireFault::CutInReply(bytes)) => (bytes.min(len), Duration::ZERO),
                Some(WireFault::CutRequest | WireFault::CutReply | WireFault::Silence) => (0, Duration::ZERO),
            };
            if passes > 0 {
                if !self.wire.pass(self.number, delay + late) {
                    return Ok(());
                }
                client.write_all(&buffer[..passes])?;
            }
            match fault {
                Some(WireFault::Silence) => {
                    silent = true;
                    self.wire.count(|counts| counts.silenced += 1);
                }
                Some(WireFault::CutRequest | WireFault::CutReply | WireFault::CutInReply(_)) => {
                    self.cut();
                    return Ok(());
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn cut(&self) {
        // Counted first, so that whoever sees the end sees the count.
        self.wire.count(|counts| counts.cut += 1);
        self.wire.close(self.number);
    }
}
