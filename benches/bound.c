/*
 * The bound of a start: the kernel's work of `creel run -- COMMAND` under the default policy, without creel's
 * own (no policy, no plan, no verdict). All layers are in force: namespaces, an empty root with granted trees,
 * masks, held names, control groups, limits, ids, capabilities, Landlock, seccomp. What a start costs above this
 * program is creel's to save.
 *
 *   bound [-p] STATE GROUP COMMAND [ARG...]
 *
 *   STATE   a directory on a tmpfs, kept between runs: leases, and the ready root
 *   GROUP   the name of the parent of its control groups, in each hierarchy
 *   -p      creel's present order; without it, the best order that is known
 *
 * The best order differs in five things, each of which some version of creel could do:
 *   - the jail is cloned before its paths are looked up, so both processes work at once;
 *   - control groups are kept ready between runs and leased, not made and removed;
 *   - the root's fixed directories and files are kept ready too;
 *   - all absent names are held by links of one socket; at present four of them are directories;
 *   - no helper outlives the start: at present a janitor does, and a watcher in the jail's mounts.
 *
 * Needs root, cgroup v1 or hybrid with v2 at /sys/fs/cgroup/unified, and a current directory below /tmp or /root.
 * The kernel is Linux 6.12 or newer (Landlock ABI 6). Exit status: the command's; 125 if a step failed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/landlock.h>
#include <linux/mount.h>
#include <linux/netlink.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bound-filter.h"

/* glibc's <sys/mount.h> and the kernel's <linux/mount.h> exclude each other on Debian 12. */
int mount(const char *, const char *, const char *, unsigned long, const void *);
int umount2(const char *, int);
#define MNT_DETACH 2
#ifndef SIOCGSKNS
#define SIOCGSKNS 0x894C
#endif

#define COUNT(array) ((int)(sizeof(array) / sizeof(*(array))))
#define TRY(call) try((long)(call), #call)
#define LOCKED_DOWN (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)
#define WRITABLE (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)
#define STACK 16384

static int present; /* -p */
static const char *state, *group;
static char **command;
static char workspace[2048];
static long id_base; /* the jail's ids are the host's from here on */

static long try(long result, const char *call)
{
	if (result < 0) {
		dprintf(2, "bound: %s: %s\n", call, strerror(errno));
		_exit(125);
	}
	return result;
}

/* --- the plan, as data ---------------------------------------------------------------------------- */

/* Names that are absent and stay so: nobody may make them while the jail has the workspace. */
static const struct {
	const char *name;
	int directory; /* at present: agents list it, which a socket would not allow */
} held[] = {
	{".amazonq", 0}, {".claude", 1}, {".codex", 1}, {".creel", 0}, {".cursor", 0},
	{".envrc", 0}, {".gemini", 1}, {".husky", 0}, {".idea", 0}, {".mcp.json", 0},
	{".openclaw", 0}, {".opencode", 1}, {".pre-commit-config.yaml", 0}, {".vscode", 0}, {".windsurf", 0},
};

/* Granted trees; the workspace is the last one. `access`: of its Landlock rule. */
enum { USR, ALTERNATIVES, LOADER, CERTIFICATES, TIME, WORKSPACE, TREES };
static const struct {
	const char *path;
	uint64_t access;
	int attributes;
} trees[TREES] = {
	[USR] = {"/usr", 0xd, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV},
	[ALTERNATIVES] = {"/etc/alternatives", 0xc, LOCKED_DOWN},
	[LOADER] = {"/etc/ld.so.cache", 0x4, LOCKED_DOWN},
	[CERTIFICATES] = {"/etc/ssl/certs", 0xc, LOCKED_DOWN},
	[TIME] = {"/etc/localtime", 0x4, LOCKED_DOWN},
	[WORKSPACE] = {workspace, 0xf7bf, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV},
};

/* Landlock rules for what exists in the jail alone. */
static const struct {
	const char *path;
	uint64_t access;
} own[] = {
	{"/", 0x8}, {"/etc", 0xc}, {"/dev", 0xc00e}, {"/proc", 0xc00e}, {"/sys/fs/cgroup", 0xc},
	{"/tmp", 0xf7be}, {"/dev/shm", 0xf7be}, {"/root", 0xf7be},
};

static const char *const masked_directories[] = {"acpi", "bus", "driver", "fs", "irq", "pressure", "tty"};
static const char *const masked_files[] = {
	"buddyinfo", "cmdline", "config.gz", "diskstats", "interrupts", "kallsyms", "key-users", "keys",
	"locks", "partitions", "softirqs", "sys/kernel/random/boot_id", "zoneinfo",
};

