/*
 * Runs several commands in turn, many rounds, and prints how long each took: interleaved, so that
 * what disturbs the machine disturbs all alike.
 *
 * usage: race ROUNDS NAME COMMAND... [::: NAME COMMAND...]...
 * Prints one line per command: name, median, least and 95th percentile of the wall time in
 * microseconds. A command that fails ends the race. The first tenth of the rounds is not counted.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RUNNERS_MAX 16

struct runner {
	char *name, **argv;
	int64_t *took_us;
};

static int64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int order(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static int64_t run_once(const struct runner *r)
{
	int64_t begin = now_us();
	int status;
	pid_t pid = vfork();

	if (pid == 0) {
		execv(r->argv[0], r->argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || status != 0) {
		fprintf(stderr, "race: '%s' failed (status %d)\n", r->name, status);
		exit(1);
	}
	return now_us() - begin;
}

/* Splits the arguments at ":::". */
static int split(char **argv, struct runner *runners)
{
	int n = 0;

	while (*argv && n < RUNNERS_MAX) {
		runners[n].name = *argv++;
		runners[n++].argv = argv;
		while (*argv && strcmp(*argv, ":::") != 0)
			argv++;
		if (*argv)
			*argv++ = NULL;
	}
	return n;
}

int main(int argc, char **argv)
{
	struct runner runners[RUNNERS_MAX];
	int rounds = argc > 3 ? (int)strtol(argv[1], NULL, 10) : 0;
	int count, warm = rounds / 10 + 1;

	if (rounds < 1) {
		fprintf(stderr, "usage: race ROUNDS NAME COMMAND... [::: NAME COMMAND...]...\n");
		return 2;
	}
	count = split(argv + 2, runners);
	for (int i = 0; i < count; i++)
		runners[i].took_us = calloc((size_t)rounds, sizeof(int64_t));
	for (int round = -warm; round < rounds; round++)
		for (int i = 0; i < count; i++) {
			int64_t took = run_once(&runners[i]);
			if (round >= 0)
				runners[i].took_us[round] = took;
		}
	for (int i = 0; i < count; i++) {
		qsort(runners[i].took_us, (size_t)rounds, sizeof(int64_t), order);
		printf("%s %lld %lld %lld\n", runners[i].name,
		       (long long)runners[i].took_us[rounds / 2], (long long)runners[i].took_us[0],
		       (long long)runners[i].took_us[rounds * 95 / 100]);
	}
	return 0;
}
