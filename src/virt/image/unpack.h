/*
 * The orders that hull-unpack gets and the words it answers: both ends of one protocol.
 *
 * The child is given, besides /dev/null on 0 to 2:
 *	3	its orders, a JSON object (a memory file)
 *	4	the control channel, SOCK_SEQPACKET: announcements in, answers out
 *	5	data: an archive to read, or the descriptor to write one to
 *	6	the directory it works on (/dev/null when it mounts an overlay itself)
 *
 * With `follow`, 5 is a file that still grows: the parent announces how far it may be read
 * (struct unpack_more), so that a layer is unpacked while it is downloaded and the network
 * never waits for the disk. Answers are JSON objects: {"at": N} any number of times, then one
 * {"done": {...}} or {"error": {"kind": K, "text": "..."}}. The child trusts the orders, the
 * parent trusts no answer further than its shape.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ground/base/arena.h"
#include "ground/base/err.h"
#include "ground/format/json.h"

#define UNPACK_FD_ORDERS    3
#define UNPACK_FD_CONTROL   4
#define UNPACK_FD_DATA	    5
#define UNPACK_FD_DIR	    6
#define UNPACK_ORDERS_MAX   (16u << 20)
#define UNPACK_IMPLICIT_MAX 200 /* folders told by name that no entry described */

struct unpack_more {   /* parent → child, one packet */
	uint64_t upto; /* bytes of the data file that may be read */
	uint64_t end;  /* 1: that is all */
};

struct unpack_limits {
	uint64_t bytes_max, entries_max;
	uint32_t depth_max, xattr_bytes_max;
};

struct unpack_member { /* of a saved image: a text or a file of the directory on 6 */
	char *name;
	char *text;
	char *file;
	char *link; /* symbolic link to */
};

struct unpack_orders {
	char *verb; /* layer, tree, gather, pack, save, stat, copy, probe, mark */
	bool follow;
	struct unpack_limits limits;
	bool devices;	 /* device nodes are allowed */
	bool user_xattr; /* mark opaque folders by user.overlay.* */
	bool one_mount;	 /* pack: empty places where others are mounted */
	bool whiteouts;	 /* pack: the directory is an overlay's upper */
	char *path;
	char *rename;
	bool no_overwrite, keep_owner;
	uint32_t uid, gid;
	char **lower; /* top first; copy: bottom first */
	char *upper, *work;
	struct unpack_member *members;
	size_t members_n;
};

struct unpack_answer { /* inside "done"; what does not apply is 0 */
	char *diff_id;
	uint64_t bytes, entries;
	char **implicit;   /* folders made without an entry of their own */
	char *name, *link; /* stat */
	uint32_t mode;
	int64_t size, mtime_ns;
};

extern const struct json_shape unpack_orders_shape, unpack_answer_shape;

/* The whole life of the child: returns its exit code. Called by cmd/hull-unpack only. */
int unpack_main(void);

/* ---- The verbs, each in a file of its own; run confined, "/" and the current directory are the
 * tree. ---- */

struct inflate;

struct extract_policy {
	struct unpack_limits limits;
	bool layer; /* whiteouts are translated; parents must be real folders */
	bool plain; /* regular files and folders only (outer archives) */
	bool devices, user_xattr, no_overwrite;
	bool keep_owner;
	uint32_t uid, gid;
	void (*beat)(void *arg); /* now and then, for progress; may be NULL */
	void *arg;
};

/* Extracts the archive below topfd (taken as root of all names). */
int extract_archive(struct inflate *from, int topfd, const struct extract_policy *p,
		    struct arena *a, struct unpack_answer *ret, struct err *e) must_use;

/* Writes `path` of the tree at topfd as tar to fd. */
int pack_tree(int topfd, const struct unpack_orders *o, int fd, struct unpack_answer *ret,
	      struct err *e) must_use;
/* Writes the members, files taken from dirfd. */
int pack_members(int dirfd, const struct unpack_orders *o, int fd, struct unpack_answer *ret,
		 struct err *e) must_use;
int pack_stat(int topfd, const char *path, struct arena *a, struct unpack_answer *ret,
	      struct err *e) must_use;

/* Lays one layer's directory over the tree at topfd: whiteouts remove, opaque folders replace. */
int copy_layer(int layerfd, int topfd, struct unpack_answer *ret, struct err *e) must_use;

/* Opens below topfd; links may lead anywhere inside the root of the process, not into /proc's
 * magic. */
int extract_open(int topfd, const char *path, int flags, bool links);
/* A hostile name for a message: short, without control characters. */
const char *extract_quote(const char *name, char ret[200]);