static const struct {
	const char *path;
	int major, minor;
} devices[] = {
	{"dev/null", 1, 3}, {"dev/zero", 1, 5}, {"dev/full", 1, 7},
	{"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0},
};
static const char *const directories[] = {
	"dev", "dev/pts", "dev/shm", "etc", "etc/alternatives", "etc/ssl", "etc/ssl/certs", "proc", "root", "run",
	"sys", "sys/fs", "sys/fs/cgroup", "sys/fs/cgroup/memory", "sys/fs/cgroup/pids", "sys/fs/cgroup/cpu",
	"sys/fs/cgroup/cpuacct", "sys/fs/cgroup/cpuset", "tmp", "usr", "var",
};
static const struct {
	const char *path, *target;
} links[] = {
	{"bin", "/usr/bin"}, {"lib", "/usr/lib"}, {"lib64", "/usr/lib64"}, {"sbin", "/usr/sbin"},
	{"dev/fd", "/proc/self/fd"}, {"dev/ptmx", "pts/ptmx"}, {"dev/stdin", "/proc/self/fd/0"},
	{"dev/stdout", "/proc/self/fd/1"}, {"dev/stderr", "/proc/self/fd/2"},
	{"etc/localtime", "/usr/share/zoneinfo/Etc/UTC"},
};
static const struct {
	const char *path, *text;
} files[] = {
	{"etc/passwd", "root:x:0:0:root:/root:/usr/sbin/nologin\nagent:x:1000:1000::/root:/bin/sh\n"},
	{"etc/group", "root:x:0:\nagent:x:1000:\nnogroup:x:65534:\n"},
	{"etc/hosts", "127.0.0.1 localhost creel\n::1 localhost\n"},
	{"etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"},
	{"etc/ld.so.cache", ""},
};

/* --- the kernel's mount interface ------------------------------------------------------------------ */

static int look_up(int at, const char *path, uint64_t flags, uint64_t resolve)
{
	struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = resolve};

	return syscall(SYS_openat2, at, path, &how, sizeof(how));
}

/* A detached copy of a mount, with these attributes. */
static int copy_tree(int at, const char *path, uint64_t attributes, int recursive)
{
	int flags = (*path ? 0 : AT_EMPTY_PATH) | (recursive ? AT_RECURSIVE : 0);
	struct mount_attr wanted = {.attr_set = attributes, .propagation = MS_PRIVATE};
	int tree = TRY(syscall(SYS_open_tree, at, path, OPEN_TREE_CLONE | O_CLOEXEC | AT_SYMLINK_NOFOLLOW | flags));

	if (attributes)
		TRY(syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &wanted,
			    sizeof(wanted)));
	return tree;
}

static void attach(int tree, int at, const char *path)
{
	TRY(syscall(SYS_move_mount, tree, "", at, path,
		    MOVE_MOUNT_F_EMPTY_PATH | (*path ? 0 : MOVE_MOUNT_T_EMPTY_PATH)));
}

static int open_filesystem(const char *kind)
{
	return TRY(syscall(SYS_fsopen, kind, FSOPEN_CLOEXEC));
}

static void configure(int fs, const char *key, const char *value)
{
	TRY(syscall(SYS_fsconfig, fs, value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, key, value, 0));
}

static int make_mount(int fs, int attributes)
{
	int tree;

	TRY(syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
	tree = TRY(syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, attributes));
	close(fs);
	return tree;
}

static int make_tmpfs(const char *mode, const char *size, const char *inodes, const char *owner)
{
	int fs = open_filesystem("tmpfs");

	configure(fs, "mode", mode);
	configure(fs, "size", size);
	configure(fs, "nr_inodes", inodes);
	if (owner) {
		configure(fs, "uid", owner);
		configure(fs, "gid", owner);
	}
	return make_mount(fs, WRITABLE);
}

static void write_file(int at, const char *path, int flags, const char *text)
{
	int fd = TRY(openat(at, path, O_WRONLY | O_CLOEXEC | flags, 0444));

	if (*text)
		TRY(write(fd, text, strlen(text)));
	close(fd);
}

/* --- processes that share a word of memory --------------------------------------------------------- */

