/*
 * Who a container runs as: "name", "uid", either with ":group", looked up in the image's own
 * /etc/passwd and /etc/group, without NSS and without leaving the layers. A layer is searched from
 * the top; the first that has the file (or a whiteout of it) decides.
 *
 * The files belong to strangers: at most IDENTITY_FILE_MAX bytes are read, numbers must be whole
 * and fit 32 bits, lines that do not parse are stepped over.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "engine/engine_priv.h"
#include "ground/base/parse.h"
#include "ground/linux/inroot.h"

#define IDENTITY_FILE_MAX (4 << 20)
#define GROUPS_MAX	  1024

static struct str read_all(int fd, struct arena *a)
{
	struct stat st;
	size_t used = 0, room;
	char *p;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > IDENTITY_FILE_MAX)
		return (struct str){0};
	room = (size_t)st.st_size;
	p = arena_new_bytes(a, room + 1);
	while (used < room) {
		ssize_t n = read(fd, p + used, room - used);

		if (n <= 0)
			break;
		used += (size_t)n;
	}
	return (struct str){p, used};
}

/* `roots`: directories, topmost first. An absent file is empty. */
static struct str read_file(char *const *roots, const char *path, struct arena *a)
{
	for (; roots && *roots; roots++) {
		auto_close int root = open(*roots, O_PATH | O_DIRECTORY | O_CLOEXEC);
		auto_close int fd = -1;
		struct err ignored = {0};
		struct stat st;

		if (root < 0 || inroot_open(root, path, O_PATH | O_NOFOLLOW, 0, &fd, &ignored) < 0)
			continue;
		if (fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0))
			break; /* a whiteout: the file was deleted above this layer */
		fd = fd_close(fd);
		if (inroot_open(root, path, O_RDONLY | O_NONBLOCK, 0, &fd, &ignored) < 0)
			continue;
		return read_all(fd, a);
	}
	return (struct str){0};
}

#define FIELDS_MAX 7

/* One line of colon-separated fields; false at the end of the text. */
static bool next_line(struct str *text, struct str *fields, size_t *ret_n)
{
	struct str line;

	if (!str_cut(text, '\n', &line))
		return false;
	*ret_n = 0;
	line = str_trim(line);
	if (line.n && line.p[0] == '#')
		return true;
	while (*ret_n < FIELDS_MAX && str_cut(&line, ':', &fields[*ret_n]))
		(*ret_n)++;
	return true;
}

static bool is_id(struct str text, uint32_t *ret)
{
	struct err ignored = {0};

	return text.n && text.p[0] >= '0' && text.p[0] <= '9' &&
	       parse_u32(text, "id", ret, &ignored) >= 0 && *ret <= INT32_MAX;
}

struct found {
	bool user, group;
	struct str name;
};

static void find_user(struct str passwd, struct str asked, struct identity *id, struct found *f,
		      struct arena *a)
{
	struct str fields[FIELDS_MAX];
	uint32_t number = 0, uid, gid;
	bool by_number = is_id(asked, &number);
	size_t n;

	while (next_line(&passwd, fields, &n)) {
		if (n < 4 || !is_id(fields[2], &uid) || !is_id(fields[3], &gid))
			continue;
		if (!str_eq(fields[0], asked) && !(by_number && uid == number))
			continue;
		id->uid = uid;
		id->gid = gid;
		f->user = true;
		f->name = fields[0];
		if (n > 5 && fields[5].n)
			id->home = arena_dup(a, fields[5]);
		return;
	}
	if (by_number) {
		id->uid = number;
		f->user = true;
	}
}

static bool find_group(struct str file, struct str asked, uint32_t *ret)
{
	struct str fields[FIELDS_MAX];
	uint32_t gid;
	size_t n;

	while (next_line(&file, fields, &n))
		if (n >= 3 && str_eq(fields[0], asked) && is_id(fields[2], &gid)) {
			*ret = gid;
			return true;
		}
	return is_id(asked, ret);
}

static void add_group(struct identity *id, uint32_t gid)
{
	for (size_t i = 0; i < id->groups_n; i++)
		if (id->groups[i] == gid)
			return;
	if (id->groups_n < GROUPS_MAX)
		id->groups[id->groups_n++] = gid;
}

/* The groups whose member list names the user. */
static void find_memberships(struct str file, struct str user, struct identity *id)
{
	struct str fields[FIELDS_MAX], member;
	uint32_t gid;
	size_t n;

	while (user.n && next_line(&file, fields, &n)) {
		if (n < 4 || !is_id(fields[2], &gid))
			continue;
		while (str_cut(&fields[3], ',', &member))
			if (str_eq(member, user))
				add_group(id, gid);
	}
}

int identity_resolve(const char *user, char *const *group_add, char *const *roots, struct arena *a,
		     struct identity *ret, struct err *e)
{
	struct identity id = {.home = "/"};
	struct str rest = str_of(user && *user ? user : "0"), asked, passwd, groups;
	struct found f = {0};

	assert(a && ret);
	id.groups = arena_new_array(a, uint32_t, GROUPS_MAX);
	(void)str_cut(&rest, ':', &asked);
	passwd = read_file(roots, "etc/passwd", a);
	groups = read_file(roots, "etc/group", a);
	find_user(passwd, asked.n ? asked : STR("0"), &id, &f, a);
	if (!f.user)
		return err_set(e, ERR_INVALID,
			       "unable to find user %.*s: no matching entries in passwd file",
			       (int)asked.n, asked.p);
	if (rest.n && !find_group(groups, rest, &id.gid))
		return err_set(e, ERR_INVALID,
			       "unable to find group %.*s: no matching entries in group file",
			       (int)rest.n, rest.p);
	if (!rest.n)
		find_memberships(groups, f.name, &id);
	for (; group_add && *group_add; group_add++) {
		uint32_t gid;

		if (!find_group(groups, str_of(*group_add), &gid))
			return err_set(e, ERR_INVALID,
				       "unable to find group %s: no matching entries in group file",
				       *group_add);
		add_group(&id, gid);
	}
	*ret = id;
	return 0;
}
