/*
 * The Docker Engine API (versions 1.24 to 1.51) over the engine: one table of routes, JSON shapes,
 * streams. It keeps no state of its own; a request becomes engine calls and their answers become
 * Docker's JSON. Which owner a client speaks for is said by the header X-Hull-Owner (docker, cli,
 * kube), Docker's own clients are `docker`: each sees and touches only its own workloads.
 *
 * Not here: swarm (503), plugins, BuildKit sessions (404), building and searching (501).
 */
#pragma once

#include "ground/base/err.h"

struct loop;
struct engine;
struct docker;

#define DOCKER_API_MINOR     51 /* 1.51 */
#define DOCKER_API_MINOR_MIN 24 /* 1.24 */

int docker_new(struct loop *l, struct engine *engine, struct docker **ret, struct err *e) must_use;
/* Serves a listening socket (unix, or TCP); it is taken, also on failure. */
int docker_listen(struct docker *d, int fd, struct err *e) must_use;
/* Before the engine is freed. Returns NULL. */
struct docker *docker_free(struct docker *d);
