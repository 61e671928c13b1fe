/*
 * The inside's part of the cgroup: it joins by itself, since a write of one's own pid to `tasks`
 * takes no global lock, and joins the memory controller last, so that what the set-up needed is not
 * charged to the container. In a user namespace the caller has done it from outside.
 */
#include <sched.h>
#include <string.h>

#include "ground/base/own.h"
#include "ground/linux/cgroup.h"
#include "virt/container/job.h"
#include "virt/container/note.h"

/* Receives the caller's word once; j->cgroup is set after. */
static int hear(struct job *j, bool *ret_joined, struct err *e)
{
	struct note *n = arena_new(j->a, struct note);
	int r = note_expect(j->sock[1], NOTE_CGROUP, n, e);

	if (r < 0)
		return r;
	if (n->n < 1)
		return err_set(e, ERR_INTERNAL, "the word on the cgroup is empty");
	*ret_joined = n->bytes[n->n - 1] == '1';
	return cgroup_load((struct str){n->bytes, n->n - 1}, &j->cgroup, e);
}

int job_join_cgroup(struct job *j, struct err *e)
{
	struct cgroup_late late = {-1};
	bool joined = false;
	int r;

	if (j->cgroup_ready)
		return 0;
	r = hear(j, &joined, e);
	if (r == 0 && !joined) {
		r = cgroup_join_self(j->cgroup, false, e);
		if (r == 0)
			r = cgroup_late_open(j->cgroup, &late, e);
		if (r == 0)
			r = cgroup_join_late(&late, e);
	}
	if (r == 0 && (j->join_bits & NAMESPACE_BIT(NAMESPACE_CGROUP)))
		r = namespace_join(j->join_fd[NAMESPACE_CGROUP], NAMESPACE_CGROUP, e);
	if (r == 0 && (j->made_bits & NAMESPACE_BIT(NAMESPACE_CGROUP)))
		r = namespace_unshare(NAMESPACE_CGROUP, e);
	if (r == 0)
		j->cgroup_ready = true;
	return r;
}