static void tell(int *word)
{
	__atomic_store_n(word, 1, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void wait_for(int *word)
{
	while (!__atomic_load_n(word, __ATOMIC_SEQ_CST))
		syscall(SYS_futex, word, FUTEX_WAIT, 0, NULL, NULL, 0);
}

/* The network namespace takes longest of all namespaces, so a helper makes it beside the rest. It shares memory
 * and descriptors with its parent, which therefore gets the namespace as a socket in it. */
static int network_socket, network_ready;

static int make_network(void *nothing)
{
	struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};

	(void)nothing;
	TRY(unshare(CLONE_NEWNET));
	network_socket = TRY(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	TRY(ioctl(network_socket, SIOCSIFFLAGS, &loopback));
	tell(&network_ready);
	syscall(SYS_exit, 0);
	return 0;
}

static int start_network_helper(void)
{
	static char stack[STACK] __attribute__((aligned(16)));

	return TRY(clone(make_network, stack + STACK, CLONE_VM | CLONE_FILES, NULL));
}

static void enter_network(int helper)
{
	int namespace;

	wait_for(&network_ready);
	namespace = TRY(ioctl(network_socket, SIOCGSKNS));
	TRY(setns(namespace, CLONE_NEWNET));
	close(namespace);
	close(network_socket);
	TRY(waitpid(helper, NULL, __WALL));
}

static int end(void *nothing)
{
	(void)nothing;
	syscall(SYS_exit, 0);
	return 0;
}

/* --- the supervisor: leases and control groups ----------------------------------------------------- */

/* "unified" has no limits here: the jail is cloned into it, so that one write ends all of it. */
enum { UNIFIED, MEMORY, PIDS, CPU, OWN_GROUPS, CPUACCT = OWN_GROUPS, CPUSET, GROUPS };
static const char *const hierarchies[GROUPS] = {"unified", "memory", "pids", "cpu", "cpuacct", "cpuset"};
static char group_paths[GROUPS][128]; /* of the last two: the parent, which all jails share */
static int unified_group, group_tasks[GROUPS], group_views[GROUPS];

/* A slot is locked as long as this process lives; its number gives the ids and the groups. */
static void lease_slot(void)
{
	char path[256];
	int slots, slot = 0;

	snprintf(path, sizeof(path), "%s/slots", state);
	slots = TRY(open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
	for (;; slot++) {
		struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = slot, .l_len = 1};

		if (fcntl(slots, F_OFD_SETLK, &lock) == 0)
			break;
	}
	id_base = 1930952704L + 65536L * slot;
	for (int i = 0; i < GROUPS; i++) {
		if (i < OWN_GROUPS)
			snprintf(group_paths[i], sizeof(group_paths[i]), "/sys/fs/cgroup/%s/%s/%d%s", hierarchies[i], group,
				 slot, present ? "p" : ""); /* not one of those that are kept */
		else
			snprintf(group_paths[i], sizeof(group_paths[i]), "/sys/fs/cgroup/%s/%s", hierarchies[i], group);
	}
}

static void set_group(int which, const char *file, const char *value)
{
	char path[192];

	snprintf(path, sizeof(path), "%s/%s", group_paths[which], file);
	write_file(AT_FDCWD, path, 0, value);
}

static void make_group_parents(void)
{
	char path[128];

	for (int i = 0; i < GROUPS; i++) {
		snprintf(path, sizeof(path), "/sys/fs/cgroup/%s/%s", hierarchies[i], group);
		if (mkdir(path, 0777) == 0 && i == CPUSET) {
			for (const char **file = (const char *[]){"cpuset.cpus", "cpuset.mems", NULL}; *file; file++) {
				char text[256] = {0};
				int fd;

				snprintf(path, sizeof(path), "/sys/fs/cgroup/cpuset/%s", *file);
				fd = TRY(open(path, O_RDONLY | O_CLOEXEC));
				TRY(read(fd, text, sizeof(text) - 1));
				close(fd);
				set_group(CPUSET, *file, text);
			}
		}
	}
}

static void make_groups(void)
{
	if (access(group_paths[CPUSET], F_OK) != 0)
		make_group_parents();
	for (int i = 0; i < OWN_GROUPS; i++)
		TRY(mkdir(group_paths[i], 0777));
	set_group(MEMORY, "memory.limit_in_bytes", "2147483648");
	set_group(MEMORY, "memory.memsw.limit_in_bytes", "2147483648");
	set_group(MEMORY, "memory.kmem.tcp.limit_in_bytes", "536870912");
	set_group(CPU, "cpu.cfs_quota_us", "200000");
	set_group(PIDS, "pids.max", "513");
}

/* Descriptors by which the jail enters its groups, and the views of them that it sees. */
static void open_groups(void)
{
	char path[192];

	unified_group = TRY(open(group_paths[UNIFIED], O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	for (int i = MEMORY; i < GROUPS; i++) {
		snprintf(path, sizeof(path), "%s/tasks", group_paths[i]);
		group_tasks[i] = TRY(open(path, O_WRONLY | O_CLOEXEC));
		group_views[i] = copy_tree(AT_FDCWD, group_paths[i], LOCKED_DOWN, 0);
	}
}

static void remove_groups(void)
{
	for (int i = 0; i < OWN_GROUPS; i++)
		TRY(rmdir(group_paths[i]));
}

/* --- descriptors through a socket ------------------------------------------------------------------ */

static void send_descriptors(int socket, int *fds, int count)
{
	char control[CMSG_SPACE(sizeof(int) * (TREES + 1))] __attribute__((aligned(16)));
	struct iovec byte = {"p", 1};
	struct msghdr message = {
		.msg_iov = &byte, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(count * sizeof(int)),
	};
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);

	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(head), fds, count * sizeof(int));
	TRY(sendmsg(socket, &message, MSG_NOSIGNAL));
}

static void receive_descriptors(int socket, int *fds, int count)
{
	char control[CMSG_SPACE(sizeof(int) * (TREES + 1))] __attribute__((aligned(16))), byte;
	struct iovec into = {&byte, 1};
	struct msghdr message = {
		.msg_iov = &into, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control),
	};

	if (TRY(recvmsg(socket, &message, MSG_CMSG_CLOEXEC)) != 1)
		_exit(125);
	memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&message)), count * sizeof(int));
}

