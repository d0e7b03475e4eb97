//! Requests of many callers over one stream: all that are ready go out in one write, and the answers come back in
//! their order. One task has the stream; whoever asks only puts down a request, and wakes that task if it sleeps.
//!
//! Invariant: the bytes of a request and its place among those that wait are put down in one step, and answers are
//! taken in that order; so the n-th answer is that of the n-th request. Who is gone, or waits no longer, leaves its
//! place behind: its answer is read and dropped.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use redis::{RedisResult, Value};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::runtime::{self, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep, Timeout, timeout};

use super::fault::{Fault, late};
use super::reply::Replies;

/// So much is read at a time, at least.
const READ: usize = 8 << 10;
/// Buffers that have grown beyond this are not kept: what very many asked at once is not held while they wait.
const KEPT: usize = 64 << 10;
/// Nor is room for more requests than this.
const KEPT_ASKED: usize = 1 << 10;

/// The way to a stream. It is closed when the last of these is dropped.
#[derive(Clone)]
pub(super) struct Pipeline(Arc<Owner>);

struct Owner {
    desk: Arc<Desk>,
    task: JoinHandle<()>,
    /// Where that task lives.
    home: runtime::Id,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where callers put their requests down.
#[derive(Default)]
struct Desk(Mutex<OnDesk>);

#[derive(Default)]
struct OnDesk {
    /// What is to be sent.
    out: Vec<u8>,
    /// Who waits for the answers to that.
    asked: VecDeque<Asked>,
    /// The task, while it sleeps.
    sleeper: Option<Waker>,
    /// Why the stream is at its end.
    ended: Option<Fault>,
}

/// One request that waits for its answer.
struct Asked {
    /// `None` when nobody waits for it any more.
    answer: Option<oneshot::Sender<RedisResult<Value>>>,
    /// How long it waits at most, from when the task has it.
    limit: Option<Duration>,
    until: Option<Instant>,
    /// How many answers are to come before its last one, and those that have.
    before: usize,
    heard: Vec<Value>,
}

/// What a connection that subscribes does with each message, which is told its payload.
pub(super) type Hears = Box<dyn FnMut(&[u8]) + Send>;

/// The future of an answer.
pub(super) enum Asking {
    Waits(Answered),
    FromElsewhere(Pin<Box<Timeout<Answered>>>, Duration),
    InVain(Fault),
}

type Answered = oneshot::Receiver<RedisResult<Value>>;

impl Future for Asking {
    type Output = RedisResult<Value>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answered = match &mut *self {
            Asking::Waits(answered) => ready!(Pin::new(answered).poll(cx)),
            Asking::FromElsewhere(answered, limit) => match ready!(answered.as_mut().poll(cx)) {
                Ok(answered) => answered,
                Err(_) => return Poll::Ready(Err(late(*limit))),
            },
            Asking::InVain(fault) => return Poll::Ready(Err(fault.error())),
        };
        Poll::Ready(answered.unwrap_or_else(|_| Err(Fault::closed("its runtime has ended").error())))
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, OnDesk> {
        // Nothing panics while it is held, and it is whole at every step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a request down; says no at once where the stream has ended.
    fn put(&self, asked: Asked, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Fault> {
        let mut desk = self.lock();
        if let Some(fault) = &desk.ended {
            return Err(fault.clone());
        }
        write(&mut desk.out);
        desk.asked.push_back(asked);
        let sleeper = desk.sleeper.take();
        drop(desk);
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
        Ok(())
    }

    /// Nothing is put down any more. Answers who waits in vain.
    fn end(&self, fault: &Fault) -> VecDeque<Asked> {
        let mut desk = self.lock();
        desk.ended.get_or_insert_with(|| fault.clone());
        desk.out = Vec::new();
        std::mem::take(&mut desk.asked)
    }
}

impl Pipeline {
    /// Takes a stream over, with what is done with messages if it subscribes. Its task lives on the current runtime,
    /// as long as any of the ways to it.
    pub(super) fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        hears: Option<Hears>,
    ) -> Self {
        let desk = Arc::<Desk>::default();
        let mut carrier = Carrier {
            stream,
            desk: Arc::clone(&desk),
            sending: Vec::new(),
            sent: 0,
            heard: Vec::new(),
            read: 0,
            replies: Replies::default(),
            asked: VecDeque::new(),
            answered: 0,
            hears,
            stood_back: false,
            alarm: None,
            alarm_at: None,
        };
        let task = tokio::spawn(async move {
            let fault = poll_fn(|cx| carrier.carry(cx)).await;
            carrier.end(&fault);
        });
        Pipeline(Arc::new(Owner { desk, task, home: Handle::current().id() }))
    }

    /// Asks, by appending the request's bytes: it is on its way when this returns, and the future brings the answer. Without one within `limit`
    /// that ends with an error of its own, and the connection should not be used any more.
    ///
    /// Cancel safe: dropping the future leaves open whether the request was carried out.
    pub(super) fn ask(&self, limit: Option<Duration>, request: impl FnOnce(&mut Vec<u8>)) -> Asking {
        self.ask_all(1, limit, request)
    }

    /// Asks so many requests in one write, at least one. Of several the answers come as one list, errors among them.
    pub(super) fn ask_all(
        &self,
        count: usize,
        limit: Option<Duration>,
        request: impl FnOnce(&mut Vec<u8>),
    ) -> Asking {
        let (answer, answered) = oneshot::channel();
        let (before, heard) = (count - 1, Vec::new());
        let asked = Asked { answer: Some(answer), limit, until: None, before, heard };
        match (self.0.desk.put(asked, request), limit) {
            (Err(fault), _) => Asking::InVain(fault),
            // The task looks at the time itself. On another runtime that may stand still, or be gone.
            (Ok(()), Some(limit)) if !self.is_at_home() => {
                Asking::FromElsewhere(Box::pin(timeout(limit, answered)), limit)
            }
            (Ok(()), _) => Asking::Waits(answered),
        }
    }

    fn is_at_home(&self) -> bool {
        Handle::try_current().is_ok_and(|here| here.id() == self.0.home)
    }
}

/// The task that has the stream.
struct Carrier<S> {
    stream: S,
    desk: Arc<Desk>,
    /// What is being sent, and how much of it was.
    sending: Vec<u8>,
    sent: usize,
    /// What was heard, and how much of it was read.
    heard: Vec<u8>,
    read: usize,
    replies: Replies,
    /// Who waits, in the order of the requests.
    asked: VecDeque<Asked>,
    /// How many were answered at once, the last time: so many may well ask again at once.
    answered: usize,
    /// Where messages go: they are no answers.
    hears: Option<Hears>,
    /// Whether others were let go first.
    stood_back: bool,
    /// Wakes this task when the first of them has waited for too long.
    alarm: Option<Pin<Box<Sleep>>>,
    alarm_at: Option<Instant>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Carrier<S> {
    /// Sends and hears; ready when the stream is at its end.
    fn carry(&mut self, cx: &mut Context<'_>) -> Poll<Fault> {
        loop {
            // Both ways each time: whoever only writes to a peer that only writes waits for ever.
            if let Err(fault) = self.send(cx) {
                return Poll::Ready(fault);
            }
            match self.hear(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(fault)) => return Poll::Ready(fault),
                Poll::Pending => break,
            }
        }
        self.watch_the_time(cx);
        Poll::Pending
    }

