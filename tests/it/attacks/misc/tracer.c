/* What a tracer cannot get past a jail's filter: each line is NAME=ANSWER. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *name_of(long error) {
    return error == 0 ? "OK" : strerrorname_np((int)error);
}

static long traced(long request, long pid, long address, long data) {
    return syscall(SYS_ptrace, request, pid, address, data) == -1 ? errno : 0;
}

static void fail(const char *what) {
    perror(what);
    exit(3);
}

/* A child that waits for its tracer and then calls getppid, which the tracer turns into another call. */
static pid_t child(void (*before)(void)) {
    pid_t pid = fork();
    if (pid < 0) fail("fork");
    if (pid == 0) {
        if (traced(PTRACE_TRACEME, 0, 0, 0) != 0) _exit(9);
        if (before) before();
        raise(SIGSTOP);
        for (;;) syscall(SYS_getppid);
    }
    int status;
    if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status)) fail("the child's stop");
    if (traced(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL | PTRACE_O_TRACESECCOMP) != 0)
        fail("options");
    return pid;
}

static void end(pid_t pid) {
    int status;
    kill(pid, SIGKILL);
    /* One whose last stop is traced (PTRACE_O_TRACEEXIT) is killed already, and waits for its tracer. */
    while (waitpid(pid, &status, 0) == pid && !WIFEXITED(status) && !WIFSIGNALED(status))
        traced(PTRACE_CONT, pid, 0, 0);
}

/* Goes on to the next stop of the kind that is meant. */
static void next(pid_t pid, long how, int want) {
    int status;
    do {
        if (traced(how, pid, 0, 0) != 0) fail("going on");
        if (waitpid(pid, &status, 0) != pid) fail("waitpid");
        if (!WIFSTOPPED(status)) { printf("ended=%d\n", status); exit(4); }
    } while (status >> 8 != want);
}

#define CALL (SIGTRAP | 0x80)
#define FILTER (SIGTRAP | PTRACE_EVENT_SECCOMP << 8)

static void change(pid_t pid, long number, long a, long b, long c, long segment) {
    struct user_regs_struct r;
    if (traced(PTRACE_GETREGS, pid, 0, (long)&r) != 0) fail("registers");
    r.orig_rax = (unsigned long)number;
    r.rdi = a, r.rsi = b, r.rdx = c, r.r10 = 0, r.r8 = 0, r.r9 = 0;
    if (segment) r.cs = (unsigned long)segment;
    if (traced(PTRACE_SETREGS, pid, 0, (long)&r) != 0) fail("changed registers");
}

static void tell(const char *name, pid_t pid) {
    struct user_regs_struct r;
    if (traced(PTRACE_GETREGS, pid, 0, (long)&r) != 0) fail("registers");
    long answer = (long)r.rax;
    printf("%s=%s\n", name, name_of(answer < 0 ? -answer : 0));
}

/* At the stop where a call enters the kernel, another number and other arguments. */
static void at_entry(const char *name, long number, long a, long b, long c, long segment) {
    pid_t pid = child(NULL);
    next(pid, PTRACE_SYSCALL, CALL);
    change(pid, number, a, b, c, segment);
    next(pid, PTRACE_SYSCALL, CALL);
    tell(name, pid);
    end(pid);
}

/* A filter of the child's own, which asks the tracer about getppid. */
static void ask_tracer(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0) _exit(8);
}

static void at_filter(const char *name, long number, long a, long b, long c) {
    pid_t pid = child(ask_tracer);
    next(pid, PTRACE_CONT, FILTER);
    change(pid, number, a, b, c, 0);
    next(pid, PTRACE_SYSCALL, CALL);
    tell(name, pid);
    end(pid);
}

static void request(const char *name, long number, long address, long data) {
    pid_t pid = child(NULL);
    printf("%s=%s\n", name, name_of(traced(number, pid, address, data)));
    end(pid);
}

/* A set-user-ID program under a tracer: whose it is. */
static void set_id(const char *program) {
    pid_t pid = fork();
    if (pid < 0) fail("fork");
    if (pid == 0) {
        if (traced(PTRACE_TRACEME, 0, 0, 0) != 0) _exit(9);
        execl(program, program, "--version", NULL);
        _exit(7);
    }
    int status;
    if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status)) fail("the program's stop");
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *file = fopen(path, "r");
    unsigned real = 0, effective = 1;
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "Uid: %u %u", &real, &effective) == 2) break;
    printf("set_id=%s\n", real == effective && real == getuid() ? "own" : "other");
    end(pid);
}