/* --- the supervisor: held names -------------------------------------------------------------------- */

static int tree_paths[TREES]; /* what was looked up, as O_PATH */

static void hold_names(int directory)
{
	const char *socket = NULL;

	for (int i = 0; i < COUNT(held); i++) {
		if (present && held[i].directory)
			TRY(mkdirat(directory, held[i].name, 01755));
		else if (socket)
			TRY(linkat(directory, socket, directory, held[i].name, 0));
		else
			TRY(mknodat(directory, socket = held[i].name, S_IFSOCK, 0));
	}
}

static void free_names(int directory)
{
	struct stat found;

	for (int i = 0; i < COUNT(held); i++) {
		TRY(fstatat(directory, held[i].name, &found, AT_SYMLINK_NOFOLLOW));
		TRY(unlinkat(directory, held[i].name, S_ISDIR(found.st_mode) ? AT_REMOVEDIR : 0));
	}
}

static int open_workspace(void)
{
	int directory = TRY(openat(tree_paths[WORKSPACE], ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_len = 1};

	TRY(fcntl(directory, F_OFD_SETLK, &lock)); /* "needed here": another run would not remove the names */
	return directory;
}

/* Sees that the host's own changes uncover no held name: waits in the jail's mount namespace. */
static void watch(int namespace, int end_of_jail)
{
	struct pollfd wait = {.fd = end_of_jail, .events = POLLIN};
	struct stat found;
	char word;
	int directory;

	poll(&wait, 1, -1); /* until the names are covered */
	TRY(setns(namespace, CLONE_NEWNS));
	directory = TRY(open(workspace, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	fcntl(directory, F_NOTIFY, DN_CREATE | DN_DELETE | DN_RENAME | DN_MULTISHOT);
	for (int i = 0; i < COUNT(held); i++)
		fstatat(directory, held[i].name, &found, AT_SYMLINK_NOFOLLOW);
	do
		poll(&wait, 1, -1);
	while (read(end_of_jail, &word, 1) > 0);
	_exit(0);
}

/* At present: a process with its own memory makes and removes the names, and outlives a supervisor that is killed.
 * Its messages: it says 'h' (held) and 'r' (removed); it is sent the jail's mount namespace, 'c' (covered), 'e' (the
 * jail ended). */
static int start_janitor(int *line)
{
	int ends[2], namespace, covered[2];
	char word;
	pid_t janitor, watcher;

	TRY(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends));
	janitor = TRY(fork());
	if (janitor) {
		close(ends[1]);
		*line = ends[0];
		return janitor;
	}
	setsid();
	close(ends[0]);
	int directory = open_workspace();
	hold_names(directory);
	TRY(write(ends[1], "h", 1));
	receive_descriptors(ends[1], &namespace, 1);
	TRY(pipe2(covered, O_CLOEXEC));
	watcher = TRY(fork());
	if (watcher == 0) {
		close(covered[1]);
		watch(namespace, covered[0]);
	}
	close(covered[0]);
	while (read(ends[1], &word, 1) == 1 && word == 'c')
		TRY(write(covered[1], "c", 1));
	close(covered[1]);
	TRY(waitpid(watcher, NULL, 0));
	free_names(directory);
	TRY(write(ends[1], "r", 1));
	_exit(0);
}

/* --- the supervisor: paths, trees, rules ----------------------------------------------------------- */

/* Asks for the host's unix sockets, as sock_diag(7) has them: servers below a granted path are masked. */
static void list_sockets(char *buffer, size_t size)
{
	struct {
		struct nlmsghdr head;
		struct unix_diag_req ask;
	} question = {
		.head = {sizeof(question), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 0, 0},
		.ask = {.sdiag_family = AF_UNIX, .udiag_states = -1, .udiag_show = UDIAG_SHOW_NAME,
			.udiag_cookie = {-1, -1}},
	};
	int fd = TRY(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
	struct nlmsghdr *answer = (struct nlmsghdr *)buffer;

	TRY(send(fd, &question, sizeof(question), 0));
	do
		TRY(recv(fd, buffer, size, 0));
	while (answer->nlmsg_type != NLMSG_DONE && answer->nlmsg_type != NLMSG_ERROR);
	close(fd);
}

static void probe(void)
{
	static char buffer[32768] __attribute__((aligned(16)));
	char path[2304];
	struct stat found;
	int fd;

	for (int i = 0; i < TREES; i++) {
		tree_paths[i] = i == TIME ? open(trees[i].path, O_PATH | O_CLOEXEC) /* a link */
					  : look_up(AT_FDCWD, trees[i].path, O_PATH, RESOLVE_NO_SYMLINKS);
		TRY(tree_paths[i]);
		TRY(fstat(tree_paths[i], &found));
	}
	for (int i = 0; i < COUNT(held); i++) {
		snprintf(path, sizeof(path), "%s/%s", workspace, held[i].name);
		if ((fd = look_up(AT_FDCWD, path, O_PATH, RESOLVE_NO_SYMLINKS)) >= 0)
			close(fd);
	}
	if ((fd = look_up(tree_paths[WORKSPACE], ".git", O_PATH, RESOLVE_NO_SYMLINKS)) >= 0)
		close(fd);
	for (int i = 0; i < 4; i++) { /* the merged system's links */
		snprintf(path, sizeof(path), "/%s", links[i].path);
		if (readlink(path, buffer, sizeof(buffer)) < 0)
			continue;
	}
	fd = TRY(open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC));
	while (TRY(read(fd, buffer, sizeof(buffer))) > 0)
		;
	close(fd);
	fd = TRY(open("/etc/passwd", O_RDONLY | O_CLOEXEC));
	TRY(read(fd, buffer, sizeof(buffer)));
	close(fd);
	list_sockets(buffer, sizeof(buffer));
}

/* In the workspace the caller's files are the jail's user's: an idmapped mount, whose user namespace is that of a
 * process which ends at once. */
static void map_owner(int tree)
{
	static char stack[STACK] __attribute__((aligned(16)));
	struct mount_attr idmap = {.attr_set = MOUNT_ATTR_IDMAP};
	int child = TRY(clone(end, stack + STACK, CLONE_VM | CLONE_NEWUSER, NULL));
	char path[64], map[64];

	snprintf(map, sizeof(map), "0 %ld 1\n", id_base + 1000);
	snprintf(path, sizeof(path), "/proc/%d/gid_map", child);
	write_file(AT_FDCWD, path, 0, map);
	snprintf(path, sizeof(path), "/proc/%d/uid_map", child);
	write_file(AT_FDCWD, path, 0, map);
	snprintf(path, sizeof(path), "/proc/%d/ns/user", child);
	idmap.userns_fd = TRY(open(path, O_RDONLY | O_CLOEXEC));
	TRY(syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &idmap, sizeof(idmap)));
	close(idmap.userns_fd);
	TRY(waitpid(child, NULL, __WALL));
}

static void add_rule(int ruleset, int path, uint64_t access)
{
	struct landlock_path_beneath_attr rule = {.allowed_access = access, .parent_fd = path};

	TRY(syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0));
}

