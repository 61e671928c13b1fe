/*
 * Images on the command line: pull, push, load, save, import, tag, images, rmi. The daemon does the
 * work; what streams back is drawn by progress.h.
 */
#pragma once

#include "cli/cli.h"

/* Pulls with progress on the terminal; `platform` may be NULL. */
int image_pull(const struct context *c, const char *reference, const char *platform, bool quiet,
	       struct err *e) must_use;

struct image_options {
	bool quiet, all, force, digests;
	const char *platform, *file, *message;
};

int image_pull_verb(const struct context *c, void *options, int argc, char **argv, struct err *e);
int image_push_verb(const struct context *c, void *options, int argc, char **argv, struct err *e);
int image_load_verb(const struct context *c, void *options, int argc, char **argv, struct err *e);
int image_save_verb(const struct context *c, void *options, int argc, char **argv, struct err *e);
int image_import_verb(const struct context *c, void *options, int argc, char **argv, struct err *e);
int image_tag_verb(const struct context *c, void *options, int argc, char **argv, struct err *e);
int image_list_verb(const struct context *c, void *options, int argc, char **argv, struct err *e);
int image_remove_verb(const struct context *c, void *options, int argc, char **argv, struct err *e);
