/*
 * attack_links.c - symbolic links are never followed where that could do harm, and hard links give
 * nobody what he did not have (S30 to S35).
 *
 *     attack_links DIRECTORY      prepared and served by attack.sh
 */
#include "tests/integration/guard.h"

/* Where Stat stops, what it says about the link. */
static void stop_at(const char *text, uint32_t begin, uint32_t end, const char *target)
{
	_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
	Gofer__StatRequest q = GOFER__STAT_REQUEST__INIT;
	Gofer__Path p = path_of(rw, text);
	const Gofer__Stop *s;
	int e;

	q.path = &p;
	e = raw_call(sock, RPC_TYPE_Stat, &q, &r);
	s = e == 0 && r.kind == FRAME_STOP ? (const Gofer__Stop *)r.message : NULL;
	check(s && s->reason == GOFER__STOP__REASON__SYMLINK && s->begin == begin &&
		      s->end == end && s->target.len == strlen(target) &&
		      !memcmp(s->target.data, target, s->target.len) && s->attr &&
		      S_ISLNK(s->attr->mode),
	      "\"%s\" stops at %u..%u -> \"%.40s\"", text, begin, end, target);
}

static void s30_links_stop(void)
{
	static const char *const links[] = { "link_rel", "link_abs", "link_dangling", "link_loop",
					     "link_up" };

	stop_at("link_rel", 0, 8, "a");
	stop_at("link_rel/file", 0, 8, "a");
	stop_at("a/b/c/link_up/x", 6, 13, "../../../..");
	stop_at("link_abs/canary", 0, 8, outside);
	stop_at("link_dangling", 0, 13, "nowhere");
	stop_at("link_loop/x", 0, 9, "link_loop");
	stop_at("a/../link_abs", 5, 13, outside);
	for (size_t k = 0; k < ARRAY_SIZE(links); k++) /* x RPC */
		for (size_t i = 0; i < RPC_COUNT; i++) {
			const struct rpc_info *rpc = &rpc_table[i];
			char text[64];
			Gofer__Path evil, good = path_of(rw, "a/file");
			int e;

			if (rpc->type == RPC_TYPE_Connect)
				continue; /* refused by policy before anything is looked up */
			snprintf(text, sizeof(text), "%s/canary", links[k]);
			evil = path_of(rw, text);
			if (rpc->flags & RPC_PATH &&
			    (e = row_call(sock, rpc, &evil, &good)) != RAW_STOPPED)
				check(false, "%s(\"%s\"): %s instead of stop", rpc->name, text,
				      word(e));
			if (rpc->flags & RPC_PATH2 &&
			    (e = row_call(sock, rpc, &good, &evil)) != RAW_STOPPED)
				check(false, "%s(.., \"%s\"): %s instead of stop", rpc->name, text,
				      word(e));
		}
	check(true, "every RPC stops at every kind of link on the way");
}

/* A byte string, not text. */
static void s31_targets(void)
{
	static const size_t lengths[] = { 1, 127, 1024, 4095 };
	static char target[4096];
	const char *host = in_dir(volume, "long");

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		memset(target, '\xfe', lengths[i]);
		target[lengths[i]] = '\0';
		if (symlink(target, host) < 0) {
			printf("  (no links of %zu bytes here: %s)\n", lengths[i], strerror(errno));
			continue;
		}
		stop_at("long", 0, 4, target);
		(void)unlink(host);
	}
}

static void s32_no_creation_through_links(void)
{
	static const uint32_t bits[] = {
		GOFER__OPEN_FLAG__OPEN_CREATE,
		GOFER__OPEN_FLAG__OPEN_CREATE | GOFER__OPEN_FLAG__OPEN_EXCLUSIVE,
		GOFER__OPEN_FLAG__OPEN_TRUNCATE,
		GOFER__OPEN_FLAG__OPEN_CREATE | GOFER__OPEN_FLAG__OPEN_TRUNCATE
	};
	static const char *const links[] = { "link_canary", "link_dangling_out" };
	struct stat st, canary;

	if (stat(in_dir(outside, "canary"), &canary) < 0)
		die("no canary");
	for (size_t k = 0; k < ARRAY_SIZE(links); k++) {
		for (size_t i = 0; i < ARRAY_SIZE(bits); i++) {
			char what[64];
			bool excl = bits[i] & GOFER__OPEN_FLAG__OPEN_EXCLUSIVE;
			int e = open_path(sock, rw, links[k],
					  GOFER__OPEN_FLAG__OPEN_WRITE | bits[i], 0, NULL);

			snprintf(what, sizeof(what), "Open(\"%s\", flags %#x)", links[k], bits[i]);
			expect(what, e, excl ? EEXIST : RAW_STOPPED);
		}
		for (size_t i = 0; i < RPC_COUNT; i++) {
			const struct rpc_info *rpc = &rpc_table[i];
			Gofer__Path p = path_of(rw, links[k]);
			int e;

			if (rpc->type != RPC_TYPE_Mkdir && rpc->type != RPC_TYPE_Mknod &&
			    rpc->type != RPC_TYPE_Symlink)
				continue;
			e = row_call(sock, rpc, &p, NULL);
			if (e != EEXIST)
				check(false, "%s onto \"%s\": %s", rpc->name, links[k], word(e));
		}
	}
	check(access(in_dir(outside, "created"), F_OK) < 0, "nothing was created outside");
	check(stat(in_dir(outside, "canary"), &st) == 0 && st.st_size == canary.st_size,
	      "nothing was truncated outside");
	/* Rename onto a link replaces the link. */
	{
		Gofer__Path from = path_of(rw, "victim"), to = path_of(rw, "link_replace");
		fd_close(open(in_dir(volume, "victim"), O_CREAT | O_WRONLY, 0600));
		expect("rename onto a link to the canary",
		       row_call(sock, rpc_find(RPC_TYPE_Rename), &from, &to), 0);
		check(lstat(in_dir(volume, "link_replace"), &st) == 0 && S_ISREG(st.st_mode),
		      "... replaced the link itself");
	}
}

