/*
 * A kernel file from a stranger: whatever the bytes are, loading it ends with a kernel in memory or
 * with an error that has a text. The first byte chooses the protocol.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ground/base/own.h"
#include "virt/vm/boot/boot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct ram *ram;
	struct boot_config c = {.initrd = -1, .kernel_name = "fuzz", .command_line = "x"};
	struct vcpu_state s = {0};
	struct boot_report report;
	struct err e = {0};
	auto_close int fd = memfd_create("fuzz", MFD_CLOEXEC);

	if (size < 2)
		return 0;
	if (!ram && ram_new(32 << 20, &ram, &e) < 0)
		return 0;
	assert(write(fd, data + 1, size - 1) == (ssize_t)(size - 1));
	c.ram = ram;
	c.kernel = fd;
	c.protocol = data[0] % 3;
	if (boot_load(&c, &s, &report, &e) < 0) {
		assert(e.text[0]);
	} else {
		assert(report.kernel_last <= ram->low_bytes);
		assert(s.rip >= report.kernel_first && s.rip < report.kernel_last);
	}
	return 0;
}
