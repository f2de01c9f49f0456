//! How a command is signalled and ended, and a first process that does not answer.

use std::time::Duration;

use tokio::time::Instant as Moment;

use super::{One, START};
use crate::Cause;
use creel_jail::protocol::Request;
use creel_sys::signal;

impl One<'_> {
    pub(super) fn grace(&self) -> Duration {
        Duration::from_millis(self.plan.watch.grace)
    }

    /// Sends a signal to the command's process group.
    pub(super) fn signal(&self, number: i32) {
        let request = Request::Signal {
            command: self.place.number,
            number,
        };
        // A first process that takes no request is found by a deadline.
        let _ = self.keeper.jail.live.request(request, &[]);
    }

    pub(super) fn end_politely(&mut self, cause: Cause) {
        if self.keeper.paused.get() {
            // It cannot act on SIGTERM.
            return self.kill(cause);
        }
        self.cause = self.cause.or(Some(cause));
        self.signal(signal::TERM);
        self.signal(signal::CONT);
        self.deadline = Some(Moment::now() + self.grace());
    }

    pub(super) fn kill(&mut self, cause: Cause) {
        self.cause = self.cause.or(Some(cause));
        if !std::mem::replace(&mut self.woke, true) {
            self.keeper.wake();
        }
        self.signal(signal::KILL);
        self.sweep();
        // One kill is enough, and the deadline must not fire again at once.
        self.deadline = Some(Moment::now() + Duration::from_secs(1));
        self.answer_by = self.answer_by.or(Some(Moment::now() + START));
    }

    /// Pid 1 has not answered: a process of the jail has stopped it, or the child for which it waits. First the child
    /// is killed; if that does not help, the session is ended, since its first process holds requests that would run
    /// later, without an owner.
    pub(super) fn free_first(&mut self) {
        if self.keeper.paused.get() && !self.woke {
            // It cannot answer, and need not.
            self.answer_by = Some(Moment::now() + START);
            return;
        }
        let could_help = self.keeper.jail.live.kill_strays();
        if self.helped || !could_help {
            self.keeper.end("its first process did not answer", None);
            self.answer_by = None;
        } else {
            self.helped = true;
            self.answer_by = Some(Moment::now() + START);
        }
    }

    /// Kills every process of the command.
    pub(super) fn sweep(&self) {
        if let Some(branch) = &self.branch {
            branch.kill();
        }
    }

    /// It has ended: a paused session need not run for it any more.
    pub(super) fn rest(&mut self) {
        if std::mem::take(&mut self.woke) {
            self.keeper.rest();
        }
    }

    pub(super) fn was_ended(&self) -> bool {
        self.cause.is_some() || self.deadline.is_some() || self.keeper.over.get()
    }
}
