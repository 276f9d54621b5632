//go:build linux && amd64

package main

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// call is a system call that changes the disk.
type call struct {
	name  string
	paths []string
	sync  bool
}

// argument is a path in the arguments of a call: a descriptor's, or a name relative to a
// descriptor. -1: not there.
type argument struct{ dir, name int }

func fd(n int) []argument           { return []argument{{n, -1}} }
func named(n int) []argument        { return []argument{{-1, n}} }
func at(n int) []argument           { return []argument{{n, n + 1}} }
func both(a, b argument) []argument { return []argument{a, b} }

// kind is a system call: its name, and which arguments are paths.
type kind struct {
	name  string
	paths []argument
	flags int  // the index of open's flags; 0: none
	file  bool // only on a regular file
}

var kinds = map[uint64]kind{
	unix.SYS_RENAME:    {name: "rename", paths: both(argument{-1, 0}, argument{-1, 1})},
	unix.SYS_RENAMEAT:  {name: "rename", paths: both(argument{0, 1}, argument{2, 3})},
	unix.SYS_RENAMEAT2: {name: "rename", paths: both(argument{0, 1}, argument{2, 3})},
	unix.SYS_LINK:      {name: "link", paths: both(argument{-1, 0}, argument{-1, 1})},
	unix.SYS_LINKAT:    {name: "link", paths: both(argument{0, 1}, argument{2, 3})},
	unix.SYS_SYMLINK:   {name: "symlink", paths: named(1)},
	unix.SYS_SYMLINKAT: {name: "symlink", paths: at(1)},
	unix.SYS_UNLINK:    {name: "unlink", paths: named(0)},
	unix.SYS_UNLINKAT:  {name: "unlink", paths: at(0)},
	unix.SYS_MKDIR:     {name: "mkdir", paths: named(0)},
	unix.SYS_MKDIRAT:   {name: "mkdir", paths: at(0)},
	unix.SYS_RMDIR:     {name: "rmdir", paths: named(0)},
	unix.SYS_MKNOD:     {name: "mknod", paths: named(0)},
	unix.SYS_MKNODAT:   {name: "mknod", paths: at(0)},

	unix.SYS_OPEN:   {name: "open", paths: named(0), flags: 1},
	unix.SYS_OPENAT: {name: "open", paths: at(0), flags: 2},
	unix.SYS_CREAT:  {name: "open", paths: named(0)},

	unix.SYS_WRITE:           {name: "write", paths: fd(0), file: true},
	unix.SYS_PWRITE64:        {name: "write", paths: fd(0), file: true},
	unix.SYS_WRITEV:          {name: "write", paths: fd(0), file: true},
	unix.SYS_COPY_FILE_RANGE: {name: "write", paths: fd(2), file: true},
	unix.SYS_SENDFILE:        {name: "write", paths: fd(0), file: true},
	unix.SYS_FTRUNCATE:       {name: "truncate", paths: fd(0), file: true},
	unix.SYS_TRUNCATE:        {name: "truncate", paths: named(0)},
	unix.SYS_FALLOCATE:       {name: "fallocate", paths: fd(0), file: true},

	unix.SYS_CHMOD:        {name: "chmod", paths: named(0)},
	unix.SYS_FCHMOD:       {name: "chmod", paths: fd(0)},
	unix.SYS_FCHMODAT:     {name: "chmod", paths: at(0)},
	unix.SYS_FCHMODAT2:    {name: "chmod", paths: at(0)},
	unix.SYS_CHOWN:        {name: "chown", paths: named(0)},
	unix.SYS_LCHOWN:       {name: "chown", paths: named(0)},
	unix.SYS_FCHOWN:       {name: "chown", paths: fd(0)},
	unix.SYS_FCHOWNAT:     {name: "chown", paths: at(0)},
	unix.SYS_SETXATTR:     {name: "setxattr", paths: named(0)},
	unix.SYS_LSETXATTR:    {name: "setxattr", paths: named(0)},
	unix.SYS_FSETXATTR:    {name: "setxattr", paths: fd(0)},
	unix.SYS_REMOVEXATTR:  {name: "removexattr", paths: named(0)},
	unix.SYS_LREMOVEXATTR: {name: "removexattr", paths: named(0)},
	unix.SYS_FREMOVEXATTR: {name: "removexattr", paths: fd(0)},
	unix.SYS_UTIMENSAT:    {name: "utime", paths: at(0)},

	unix.SYS_FSYNC:     {name: "fsync", paths: fd(0)},
	unix.SYS_FDATASYNC: {name: "fsync", paths: fd(0)},
	unix.SYS_SYNCFS:    {name: "syncfs", paths: fd(0)},
	unix.SYS_SYNC:      {name: "sync"},
}

