/*
 * Verbs on containers that exist: list, act on, read, remove. All take the same options struct;
 * each reads the fields that its own table of options fills.
 */
#pragma once

#include "cli/cli.h"

struct container_options {
	bool all, quiet, no_trunc, follow, timestamps, force, volumes, no_stream, attach,
		interactive, size;
	const char *tail, *since, *until, *signal, *format, *type;
	char **filter;
	int64_t timeout; /* seconds; -1: not given */
};

int container_list_verb(const struct context *c, void *options, int argc, char **argv,
			struct err *e);
int container_logs_verb(const struct context *c, void *options, int argc, char **argv,
			struct err *e);
int container_start_verb(const struct context *c, void *options, int argc, char **argv,
			 struct err *e);
int container_stop_verb(const struct context *c, void *options, int argc, char **argv,
			struct err *e);
int container_restart_verb(const struct context *c, void *options, int argc, char **argv,
			   struct err *e);
int container_kill_verb(const struct context *c, void *options, int argc, char **argv,
			struct err *e);
int container_pause_verb(const struct context *c, void *options, int argc, char **argv,
			 struct err *e);
int container_unpause_verb(const struct context *c, void *options, int argc, char **argv,
			   struct err *e);
int container_remove_verb(const struct context *c, void *options, int argc, char **argv,
			  struct err *e);
int container_wait_verb(const struct context *c, void *options, int argc, char **argv,
			struct err *e);
int container_rename_verb(const struct context *c, void *options, int argc, char **argv,
			  struct err *e);
int container_inspect_verb(const struct context *c, void *options, int argc, char **argv,
			   struct err *e);
int container_top_verb(const struct context *c, void *options, int argc, char **argv,
		       struct err *e);
int container_stats_verb(const struct context *c, void *options, int argc, char **argv,
			 struct err *e);