static void memory_of(const char *name, pid_t pid, const void *at) {
    char word[8] = {0};
    struct iovec here = {word, sizeof word}, there = {(void *)at, sizeof word};
    long got = process_vm_readv(pid, &here, 1, &there, 1, 0);
    printf("%s=%s\n", name, name_of(got < 0 ? errno : 0));
}

int main(int argc, char **argv) {
    static char word[8] = "control";
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc < 2) return 2;

    at_entry("entry_control", SYS_getpid, 0, 0, 0, 0);
    at_entry("entry_mount", SYS_mount, 0, 0, 0, 0);
    at_entry("entry_socket", SYS_socket, 16, 3, 16, 0);
    at_entry("entry_userns", SYS_unshare, 0x10000000, 0, 0, 0);
    at_entry("entry_io_uring", SYS_io_uring_setup, 0, 0, 0, 0);
    at_entry("entry_bpf", SYS_bpf, 0xffff, 0, 0, 0);
    at_entry("entry_key", SYS_keyctl, 9999, 0, 0, 0);
    at_entry("entry_tiocsti", SYS_ioctl, 0, 0x5412, 0, 0);
    at_entry("entry_high_bits", SYS_socket, 16L | 1L << 32, 3, 16, 0);
    at_entry("entry_x32", 0x40000000L | SYS_mount, 0, 0, 0, 0);
    at_entry("entry_segment", SYS_mount, 0, 0, 0, 0x23);
    at_filter("filter_control", SYS_getpid, 0, 0, 0);
    at_filter("filter_mount", SYS_mount, 0, 0, 0);
    at_filter("filter_socket", SYS_socket, 16, 3, 16);
    at_filter("filter_x32", 0x40000000L | SYS_mount, 0, 0, 0);

    request("options_control", PTRACE_SETOPTIONS, 0, PTRACE_O_TRACESYSGOOD);
    request("suspend", PTRACE_SETOPTIONS, 0, 1 << 21);
    request("suspend_and_more", PTRACE_SETOPTIONS, 0, 1 << 21 | PTRACE_O_TRACESYSGOOD);
    request("exit", PTRACE_SETOPTIONS, 0, PTRACE_O_TRACEEXIT);
    request("exit_and_more", PTRACE_SETOPTIONS, 0, PTRACE_O_TRACEEXIT | PTRACE_O_TRACEEXEC);
    request("exit_old", 21, 0, PTRACE_O_TRACEEXIT);
    request("get_filter", 0x420c, 0, 0);
    request("get_metadata", 0x420d, 16, 0);
    request("dispatch", 0x4210, 99, 0);
    request("emulate", 31, 0, 0);
    request("thread_pointer", 30, (long)&word, 0x1003);
    request("vdso", 30, 0, 0x2003);

    pid_t idle = fork();
    if (idle == 0) for (;;) pause();
    printf("seize_suspend=%s\n", name_of(traced(PTRACE_SEIZE, idle, 0, 1 << 21)));
    end(idle);
    idle = fork();
    if (idle == 0) for (;;) pause();
    printf("seize_exit=%s\n", name_of(traced(PTRACE_SEIZE, idle, 0, PTRACE_O_TRACEEXIT)));
    end(idle);
    idle = fork();
    if (idle == 0) for (;;) pause();
    memory_of("memory_control", idle, word);
    end(idle);
    idle = fork();
    if (idle == 0) for (;;) pause();
    printf("seize_control=%s\n", name_of(traced(PTRACE_SEIZE, idle, 0, 0)));
    end(idle);

    if (strcmp(argv[1], "jail") == 0) {
        printf("attach_init=%s\n", name_of(traced(PTRACE_ATTACH, 1, 0, 0)));
        printf("seize_init=%s\n", name_of(traced(PTRACE_SEIZE, 1, 0, 0)));
        memory_of("memory_init", 1, word);
        printf("attach_host=%s\n", name_of(traced(PTRACE_ATTACH, atoi(argv[2]), 0, 0)));
        printf("seize_host=%s\n", name_of(traced(PTRACE_SEIZE, atoi(argv[2]), 0, 0)));
        set_id(argv[3]);
    } else if (argc > 2) {
        pid_t other = atoi(argv[2]);
        int status;
        printf("attach_host=%s\n", name_of(traced(PTRACE_ATTACH, other, 0, 0)));
        waitpid(other, &status, __WALL);
        traced(PTRACE_DETACH, other, 0, 0);
        printf("seize_host=%s\n", name_of(traced(PTRACE_SEIZE, other, 0, 0)));
    }
    return 0;
}
