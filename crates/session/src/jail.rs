//! The loop of a jail: its end, its janitor (the process that watches deny mounts), its memory and
//! processor time, its relay, and the messages of its first process.
//!
//! The loop ends when the jail has ended. It passes pid 1's messages about a command to the command's own
//! loop.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};

use super::egress::{self, Egress};
use super::events::{ready_or_never, until};
use super::throttled::Throttled;
use super::uncharged::Uncharged;
use super::{Cause, SuperviseError};
use creel_egress::relay::Relay;
use creel_jail::janitor::{Janitor, Told, Uncovered, Unguarded};
use creel_jail::protocol::{DISKS, LENGTH, Message, Stumble};
use creel_jail::step::STDIN;
use creel_jail::{JailError, Live};
use creel_sys::process::{Change, Usage};
use creel_sys::socket::{self, Wait};
use creel_sys::{Errno, readiness};

/// The interval at which the cpu time of a whole jail is read, if a cgroup counts it.
const CPU_TICK: Duration = Duration::from_millis(100);
/// The longest time without a look, however short the commands of a session are.
const IDLE_LOOK: Duration = Duration::from_secs(1);
/// So many ticks a jail is still checked when it does nothing any more, and then at each of so many: a check may
/// have been put off, what was sent still arrives, and others can connect to a jail.
const IDLE_TICKS: u32 = 10;

/// A jail under supervision: the state that its loop and its command's loop share.
pub struct Jail {
    pub live: Live,
    cause: Cell<Option<Cause>>,
    /// When the jail is killed.
    deadline: Cell<Option<Instant>>,
    /// The deadline was set.
    hurried: Notify,
    asking: Cell<bool>,
    /// A command may run: memory and processor time are watched.
    busy: Cell<bool>,
    mails: RefCell<BTreeMap<u32, Rc<Mail>>>,
    /// The socket of the client in a jail that stays, until its keeper takes it.
    pub client: Cell<Option<OwnedFd>>,
}

/// Pid 1's messages about one command, until the command's loop takes them.
#[derive(Default)]
pub struct Mail {
    letters: Cell<Vec<Said>>,
    came: Notify,
}

/// A message of pid 1 about a command.
pub enum Said {
    /// The master of the command's terminal.
    Terminal(OwnedFd),
    NotExecuted(Errno, Stumble),
    Started,
    Stopped,
    /// An act on a name: its error, and the opened file.
    FileDone(Option<Errno>, Option<OwnedFd>),
    /// Only of a command in a jail that stays.
    Ended(CommandEnd),
}

/// How a command in a jail that stays has ended.
#[derive(Debug, Clone, Copy)]
pub struct CommandEnd {
    pub change: Change,
    pub disks: [[u32; 2]; DISKS],
    /// Milliseconds, as RLIMIT_CPU counts them.
    pub cpu: u32,
    pub usage: Usage,
}

impl Mail {
    /// Returns when a message may have come, or when the result of [`Jail::is_asking`] has changed.
    pub async fn came(&self) {
        self.came.notified().await;
    }

    pub fn take(&self) -> Vec<Said> {
        self.letters.take()
    }

    pub fn put(&self, said: Said) {
        let mut letters = self.letters.take();
        letters.push(said);
        self.letters.set(letters);
        self.came.notify_one();
    }
}

impl Jail {
    pub fn new(live: Live) -> Jail {
        Jail {
            live,
            cause: Cell::new(None),
            deadline: Cell::new(None),
            hurried: Notify::new(),
            asking: Cell::new(false),
            busy: Cell::new(true),
            mails: RefCell::default(),
            client: Cell::default(),
        }
    }

    /// Whether a command may run. In a session without one only pid 1 is left, and a thousand idle sessions must cost
    /// nothing.
    pub fn is_busy(&self, busy: bool) {
        self.busy.set(busy);
        self.hurried.notify_one();
    }

    /// The messages about a command from now on.
    pub fn mail_of(&self, command: u32) -> Rc<Mail> {
        Rc::clone(self.mails.borrow_mut().entry(command).or_default())
    }

    /// Drops messages about a command from now on.
    pub fn forget(&self, command: u32) {
        self.mails.borrow_mut().remove(&command);
    }

    /// Puts a message where somebody waits for it.
    fn post(&self, command: u32, said: Said) {
        if let Some(mail) = self.mails.borrow().get(&command) {
            mail.put(said);
        }
    }

    /// The limit or the caller's signal for which creel ends the jail, if it does.
    pub fn cause(&self) -> Option<Cause> {
        self.cause.get()
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.deadline.get()
    }

    /// Whether a person is being asked. The terminal then belongs to the question alone.
    pub fn is_asking(&self) -> bool {
        self.asking.get()
    }

    /// Records the cause of the end, unless another is recorded already.
    pub fn ends_for(&self, cause: Cause) {
        self.cause.set(self.cause.get().or(Some(cause)));
    }

