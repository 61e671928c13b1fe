/*
 * Users: see user.h.
 */
#include "virt/container/user.h"

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"
#include "ground/linux/inroot.h"

/* The whole file, or empty when it is missing. A fifo or a device is not read. */
static int read_file(int root, const char *path, struct arena *a, struct str *ret, struct err *e)
{
	auto_close int fd = -1;
	struct stat s;
	char *p;
	size_t n = 0;

	*ret = (struct str){"", 0};
	if (inroot_open(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, &fd, NULL) < 0)
		return 0;
	if (fstat(fd, &s) < 0 || !S_ISREG(s.st_mode))
		return err_set(e, ERR_INVALID, "the image's '/%s' is not a file", path);
	if (s.st_size > (off_t)USER_FILE_MAX)
		return err_set(e, ERR_INVALID, "the image's '/%s' is larger than %u bytes", path,
			       USER_FILE_MAX);
	p = arena_new_bytes(a, (size_t)s.st_size + 1);
	while (n < (size_t)s.st_size) {
		ssize_t got = read(fd, p + n, (size_t)s.st_size - n);

		if (got <= 0)
			break;
		n += (size_t)got;
	}
	*ret = (struct str){p, n};
	return 0;
}

/* Splits a line at ':' into at most n fields; returns how many there were. */
static size_t split(struct str line, struct str *fields, size_t n)
{
	size_t count = 0;

	while (count < n && str_cut(&line, ':', &fields[count]))
		count++;
	return count;
}

struct account {
	struct str name, home;
	uint32_t uid, gid;
};

static bool read_account(struct str line, struct account *ret)
{
	struct str f[7] = {{0}};

	if (split(line, f, 7) < 4)
		return false;
	ret->name = f[0];
	ret->home = f[5].p ? f[5] : (struct str){"", 0};
	return parse_u32(f[2], "uid", &ret->uid, NULL) == 0 &&
	       parse_u32(f[3], "gid", &ret->gid, NULL) == 0;
}

static bool is_number(struct str text)
{
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] < '0' || text.p[i] > '9')
			return false;
	return text.n > 0;
}

/* By name first, as everybody does: an account may be called "1000". */
static bool find_account(struct str passwd, struct str who, bool by_uid, uint32_t uid,
			 struct account *ret)
{
	struct str line;

	while (str_cut(&passwd, '\n', &line)) {
		if (!read_account(line, ret))
			continue;
		if (by_uid ? ret->uid == uid : str_eq(ret->name, who))
			return true;
	}
	return false;
}

static int find_group(struct str group, struct str who, uint32_t *ret, struct err *e)
{
	struct str rest = group, line, f[4];

	while (str_cut(&rest, '\n', &line))
		if (split(line, f, 3) == 3 && str_eq(f[0], who) &&
		    parse_u32(f[2], "gid", ret, NULL) == 0)
			return 0;
	if (is_number(who))
		return parse_u32(who, "group id", ret, e);
	return err_set(e, ERR_NOT_FOUND, "the image's /etc/group has no group '%.*s'", (int)who.n,
		       who.p);
}

static bool is_member(struct str members, struct str name)
{
	struct str one;

	while (str_cut(&members, ',', &one))
		if (str_eq(str_trim(one), name))
			return true;
	return false;
}

static void add_groups(struct str group, struct str name, struct arena *a, struct user *u)
{
	struct str line, f[4] = {{0}};
	uint32_t gid;

	u->gids = arena_new_array(a, uint32_t, USER_GROUPS_MAX);
	while (u->gids_n < USER_GROUPS_MAX && str_cut(&group, '\n', &line)) {
		f[3] = (struct str){0};
		if (split(line, f, 4) == 4 && is_member(f[3], name) &&
		    parse_u32(f[2], "gid", &gid, NULL) == 0 && gid != u->gid)
			u->gids[u->gids_n++] = gid;
	}
}

/* The account of a name, else of a number; a number without an account is a user all the same. */
static int resolve_user(struct str passwd, struct str who, struct arena *a, struct account *account,
			struct user *u, bool *ret_found, struct err *e)
{
	bool found = find_account(passwd, who, false, 0, account);
	int r;

	if (!found && !is_number(who))
		return err_set(e, ERR_NOT_FOUND, "the image's /etc/passwd has no user '%.*s'",
			       (int)who.n, who.p);
	if (!found) {
		r = parse_u32(who, "user id", &u->uid, e);
		if (r < 0)
			return r;
		found = find_account(passwd, who, true, u->uid, account);
	}
	if (found) {
		u->uid = account->uid;
		u->gid = account->gid;
		u->home = account->home.n ? arena_dup(a, account->home) : NULL;
	}
	*ret_found = found;
	return 0;
}

int user_lookup(int root, const char *text, struct arena *a, struct user *ret, struct err *e)
{
	struct str rest = str_of(text), who, passwd, group;
	struct account account = {0};
	struct user u = {0};
	bool found = false;
	int r;

	assert(text && ret);
	if (!str_cut(&rest, ':', &who) || !who.n)
		return err_set(e, ERR_INVALID, "invalid user '%s'", text);
	r = read_file(root, "etc/passwd", a, &passwd, e);
	if (r == 0)
		r = read_file(root, "etc/group", a, &group, e);
	if (r == 0)
		r = resolve_user(passwd, who, a, &account, &u, &found, e);
	if (r < 0)
		return r;
	if (rest.p && rest.n)
		r = find_group(group, rest, &u.gid, e);
	else if (found)
		add_groups(group, account.name, a, &u);
	if (r == 0)
		*ret = u;
	return r;
}

char *user_home(int root, uint32_t uid, struct arena *a)
{
	struct account account;
	struct str passwd;

	if (read_file(root, "etc/passwd", a, &passwd, NULL) < 0 ||
	    !find_account(passwd, (struct str){0}, true, uid, &account) || !account.home.n)
		return NULL;
	return arena_dup(a, account.home);
}
