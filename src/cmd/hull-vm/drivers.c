/*
 * Whether a kernel can reach its root by itself. Distributions keep drivers in modules, so that a
 * kernel without an initrd may find no disk, and would say so in a panic that scrolls by. Where its
 * build configuration lies beside it, as packages put it, that is asked beforehand; where it does
 * not, nothing is known and nothing is refused.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/str.h"
#include "hull-vm.h"

#define LINE_BYTES 512
#define WANTED	   array_len(wanted)

/* What must be built in for a root on this bus. Kconfig's names. */
static const struct {
	enum machine_disk_bus bus;
	const char *name, *option;
} wanted[] = {
	{MACHINE_DISK_VIRTIO, "virtio", "CONFIG_VIRTIO_PCI"},
	{MACHINE_DISK_VIRTIO, "virtio", "CONFIG_VIRTIO_BLK"},
	{MACHINE_DISK_NVME, "nvme", "CONFIG_BLK_DEV_NVME"},
};

/* boot/vmlinuz-6.1 -> boot/config-6.1; any other name -> config in the same directory. */
static char *config_path(const char *kernel)
{
	const char *slash = strrchr(kernel, '/'), *name = slash ? slash + 1 : kernel;
	const char *dash = strchr(name, '-');
	int dir = (int)(name - kernel);

	if (dash && (text_starts(name, "vmlinuz-") || text_starts(name, "vmlinux-")))
		return mem_printf("%.*sconfig%s", dir, kernel, dash);
	return mem_printf("%.*sconfig", dir, kernel);
}

/* The value of "OPTION=value" in a line of a configuration; 0: the line is about something else. */
static char value_in(const char *line, const char *option)
{
	size_t n = strlen(option);

	return strncmp(line, option, n) == 0 && line[n] == '=' ? line[n + 1] : 0;
}

/* 'n' for what has no line; false: there is no such file. */
static bool read_values(const char *path, char value[WANTED])
{
	FILE *f = fopen(path, "re");
	char line[LINE_BYTES];

	if (!f)
		return false;
	memset(value, 'n', WANTED);
	while (fgets(line, sizeof(line), f)) {
		for (size_t i = 0; i < WANTED; i++) {
			char v = value_in(line, wanted[i].option);

			value[i] = v ? v : value[i];
		}
	}
	(void)fclose(f);
	return true;
}

int drivers_check(const struct vm_options *o, struct err *e)
{
	auto_free char *path = NULL;
	char value[WANTED];

	assert(o->kernel);
	if (o->initrd || o->config.disks == 0)
		return 0;
	path = config_path(o->kernel);
	if (!read_values(path, value))
		return 0;
	for (size_t i = 0; i < WANTED; i++)
		if (wanted[i].bus == o->config.disk[0].bus && value[i] != 'y')
			return err_set(
				e, ERR_INVALID,
				"kernel '%s' has no driver of its own for a %s disk (%s=%c in "
				"'%s'): give it an --initrd with the module, or put the disk "
				"on another bus",
				o->kernel, wanted[i].name, wanted[i].option, value[i], path);
	return 0;
}