    /// Sends SIGTERM, and kills the jail after the grace.
    pub fn end_politely(&self, cause: Cause, grace: Duration) {
        self.ends_for(cause);
        self.live.signal(creel_sys::signal::TERM);
        // A stopped process would not act on SIGTERM; timeout(1) sends SIGCONT, too.
        self.live.signal(creel_sys::signal::CONT);
        self.be_patient(grace);
    }

    /// Kills the jail after the grace, unless a deadline is set already.
    pub fn be_patient(&self, grace: Duration) {
        let deadline = self.deadline.get().unwrap_or(Instant::now() + grace);
        self.deadline.set(Some(deadline));
        self.hurried.notify_one();
    }

    pub fn kill(&self, cause: Cause) {
        self.ends_for(cause);
        self.live.kill();
        // One kill is enough, and the deadline must not fire again at once.
        self.deadline
            .set(Some(Instant::now() + Duration::from_secs(1)));
        self.hurried.notify_one();
    }
}

/// The state of the loop.
pub struct JailLoop {
    pidfd: AsyncFd<OwnedFd>,
    socket: AsyncFd<OwnedFd>,
    janitor: Option<AsyncFd<OwnedFd>>,
    oom: Option<AsyncFd<OwnedFd>>,
    pub egress: Option<Egress>,
    /// Pid 1 has closed its end. The end of file would make the socket readable for ever.
    silent: bool,
    /// The step that failed.
    pub failed: Option<JailError>,
    /// The jail's stdin in place of the caller's file, and the file position at the start.
    pub stdin: Option<(OwnedFd, u64)>,
    pub notes: Notes,
}

/// The janitor's messages so far.
#[derive(Default)]
pub struct Notes {
    pub uncovered: Vec<Uncovered>,
    pub unwatched: Option<Errno>,
    pub unguarded: Vec<Unguarded>,
    /// The janitor has ended.
    pub over: bool,
}

impl Notes {
    pub fn add(&mut self, all: Vec<Told>) {
        for told in all {
            match told {
                Told::Uncovered(name) => self.uncovered.push(name),
                Told::Unwatched(errno) => self.unwatched = Some(errno),
                Told::Unguarded(place) => self.unguarded.push(place),
                Told::Over => self.over = true,
            }
        }
    }
}

/// Whether a jail did anything of late. One that did nothing is checked less often: the checks walk tables of the
/// whole host, and a thousand idle jails would use up a processor.
#[derive(Debug, Default)]
struct Idle {
    used: Option<u64>,
    ticks: u32,
}

impl Idle {
    /// `used`: the jail's processor time, or `None` if nothing counts it.
    fn is_due(&mut self, used: Option<u64>) -> bool {
        let was_idle = used.is_some() && used == std::mem::replace(&mut self.used, used);
        self.ticks = if was_idle { self.ticks + 1 } else { 0 };
        self.ticks <= IDLE_TICKS || self.ticks.is_multiple_of(IDLE_TICKS)
    }
}

impl JailLoop {
    pub fn new(live: &Live, relay: Option<Relay>) -> Result<JailLoop, SuperviseError> {
        let fault = |what| move |source: io::Error| SuperviseError::Io { what, source };
        let readable = readiness::to_read;
        let janitor = live.janitor.as_ref().map(|janitor| {
            let socket = janitor.socket().try_clone_to_owned();
            socket.and_then(readable)
        });
        // In a session the kernel kills the command that used the memory up, and the others go on.
        let ends = !live.plan.command.argv.is_empty();
        let group = live.group.as_ref().filter(|_| ends);
        let oom = match group.map(|g| g.oom_events()).transpose() {
            Ok(events) => events.flatten().map(readable).transpose(),
            Err(e) => return Err(JailError::from(e).into()),
        };
        let watched = |fd: &OwnedFd| fd.try_clone().and_then(readable);
        Ok(JailLoop {
            pidfd: watched(&live.pidfd).map_err(fault("watching the jail"))?,
            socket: watched(&live.socket).map_err(fault("watching the jail"))?,
            janitor: janitor.transpose().map_err(fault("watching the janitor"))?,
            oom: oom.map_err(fault("watching memory"))?,
            egress: relay
                .map(Egress::new)
                .transpose()
                .map_err(fault("watching the relay"))?,
            silent: false,
            failed: None,
            stdin: None,
            notes: Notes::default(),
        })
    }