static void s35_follow_budget(void)
{
	_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
	Gofer__StatRequest q = GOFER__STAT_REQUEST__INIT;
	Gofer__Path p = path_of(rw, "link_rel/file");
	int e;

	q.path = &p;
	p.follow = 8;
	e = raw_call(sock, RPC_TYPE_Stat, &q, &r);
	check(e == 0 && r.kind == FRAME_OK && ((Gofer__StatReply *)r.message)->n_followed == 1,
	      "a relative link is followed on speculation within the budget, and told");
	p.path = BYTES("link_loop");
	e = raw_errno(sock, RPC_TYPE_Stat, &q);
	check(e == RAW_STOPPED || e == ELOOP, "a loop ends at the budget: %s", word(e));
	p.path = BYTES("link_abs/canary");
	expect("an absolute link is never followed", raw_errno(sock, RPC_TYPE_Stat, &q),
	       RAW_STOPPED);
	p.path = BYTES("a/b/c/link_up/outside/canary");
	expect("a link that leads above the root is not followed out",
	       raw_errno(sock, RPC_TYPE_Stat, &q), RAW_STOPPED);
	p.path = BYTES("link_rel/file");
	p.follow = 41;
	expect("a budget above 40", raw_errno(sock, RPC_TYPE_Stat, &q), EINVAL);
	p.follow = UINT32_MAX;
	expect("a budget of 2^32-1", raw_errno(sock, RPC_TYPE_Stat, &q), EINVAL);
}

/* One request is one system call or a bounded walk, whatever the links say: the budget ends it, not
 * the chain. */
static void s35_long_chain(void)
{
	enum { CHAIN = 300 };
	Gofer__Path p = path_of(rw, "chain300/file");
	char name[32], target[32];
	int e;

	for (int i = 1; i <= CHAIN; i++) {
		snprintf(name, sizeof(name), "chain%d", i);
		snprintf(target, sizeof(target), "chain%d", i - 1);
		if (symlink(i == 1 ? "a" : target, in_dir(volume, name)) < 0)
			die("symlink");
	}
	e = stat_at(sock, p, NULL);
	expect("a chain of 300 links without a budget", e, RAW_STOPPED);
	for (uint32_t follow = 1; follow <= 40; follow++) {
		p.follow = follow;
		if ((e = stat_at(sock, p, NULL)) != RAW_STOPPED)
			break;
	}
	expect("... and with every budget up to 40", e, RAW_STOPPED);
	p = path_of(rw, "chain39/file");
	p.follow = 40;
	expect("39 links are within a budget of 40", stat_at(sock, p, NULL), 0);
	for (int i = 1; i <= CHAIN; i++) {
		snprintf(name, sizeof(name), "chain%d", i);
		(void)unlink(in_dir(volume, name));
	}
}

static int link_to(Gofer__Path source, const char *name)
{
	Gofer__LinkRequest q = GOFER__LINK_REQUEST__INIT;
	Gofer__Path dest = path_of(rw, name);

	q.source = &source;
	q.dest = &dest;
	return raw_errno(sock, RPC_TYPE_Link, &q);
}

static void s34_hard_links(void)
{
	Gofer__UnlinkRequest gone = GOFER__UNLINK_REQUEST__INIT;
	Gofer__Path p = path_of(rw, "doomed");
	uint64_t h;

	expect("a file", write_file_at(sock, p, 0600, "x"), 0);
	h = handle_of(sock, rw, "doomed", OPEN_R);
	expect("one's own, linked by its handle", link_to(path_at(rw, h, ""), "linked"), 0);
	gone.path = &p;
	expect("both names are deleted", raw_errno(sock, RPC_TYPE_Unlink, &gone), 0);
	p = path_of(rw, "linked");
	expect("...", raw_errno(sock, RPC_TYPE_Unlink, &gone), 0);
	expect("a deleted file is not linked again", link_to(path_at(rw, h, ""), "again"), ENOENT);
	(void)close_handle(sock, h);
	expect("a link through a link to the outside",
	       link_to(path_of(rw, "link_abs/canary"), "stolen"), RAW_STOPPED);
	expect("a link to where a link leads", link_to(path_of(rw, "link_canary"), "stolen"),
	       RAW_STOPPED);
	p = path_of(rw, "link_canary");
	p.nofollow = true;
	expect("a link to the link itself", link_to(p, "copied"), 0);
	expect("... is that link", stat_path(sock, rw, "copied", NULL), RAW_STOPPED);
	(void)unlink(in_dir(volume, "copied"));
}

int main(int argc, char **argv)
{
	static const struct attack attacks[] = {
		{ "S30: every RPC stops at every kind of link on the way, and says where",
		  s30_links_stop },
		{ "S31: targets of 1 to 4095 bytes come back byte by byte", s31_targets },
		{ "S32: nothing is made or truncated through a link",
		  s32_no_creation_through_links },
		{ "S34: hard links by handle, of deleted files, through links", s34_hard_links },
		{ "S35: a budget of links follows relative ones inside, and no others",
		  s35_follow_budget },
		{ "S35: a chain of links costs no more than the budget", s35_long_chain },
	};

	guard_start(argc, argv);
	return guard_run(attacks, ARRAY_SIZE(attacks));
}
