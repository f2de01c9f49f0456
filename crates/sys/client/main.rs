//! `creel` in a session: hands its arguments to the session's keeper, and prints the answer.
//!
//! It knows no verb, so a newer keeper serves it as well. It has no libc and no relocations: a few kilobytes, and no
//! file of the jail is needed to run it. `build/client.rs` compiles it, and `creel_jail::client` has the other side of
//! its protocol:
//!
//! - a request is one message: the byte 1, then the arguments, each followed by a zero byte, at most [`MOST`] bytes;
//! - an answer is a sequence of messages. The first byte of each is 1 for stdout, 2 for stderr, or 0, and then the
//!   second is the exit status, and the answer is over.

#![no_std]
#![no_main]

use core::arch::{asm, global_asm};

/// The socket of the keeper: `SOCKET` of `creel_plan::card`.
const SOCKET: &[u8] = b"/run/creel/socket\0";
/// Bytes of a request, and of a message of an answer: `MOST` of `creel_sys::client`.
const MOST: usize = 4096;
/// The exit status for creel's own failure.
const FAILED: u64 = 125;

// asm/unistd_64.h
const READ: u64 = 0;
const WRITE: u64 = 1;
const SOCKET_CALL: u64 = 41;
const CONNECT: u64 = 42;
const EXIT_GROUP: u64 = 231;

const EINTR: i64 = -4;

// The kernel enters with the number of arguments and their pointers on the stack, and nothing to return to.
global_asm!(
    ".global _start",
    "_start:",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {begin}",
    "ud2",
    begin = sym begin,
);

extern "C" fn begin(stack: *const usize) -> ! {
    // SAFETY: the kernel has put the number of arguments there.
    let count = unsafe { *stack };
    let mut request = [0u8; MOST];
    request[0] = 1;
    let mut used = 1;
    // The program's own name is no argument.
    for at in 1..count {
        // SAFETY: as many pointers to strings follow that end with a zero byte.
        let mut byte = unsafe { *stack.add(1 + at) } as *const u8;
        loop {
            if used == MOST {
                fail(b"creel: the arguments are too long\n");
            }
            // SAFETY: within the string, up to its zero byte.
            let one = unsafe { *byte };
            request[used] = one;
            used += 1;
            if one == 0 {
                break;
            }
            // SAFETY: the string goes on.
            byte = unsafe { byte.add(1) };
        }
    }
    let socket = connect();
    if call(WRITE, socket, request.as_ptr() as u64, used as u64) < 0 {
        fail(b"creel: the session takes no request\n");
    }
    answer(socket, &mut request)
}

/// Prints the answer, and exits with its status.
fn answer(socket: u64, message: &mut [u8; MOST]) -> ! {
    loop {
        let length = call(READ, socket, message.as_ptr() as u64, MOST as u64);
        if length == EINTR {
            continue;
        }
        if length < 2 {
            fail(b"creel: the session gave no answer\n");
        }
        match message[0] {
            0 => exit(u64::from(message[1])),
            to => print(
                u64::from(to),
                message.as_ptr() as u64 + 1,
                length as u64 - 1,
            ),
        }
    }
}

fn connect() -> u64 {
    const UNIX: u64 = 1;
    const SEQPACKET: u64 = 5;
    let socket = call(SOCKET_CALL, UNIX, SEQPACKET, 0);
    // struct sockaddr_un, unix(7).
    let mut address = [0u8; 2 + SOCKET.len()];
    address[0] = UNIX as u8;
    for (at, byte) in SOCKET.iter().enumerate() {
        address[2 + at] = *byte;
    }
    let length = address.len() as u64;
    if socket < 0 || call(CONNECT, socket as u64, address.as_ptr() as u64, length) < 0 {
        fail(b"creel: the session does not listen\n");
    }
    socket as u64
}

fn print(to: u64, mut at: u64, mut length: u64) {
    while length > 0 {
        match call(WRITE, to, at, length) {
            EINTR => {}
            wrote if wrote <= 0 => exit(FAILED),
            wrote => {
                at += wrote as u64;
                length -= wrote as u64;
            }
        }
    }
}

fn fail(text: &[u8]) -> ! {
    print(2, text.as_ptr() as u64, text.len() as u64);
    exit(FAILED)
}

fn exit(status: u64) -> ! {
    loop {
        call(EXIT_GROUP, status, 0, 0);
    }
}

/// A system call with three arguments; an error is a negative number, syscall(2).
fn call(number: u64, first: u64, second: u64, third: u64) -> i64 {
    let result: i64;
    // SAFETY: the callers pass addresses and lengths of their own buffers.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") first,
            in("rsi") second,
            in("rdx") third,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

// The compiler calls these for arrays; without libc nobody else has them.

/// memset(3)
///
/// # Safety
/// `to` has room for `count` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("rep stosb", inout("rcx") count => _, inout("rdi") to => _, in("al") byte as u8);
    }
    to
}

/// memcpy(3)
///
/// # Safety
/// `to` and `from` have `count` bytes and do not overlap.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("rep movsb", inout("rcx") count => _, inout("rdi") to => _, inout("rsi") from => _);
    }
    to
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(FAILED)
}
