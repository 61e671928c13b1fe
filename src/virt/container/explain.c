/*
 * Explaining a failed execve: see explain.h. Reads the first bytes of the file the way the kernel
 * does (binfmt_script, binfmt_elf) and looks for the first thing that is wrong.
 */
#include "virt/container/explain.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "ground/base/mem.h"
#include "ground/base/own.h"

#define HEAD_SIZE 256 /* BINPRM_BUF_SIZE: what the kernel looks at */

static const struct machine {
	uint16_t elf;
	const char *name;
} machines[] = {
	{EM_386, "i386"},	 {EM_X86_64, "x86_64"},	  {EM_ARM, "arm"},
	{EM_AARCH64, "aarch64"}, {EM_RISCV, "riscv"},	  {EM_PPC64, "ppc64"},
	{EM_S390, "s390x"},	 {EM_MIPS, "mips"},	  {EM_LOONGARCH, "loongarch64"},
	{EM_PPC, "ppc"},	 {EM_SPARCV9, "sparc64"},
};

static const char *machine_name(uint16_t elf)
{
	for (size_t i = 0; i < array_len(machines); i++)
		if (machines[i].elf == elf)
			return machines[i].name;
	return "another machine";
}

static bool is_native(uint16_t elf)
{
#if defined(__x86_64__)
	return elf == EM_X86_64 || elf == EM_386;
#elif defined(__aarch64__)
	return elf == EM_AARCH64 || elf == EM_ARM;
#else
	return true;
#endif
}

/* "#!/bin/sh -e\n" */
static int explain_script(const char *path, char *head, size_t n, int sys, struct err *e)
{
	char *line = head + 2, *end = memchr(head, '\n', n);
	struct stat s;
	bool crlf;

	if (!end)
		end = head + n;
	crlf = end > line && end[-1] == '\r';
	*end = '\0';
	line += strspn(line, " \t");
	line[strcspn(line, " \t")] = '\0';
	if (crlf)
		return err_set(
			e, ERR_NOT_FOUND,
			"cannot execute '%s': its first line ends in CRLF, the line ending of "
			"Windows: no such file or directory as its interpreter; convert it "
			"to LF",
			path);
	if (!*line)
		return err_set(e, ERR_INVALID,
			       "cannot execute '%s': its first line '#!' names no interpreter",
			       path);
	if (stat(line, &s) < 0)
		return err_set(e, ERR_NOT_FOUND,
			       "cannot execute '%s': its interpreter '%s' does not exist in the "
			       "container: no such file or directory",
			       path, line);
	if (access(line, X_OK) < 0)
		return err_set(e, ERR_FORBIDDEN,
			       "cannot execute '%s': its interpreter '%s' is not executable: "
			       "permission denied",
			       path, line);
	errno = sys;
	return err_sys(e, "cannot execute '%s' with its interpreter '%s'", path, line);
}

static int explain_loader(const char *path, const char *loader, int sys, struct err *e)
{
	if (access(loader, F_OK) < 0)
		return err_set(e, ERR_NOT_FOUND,
			       "cannot execute '%s': the loader '%s' that it was linked for does "
			       "not exist in the container: no such file or directory",
			       path, loader);
	if (access(loader, X_OK) < 0)
		return err_set(e, ERR_FORBIDDEN,
			       "cannot execute '%s': its loader '%s' is not executable: permission "
			       "denied",
			       path, loader);
	errno = sys;
	return err_sys(e, "cannot execute '%s'", path);
}

/* The program header PT_INTERP; bounds come from the file and are checked. */
static bool read_loader(int fd, const Elf64_Ehdr *h, char *loader, size_t size)
{
	for (unsigned int i = 0; i < h->e_phnum && i < 128; i++) {
		Elf64_Phdr p;
		uint64_t at = h->e_phoff + (uint64_t)i * sizeof(p);

		if (at > INT32_MAX || pread(fd, &p, sizeof(p), (off_t)at) != (ssize_t)sizeof(p))
			return false;
		if (p.p_type != PT_INTERP)
			continue;
		if (p.p_filesz < 2 || p.p_filesz > size || p.p_offset > INT32_MAX ||
		    pread(fd, loader, p.p_filesz, (off_t)p.p_offset) != (ssize_t)p.p_filesz)
			return false;
		loader[p.p_filesz - 1] = '\0';
		return true;
	}
	return false;
}

