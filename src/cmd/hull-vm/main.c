/*
 * hull-vm: one virtual machine, wiring only: options to a struct machine_config, console on
 * standard input and output, confinement, the loop.
 *
 * Exit code: 0 the guest switched itself off, 1 its kernel panicked, 125 it could not be started or
 * the accelerator failed, 143 ended by SIGTERM.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/wire/loop.h"
#include "hull-vm.h"
#include "virt/vm/device/char_fd.h"
#include "virt/vm/machine/machine.h"

#define EXIT_CANNOT 125
#define ESCAPE	    0x1d /* Ctrl-] */

struct program {
	struct loop *loop;
	struct char_back *terminal;
	struct machine *machine;
	struct vm_doors *doors;
	struct loop_signal *term, *interrupt, *resize, *power;
	struct termios saved;
	bool raw; /* the terminal is to be put back */
	int code;
};

static void ended(void *arg, enum machine_end how, const struct err *e)
{
	struct program *p = arg;

	if (how == MACHINE_PANICKED)
		log_error("the guest's kernel panicked");
	if (how == MACHINE_FAILED)
		log_error("%s", e && e->text[0] ? e->text : "the machine failed");
	if (p->code == 0)
		p->code = how == MACHINE_OFF ? 0 : how == MACHINE_PANICKED ? 1 : EXIT_CANNOT;
	loop_stop(p->loop);
}

static void pull_plug(void *arg)
{
	struct program *p = arg;

	p->code = 128 + SIGTERM;
	if (p->machine)
		machine_end(p->machine);
	else
		loop_stop(p->loop);
}

static void resized(void *arg)
{
	struct program *p = arg;

	char_fd_resize(p->terminal);
}

/* SIGPWR, as a UPS sends it: the guest is asked to switch itself off. */
static void press_button(void *arg)
{
	struct program *p = arg;

	if (p->machine)
		(void)!machine_power_button(p->machine, NULL);
}

static void leave(void *arg)
{
	struct program *p = arg;

	if (p->machine)
		machine_end(p->machine);
	else
		loop_stop(p->loop);
}

/* ---- the console ---- */

/* A description of our own, so that making it non-blocking does not reach whoever shares ours. A
 * file is never waited for, and its position is to stay shared. */
static int reopen(int fd, int flags)
{
	auto_free char *path = mem_printf("/proc/self/fd/%d", fd);
	struct stat st;
	int own = -1;

	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		return fd;
	own = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	return own >= 0 ? own : fd;
}

static void make_raw(struct program *p)
{
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, &p->saved) < 0)
		return;
	raw = p->saved;
	cfmakeraw(&raw);
	p->raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
}

static int open_console(struct program *p, const struct vm_options *o, struct err *e)
{
	bool terminal = isatty(STDIN_FILENO);
	struct char_fd_config c = {.loop = p->loop,
				   .in = reopen(STDIN_FILENO, O_RDONLY),
				   .out = reopen(STDOUT_FILENO, O_WRONLY),
				   /* Under a supervisor the way out is its affair. */
				   .escape = terminal && !o->dir ? ESCAPE : -1,
				   .escaped = leave,
				   .arg = p};

	return char_fd_new(&c, &p->terminal, e);
}

/* ---- life ---- */

static int signals(struct program *p, struct err *e)
{
	int r = loop_signal_new(p->loop, SIGTERM, pull_plug, p, &p->term, e);

	if (r == 0)
		r = loop_signal_new(p->loop, SIGINT, pull_plug, p, &p->interrupt, e);
	if (r == 0)
		r = loop_signal_new(p->loop, SIGWINCH, resized, p, &p->resize, e);
	if (r == 0)
		r = loop_signal_new(p->loop, SIGPWR, press_button, p, &p->power, e);
	return r;
}

static void print_stats(struct program *p)
{
	struct machine_info i = machine_info(p->machine);
	struct machine_stats s = machine_stats(p->machine);

	log_info("%s: %llu instructions in %llu ms of vCPU time (%llu MIPS), %llu MiB of memory, "
		 "%u resets",
		 i.accel, (unsigned long long)s.instructions,
		 (unsigned long long)(s.vcpu_ns / 1000000),
		 (unsigned long long)(s.vcpu_ns ? s.instructions * 1000 / s.vcpu_ns : 0),
		 (unsigned long long)(s.memory_bytes >> 20), i.resets);
}

static int start(struct program *p, const struct vm_options *o, struct err *e)
{
	auto_close int dir = o->dir ? open(".", O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	int r = confinement_early(o, dir, e);

	if (r == 0)
		r = machine_start(p->machine, e);
	if (r == 0)
		r = confinement_late(o, p->loop, e);
	if (r == 0)
		r = machine_resume(p->machine, e);
	return r;
}

/* From options at once, or when calls have described it. 1: it was called off. */
static int make(struct program *p, struct vm_options *o, struct err *e)
{
	int r;

	if (!o->kernel) {
		loop_run(p->loop);
		return vm_doors_begun(p->doors, &p->machine) ? 0 : 1;
	}
	r = drivers_check(o, e);
	if (r == 0)
		r = machine_new(&o->config, &p->machine, e);
	return r == 0 ? vm_doors_serve(p->doors, p->machine, e) : r;
}

static int run(struct program *p, struct vm_options *o, struct err *e)
{
	struct machine_info i;
	int r = loop_new(&p->loop, e);

	if (r == 0)
		r = signals(p, e);
	if (r == 0)
		r = open_console(p, o, e);
	if (r < 0)
		return r;
	o->config.loop = p->loop;
	o->config.world = &world_real;
	o->config.ended = ended;
	o->config.arg = p;
	*(o->serial ? &o->config.serial : &o->config.console) = p->terminal;
	r = vm_doors_open(o, p->loop, &p->doors, e);
	if (r == 0)
		r = make(p, o, e);
	if (r != 0)
		return r;
	i = machine_info(p->machine);
	if (i.accel_reason[0] && !o->quiet)
		log_info("kvm is not used: %s", i.accel_reason);
	make_raw(p);
	r = start(p, o, e);
	if (r == 0)
		loop_run(p->loop);
	if (r == 0 && o->stats)
		print_stats(p);
	return r;
}

static void done(struct program *p)
{
	p->machine = machine_free(p->machine);
	p->doors = vm_doors_close(p->doors);
	if (p->terminal)
		p->terminal = p->terminal->ops->free(p->terminal);
	p->term = loop_signal_free(p->term);
	p->interrupt = loop_signal_free(p->interrupt);
	p->resize = loop_signal_free(p->resize);
	p->power = loop_signal_free(p->power);
	if (p->raw)
		(void)tcsetattr(STDIN_FILENO, TCSADRAIN, &p->saved);
	if (p->loop)
		p->loop = loop_free(p->loop);
}

int main(int argc, char **argv)
{
	struct program p = {0};
	struct vm_options o;
	struct err e = {0};
	int r;

	/* One heap: a thread's own shrinks by looking into /proc (glibc, shrink_heap), which is out
	 * of reach once we are confined; and less memory is kept. */
	(void)mallopt(M_ARENA_MAX, 1);
	log_setup("hull-vm", STDERR_FILENO, LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	r = vm_options_parse(argc, argv, &o, &e);
	if (r == 0 && o.help) {
		vm_options_help();
		return 0;
	}
	if (r == 0)
		r = run(&p, &o, &e);
	done(&p);
	vm_options_done(&o);
	if (r < 0)
		(void)fprintf(stderr, "hull-vm: %s\n", e.text);
	return r < 0 ? EXIT_CANNOT : p.code;
}
