//! Exhaustion: programs that take more than their jail has, each in a jail of its own, because the limit ends
//! it. The verdict names that limit. Without the limit each ends by itself, after taking little.

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::layer::Layer;
use creel_policy::{Bytes, Count, Limits, Span};
use creel_session::Kind;
use creel_sys::attempt;
use creel_sys::process::{self, Change};

/// The kernel counts a process's time for the limit in ticks, of a millisecond or longer.
const TICK: Duration = Duration::from_millis(1);

/// The resource that a program exhausts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spend {
    Memory,
    Pids,
    Disk,
    Inodes,
    Time,
    Processor,
    Output,
}

/// One such program: its limit, and the verdict that must result.
pub struct Row {
    pub name: &'static str,
    pub spend: Spend,
    pub kind: Kind,
    /// The limit that the verdict names beside the kind, if it ends nothing.
    pub reached: Option<&'static str>,
    /// The layers that enforce the limit.
    pub layers: &'static [Layer],
    /// The layer that refuses in their place if there is no cgroup. It does not count refusals, so the
    /// verdict is the program's own failure.
    pub instead: Option<Layer>,
    pub limit: fn(&mut Limits),
}

pub static ROWS: &[Row] = &[
    Row {
        name: "take 80 MiB of 32 MiB of memory",
        spend: Spend::Memory,
        kind: Kind::Oom,
        reached: None,
        layers: &[Layer::Cgroup],
        instead: None,
        limit: |limits| limits.memory.value = Bytes(32 << 20),
    },
    Row {
        name: "start 24 processes of 12",
        spend: Spend::Pids,
        kind: Kind::Exited,
        reached: Some("pids"),
        layers: &[Layer::Cgroup],
        instead: Some(Layer::Rlimits),
        limit: |limits| limits.pids.value = Count(12),
    },
    Row {
        name: "write 4 MiB to a /tmp of 1 MiB",
        spend: Spend::Disk,
        kind: Kind::Exited,
        reached: Some("disk"),
        layers: &[Layer::Disk],
        instead: None,
        limit: |limits| limits.disk.value = Bytes(1 << 20),
    },
    Row {
        name: "make 300 files in a /tmp of 100",
        spend: Spend::Inodes,
        kind: Kind::Exited,
        reached: Some("inodes"),
        layers: &[Layer::Disk],
        instead: None,
        limit: |limits| limits.inodes.value = Count(100),
    },
    Row {
        name: "sleep for 3 seconds of a half",
        spend: Spend::Time,
        kind: Kind::Timeout,
        reached: None,
        layers: &[Layer::Supervisor],
        instead: None,
        limit: |limits| limits.timeout.value = Span(500),
    },
    Row {
        name: "compute for 3 seconds of 1",
        spend: Spend::Processor,
        kind: Kind::CpuTime,
        reached: None,
        layers: &[Layer::Rlimits, Layer::Cgroup],
        instead: None,
        limit: |limits| limits.cpu_time.value = Span(1000),
    },
    Row {
        name: "print 200 kB of 64 KiB",
        spend: Spend::Output,
        kind: Kind::Output,
        reached: None,
        layers: &[Layer::Supervisor],
        instead: None,
        limit: |limits| limits.output.value = Bytes(64 << 10),
    },
];

/// Takes the resource, in the jail. Returns 0 if it got all of it, else 1.
pub fn perform(spend: Spend) -> u8 {
    let had = match spend {
        Spend::Memory => attempt::take_memory(80 << 20).is_ok(),
        Spend::Pids => processes(24),
        Spend::Disk => {
            File::create("/tmp/large").is_ok_and(|mut f| f.write_all(&vec![1; 4 << 20]).is_ok())
        }
        Spend::Inodes => (0..300).all(|n| File::create(format!("/tmp/{n}")).is_ok()),
        Spend::Time => {
            std::thread::sleep(Duration::from_secs(3));
            true
        }
        Spend::Processor => {
            let start = Instant::now();
            // Its own CPU time counts, up to a point, because a busy machine gives it less than it wants. A
            // jump comes from a virtual machine that stood still, for which the kernel counts a tick at most.
            let (mut before, mut taken) = (processor_time(), Duration::ZERO);
            while taken < Duration::from_secs(3) && start.elapsed() < Duration::from_secs(60) {
                let now = processor_time();
                taken += now.saturating_sub(before).min(TICK);
                before = now;
            }
            true
        }
        Spend::Output => std::io::stdout().write_all(&[b'x'; 200_000]).is_ok(),
    };
    u8::from(!had)
}

fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// Whether `count` processes fit at once. They wait for the end of a pipe, so no longer than this process.
fn processes(count: usize) -> bool {
    let Ok((reader, writer)) = rustix::pipe::pipe() else {
        return false;
    };
    let mut pids = vec![];
    for _ in 0..count {
        let started = attempt::fork(|| {
            let mut byte = [0u8; 1];
            match rustix::io::read(&reader, &mut byte) {
                Ok(1) => 0,
                _ => 1,
            }
        });
        match started {
            Ok(pid) => pids.push(pid),
            Err(_) => break,
        }
    }
    // A byte for each.
    let woken = rustix::io::write(&writer, &vec![0; pids.len()]);
    let mut all = pids.len() == count && woken == Ok(count);
    for pid in pids {
        all &= matches!(process::reap(pid), Ok((Change::Exited(0), _)));
    }
    all
}
