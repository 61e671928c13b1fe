/*
 * A machine's REST control socket, shaped like Firecracker's for what exists here: a client written
 * for it configures, starts, pauses and describes a machine. One server per hull-vm.
 *
 *	GET  /                          id, state, version
 *	GET  /version
 *	GET  /vm/config                 everything
 *	GET  /machine-config            PUT, PATCH before the start
 *	PUT  /boot-source
 *	PUT  /drives/{id}
 *	PUT  /network-interfaces/{id}
 *	PUT  /vsock
 *	PUT  /actions                   InstanceStart, SendCtrlAltDel, FlushMetrics (accepted, nothing)
 *	PATCH /vm                       Paused, Resumed
 *	GET  /vm/stats                  not Firecracker's: what the machine has used
 *
 * Success without an answer is 204; what is wrong is 400 with {"fault_message": …}, as there. Keys
 * that a section does not have are refused. A drive may say "format" (raw is assumed, as there).
 *
 * What a call means is its owner's affair: struct vm_api_ops. Everything on the loop's thread.
 */
#pragma once

#include "ground/base/err.h"
#include "ground/format/json.h"

#define VM_API_BODY_MAX	  51200 /* bytes of a request */
#define VM_API_DRIVES_MAX 16
#define VM_API_NICS_MAX	  8

struct loop;
struct vm_api;

enum vm_api_state { VM_API_NOT_STARTED, VM_API_RUNNING, VM_API_PAUSED };

struct vm_api_ops {
	/* InstanceStart with the configuration as it stands (see vm_api_config). */
	int (*start)(void *ctx, const struct json *config, struct err *e);
	int (*pause)(void *ctx, struct err *e);
	int (*resume)(void *ctx, struct err *e);
	int (*ctrl_alt_del)(void *ctx, struct err *e);
	enum vm_api_state (*state)(void *ctx);
	struct json *(*stats)(void *ctx); /* the caller's */
};

/* `fd` is a listening unix socket and is taken, also on failure. `id`: of the machine. */
int vm_api_new(struct loop *loop, int fd, const char *id, const struct vm_api_ops *ops, void *ctx,
	       struct vm_api **ret, struct err *e) must_use;
struct vm_api *vm_api_free(struct vm_api *a);

/*
 * The configuration as GET /vm/config shows it: {"machine-config": {}, "boot-source": {}, "drives":
 * [], "network-interfaces": [], "vsock": {}}; borrowed. vm_api_put() fills a section as the call of
 * that path does: for a machine that was described by options.
 */
const struct json *vm_api_config(const struct vm_api *a);
int vm_api_put(struct vm_api *a, const char *path, const struct json *body, struct err *e) must_use;

/* One call, without the HTTP around it: the status; *ret is the answer's body or NULL. */
int vm_api_call(struct vm_api *a, const char *method, const char *path, struct str body,
		struct json **ret);