/* The detached trees and, last, the Landlock ruleset. */
static void make_trees(int *made)
{
	/* Later headers have a structure of this layout: file access, ports, scopes. */
	uint64_t handled[3] = {0xffff, 0, 3};

	for (int i = 0; i < TREES; i++) {
		made[i] = copy_tree(tree_paths[i], "", 0, 1);
		struct mount_attr wanted = {.attr_set = trees[i].attributes, .propagation = MS_PRIVATE};

		if (i == WORKSPACE)
			map_owner(made[i]);
		TRY(syscall(SYS_mount_setattr, made[i], "", AT_EMPTY_PATH | AT_RECURSIVE, &wanted, sizeof(wanted)));
	}
	made[TREES] = TRY(syscall(SYS_landlock_create_ruleset, handled, sizeof(handled), 0));
	for (int i = 0; i < TREES; i++)
		add_rule(made[TREES], tree_paths[i], trees[i].access);
}

/* --- the jail's root ------------------------------------------------------------------------------- */

/* What is the same in each jail. Devices are made in a ready root, and bound otherwise: mknod(2) needs privilege on
 * the host. */
static void fill_root(int root, int ready)
{
	for (int i = 0; i < COUNT(directories); i++)
		TRY(mkdirat(root, directories[i], 0755));
	for (int i = 0; i < COUNT(devices); i++) {
		char host[32];

		if (ready) {
			TRY(mknodat(root, devices[i].path, S_IFCHR | 0666, makedev(devices[i].major, devices[i].minor)));
			continue;
		}
		snprintf(host, sizeof(host), "/%s", devices[i].path);
		TRY(mknodat(root, devices[i].path, S_IFREG | 0666, 0));
		attach(copy_tree(AT_FDCWD, host, LOCKED_DOWN & ~MOUNT_ATTR_NODEV, 0), root, devices[i].path);
	}
	for (int i = 0; i < COUNT(links); i++)
		TRY(symlinkat(links[i].target, root, links[i].path));
	for (int i = 0; i < COUNT(files); i++)
		write_file(root, files[i].path, O_CREAT | O_EXCL, files[i].text);
	/* Below the later /proc: what masks show. */
	write_file(root, "proc/file", O_CREAT | O_EXCL, "");
	TRY(mkdirat(root, "proc/directory", 0));
	TRY(mknodat(root, "proc/socket", S_IFSOCK, 0));
	TRY(mkdirat(root, "proc/ignored", 0555));
	write_file(root, "proc/ignored/.gitignore", O_CREAT | O_EXCL, "*\n");
}

