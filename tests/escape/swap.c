/*
 * swap.c - the text stays, the tree changes: a component is a directory of the volume at one moment
 * and a symbolic link to the canaries at the next. The directory has none of the names that are
 * asked for, so that any success is an escape.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/escape/recipe.h"

static atomic_bool stop;
static char one[MEMORY_SIZE], two[MEMORY_SIZE];

static void *exchange(void *userdata)
{
	(void)userdata;
	while (!atomic_load_explicit(&stop, memory_order_relaxed))
		syscall(SYS_renameat2, AT_FDCWD, one, AT_FDCWD, two, 2 /* RENAME_EXCHANGE */);
	return NULL;
}

static void against(const char *how, const char *target)
{
	static char memory[MEMORY_SIZE];
	pthread_t thread;

	unlink(two);
	if (symlink(target, two) < 0)
		broken("symlink: %s", strerror(errno));
	atomic_store(&stop, false);
	if (pthread_create(&thread, NULL, exchange, NULL) != 0)
		broken("no thread");
	for (size_t i = 0; i < n_recipes; i++)
		for (const struct recipe *r = all_recipes[i].variants; r->name; r++) {
			/* creat makes what is missing. */
			const struct arg *t = r->flags & MISSING_IS_OTHER ? NULL : recipe_target(r);
			unsigned succeeded = 0, outside = 0;
			/* New names are made inside now and then: the script looks outside. */
			bool new = t && (t->kind == ARG_NEW || t->kind == ARG_NEW_ADDRESS);

			for (unsigned k = 0; t && k < world.rounds / 3; k++) {
				struct outcome o;

				recipe_memory(r, text("%s/%s", one, recipe_object(r)), memory);
				o = recipe_run(r, memory, AT_FDCWD);
				succeeded += o.result >= 0;
				outside += o.outside;
			}
			if (t)
				verdict(outside > 0 || (succeeded > 0 && !new),
					"%s %s, %s: %u succeeded, %u outside", r->name, r->what,
					how, succeeded, outside);
		}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	/* Which of the two the link is now, nobody knows. */
	if (unlink(one) == 0)
		(void)!rename(two, one);
}

void family_swap(void)
{
	snprintf(one, sizeof(one), "%s/one", world.rw);
	snprintf(two, sizeof(two), "%s/two", world.rw);
	(void)!mkdir(one, 0755);
	against("link to the absolute path", world.outside);
	against("link by way of ..", text("../../../../../../../../..%s", world.outside));
}
