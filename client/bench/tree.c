/*
 * tree.c - the directory that a run works in, made and removed through the server:
 *
 *     f l x/ s                      what calls of depth 1 use: a file of 4 KiB, a link to it, a
 *     a/b/c/d/e/f/g/{f,l,x/,s}      directory of ten files, and (natively made) a socket
 *
 * Both namespaces stand in it, so that a path's depth is the depth of what is asked, wherever the
 * tree lies in its volume. `native`, if any, is the same directory for native calls.
 */
#include "client/bench/bench.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

enum { LISTED = 10 };

static int mount_at(struct bench *b, struct gofer_session *session, bool no_donate,
		    const char *path, struct gofer_namespace **ret_ns)
{
	const struct gofer_mount_options options = { .interop = b->c->interop,
						     .watch = b->c->watch,
						     .no_donate = no_donate };
	struct gofer_namespace *ns;
	int r = gofer_namespace_new(&ns);

	if (r < 0)
		return r;
	r = gofer_mount(ns, session, b->volume->fs_id, "/", &options);
	if (r == 0 && *path)
		r = gofer_chdir(ns, path);
	if (r < 0) {
		gofer_namespace_free(ns);
		return r;
	}
	gofer_umask(ns, 022);
	*ret_ns = ns;
	return 0;
}

int bench_enter(struct bench *b, struct gofer_session *session, bool no_donate,
		struct gofer_namespace **ret_ns)
{
	return mount_at(b, session, no_donate, b->base, ret_ns);
}

/* ---- the objects of one depth ---- */

static void name_spot(struct spot *s, unsigned depth)
{
	static const char deep[] = "a/b/c/d/e/f/g/";

	*s = (struct spot){ .depth = depth, .sock = -EBADF };
	snprintf(s->dir, sizeof(s->dir), "%.*s", 2 * (int)(depth - 1), deep);
	snprintf(s->file, sizeof(s->file), "%.20sf", s->dir);
	snprintf(s->link, sizeof(s->link), "%.20sl", s->dir);
	snprintf(s->absent, sizeof(s->absent), "%.20sn", s->dir);
	snprintf(s->list, sizeof(s->list), "%.20sx", s->dir);
	snprintf(s->socket, sizeof(s->socket), "%.20ss", s->dir);
	for (unsigned i = 0; i < BENCH_BATCH; i++) {
		snprintf(s->fresh[i], sizeof(s->fresh[i]), "%.20st%u", s->dir, i);
		snprintf(s->moved[i], sizeof(s->moved[i]), "%.20su%u", s->dir, i);
	}
}

/* A datagram socket: nobody has to accept for a connect to succeed. */
static void bind_socket(struct bench *b, struct spot *s)
{
	s->address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (b->native < 0 ||
	    snprintf(s->address.sun_path, sizeof(s->address.sun_path), "%s/%s", b->native_path,
		     s->socket) >= (int)sizeof(s->address.sun_path))
		return;
	s->sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s->sock >= 0 && bind(s->sock, (struct sockaddr *)&s->address, sizeof(s->address)) < 0)
		s->sock = fd_close(s->sock);
}

static int make_spot(struct bench *b, struct spot *s)
{
	struct gofer_namespace *ns = b->plain;
	char path[BENCH_NAME];
	int r = 0;

	for (const char *p = s->dir; r == 0 && (p = strchr(p, '/')); p++) {
		snprintf(path, sizeof(path), "%.*s", (int)(p - s->dir), s->dir);
		r = gofer_mkdir(ns, path, 0755);
		/* The other depth's. */
		r = r == -EEXIST ? 0 : r;
	}
	if (r == 0)
		r = gofer_write_file(ns, s->file, b->block, BENCH_BLOCK, 0644, 0);
	if (r == 0)
		r = gofer_symlink(ns, "f", s->link);
	if (r == 0)
		r = gofer_mkdir(ns, s->list, 0755);
	for (unsigned i = 0; r == 0 && i < LISTED; i++) {
		snprintf(path, sizeof(path), "%.30s/%u", s->list, i);
		r = gofer_write_file(ns, path, "", 0, 0644, 0);
	}
	if (r == 0)
		bind_socket(b, s);
	return r;
}

/* ---- the tree ---- */

static int make_base(struct bench *b)
{
	struct gofer_namespace *ns = b->volume->ns;
	unsigned char salt[6];
	char name[64];
	int r;

	if (getrandom(salt, sizeof(salt), 0) != (ssize_t)sizeof(salt))
		return -errno;
	snprintf(name, sizeof(name), "gofer-bench-%02x%02x%02x%02x%02x%02x", salt[0], salt[1],
		 salt[2], salt[3], salt[4], salt[5]);
	if (asprintf(&b->base, "%s/%s", b->base[strspn(b->base, "/")] ? b->base : "", name) < 0)
		abort();
	r = gofer_mkdir(ns, b->base, 0755);
	b->made_base = r == 0;
	return r;
}

