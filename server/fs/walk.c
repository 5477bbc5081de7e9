/*
 * walk.c - from text to a node.
 *
 * The walker owns a copy of the path and a position in it. What lies before the position has been
 * walked and is the node on top of the stack; what lies behind is still text. Following a link is
 * text replacement: path[begin..end) becomes the target, and the walk goes on with the new text.
 * The client, which is told each replacement, has the same text before it.
 *
 * The stack exists for ".." alone. With n of them left in the text, no more than the n + 1 topmost
 * nodes can ever be used again; those below are let go, so a path without ".." holds one node
 * however deep it is. A link's target may bring new ".."s: a few more nodes are held while links
 * may be followed, and a target that would need more than are left stops the walk, which is always
 * allowed.
 *
 * As soon as no ".." is left, the backend's fast path takes all the rest in one step. It says
 * FS_SLOW when it meets a link, and then the steps are taken one by one to find out where.
 *
 * Every component walked uses up text, and a text never grows past TEXT_MAX: the work for one
 * request is bounded whatever links there are.
 */
#include "server/fs/walk.h"

#include <assert.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "common/path.h"

enum {
	TEXT_MAX = 2 * PATH_LEN_MAX,
	SLACK = 16,       /* nodes held for the ".." of links to come */
	RACE_TURNS = 100, /* how often a name may be a link when opened and none when read */
	AGAIN = 16,       /* internal, beside WALK_STOP and FS_SLOW: a link was followed */
};

struct walker {
	const struct walk_request *request;
	struct fs *fs;
	const struct fs_ops *ops;

	char *text; /* in the arena; not terminated */
	size_t len, size;
	size_t at;  /* walked up to here */
	size_t end; /* walk up to here: all, or up to the last name with WALK_NAME */
	size_t ups; /* ".." components in text[at..end) */
	bool tried; /* the fast path failed on text[at..end) */

	struct fs_node bottom; /* what the stack stands on: root, base, or an ancestor of it */
	bool bottom_owned;
	bool bottom_is_root;
	struct fs_node *nodes; /* [low..depth) are held */
	size_t low, depth, nodes_size;

	Gofer__Followed **followed; /* room for request->follow */
	size_t n_followed;
	Gofer__Stop *last_link; /* the Stop that the last followed link would have been */
};

static void walker_deinit(struct walker *w)
{
	while (w->depth > w->low)
		fs_node_deinit(&w->nodes[--w->depth]);
	free(w->nodes);
	if (w->bottom_owned)
		fs_node_deinit(&w->bottom);
}

/* ---- the text ---- */

/* The last component of text[0..len): false where there is none. */
static bool last_component(const char *text, size_t len, size_t *ret_begin, size_t *ret_end)
{
	size_t begin, end = len;

	while (end > 0 && text[end - 1] == '/')
		end--;
	if (end == 0)
		return false;
	begin = end;
	while (begin > 0 && text[begin - 1] != '/')
		begin--;
	*ret_begin = begin;
	*ret_end = end;
	return true;
}

/* Whether what text[..end) names must be a directory. */
static bool wants_dir(const struct walker *w)
{
	return w->request->want == WALK_NAME || (w->end > 0 && w->text[w->end - 1] == '/');
}

/* Looks over the text behind `at` after it was set or replaced. */
static void survey(struct walker *w)
{
	size_t at = w->at, begin, end;

	w->end = w->len;
	if (w->request->want == WALK_NAME && last_component(w->text, w->len, &begin, &end))
		w->end = begin;
	w->ups = 0;
	while (path_next(w->text, w->end, &at, &begin, &end))
		w->ups += path_is_dotdot(w->text + begin, end - begin);
	w->tried = false;
}

static int text_init(struct walker *w)
{
	const struct walk_request *q = w->request;

	w->len = q->path_len;
	w->size = q->path_len + (q->follow ? PATH_NAME_MAX : 0);
	w->text = arena_alloc(q->arena, w->size);
	w->followed = arena_alloc(q->arena, q->follow * sizeof(*w->followed));
	if (!w->text || !w->followed)
		return -ENOMEM;
	if (w->len)
		memcpy(w->text, q->path, w->len);
	survey(w);
	return 0;
}

