//! Compiles `syscalls.txt` and `relay.txt` into seccomp programs at build time, because nothing in them
//! depends on a run.
//!
//! seccompiler compiles the argument rules; the dispatch over syscall numbers is a binary search over ranges
//! of equal verdict, because a linear filter of 350 rows costs a millisecond to install (the kernel
//! translates it, and emulates it once per syscall to fill its bitmap). The result is then shrunk to a third,
//! and the cost of installing shrinks with it.
//!
//! Also compiles the client of sessions.

#[path = "build/client.rs"]
mod client;
#[path = "build/shrink.rs"]
mod shrink;

use std::fmt::Write as _;
use std::{env, fs, path::Path};

use seccompiler::{
    BpfProgram, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition, SeccompRule,
    sock_filter,
};

/// Table, output file and answers of each program: two for jails, one for the relay that serves their egress.
const TABLES: [(&str, &str, Answers); 3] = [
    ("syscalls.txt", "seccomp.rs", Answers::Usual),
    ("syscalls.txt", "debug.rs", Answers::Debuggers),
    ("relay.txt", "relay.rs", Answers::Usual),
];

/// The lines of a table that go into a program.
#[derive(Clone, Copy, PartialEq)]
enum Answers {
    /// All but the lines that begin with `?`, which are only checked.
    Usual,
    /// All lines.
    Debuggers,
}

// linux/seccomp.h, linux/filter.h, linux/audit.h
const RET_KILL_PROCESS: u32 = 0x8000_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_ALLOW: u32 = 0x7fff_0000;
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const X32_SYSCALL_BIT: u32 = 0x4000_0000;
const LD_W_ABS: u16 = 0x20;
const JA: u16 = 0x05;
const JEQ: u16 = 0x15;
const JGE: u16 = 0x35;
const RET: u16 = 0x06;
/// Offsets in `struct seccomp_data`.
const DATA_NR: u32 = 0;
const DATA_ARCH: u32 = 4;

#[derive(Clone, PartialEq)]
struct Verdict {
    rules: Vec<(u32, Vec<SeccompCondition>)>,
    default: u32,
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build/shrink.rs");
    for (table, file, answers) in TABLES {
        println!("cargo::rerun-if-changed={table}");
        write_program(table, file, answers);
    }
    client::compile();
}

fn write_program(name: &str, file: &str, answers: Answers) {
    let table = fs::read_to_string(name).unwrap_or_else(|e| panic!("{name}: {e}"));
    let program = compile(name, &table, answers);
    let mut out = String::from("&[\n");
    for i in &program {
        writeln!(
            out,
            "    libc::sock_filter {{ code: {:#x}, jt: {}, jf: {}, k: {:#x} }},",
            i.code, i.jt, i.jf, i.k
        )
        .expect("a String takes every write");
    }
    out.push(']');
    let dir = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    fs::write(Path::new(&dir).join(file), out).expect("OUT_DIR is writable");
}

fn compile(name: &str, table: &str, answers: Answers) -> Vec<sock_filter> {
    let unknown = Verdict {
        rules: vec![],
        default: errno("ENOSYS"),
    };
    let mut ranges: Vec<(u32, Verdict)> = vec![(0, unknown.clone())];
    let mut next = 0;
    for (nr, verdict) in rows(name, table, answers) {
        if nr > next {
            push(&mut ranges, next, unknown.clone());
        }
        push(&mut ranges, nr, verdict);
        next = nr + 1;
    }
    push(&mut ranges, next, unknown);

    let mut program = vec![
        ins(LD_W_ABS, 0, 0, DATA_ARCH),
        ins(JEQ, 1, 0, AUDIT_ARCH_X86_64),
        ins(RET, 0, 0, RET_KILL_PROCESS),
        ins(LD_W_ABS, 0, 0, DATA_NR),
        // x32 shares the architecture token and differs by this bit alone.
        ins(JGE, 0, 1, X32_SYSCALL_BIT),
        ins(RET, 0, 0, errno("ENOSYS")),
    ];
    program.extend(tree(&ranges));
    let program = shrink::shrink(&program);
    assert!(program.len() <= 4096, "BPF_MAXINSNS");
    program
}

/// The rows of a table, each number once and in order, with the rules of the lines under it.
fn rows(name: &str, table: &str, answers: Answers) -> Vec<(u32, Verdict)> {
    let mut rows: Vec<(u32, Verdict)> = vec![];
    // The number of debugger rules in the row above. The first rule that matches answers, so debugger rules
    // come before the row's own, in their order.
    let mut debuggers = 0;
    for (at, line) in table.lines().enumerate() {
        let wrong = |e: String| -> ! { panic!("{name}:{}: {e}", at + 1) };
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let (Some(line), Some((_, above))) = (line.strip_prefix('?'), rows.last_mut()) {
            match reasoned(line).and_then(rules) {
                Ok(more) if answers == Answers::Debuggers => {
                    let after = debuggers + more.len();
                    above.rules.splice(debuggers..debuggers, more);
                    debuggers = after;
                }
                Ok(_) => {}
                Err(e) => wrong(e),
            }
            continue;
        }
        match (line.strip_prefix('+'), rows.last_mut()) {
            (Some(line), Some((_, above))) => match reasoned(line).and_then(rules) {
                Ok(more) => above.rules.extend(more),
                Err(e) => wrong(e),
            },
            (Some(_), None) => wrong("no row above".into()),
            (None, above) => {
                let (nr, verdict) = row(line).unwrap_or_else(|e| wrong(e));
                if above.is_some_and(|(before, _)| nr <= *before) {
                    wrong("rows are in order of number, each once".into());
                }
                rows.push((nr, verdict));
                debuggers = 0;
            }
        }
    }
    rows
}

