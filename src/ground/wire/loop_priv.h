/*
 * Between loop.c and loop_process.c: the children of a loop.
 */
#pragma once

#include "ground/base/list.h"
#include "ground/wire/loop.h"

struct list *loop_process_list(struct loop *l);
/* Lets every child go on by itself: nobody is told and nothing is reaped any more. */
void loop_processes_forget(struct loop *l);
