/*
 * Mount options: see mount_options.h. Words the table does not know are data for the file system,
 * except on binds, where there is none to take them. Sources: runtime-spec config.md "Linux mount
 * options", mount_setattr(2).
 */
#include "virt/container/mount_options.h"

#include <linux/mount.h>
#include <string.h>

#include "ground/base/mem.h"

#define UNBINDABLE (1u << 17)
#define PRIVATE	   (1u << 18)
#define SLAVE	   (1u << 19)
#define SHARED	   (1u << 20)

enum option_kind {
	OPT_IGNORE,
	OPT_BIND, /* flag: recursive */
	OPT_SET,  /* flag: attribute */
	OPT_CLEAR,
	OPT_REC_SET,
	OPT_REC_CLEAR,
	OPT_PROPAGATE, /* flag: type */
	OPT_RPROPAGATE,
	OPT_IDMAP, /* flag: recursive */
	OPT_COPY_UP,
	OPT_SUPER, /* a flag of the file system as a whole: data on new ones, ignored on binds */
};

static const struct option_word {
	const char *word;
	enum option_kind kind;
	uint64_t flag;
} words[] = {
	{"async", OPT_SUPER, 0},
	{"atime", OPT_CLEAR, MOUNT_ATTR_NOATIME},
	{"bind", OPT_BIND, 0},
	{"defaults", OPT_IGNORE, 0},
	{"dev", OPT_CLEAR, MOUNT_ATTR_NODEV},
	{"diratime", OPT_CLEAR, MOUNT_ATTR_NODIRATIME},
	{"dirsync", OPT_SUPER, 0},
	{"exec", OPT_CLEAR, MOUNT_ATTR_NOEXEC},
	{"idmap", OPT_IDMAP, 0},
	{"iversion", OPT_IGNORE, 0},
	{"lazytime", OPT_SUPER, 0},
	{"loud", OPT_IGNORE, 0},
	{"mand", OPT_IGNORE, 0},
	{"noatime", OPT_SET, MOUNT_ATTR_NOATIME},
	{"nodev", OPT_SET, MOUNT_ATTR_NODEV},
	{"nodiratime", OPT_SET, MOUNT_ATTR_NODIRATIME},
	{"noexec", OPT_SET, MOUNT_ATTR_NOEXEC},
	{"noiversion", OPT_IGNORE, 0},
	{"nolazytime", OPT_SUPER, 0},
	{"nomand", OPT_IGNORE, 0},
	{"norelatime", OPT_SET, MOUNT_ATTR_STRICTATIME},
	{"nostrictatime", OPT_CLEAR, MOUNT_ATTR_STRICTATIME},
	{"nosuid", OPT_SET, MOUNT_ATTR_NOSUID},
	{"nosymfollow", OPT_SET, MOUNT_ATTR_NOSYMFOLLOW},
	{"private", OPT_PROPAGATE, PRIVATE},
	{"ratime", OPT_REC_CLEAR, MOUNT_ATTR_NOATIME},
	{"rbind", OPT_BIND, 1},
	{"rdev", OPT_REC_CLEAR, MOUNT_ATTR_NODEV},
	{"rdiratime", OPT_REC_CLEAR, MOUNT_ATTR_NODIRATIME},
	{"relatime", OPT_CLEAR, MOUNT_ATTR_NOATIME | MOUNT_ATTR_STRICTATIME},
	{"rexec", OPT_REC_CLEAR, MOUNT_ATTR_NOEXEC},
	{"ridmap", OPT_IDMAP, 1},
	{"rnoatime", OPT_REC_SET, MOUNT_ATTR_NOATIME},
	{"rnodev", OPT_REC_SET, MOUNT_ATTR_NODEV},
	{"rnodiratime", OPT_REC_SET, MOUNT_ATTR_NODIRATIME},
	{"rnoexec", OPT_REC_SET, MOUNT_ATTR_NOEXEC},
	{"rnorelatime", OPT_REC_SET, MOUNT_ATTR_STRICTATIME},
	{"rnostrictatime", OPT_REC_CLEAR, MOUNT_ATTR_STRICTATIME},
	{"rnosuid", OPT_REC_SET, MOUNT_ATTR_NOSUID},
	{"rnosymfollow", OPT_REC_SET, MOUNT_ATTR_NOSYMFOLLOW},
	{"ro", OPT_SET, MOUNT_ATTR_RDONLY},
	{"rprivate", OPT_RPROPAGATE, PRIVATE},
	{"rrelatime", OPT_REC_CLEAR, MOUNT_ATTR_NOATIME | MOUNT_ATTR_STRICTATIME},
	{"rro", OPT_REC_SET, MOUNT_ATTR_RDONLY},
	{"rrw", OPT_REC_CLEAR, MOUNT_ATTR_RDONLY},
	{"rshared", OPT_RPROPAGATE, SHARED},
	{"rslave", OPT_RPROPAGATE, SLAVE},
	{"rstrictatime", OPT_REC_SET, MOUNT_ATTR_STRICTATIME},
	{"rsuid", OPT_REC_CLEAR, MOUNT_ATTR_NOSUID},
	{"rsymfollow", OPT_REC_CLEAR, MOUNT_ATTR_NOSYMFOLLOW},
	{"runbindable", OPT_RPROPAGATE, UNBINDABLE},
	{"rw", OPT_CLEAR, MOUNT_ATTR_RDONLY},
	{"shared", OPT_PROPAGATE, SHARED},
	{"silent", OPT_IGNORE, 0},
	{"slave", OPT_PROPAGATE, SLAVE},
	{"strictatime", OPT_SET, MOUNT_ATTR_STRICTATIME},
	{"suid", OPT_CLEAR, MOUNT_ATTR_NOSUID},
	{"symfollow", OPT_CLEAR, MOUNT_ATTR_NOSYMFOLLOW},
	{"sync", OPT_SUPER, 0},
	{"tmpcopyup", OPT_COPY_UP, 0},
	{"unbindable", OPT_PROPAGATE, UNBINDABLE},
};