    /// Watches the jail to its end.
    pub async fn run(&mut self, jail: &Jail) {
        let watch = &jail.live.plan.jail.watch;
        let mut tick = tokio::time::interval_at(Instant::now() + CPU_TICK, CPU_TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut uncharged = Uncharged::default();
        let mut throttled = Throttled::default();
        let mut idle = Idle::default();
        let mut looked = Instant::now();
        let mut counted = true;
        loop {
            let polite_until = jail.deadline();
            let counts_cpu = jail.busy.get() && jail.live.group.is_some() && jail.cause().is_none();
            if counts_cpu && !counted && looked.elapsed() < IDLE_LOOK {
                // A command begins in an idle session: most are over before the first look is due.
                tick.reset();
            }
            counted = counts_cpu;
            tokio::select! {
                biased;
                _ = self.pidfd.readable() => return,
                ready = self.socket.readable(), if !self.silent => {
                    if let Ok(mut ready) = ready {
                        ready.clear_ready();
                    }
                    self.hear(jail);
                }
                () = jail.hurried.notified() => {}
                () = until(polite_until) => jail.kill(jail.cause().unwrap_or(Cause::Asked)),
                () = ready_or_never(self.oom.as_ref()) => jail.kill(Cause::Oom),
                () = ready_or_never(self.janitor.as_ref()), if !self.notes.over => {
                    self.notes.add(told(jail));
                    if self.notes.over {
                        jail.kill(Cause::JanitorDied);
                    }
                }
                _ = tick.tick(), if counts_cpu => {
                    looked = Instant::now();
                    jail.live.group.iter().for_each(|group| throttled.look(group));
                    let used = jail.live.group.as_ref().and_then(|g| g.cpu_used());
                    let due = idle.is_due(used);
                    if used.unwrap_or(0) >= watch.cpu_time.saturating_mul(1000) {
                        jail.kill(Cause::CpuTime);
                    } else if due && uncharged.exceeds(&jail.live, watch.uncharged) {
                        jail.kill(Cause::Oom);
                    }
                }
                () = egress::serve(&mut self.egress) => {}
            }
            let asking = egress::is_asking(&self.egress);
            if jail.asking.replace(asking) != asking {
                let mails = jail.mails.borrow();
                mails.values().for_each(|mail| mail.came.notify_one());
            }
        }
    }

    /// The jail has ended: tells the relay, and reads messages that the loop did not reach.
    pub fn ended(&mut self, jail: &Jail) {
        self.egress.iter_mut().for_each(Egress::end);
        self.hear(jail);
    }

    /// Reads the janitor's last messages. The janitor kills the jail right after it reports the reason, so
    /// the report may still be unread.
    pub fn hear_janitor(&mut self, jail: &Jail) {
        self.notes.add(told(jail));
        if self.notes.over {
            jail.ends_for(Cause::JanitorDied);
        }
    }

    /// Returns the notes and the relay, and closes the loop's copy of the janitor's socket.
    pub fn finish(self) -> (Notes, Option<Egress>) {
        (self.notes, self.egress)
    }

    /// Reads every pending message of pid 1.
    fn hear(&mut self, jail: &Jail) {
        let mut bytes = [0; LENGTH];
        loop {
            let (length, mut fds) =
                match socket::receive(jail.live.socket.as_fd(), &mut bytes, Wait::No) {
                    Ok((0, _)) => {
                        self.silent = true;
                        return;
                    }
                    Ok((length, fds)) => (length, fds),
                    // The child ended without reading a message of creel's. This is reported once, and
                    // before the child's own messages (unix(7)).
                    Err(Errno::CONNRESET) => continue,
                    Err(_) => return,
                };
            match Message::decode(&bytes[..length]) {
                Some(Message::Failed { step, errno }) => {
                    self.failed = Some(failed(jail, step, errno));
                }
                Some(Message::Stdin { position }) => {
                    self.stdin = fds[0].take().map(|file| (file, position));
                }
                Some(Message::Listens) => jail.client.set(fds[0].take()),
                Some(Message::Terminal { command }) => {
                    let master = fds[0].take().map(Said::Terminal);
                    master.into_iter().for_each(|said| jail.post(command, said));
                }
                Some(Message::NotExecuted { command, errno, at }) => {
                    let errno = Errno::from_raw_os_error(errno);
                    jail.post(command, Said::NotExecuted(errno, at));
                }
                Some(Message::FileDone { command, errno }) => {
                    let errno = (errno != 0).then(|| Errno::from_raw_os_error(errno));
                    jail.post(command, Said::FileDone(errno, fds[0].take()));
                }
                Some(Message::Started { command }) => jail.post(command, Said::Started),
                Some(Message::Stopped { command }) => jail.post(command, Said::Stopped),
                Some(Message::Ended {
                    command,
                    change,
                    disks,
                    cpu,
                    usage,
                }) => {
                    let end = CommandEnd {
                        change,
                        disks,
                        cpu,
                        usage,
                    };
                    jail.post(command, Said::Ended(end));
                }
                None => {}
            }
        }
    }
}

fn told(jail: &Jail) -> Vec<Told> {
    let janitor = jail.live.janitor.as_ref();
    janitor.map_or_else(Vec::new, Janitor::told)
}

fn failed(jail: &Jail, step: u32, errno: i32) -> JailError {
    let source = Errno::from_raw_os_error(errno);
    match jail.live.plan.acts().nth(step as usize) {
        Some(act) => JailError::Act {
            act: Box::new(act.clone()),
            source,
        },
        None if step == STDIN => JailError::Stdin { source },
        None => JailError::System {
            what: "starting the jail's first process",
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jail_that_does_nothing_is_checked_seldom() {
        let mut idle = Idle::default();
        let mut due = |used| (0..50).filter(|_| idle.is_due(used)).count();
        assert_eq!(due(Some(5)), 14, "a second long, then once a second");
        assert_eq!(due(Some(6)), 14);
        assert_eq!(due(None), 50, "nothing counts");
    }
}
