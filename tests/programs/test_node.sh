#!/bin/bash
# Proves: node's fs and fs/promises do inside what they do natively, with its thread pool, streams, watchers and worker processes.
# run: user
# run: long
. "$(dirname "$0")/lib.sh"
need node
cat >"$T/fs.js" <<'JS'
const fs = require('fs'), fsp = require('fs/promises'), path = require('path'), { spawnSync, fork } = require('child_process');
if (process.argv[2] === 'child') { process.send(fs.readFileSync('d/0', 'utf8')); process.exit(4); }
(async () => {
	await fsp.mkdir('d/e/f', { recursive: true });
	await Promise.all([...Array(200).keys()].map(i => fsp.writeFile(`d/${i}`, `file ${i}\n`)));
	console.log((await fsp.readdir('d')).length, (await fsp.readdir('d', { withFileTypes: true })).filter(e => e.isFile()).length);
	const sizes = await Promise.all([...Array(200).keys()].map(async i => (await fsp.stat(`d/${i}`)).size));
	console.log(sizes.reduce((a, b) => a + b));
	await fsp.symlink('0', 'd/link'); await fsp.link('d/1', 'd/hard'); await fsp.rename('d/2', 'd/two'); await fsp.copyFile('d/3', 'd/three');
	await fsp.appendFile('d/three', 'more'); await fsp.chmod('d/three', 0o600); await fsp.utimes('d/three', 1e9, 1e9); await fsp.truncate('d/4', 3);
	console.log(await fsp.readlink('d/link'), await fsp.readFile('d/three', 'utf8'), (await fsp.stat('d/three')).mtimeMs, (await fsp.lstat('d/link')).isSymbolicLink(), (await fsp.stat('d/hard')).nlink);
	console.log(path.relative(process.cwd(), await fsp.realpath('d/e/../link')));
	for (const [name, call] of Object.entries({ enoent: () => fsp.open('missing'), eexist: () => fsp.mkdir('d'), enotdir: () => fsp.readdir('d/0'), enotempty: () => fsp.rmdir('d'), eacces: () => fsp.writeFile('/etc/hostname', ''), excl: () => fsp.open('d/0', 'wx') }))
		await call().then(() => console.log(name, 'worked'), e => console.log(name, e.code === 'EROFS' ? 'EACCES' : e.code));
	const h = await fsp.open('d/handle', 'w+'); await h.write('0123456789'); await h.write('X', 5); await h.datasync(); console.log(String((await h.read(Buffer.alloc(10), 0, 10, 0)).buffer), (await h.stat()).size); await h.close();
	await new Promise(done => fs.createReadStream('/usr/bin/node', { end: 9999999 }).pipe(fs.createWriteStream('copy')).on('finish', done));
	console.log(fs.statSync('copy').size);
	const dir = await fsp.mkdtemp('tmp-'); console.log(dir.length); fs.cpSync('d', path.join(dir, 'd'), { recursive: true }); console.log(fs.readdirSync(path.join(dir, 'd')).length);
	const watcher = fs.watch('d/e'); const seen = new Promise(done => watcher.once('change', (event, file) => done(event + ' ' + file))); fs.writeFileSync('d/e/watched', ''); console.log(await seen); watcher.close();
	console.log(spawnSync('cat', ['d/0']).stdout.toString(), spawnSync(process.execPath, ['-e', 'process.exit(7)']).status);
	await new Promise(done => { const c = fork(__filename, ['child']); c.on('message', m => console.log('child says', m)); c.on('exit', code => { console.log('child', code); done(); }); });
	for await (const e of await fsp.opendir(dir)) console.log(e.name);
	await fsp.rm('d', { recursive: true }); fs.rmSync(dir, { recursive: true }); console.log(fs.readdirSync('.').sort());
})();
JS
prepare() { cp "$T/fs.js" .; }
works "fs and fs/promises" 'node fs.js'
finish