/* text[begin..end) becomes the target. */
static int text_replace(struct walker *w, size_t begin, size_t end,
			const ProtobufCBinaryData *target)
{
	size_t tail = w->len - end, len = begin + target->len + tail;

	if (len > w->size) {
		size_t size = MIN(2 * len, (size_t)TEXT_MAX);
		char *text = arena_alloc(w->request->arena, size);

		if (!text)
			return -ENOMEM;
		memcpy(text, w->text, w->len);
		w->text = text;
		w->size = size;
	}
	memmove(w->text + begin + target->len, w->text + end, tail);
	memcpy(w->text + begin, target->data, target->len);
	w->len = len;
	survey(w);
	return 0;
}

/* ---- the stack ---- */

static const struct fs_node *top(const struct walker *w)
{
	if (w->depth == 0)
		return &w->bottom;
	assert(w->depth > w->low);
	return &w->nodes[w->depth - 1];
}

static bool may_follow(const struct walker *w)
{
	return w->n_followed < w->request->follow;
}

/* Takes the node, also on failure. */
static int push(struct walker *w, struct fs_node *node)
{
	size_t keep = w->ups + 1 + (may_follow(w) ? SLACK : 0);

	if (w->depth == w->nodes_size) {
		size_t size = w->nodes_size ? 2 * w->nodes_size : 32;
		struct fs_node *nodes = reallocarray(w->nodes, size, sizeof(*nodes));

		if (!nodes) {
			fs_node_deinit(node);
			return -ENOMEM;
		}
		w->nodes = nodes;
		w->nodes_size = size;
	}
	w->nodes[w->depth++] = TAKE_NODE(*node);
	while (w->depth - w->low > keep)
		fs_node_deinit(&w->nodes[w->low++]);
	return 0;
}

/* The top as the caller's own. */
static int take_top(struct walker *w, struct fs_node *ret_node)
{
	if (w->depth == 0)
		return fs_node_dup(&w->bottom, ret_node);
	*ret_node = TAKE_NODE(w->nodes[w->depth - 1]);
	w->depth--;
	if (w->low > w->depth)
		w->low = w->depth;
	return 0;
}

/* ---- stops and links ---- */

static int make_stop(const struct walk_request *request, Gofer__Stop__Reason reason, size_t begin,
		     size_t end, Gofer__Followed **followed, size_t n_followed,
		     Gofer__Stop **ret_stop)
{
	Gofer__Stop *stop = arena_alloc(request->arena, sizeof(*stop));

	if (!stop)
		return -ENOMEM;
	gofer__stop__init(stop);
	stop->reason = reason;
	stop->which = request->which;
	stop->begin = (uint32_t)begin;
	stop->end = (uint32_t)end;
	stop->followed = followed;
	stop->n_followed = n_followed;
	*ret_stop = stop;
	return 0;
}

/* A Stop with the target and the attributes of the link `node`. -EINVAL where it is none. */
static int make_link_stop(const struct walk_request *request, const struct fs_node *node,
			  size_t begin, size_t end, Gofer__Followed **followed, size_t n_followed,
			  Gofer__Stop **ret_stop)
{
	Gofer__Attr *attr = arena_alloc(request->arena, sizeof(*attr));
	struct fs *fs = request->fs;
	char target[PATH_MAX];
	Gofer__Stop *stop = NULL;
	ssize_t n;
	int r;

	if (!attr)
		return -ENOMEM;
	n = fs->ops->readlink(fs, node, target, sizeof(target));
	if (n < 0)
		return (int)n;
	r = fs->ops->getattr(fs, node, attr);
	if (r == 0)
		r = make_stop(request, GOFER__STOP__REASON__SYMLINK, begin, end, followed,
			      n_followed, &stop);
	if (r < 0)
		return r;
	stop->attr = attr;
	stop->target.len = (size_t)n;
	stop->target.data = arena_memdup(request->arena, target, (size_t)n);
	if (!stop->target.data)
		return -ENOMEM;
	*ret_stop = stop;
	return 0;
}

/* The stack must still hold what the new ".." may need, and the text must stay short. */
static bool can_follow(const struct walker *w, const Gofer__Stop *link)
{
	const ProtobufCBinaryData *target = &link->target;
	const char *text = (const char *)target->data;
	size_t at = 0, begin, end, ups = w->ups;

	if (!may_follow(w) || target->len == 0 || text[0] == '/' ||
	    path_validate(text, target->len) < 0 ||
	    w->len - (link->end - link->begin) + target->len > TEXT_MAX)
		return false;
	while (path_next(text, target->len, &at, &begin, &end))
		ups += path_is_dotdot(text + begin, end - begin);
	return w->low == 0 || w->depth - w->low > ups;
}

/*
 * text[begin..end) is the link `node`: follows it (AGAIN) or stops at it (WALK_STOP). -EINVAL where
 * it turned out to be no link.
 */
