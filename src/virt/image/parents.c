/*
 * Folders that a layer's archive uses without describing them ("tmp/x" and no "tmp/"): alone they
 * are root's, mode 0755, and would lay that over the real folder below. Here they take owner, mode
 * and time from the nearest lower layer of the image that has them. A layer is shared by DiffID, so
 * the first image that needs it decides; two images that disagree about such a folder are not told
 * apart.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "virt/image/image_priv.h"

#define NOTE_BYTES_MAX (1u << 20)

static int open_layer(struct image_store *s, const char *diff_id)
{
	auto_free char *path = mem_printf("%s/fs", digest_hex(diff_id));

	return openat(s->layer_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

/* false: this layer does not have the folder. */
static bool take_from(struct image_store *s, const char *diff_id, const char *path, int to)
{
	auto_close int layer = open_layer(s, diff_id);
	auto_close int from =
		layer < 0 ? -1
			  : extract_open(layer, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, false);
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}};
	struct stat st;

	if (from < 0 || fstat(from, &st) < 0)
		return false;
	times[1] = st.st_mtim;
	if (fchown(to, st.st_uid, st.st_gid) == 0 && fchmod(to, st.st_mode & 07777) == 0)
		(void)futimens(to, times);
	return true;
}

static void settle_one(struct image_store *s, const struct image *i, size_t k, const char *path)
{
	auto_close int layer = open_layer(s, i->diff_ids[k]);
	auto_close int to =
		layer < 0 ? -1 : extract_open(layer, path, O_RDONLY | O_DIRECTORY, false);

	for (size_t below = k; to >= 0 && below-- > 0;)
		if (take_from(s, i->diff_ids[below], path, to))
			return;
}

void parents_settle(struct image_store *s, const struct image *i)
{
	for (size_t k = 1; k < i->layers_n; k++) {
		auto_free char *path = mem_printf("%s/layer.json", digest_hex(i->diff_ids[k]));
		auto_json struct json *note = NULL;
		const struct json *list;

		if (json_read_file(s->layer_fd, path, NOTE_BYTES_MAX, &note, NULL) < 0)
			continue;
		list = json_get(note, "implicit");
		for (size_t p = 0; p < json_len(list); p++)
			if (json_text(json_at(list, p)))
				settle_one(s, i, k, json_text(json_at(list, p)));
	}
}
