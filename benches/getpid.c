/*
 * What a syscall costs: getpid(2), which does nothing in the kernel, so that entry, exit and the
 * seccomp filter are all there is.
 *
 *   getpid [-f] [SAMPLES [CALLS]]      (default: 5 samples of 200000 calls)
 *
 * Prints the nanoseconds of one call, a line for each sample. -f: under a filter of one instruction,
 * "allow", which is the least that any seccomp filter can cost.
 */
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int allow_all(void)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = {.len = 1, .filter = &allow};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return -1;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

int main(int argc, char **argv)
{
	long samples = 5, calls = 200000;
	int option;

	while ((option = getopt(argc, argv, "f")) != -1) {
		if (option != 'f')
			return 2;
		if (allow_all() != 0) {
			perror("seccomp");
			return 1;
		}
	}
	if (optind < argc)
		samples = atol(argv[optind++]);
	if (optind < argc)
		calls = atol(argv[optind++]);
	if (samples < 1 || calls < 1)
		return 2;
	/* One more than asked for: the first warms up. */
	for (long sample = -1; sample < samples; sample++) {
		double start = now();

		for (long call = 0; call < calls; call++)
			syscall(SYS_getpid);
		if (sample >= 0)
			printf("%.3f\n", (now() - start) / calls);
	}
	return 0;
}
