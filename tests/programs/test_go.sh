#!/bin/bash
# Proves: a statically linked Go program, and Go's own tools, work inside as natively: raw system calls, threads that come and go.
# run: user
# run: long
# timeout: 600
. "$(dirname "$0")/lib.sh"
need go gofmt
prepare() {
	mkdir m && cat >m/go.mod <<<$'module example.org/m\n\ngo 1.19' && cat >m/main.go <<'GO'
package main
import ("fmt"; "io/fs"; "os"; "path/filepath"; "sync"; "os/exec"; "errors")
func main() {
	os.MkdirAll("t/a/b", 0o755)
	var wg sync.WaitGroup
	for i := 0; i < 200; i++ { wg.Add(1); go func(i int) { defer wg.Done()
		name := fmt.Sprintf("t/a/b/%d", i)
		if err := os.WriteFile(name, []byte(name), 0o640); err != nil { fmt.Println(err) }
		if b, err := os.ReadFile(name); err != nil || string(b) != name { fmt.Println("read", err) }
		os.Rename(name, name + ".x") }(i) }
	wg.Wait()
	n := 0
	filepath.WalkDir("t", func(p string, d fs.DirEntry, err error) error { if d.Type().IsRegular() { n++ }; return err })
	fmt.Println(n)
	_, err := os.Open("missing"); fmt.Println(errors.Is(err, fs.ErrNotExist), err)
	fmt.Println(os.Symlink("a", "t/l"), os.Chmod("t/a", 0o700))
	st, _ := os.Stat("t/l"); fmt.Println(st.Mode())
	out, err := exec.Command("/bin/sh", "-c", "ls t/a/b | wc -l; exit 3").Output(); fmt.Println(string(out), err)
	exe, _ := os.Executable(); fmt.Println(filepath.Base(exe))
	fmt.Println(os.RemoveAll("t"))
}
GO
}
works -t "gofmt" 'file -Lb "$(command -v gofmt)" | grep -o "statically linked"; cd m && gofmt -l . ; gofmt -w main.go && gofmt -l . && md5sum main.go'
works "go build, and what it built" 'export GOFLAGS=-mod=mod GOPROXY=off CGO_ENABLED=0; cd m && go vet && go build -o prog && file -b prog | grep -o "statically linked" && ./prog'
finish