    /// Sends what is ready, all of it in one write.
    fn send(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        loop {
            self.take_from_desk(cx);
            if self.sent == self.sending.len() {
                return Ok(());
            }
            match Pin::new(&mut self.stream).poll_write(cx, &self.sending[self.sent..]) {
                Poll::Ready(Ok(0)) => return Err(Fault::closed("it takes nothing more")),
                Poll::Ready(Ok(count)) if self.sent + count == self.sending.len() => {
                    self.sending.clear();
                    self.sending.shrink_to(KEPT);
                    self.sent = 0;
                }
                Poll::Ready(Ok(count)) => self.sent += count,
                Poll::Ready(Err(error)) => return Err(error.into()),
                Poll::Pending => return Ok(()),
            }
        }
    }

    fn take_from_desk(&mut self, cx: &mut Context<'_>) {
        let mut desk = self.desk.lock();
        if desk.asked.is_empty() {
            desk.sleeper = Some(cx.waker().clone());
            return;
        }
        // Those that were just answered are about to ask again, and where some wait others may come; a scheduler may
        // run this task before them. To stand behind them once costs little, and is worth a write for all of them.
        let crowd = if self.asked.is_empty() { self.answered } else { usize::MAX };
        if desk.asked.len() < crowd && !std::mem::replace(&mut self.stood_back, true) {
            cx.waker().wake_by_ref();
            return;
        }
        self.stood_back = false;
        if self.sending.is_empty() {
            std::mem::swap(&mut self.sending, &mut desk.out);
        } else {
            self.sending.append(&mut desk.out);
            desk.out.shrink_to(KEPT);
        }
        let first = self.asked.len();
        if first == 0 {
            std::mem::swap(&mut self.asked, &mut desk.asked);
        } else {
            self.asked.append(&mut desk.asked);
            desk.asked.shrink_to(KEPT_ASKED);
        }
        desk.sleeper = Some(cx.waker().clone());
        drop(desk);
        let now = Instant::now();
        for asked in self.asked.range_mut(first..) {
            asked.until = asked.limit.map(|limit| now + limit);
            if let Some(until) = asked.until
                && self.alarm_at.is_none_or(|at| until < at)
            {
                self.alarm_at = Some(until);
                match &mut self.alarm {
                    Some(alarm) => alarm.as_mut().reset(until),
                    None => self.alarm = Some(Box::pin(tokio::time::sleep_until(until))),
                }
            }
        }
    }

