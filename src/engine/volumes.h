/*
 * Volumes, as an API sees them.
 */
#pragma once

#include "engine/workload.h"

struct volume_request {
	char *name, *driver; /* name NULL or "": anonymous; driver "local" */
	struct json_pair *options, *labels;
};
int volume_request_read(const struct json *body, struct arena *a, struct volume_request *ret,
			struct err *e) must_use;

struct volume_view {
	const char *name, *driver, *mountpoint, *scope; /* "local" */
	int64_t created_ns;
	const struct json_pair *options, *labels;
	int64_t size_bytes; /* -1: not measured */
	int ref_count;
};
typedef void engine_volume_made(void *ctx, const struct volume_view *v, const struct err *e);
/* Making one that exists with the same driver succeeds. */
void engine_volume_create(struct user *u, const struct volume_request *r, engine_volume_made *done,
			  void *ctx);
/* ERR_CONFLICT: in use, by which containers. */
void engine_volume_remove(struct user *u, const char *name, bool force, engine_done *done,
			  void *ctx);
/* filters: all (named ones, too; `all` is what a client means that does not say), label. */
void engine_volume_prune(struct user *u, const struct filters *f, bool all, engine_pruned *done,
			 void *ctx);
int engine_volume_inspect(struct user *u, const char *name, struct arena *a,
			  struct volume_view **ret, struct err *e) must_use;
/* filters: dangling driver label name. */
int engine_volumes(struct user *u, const struct filters *f, struct arena *a,
		   struct volume_view ***ret, size_t *ret_n, struct err *e) must_use;
