/*
 * exec.c - programs are found by the kernel itself: scripts, interpreters, and the interpreters of
 * ELF, each of which names another file. OUTSIDE/prog ends with a status of its own.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/escape/escape.h"

/* The status of a program, or -errno of its execve. */
static int run(const char *path)
{
	const char *argv[] = { "x", NULL };
	int *error = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0),
	    status, r;
	pid_t pid = fork();

	if (pid == 0) {
		syscall(SYS_execve, path, argv, NULL);
		*error = errno;
		_exit(0);
	}
	waitpid(pid, &status, 0);
	r = *error ? -*error : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	munmap(error, 4096);
	return r;
}

static bool held_by_nothing(void)
{
	return !has_layer("mount") && !has_layer("landlock");
}

static void report(const char *what, int status)
{
	if (status == OUTSIDE_STATUS && held_by_nothing()) {
		limit("exec-outside", "%s: it ran", what);
		return;
	}
	verdict(status == OUTSIDE_STATUS, "%s: %s %d", what,
		status < 0 ? strerrorname_np(-status) : "status", status < 0 ? 0 : status);
}

static void put_program(const char *path, const void *data, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size || fchmod(fd, 0755) < 0)
		broken("cannot write %s: %s", path, errno_text(-1));
	close(fd);
}

static void put_script(const char *path, const char *interpreter)
{
	const char *line = text("#!%s\n", interpreter);

	put_program(path, line, strlen(line));
}

/* A program of one page, whose interpreter is named. */
static void put_elf(const char *path, const char *interpreter)
{
	struct {
		Elf64_Ehdr header;
		Elf64_Phdr segments[2];
		char name[512];
	} file = {
		.header = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64,
					 ELFDATA2LSB, EV_CURRENT },
			    .e_type = ET_EXEC,
			    .e_machine = EM_X86_64,
			    .e_version = EV_CURRENT,
			    .e_entry = 0x10000000,
			    .e_phoff = sizeof(Elf64_Ehdr),
			    .e_ehsize = sizeof(Elf64_Ehdr),
			    .e_phentsize = sizeof(Elf64_Phdr),
			    .e_phnum = 2 },
		.segments = { { .p_type = PT_INTERP,
				.p_flags = PF_R,
				.p_offset = sizeof(Elf64_Ehdr) + 2 * sizeof(Elf64_Phdr),
				.p_filesz = strlen(interpreter) + 1,
				.p_memsz = strlen(interpreter) + 1 },
			      { .p_type = PT_LOAD,
				.p_flags = PF_R | PF_X,
				.p_vaddr = 0x10000000,
				.p_filesz = sizeof(file),
				.p_memsz = sizeof(file),
				.p_align = 4096 } },
	};

	snprintf(file.name, sizeof(file.name), "%s", interpreter);
	put_program(path, &file, sizeof(file));
}

/* Every form of naming OUTSIDE/prog, and the same where nothing is: the errors agree. */
static void interpreters(void (*put)(const char *, const char *), const char *kind)
{
	static const char *const forms[] = { "%s", "/proc/self/root%s", "/proc/1/root%s",
					     "../../../../../../../../../../..%s",
					     "/proc/self/cwd/../../../../../../../../..%s" };

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		char out[MEMORY_SIZE], non[MEMORY_SIZE];
		const char *path = text("%s/asks", world.rw);
		int there, nowhere;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(out, sizeof(out), forms[i], text("%s/prog", world.outside));
		snprintf(non, sizeof(non), forms[i], text("%s/prog", world.nowhere));
#pragma GCC diagnostic pop
		put(path, out);
		there = run(path);
		put(path, non);
		nowhere = run(path);
		report(text("%s whose interpreter is %s", kind, forms[i]), there);
		if (there == nowhere || there == OUTSIDE_STATUS)
			continue;
		if (has_layer("mount"))
			escape("%s, %s: %d, but %d where nothing is", kind, forms[i], there,
			       nowhere);
		else
			limit("exec-existence", "%s, %s: %d, but %d where nothing is", kind,
			      forms[i], there, nowhere);
	}
}

