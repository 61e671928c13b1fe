/*
 * Base64, four digits at a time. No white space is skipped, and bits that stand for nothing are not
 * looked at.
 */
#include "ground/format/base64.h"

#include <stdint.h>

void base64_encode(struct str bytes, struct strbuf *out)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < bytes.n; i += 3) {
		uint32_t bits = 0;

		for (size_t k = 0; k < 3; k++)
			bits = bits << 8 | (i + k < bytes.n ? (unsigned char)bytes.p[i + k] : 0);
		for (size_t k = 0; k < 4; k++)
			strbuf_add_char(out,
					i + k > bytes.n ? '=' : digits[bits >> (18 - 6 * k) & 63]);
	}
}

static int digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+' || c == '-')
		return 62;
	return c == '/' || c == '_' ? 63 : -1;
}

int base64_decode(struct str text, struct strbuf *out, struct err *e)
{
	uint32_t bits = 0;
	int have = 0;

	for (int pads = 0; pads < 2 && text.n && text.p[text.n - 1] == '='; pads++)
		text.n--;
	for (size_t i = 0; i < text.n; i++)
		if (digit(text.p[i]) < 0)
			return err_set(e, ERR_INVALID, "not base64: byte %zu is no digit", i);
	if (text.n % 4 == 1)
		return err_set(e, ERR_INVALID, "not base64: it ends in the middle");
	for (size_t i = 0; i < text.n; i++) {
		bits = bits << 6 | (uint32_t)digit(text.p[i]);
		have += 6;
		if (have < 8)
			continue;
		have -= 8;
		strbuf_add_char(out, (char)(bits >> have & 0xff));
	}
	return 0;
}
