/*
 * An intrusive doubly linked list: `struct list` is both the head and the link inside an element.
 *
 *	struct list heads;			list_init(&heads);
 *	list_append(&heads, &item->link);
 *	list_each(&heads, struct item, link, it)
 *		use(it);			(the current element may be removed inside the loop)
 */
#pragma once

#include <stdbool.h>

#include "ground/base/mem.h"

struct list {
	struct list *next, *prev;
};

static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

static inline void list_append(struct list *head, struct list *item)
{
	item->prev = head->prev;
	item->next = head;
	head->prev->next = item;
	head->prev = item;
}

static inline void list_remove(struct list *item)
{
	item->prev->next = item->next;
	item->next->prev = item->prev;
	list_init(item);
}

#define list_first(head, type, member) \
	(list_empty(head) ? NULL : container_of((head)->next, type, member))

#define list_each(head, type, member, it)                                                        \
	for (struct list *it##_at = (head)->next, *it##_next = it##_at->next; it##_at != (head); \
	     it##_at = it##_next, it##_next = it##_at->next)                                     \
		for (type *it = container_of(it##_at, type, member); it; it = NULL)