static int meet_link(struct walker *w, const struct fs_node *node, size_t begin, size_t end,
		     struct walk_result *ret)
{
	Gofer__Followed *step;
	Gofer__Stop *stop;
	int r = make_link_stop(w->request, node, begin, end, w->followed, w->n_followed, &stop);

	if (r < 0)
		return r;
	if (!can_follow(w, stop)) {
		ret->stop = stop;
		return WALK_STOP;
	}
	step = arena_alloc(w->request->arena, sizeof(*step));
	if (!step)
		return -ENOMEM;
	gofer__followed__init(step);
	step->begin = stop->begin;
	step->end = stop->end;
	step->target = stop->target;
	r = text_replace(w, begin, end, &stop->target);
	if (r < 0)
		return r;
	w->followed[w->n_followed++] = step;
	w->last_link = stop;
	return AGAIN;
}

/* ---- the walk ---- */

/* What WALK_OBJECT found at text[begin..end). Takes the node where it is the result. */
static int finish_object(struct walker *w, struct fs_node *node, size_t begin, size_t end,
			 struct walk_result *ret)
{
	int r = w->ops->getattr(w->fs, node, &ret->attr);

	if (r < 0)
		return r;
	if (S_ISLNK(ret->attr.mode) && (!w->request->nofollow || wants_dir(w)))
		return meet_link(w, node, begin, end, ret);
	if (wants_dir(w) && !S_ISDIR(ret->attr.mode))
		return -ENOTDIR;
	ret->node = TAKE_NODE(*node);
	return 0;
}

/* All of text[at..end) in one step of the backend. FS_SLOW where it must be walked. */
static int walk_fast(struct walker *w, struct walk_result *ret)
{
	_cleanup_node_ struct fs_node node = FS_NODE_NULL;
	size_t begin, end, from = w->at, len;
	char path[PATH_MAX];
	int r;

	while (from < w->end && w->text[from] == '/')
		from++;
	if (!last_component(w->text, w->end, &begin, &end) || begin < from)
		return FS_SLOW;
	len = end - from;
	if (len + strlen("/.") >= sizeof(path))
		return FS_SLOW;
	memcpy(path, w->text + from, len);
	/* "/." makes the kernel see to it that this is a directory that may be searched, and not a
	 * link. */
	memcpy(path + len, "/.", sizeof("/."));
	if (w->request->want != WALK_NAME)
		path[len] = '\0';
	r = w->ops->resolve(w->fs, top(w), path, &node);
	if (r != 0)
		return r;
	if (w->request->want == WALK_OBJECT)
		return finish_object(w, &node, begin, end, ret);
	ret->node = TAKE_NODE(node);
	return 0;
}

/* "..", at text[begin..end). */
static int step_up(struct walker *w, size_t begin, size_t end, struct walk_result *ret)
{
	struct fs_node parent;
	int r;

	w->ups--;
	if (w->depth > 0) {
		fs_node_deinit(&w->nodes[--w->depth]);
		return 0;
	}
	r = w->bottom_is_root ? -EXDEV : w->ops->parent(w->fs, &w->bottom, &parent);
	if (r == -EXDEV) {
		r = make_stop(w->request, GOFER__STOP__REASON__ABOVE_ROOT, begin, end, w->followed,
			      w->n_followed, &ret->stop);
		return r < 0 ? r : WALK_STOP;
	}
	if (r < 0)
		return r;
	if (w->bottom_owned)
		fs_node_deinit(&w->bottom);
	w->bottom = parent;
	w->bottom_owned = true;
	return 0;
}