    /// Hears what there is, and answers.
    fn hear(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        // What is left is moved to the front at times, which costs less than all that was read since.
        if self.read == self.heard.len() || self.read > KEPT {
            self.heard.drain(..self.read);
            self.heard.shrink_to(KEPT);
            self.read = 0;
        }
        self.heard.reserve(READ);
        let heard = match pin!(self.stream.read_buf(&mut self.heard)).poll(cx) {
            Poll::Ready(Ok(0)) => Err(Fault::closed("the server closed it")),
            Poll::Ready(Ok(_)) => Ok(()),
            Poll::Ready(Err(error)) => Err(error.into()),
            Poll::Pending => return Poll::Pending,
        };
        Poll::Ready(heard.and_then(|()| self.answer()))
    }

    fn answer(&mut self) -> Result<(), Fault> {
        let mut answered = 0;
        loop {
            let (reply, read) = self.replies.next(&self.heard[self.read..]).map_err(Fault::Nonsense)?;
            self.read += read;
            let Some(reply) = reply else { break };
            if let Some(hears) = &mut self.hears
                && let Some(payload) = message(&reply)
            {
                hears(payload);
                continue;
            }
            if let Some(asked) = self.asked.front_mut()
                && asked.before > 0
            {
                asked.before -= 1;
                asked.heard.push(reply);
                continue;
            }
            let Some(mut asked) = self.asked.pop_front() else {
                // Invariant: what was not asked for is never taken for the answer to what is asked next.
                return Err(match reply {
                    Value::ServerError(said) => Fault::closed(&format!("the server said, unasked: {said}")),
                    _ => Fault::Nonsense("it answers what was not asked".into()),
                });
            };
            answered += 1;
            if let Some(answer) = asked.answer {
                let reply = match reply {
                    reply if !asked.heard.is_empty() => {
                        asked.heard.push(reply);
                        Ok(Value::Array(asked.heard))
                    }
                    Value::ServerError(said) => Err(said.into()),
                    reply => Ok(reply),
                };
                // An error means that nobody waits for it any more.
                let _ = answer.send(reply);
            }
        }
        self.answered = answered;
        if self.asked.is_empty() {
            self.asked.shrink_to(KEPT_ASKED);
        }
        Ok(())
    }

