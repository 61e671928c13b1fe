/*
 * Makers: short-lived forked children that do what takes memory or time (reading a configuration,
 * making a container or an exec, changing limits) and hand the outcome back over a socket. What a
 * maker starts becomes the keeper's child when the maker ends, since the keeper is a subreaper.
 *
 * The outcome comes by callback when the maker has ended its work; the keeper serves everybody else
 * meanwhile. A maker that dies without a word is an error of kind internal.
 */
#pragma once

#include <sys/types.h>

#include "ground/base/arena.h"
#include "ground/base/err.h"
#include "virt/container/container.h"
#include "virt/keeper/turn.h"

struct maker;

#define MAKER_TEXT_MAX 8192

/* What a maker did. Texts are valid during the callback; descriptors are taken with take_fd(). */
struct maker_outcome {
	bool killed;	/* it ended without an answer: what it began is still there */
	struct err err; /* kind ERR_NONE: it worked */
	int exit_code;	/* of a failure, as container_exit_code() says */
	pid_t pid;
	uint64_t start_time;
	int pidfd, console; /* -1: none */
	const char *cgroup; /* cgroup_save()'s text, "" for none */
};

/*
 * In the child: does the work and fills *ret (its process, and its cgroup if it made one). All of
 * the keeper's memory is there as a copy; all of its descriptors, too.
 */
typedef int maker_work(const void *job, struct container *ret, struct err *e);
typedef void maker_done(void *ctx, struct maker_outcome *outcome);

int maker_start(struct turn *turn, maker_work *work, const void *job, maker_done *done, void *ctx,
		struct maker **ret, struct err *e) must_use;
/* Forgets the maker: no callback comes. NULL is fine; returns NULL. */
struct maker *maker_free(struct maker *m);
