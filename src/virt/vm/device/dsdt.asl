/*
 * What the guest is told of its hardware beyond the fixed tables: the PCI bridge with its windows and
 * interrupt lines, the serial port (there is no PIC: without this its interrupt is unknown), the
 * clock, pvpanic, and how to switch off. Processors stand in the MADT. Preprocessed with map.h.
 */
#include "virt/vm/memory/map.h"

#define PCI_INTA(slot, line) Package () { ((slot) << 16) | 0xFFFF, 0, 0, MAP_IRQ_PCI + line }
#define PCI_FOUR(slot) PCI_INTA(slot, 0), PCI_INTA(slot + 1, 1), PCI_INTA(slot + 2, 2), PCI_INTA(slot + 3, 3)

DefinitionBlock ("dsdt.aml", "DSDT", 2, "HULL", "HULLDSDT", 1)
{
	Name (\_S5, Package () { 5, 5, 0, 0 })

	Scope (\_SB)
	{
		Device (PCI0)
		{
			Name (_HID, EisaId ("PNP0A03"))
			Name (_UID, 0)
			Name (_SEG, 0)
			Name (_BBN, 0)
			Name (_CRS, ResourceTemplate ()
			{
				WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode, 0, 0, 0, 0, 1)
				IO (Decode16, MAP_PORT_PCI, MAP_PORT_PCI, 1, 8)
				DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable,
					ReadWrite, 0, MAP_PCI32_BASE, MAP_PCI32_LAST, 0,
					MAP_PCI32_BYTES)
				QWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable,
					ReadWrite, 0, MAP_PCI64_BASE, MAP_PCI64_LAST, 0,
					MAP_PCI64_BYTES)
			})
			Name (_PRT, Package ()
			{
				PCI_FOUR(0), PCI_FOUR(4), PCI_FOUR(8), PCI_FOUR(12),
				PCI_FOUR(16), PCI_FOUR(20), PCI_FOUR(24), PCI_FOUR(28)
			})
		}

		/* ECAM is reserved here, otherwise Linux takes MCFG for a lie. */
		Device (RES0)
		{
			Name (_HID, EisaId ("PNP0C02"))
			Name (_UID, 0)
			Name (_CRS, ResourceTemplate ()
			{
				Memory32Fixed (ReadWrite, MAP_ECAM_BASE, MAP_ECAM_BYTES)
				IO (Decode16, MAP_PORT_PM1, MAP_PORT_PM1, 1, 12)
			})
		}

		Device (COM1)
		{
			Name (_HID, EisaId ("PNP0501"))
			Name (_UID, 1)
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, MAP_PORT_COM1, MAP_PORT_COM1, 1, 8)
				Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { MAP_IRQ_COM1 }
			})
		}

		Device (RTC0)
		{
			Name (_HID, EisaId ("PNP0B00"))
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, MAP_PORT_CMOS, MAP_PORT_CMOS, 1, 2)
				Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { MAP_IRQ_CMOS }
			})
		}

		Device (PEVT)
		{
			Name (_HID, "QEMU0001")
			Name (_STA, 0x0F)
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, MAP_PORT_PVPANIC, MAP_PORT_PVPANIC, 1, 1)
			})
		}
	}
}