    /// Tells those that have waited for too long.
    fn watch_the_time(&mut self, cx: &mut Context<'_>) {
        let (Some(alarm), Some(_)) = (&mut self.alarm, self.alarm_at) else { return };
        while alarm.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let mut next = None;
            for asked in self.asked.iter_mut().filter(|asked| asked.answer.is_some()) {
                match (asked.until, asked.limit) {
                    (Some(until), Some(limit)) if until <= now => {
                        let answer = asked.answer.take();
                        answer.map(|answer| answer.send(Err(late(limit))));
                    }
                    (until, _) => next = next.into_iter().chain(until).min(),
                }
            }
            self.alarm_at = next;
            match next {
                Some(next) => alarm.as_mut().reset(next),
                None => return,
            }
        }
    }
}

/// The payload of a message, as a connection that subscribes hears it: no answer to what is asked there begins like that.
fn message(said: &Value) -> Option<&[u8]> {
    match said {
        Value::Array(parts) => match &parts[..] {
            [Value::BulkString(kind), _, Value::BulkString(payload)] if kind == b"message" => Some(payload),
            _ => None,
        },
        _ => None,
    }
}

impl<S> Carrier<S> {
    /// Tells everybody why there is no answer.
    fn end(&mut self, fault: &Fault) {
        let unsent = self.desk.end(fault);
        for asked in self.asked.drain(..).chain(unsent) {
            if let Some(answer) = asked.answer {
                let _ = answer.send(Err(fault.error()));
            }
        }
    }
}

impl<S> Drop for Carrier<S> {
    // Its runtime may end before its callers do.
    fn drop(&mut self) {
        self.end(&Fault::closed("its runtime has ended"));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::mpsc;

    use tokio::io::{AsyncWriteExt, DuplexStream, ReadBuf, duplex};
    use tokio::runtime::Builder;
    use tokio::task::JoinSet;

    use super::*;
    use crate::store::redis::command::Cmd;

    const SOON: Duration = Duration::from_secs(20);

    fn ping(word: usize) -> impl FnOnce(&mut Vec<u8>) {
        move |out| Cmd::new("PING").arg(word).write(out)
    }

    fn pair() -> (Pipeline, DuplexStream) {
        let (here, there) = duplex(1 << 16);
        (Pipeline::over(here, None), there)
    }

    /// Reads so many requests.
    async fn requests(server: &mut DuplexStream, count: usize) {
        let mut said = Vec::new();
        while said.windows(4).filter(|some| *some == b"PING").count() < count {
            assert!(server.read_buf(&mut said).await.unwrap() > 0);
        }
        let whole = said.windows(2).filter(|some| *some == b"\r\n").count() == 5 * count;
        assert!(whole, "{:?}", String::from_utf8_lossy(&said));
    }

    async fn told<T>(waiting: impl Future<Output = T>) -> T {
        tokio::time::timeout(SOON, waiting).await.unwrap()
    }

    #[tokio::test]
    async fn each_gets_its_own_answer_though_others_are_gone() {
        let (pipeline, mut server) = pair();
        let mut asked: Vec<_> = (0..5).map(|word| Some(pipeline.ask(Some(SOON), ping(word)))).collect();
        asked[1] = None; // before it was sent
        requests(&mut server, 5).await;
        asked[3] = None; // and after
        server.write_all(b":0\r\n:1\r\n:2\r\n:3\r\n-ERR no\r\n").await.unwrap();
        for (word, asked) in asked.into_iter().enumerate() {
            match asked.map(|asked| async { told(asked).await }) {
                Some(answer) if word == 4 => assert_eq!(answer.await.unwrap_err().detail(), Some("no")),
                Some(answer) => assert_eq!(answer.await.unwrap(), Value::Int(word as i64)),
                None => {}
            }
        }
    }

    #[tokio::test]
    async fn who_waits_for_too_long_is_told_and_the_next_one_gets_its_own_answer() {
        let (pipeline, mut server) = pair();
        let patient = pipeline.ask(Some(SOON), ping(0));
        let late = pipeline.ask(Some(Duration::from_millis(20)), ping(1));
        let after = pipeline.ask(None, ping(2));
        let error = told(late).await.unwrap_err();
        assert!(error.is_timeout() && error.to_string().contains("no answer within 20ms"), "{error}");
        server.write_all(b":0\r\n:1\r\n:2\r\n").await.unwrap();
        assert_eq!(
            (told(patient).await.unwrap(), told(after).await.unwrap()),
            (Value::Int(0), Value::Int(2))
        );
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_keeps_nobody_waiting() {
        let (here, _there) = duplex(16);
        let pipeline = Pipeline::over(here, None);
        for _ in 0..3 {
            let asked = pipeline.ask(Some(Duration::from_millis(20)), ping(0));
            assert!(told(asked).await.unwrap_err().is_timeout());
        }
    }

    #[tokio::test]
    async fn an_answer_that_nobody_asked_for_is_nobodys() {
        let (pipeline, mut server) = pair();
        let first = pipeline.ask(Some(SOON), ping(0));
        server.write_all(b":0\r\n:1\r\n").await.unwrap();
        assert_eq!(told(first).await.unwrap(), Value::Int(0));
        let error = told(pipeline.ask(Some(SOON), ping(1))).await.unwrap_err();
        assert!(error.to_string().contains("not asked"), "{error}");
    }

    #[tokio::test]
    async fn messages_between_answers_are_no_answers() {
        let (here, mut server) = duplex(1 << 16);
        let (said, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let hears: Hears = Box::new(move |payload| said.send(payload.to_vec()).unwrap());
        let pipeline = Pipeline::over(here, Some(hears));
        let asked = [0, 1, 2].map(|word| pipeline.ask(Some(SOON), ping(word)));
        let message =
            |payload: &str| format!("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n${}\r\n{payload}\r\n", payload.len());
        let pong = "*2\r\n$4\r\npong\r\n$0\r\n\r\n";
        let subscribed = "*3\r\n$9\r\nsubscribe\r\n$7\r\nmessage\r\n:1\r\n";
        let all = [
            &*message("a"),
            subscribed,
            &message("b"),
            &message("message"),
            "-ERR no\r\n",
            pong,
            &message(""),
        ];
        // However the bytes are cut.
        for some in all.concat().as_bytes().chunks(5) {
            server.write_all(some).await.unwrap();
            tokio::task::yield_now().await;
        }
        let [first, second, third] = asked;
        let Value::Array(parts) = told(first).await.unwrap() else { panic!("no list") };
        assert_eq!(parts[2], Value::Int(1));
        assert_eq!(told(second).await.unwrap_err().detail(), Some("no"));
        assert!(matches!(told(third).await.unwrap(), Value::Array(parts) if parts.len() == 2));
        for payload in ["a", "b", "message", ""] {
            assert_eq!(told(heard.recv()).await.unwrap(), payload.as_bytes());
        }
        // Whoever lets go of it hears nothing more.
        drop(pipeline);
        assert_eq!(told(heard.recv()).await, None);
    }

    #[tokio::test]
    async fn the_end_is_told_to_all_and_nothing_is_asked_after_it() {
        let (pipeline, server) = pair();
        let asked = [pipeline.ask(None, ping(0)), pipeline.ask(Some(SOON), ping(1))];
        drop(server);
        for asked in asked {
            assert!(told(asked).await.unwrap_err().is_io_error());
        }
        assert!(told(pipeline.ask(None, ping(2))).await.unwrap_err().is_io_error());
        // And the last that let go of it closes it.
        let (pipeline, mut server) = pair();
        let other = pipeline.clone();
        drop(pipeline);
        drop(other.ask(None, ping(0)));
        requests(&mut server, 1).await;
        drop(other);
        assert_eq!(told(server.read(&mut [0])).await.unwrap(), 0);
    }

    #[test]
    fn a_runtime_that_stands_still_or_ends_keeps_nobody_of_another_waiting() {
        let runtime = || Builder::new_current_thread().enable_all().build().unwrap();
        let ((give, take), (release, held)) = (mpsc::channel(), mpsc::channel::<()>());
        let blocked = std::thread::spawn(move || {
            runtime().block_on(async {
                let (pipeline, server) = pair();
                give.send(pipeline).unwrap();
                let _ = held.recv(); // blocks the runtime
                drop(server);
            });
        });
        let pipeline = take.recv().unwrap();
        runtime().block_on(async {
            let late = pipeline.ask(Some(Duration::from_millis(20)), ping(0));
            assert!(told(late).await.unwrap_err().is_timeout());
            let ends = pipeline.ask(Some(SOON), ping(1));
            drop(release);
            assert!(told(ends).await.unwrap_err().is_io_error());
        });
        blocked.join().unwrap();
    }

    /// How many writes it takes when 64 tasks ask ten times each, of a server that answers all it reads at once.
    async fn writes() -> usize {
        let ((here, mut server), gate) = (duplex(1 << 16), Arc::<Gate>::default());
        gate.open();
        let pipeline = Pipeline::over(Gated(here, Arc::clone(&gate)), None);
        let answering = tokio::spawn(async move {
            // Room for all of them, so that none is cut in two.
            let mut said = Vec::with_capacity(1 << 16);
            while server.read_buf(&mut said).await.is_ok_and(|read| read > 0) {
                let asked = said.windows(4).filter(|some| *some == b"PING").count();
                said.clear();
                // It is some way off, as servers are.
                tokio::time::sleep(Duration::from_millis(1)).await;
                server.write_all(&b":1\r\n".repeat(asked)).await.unwrap();
            }
        });
        let mut all = JoinSet::new();
        for task in 0..64 {
            let pipeline = pipeline.clone();
            all.spawn(async move {
                for _ in 0..10 {
                    assert_eq!(told(pipeline.ask(None, ping(task))).await.unwrap(), Value::Int(1));
                }
            });
        }
        while let Some(done) = all.join_next().await {
            done.unwrap();
        }
        drop(pipeline);
        told(answering).await.unwrap();
        gate.writes.load(Ordering::SeqCst)
    }

    #[tokio::test]
    async fn what_is_ready_goes_out_in_one_write() {
        let writes = writes().await;
        assert!(writes <= 12, "{writes} writes for ten rounds of 64 requests");
    }

    /// A stream that takes something only while its gate is open, and counts the writes.
    struct Gated(DuplexStream, Arc<Gate>);

    #[derive(Default)]
    struct Gate {
        open: AtomicBool,
        kept_out: Mutex<Option<Waker>>,
        writes: AtomicUsize,
    }

    impl Gate {
        fn open(&self) {
            self.open.store(true, Ordering::SeqCst);
            let kept_out = self.kept_out.lock().unwrap().take();
            kept_out.into_iter().for_each(Waker::wake);
        }
    }

    impl AsyncWrite for Gated {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            // Before the look, so that whoever opens it afterwards finds this.
            *self.1.kept_out.lock().unwrap() = Some(cx.waker().clone());
            if !self.1.open.load(Ordering::SeqCst) {
                return Poll::Pending;
            }
            self.1.writes.fetch_add(1, Ordering::SeqCst);
            Pin::new(&mut self.0).poll_write(cx, buf)
        }
        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }
        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    impl AsyncRead for Gated {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buf)
        }
    }

