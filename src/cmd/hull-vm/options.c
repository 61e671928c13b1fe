/*
 * hull-vm's command line: one table of options, and the disk's own comma list.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ground/base/mem.h"
#include "ground/base/options.h"
#include "ground/base/own.h"
#include "hull-vm.h"

#define MEMORY_DEFAULT (512ll << 20)

static const struct option_row rows[] = {
	{0, "accel", OPTION_TEXT, offsetof(struct vm_options, accel), "auto|kvm|cpu",
	 "what executes the guest (default auto)"},
	{'c', "cpus", OPTION_I64, offsetof(struct vm_options, cpus), "N", "vCPUs (default 1)"},
	{'m', "memory", OPTION_SIZE, offsetof(struct vm_options, memory), "SIZE",
	 "memory (default 512M)"},
	{'k', "kernel", OPTION_TEXT, offsetof(struct vm_options, kernel), "FILE",
	 "the kernel: a vmlinux or a bzImage"},
	{0, "initrd", OPTION_TEXT, offsetof(struct vm_options, initrd), "FILE",
	 "its initial file system"},
	{0, "append", OPTION_TEXT, offsetof(struct vm_options, append), "LINE", "its command line"},
	{0, "boot", OPTION_TEXT, offsetof(struct vm_options, protocol), "auto|pvh|linux64",
	 "how it is entered (default auto)"},
	{'d', "disk", OPTION_TEXTS, offsetof(struct vm_options, disks),
	 "PATH,format=F[,ro][,bus=B][,serial=S]", "a disk: raw or qcow2, virtio or nvme"},
	{'n', "net", OPTION_TEXTS, offsetof(struct vm_options, nets), "fd=N|tap=NAME",
	 "a network card: frames by a packet socket, or a tap interface"},
	{0, "id", OPTION_TEXT, offsetof(struct vm_options, id), "NAME",
	 "how the machine calls itself to its control socket"},
	{0, "dir", OPTION_TEXT, offsetof(struct vm_options, dir), "DIR",
	 "where its sockets are (other paths must be absolute then)"},
	{0, "vsock", OPTION_FLAG, offsetof(struct vm_options, vsock), NULL,
	 "a vsock device, behind DIR/vsock"},
	{0, "control", OPTION_FLAG, offsetof(struct vm_options, control), NULL,
	 "answer REST calls at DIR/control"},
	{0, "console", OPTION_TEXT, offsetof(struct vm_options, console), "serial|virtio",
	 "which console stands on standard input and output (default serial)"},
	{0, "no-reboot", OPTION_FLAG, offsetof(struct vm_options, no_reboot), NULL,
	 "end where the guest would reboot"},
	{0, "stats", OPTION_FLAG, offsetof(struct vm_options, stats), NULL,
	 "say at the end what was executed"},
	{'q', "quiet", OPTION_FLAG, offsetof(struct vm_options, quiet), NULL,
	 "do not say which accelerator was taken"},
	{0, "unconfined", OPTION_FLAG, offsetof(struct vm_options, unconfined), NULL,
	 "keep the rights of the caller (for debugging)"},
	{'h', "help", OPTION_FLAG, offsetof(struct vm_options, help), NULL, "this text"},
};

struct choice {
	const char *name;
	int value;
};

static int choose(const struct choice *choices, size_t n, const char *text, const char *what,
		  int *ret, struct err *e)
{
	auto_strbuf struct strbuf names = {0};

	for (size_t i = 0; i < n; i++) {
		if (text_eq(choices[i].name, text)) {
			*ret = choices[i].value;
			return 0;
		}
		strbuf_printf(&names, "%s'%s'", i ? ", " : "", choices[i].name);
	}
	return err_set(e, ERR_INVALID, "unknown %s '%s': there are %s", what, text,
		       strbuf_text(&names));
}

static const struct choice buses[] = {{"virtio", MACHINE_DISK_VIRTIO}, {"nvme", MACHINE_DISK_NVME}};
static const struct choice protocols[] = {
	{"auto", BOOT_AUTO}, {"pvh", BOOT_PVH}, {"linux64", BOOT_LINUX64}};
static const struct choice consoles[] = {{"serial", true}, {"virtio", false}};

static int disk_word(char *word, struct machine_disk *d, struct err *e)
{
	char *value = strchr(word, '=');
	int bus = d->bus, r = 0;

	if (value)
		*value++ = 0;
	if (text_eq(word, "ro") && !value)
		d->read_only = true;
	else if (text_eq(word, "format") && value)
		d->format = value;
	else if (text_eq(word, "serial") && value)
		d->serial = value;
	else if (text_eq(word, "bus") && value)
		r = choose(buses, array_len(buses), value, "bus", &bus, e);
	else
		r = err_set(e, ERR_INVALID,
			    "unknown word '%s': there are format=raw|qcow2, bus=virtio|nvme, "
			    "serial=TEXT and ro",
			    word);
	d->bus = (enum machine_disk_bus)bus;
	return r;
}

static int parse_disk(char *text, struct machine_disk *d, struct err *e)
{
	char *rest = text, *word;
	int r = 0;

	d->path = strsep(&rest, ",");
	while (r == 0 && (word = strsep(&rest, ",")))
		r = disk_word(word, d, e);
	if (r == 0 && !d->format)
		r = err_set(e, ERR_INVALID,
			    "its format is not guessed: add format=raw or "
			    "format=qcow2");
	return r < 0 ? err_wrap(e, "disk '%s'", d->path) : 0;
}

static int parse_disks(struct vm_options *o, struct err *e)
{
	size_t n = mem_count_texts(o->disks);
	int r = 0;

	if (n > MACHINE_DISKS_MAX)
		return err_set(e, ERR_INVALID, "a machine has at most %d disks, not %zu",
			       MACHINE_DISKS_MAX, n);
	for (size_t i = 0; r == 0 && i < n; i++) {
		o->disk_text[i] = mem_dup_text(o->disks[i]);
		r = parse_disk(o->disk_text[i], &o->config.disk[i], e);
	}
	o->config.disks = n;
	return r;
}

static int fill(struct vm_options *o, struct err *e)
{
	int protocol, serial = true;
	int r = choose(protocols, array_len(protocols), o->protocol, "boot protocol", &protocol, e);

	if (r == 0)
		r = choose(consoles, array_len(consoles), o->console, "console", &serial, e);
	if (r == 0 && (o->cpus < 1 || o->cpus > VCPU_COUNT_MAX))
		r = err_set(e, ERR_INVALID, "a machine has 1 to %d vCPUs, not %lld", VCPU_COUNT_MAX,
			    (long long)o->cpus);
	if (r == 0 && !o->kernel && !o->control)
		r = err_set(e, ERR_INVALID,
			    "no kernel: name one with --kernel FILE, or describe the machine "
			    "by calls with --control");
	if (r < 0)
		return r;
	o->config.accel = o->accel;
	o->config.cpus = (unsigned)o->cpus;
	o->config.memory_bytes = (uint64_t)o->memory;
	o->config.kernel = o->kernel;
	o->config.initrd = o->initrd;
	o->config.command_line = o->append;
	o->config.no_reboot = o->no_reboot;
	o->config.protocol = (enum boot_protocol)protocol;
	o->serial = serial;
	if ((o->vsock || o->control) && !o->dir)
		return err_set(e, ERR_INVALID, "--vsock and --control want --dir DIR");
	return parse_disks(o, e);
}

int vm_options_parse(int argc, char **argv, struct vm_options *ret, struct err *e)
{
	int first, r;

	*ret = (struct vm_options){.accel = "auto",
				   .cpus = 1,
				   .memory = MEMORY_DEFAULT,
				   .id = "machine",
				   .append = "console=ttyS0",
				   .protocol = "auto",
				   .console = "serial"};
	r = options_parse(rows, array_len(rows), ret, argc, argv, false, &first, e);
	if (r == 0 && !ret->help && first < argc)
		r = err_set(e, ERR_INVALID, "unexpected '%s': hull-vm takes options only",
			    argv[first]);
	if (r == 0 && !ret->help)
		r = fill(ret, e);
	return r;
}

void vm_options_done(struct vm_options *o)
{
	options_free(rows, array_len(rows), o);
	for (size_t i = 0; i < MACHINE_DISKS_MAX; i++)
		free(o->disk_text[i]);
}

void vm_options_help(void)
{
	auto_strbuf struct strbuf b = {0};

	options_help(rows, array_len(rows), &b);
	(void)printf("usage: hull-vm --kernel FILE [OPTION...]\n\nRuns one virtual machine, its "
		     "console on standard input and output; Ctrl-] ends it.\n\n%s",
		     strbuf_text(&b));
}