/* ---- swaps ---- */

static atomic_bool stop;
static char one[MEMORY_SIZE], two[MEMORY_SIZE];

static void *exchange(void *userdata)
{
	(void)userdata;
	while (!atomic_load_explicit(&stop, memory_order_relaxed))
		syscall(SYS_renameat2, AT_FDCWD, one, AT_FDCWD, two, 2);
	return NULL;
}

/* `one` is now the program, now a link to the one outside. */
static void swapped(const char *what, const char *path)
{
	unsigned outside = 0, inside = 0;
	pthread_t thread;

	atomic_store(&stop, false);
	if (pthread_create(&thread, NULL, exchange, NULL) != 0)
		broken("no thread");
	for (unsigned i = 0; i < world.rounds; i++) {
		int status = run(path);

		outside += status == OUTSIDE_STATUS;
		inside += status == INSIDE_STATUS;
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	if (outside > 0 && held_by_nothing())
		limit("exec-outside", "%s: %u of %u ran inside, %u outside", what, inside,
		      world.rounds, outside);
	else
		verdict(outside > 0, "%s: %u of %u ran inside, %u outside", what, inside,
			world.rounds, outside);
}

static void swaps(void)
{
	char data[65536];
	int fd = open(text("%s/in/prog", world.rw), O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, data, sizeof(data));

	if (n <= 0)
		broken("cannot read in/prog: %s", errno_text(-1));
	close(fd);
	snprintf(one, sizeof(one), "%s/swapped", world.rw);
	snprintf(two, sizeof(two), "%s/swapping", world.rw);
	put_program(one, data, (size_t)n);
	unlink(two);
	if (symlink(text("%s/prog", world.outside), two) < 0)
		broken("symlink: %s", errno_text(-1));
	put_script(text("%s/script", world.rw), one);
	put_script(text("%s/nested", world.rw), text("%s/script", world.rw));
	swapped("a program that is swapped", one);
	swapped("a script whose interpreter is swapped", text("%s/script", world.rw));
	swapped("a nested script", text("%s/nested", world.rw));
}

/* ---- privileges ---- */

static int whoami(void *userdata)
{
	const char *argv[] = { "escape", "--whoami", NULL }, *env[] = { NULL };

	syscall(SYS_execve, userdata, argv, env);
	return errno == EACCES || errno == EPERM || errno == ENOENT ? 0 : 100;
}

/* RW/suid is this program, set-id, and the script made it belong to root where it could. */
static void set_id(void)
{
	int status = in_child(whoami, (void *)text("%s/suid", world.rw));

	verdict(status != 0, "a set-id program has our identity and no capabilities: status %d",
		status);
	/* The version of the attribute, cap_sys_admin permitted and effective. */
	const unsigned char capability[20] = { 1, 0, 0, 2, 0, 0, 0x20 };

	if (setxattr(text("%s/suid", world.rw), "security.capability", capability,
		     sizeof(capability), 0) < 0)
		ok("security.capability: %s", errno_text(-1));
	status = in_child(whoami, (void *)text("%s/suid", world.rw));
	verdict(status != 0, "nor with capabilities of the file: status %d", status);
}

void family_exec(void)
{
	int fd;

	report("the program", run(text("%s/prog", world.outside)));
	report("by /proc/self/root", run(text("/proc/self/root%s/prog", world.outside)));
	unlink(text("%s/plink", world.rw));
	if (symlink(text("%s/prog", world.outside), text("%s/plink", world.rw)) < 0)
		broken("symlink: %s", errno_text(-1));
	report("a link to it", run(text("%s/plink", world.rw)));
	fd = open(text("%s/plink", world.rw), O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0) {
		report("by a descriptor of the link", run(text("/proc/self/fd/%d", fd)));
		must_fail("execveat of the link's descriptor",
			  syscall(SYS_execveat, fd, "", (char *[]){ NULL }, NULL, AT_EMPTY_PATH));
		close(fd);
	}
	interpreters(put_script, "a script");
	interpreters(put_elf, "a program");
	swaps();
	set_id();
}
