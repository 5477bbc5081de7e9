/*
 * paths.c - every call that takes a path, with every way of writing a path of the host that we
 * know: must fail, and must fail as the same path to where nothing is.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/escape/recipe.h"

/* Of a directory of the host, `tree`, how to write it. `link`: a symbolic link to it. */
struct form {
	const char
		*format; /* %1$s tree, %2$s the link's path, %3$d pid, %4$d supervisor, %5$d fd */
	bool at;         /* relative to a directory's descriptor */
};

static const struct form forms[] = {
	{ "%1$s" },
	{ "/%1$s" },
	{ "/..%1$s" },
	{ "../../../../../../../../../../../../../..%1$s" },
	{ "../../../../../../../../../../../../../..%1$s", true },
	{ "/proc/self/root%1$s" },
	{ "/proc/self/root/..%1$s" },
	{ "/proc/thread-self/root%1$s" },
	{ "/proc/%3$d/root%1$s" },
	{ "/proc/self/task/%3$d/root%1$s" },
	{ "/proc/1/root%1$s" },
	{ "/proc/1/cwd/../../../../../../../../..%1$s" },
	{ "/proc/%4$d/root%1$s" },
	{ "/proc/%4$d/cwd/../../../../../../../../..%1$s" },
	{ "/proc/self/cwd/../../../../../../../../..%1$s" },
	{ "/proc/self/fd/%5$d/../../../../../../../../..%1$s" },
	{ "/dev/fd/%5$d/../../../../../../../../..%1$s" },
	{ "/proc/self/exe/../../../../../../..%1$s" },
	{ "%2$s" },    /* a link in a volume to the absolute path */
	{ "%2$s-up" }, /* by way of ".." */
	{ "%2$s", true },
	{ "%2$s-proc" },
	{ "%2$s-again" }, /* to the link */
};

struct place {
	const char *tree, *link;
};

static void make_links(const struct place *p)
{
	unlink(p->link);
	unlink(text("%s-up", p->link));
	unlink(text("%s-proc", p->link));
	unlink(text("%s-again", p->link));
	if (symlink(p->tree, p->link) < 0 ||
	    symlink(text("../../../../../../../../../..%s", p->tree), text("%s-up", p->link)) < 0 ||
	    symlink(text("/proc/self/root%s", p->tree), text("%s-proc", p->link)) < 0 ||
	    symlink(p->link, text("%s-again", p->link)) < 0)
		broken("symlink %s: %s", p->link, strerror(errno));
}

static const char *write_path(const struct form *form, const struct place *p, int fd,
			      const char *name)
{
	char tree[MEMORY_SIZE / 2];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-extra-args"
	snprintf(tree, sizeof(tree), form->format, p->tree, p->link, (int)getpid(),
		 (int)world.supervisor, fd);
#pragma GCC diagnostic pop
	return text("%s/%s", tree, name);
}

/* One form of one variant; what it says of the two places. */
static void attempt(const struct recipe *r, const struct form *form, const struct place *there,
		    const struct place *nowhere, int dir)
{
	static char memory[2][MEMORY_SIZE];
	const char *name = recipe_object(r);
	int at = form->at ? dir : AT_FDCWD;
	struct outcome o[2];

	recipe_memory(r, write_path(form, there, dir, name), memory[0]);
	recipe_memory(r, write_path(form, nowhere, dir, name), memory[1]);
	/* A rename elsewhere makes the kernel say EAGAIN now and then (openat2 and ".."); what is told, is told every time. */
	for (int tries = 0; tries < 4; tries++) {
		for (int i = 0; i < 2; i++)
			o[i] = recipe_run(r, memory[i], at);
		if (o[0].result >= 0 || o[0].error == o[1].error)
			break;
	}
	/* Without a sandbox the next attempt shall find what this one took away. */
	if (o[0].result >= 0 && strcmp(getenv("ESCAPE_NATIVE") ?: "", "yes") == 0)
		(void)ask_host("restore");
	if (o[0].result >= 0 || o[0].outside)
		escape("%s %s %s%s: succeeded%s", r->name, r->what, form->format,
		       form->at ? " (dirfd)" : "", o[0].outside ? ", with what is outside" : "");
	else if (o[0].error != o[1].error || o[1].result >= 0)
		escape("%s %s %s%s: %s, but %s where nothing is", r->name, r->what, form->format,
		       form->at ? " (dirfd)" : "", strerrorname_np(o[0].error),
		       o[1].result >= 0 ? "success" : strerrorname_np(o[1].error));
	else
		ok("%s %s %s%s: %s", r->name, r->what, form->format, form->at ? " (dirfd)" : "",
		   strerrorname_np(o[0].error));
}

void family_paths(void)
{
	const struct place there = { world.outside, text("%s/out", world.rw) };
	const struct place nowhere = { world.nowhere, text("%s/non", world.rw) };
	int dir = open(world.rw, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* text() is soon overwritten. */
	char links[2][MEMORY_SIZE];

	if (dir < 0)
		broken("open %s: %s", world.rw, strerror(errno));
	snprintf(links[0], sizeof(links[0]), "%s", there.link);
	snprintf(links[1], sizeof(links[1]), "%s", nowhere.link);
	const struct place p[2] = { { there.tree, links[0] }, { nowhere.tree, links[1] } };

	make_links(&p[0]);
	make_links(&p[1]);
	for (size_t i = 0; i < n_recipes; i++)
		for (const struct recipe *r = all_recipes[i].variants; r->name; r++) {
			bool takes_at = false;

			for (size_t k = 0; k < 6; k++)
				takes_at |= r->args[k].kind == ARG_AT;
			for (size_t k = 0; recipe_target(r) && k < sizeof(forms) / sizeof(forms[0]);
			     k++)
				if (takes_at || !forms[k].at)
					attempt(r, &forms[k], &p[0], &p[1], dir);
		}
	close(dir);
}