/* A name, at text[begin..end). AGAIN also where a link was followed. */
static int step_down(struct walker *w, size_t begin, size_t end, struct walk_result *ret)
{
	char name[PATH_NAME_MAX + 1];
	size_t next_begin, next_end, at = end;
	bool last = !path_next(w->text, w->end, &at, &next_begin, &next_end);
	bool dir = !last || wants_dir(w);

	if (end - begin > PATH_NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(name, w->text + begin, end - begin);
	name[end - begin] = '\0';
	for (unsigned turn = 0; turn < RACE_TURNS; turn++) {
		_cleanup_node_ struct fs_node node = FS_NODE_NULL;
		int r = w->ops->child(w->fs, top(w), name, dir, &node);

		if (r == 0 && dir) {
			w->at = end;
			return push(w, &node);
		}
		if (r == 0) {
			r = finish_object(w, &node, begin, end, ret);
		} else if (r == FS_SYMLINK) {
			r = w->ops->child(w->fs, top(w), name, false, &node);
			if (r == 0)
				r = meet_link(w, &node, begin, end, ret);
			if (r == -ENOENT)
				continue;
		} else {
			return r;
		}
		/* -EINVAL: not the link any more that it was. Look again. */
		if (r != -EINVAL)
			return r;
	}
	return -ELOOP;
}

/* Ends with the result, or AGAIN where a link was followed. */
static int walk_on(struct walker *w, struct walk_result *ret)
{
	size_t begin, end, at;
	int r;

	for (;;) {
		if (w->ops->resolve && w->ups == 0 && !w->tried) {
			r = walk_fast(w, ret);
			if (r != FS_SLOW)
				return r;
			w->tried = true;
		}
		at = w->at;
		if (!path_next(w->text, w->end, &at, &begin, &end))
			break;
		if (path_is_dot(w->text + begin, end - begin) ||
		    path_is_dotdot(w->text + begin, end - begin)) {
			/* The kernel asks for search permission before it looks at any component,
			 * these two included. */
			r = w->ops->access(w->fs, top(w), X_OK);
			if (r == 0 && end - begin == 2)
				r = step_up(w, begin, end, ret);
			if (r != 0)
				return r;
			w->at = end;
			continue;
		}
		r = step_down(w, begin, end, ret);
		if (r != 0 || w->at != end)
			return r;
	}
	/* The text is used up: the top of the stack is it. */
	r = take_top(w, &ret->node);
	if (r < 0)
		return r;
	if (w->request->want == WALK_NAME) /* search permission, as before any component */
		return last_component(w->text, w->len, &begin, &end)
			       ? w->ops->access(w->fs, &ret->node, X_OK)
			       : 0;
	r = w->ops->getattr(w->fs, &ret->node, &ret->attr);
	if (r == 0 && wants_dir(w) && !S_ISDIR(ret->attr.mode))
		r = -ENOTDIR;
	return r;
}

/* With WALK_NAME: what is to be done in the directory found. */
static int finish_name(const struct walker *w, struct walk_result *ret)
{
	size_t begin, end;
	char *name;

	if (!last_component(w->text, w->len, &begin, &end))
		return -EINVAL;
	ret->trailing_slash = end < w->len;
	if (path_is_dot(w->text + begin, end - begin) ||
	    path_is_dotdot(w->text + begin, end - begin)) {
		ret->trailing_slash = true;
		return end - begin == 1 ? -EINVAL : -ENOTEMPTY;
	}
	name = arena_alloc(w->request->arena, end - begin + 1);
	if (!name)
		return -ENOMEM;
	memcpy(name, w->text + begin, end - begin);
	name[end - begin] = '\0';
	ret->name = name;
	ret->name_begin = (uint32_t)begin;
	ret->name_end = (uint32_t)end;
	return path_validate_name(name, end - begin);
}

static int walk_from_base(struct walker *w, struct walk_result *ret)
{
	int r = text_init(w);

	if (r == 0 && !w->bottom_is_root && w->len > 0)
		r = w->ops->verify(w->fs, &w->bottom);
	if (r < 0)
		return r;
	do
		r = walk_on(w, ret);
	while (r == AGAIN);
	if (r == 0 && w->request->want == WALK_NAME)
		r = finish_name(w, ret);
	return r;
}

int walk_resolve(const struct walk_request *request, struct walk_result *ret)
{
	_cleanup_(walker_deinit) struct walker w = {
		.request = request,
		.fs = request->fs,
		.ops = request->fs->ops,
		.bottom = request->base ? *request->base : FS_ROOT_NODE(request->fs),
		.bottom_is_root = !request->base,
	};
	int r;

	*ret = (struct walk_result){ .node = FS_NODE_NULL };
	r = walk_from_base(&w, ret);
	/* Out of memory is our own trouble, and a stop would not be told to the client either. */
	if (r < 0 && r != -ENOMEM && w.last_link) {
		ret->stop = w.last_link;
		r = WALK_STOP;
	}
	ret->followed = w.followed;
	ret->n_followed = w.n_followed;
	ret->last_link = w.last_link;
	if (r != 0)
		fs_node_deinit(&ret->node);
	return r;
}

/*
 * The request's path as the backends' fast paths take it, and whether it must be a directory. FS_SLOW where they
 * cannot.
 */
static int plain_path(const struct walk_request *request, char path[static PATH_MAX], bool *ret_dir)
{
	const char *text = (const char *)request->path;
	size_t begin = 0, end = request->path_len;

	if (path_has_dotdot(text, end))
		return FS_SLOW;
	while (begin < end && text[begin] == '/')
		begin++;
	*ret_dir = end > begin && text[end - 1] == '/';
	while (end > begin && text[end - 1] == '/')
		end--;
	if (begin == end || end - begin >= PATH_MAX)
		return FS_SLOW;
	memcpy(path, text + begin, end - begin);
	path[end - begin] = '\0';
	return 0;
}

/* The whole request in one step of the backend. FS_SLOW where it must be walked. */
static int open_fast(const struct walk_request *request, int flags, struct walk_result *ret)
{
	struct fs *fs = request->fs;
	struct fs_node base = request->base ? *request->base : FS_ROOT_NODE(fs);
	char path[PATH_MAX];
	bool dir;
	int r;

	if (!fs->ops->open_path || flags & O_PATH)
		return FS_SLOW;
	r = plain_path(request, path, &dir);
	if (r == 0 && request->base)
		r = fs->ops->verify(fs, &base);
	if (r == 0)
		r = fs->ops->open_path(fs, &base, path, flags | (dir ? O_DIRECTORY : 0), &ret->node,
				       request->bare ? NULL : &ret->attr);
	return r;
}

static int stat_fast(const struct walk_request *request, struct walk_result *ret)
{
	struct fs *fs = request->fs;
	struct fs_node base = request->base ? *request->base : FS_ROOT_NODE(fs);
	char path[PATH_MAX];
	bool dir;
	int r;

	if (!fs->ops->stat_path)
		return FS_SLOW;
	r = plain_path(request, path, &dir);
	if (r == 0 && request->base)
		r = fs->ops->verify(fs, &base);
	if (r == 0)
		r = fs->ops->stat_path(fs, &base, path, &ret->attr);
	if (r == 0 &&
	    ((dir && !S_ISDIR(ret->attr.mode)) || (S_ISLNK(ret->attr.mode) && !request->nofollow)))
		return FS_SLOW;
	return r;
}

int walk_stat(const struct walk_request *request, struct walk_result *ret)
{
	int r;

	*ret = (struct walk_result){ .node = FS_NODE_NULL };
	r = stat_fast(request, ret);
	return r == FS_SLOW ? walk_resolve(request, ret) : r;
}

int walk_open(const struct walk_request *request, int flags, struct walk_result *ret)
{
	_cleanup_node_ struct fs_node place = FS_NODE_NULL;
	struct fs *fs = request->fs;
	int r;

	*ret = (struct walk_result){ .node = FS_NODE_NULL };
	r = open_fast(request, flags, ret);
	if (r != FS_SLOW)
		return r;
	r = walk_resolve(request, ret);
	if (r != 0)
		return r;
	place = TAKE_NODE(ret->node);
	r = fs->ops->open(fs, &place, flags, &ret->node);
	/* Of what was opened: O_TRUNC changed it, and a place may be only a path. */
	if (r == 0)
		r = fs->ops->getattr(fs, &ret->node, &ret->attr);
	if (r < 0)
		fs_node_deinit(&ret->node);
	if (r < 0 && ret->last_link) {
		ret->stop = ret->last_link;
		return WALK_STOP;
	}
	return r;
}

int walk_create(const struct walk_request *request, int flags, mode_t mode,
		struct fs_node *ret_file)
{
	struct fs *fs = request->fs;
	struct fs_node base = request->base ? *request->base : FS_ROOT_NODE(fs);
	char path[PATH_MAX];
	bool dir;

	if (!fs->ops->create_path || plain_path(request, path, &dir) != 0 || dir ||
	    (request->base && fs->ops->verify(fs, &base) < 0))
		return FS_SLOW;
	return fs->ops->create_path(fs, &base, path, flags, mode, ret_file);
}

void walk_result_deinit(struct walk_result *result)
{
	fs_node_deinit(&result->node);
}

int walk_stop_at_name(const struct walk_request *request, const struct walk_result *found,
		      Gofer__Stop **ret_stop)
{
	_cleanup_node_ struct fs_node node = FS_NODE_NULL;
	struct fs *fs = request->fs;
	int r = fs->ops->child(fs, &found->node, found->name, false, &node);

	if (r == 0)
		r = make_link_stop(request, &node, found->name_begin, found->name_end,
				   found->followed, found->n_followed, ret_stop);
	return r == -ENOENT || r == -EINVAL ? -EAGAIN : r;
}
