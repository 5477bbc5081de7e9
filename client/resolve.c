/*
 * resolve.c - gofer_resolve(): where a path leads, for those who send requests of their own.
 */
#include <string.h>

#include "client/namespace.h"

/* The lookup's place from its filesystem's root. */
static int take_place(const struct lookup *l, struct gofer_session **ret_session,
		      uint32_t *ret_fs_id, char **ret_path)
{
	size_t skip = l->mount->len > 1 ? l->mount->len : 0;
	char text[PATH_MAX];
	char *path;
	int r;

	r = lookup_absolute(l, text);
	if (r < 0)
		return r;
	path = strdup(text + skip + (text[skip] == '/'));
	if (!path)
		return -ENOMEM;
	*ret_session = l->mount->session;
	*ret_fs_id = l->mount->fs_id;
	*ret_path = path;
	return 0;
}

int gofer_resolve(struct gofer_namespace *ns, const char *path, bool follow_last,
		  struct gofer_session **ret_session, uint32_t *ret_fs_id, char **ret_path)
{
	_cleanup_lookup_ struct lookup l;
	Gofer__Attr attr;
	int r;

	r = lookup_init(&l, ns, path);
	if (r == 0)
		r = lookup_stat(&l, !follow_last, &attr);
	if (r == -ENOENT && l.mount)
		r = lookup_parent(&l, !follow_last);
	if (r == LOOKUP_SYNTHETIC)
		r = -ENODEV; /* no filesystem is there */
	if (r == 0)
		r = take_place(&l, ret_session, ret_fs_id, ret_path);
	return r < 0 ? fail_path(r, "resolve", path) : 0;
}
