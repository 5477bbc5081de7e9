/*
 * walk.c - see walk.h.
 *
 * Mental model. A `struct node` is a directory that is known but not left. All of them hang in one
 * list in the order in which the walk will come to them (a directory before its subdirectories, these
 * before its next sibling), which is the order in which their listings are asked for: at most AHEAD
 * of them before they are needed. The walk itself stands in one of them, `here`; the ancestors of that
 * are entered too. A node has the entries of one reply in memory; the next reply is asked for when
 * those begin to be handed out, and only by nodes that are entered. So the memory in use is bounded
 * by two replies for each level, AHEAD replies and AHEAD_ENTRIES, whatever the size of a directory.
 *
 * Whoever waits here for one listing handles the answers of all (and the callbacks of what the verb
 * submitted); walk_next() then takes in what has come, so that further listings are asked for.
 */
#include "client/cli/walk.h"

#include <fcntl.h>
#include <string.h>

#include "common/path.h"

enum {
	AHEAD = 128,           /* directories asked for before they are needed */
	AHEAD_ENTRIES = 16384, /* in memory, beyond which no more are asked for */
	STEPS = 64,            /* entries handed out between two looks at what has come */
};

struct node {
	struct node *prev, *next; /* the list */
	struct node *parent;
	struct node *children, *last, *sibling; /* subdirectories, those that come next first */
	char *path;
	const char *name;
	struct stat st;
	bool has_stat, entered, asked, read, ended, several;
	unsigned depth;
	int flags;
	struct gofer_dir *dir;
	int error; /* with `ended` */
	struct cli_list page;
	size_t at, entries;
	void *user;
};

struct walk {
	struct cli *c;
	struct gofer_namespace *ns;
	struct node *root, *here, *tail; /* tail: of the list */
	struct node *given;              /* the directory that was handed out, not entered yet */
	struct node *left;               /* ... the last time: it is done with */
	unsigned max_depth, ahead, steps;
	size_t buffered;
	bool began, whole;
	struct stat st; /* of the root */
	char *path, *name, *joined;
};

static struct node *node_new(struct node *parent, char *path, const struct stat *st, int flags)
{
	struct node *n = cli_alloc(sizeof(*n));

	n->parent = parent;
	n->path = path;
	n->name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	n->depth = parent ? parent->depth + 1 : 0;
	n->flags = flags;
	if (st) {
		n->st = *st;
		n->has_stat = true;
	}
	return n;
}

/* Where the list goes on behind all that is known below a node. */
static struct node *behind(struct node *n)
{
	while (n && !n->sibling)
		n = n->parent;
	return n ? n->sibling : NULL;
}

static void add_child(struct walk *w, struct node *parent, struct node *n)
{
	struct node *next = behind(parent), *prev = next ? next->prev : w->tail;

	n->prev = prev;
	n->next = next;
	prev->next = n;
	*(next ? &next->prev : &w->tail) = n;
	if (parent->last)
		parent->last->sibling = n;
	else
		parent->children = n;
	parent->last = n;
}

static void drop_page(struct walk *w, struct node *n)
{
	w->buffered -= n->page.n - n->at;
	cli_list_deinit(&n->page);
	n->at = 0;
}

/* It is the first of its parent's that are left. */
static void node_free(struct walk *w, struct node *n)
{
	while (n->children)
		node_free(w, n->children);
	if (n->asked && !n->entered)
		w->ahead--;
	drop_page(w, n);
	gofer_closedir(n->dir);
	if (n->parent) {
		n->parent->children = n->sibling;
		if (!n->sibling)
			n->parent->last = NULL;
	}
	if (n->prev)
		n->prev->next = n->next;
	*(n->next ? &n->next->prev : &w->tail) = n->prev;
	free(n->path);
	free(n);
}

struct walk *walk_new(struct cli *c, struct gofer_namespace *ns, const char *path, int flags,
		      const struct stat *st)
{
	struct walk *w = cli_alloc(sizeof(*w));

	w->c = c;
	w->ns = ns;
	w->max_depth = UINT32_MAX;
	w->st = *st;
	w->path = cli_strdup(path);
	w->name = cli_basename(path);
	if (S_ISDIR(st->st_mode)) {
		w->root = w->tail = node_new(NULL, cli_strdup(path), st, flags);
		w->root->name = w->name;
	}
	return w;
}

void walk_max_depth(struct walk *w, unsigned depth)
{
	w->max_depth = depth;
}

void walk_whole(struct walk *w)
{
	w->whole = true;
}

void walk_free(struct walk *w)
{
	if (!w)
		return;
	if (w->root)
		node_free(w, w->root);
	free(w->path);
	free(w->name);
	free(w->joined);
	free(w);
}

static void ask(struct walk *w, struct node *n)
{
	int r = gofer_opendir_start(w->ns, n->path, n->flags, &n->dir);

	n->asked = true;
	if (!n->entered)
		w->ahead++;
	if (r < 0) {
		n->read = n->ended = true;
		n->error = r;
	}
}

/* Whether an entry of n's is a directory to be entered. */
static bool enters(const struct walk *w, const struct node *n, uint8_t type)
{
	return type == DT_DIR && n->depth + 1 < w->max_depth;
}

