//! Releasing a key and asking for it again in one step: the holder goes to the end of the line.
//!
//! The script of a release does it on its short way, where it hands the key over to the next in line anyway. Whatever it
//! answers else (nobody waits, or somebody watches) is the answer to a release, and the request is asked as any other.

use super::command::Cmd;
use super::{RedisStore, answer, pack, three};
use crate::error::{Error, Result};
use crate::name::Ticket;
use crate::protocol::{Answer, Mode, Released, Request, Want, Who};
use crate::store::{Reply, Rotated, Store, rotate_in_two_steps};

impl RedisStore {
    /// See [`Store::rotate`].
    pub(super) async fn rotate_at_once(&self, held: Ticket, request: &Request) -> Result<Rotated> {
        let simple = request.want == Want::Lock && request.mode == Mode::Line && request.ticket != held;
        // Whoever may stand in line already has to be looked for there.
        if !simple || self.hub.listen_on(request.ticket, &request.key).ok_or(Error::Closed)?.is_some() {
            return rotate_in_two_steps(self, held, request).await;
        }
        let shard = self.shard(&request.key);
        self.ears.hears(shard, self.options.give_up).await?;
        let names = self.names(&request.key);
        let waiter = pack::waiter(request, self.session);
        let most = request.max_waiting.map_or(pack::NEVER, pack::bounded);
        let build = |cmd: &mut Cmd, again: bool| {
            let (whose, which) = pack::meant(&Who::Ticket(held), self.session, again);
            three(cmd.arg(3), &names);
            // It joins the line only in the step that ends the lease, so not twice, however often it is asked.
            cmd.arg(&whose[..]).arg(&which[..]).arg(&waiter).arg(most);
        };
        let mut answered = self.way.call_in_time(shard, &self.scripts.release, &build).await?;
        if let Some((token, now, queued)) = answer::rotated(&answered.value) {
            self.way.read(&answered, now);
            self.hub.stands_at(request.ticket, queued.place);
            let answer = Answer::Queued(queued);
            self.busy.heard(&request.key, &answer);
            return Ok(Rotated::Asked(token, Ok(Reply::new(answer, answered.sent, now))));
        }
        match (self.read(answer::released(answered.take()))?, answered.unsure) {
            // An earlier try may have been carried out, or the lease had ended before.
            (Released::NotHeld(_), Some(why)) => {
                Err(Error::Unknown { verb: "release", key: request.key.clone(), why })
            }
            (Released::NotHeld(holding), None) => {
                self.hub.forget(request.ticket);
                Ok(Rotated::NotHeld(holding))
            }
            (Released::Released { token }, _) => {
                // It stands in no line, so it need not be looked for there.
                self.hub.forget(request.ticket);
                Ok(Rotated::Asked(token, self.acquire(request).await))
            }
        }
    }
}
