/*
 * hull-net: names and relays of one Hull, wiring only. usage: hull-net DIR, with the listening
 * control socket as descriptor 3; hulld starts it and it outlives hulld.
 *
 * It gives up root and most system calls before the first packet: every socket that needs a right
 * is made by others and handed to it.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "ground/base/log.h"
#include "virt/network/server.h"

#define LISTENER_FD 3

/* Sockets are what this program is made of: as many as may be. */
static void raise_descriptors(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) < 0)
		return;
	l.rlim_cur = l.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &l);
}

static void stop(void *arg)
{
	loop_stop(arg);
}

static int serve(struct loop *loop, struct err *e)
{
	struct loop_signal *term = NULL;
	struct server *server = NULL;
	int r;

	r = server_new(&(struct server_options){.loop = loop,
						.world = &world_real,
						.listener = LISTENER_FD,
						.resolv_conf = "/etc/resolv.conf"},
		       &server, e);
	if (r == 0)
		r = loop_signal_new(loop, SIGTERM, stop, loop, &term, e);
	if (r == 0)
		r = server_confine(e);
	if (r == 0)
		loop_run(loop);
	if (term)
		(void)loop_signal_free(term);
	(void)server_free(server);
	return r;
}

int main(int argc, char **argv)
{
	struct loop *loop = NULL;
	struct err e = {0};
	int r;

	log_setup("hull-net", STDERR_FILENO, LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	if (argc != 2 || fcntl(LISTENER_FD, F_SETFD, FD_CLOEXEC) < 0) {
		log_error("usage: hull-net DIR, with a listening socket as descriptor 3; hulld "
			  "starts it");
		return 125;
	}
	if (chdir("/") < 0) {
		log_error("cannot change to '/'");
		return 125;
	}
	raise_descriptors();
	r = loop_new(&loop, &e);
	if (r == 0)
		r = serve(loop, &e);
	if (r < 0)
		log_error("%s", e.text);
	if (loop)
		(void)loop_free(loop);
	return r < 0 ? 125 : 0;
}
