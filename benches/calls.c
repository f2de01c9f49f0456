/*
 * What a system call costs.
 *
 *   calls getpid [SAMPLES [CALLS]]      getpid(2), which does nothing: entry, exit and the seccomp filter are all
 *   calls PATH [SAMPLES [CALLS]]        open(2) and close(2) of this file: the walk of the path, and Landlock's
 *
 * Prints the nanoseconds of one call (of one open and close), a line for each sample. Default: 5 samples of
 * 200000 calls, of 20000 for a file.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static void get_pids(long calls)
{
	for (long call = 0; call < calls; call++)
		syscall(SYS_getpid);
}

static void open_and_close(const char *path, long calls)
{
	for (long call = 0; call < calls; call++) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		if (fd < 0) {
			perror(path);
			exit(1);
		}
		close(fd);
	}
}

int main(int argc, char **argv)
{
	int loop = argc > 1 && strcmp(argv[1], "getpid") == 0;
	long samples = argc > 2 ? atol(argv[2]) : 5;
	long calls = argc > 3 ? atol(argv[3]) : loop ? 200000 : 20000;

	if (argc < 2 || samples < 1 || calls < 1)
		return 2;
	/* One more than asked for: the first warms up. */
	for (long sample = -1; sample < samples; sample++) {
		double start = now();

		if (loop)
			get_pids(calls);
		else
			open_and_close(argv[1], calls);
		if (sample >= 0)
			printf("%.3f\n", (now() - start) / calls);
	}
	return 0;
}
