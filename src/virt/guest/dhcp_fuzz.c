/* Fuzzes the DHCP client's reader: any bytes are a reply or refused. */
#include <assert.h>
#include <stdint.h>

#include "virt/guest/netif.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dhcp_reply r;
	struct netif_config c;
	uint32_t xid = 0;

	if (size >= 8)
		xid = (uint32_t)data[4] << 24 | (uint32_t)data[5] << 16 | (uint32_t)data[6] << 8 |
		      data[7];
	(void)!dhcp_read((struct str){(const char *)data, size}, xid, &r, NULL);
	if (netif_parse((struct str){(const char *)data, size}, &c, NULL) == 0)
		assert(c.address != 0 || size > 0);
	return 0;
}
