/* Images on the command line: see image.h. Progress comes from the daemon as a stream of JSON
 * messages. */
#include "cli/image.h"

#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/progress.h"
#include "cli/table.h"
#include "cli/terminal.h"
#include "cli/words.h"
#include "ground/base/mem.h"

static int take_progress(void *arg, const struct json *message)
{
	progress_message(arg, message);
	return 0;
}

/* Makes the call and draws its progress until the stream ends; the stream's error is the result. */
static int with_progress(const struct context *c, const struct client_request *q, bool quiet,
			 struct err *e)
{
	struct http_local h;
	struct progress p;
	int r = client_open(c, q, &h, e), shown;

	if (r < 0)
		return r;
	progress_start(&p, quiet);
	r = client_each(&h, take_progress, &p, e);
	shown = progress_end(&p, r < 0 ? NULL : e);
	http_local_close(&h);
	return r < 0 ? r : shown;
}

/* Cuts "name:tag" or "name@digest"; the tag is "latest" when there is none. */
static void split_reference(const char *reference, char **ret_name, char **ret_tag)
{
	const char *slash = strrchr(reference, '/');
	const char *at = strchr(reference, '@');
	const char *colon = strrchr(slash ? slash : reference, ':');

	if (at) {
		*ret_name = str_dup((struct str){reference, (size_t)(at - reference)});
		*ret_tag = mem_dup_text(at + 1);
	} else if (colon) {
		*ret_name = str_dup((struct str){reference, (size_t)(colon - reference)});
		*ret_tag = mem_dup_text(colon + 1);
	} else {
		*ret_name = mem_dup_text(reference);
		*ret_tag = mem_dup_text("latest");
	}
}

int image_pull(const struct context *c, const char *reference, const char *platform, bool quiet,
	       struct err *e)
{
	auto_strbuf struct strbuf target = {0};
	auto_free char *name = NULL, *tag = NULL;

	split_reference(reference, &name, &tag);
	strbuf_add_text(&target, "/images/create?fromImage=");
	http_encode(&target, name);
	strbuf_add_text(&target, "&tag=");
	http_encode(&target, tag);
	if (platform) {
		strbuf_add_text(&target, "&platform=");
		http_encode(&target, platform);
	}
	return with_progress(
		c, &(struct client_request){.method = "POST", .target = strbuf_text(&target)},
		quiet, e);
}

int image_pull_verb(const struct context *c, void *options, int argc, char **argv, struct err *e)
{
	const struct image_options *o = options;

	for (int i = 0; i < argc; i++) {
		int r = image_pull(c, argv[i], o->platform, o->quiet, e);

		if (r < 0)
			return err_wrap(e, "pulling '%s'", argv[i]);
	}
	return 0;
}

int image_push_verb(const struct context *c, void *options, int argc, char **argv, struct err *e)
{
	const struct image_options *o = options;
	auto_strbuf struct strbuf target = {0};
	auto_free char *name = NULL, *tag = NULL;
	int r;

	split_reference(argv[0], &name, &tag);
	strbuf_printf(&target, "/images/%s/push?tag=", name);
	http_encode(&target, tag);
	r = with_progress(
		c, &(struct client_request){.method = "POST", .target = strbuf_text(&target)},
		o->quiet, e);
	return r < 0 ? err_wrap(e, "pushing '%s'", argv[0]) : 0;
}

/* The file named by an option, or our standard input when it is not a terminal. */
static int open_input(const char *path, const char *verb, struct err *e)
{
	int fd;

	if (path && !text_eq(path, "-")) {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		return fd < 0 ? err_sys(e, "cannot open '%s'", path) : fd;
	}
	if (terminal_is(STDIN_FILENO))
		return err_set(e, ERR_INVALID, "give a file, or pipe an archive into hull %s",
			       verb);
	return fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
}

/* An archive to the daemon; what is said against it begins with its name. */
static int upload(const struct context *c, const char *target, const char *path, int fd, bool quiet,
		  struct err *e)
{
	const struct client_request q = {.method = "POST",
					 .target = target,
					 .body_fd = fd,
					 .body_type = "application/x-tar"};
	int r = with_progress(c, &q, quiet, e);

	if (r < 0 && path && !text_eq(path, "-"))
		return err_wrap(e, "'%s'", path);
	return r < 0 ? err_wrap(e, "standard input") : r;
}

int image_load_verb(const struct context *c, void *options, int argc, char **argv, struct err *e)
{
	const struct image_options *o = options;
	const char *path = o->file ? o->file : argv[0];
	auto_close int fd = open_input(path, "load", e);

	if (fd < 0)
		return fd;
	return upload(c, o->quiet ? "/images/load?quiet=1" : "/images/load", path, fd, false, e);
}

