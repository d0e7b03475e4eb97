//! A Sentinel that says what a test wants it to: something else than others, or nothing.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::team::NAME;

/// What it names as the primary, how new that is, and which other Sentinels it knows of. Its port is its id.
#[derive(Default)]
struct Says {
    port: u16,
    epoch: u64,
    primary: u16,
    others: Vec<u16>,
    /// How often somebody has begun to listen.
    heard: u32,
    /// How often one who listened has gone.
    gone: u32,
}

pub struct Fake {
    port: u16,
    says: Arc<Mutex<Says>>,
    task: JoinHandle<()>,
}

impl Fake {
    pub async fn start(epoch: u64, primary: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let says = Arc::new(Mutex::new(Says { port, epoch, primary, ..Says::default() }));
        let task = tokio::spawn(serve(listener, Arc::clone(&says)));
        Fake { port, says, task }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Names another primary from now on, without telling anybody.
    pub fn say(&self, epoch: u64, primary: u16) {
        let mut says = self.says.lock().unwrap();
        (says.epoch, says.primary) = (epoch, primary);
    }

    /// Knows of other Sentinels from now on.
    pub fn knows(&self, others: &[u16]) {
        self.says.lock().unwrap().others = others.to_vec();
    }

    /// How often somebody has begun to listen.
    pub fn heard(&self) -> u32 {
        self.says.lock().unwrap().heard
    }

    /// How many listen now.
    pub fn listeners(&self) -> u32 {
        let says = self.says.lock().unwrap();
        says.heard - says.gone
    }

    /// Dies; its connections, too.
    pub async fn kill(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    /// Comes back.
    pub async fn start_again(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        self.task = tokio::spawn(serve(listener, Arc::clone(&self.says)));
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, says: Arc<Mutex<Says>>) {
    // Dropping the set ends them.
    let mut wires = JoinSet::new();
    while let Ok((wire, _)) = listener.accept().await {
        wires.spawn(answer(wire, Arc::clone(&says)));
    }
}

async fn answer(mut wire: TcpStream, says: Arc<Mutex<Says>>) {
    let (mut read, mut listens) = (String::new(), false);
    let mut buffer = [0; 4096];
    while let Ok(len @ 1..) = wire.read(&mut buffer).await {
        read.push_str(&String::from_utf8_lossy(&buffer[..len]));
        while let Some((command, used)) = command(&read) {
            read.drain(..used);
            listens |= command[0] == "SUBSCRIBE";
            let said = reply(&command, &mut says.lock().unwrap());
            if wire.write_all(said.as_bytes()).await.is_err() {
                break;
            }
        }
    }
    says.lock().unwrap().gone += u32::from(listens);
}

/// The words of a whole command, and how many bytes it takes.
fn command(read: &str) -> Option<(Vec<String>, usize)> {
    let mut at = 0;
    let mut line = || {
        let end = at + read[at..].find("\r\n")?;
        let line = &read[at..end];
        at = end + 2;
        Some(line)
    };
    let count: usize = line()?.strip_prefix('*')?.parse().ok()?;
    let words = (0..count).map(|_| line().and_then(|_| line()).map(str::to_owned)).collect::<Option<_>>()?;
    Some((words, at))
}

fn bulk(word: &str) -> String {
    format!("${}\r\n{word}\r\n", word.len())
}

fn list(words: &[&str]) -> String {
    let all: String = words.iter().map(|word| bulk(word)).collect();
    format!("*{}\r\n{all}", words.len())
}

fn reply(command: &[String], says: &mut Says) -> String {
    let words: Vec<_> = command.iter().map(String::as_str).collect();
    let (epoch, port) = (says.epoch.to_string(), says.primary.to_string());
    match words.as_slice() {
        ["SENTINEL", "MYID"] => bulk(&says.port.to_string()),
        ["SENTINEL", what, NAME] => match *what {
            "GET-MASTER-ADDR-BY-NAME" => list(&["127.0.0.1", &port]),
            "MASTER" => list(&["name", NAME, "config-epoch", &epoch]),
            _ => {
                let one = |port: &u16| {
                    let port = port.to_string();
                    list(&["ip", "127.0.0.1", "port", &port, "runid", &port])
                };
                format!("*{}\r\n{}", says.others.len(), says.others.iter().map(one).collect::<String>())
            }
        },
        ["SUBSCRIBE", channel] => {
            says.heard += 1;
            format!("*3\r\n$9\r\nsubscribe\r\n${}\r\n{channel}\r\n:1\r\n", channel.len())
        }
        ["PING"] => "*2\r\n$4\r\npong\r\n$0\r\n\r\n".into(),
        _ => "+OK\r\n".into(),
    }
}
