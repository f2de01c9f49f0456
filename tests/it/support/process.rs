//! The state of other processes, from /proc.

/// The state letter of a process, proc_pid_stat(5); `None` if it does not exist.
pub fn state_of(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 2..].chars().next()
}

/// The children of a process, of all its threads (proc_pid_task_children(5)).
pub fn children_of(pid: u32) -> Vec<u32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return vec![];
    };
    let texts = threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let numbers = |text: String| {
        let numbers = text.split_whitespace().filter_map(|pid| pid.parse().ok());
        numbers.collect::<Vec<u32>>()
    };
    texts.flat_map(numbers).collect()
}

/// The child of `pid` with this name, if it has started.
pub fn child_named(pid: u32, name: &str) -> Option<u32> {
    let named = |child: &u32| {
        let comm = std::fs::read_to_string(format!("/proc/{child}/comm"));
        comm.is_ok_and(|comm| comm.trim_end() == name)
    };
    children_of(pid).into_iter().find(named)
}

/// Whether a jail that has started has ended and was reaped, so that the janitor is the only child of creel.
pub fn jail_is_reaped(creel: u32) -> bool {
    children_of(creel).len() <= 1
}

/// Whether the jail of a stopped creel has ended: creel cannot reap it.
pub fn jail_is_over(creel: u32) -> bool {
    let mut children = children_of(creel).into_iter();
    children.any(|child| state_of(child) == Some('Z'))
}
