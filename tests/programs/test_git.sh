#!/bin/bash
# Proves: git works on a served directory as natively: clone, status, log, gc, worktree, stash, rebase, bisect.
# run: user
. "$(dirname "$0")/lib.sh"
need git
export GIT_CONFIG_NOSYSTEM=1
prepare() {
	HOME=$W/home
	git config --file home/.gitconfig user.name n
	git config --file home/.gitconfig user.email e@example.org
	git config --file home/.gitconfig init.defaultBranch main
	git config --file home/.gitconfig gc.auto 0
	mkdir repo && cd repo || return
	export GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z'
	HOME=$W/home git init -q .
	for i in 1 2 3 4 5; do
		mkdir -p "dir$i" && seq "$i" 400 >"dir$i/file" && HOME=$W/home git add -A && HOME=$W/home git commit -qm "commit $i" || return
	done
}
dates='export GIT_AUTHOR_DATE=2020-01-02T00:00:00Z GIT_COMMITTER_DATE=2020-01-02T00:00:00Z; set -e;'
normalise() { sed -E 's/in [0-9.]+ seconds?//'; }
works "clone" 'git clone -q repo copy && git clone -q --no-hardlinks --bare repo bare.git && cd copy && git status && git log --stat && git fsck --full 2>&1'
works "status, log, diff" 'cd repo; echo more >>dir1/file; rm dir2/file; echo new >untracked; git status --porcelain; git diff --stat; git log --oneline --graph --all; git blame dir3/file | tail -n 2; git ls-files -s; git grep -n 399 | head -n 3'
works "commit, branch, merge, rebase, stash" "$dates"'cd repo; git checkout -q -b topic HEAD~2; echo t >>dir1/file; git commit -qam topic; git stash list; echo x >>dir1/file; git stash -q; git stash pop -q; git checkout -q dir1/file
	git rebase -q main; git checkout -q main; git merge -q --no-ff -m merge topic; git log --format="%h %s"; git tag -a -m tag v1; git describe; git cherry-pick -n HEAD~1 2>&1 | head -n 1; git reset -q --hard; git status --short'
works "gc, repack, prune" 'cd repo; git gc -q; git count-objects -v | grep -v size; git repack -adq; git prune; git fsck; git log --oneline | wc -l; ls .git/objects/pack | sed "s/.*\\.//" | sort'
works "worktree" "$dates"'cd repo; git worktree add -q ../tree HEAD~1; cd ../tree; git status -s; git log -1 --format=%s; echo w >w; git add w; git commit -qm w; cd ../repo; git worktree list | sed "s,.*/w/,,"; git worktree remove ../tree; git worktree list | wc -l'
works "fetch and push" "$dates"'git clone -q --bare repo bare.git; git clone -q bare.git a; git clone -q bare.git b; cd a; echo a >a; git add a; git commit -qm a; git push -q 2>&1; cd ../b; git pull -q --ff-only; git log -1 --format=%H; cat a'
finish
