/*
 * handlers_object.c - requests about the object that a path names: attributes, access, links,
 * extended attributes. One walk, one operation, one reply; where something changes, the reply is got
 * first, so that nothing fails behind the change.
 */
#include "server/session.h"

#include <linux/limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

int handle_stat(struct request *r, const Gofer__StatRequest *q)
{
	_cleanup_walk_ struct walk_result walk = { .node = FS_NODE_NULL };
	Gofer__StatReply *reply;
	Gofer__Attr attr = GOFER__ATTR__INIT;
	int e = request_stat(r, q->path, &walk, &attr);

	if (e != 0)
		return e;
	reply = REQUEST_REPLY(r, StatReply, stat_reply);
	if (!reply || !(reply->attr = request_attr(r, &attr)))
		return -EMSGSIZE;
	reply->followed = walk.followed;
	reply->n_followed = walk.n_followed;
	return 0;
}

int handle_access(struct request *r, const Gofer__AccessRequest *q)
{
	_cleanup_walk_ struct walk_result walk = { .node = FS_NODE_NULL };
	Gofer__AccessReply *reply;
	const struct fs_node *node;
	Gofer__Attr attr = GOFER__ATTR__INIT;
	int e = request_object(r, q->path, q->path->nofollow, &walk, &node, &attr);

	if (e == 0 && q->mode)
		e = request_fs(r)->ops->access(request_fs(r), node, q->mode);
	if (e != 0)
		return e;
	reply = REQUEST_REPLY(r, AccessReply, access_reply);
	if (!reply || !(reply->attr = request_attr(r, &attr)))
		return -EMSGSIZE;
	reply->followed = walk.followed;
	reply->n_followed = walk.n_followed;
	return 0;
}

int handle_read_link(struct request *r, const Gofer__ReadLinkRequest *q)
{
	_cleanup_walk_ struct walk_result walk = { .node = FS_NODE_NULL };
	Gofer__ReadLinkReply *reply;
	const struct fs_node *node;
	Gofer__Attr attr = GOFER__ATTR__INIT;
	char *target = arena_alloc(&r->worker->arena, PATH_MAX);
	ssize_t n;
	int e = request_object(r, q->path, true, &walk, &node, &attr);

	if (e != 0)
		return e;
	reply = REQUEST_REPLY(r, ReadLinkReply, read_link_reply);
	if (!target || !reply || !(reply->attr = request_attr(r, &attr)))
		return -EMSGSIZE;
	if (!S_ISLNK(attr.mode))
		return -EINVAL;
	n = request_fs(r)->ops->readlink(request_fs(r), node, target, PATH_MAX);
	if (n < 0)
		return n;
	reply->target = (ProtobufCBinaryData){ .data = (uint8_t *)target, .len = n };
	return 0;
}

int handle_set_attr(struct request *r, const Gofer__SetAttrRequest *q)
{
	_cleanup_walk_ struct walk_result walk = { .node = FS_NODE_NULL };
	Gofer__ObjectReply *reply = REQUEST_REPLY(r, ObjectReply, object_reply);
	Gofer__SetAttrRequest set = *q;
	const struct fs_node *node;
	int e = request_object(r, q->path, q->path->nofollow, &walk, &node, NULL);

	if (e != 0)
		return e;
	if (!reply)
		return -EMSGSIZE;
	if (node != &walk.node && (q->mask & GOFER__SET_ATTR_MASK__SET_SIZE)) {
		/* By handle: what the handle was opened for decides, as in ftruncate(2), not what
		 * the file's mode says now. */
		if (!(r->base[0]->flags & GOFER__OPEN_FLAG__OPEN_WRITE))
			return r->base[0]->flags & GOFER__OPEN_FLAG__OPEN_PATH ? -EBADF : -EINVAL;
		if (ftruncate(node->fd, q->size) < 0)
			return -errno;
		set.mask &= ~(uint32_t)GOFER__SET_ATTR_MASK__SET_SIZE;
	}
	if (set.mask || !q->mask)
		e = request_fs(r)->ops->setattr(request_fs(r), node, &set);
	if (e < 0)
		return e;
	reply->attr = request_getattr(r, node);
	return 0;
}

/* The attribute's name with its NUL, in the arena. */
static const char *xattr_name(struct request *r, const ProtobufCBinaryData *name)
{
	char *text = arena_alloc(&r->worker->arena, name->len + 1);

	if (text) {
		memcpy(text, name->data, name->len);
		text[name->len] = '\0';
	}
	return text;
}

/*
 * Which attributes a client may change. user.* and the ACLs have owners and the kernel's checks.
 * security.* and trusted.* are the host's own business (labels, file capabilities), and without a
 * security module the kernel lets any owner write most of them.
 */
static int xattr_may_change(const char *name)
{
	if (strncmp(name, "user.", strlen("user.")) == 0 ||
	    strcmp(name, "system.posix_acl_access") == 0 ||
	    strcmp(name, "system.posix_acl_default") == 0)
		return 0;
	if (strncmp(name, "security.", strlen("security.")) == 0 ||
	    strncmp(name, "trusted.", strlen("trusted.")) == 0)
		return -EPERM;
	return -EOPNOTSUPP;
}

