/*
 * race.c - a second thread changes the path in memory while the call is on its way: who judges one
 * text and has the kernel read another, is had.
 *
 * Each variant is tried twice: between an outside object and a name that is missing inside, where
 * any success is an escape; and between the outside object and one inside that may be had, where
 * what came back tells. What was done to the wrong object without telling, the script finds in the
 * tree of canaries.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/escape/recipe.h"

struct flipper {
	char *live; /* what the calls read */
	char texts[2][MEMORY_SIZE];
	size_t size;
	atomic_bool stop;
	pthread_t thread;
};

static void *flip(void *userdata)
{
	struct flipper *f = userdata;

	for (unsigned i = 0; !atomic_load_explicit(&f->stop, memory_order_relaxed); i++) {
		memcpy(f->live, f->texts[i & 1], f->size);
		/* The length of stay varies, so that no rhythm of the call's is missed. */
		for (volatile unsigned k = (i * 2654435761u) >> 22; k > 0; k--)
			;
	}
	return NULL;
}

static void start(struct flipper *f, const struct recipe *r, const char *inside,
		  const char *outside)
{
	recipe_memory(r, inside, f->texts[0]);
	recipe_memory(r, outside, f->texts[1]);
	f->size = 256;
	memcpy(f->live, f->texts[0], f->size);
	atomic_store(&f->stop, false);
	if (pthread_create(&f->thread, NULL, flip, f) != 0)
		broken("no thread");
}

static void stop(struct flipper *f)
{
	atomic_store(&f->stop, true);
	pthread_join(f->thread, NULL);
}

/* What may be had, as often as it is taken away. */
static void furnish(void)
{
	static const char *const dirs[] = { "in", "in/dir", "in/empty" };

	for (size_t i = 0; i < 3; i++)
		(void)!mkdir(text("%s/%s", world.rw, dirs[i]), 0755);
	if (access(text("%s/in/secret", world.rw), F_OK) < 0)
		write_file(text("%s/in/secret", world.rw), "inside\n");
	if (access(text("%s/in/link", world.rw), F_OK) < 0)
		(void)!symlink("inside", text("%s/in/link", world.rw));
}

/* A socket that says nothing to who connects. */
static int listen_inside(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/in/sock", world.rw);
	unlink(address.sun_path);
	if (bind(sock, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(sock, 16) < 0)
		ok("no socket of our own inside: %s", errno_text(-1));
	return sock;
}

static void race(struct flipper *f, const struct recipe *r, bool missing)
{
	const char *object = recipe_object(r);
	unsigned succeeded = 0, outside = 0, entered = 0;
	bool exec = recipe_target(r)->kind == ARG_PROG;
	char in[MEMORY_SIZE], out[MEMORY_SIZE];

	/*
	 * A text may be read in the middle of a change: the front of one and the rest of the other. So the missing directory's
	 * name is so short that the other text's last slash comes later: whatever the rest is, it lies in a directory that
	 * is missing, too ("rw/absent" and "ecret" would be a file that may be had).
	 */
	snprintf(in, sizeof(in), "%s/%s/%s", world.rw, missing ? "z" : "in", object);
	if (missing && strlen(world.rw) + strlen("/z") > strlen(world.outside))
		broken("the names of the world are too long for races");
	snprintf(out, sizeof(out), "%s/%s", world.outside, object);
	furnish();
	start(f, r, in, out);
	for (unsigned i = 0; i < world.rounds; i++) {
		struct outcome o = recipe_run(r, f->live, AT_FDCWD);

		succeeded += o.result >= 0;
		outside += o.outside;
		entered += o.entered;
		if (recipe_target(r)->kind == ARG_NEW || recipe_target(r)->kind == ARG_NEW_ADDRESS)
			(void)!remove(in);
		if (!missing && i % 8 == 0)
			furnish();
	}
	stop(f);
	/* Whoever lets chdir and execve through has to trust the kernel's view. */
	if (entered > 0 && outside == 0 && !has_layer("mount"))
		limit("chdir-existence", "%s between %s and outside: %u of %u are outside", r->name,
		      missing ? "nothing" : "inside", entered, world.rounds);
	else if (exec && outside > 0 && !has_layer("mount") && !has_layer("landlock"))
		limit("exec-outside", "%s between %s and outside: %u of %u ran", r->name,
		      missing ? "nothing" : "inside", outside, world.rounds);
	else if (outside > 0 || entered > 0 || (missing && succeeded > 0))
		escape("%s %s between %s and outside: %u of %u succeeded, %u with what is outside",
		       r->name, r->what, missing ? "nothing" : "inside", succeeded, world.rounds,
		       outside);
	else
		ok("%s %s between %s and outside: %u of %u inside%s", r->name, r->what,
		   missing ? "nothing" : "inside", succeeded, world.rounds,
		   exec ? " (programs)" : "");
}

void family_race(void)
{
	static struct flipper f;
	int sock;

	furnish();
	sock = listen_inside();
	f.live = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (f.live == MAP_FAILED)
		broken("mmap: %s", strerror(errno));
	for (size_t i = 0; i < n_recipes; i++)
		for (const struct recipe *r = all_recipes[i].variants; r->name; r++)
			if (recipe_target(r)) {
				race(&f, r, true);
				race(&f, r, false);
			}
	munmap(f.live, MEMORY_SIZE);
	close(sock);
}
