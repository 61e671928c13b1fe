/* The table of `hull vm`. */
#include "cli/container.h"
#include "cli/run.h"
#include "cli/vm.h"
#include "ground/base/mem.h"

#define V(letter, name, type, field, arg, help)                                   \
	{                                                                         \
		letter, name, type, offsetof(struct vm_options, field), arg, help \
	}
#define C(letter, name, type, field, arg, help)                                          \
	{                                                                                \
		letter, name, type, offsetof(struct container_options, field), arg, help \
	}
#define X(letter, name, type, field, arg, help)                                     \
	{                                                                           \
		letter, name, type, offsetof(struct exec_options, field), arg, help \
	}
#define L(letter, name, type, field, arg, help)                                        \
	{                                                                              \
		letter, name, type, offsetof(struct vm_list_options, field), arg, help \
	}

static const struct option_row boot_rows[] = {
	V('d', "detach", OPTION_FLAG, detach, NULL, "run in the background and print the id"),
	V('i', "interactive", OPTION_FLAG, interactive, NULL, "keep standard input open (IMAGE)"),
	V('t', "tty", OPTION_FLAG, tty, NULL, "give the command a terminal (IMAGE)"),
	V(0, "rm", OPTION_FLAG, remove, NULL, "remove the machine when it ends"),
	V(0, "name", OPTION_TEXT, name, "NAME", "name of the machine"),
	V(0, "accel", OPTION_TEXT, accel, "auto|kvm|cpu", "what executes it (auto)"),
	V(0, "cpus", OPTION_I64, cpus, "N", "virtual CPUs (1)"),
	V('m', "memory", OPTION_SIZE, memory, "BYTES", "memory (512m)"),
	V(0, "kernel", OPTION_TEXT, kernel, "KERNEL", "a file, or one of 'hull vm kernel ls'"),
	V(0, "initrd", OPTION_TEXT, initrd, "FILE", "its initial file system"),
	V(0, "append", OPTION_TEXT, append, "LINE", "words for its command line"),
	V(0, "disk", OPTION_TEXTS, disk, "PATH,format=raw|qcow2[,ro][,bus=virtio|nvme]", "a disk"),
	V(0, "disk-size", OPTION_SIZE, disk_size, "BYTES", "room for what is written (4g; IMAGE)"),
	V(0, "net", OPTION_TEXT, net, "user|tap=NAME|none", "its network (user with IMAGE)"),
	V(0, "allow-loopback", OPTION_FLAG, allow_loopback, NULL,
	  "let it reach this host's loopback, as 10.0.2.2"),
	V('p', "publish", OPTION_TEXTS, publish, "[ADDR:]HOST:GUEST[/udp]",
	  "lead a port of this host to it"),
	V('e', "env", OPTION_TEXTS, env, "K=V", "set a variable (IMAGE; K alone: copy ours)"),
	V('w', "workdir", OPTION_TEXT, workdir, "DIR", "working directory (IMAGE)"),
	V('u', "user", OPTION_TEXT, user, "USER[:GROUP]", "user, by name or number (IMAGE)"),
	V(0, "entrypoint", OPTION_TEXT, entrypoint, "PROGRAM",
	  "instead of the image's entry point"),
	V('h', "hostname", OPTION_TEXT, hostname, "NAME", "host name inside"),
	V('l', "label", OPTION_TEXTS, label, "K=V", "label the machine"),
	V(0, "restart", OPTION_TEXT, restart, "POLICY",
	  "no, always, unless-stopped, on-failure[:N]"),
	V(0, "pull", OPTION_TEXT, pull, "WHEN", "always, missing or never"),
	V('q', "quiet", OPTION_FLAG, quiet, NULL, "no progress while pulling"),
};
static const struct option_row list_rows[] = {
	L('a', "all", OPTION_FLAG, all, NULL, "also those that do not run"),
	L('q', "quiet", OPTION_FLAG, quiet, NULL, "ids only"),
};
static const struct option_row logs_rows[] = {
	C('f', "follow", OPTION_FLAG, follow, NULL, "go on as it grows"),
	C('n', "tail", OPTION_TEXT, tail, "N", "only the last N lines"),
	C('t', "timestamps", OPTION_FLAG, timestamps, NULL, "with the time of each line"),
};
static const struct option_row stop_rows[] = {
	C('t', "time", OPTION_I64, timeout, "SECONDS", "before it is killed (10)"),
};
static const struct option_row kill_rows[] = {
	C('s', "signal", OPTION_TEXT, signal, "SIGNAL", "what is sent (KILL)"),
};
static const struct option_row start_rows[] = {
	C('a', "attach", OPTION_FLAG, attach, NULL, "stay with it and show its output"),
	C('i', "interactive", OPTION_FLAG, interactive, NULL, "also send our standard input"),
};
static const struct option_row remove_rows[] = {
	C('f', "force", OPTION_FLAG, force, NULL, "kill it first"),
};
static const struct option_row exec_rows[] = {
	X('d', "detach", OPTION_FLAG, detach, NULL, "do not wait for it"),
	X('i', "interactive", OPTION_FLAG, interactive, NULL, "send our standard input"),
	X('t', "tty", OPTION_FLAG, tty, NULL, "give it a terminal"),
	X('e', "env", OPTION_TEXTS, env, "K=V", "set a variable"),
	X('w', "workdir", OPTION_TEXT, workdir, "DIR", "working directory"),
	X('u', "user", OPTION_TEXT, user, "USER[:GROUP]", "user, by name or number"),
};

