/*
 * The daemon's life as the command line sees it: started when a verb finds nobody listening, kept
 * alive by a small supervisor (`hull supervise`, no systemd needed), ended by `hull down`.
 */
#pragma once

#include "cli/cli.h"

/* Starts a supervised hulld for this root and run directory, says so on standard error, and waits
 * until it answers. Does nothing when one answers already. */
int daemon_ensure(const struct context *c, struct err *e) must_use;

/* Whether somebody answers at the socket. */
bool daemon_answers(const struct context *c);

struct daemon_up_options {
	const char *listen; /* where the Kubernetes API listens; NULL: as before, or the usual */
};

struct daemon_down_options {
	bool keep; /* leave the containers running */
};

int daemon_kubeconfig(const struct context *c, void *options, int argc, char **argv, struct err *e);
int daemon_up(const struct context *c, void *options, int argc, char **argv, struct err *e);
int daemon_down(const struct context *c, void *options, int argc, char **argv, struct err *e);
int daemon_status(const struct context *c, void *options, int argc, char **argv, struct err *e);
int daemon_supervise(const struct context *c, void *options, int argc, char **argv, struct err *e);
