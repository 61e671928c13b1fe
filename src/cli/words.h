/*
 * Numbers and times as a person says them. Results are the caller's; nothing here is read back by a
 * program (inspect gives exact values).
 */
#pragma once

#include <stdint.h>

char *words_bytes(int64_t n);			/* "4.2MB", powers of 1000 as docker does */
char *words_ago(int64_t then_s, int64_t now_s); /* "3 minutes ago" */
char *words_ports(const void *ports);		/* of a `ps` entry: "0.0.0.0:80->80/tcp" */
