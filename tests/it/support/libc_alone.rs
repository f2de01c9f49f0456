//! Programs that use libraries which libc loads only on first use: for threads that are cancelled or outlive
//! `main`, for names of hosts and users, and for character sets.

use std::path::PathBuf;
use std::process::Command;

use super::{Workspace, need};

/// A Python script that uses ctypes; it prints each result and ends with its last thread.
pub const PYTHON: &str = r#"
import ctypes, locale, os, pwd, socket
libc, call = ctypes.CDLL(None), ctypes.c_void_p
def thread(function, argument):
    it = ctypes.c_ulong()
    assert libc.pthread_create(ctypes.byref(it), None, function, call(argument)) == 0
    return it
waits = thread(libc.pause, 0)
end = call()
assert libc.pthread_cancel(waits) == 0 and libc.pthread_join(waits, ctypes.byref(end)) == 0
print('cancelled', end.value == call(-1).value)
places = (call * 9)()
print('backtrace', libc.backtrace(places, 9) > 0)
print('user', pwd.getpwuid(os.getuid()).pw_uid == os.getuid())
print('host', socket.getaddrinfo('localhost', 80, socket.AF_INET, socket.SOCK_STREAM)[0][4])
locale.setlocale(locale.LC_CTYPE, 'C.UTF-8')
try: socket.getaddrinfo('n\u00e4mchen.invalid'.encode(), 80, flags=0x40 | socket.AI_NUMERICHOST)
except socket.gaierror as e: print('idn', e.errno == socket.EAI_NONAME or e)
libc.iconv_open.restype = call
for charset in [b'UTF-16', b'ISO-8859-2', b'KOI8-R', b'EUC-JP', b'SHIFT_JIS']:
    print(charset.decode(), libc.iconv_open(b'UTF-8', charset) != call(-1).value)
print('main ends', flush=True)
thread(libc.usleep, 50000)
libc.pthread_exit(None)
"#;

/// The output of [`PYTHON`] if every library loads.
pub const ANSWER: &str = "cancelled True\nbacktrace True\nuser True\nhost ('127.0.0.1', 80)\nidn True\nUTF-16 True\nISO-8859-2 True\nKOI8-R True\nEUC-JP True\nSHIFT_JIS True\nmain ends\n";

/// A C program: `main` ends first, and the thread that outlives it prints the result.
const C: &str = r#"
#include <iconv.h>
#include <netdb.h>
#include <pthread.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static pthread_t first;
static void *outlives(void *none) {
    void *end;
    char in[] = "\xb1", out[9] = "", *from = in, *to = out;
    size_t has = 1, room = 9;
    struct addrinfo *found;
    pthread_join(first, &end);
    iconv_t it = iconv_open("UTF-8", "ISO-8859-2");
    if (it == (iconv_t)-1 || iconv(it, &from, &has, &to, &room) == (size_t)-1) exit(2);
    if (!getpwuid(getuid()) || getaddrinfo("localhost", "80", 0, &found)) exit(3);
    printf("outlived, %s\n", out);
    exit(0);
}
int main(void) {
    pthread_t other;
    first = pthread_self();
    if (pthread_create(&other, 0, outlives, 0)) return 4;
    pthread_exit(0);
}
"#;

/// The output of [`compile`]'s program.
pub const C_ANSWER: &str = "outlived, \u{105}\n";

/// Compiles the C program on the host into the workspace.
pub fn compile(workspace: &Workspace, name: &str) -> PathBuf {
    let source = workspace.outside().join("outlives.c");
    std::fs::write(&source, C).expect("write");
    let program = workspace.write(name, "");
    let mut gcc = Command::new(need("gcc"));
    gcc.args(["-pthread", "-o"]).arg(&program).arg(&source);
    assert!(gcc.status().expect("gcc").success());
    program
}
