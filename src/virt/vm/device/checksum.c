/*
 * The internet checksum. Sums are kept in 64 bits and folded at the end; bytes are read through a
 * cursor, so that no length field leads outside the frame.
 */
#include <assert.h>
#include <string.h>

#include "ground/base/cursor.h"
#include "virt/vm/device/checksum.h"

#define ETHERNET_BYTES 14u
#define ETHERTYPE_IP4  0x0800
#define ETHERTYPE_IP6  0x86dd
#define PROTOCOL_TCP   6
#define PROTOCOL_UDP   17
#define IP4_MORE_OR_AT 0x3fff /* more fragments, or not the first */
#define UDP_SUM_AT     6u

static uint64_t add(uint64_t sum, const uint8_t *p, size_t n)
{
	for (; n >= 4; p += 4, n -= 4) {
		uint32_t word;

		memcpy(&word, p, 4);
		sum += word;
	}
	if (n >= 2) {
		uint16_t word;

		memcpy(&word, p, 2);
		sum += word;
		p += 2;
		n -= 2;
	}
	return n ? sum + *p : sum;
}

/* Little-endian words sum as well as big-endian ones: the carry goes round (RFC 1071, 2B). */
static uint16_t fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

void checksum_fill(uint8_t *frame, size_t bytes, size_t start, size_t at)
{
	uint16_t sum;

	assert(start < bytes && at >= start && at + 2 <= bytes);
	sum = (uint16_t)~fold(add(0, frame + start, bytes - start));
	if (sum == 0)
		sum = 0xffff; /* zero means none in UDP and the same in TCP */
	memcpy(frame + at, &sum, 2);
}

static bool payload_right(uint64_t pseudo, uint8_t protocol, struct cursor c, size_t n)
{
	uint8_t tail[4] = {0, protocol, (uint8_t)(n >> 8), (uint8_t)n};
	const uint8_t *p = cursor_bytes(&c, n);

	if (!p || n > UINT16_MAX || (protocol != PROTOCOL_TCP && protocol != PROTOCOL_UDP))
		return false;
	if (protocol == PROTOCOL_UDP && (n < 8 || (p[UDP_SUM_AT] == 0 && p[UDP_SUM_AT + 1] == 0)))
		return false;
	return fold(add(add(pseudo, tail, sizeof(tail)), p, n)) == 0xffff;
}

static bool ip4_right(struct cursor c)
{
	const uint8_t *h = cursor_bytes(&c, 20);
	size_t options, total;

	if (!h || h[0] >> 4 != 4 || (h[0] & 15) < 5)
		return false;
	options = (h[0] & 15u) * 4 - 20;
	total = (size_t)h[2] << 8 | h[3];
	if (((h[6] << 8 | h[7]) & IP4_MORE_OR_AT) || total < 20 + options)
		return false;
	if (!cursor_bytes(&c, options))
		return false;
	return payload_right(add(0, h + 12, 8), h[9], c, total - 20 - options);
}

static bool ip6_right(struct cursor c)
{
	const uint8_t *h = cursor_bytes(&c, 40);

	if (!h || h[0] >> 4 != 6)
		return false;
	return payload_right(add(0, h + 8, 32), h[6], c, (size_t)h[4] << 8 | h[5]);
}

bool checksum_right(const uint8_t *frame, size_t bytes)
{
	struct cursor c = cursor_of(frame, bytes);
	const uint8_t *h = cursor_bytes(&c, ETHERNET_BYTES);

	if (!h)
		return false;
	switch (h[12] << 8 | h[13]) {
	case ETHERTYPE_IP4:
		return ip4_right(c);
	case ETHERTYPE_IP6:
		return ip6_right(c);
	default:
		return false;
	}
}