static int explain_elf(const char *path, int fd, const char *head, size_t n, int sys, struct err *e)
{
	struct utsname host = {0};
	char loader[HEAD_SIZE];
	Elf64_Ehdr h;

	if (n < sizeof(h))
		return err_set(e, ERR_INVALID,
			       "cannot execute '%s': it begins like an ELF program but is cut off: "
			       "exec format error",
			       path);
	memcpy(&h, head, sizeof(h));
	(void)uname(&host);
	if (!is_native(h.e_machine))
		return err_set(
			e, ERR_INVALID,
			"cannot execute '%s': it is built for %s (ELF machine %u), this host "
			"is %s: exec format error",
			path, machine_name(h.e_machine), h.e_machine, host.machine);
	if (h.e_ident[EI_CLASS] == ELFCLASS64 && read_loader(fd, &h, loader, sizeof(loader)))
		return explain_loader(path, loader, sys, e);
	errno = sys;
	return err_sys(e, "cannot execute '%s'", path);
}

static int explain_content(const char *path, int sys, struct err *e)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char head[HEAD_SIZE + 1];
	ssize_t n = fd < 0 ? -1 : pread(fd, head, HEAD_SIZE, 0);

	if (n < 0) {
		errno = sys;
		return err_sys(e, "cannot execute '%s'", path);
	}
	head[n] = '\0';
	if (n == 0)
		return err_set(e, ERR_INVALID,
			       "cannot execute '%s': the file is empty: exec format error", path);
	if (n >= 2 && !memcmp(head, "#!", 2))
		return explain_script(path, head, (size_t)n, sys, e);
	if (n >= SELFMAG && !memcmp(head, ELFMAG, SELFMAG))
		return explain_elf(path, fd, head, (size_t)n, sys, e);
	if (sys == ENOEXEC)
		return err_set(e, ERR_INVALID,
			       "cannot execute '%s': it is neither an ELF program nor a script "
			       "that begins with '#!': exec format error",
			       path);
	errno = sys;
	return err_sys(e, "cannot execute '%s'", path);
}

static int explain_access(const char *path, const struct stat *s, struct err *e)
{
	struct statvfs fs;

	if (S_ISDIR(s->st_mode))
		return err_set(e, ERR_FORBIDDEN,
			       "cannot execute '%s': it is a directory: permission denied", path);
	if (!S_ISREG(s->st_mode))
		return err_set(e, ERR_FORBIDDEN,
			       "cannot execute '%s': it is not a regular file: permission denied",
			       path);
	if (!(s->st_mode & 0111))
		return err_set(e, ERR_FORBIDDEN,
			       "cannot execute '%s': it is not executable (mode %04o): permission "
			       "denied; chmod +x it in the image",
			       path, s->st_mode & 07777);
	if (statvfs(path, &fs) == 0 && (fs.f_flag & ST_NOEXEC))
		return err_set(e, ERR_FORBIDDEN,
			       "cannot execute '%s': it lies on a mount with noexec: permission "
			       "denied",
			       path);
	return 0;
}

int explain_exec(const char *path, int sys, struct err *e)
{
	struct stat s;
	int r;

	if (stat(path, &s) < 0) {
		if (errno == ENOENT || errno == ENOTDIR)
			return err_set(e, ERR_NOT_FOUND,
				       "cannot execute '%s': no such file or directory in the "
				       "container",
				       path);
		return err_sys(e, "cannot execute '%s'", path);
	}
	if (sys == E2BIG)
		return err_set(e, ERR_INVALID,
			       "cannot execute '%s': its arguments and environment are too long",
			       path);
	if (sys == ENOMEM)
		return err_set(e, ERR_EXHAUSTED,
			       "cannot execute '%s': not enough memory; is the container's limit "
			       "large enough for it?",
			       path);
	if ((r = explain_access(path, &s, e)) < 0)
		return r;
	if (sys == ETXTBSY) {
		errno = sys;
		return err_sys(e, "cannot execute '%s'; somebody writes to it", path);
	}
	return explain_content(path, sys ? sys : EACCES, e);
}
