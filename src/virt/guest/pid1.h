/*
 * The first process of a guest that Hull boots an image in: started by the kernel as /init of the
 * initramfs that `hull vm kernel add` makes.
 *
 * It mounts /proc, /sys, /dev and /run, loads the modules that lie in /modules in their order,
 * assembles the root, brings up the network, and serves the agent until the machine shall end. The
 * kernel's command line says what to do (see the table in pid1.c):
 *
 *	hull.lower=DEV hull.upper=DEV	an erofs and an ext4 file system, joined by an overlay
 *	hull.disk=DEV			one file system; its own /sbin/init (or hull.init=PATH) runs
 *	hull.net=dhcp | ADDRESS/PREFIX,GATEWAY,DNS
 *	hull.name=NAME			host name
 *	hull.agent=PATH			a serial port in the place of vsock (monitors without it)
 *
 * Not here: anything a distribution's init does. It never returns.
 */
#pragma once

#define PID1_CMDLINE_MAX 4096
#define PID1_MODULES_DIR "/modules"

_Noreturn void guest_pid1(void);
