/*
 * What the files of the local APIC share: apic.c (registers), apic_timer.c, apic_send.c. Nobody
 * else includes this.
 */
#pragma once

#include <stdatomic.h>

#include "virt/vm/cpu/apic.h"
#include "virt/vm/memory/map.h"

#define APIC_MAGIC     0x41504943u
#define APIC_LVTS      6
#define APIC_MSR_FIRST 0x800u
#define APIC_MSR_LAST  0x83fu

#define APIC_LVT_MASKED	 (1u << 16)
#define APIC_SVR_ENABLED (1u << 8)
#define APIC_ICR_VALID	 0x000ccfffu /* delivery status (bit 12) always reads idle */

/* Error status register, SDM volume 3, figure 11-9. */
#define APIC_ERROR_SENT	    0x20u /* illegal vector sent */
#define APIC_ERROR_RECEIVED 0x40u /* illegal vector received */
#define APIC_ERROR_REGISTER 0x80u /* illegal register address */

static inline bool apic_x2(const struct apic *a)
{
	return (atomic_load_explicit(&a->base, memory_order_relaxed) & APIC_BASE_X2APIC) != 0;
}

static inline bool apic_software_enabled(const struct apic *a)
{
	return (atomic_load_explicit(&a->svr, memory_order_relaxed) & APIC_SVR_ENABLED) != 0 &&
	       (atomic_load_explicit(&a->base, memory_order_relaxed) & APIC_BASE_ENABLED) != 0;
}

/* An error of the owner's own doing: noted, and the LVT's error entry fires. */
void apic_error(struct apic *a, uint32_t error);

/* A vector becomes requested; any thread. */
void apic_accept(struct apic *a, uint8_t vector, bool level);
/* Carries out what the ICR holds; a write to the self-IPI register. */
void apic_ipi(struct apic *a);
void apic_self_ipi(struct apic *a, uint8_t vector);

/* LVT timer entry is about to become `entry`; initial count and divider were written. */
void apic_timer_mode(struct apic *a, uint32_t entry);
void apic_timer_start(struct apic *a, uint32_t initial);
void apic_timer_divide(struct apic *a, uint32_t divide);
uint32_t apic_timer_current(const struct apic *a);
/* Sets the counter going with `current` left; in deadline mode that follows from the MSR alone. */
void apic_timer_restore(struct apic *a, uint32_t initial, uint32_t current);
