/*
 * Times commands against each other, in turn: A B C A B C ..., so that whatever else the machine does
 * falls on all of them alike.
 *
 *   pairs [-n ROUNDS] [-w WARMUP] LABEL CMD [ARG...] [::: LABEL CMD [ARG...]]...
 *
 * Prints a line for each sample: LABEL, round, nanoseconds from before posix_spawn(3) until wait4(2)
 * has reaped the command (CLOCK_MONOTONIC), peak RSS in KiB; separated by tabs. Every second round
 * runs backwards: the kernel takes a dead command's namespaces apart in the background, and with one
 * order for all rounds the same command would always pay for its neighbour's.
 *
 * The peak is ru_maxrss: the largest of the command and of all descendants that were waited for.
 * exec(2) carries over the peak of the memory it replaces, which is this program's own; so it is
 * linked statically, to be smaller than anything it measures.
 *
 * stdin, stdout and stderr of the commands are a nameless file. Exit status: 0; 1 when a command did not
 * exit 0; 2 wrong usage; 128+N after signal N, once the running command has ended.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST 16

struct command {
	const char *label;
	char **argv;
};

extern char **environ;

static volatile sig_atomic_t stopped_by;

static int parse(char **words, struct command *commands);
static int number(const char *word, int least);
static int sample(const struct command *command, posix_spawn_file_actions_t *stdio,
		  int64_t *ns, long *kib);
static void catch(int signal);

/* An unlinked file for the output that nobody reads. */
static int sink(void)
{
	static int fd = -1;

	if (fd < 0)
		fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0) {
		perror("/tmp");
		exit(2);
	}
	return fd;
}

int main(int argc, char **argv)
{
	struct command commands[MOST];
	posix_spawn_file_actions_t stdio;
	int rounds = 50, warmup = 5, count, option;

	while ((option = getopt(argc, argv, "+n:w:")) != -1) {
		if (option == 'n')
			rounds = number(optarg, 1);
		else if (option == 'w')
			warmup = number(optarg, 0);
		else
			return 2;
	}
	count = parse(argv + optind, commands);
	catch(SIGHUP);
	catch(SIGINT);
	catch(SIGTERM);

	posix_spawn_file_actions_init(&stdio);
	/* A nameless file, not /dev/null: gVisor gives its stdio away with fchown, and /dev/null is
	 * everybody's. */
	for (int fd = 0; fd < 3; fd++)
		posix_spawn_file_actions_adddup2(&stdio, sink(), fd);

	for (int round = -warmup; round < rounds; round++) {
		for (int turn = 0; turn < count; turn++) {
			int backwards = round & 1;
			const struct command *command = &commands[backwards ? count - 1 - turn : turn];
			int64_t ns;
			long kib;

			if (sample(command, &stdio, &ns, &kib) != 0)
				return 1;
			if (stopped_by)
				return 128 + stopped_by;
			if (round >= 0)
				printf("%s\t%d\t%" PRId64 "\t%ld\n", command->label, round, ns, kib);
		}
	}
	return fflush(stdout) == 0 ? 0 : 1;
}

static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int sample(const struct command *command, posix_spawn_file_actions_t *stdio,
		  int64_t *ns, long *kib)
{
	struct rusage usage;
	int64_t start;
	int status, error;
	pid_t pid, got;

	start = now();
	error = posix_spawnp(&pid, command->argv[0], stdio, NULL, command->argv, environ);
	if (error != 0) {
		fprintf(stderr, "pairs: %s: cannot start %s: %s\n", command->label,
			command->argv[0], strerror(error));
		return -1;
	}
	do
		got = wait4(pid, &status, 0, &usage);
	while (got < 0 && errno == EINTR);
	*ns = now() - start;
	*kib = usage.ru_maxrss;
	/* A Ctrl-C reaches the command too; what it died of then is nobody's fault. */
	if (stopped_by)
		return 0;
	if (got != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		fprintf(stderr, "pairs: %s: %s %d\n", command->label,
			WIFSIGNALED(status) ? "signal" : "exit status",
			WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
		return -1;
	}
	return 0;
}

/* Cuts the words at ":::"; the array's NULL and the separators end each argv. */
static int parse(char **words, struct command *commands)
{
	int count = 0;

	while (*words != NULL) {
		if (count == MOST || words[1] == NULL || strcmp(words[1], ":::") == 0) {
			fprintf(stderr, "usage: pairs [-n ROUNDS] [-w WARMUP] LABEL CMD [ARG...] "
					"[::: LABEL CMD [ARG...]]... (at most %d)\n", MOST);
			exit(2);
		}
		commands[count].label = *words++;
		commands[count++].argv = words;
		while (*words != NULL && strcmp(*words, ":::") != 0)
			words++;
		if (*words != NULL)
			*words++ = NULL;
	}
	if (count == 0) {
		fprintf(stderr, "pairs: no command\n");
		exit(2);
	}
	return count;
}

static int number(const char *word, int least)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(word, &end, 10);
	if (errno != 0 || end == word || *end != '\0' || value < least || value > 1000000) {
		fprintf(stderr, "pairs: %s is not a number from %d to 1000000\n", word, least);
		exit(2);
	}
	return (int)value;
}

static void note(int signal)
{
	stopped_by = signal;
}

/* What our caller ignores stays ignored: a background job of a script outlives a Ctrl-C. */
static void catch(int signal)
{
	struct sigaction action = {.sa_handler = note}, old;

	if (sigaction(signal, NULL, &old) == 0 && old.sa_handler != SIG_IGN)
		sigaction(signal, &action, NULL);
}
