/*
 * The internet checksum (RFC 1071) in Ethernet frames: filling one in where a guest left it to its
 * device, and checking a received frame's. Pure functions over bytes from outside.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Sums [start, bytes) of the frame, in which the pseudo header's sum stands at `at` already, and
 * puts the complement there. at + 2 <= bytes. */
void checksum_fill(uint8_t *frame, size_t bytes, size_t start, size_t at);
/* Is this a TCP or UDP frame, over IPv4 or IPv6 without extensions and fragments, whose checksum
 * is there and right? */
bool checksum_right(const uint8_t *frame, size_t bytes);