static const struct container_options container_defaults = {.timeout = -1};

#define CONTAINER(name)                                                                       \
	static const struct option_table name##_table = {name##_rows, array_len(name##_rows), \
							 sizeof(struct container_options),    \
							 &container_defaults}
#define TABLE(name, type)                                                                     \
	static const struct option_table name##_table = {name##_rows, array_len(name##_rows), \
							 sizeof(struct type), NULL}
static const struct option_table no_container_table = {NULL, 0, sizeof(struct container_options),
						       &container_defaults};
CONTAINER(logs);
CONTAINER(stop);
CONTAINER(kill);
CONTAINER(start);
CONTAINER(remove);
TABLE(boot, vm_options);
TABLE(list, vm_list_options);
TABLE(exec, exec_options);

const struct verb vm_verbs[] = {
	{"run", "[IMAGE [COMMAND [ARG...]]]",
	 "make a machine and start it: of an image, or of --kernel and --disk", &boot_table, true,
	 0, -1, vm_run_verb, false, "vm", NULL},
	{"start", "MACHINE...", "start machines", &start_table, false, 1, -1, container_start_verb,
	 false, "vm", NULL},
	{"ls", "", "list all machines", &list_table, false, 0, 0, vm_list_verb, false, "vm", NULL},
	{"ps", "", "list running machines, with what each uses", &list_table, false, 0, 0,
	 vm_use_verb, false, "vm", NULL},
	{"logs", "MACHINE", "show what its command, or its console, printed", &logs_table, false, 1,
	 1, container_logs_verb, false, "vm", NULL},
	{"console", "MACHINE", "join its console; Ctrl-] leaves", NULL, false, 1, 1,
	 vm_console_verb, false, "vm", NULL},
	{"exec", "MACHINE COMMAND [ARG...]", "run a command in a machine that booted an image",
	 &exec_table, true, 2, -1, exec_verb, false, "vm", NULL},
	{"stop", "MACHINE...", "ask machines to end: the agent, the power button, then kill",
	 &stop_table, false, 1, -1, container_stop_verb, false, "vm", NULL},
	{"kill", "MACHINE...", "end machines at once", &kill_table, false, 1, -1,
	 container_kill_verb, false, "vm", NULL},
	{"wait", "MACHINE...", "wait for the end and print exit codes", NULL, false, 1, -1,
	 container_wait_verb, false, "vm", NULL},
	{"rm", "MACHINE...", "remove machines and what they wrote", &remove_table, false, 1, -1,
	 container_remove_verb, false, "vm", NULL},
	{"inspect", "MACHINE...", "show all that is known, as JSON", &no_container_table, false, 1,
	 -1, container_inspect_verb, false, "vm", NULL},
	{"pause", "MACHINE...", "freeze machines", &no_container_table, false, 1, -1,
	 container_pause_verb, false, "vm", NULL},
	{"resume", "MACHINE...", "let frozen machines go on", &no_container_table, false, 1, -1,
	 container_unpause_verb, false, "vm", NULL},
	{"kernel", "add [PACKAGE.deb|installed] | ls | rm ID...",
	 "keep kernels for machines that boot an image", NULL, false, 1, -1, vm_kernel_verb, false,
	 "vm", NULL},
	{0},
};
