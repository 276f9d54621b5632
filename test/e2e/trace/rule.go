package trace

import (
	"slices"
	"strings"
)

// place is the position of a path in a call: the argument of the folder's descriptor
// (-1: none) and that of the name.
type place struct{ at, name int }

// kind is the effect of a call on its names.
type kind struct {
	what   string
	places []place
}

// kinds are the calls that name files. Calls that only read metadata, and chdir, which
// only moves the process, are free.
var kinds = map[string]kind{
	"open":      {"open", []place{{-1, 0}}},
	"openat":    {"open", []place{{0, 1}}},
	"openat2":   {"open", []place{{0, 1}}},
	"creat":     {"create", []place{{-1, 0}}},
	"mkdir":     {"create", []place{{-1, 0}}},
	"mkdirat":   {"create", []place{{0, 1}}},
	"mknod":     {"create", []place{{-1, 0}}},
	"mknodat":   {"create", []place{{0, 1}}},
	"symlink":   {"create", []place{{-1, 1}}},
	"symlinkat": {"create", []place{{1, 2}}},
	"link":      {"link", []place{{-1, 0}, {-1, 1}}},
	"linkat":    {"link", []place{{0, 1}, {2, 3}}},
	"rename":    {"rename", []place{{-1, 0}, {-1, 1}}},
	"renameat":  {"rename", []place{{0, 1}, {2, 3}}},
	"renameat2": {"rename", []place{{0, 1}, {2, 3}}},
	"unlink":    {"unlink", []place{{-1, 0}}},
	"unlinkat":  {"unlink", []place{{0, 1}}},
	"rmdir":     {"unlink", []place{{-1, 0}}},
	"chmod":     {"chmod", []place{{-1, 0}}},
	"fchmodat":  {"chmod", []place{{0, 1}}},
	"fchmodat2": {"chmod", []place{{0, 1}}},
	"chown":     {"chown", []place{{-1, 0}}},
	"lchown":    {"chown", []place{{-1, 0}}},
	"fchownat":  {"chown", []place{{0, 1}}},
	"truncate":  {"write", []place{{-1, 0}}},
	"utime":     {"times", []place{{-1, 0}}},
	"utimes":    {"times", []place{{-1, 0}}},
	"futimesat": {"times", []place{{0, 1}}},
	"utimensat": {"times", []place{{0, 1}}},
	"execve":    {"exec", []place{{-1, 0}}},
	"execveat":  {"exec", []place{{0, 1}}},
}

// free are the calls that only read metadata.
var free = map[string]bool{
	"stat": true, "lstat": true, "stat64": true, "lstat64": true, "newfstatat": true, "fstatat64": true, "statx": true,
	"fstat": true, "access": true, "faccessat": true, "faccessat2": true, "readlink": true, "readlinkat": true,
	"statfs": true, "statfs64": true, "getcwd": true, "chdir": true, "fchdir": true,
}

// byDescriptor are the calls that change a file through a descriptor.
var byDescriptor = map[string]bool{"fchmod": true, "fchown": true, "fsetxattr": true, "fremovexattr": true, "ftruncate": true}

// judge checks one call against the rule.
func (j *judge) judge(c *Call, p *process) {
	if byDescriptor[c.Name] || c.Name == "utimensat" && len(c.Args) > 1 && c.Args[1] == "NULL" {
		j.descriptor(c, p)
		return
	}
	k, known := kinds[c.Name]
	if !known {
		k = unknownKind(c)
	}
	var names []operand
	touched := false
	for _, place := range k.places {
		if place.name >= len(c.Args) || place.at >= len(c.Args) {
			continue // strace has not seen the whole call
		}
		at := ""
		if place.at >= 0 {
			at = c.Args[place.at]
		}
		n := j.resolve(p, at, c.Args[place.name])
		names = append(names, n)
		touched = touched || j.replaceable(n.path) || n.self && j.writableByOthers(n.path)
	}
	if k.what == "open" && !touched && j.replaceable(decoded(c.Result)) {
		names, touched = []operand{{path: decoded(c.Result)}}, true // a link led there
	}
	if !touched {
		return
	}
	what, why := j.verdict(c, p, k.what, names)
	if why == "" && what == "create" && !c.Failed() {
		j.made[names[0].path] = true
	}
	j.note(c, p, what, names[len(names)-1].path, why)
}

// unknownKind returns the kind of a call that is in no table: its strings are names,
// except those of attributes.
func unknownKind(c *Call) kind {
	k := kind{what: c.Name}
	if c.Name == "write" || free[c.Name] {
		return k
	}
	for i, arg := range c.Args {
		if strings.HasPrefix(arg, `"`) && (i == 0 || !strings.Contains(c.Name, "xattr")) {
			k.places = append(k.places, place{-1, i})
		}
	}
	return k
}

// verdict returns the kind of a call, and why it is forbidden; empty: it is anchored.
func (j *judge) verdict(c *Call, p *process, what string, names []operand) (string, string) {
	for _, n := range names {
		if !n.anchored || !j.writableByOthers(parent(n)) {
			return j.access(c, what), "not a single name in the folder that root has entered"
		}
	}
	switch what {
	case "open":
		return openVerdict(c, p, names[0])
	case "rename", "link":
		if what == "link" && slices.ContainsFunc(c.Args, func(arg string) bool { return strings.Contains(arg, "AT_SYMLINK_FOLLOW") }) {
			return what, "follows a link"
		}
		if parent(names[0]) != parent(names[1]) {
			return what, "from one folder to another"
		}
		return what, ""
	case "unlink", "lgetxattr", "llistxattr":
		return what, ""
	case "create":
		if c.Name == "mkdir" || c.Name == "mkdirat" {
			return what, "" // it follows no link, and is exclusive
		}
	}
	return what, "has no anchored form"
}

// access distinguishes creating and writing from reading.
func (j *judge) access(c *Call, what string) string {
	if what != "open" {
		return what
	}
	what, _ = openVerdict(c, &process{}, operand{})
	return what
}

func openVerdict(c *Call, p *process, n operand) (string, string) {
	flags := map[string]bool{}
	for _, arg := range c.Args {
		if strings.Contains(arg, "O_") && !strings.HasPrefix(arg, `"`) {
			for _, flag := range strings.FieldsFunc(strings.Trim(arg, "{}"), func(r rune) bool { return r == '|' || r == ',' || r == '=' || r == ' ' }) {
				flags[flag] = true
			}
		}
	}
	switch {
	case flags["O_CREAT"] && !flags["O_EXCL"]:
		return "create", "not exclusive"
	case flags["O_CREAT"]:
		return "create", ""
	case flags["O_WRONLY"] || flags["O_RDWR"] || flags["O_TRUNC"]:
		return "write", "opens for writing what is there"
	case n.self:
		return "open", ""
	case !flags["O_NOFOLLOW"]:
		return "open", "follows links"
	case !flags["O_NONBLOCK"] && !flags["O_PATH"] && !flags["O_DIRECTORY"] && !p.bounded:
		return "open", "waits for a FIFO, without timeout"
	}
	return "open", ""
}

// parent returns the folder of a name.
func parent(n operand) string {
	if n.self {
		return n.path
	}
	return n.path[:max(strings.LastIndexByte(n.path, '/'), 0)]
}

// descriptor judges a change through a descriptor, which is allowed only for a file
// that was created exclusively.
func (j *judge) descriptor(c *Call, p *process) {
	file := decoded(c.Args[0])
	if file == "" || !j.replaceable(file) || j.made[file] {
		return
	}
	j.note(c, p, c.Name, file, "not a file that root has made exclusively")
}
