/*
 * hulld: the node daemon. Wiring only: options, one loop, the engine, the Docker API on
 * <run>/docker.sock.
 *
 * It may be killed at any instant: containers go on, and the next hulld finds them. SIGTERM and
 * SIGINT end it in order (what is queued becomes durable); containers go on then, too. Not here:
 * anything that decides.
 */
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "api/docker/docker.h"
#include "cluster.h"
#include "engine/engine.h"
#include "engine/system.h"
#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "ground/base/options.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"
#include "ground/wire/loop.h"
#include "ground/wire/unix.h"

#define MEMORY_KEPT_BYTES (16 << 20)

struct args {
	const char *root, *run, *log_level, *log_format, *group, *libexec, *kube_listen;
	char **pools, **insecure, **mirrors, **dns, **hosts;
	bool version, help, debug;
};

static const struct option_row rows[] = {
	{0, "root", OPTION_TEXT, offsetof(struct args, root), "DIR",
	 "state that survives the machine"},
	{0, "run", OPTION_TEXT, offsetof(struct args, run), "DIR",
	 "state that dies with the machine"},
	{'D', "debug", OPTION_FLAG, offsetof(struct args, debug), NULL, "log everything"},
	{'l', "log-level", OPTION_TEXT, offsetof(struct args, log_level), "LEVEL",
	 "debug, info, warn or error"},
	{0, "log-format", OPTION_TEXT, offsetof(struct args, log_format), "FORMAT", "text or json"},
	{0, "default-address-pool", OPTION_TEXTS, offsetof(struct args, pools), "CIDR:BITS",
	 "where subnets of networks come from"},
	{0, "insecure-registry", OPTION_TEXTS, offsetof(struct args, insecure), "HOST[:PORT]",
	 "a registry without TLS, or with a certificate of its own"},
	{0, "registry-mirror", OPTION_TEXTS, offsetof(struct args, mirrors), "[REGISTRY=]URL",
	 "asked first, for docker.io unless a registry is named"},
	{0, "dns", OPTION_TEXTS, offsetof(struct args, dns), "ADDRESS",
	 "name server of containers"},
	{'G', "group", OPTION_TEXT, offsetof(struct args, group), "GID",
	 "numeric group that may use the socket"},
	{0, "kube-listen", OPTION_TEXT, offsetof(struct args, kube_listen), "ADDRESS:PORT",
	 "serve the Kubernetes API there; usually said by hull up"},
	{0, "libexec", OPTION_TEXT, offsetof(struct args, libexec), "DIR",
	 "where hull-keeper and its kind lie"},
	{'v', "version", OPTION_FLAG, offsetof(struct args, version), NULL, "say the version"},
	{'h', "help", OPTION_FLAG, offsetof(struct args, help), NULL, "say this"},
};

struct hulld {
	struct loop *loop;
	struct engine *engine;
	struct docker *docker;
	struct cluster *cluster;
	struct loop_signal *term, *interrupt, *quit;
	struct args args;
	int exit_code;
};

static void help(void)
{
	auto_strbuf struct strbuf text = {0};

	strbuf_add_text(&text, "usage: hulld [OPTION...]\nThe node daemon of Hull.\n\n");
	options_help(rows, array_len(rows), &text);
	(void)fputs(strbuf_text(&text), stdout);
}

static int log_options(const struct args *a, enum log_level *level, enum log_format *format,
		       struct err *e)
{
	static const char *const levels[] = {"debug", "info", "warn", "error"};

	*level = a->debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO;
	*format = LOG_FORMAT_TEXT;
	if (a->log_format && text_eq(a->log_format, "json"))
		*format = LOG_FORMAT_JSON;
	else if (a->log_format && !text_eq(a->log_format, "text"))
		return err_set(e, ERR_INVALID, "invalid log format '%s': text or json is expected",
			       a->log_format);
	for (size_t i = 0; a->log_level && i < array_len(levels); i++)
		if (text_eq(a->log_level, levels[i])) {
			*level = (enum log_level)i;
			return 0;
		}
	if (a->log_level)
		return err_set(e, ERR_INVALID,
			       "invalid log level '%s': debug, info, warn or error is expected",
			       a->log_level);
	return 0;
}

/* The other programs lie beside this one (a build tree), or in ../libexec/hull (installed). */
static char *find_libexec(const char *asked)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	auto_free char *installed = NULL, *probe = NULL;
	char *slash;

	if (asked)
		return mem_dup_text(asked);
	self[n > 0 ? n : 0] = '\0';
	slash = strrchr(self, '/');
	if (!slash)
		return mem_dup_text("/usr/libexec/hull");
	*slash = '\0';
	probe = mem_printf("%s/hull-keeper", self);
	if (access(probe, X_OK) == 0)
		return mem_dup_text(self);
	slash = strrchr(self, '/');
	if (slash)
		*slash = '\0';
	return mem_printf("%s/libexec/hull", self);
}

static int give_to_group(const char *path, const char *group, struct err *e)
{
	uint32_t gid;

	if (parse_u32(str_of(group), "group id", &gid, e) < 0)
		return -ERR_INVALID;
	if (chown(path, (uid_t)-1, (gid_t)gid) < 0)
		return err_sys(e, "cannot give '%s' to group %s", path, group);
	return 0;
}

