/*
 * Names of containers: which are allowed, inventing one, and finding a container by name, id or the
 * first digits of its id. A user finds only what is its own.
 */
#include "engine/engine_priv.h"

#define NAME_MAX_CHARS 255

static const char *const qualities[] = {
	"able",	  "amber", "bold",  "brave",  "bright", "calm",	 "clear", "clever", "cosy",
	"deep",	  "eager", "early", "fair",   "fast",	"firm",	 "fresh", "gentle", "glad",
	"grand",  "happy", "hardy", "jolly",  "keen",	"kind",	 "light", "lively", "loyal",
	"lucky",  "merry", "mild",  "neat",   "noble",	"plain", "proud", "quick",  "quiet",
	"ready",  "royal", "sharp", "smooth", "snug",	"solid", "sound", "steady", "still",
	"strong", "sunny", "swift", "tidy",   "warm",
};

static const char *const ships[] = {
	"barge",    "bark",	"brig",	    "canoe",  "carrack", "clipper", "coble", "cog",
	"corvette", "cutter",	"dhow",	    "dinghy", "dory",	 "drifter", "ferry", "frigate",
	"galleon",  "galley",	"gig",	    "jolle",  "junk",	 "kayak",   "ketch", "knarr",
	"launch",   "liner",	"longship", "lugger", "packet",	 "pinnace", "prau",  "punt",
	"raft",	    "sampan",	"schooner", "scow",   "skiff",	 "sloop",   "smack", "tender",
	"trawler",  "trimaran", "tug",	    "wherry", "whaler",	 "xebec",   "yacht", "yawl",
};

static bool name_char(char c, bool first)
{
	if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
		return true;
	return !first && (c == '_' || c == '.' || c == '-');
}

int name_check(const char *name, struct err *e)
{
	bool good = *name != '\0' && strlen(name) <= NAME_MAX_CHARS;

	for (const char *p = name; *p && good; p++)
		good = name_char(*p, p == name);
	/* One character alone is not a name for Docker either: [a-zA-Z0-9][a-zA-Z0-9_.-]+ */
	if (!good || !name[1])
		return err_set(
			e, ERR_INVALID,
			"invalid container name '%s': only [a-zA-Z0-9][a-zA-Z0-9_.-]+ is allowed, "
			"at most %d characters",
			name, NAME_MAX_CHARS);
	return 0;
}

char *name_invent(struct user *u)
{
	const struct world *w = u->engine->world;

	for (unsigned int try = 0;; try++) {
		uint16_t dice[3];
		char *name;

		w->random(w->ctx, dice, sizeof(dice));
		name = mem_printf("%s_%s", qualities[dice[0] % array_len(qualities)],
				  ships[dice[1] % array_len(ships)]);
		if (try > 3) {
			char *numbered = mem_printf("%s%u", name, dice[2] % (10 * try));

			free(name);
			name = numbered;
		}
		if (!map_get(&u->names, name))
			return name;
		free(name);
	}
}

static int find_by_prefix(struct user *u, const char *ref, struct workload **ret, struct err *e)
{
	size_t n = strlen(ref);
	struct workload *found = NULL;

	if (n == 0 || n >= ENGINE_ID_HEX || strspn(ref, "0123456789abcdef") != n)
		return err_set(e, ERR_NOT_FOUND, "no such container: %s", ref);
	map_each (&u->engine->workloads, it) {
		struct workload *w = it->value;

		if (w->owner != u->owner || w->hidden || strncmp(w->id, ref, n) != 0)
			continue;
		if (found)
			return err_set(e, ERR_INVALID,
				       "the id '%s' is ambiguous: several containers begin with it",
				       ref);
		found = w;
	}
	if (!found)
		return err_set(e, ERR_NOT_FOUND, "no such container: %s", ref);
	*ret = found;
	return 0;
}

int workload_find(struct user *u, const char *ref, struct workload **ret, struct err *e)
{
	const char *name = ref && *ref == '/' ? ref + 1 : ref;
	struct workload *w;

	assert(u && ret);
	if (!name || !*name)
		return err_set(e, ERR_INVALID, "the name of the container is missing");
	w = map_get(&u->engine->workloads, name);
	if (!w || w->owner != u->owner)
		w = map_get(&u->names, name);
	if (w && !w->hidden) {
		*ret = w;
		return 0;
	}
	return find_by_prefix(u, name, ret, e);
}

int engine_find(struct user *u, const char *ref, char ret_id[ENGINE_ID_HEX + 1], struct err *e)
{
	struct workload *w;
	int bad = workload_find(u, ref, &w, e);

	if (bad < 0)
		return bad;
	memcpy(ret_id, w->id, sizeof(w->id));
	return 0;
}
