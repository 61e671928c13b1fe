/*
 * Resources: the OCI `linux.resources` section written into a cgroup, and what the cgroup reports
 * back as statistics. One table per cgroup version says which key goes to which file; the special
 * cases (memory with swap, CPU shares as weight, devices) stand beside it.
 *
 * Source: runtime-spec config-linux.md. A key that the configuration sets and the host cannot hold
 * is an error that names controller, file and value; keys that are not set touch nothing.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/base/err.h"
#include "ground/base/str.h"

struct cgroup;
struct json;
struct spec_resources; /* virt/container/spec.h */
struct spec_seccomp;
struct seccomp_config;
struct arena;

/* CGROUP_BITs of the controllers that r asks for; r may be NULL. For cgroup_want.need. */
unsigned int resources_need(const struct spec_resources *r);

/*
 * Writes every limit of a new cgroup, device rules included (the configuration's, then the rules
 * every container needs: mknod of anything, and null zero full random urandom tty console ptmx
 * pts). r may be NULL: device rules only if the host has them. Without the null object nothing is
 * fatal but what r asks for.
 */
int resources_apply(struct cgroup *cg, const struct spec_resources *r, struct err *e) must_use;

/* The same for a running container (`update`): only what r sets changes; device rules only if
 * given. */
int resources_update(struct cgroup *cg, const struct spec_resources *r, struct err *e) must_use;

/* CPU shares 2..262144 as a v2 weight 1..10000, logarithmic so that 1024 becomes 100. 0 stays 0. */
uint64_t resources_cpu_weight(uint64_t shares);
/* blkio weight 10..1000 as a v2 io.weight 1..10000. 0 stays 0. */
uint64_t resources_io_weight(uint64_t weight);

/*
 * Statistics as runc's `events --stats` prints them under "data": cpu, memory, pids, blkio,
 * hugetlb, cpuset. A new tree the caller frees. What a host does not offer is left out.
 */
int resources_stats(struct cgroup *cg, struct json **ret, struct err *e) must_use;

/*
 * One line of `events`: {"type":"stats","id":ID,"data":{...}} or {"type":"oom","id":ID}.
 */
void resources_event(const char *type, const char *id, struct json *data, struct strbuf *out);

/* The spec's seccomp section in the shape that ground compiles; the result lives in the arena. */
int resources_seccomp(const struct spec_seccomp *s, struct arena *a, struct seccomp_config *ret,
		      struct err *e) must_use;

/*
 * The JSON a seccomp agent receives together with the listener (runtime-spec "Container Process
 * State"): `state` is the container's state object and is consumed.
 */
struct json *resources_seccomp_state(int pid, const char *metadata, struct json *state);