/* Whether a directory here is the one that the server serves. */
static int find_native(struct bench *b)
{
	const char *name = strrchr(b->base, '/') + 1;
	struct stat here, there;
	int r;

	if (asprintf(&b->native_path, "%s/%s", b->native_dir, name) < 0)
		abort();
	b->native = open(b->native_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = gofer_stat(b->volume->ns, b->base, 0, &there);
	if (b->native >= 0 && r == 0 && fstat(b->native, &here) == 0 &&
	    here.st_ino == there.st_ino && here.st_ctim.tv_sec == there.st_ctim.tv_sec &&
	    here.st_ctim.tv_nsec == there.st_ctim.tv_nsec)
		return 0;
	cli_warn(b->c, "--native: %s is not what the server serves as %s:%s", b->native_dir,
		 b->volume->name, b->base);
	return -ESTALE;
}

int bench_tree_make(struct bench *b)
{
	int r = 0;

	if (b->private_server) {
		b->native = open(b->native_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		r = b->native < 0 ? -errno : 0;
		if (asprintf(&b->base, "%s", "") < 0)
			abort();
	} else {
		char *operand = b->base;

		r = make_base(b);
		if (r < 0)
			cli_path_error(b->c, r, "make", b->volume, b->base);
		free(operand);
		if (r == 0 && b->native_dir)
			r = find_native(b);
	}
	if (r < 0)
		return r;
	memset(b->block, 'x', BENCH_MEGABYTE);
	r = mount_at(b, b->c->session, true, b->base, &b->plain);
	if (r == 0)
		r = mount_at(b, b->c->session, false, b->base, &b->donated);
	for (unsigned i = 0; i < N_SPOTS; i++) {
		name_spot(&b->spots[i], i == SPOT_DEEP ? 8 : 1);
		if (r == 0)
			r = make_spot(b, &b->spots[i]);
	}
	if (r < 0)
		cli_error(b->c, r, NULL, gofer_message());
	return r;
}

void bench_tree_remove(struct bench *b)
{
	gofer_namespace_free(TAKE_PTR(b->plain));
	gofer_namespace_free(TAKE_PTR(b->donated));
	for (unsigned i = 0; i < N_SPOTS; i++)
		if (b->spots[i].depth)
			b->spots[i].sock = fd_close(b->spots[i].sock);
	b->native = fd_close(b->native);
	free(TAKE_PTR(b->native_path));
	if (b->made_base)
		(void)cli_remove_tree(b->c, b->volume, b->base, false);
	b->made_base = false;
	free(TAKE_PTR(b->base));
}

/* ---- directories full of files ---- */

struct filling {
	unsigned out;
	int result;
};

static void filled(void *userdata, int result, struct gofer_reply *reply)
{
	struct filling *f = userdata;

	f->out--;
	if (result == 0 && reply->kind == GOFER_REPLY_STOP)
		result = -ELOOP;
	if (result < 0)
		f->result = result;
}

void bench_file_name(char ret_path[static BENCH_NAME], const char *name, size_t i)
{
	snprintf(ret_path, BENCH_NAME, "%.20s/entry-%06zu", name, i);
}

static int fill_one(struct bench *b, struct filling *f, const char *path, bool data)
{
	Gofer__WriteFileRequest write = GOFER__WRITE_FILE_REQUEST__INIT;
	Gofer__MknodRequest node = GOFER__MKNOD_REQUEST__INIT;
	struct gofer_request request = { .fd = -1 };
	Gofer__Path p;
	int r;

	pipe_path(&p, b->volume, path);
	write.path = node.path = &p;
	write.mode = 0644;
	node.mode = S_IFREG | 0644;
	request.type = data ? RPC_TYPE_WriteFile : RPC_TYPE_Mknod;
	request.message = data ? (void *)&write : (void *)&node;
	request.data = data ? b->block : NULL;
	request.data_len = data ? BENCH_BLOCK : 0;
	f->out++;
	r = pipe_submit(b->c, &request, filled, f);
	f->out -= r < 0;
	return r;
}

int bench_fill(struct bench *b, const char *name, size_t n, bool data)
{
	char file[BENCH_NAME], path[PATH_MAX];
	struct filling f = { 0 };
	int r = gofer_mkdir(b->plain, name, 0755);

	for (size_t i = 0; r == 0 && i < n; i++) {
		bench_file_name(file, name, i);
		snprintf(path, sizeof(path), "%.3000s/%s", b->base, file);
		r = bench_ended ? -EINTR : fill_one(b, &f, path, data);
		r = r < 0 ? r : f.result;
	}
	while (f.out > 0) {
		int waited = pipe_wait(b->c);

		/* A callback would come back into a function that has returned. */
		if (waited < 0)
			cli_error(b->c, waited, "fill", name);
	}
	return r < 0 ? r : f.result;
}

void bench_clear(struct bench *b, const char *name)
{
	_cleanup_free_ char *path = NULL;

	if (asprintf(&path, "%s/%s", b->base, name) < 0)
		abort();
	(void)cli_remove_tree(b->c, b->volume, path, false);
}
