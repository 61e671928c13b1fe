/* See tap.h. */
#include "ground/linux/tap.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>

#include "ground/base/own.h"

int tap_open(const char *name, int *ret_fd, struct err *e)
{
	auto_close int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	struct ifreq r = {.ifr_flags = IFF_TAP | IFF_NO_PI};

	if (strlen(name) == 0 || strlen(name) >= IFNAMSIZ)
		return err_set(e, ERR_INVALID, "invalid interface name '%s'", name);
	if (if_nametoindex(name) == 0)
		return err_set(
			e, ERR_NOT_FOUND,
			"there is no tap interface '%s': make it with 'ip tuntap add %s mode "
			"tap', and set it up",
			name, name);
	if (fd < 0)
		return err_sys(e, "cannot open '/dev/net/tun'");
	memcpy(r.ifr_name, name, strlen(name) + 1);
	if (ioctl(fd, TUNSETIFF, &r) < 0)
		return err_sys(e, "cannot open tap interface '%s'", name);
	*ret_fd = take_fd(&fd);
	return 0;
}