    /// Which thread is run when decides nothing here: the stream takes nothing until all 64 have put their request
    /// down, and what is ready then goes out as what was taken before and what was not.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn what_is_ready_goes_out_in_few_writes_from_many_threads() {
        const TASKS: usize = 64;
        const ROUNDS: usize = 10;
        let ((here, mut server), gate) = (duplex(1 << 16), Arc::<Gate>::default());
        let pipeline = Pipeline::over(Gated(here, Arc::clone(&gate)), None);
        let (closes, asked) = (Arc::clone(&gate), Arc::new(AtomicUsize::new(0)));
        let answering = tokio::spawn(async move {
            for _ in 0..ROUNDS {
                requests(&mut server, TASKS).await;
                closes.open.store(false, Ordering::SeqCst);
                server.write_all(&b":1\r\n".repeat(TASKS)).await.unwrap();
            }
        });
        let mut all = JoinSet::new();
        for task in 0..TASKS {
            let (pipeline, gate, asked) = (pipeline.clone(), Arc::clone(&gate), Arc::clone(&asked));
            all.spawn(async move {
                for _ in 0..ROUNDS {
                    let answer = pipeline.ask(None, ping(10 + task % 10));
                    if (asked.fetch_add(1, Ordering::SeqCst) + 1).is_multiple_of(TASKS) {
                        gate.open();
                    }
                    assert_eq!(told(answer).await.unwrap(), Value::Int(1));
                }
            });
        }
        while let Some(done) = all.join_next().await {
            done.unwrap();
        }
        told(answering).await.unwrap();
        let writes = gate.writes.load(Ordering::SeqCst);
        assert!(writes <= 2 * ROUNDS, "{writes} writes for {ROUNDS} rounds of {TASKS} requests");
    }
}