int image_save_verb(const struct context *c, void *options, int argc, char **argv, struct err *e)
{
	const struct image_options *o = options;
	auto_strbuf struct strbuf target = {0};
	auto_close int fd = -1;
	struct http_local h;
	int r;

	if (!o->file && terminal_is(STDOUT_FILENO))
		return err_set(e, ERR_INVALID,
			       "give a file with -o, an archive is not for a terminal");
	strbuf_add_text(&target, "/images/get?");
	for (int i = 0; i < argc; i++) {
		strbuf_add_text(&target, i ? "&names=" : "names=");
		http_encode(&target, argv[i]);
	}
	r = client_open(c,
			&(struct client_request){.method = "GET", .target = strbuf_text(&target)},
			&h, e);
	if (r < 0)
		return r;
	if (o->file) {
		fd = open(o->file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
		r = fd < 0 ? err_sys(e, "cannot write '%s'", o->file) : 0;
	}
	if (r == 0)
		r = client_copy(&h, fd < 0 ? STDOUT_FILENO : fd, e);
	http_local_close(&h);
	return r;
}

int image_import_verb(const struct context *c, void *options, int argc, char **argv, struct err *e)
{
	const struct image_options *o = options;
	auto_close int fd = open_input(argv[0], "import", e);
	auto_strbuf struct strbuf target = {0};
	auto_free char *name = NULL, *tag = NULL;

	if (fd < 0)
		return fd;
	strbuf_add_text(&target, "/images/create?fromSrc=-");
	if (argc > 1) {
		split_reference(argv[1], &name, &tag);
		strbuf_add_text(&target, "&repo=");
		http_encode(&target, name);
		strbuf_add_text(&target, "&tag=");
		http_encode(&target, tag);
	}
	if (o->message) {
		strbuf_add_text(&target, "&message=");
		http_encode(&target, o->message);
	}
	return upload(c, strbuf_text(&target), argv[0], fd, o->quiet, e);
}

int image_tag_verb(const struct context *c, void *options, int argc, char **argv, struct err *e)
{
	auto_strbuf struct strbuf target = {0};
	auto_free char *name = NULL, *tag = NULL;

	split_reference(argv[1], &name, &tag);
	strbuf_printf(&target, "/images/%s/tag?repo=", argv[0]);
	http_encode(&target, name);
	strbuf_add_text(&target, "&tag=");
	http_encode(&target, tag);
	return client_call(c, "POST", strbuf_text(&target), NULL, NULL, e);
}

static void list_row(struct table *t, const char *tagged, const struct json *image)
{
	const char *id = json_get_text(image, "Id");
	auto_free char *name = NULL, *tag = NULL;
	auto_free char *size = words_bytes(json_get_i64(image, "Size", 0));
	auto_free char *age = words_ago(json_get_i64(image, "Created", 0), time(NULL));
	char short_id[13] = "";

	split_reference(tagged, &name, &tag);
	if (id && text_starts(id, "sha256:"))
		(void)snprintf(short_id, sizeof(short_id), "%.12s", id + 7);
	table_row(t, name, tag, short_id, age, size, NULL);
}

int image_list_verb(const struct context *c, void *options, int argc, char **argv, struct err *e)
{
	const struct image_options *o = options;
	auto_json struct json *list = NULL;
	struct table t = {0};
	int r = client_call(c, "GET", o->all ? "/images/json?all=1" : "/images/json", NULL, &list,
			    e);

	if (r < 0)
		return r;
	if (!o->quiet)
		table_row(&t, "REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE", NULL);
	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *image = json_at(list, i);
		const struct json *tags = json_get(image, "RepoTags");

		if (o->quiet)
			table_row(&t, json_get_text(image, "Id"), NULL);
		else if (json_len(tags) == 0)
			list_row(&t, "<none>:<none>", image);
		for (size_t k = 0; !o->quiet && k < json_len(tags); k++)
			list_row(&t, json_text(json_at(tags, k)), image);
	}
	table_print(&t, stdout);
	return 0;
}

int image_remove_verb(const struct context *c, void *options, int argc, char **argv, struct err *e)
{
	const struct image_options *o = options;
	int failed = 0;

	for (int i = 0; i < argc; i++) {
		auto_free char *target =
			mem_printf("/images/%s%s", argv[i], o->force ? "?force=1" : "");
		auto_json struct json *gone = NULL;

		if (client_call(c, "DELETE", target, NULL, &gone, e) < 0) {
			fprintf(stderr, "hull: %s\n", e->text);
			failed = 1;
			continue;
		}
		for (size_t k = 0; k < json_len(gone); k++) {
			const char *untagged = json_get_text(json_at(gone, k), "Untagged");
			const char *deleted = json_get_text(json_at(gone, k), "Deleted");

			printf("%s: %s\n", untagged ? "untagged" : "deleted",
			       untagged ? untagged : deleted);
		}
	}
	return failed;
}