int handle_get_xattr(struct request *r, const Gofer__GetXattrRequest *q)
{
	_cleanup_walk_ struct walk_result walk = { .node = FS_NODE_NULL };
	const char *name = xattr_name(r, &q->name);
	Gofer__GetXattrReply *reply;
	const struct fs_node *node;
	ssize_t n;
	int e = request_object(r, q->path, q->path->nofollow, &walk, &node, NULL);

	if (e != 0)
		return e;
	reply = REQUEST_REPLY(r, GetXattrReply, get_xattr_reply);
	if (!name || !reply)
		return -EMSGSIZE;
	n = request_fs(r)->ops->getxattr(request_fs(r), node, name, r->worker->data, q->size);
	if (n < 0)
		return n;
	reply->size = n;
	r->data = r->worker->data;
	r->data_len = q->size ? n : 0;
	return 0;
}

int handle_list_xattr(struct request *r, const Gofer__ListXattrRequest *q)
{
	_cleanup_walk_ struct walk_result walk = { .node = FS_NODE_NULL };
	Gofer__ListXattrReply *reply;
	const struct fs_node *node;
	ssize_t n;
	int e = request_object(r, q->path, q->path->nofollow, &walk, &node, NULL);

	if (e != 0)
		return e;
	reply = REQUEST_REPLY(r, ListXattrReply, list_xattr_reply);
	if (!reply)
		return -EMSGSIZE;
	n = request_fs(r)->ops->listxattr(request_fs(r), node, (char *)r->worker->data, q->size);
	if (n < 0)
		return n;
	reply->size = n;
	r->data = r->worker->data;
	r->data_len = q->size ? n : 0;
	return 0;
}

int handle_set_xattr(struct request *r, const Gofer__SetXattrRequest *q)
{
	static const int host_flags[] = {
		[GOFER__XATTR_FLAG__XATTR_ANY] = 0,
		[GOFER__XATTR_FLAG__XATTR_ONLY_CREATE] = XATTR_CREATE,
		[GOFER__XATTR_FLAG__XATTR_ONLY_REPLACE] = XATTR_REPLACE,
	};
	_cleanup_walk_ struct walk_result walk = { .node = FS_NODE_NULL };
	Gofer__ObjectReply *reply = REQUEST_REPLY(r, ObjectReply, object_reply);
	const char *name = xattr_name(r, &q->name);
	const struct fs_node *node;
	int e = request_object(r, q->path, q->path->nofollow, &walk, &node, NULL);

	if (e != 0)
		return e;
	if (!reply || !name)
		return -EMSGSIZE;
	e = xattr_may_change(name);
	if (e < 0)
		return e;
	e = request_fs(r)->ops->setxattr(request_fs(r), node, name, r->frame->data,
					 r->frame->header.data_len, host_flags[q->flags]);
	if (e < 0)
		return e;
	reply->attr = request_getattr(r, node);
	return 0;
}

int handle_remove_xattr(struct request *r, const Gofer__RemoveXattrRequest *q)
{
	_cleanup_walk_ struct walk_result walk = { .node = FS_NODE_NULL };
	Gofer__ObjectReply *reply = REQUEST_REPLY(r, ObjectReply, object_reply);
	const char *name = xattr_name(r, &q->name);
	const struct fs_node *node;
	int e = request_object(r, q->path, q->path->nofollow, &walk, &node, NULL);

	if (e != 0)
		return e;
	if (!reply || !name)
		return -EMSGSIZE;
	e = xattr_may_change(name);
	if (e < 0)
		return e;
	e = request_fs(r)->ops->removexattr(request_fs(r), node, name);
	if (e < 0)
		return e;
	reply->attr = request_getattr(r, node);
	return 0;
}

int handle_stat_fs(struct request *r, const Gofer__StatFsRequest *q)
{
	_cleanup_walk_ struct walk_result walk = { .node = FS_NODE_NULL };
	Gofer__StatFsReply *reply;
	const struct fs_node *node;
	int e = request_object(r, q->path, q->path->nofollow, &walk, &node, NULL);

	if (e != 0)
		return e;
	reply = REQUEST_REPLY(r, StatFsReply, stat_fs_reply);
	if (!reply)
		return -EMSGSIZE;
	e = request_fs(r)->ops->statfs(request_fs(r), node, reply);
	if (e == 0 && r->volume->read_only)
		reply->read_only = true;
	return e;
}

int handle_connect(struct request *r, const Gofer__ConnectRequest *q)
{
	_cleanup_walk_ struct walk_result walk = { .node = FS_NODE_NULL };
	const struct fs_node *node;
	int e;

	if (!r->volume->special)
		return -EPERM;
	e = request_object(r, q->path, false, &walk, &node, NULL);
	if (e != 0)
		return e;
	return request_fs(r)->ops->connect(request_fs(r), node, r->fd);
}
