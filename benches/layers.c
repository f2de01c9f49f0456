/*
 * Runs a command under single layers of confinement, each as small as the kernel lets it be: the price of having
 * the layer at all.
 *
 *   layers [-f] [-l] [-m DIR] COMMAND [ARG...]
 *
 *   -f       a seccomp filter of one instruction: allow
 *   -l       a Landlock domain of one rule: everything, below /
 *   -m DIR   DIR is an idmapped mount, each id mapped to itself (root only)
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/mount.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* glibc's <sys/mount.h> and the kernel's <linux/mount.h> exclude each other on Debian 12. */
int mount(const char *, const char *, const char *, unsigned long, const void *);

#define TRY(call) try((long)(call), #call)

static long try(long result, const char *call)
{
	if (result < 0) {
		fprintf(stderr, "layers: %s: %s\n", call, strerror(errno));
		exit(125);
	}
	return result;
}

static void filter(void)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = {.len = 1, .filter = &allow};

	TRY(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	TRY(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
}

static void landlock(void)
{
	/* Rights of Landlock ABI 3 (Linux 6.2): what a plain open, truncate, rename and exec need. */
	uint64_t rights = LANDLOCK_ACCESS_FS_MAKE_SYM << 3, all = rights - 1;
	struct landlock_path_beneath_attr rule = {.allowed_access = all};
	int ruleset = TRY(syscall(SYS_landlock_create_ruleset, &all, sizeof(all), 0));

	rule.parent_fd = TRY(open("/", O_PATH | O_CLOEXEC));
	TRY(syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0));
	TRY(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	TRY(syscall(SYS_landlock_restrict_self, ruleset, 0));
}

static void write_map(int child, const char *name)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", child, name);
	fd = TRY(open(path, O_WRONLY | O_CLOEXEC));
	TRY(write(fd, "0 0 4294967295", 14));
	close(fd);
}

/* The user namespace of a mount's map is that of a child which waits for its end. */
static int user_namespace(void)
{
	char path[64];
	int fd, child = TRY(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL));

	if (child == 0)
		for (;;)
			pause();
	write_map(child, "uid_map");
	write_map(child, "gid_map");
	snprintf(path, sizeof(path), "/proc/%d/ns/user", child);
	fd = TRY(open(path, O_RDONLY | O_CLOEXEC));
	kill(child, SIGKILL);
	TRY(waitpid(child, NULL, 0));
	return fd;
}

static void idmap(const char *directory)
{
	struct mount_attr map = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = user_namespace()};
	int tree = TRY(syscall(SYS_open_tree, AT_FDCWD, directory, OPEN_TREE_CLONE | O_CLOEXEC));

	TRY(syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &map, sizeof(map)));
	TRY(unshare(CLONE_NEWNS));
	TRY(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	TRY(syscall(SYS_move_mount, tree, "", AT_FDCWD, directory, MOVE_MOUNT_F_EMPTY_PATH));
}

int main(int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "+flm:")) != -1) {
		if (option == 'f')
			filter();
		else if (option == 'l')
			landlock();
		else if (option == 'm')
			idmap(optarg);
		else
			return 125;
	}
	if (optind == argc) {
		fprintf(stderr, "usage: layers [-f] [-l] [-m DIR] COMMAND [ARG...]\n");
		return 125;
	}
	execvp(argv[optind], argv + optind);
	perror(argv[optind]);
	return 127;
}
