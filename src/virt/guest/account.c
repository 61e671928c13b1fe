/* Users and groups of the guest: see account.h. No NSS: this is linked statically. */
#include "virt/guest/account.h"

#include <fcntl.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"

/* A missing file is an empty one: images without users exist. */
static struct str read_file(const char *etc, const char *name, struct arena *a)
{
	auto_free char *path = mem_printf("%s/%s", etc, name);
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	auto_strbuf struct strbuf text = {0};
	char piece[4096];
	ssize_t n;

	while (fd >= 0 && text.n < ACCOUNT_FILE_MAX && (n = read(fd, piece, sizeof(piece))) > 0)
		strbuf_add(&text, piece, (size_t)n);
	return str_of(arena_dup(a, strbuf_str(&text)));
}

/* The field of that number, counted from 0. */
static struct str field_of(struct str line, unsigned index)
{
	struct str head = {"", 0};

	for (unsigned i = 0; i <= index; i++)
		if (!str_cut(&line, ':', &head))
			return (struct str){"", 0};
	return head;
}

static bool number_of(struct str text, uint32_t *ret)
{
	struct err ignored;

	return text.n > 0 && parse_u32(text, "id", ret, &ignored) >= 0;
}

/* The line whose name is `name`, or whose id (field 2) is the number that `name` is. */
static bool find_line(struct str file, struct str name, struct str *ret)
{
	uint32_t wanted = 0, id = 0;
	bool by_number = number_of(name, &wanted);
	struct str line;

	while (str_cut(&file, '\n', &line)) {
		struct str own = field_of(line, 0);

		if (own.n > 0 && str_eq(own, name)) {
			*ret = line;
			return true;
		}
		if (by_number && number_of(field_of(line, 2), &id) && id == wanted) {
			*ret = line;
			return true;
		}
	}
	return false;
}

static bool lists(struct str members, struct str name)
{
	struct str one;

	while (str_cut(&members, ',', &one))
		if (str_eq(str_trim(one), name))
			return true;
	return false;
}

static void add_groups(struct str file, struct str user, struct account *ret)
{
	struct str line;
	uint32_t gid;

	while (str_cut(&file, '\n', &line))
		if (ret->groups_n < ACCOUNT_GROUPS_MAX && lists(field_of(line, 3), user) &&
		    number_of(field_of(line, 2), &gid))
			ret->groups[ret->groups_n++] = gid;
}

static int find_group(struct str file, struct str name, struct account *ret, struct err *e)
{
	struct str line;
	uint32_t gid;

	if (find_line(file, name, &line) && number_of(field_of(line, 2), &gid)) {
		ret->gid = gid;
		return 0;
	}
	if (!number_of(name, &gid))
		return err_set(e, ERR_NOT_FOUND,
			       "unable to find group '%.*s': no matching entries "
			       "in group file",
			       (int)name.n, name.p);
	ret->gid = gid;
	return 0;
}

int account_find(const char *etc, const char *text, struct arena *a, struct account *ret,
		 struct err *e)
{
	struct str rest = str_of(text && *text ? text : "0"), name, line;
	struct str passwd = read_file(etc, "passwd", a), group = read_file(etc, "group", a);
	uint32_t id = 0;

	*ret = (struct account){.home = "/"};
	(void)str_cut(&rest, ':', &name);
	if (find_line(passwd, name, &line)) {
		if (!number_of(field_of(line, 2), &id))
			return err_set(e, ERR_INVALID, "user '%.*s' has a bad id in passwd",
				       (int)name.n, name.p);
		ret->uid = id;
		ret->gid = number_of(field_of(line, 3), &id) ? id : 0;
		if (field_of(line, 5).n > 0)
			ret->home = arena_dup(a, field_of(line, 5));
		if (rest.n == 0)
			add_groups(group, field_of(line, 0), ret);
	} else if (number_of(name, &id)) {
		ret->uid = id;
	} else {
		return err_set(e, ERR_NOT_FOUND,
			       "unable to find user %.*s: no matching entries in "
			       "passwd file",
			       (int)name.n, name.p);
	}
	return rest.n > 0 ? find_group(group, rest, ret, e) : 0;
}