const char *mount_options_name(size_t i)
{
	return i < array_len(words) ? words[i].word : NULL;
}

static const struct option_word *find(const char *word)
{
	size_t low = 0, high = array_len(words);

	while (low < high) {
		size_t mid = (low + high) / 2;
		int order = strcmp(word, words[mid].word);

		if (order == 0)
			return &words[mid];
		if (order < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}

static int add_data(struct mount_options *o, const char *word, struct arena *a, struct err *e)
{
	const char *equals = strchr(word, '=');
	struct mount_option *d;

	if (!*word)
		return 0;
	if (o->data_n == MOUNT_DATA_MAX)
		return err_set(e, ERR_INVALID, "more than %d options", MOUNT_DATA_MAX);
	d = &o->data[o->data_n++];
	if (!equals) {
		d->key = arena_dup_text(a, word);
		return 0;
	}
	d->key = arena_dup(a, (struct str){word, (size_t)(equals - word)});
	d->value = arena_dup_text(a, equals + 1);
	return 0;
}

/* A later word takes back an earlier one: "ro,rw" is rw. The access-time words are one setting. */
static void change(uint64_t *set, uint64_t *clear, uint64_t on, uint64_t off)
{
	if (on & MOUNT_ATTR__ATIME & ~(uint64_t)MOUNT_ATTR_NODIRATIME)
		*set &= ~(uint64_t)MOUNT_ATTR__ATIME;
	*set = (*set | on) & ~off;
	*clear = (*clear | off) & ~on;
}

static int add_word(struct mount_options *o, const char *word, struct arena *a, struct err *e)
{
	const struct option_word *w = find(word);

	if (!w)
		return add_data(o, word, a, e);
	switch (w->kind) {
	case OPT_IGNORE:
		break;
	case OPT_BIND:
		o->bind = true;
		o->recursive |= w->flag;
		break;
	case OPT_SET:
		change(&o->set, &o->clear, w->flag, 0);
		break;
	case OPT_CLEAR:
		change(&o->set, &o->clear, 0, w->flag);
		break;
	case OPT_REC_SET:
		change(&o->rec_set, &o->rec_clear, w->flag, 0);
		break;
	case OPT_REC_CLEAR:
		change(&o->rec_set, &o->rec_clear, 0, w->flag);
		break;
	case OPT_PROPAGATE:
	case OPT_RPROPAGATE:
		o->propagation = w->flag;
		o->propagation_recursive = w->kind == OPT_RPROPAGATE;
		break;
	case OPT_IDMAP:
		o->idmap = true;
		o->idmap_recursive = w->flag;
		break;
	case OPT_COPY_UP:
		o->copy_up = true;
		break;
	case OPT_SUPER:
		return add_data(o, word, a, e);
	}
	return 0;
}

int mount_options_parse(const struct spec_mount *m, struct arena *a, struct mount_options *ret,
			struct err *e)
{
	struct mount_options o = {.bind = m->type && !strcmp(m->type, "bind")};

	for (char **w = m->options; w && *w; w++) {
		int r = add_word(&o, *w, a, e);

		if (r < 0)
			return err_wrap(e, "mount '%s'", m->destination);
	}
	if (m->uid_mappings_n || m->gid_mappings_n)
		o.idmap = true;
	*ret = o;
	return 0;
}