/// The part of a line before the `|`; an error if no reason follows.
fn reasoned(line: &str) -> Result<&str, String> {
    let (body, reason) = line.split_once('|').ok_or("no `|` before the reason")?;
    match reason.trim() {
        "" => Err("a row needs its reason".into()),
        _ => Ok(body),
    }
}

/// Adds a range that starts at `nr`, or extends the one before it if both have the same verdict.
fn push(ranges: &mut Vec<(u32, Verdict)>, nr: u32, verdict: Verdict) {
    match ranges.last_mut() {
        Some((start, last)) if *start == nr => *last = verdict,
        Some((_, last)) if *last == verdict => {}
        _ => ranges.push((nr, verdict)),
    }
}

/// `NR NAME DEFAULT RULES | REASON`; the grammar is at the head of the table.
fn row(line: &str) -> Result<(u32, Verdict), String> {
    let body = reasoned(line)?;
    let mut words = body.trim().splitn(3, char::is_whitespace);
    let nr = words
        .next()
        .and_then(|w| w.parse().ok())
        .ok_or("no syscall number")?;
    let rest: Vec<&str> = body.split_whitespace().collect();
    let [_, _name, default, rest @ ..] = rest.as_slice() else {
        return Err("no verdict".into());
    };
    let parsed = match rest {
        ["-"] => vec![],
        rest => rules(&rest.join(" "))?,
    };
    Ok((
        nr,
        Verdict {
            rules: parsed,
            default: action(default)?,
        },
    ))
}

/// `ACTION if COND [and COND...]`, joined by `;`.
fn rules(text: &str) -> Result<Vec<(u32, Vec<SeccompCondition>)>, String> {
    text.split(';')
        .map(|rule| {
            let (verdict, conditions) = rule
                .split_once(" if ")
                .ok_or("a rule is `ACTION if COND`")?;
            let conditions: Result<Vec<_>, _> = conditions.split(" and ").map(condition).collect();
            Ok((action(verdict.trim())?, conditions?))
        })
        .collect()
}

/// `argN[:64] OP VALUE` or `argN[:64] & MASK == VALUE`.
fn condition(text: &str) -> Result<SeccompCondition, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (arg, op, value) = match words.as_slice() {
        [arg, "&", mask, "==", value] => (arg, Op::MaskedEq(number(mask)?), value),
        [arg, op, value] => {
            let op = match *op {
                "==" => Op::Eq,
                "!=" => Op::Ne,
                "<" => Op::Lt,
                "<=" => Op::Le,
                ">" => Op::Gt,
                ">=" => Op::Ge,
                other => return Err(format!("unknown comparison {other}")),
            };
            (arg, op, value)
        }
        _ => return Err(format!("not a condition: {text}")),
    };
    let (arg, len) = match arg.strip_suffix(":64") {
        Some(arg) => (arg, Len::Qword),
        None => (*arg, Len::Dword),
    };
    let index = arg
        .strip_prefix("arg")
        .and_then(|n| n.parse().ok())
        .ok_or("not argN")?;
    SeccompCondition::new(index, len, op, number(value)?).map_err(|e| e.to_string())
}

fn number(text: &str) -> Result<u64, String> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    }
    .map_err(|e| format!("{text}: {e}"))
}

fn action(word: &str) -> Result<u32, String> {
    match word {
        "allow" => Ok(RET_ALLOW),
        "EPERM" | "ENOSYS" | "EINVAL" | "EACCES" | "EAFNOSUPPORT" | "ENODEV" | "ENOMEM" => {
            Ok(errno(word))
        }
        other => Err(format!("unknown verdict {other}")),
    }
}

fn errno(name: &str) -> u32 {
    RET_ERRNO
        | match name {
            "EPERM" => 1,
            "ENOMEM" => 12,
            "EACCES" => 13,
            "ENODEV" => 19,
            "EINVAL" => 22,
            "ENOSYS" => 38,
            "EAFNOSUPPORT" => 97,
            other => unreachable!("{other} is not in the list of action()"),
        }
}

fn leaf(verdict: &Verdict) -> BpfProgram {
    let mut program = BpfProgram::new();
    for (action, conditions) in &verdict.rules {
        let rule = SeccompRule::new(conditions.clone()).expect("a rule has a condition");
        // A compiled rule continues at the next instruction if it matches, and skips that one if not.
        program.extend(BpfProgram::from(rule));
        program.push(ins(RET, 0, 0, *action));
    }
    program.push(ins(RET, 0, 0, verdict.default));
    program
}

/// Binary search over ranges sorted by first number.
fn tree(ranges: &[(u32, Verdict)]) -> BpfProgram {
    if let [(_, only)] = ranges {
        return leaf(only);
    }
    let middle = ranges.len() / 2;
    let (low, high) = (tree(&ranges[..middle]), tree(&ranges[middle..]));
    let pivot = ranges[middle].0;
    let mut program = match u8::try_from(low.len()) {
        Ok(over) => vec![ins(JGE, over, 0, pivot)],
        Err(_) => vec![ins(JGE, 0, 1, pivot), ins(JA, 0, 0, low.len() as u32)],
    };
    program.extend(low);
    program.extend(high);
    program
}

fn ins(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}