/* A detached copy of the ready root, which is made by the first run. */
static int ready_root(void)
{
	struct mount_attr wanted = {.attr_set = LOCKED_DOWN & ~MOUNT_ATTR_NODEV, .attr_clr = MOUNT_ATTR_NODEV};
	char path[256], fresh[256];
	int tree;

	snprintf(path, sizeof(path), "%s/root", state);
	if (access(path, F_OK) != 0) {
		snprintf(fresh, sizeof(fresh), "%s/root.new", state);
		TRY(mkdir(fresh, 0755));
		umask(0);
		tree = TRY(open(fresh, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
		fill_root(tree, 1);
		close(tree);
		TRY(rename(fresh, path));
	}
	tree = copy_tree(AT_FDCWD, path, 0, 0);
	TRY(syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &wanted, sizeof(wanted)));
	return tree;
}

/* --- the jail: its tree ---------------------------------------------------------------------------- */

static int mask(int root, const char *name)
{
	int tree = copy_tree(root, name, LOCKED_DOWN, 0);

	attach(tree, root, name); /* an attached copy can be copied again, when /proc is above its name */
	return tree;
}

static void mask_each(int with, int root, const char *const *names, int count)
{
	char path[64];
	int spare = -1; /* a copy whose name this kernel does not have serves the next one */

	for (int i = 0; i < count; i++) {
		int tree = spare >= 0 ? spare : copy_tree(with, "", 0, 0);

		snprintf(path, sizeof(path), "proc/%s", names[i]);
		spare = syscall(SYS_move_mount, tree, "", root, path, MOVE_MOUNT_F_EMPTY_PATH) ? tree : -1;
	}
}

/* /dev/pts, /proc with its masks, and the writable tmpfs. Returns the mask of a held socket; `directory`: that of
 * a held directory. */
static int mount_kernel_filesystems(int root, int *directory)
{
	int fs, sys, with_file, with_directory, with_socket;

	fs = open_filesystem("devpts");
	configure(fs, "newinstance", NULL);
	configure(fs, "ptmxmode", "0666");
	configure(fs, "mode", "0600");
	configure(fs, "max", "256");
	attach(make_mount(fs, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC), root, "dev/pts");

	with_file = mask(root, "proc/file");
	with_directory = mask(root, "proc/directory");
	with_socket = mask(root, "proc/socket");
	*directory = present ? mask(root, "proc/ignored") : -1;
	fs = open_filesystem("proc");
	configure(fs, "hidepid", "invisible");
	attach(make_mount(fs, WRITABLE), root, "proc");
	write_file(root, "proc/sys/user/max_inotify_instances", 0, "32");
	write_file(root, "proc/sys/user/max_inotify_watches", 0, "65536");
	sys = TRY(look_up(root, "proc/sys", O_PATH, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS));
	fs = copy_tree(sys, "", LOCKED_DOWN, 1);
	attach(fs, sys, "");
	close(fs);
	close(sys);
	mask_each(with_directory, root, masked_directories, COUNT(masked_directories));
	mask_each(with_file, root, masked_files, COUNT(masked_files));

	attach(make_tmpfs("1777", "536870912", "65536", NULL), root, "tmp");
	attach(make_tmpfs("700", "536870912", "65536", "1000"), root, "root");
	attach(make_tmpfs("1777", "536870912", "65536", NULL), root, "dev/shm");
	return with_socket;
}

static void attach_trees(int root, const int *made)
{
	char path[2048];
	int time;

	for (int i = 0; i < TREES; i++) {
		if (i == TIME || i == WORKSPACE)
			continue;
		attach(made[i], root, trees[i].path + 1);
	}
	snprintf(path, sizeof(path), "%s", workspace + 1);
	for (char *slash = path; (slash = strchr(slash, '/')); *slash++ = '/') {
		*slash = '\0';
		if (mkdirat(root, path, 0755) != 0 && errno != EEXIST)
			TRY(-1);
	}
	TRY(mkdirat(root, path, 0755));
	attach(made[WORKSPACE], root, path);
	time = TRY(look_up(root, "usr/share/zoneinfo/Etc/UTC", O_PATH, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS));
	attach(made[TIME], time, "");
	close(time);
	for (int i = MEMORY; i < GROUPS; i++) {
		snprintf(path, sizeof(path), "sys/fs/cgroup/%s", hierarchies[i]);
		attach(group_views[i], root, path);
	}
}

/* --- the jail: confinement ------------------------------------------------------------------------- */

static void limit(int resource, rlim_t soft, rlim_t hard)
{
	struct rlimit wanted = {soft, hard}, before;

	TRY(prlimit(0, resource, NULL, &before));
	TRY(prlimit(0, resource, &wanted, NULL));
}

static void drop_privileges(void)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct none[2] = {{0}};

	syscall(SYS_keyctl, 1, NULL, 0, 0, 0); /* a session keyring of its own */
	limit(RLIMIT_CORE, 1, 1);
	limit(RLIMIT_FSIZE, 4L << 30, 4L << 30);
	limit(RLIMIT_MEMLOCK, 65536, 65536);
	limit(RLIMIT_MSGQUEUE, 0, 0);
	limit(RLIMIT_SIGPENDING, 4096, 4096);
	limit(RLIMIT_NICE, 0, 0);
	limit(RLIMIT_RTPRIO, 0, 0);
	limit(RLIMIT_CPU, 3600, 3601);

	prctl(PR_SET_SECUREBITS, 4); /* no fixup: the ids change, the capabilities are dropped below */
	TRY(syscall(SYS_setgroups, 0, NULL));
	TRY(syscall(SYS_setresgid, 1000, 1000, 1000));
	TRY(syscall(SYS_setresuid, 1000, 1000, 1000));
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	for (int capability = 0; capability <= CAP_LAST_CAP; capability++)
		prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
	prctl(PR_SET_SECUREBITS, 0xef);
	TRY(syscall(SYS_capset, &header, none));
	TRY(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	prctl(PR_SET_DUMPABLE, 0);
}

static void restrict_files(int ruleset)
{
	for (int i = 0; i < COUNT(own); i++) {
		int path = TRY(open(own[i].path, O_PATH | O_CLOEXEC));

		add_rule(ruleset, path, own[i].access);
		close(path);
	}
	TRY(syscall(SYS_landlock_restrict_self, ruleset, 0));
}

/* --- the jail: from its birth to the command's end ------------------------------------------------- */

static int line[2]; /* between supervisor and jail: "!" when the ids are mapped, then what the jail needs */
static int out[2], err[2];

static int run_command(void *nothing)
{
	char *environment[] = {"PATH=/usr/bin:/bin", "HOME=/root", "USER=agent", NULL};
	sigset_t none;

	(void)nothing;
	sigemptyset(&none);
	setpgid(0, 0);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve(command[0], command, environment);
	_exit(127);
}

/* As pid 1: reaps until the command has ended. */
static void reap(int child, const sigset_t *all)
{
	siginfo_t signal;
	int ended, status;

	for (;;) {
		syscall(SYS_rt_sigtimedwait, all, &signal, NULL, 8);
		while ((ended = waitpid(-1, &status, WNOHANG)) > 0)
			if (ended == child)
				_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
		if (ended < 0)
			_exit(125);
	}
}

static void jail(int root, int *made)
{
	static char stack[STACK] __attribute__((aligned(16)));
	struct sock_fprog program = {COUNT(filter), filter};
	struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
	int helper = 0, null, socket, directory, place;
	sigset_t all;
	char byte;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	TRY(read(line[1], &byte, 1));
	TRY(syscall(SYS_setgroups, 0, NULL));
	TRY(syscall(SYS_setresgid, 0, 0, 0));
	TRY(syscall(SYS_setresuid, 0, 0, 0));
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!present)
		helper = start_network_helper();

	TRY(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	umask(0);
	if (present)
		root = make_tmpfs("0755", "1048576", "1024", NULL);
	attach(root, AT_FDCWD, "/");
	if (present)
		fill_root(root, 0);
	socket = mount_kernel_filesystems(root, &directory);
	if (!present)
		receive_descriptors(line[1], made, TREES + 1);
	attach_trees(root, made);
	if (present)
		TRY(read(line[1], &byte, 1)); /* the names are held */
	place = TRY(look_up(root, workspace + 1, O_PATH, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS));
	for (int i = 0; i < COUNT(held); i++) {
		int cover = copy_tree(present && held[i].directory ? directory : socket, "", 0, 0);

		attach(cover, place, held[i].name);
		close(cover);
	}
	null = TRY(openat(root, "dev/null", O_RDONLY | O_CLOEXEC));
	TRY(fchdir(root));
	TRY(syscall(SYS_pivot_root, ".", "."));
	TRY(umount2(".", MNT_DETACH));
	TRY(chdir("/"));
	TRY(syscall(SYS_mount_setattr, root, "", AT_EMPTY_PATH, &read_only, sizeof(read_only)));

	if (!present)
		enter_network(helper);
	TRY(sethostname("creel", 5));
	for (int i = MEMORY; i < GROUPS; i++)
		TRY(write(group_tasks[i], "0", 1));
	TRY(unshare(CLONE_NEWCGROUP));
	drop_privileges();
	restrict_files(made[TREES]);
	setsid();
	TRY(dup2(null, 0));
	TRY(dup2(out[1], 1));
	TRY(dup2(err[1], 2));
	TRY(dup3(line[1], 3, O_CLOEXEC));
	TRY(syscall(SYS_close_range, 4, ~0U, 0));
	limit(RLIMIT_NOFILE, 4096, 4096);
	place = TRY(look_up(AT_FDCWD, workspace, O_PATH | O_DIRECTORY, RESOLVE_NO_MAGICLINKS));
	TRY(fchdir(place));
	close(place);
	TRY(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
	if (present)
		TRY(write(3, "c", 1)); /* the watcher may enter */
	reap(TRY(clone(run_command, stack + STACK, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL)), &all);
}

/* --- the supervisor: the whole run ----------------------------------------------------------------- */

static int start_jail(int root, int *made, int *ended)
{
	struct clone_args args = {
		.flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWUSER | CLONE_PIDFD |
			 CLONE_INTO_CGROUP,
		.pidfd = (uintptr_t)ended,
		.exit_signal = SIGCHLD,
		.cgroup = unified_group,
	};
	char path[64], map[64];
	int child = TRY(syscall(SYS_clone3, &args, sizeof(args)));

	if (child == 0) {
		close(line[0]);
		jail(root, made);
	}
	close(line[1]);
	close(out[1]);
	close(err[1]);
	snprintf(map, sizeof(map), "0 %ld 65536\n", id_base);
	snprintf(path, sizeof(path), "/proc/%d/gid_map", child);
	write_file(AT_FDCWD, path, 0, map);
	snprintf(path, sizeof(path), "/proc/%d/uid_map", child);
	write_file(AT_FDCWD, path, 0, map);
	TRY(write(line[0], "!", 1));
	return child;
}

/* Carries the command's output until the jail has ended. */
static void carry(int ended, int janitor_line)
{
	struct pollfd ready[] = {{ended, POLLIN, 0}, {out[0], POLLIN, 0}, {err[0], POLLIN, 0}, {line[0], POLLIN, 0}};
	char buffer[4096];

	for (;;) {
		TRY(poll(ready, COUNT(ready), -1));
		for (int i = 1; i < COUNT(ready); i++) {
			ssize_t got = ready[i].revents ? read(ready[i].fd, buffer, sizeof(buffer)) : -1;

			if (ready[i].revents && got <= 0)
				ready[i].fd = -1;
			else if (got > 0)
				TRY(write(i == 3 ? janitor_line : i, buffer, got));
		}
		if (ready[0].revents)
			return;
	}
}

int main(int argc, char **argv)
{
	int made[TREES + 1], root = -1, child, ended = -1, status, janitor = 0, janitor_line = -1, helper = 0;
	int outside, namespace, directory = -1;
	char word, path[64];

	present = argc > 1 && strcmp(argv[1], "-p") == 0;
	if (argc < 4 + present) {
		fprintf(stderr, "usage: bound [-p] STATE GROUP COMMAND [ARG...]\n");
		return 125;
	}
	state = argv[1 + present];
	group = argv[2 + present];
	command = argv + 3 + present;
	TRY(getcwd(workspace, sizeof(workspace)) ? 0 : -1);
	TRY(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, line));
	TRY(pipe2(out, O_CLOEXEC));
	TRY(pipe2(err, O_CLOEXEC));
	lease_slot();

	if (present) {
		helper = start_network_helper();
		probe();
		janitor = start_janitor(&janitor_line);
		make_trees(made);
		make_groups();
		open_groups();
		/* The jail inherits the network namespace; this process visits it for the clone. */
		outside = TRY(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
		enter_network(helper);
		child = start_jail(root, made, &ended);
		TRY(setns(outside, CLONE_NEWNET));
		snprintf(path, sizeof(path), "/proc/%d/ns/mnt", child);
		namespace = TRY(open(path, O_RDONLY | O_CLOEXEC));
		send_descriptors(janitor_line, &namespace, 1);
		TRY(read(janitor_line, &word, 1)); /* 'h' */
		TRY(write(line[0], "n", 1));
	} else {
		if (access(group_paths[UNIFIED], F_OK) != 0)
			make_groups();
		open_groups();
		root = ready_root();
		child = start_jail(root, made, &ended);
		probe();
		make_trees(made);
		directory = open_workspace();
		hold_names(directory);
		send_descriptors(line[0], made, TREES + 1);
	}

	carry(ended, janitor_line);
	TRY(waitpid(child, &status, __WALL));
	if (present) {
		TRY(write(janitor_line, "e", 1));
		remove_groups();
		TRY(read(janitor_line, &word, 1)); /* 'r' */
		TRY(waitpid(janitor, NULL, 0));
	} else {
		free_names(directory);
	}
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}