// Parts of names that differ between runs: random numbers of the script and of ln(1), and
// the names of runs.
var random = regexp.MustCompile(`[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|/Cu[A-Za-z0-9]{6}\b|\b[0-9]{8}[T-][0-9]{6}Z?-[A-Za-z0-9]+`)

// identify returns the call, or nil if it does not change the disk below the root.
func (t *tracer) identify(pid int, p *process, info syscallInfo) *call {
	k, ok := kinds[info.number]
	if !ok || k.flags > 0 && info.args[k.flags]&(unix.O_CREAT|unix.O_TRUNC) == 0 {
		return nil
	}
	c := &call{sync: strings.HasSuffix(k.name, "sync") || k.name == "syncfs"}
	for _, a := range k.paths {
		name, ok := t.within(resolve(pid, a, info.args, k.file))
		if !ok {
			return nil
		}
		c.paths = append(c.paths, name)
	}
	name := strings.Join(append([]string{p.program, k.name}, c.paths...), " ")
	name = random.ReplaceAllStringFunc(name, func(part string) string {
		if part[0] == '/' {
			return "/Cu…"
		}
		return "…"
	})
	t.seen[name]++
	c.name = fmt.Sprint(name, " #", t.seen[name])
	return c
}

// within returns a path relative to the root, if it counts.
func (t *tracer) within(name string) (string, bool) {
	inside, ok := strings.CutPrefix(name, t.root)
	if !ok || inside != "" && inside[0] != '/' {
		return "", false
	}
	below := func(dir string) bool { return inside == dir || strings.HasPrefix(inside, dir+"/") }
	return inside, len(t.only) == 0 || slices.ContainsFunc(t.only, below)
}

// resolve returns the path of an argument, or "".
func resolve(pid int, a argument, args [6]uint64, file bool) string {
	base := fmt.Sprintf("/proc/%d/cwd", pid)
	if a.dir >= 0 && int32(args[a.dir]) != unix.AT_FDCWD {
		base = fmt.Sprintf("/proc/%d/fd/%d", pid, int32(args[a.dir]))
	}
	name := ""
	if a.name >= 0 {
		name = readString(pid, args[a.name])
	}
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	if file {
		if info, err := os.Stat(base); err != nil || !info.Mode().IsRegular() {
			return ""
		}
	}
	dir, err := os.Readlink(base)
	if err != nil || !path.IsAbs(dir) {
		return ""
	}
	return path.Join(dir, name)
}

// readString reads a string of a process, at most a path's length.
func readString(pid int, address uint64) string {
	buffer := make([]byte, 256)
	var text []byte
	for len(text) < unix.PathMax && address != 0 {
		// Up to the end of the page: the next one may not be there.
		part := buffer[:min(uint64(len(buffer)), 4096-address%4096)]
		n, err := unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &part[0], Len: uint64(len(part))}}, []unix.RemoteIovec{{Base: uintptr(address), Len: len(part)}}, 0)
		if err != nil || n == 0 {
			break
		}
		if end := bytes.IndexByte(part[:n], 0); end >= 0 {
			return string(append(text, part[:end]...))
		}
		text = append(text, part[:n]...)
		address += uint64(n)
	}
	return string(text)
}
