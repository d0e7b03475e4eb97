//! A link with a delay: a proxy that passes every byte on after a while, in both directions.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::Outcome;

/// Starts one before a port of this machine; answers its own. Its threads end with the connections, and the one
/// that takes new ones with the program.
pub(crate) fn before(port: u16, each_way: Duration) -> Outcome<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let own = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            // One that cannot be passed on is closed: the client sees that.
            let _ = pass_on(near, port, each_way);
        }
    });
    Ok(own)
}

fn pass_on(near: TcpStream, port: u16, delay: Duration) -> Outcome<()> {
    let far = TcpStream::connect(("127.0.0.1", port))?;
    for (from, to) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
        to.set_nodelay(true)?;
        let (late, soon) = mpsc::channel();
        std::thread::spawn(move || read(from, &late, delay));
        std::thread::spawn(move || write(to, &soon));
    }
    Ok(())
}

/// Threads, not tasks: a runtime's timers have steps of a millisecond, which is a twentieth of the link.
fn read(mut from: TcpStream, late: &mpsc::Sender<(Instant, Vec<u8>)>, delay: Duration) {
    let mut buffer = [0; 1 << 16];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        if late.send((Instant::now() + delay, buffer[..len].to_vec())).is_err() {
            return;
        }
    }
}

fn write(mut to: TcpStream, soon: &mpsc::Receiver<(Instant, Vec<u8>)>) {
    while let Ok((due, bytes)) = soon.recv() {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_takes_its_time_and_is_whole() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut far, _) = listener.accept().unwrap();
            let mut said = [0; 5];
            far.read_exact(&mut said).unwrap();
            far.write_all(&said).unwrap();
        });
        let own = before(port, Duration::from_millis(20)).unwrap();
        let mut near = TcpStream::connect(("127.0.0.1", own)).unwrap();
        let began = Instant::now();
        near.write_all(b"hallo").unwrap();
        let mut heard = Vec::new();
        near.read_to_end(&mut heard).unwrap();
        assert_eq!(heard, b"hallo");
        assert!(began.elapsed() >= Duration::from_millis(40));
    }
}