/* Takes one reply's entries, waiting for it where it is not there; subdirectories become nodes. */
static void take_page(struct walk *w, struct node *n)
{
	struct gofer_dirent e;
	int r;

	if (n->at == n->page.n)
		drop_page(w, n);
	n->several |= n->read;
	n->read = true;
	do {
		r = gofer_readdir(n->dir, &e);
		/* The server's word is not taken for what a name is. */
		if (r > 0 && path_validate_name(e.name, strlen(e.name)) < 0)
			r = -EBADMSG;
		if (r > 0)
			r = cli_list_add(&n->page, e.name, e.has_stat ? &e.st : NULL, e.target);
		else
			break;
		if (r < 0)
			break;
		if (!e.has_stat)
			n->page.entries[n->page.n - 1].type = e.type;
		n->entries++;
		w->buffered++;
		/* By what is asked again when the entry is handed out: the server may say one type and attributes of another. */
		if (enters(w, n, n->page.entries[n->page.n - 1].type))
			add_child(w, n,
				  node_new(n, cli_join(n->path, e.name), e.has_stat ? &e.st : NULL,
					   AT_SYMLINK_NOFOLLOW));
		r = 1;
	} while (gofer_dir_ready(n->dir));
	if (r > 0)
		return;
	n->ended = true;
	n->error = r;
	gofer_closedir(TAKE_PTR(n->dir));
}

/* Takes in the listings that have come, and asks for further ones. */
static void look_ahead(struct walk *w)
{
	bool room = true;

	(void)gofer_session_process(w->c->session, 0);
	for (struct node *n = w->here ? w->here : w->root; n && room; n = n->next) {
		if (n->asked && !n->read && gofer_dir_ready(n->dir))
			take_page(w, n);
		if (n->asked)
			continue;
		room = w->ahead < AHEAD && w->buffered < AHEAD_ENTRIES;
		if (room)
			ask(w, n);
	}
}

/* Waits until a directory has entries to be handed out, or has ended. */
static void fill(struct walk *w, struct node *n)
{
	if (!n->asked)
		ask(w, n);
	while (!n->ended && (n->at == n->page.n || w->whole)) {
		look_ahead(w);
		if (!n->ended && (n->at == n->page.n || w->whole))
			take_page(w, n);
		if (!n->ended && (n->entered || w->whole))
			gofer_dir_ahead(n->dir);
	}
}

int walk_is_empty(struct walk *w)
{
	struct node *n = w->given;

	if (!n)
		return -ENOTDIR;
	fill(w, n);
	return n->at < n->page.n ? 0 : n->error < 0 ? n->error : 1;
}

static enum walk_kind give(struct walk_at *at, enum walk_kind kind, struct node *n)
{
	*at = (struct walk_at){ .kind = kind,
				.path = n->path,
				.name = n->name,
				.st = n->has_stat ? &n->st : NULL,
				.directory = true,
				.enters = kind == WALK_ENTRY,
				.depth = n->depth,
				.error = n->error,
				.entries = n->entries,
				.several = n->several,
				.user = &n->user,
				.above = n->parent ? n->parent->user : NULL };
	return kind;
}

static enum walk_kind give_root(struct walk *w, struct walk_at *at)
{
	w->began = true;
	if (w->root && w->max_depth > 0) {
		w->given = w->root;
		return give(at, WALK_ENTRY, w->root);
	}
	*at = (struct walk_at){ .kind = WALK_ENTRY,
				.path = w->path,
				.name = w->name,
				.st = &w->st,
				.directory = S_ISDIR(w->st.st_mode) };
	return WALK_ENTRY;
}

static enum walk_kind give_entry(struct walk *w, struct node *n, struct walk_at *at)
{
	struct cli_entry *e = &n->page.entries[n->at++];

	w->buffered--;
	if (++w->steps % STEPS == 0)
		look_ahead(w);
	if (enters(w, n, e->type)) {
		w->given = n->children;
		return give(at, WALK_ENTRY, n->children);
	}
	free(w->joined);
	w->joined = cli_join(n->path, e->name);
	*at = (struct walk_at){ .kind = WALK_ENTRY,
				.path = w->joined,
				.name = e->name,
				.st = e->has_stat ? &e->st : NULL,
				.target = e->target,
				.directory = e->type == DT_DIR,
				.depth = n->depth + 1,
				.above = n->user };
	return WALK_ENTRY;
}

static void enter(struct walk *w, struct node *n)
{
	w->here = n;
	n->entered = true;
	if (n->asked)
		w->ahead--;
	else
		ask(w, n);
	if (n->read && !n->ended)
		gofer_dir_ahead(n->dir);
	look_ahead(w);
}

void walk_skip(struct walk *w)
{
	struct node *n = TAKE_PTR(w->given);

	if (!n)
		return;
	if (n == w->root)
		w->root = NULL;
	node_free(w, n);
}

enum walk_kind walk_next(struct walk *w, struct walk_at *at)
{
	struct node *n;

	if (w->left) {
		n = TAKE_PTR(w->left);
		w->here = n->parent;
		if (n == w->root)
			w->root = NULL;
		node_free(w, n);
	}
	if (!w->began)
		return give_root(w, at);
	if (w->given)
		enter(w, TAKE_PTR(w->given));
	n = w->here;
	if (!n) {
		at->kind = WALK_END;
		return WALK_END;
	}
	fill(w, n);
	if (n->at < n->page.n)
		return give_entry(w, n, at);
	if (n->error < 0) {
		(void)give(at, WALK_FAILED, n);
		n->error = 0;
		return WALK_FAILED;
	}
	w->left = n;
	return give(at, WALK_LEFT, n);
}
