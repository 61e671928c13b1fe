/*
 * The terminal on the other end of standard input and output: raw mode while a container is
 * attached, its size, and news of its changes. Raw mode is undone by terminal_restore(), which is
 * safe to call twice and from a signal handler.
 */
#pragma once

#include <stdbool.h>

#include "ground/base/err.h"

bool terminal_is(int fd);
int terminal_raw(int fd, struct err *e) must_use;
void terminal_restore(void);

/* Rows and columns of the terminal at fd; 24 by 80 where it does not say. */
void terminal_size(int fd, unsigned int *ret_rows, unsigned int *ret_columns);