static int serve(struct hulld *d, struct err *e)
{
	auto_free char *path = mem_printf("%s/docker.sock", d->args.run);
	int fd = -1;

	if (docker_new(d->loop, d->engine, &d->docker, e) < 0)
		return -ERR_INTERNAL;
	if (unix_listen(path, SOCK_STREAM | SOCK_NONBLOCK, 0660, &fd, e) < 0)
		return -ERR_SYSTEM;
	if (d->args.group && give_to_group(path, d->args.group, e) < 0) {
		(void)fd_close(fd);
		return -ERR_INVALID;
	}
	return docker_listen(d->docker, fd, e);
}

/* A cluster is served where `hull up` asked for one. */
static int serve_cluster(struct hulld *d, struct err *e)
{
	auto_free char *wanted = d->args.kube_listen ? mem_dup_text(d->args.kube_listen)
						     : cluster_wanted(d->args.root);
	struct cluster_options o = {.loop = d->loop,
				    .engine = d->engine,
				    .root = d->args.root,
				    .run = d->args.run,
				    .listen = wanted};

	return wanted ? cluster_new(&o, &d->cluster, e) : 0;
}

static void engine_ready(void *ctx, const struct err *e)
{
	struct hulld *d = ctx;
	struct err own = {0};

	if (e || serve_cluster(d, &own) < 0 || serve(d, &own) < 0) {
		log_error("cannot serve: %s", e ? e->text : own.text);
		d->exit_code = 1;
		loop_stop(d->loop);
		return;
	}
	log_info("listening on %s/docker.sock", d->args.run);
}

static void end(void *arg)
{
	struct hulld *d = arg;

	log_info("ending; containers go on");
	loop_stop(d->loop);
}

static void all_stopped(void *ctx, const struct err *e)
{
	struct hulld *d = ctx;

	cluster_stopped(d->cluster);
	log_info("ending; nothing runs");
	loop_stop(d->loop);
}

static void end_all(void *arg)
{
	struct hulld *d = arg;

	cluster_quiet(d->cluster);
	log_info("stopping every container");
	engine_shutdown(d->engine, all_stopped, d);
}

static int run(struct hulld *d, struct err *e)
{
	auto_free char *libexec = find_libexec(d->args.libexec);
	auto_free char *wanted = cluster_wanted(d->args.root);
	struct engine_options o = {
		.root = d->args.root,
		.run = d->args.run,
		.libexec = libexec,
		.address_pools = d->args.pools,
		.insecure_registries = d->args.insecure,
		.mirrors = d->args.mirrors,
		.dns = d->args.dns,
		.pods = wanted || d->args.kube_listen ? cluster_pods() : NULL,
		.debug = d->args.debug,
	};

	if (loop_new(&d->loop, e) < 0)
		return -ERR_SYSTEM;
	if (loop_signal_new(d->loop, SIGTERM, end, d, &d->term, e) < 0 ||
	    loop_signal_new(d->loop, SIGINT, end, d, &d->interrupt, e) < 0 ||
	    loop_signal_new(d->loop, SIGQUIT, end_all, d, &d->quit, e) < 0)
		return -ERR_SYSTEM;
	o.loop = d->loop;
	if (engine_new(&o, engine_ready, d, &d->engine, e) < 0)
		return -ERR_SYSTEM;
	loop_run(d->loop);
	return 0;
}

/* Many containers are many sockets: what the hard limit allows is ours. */
static void raise_descriptors(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &r);
	}
}

/*
 * What one turn allocates and frees, the next one needs again: giving it back to the kernel in
 * between costs a fault for each page.
 */
static void keep_memory(void)
{
	(void)mallopt(M_TRIM_THRESHOLD, MEMORY_KEPT_BYTES);
}

int main(int argc, char **argv)
{
	struct hulld d = {.args = {.root = "/var/lib/hull", .run = "/run/hull"}};
	enum log_level level;
	enum log_format format;
	struct err e = {0};
	int first;

	if (options_parse(rows, array_len(rows), &d.args, argc, argv, false, &first, &e) < 0 ||
	    log_options(&d.args, &level, &format, &e) < 0) {
		(void)fprintf(stderr, "hulld: %s\n", e.text);
		return 125;
	}
	if (d.args.help || d.args.version) {
		if (d.args.help)
			help();
		else
			(void)puts("hulld " HULL_VERSION);
		return 0;
	}
	if (first < argc) {
		(void)fprintf(stderr, "hulld: unexpected argument '%s'; it takes options only\n",
			      argv[first]);
		return 125;
	}
	log_setup("hulld", STDERR_FILENO, level, format);
	(void)umask(022);
	raise_descriptors();
	keep_memory();
	if (run(&d, &e) < 0) {
		log_error("%s", e.text);
		d.exit_code = 1;
	}
	d.docker = d.docker ? docker_free(d.docker) : NULL;
	d.cluster = cluster_free(d.cluster);
	d.engine = engine_free(d.engine);
	options_free(rows, array_len(rows), &d.args);
	return d.exit_code;
}
