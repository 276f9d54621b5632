package trace

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// lines returns a trace of processes and calls: "PID call". Each has its own time.
func lines(t *testing.T, calls ...string) []*Call {
	t.Helper()
	var text strings.Builder
	for i, call := range calls {
		pid, rest, _ := strings.Cut(call, " ")
		fmt.Fprintf(&text, "%-5s %d.5 %s\n", pid, 1700000000+i, rest)
	}
	read, err := Read(strings.NewReader(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	return read
}

var rule = Rule{
	Others: []string{"/a/certs", "/home/u", "/tmp"},
	Ours:   func(argv []string) bool { return slices.Equal(argv, []string{"sh", "-s"}) },
	Exempt: []string{"/usr/bin/tool"},
}

const start = `9 execve("/usr/bin/sh", ["sh", "-s"], 0x7 /* 3 vars */) = 0`

// TestRule tests calls by root, after it has entered the folder of the certificate.
func TestRule(t *testing.T) {
	const at = `AT_FDCWD</a/certs>, `
	for call, why := range map[string]string{
		// Reading metadata is free, whatever the name.
		`newfstatat(AT_FDCWD</root>, "/a/certs/x", {st_mode=S_IFREG|0600, ...}, 0) = 0`:                 "",
		`faccessat(AT_FDCWD</root>, "/a/certs/x", R_OK) = 0`:                                            "",
		`readlink("/a/certs/x", "/etc/shadow", 4096) = 11`:                                              "",
		`statfs("/home/u/x", {f_type=EXT2_SUPER_MAGIC}) = 0`:                                            "",
		`chdir("/a/certs/x") = 0`:                                                                       "",
		`openat(AT_FDCWD</root>, "/a/config", O_RDONLY) = 3</a/config>`:                                 "",
		`openat(AT_FDCWD</root>, "/a/certs", O_RDONLY|O_DIRECTORY) = 3</a/certs>`:                       "",
		`openat(AT_FDCWD</root>, "/a/certs/x", O_RDONLY) = 3</a/certs/x>`:                               "not a single name",
		`openat(AT_FDCWD</a>, "certs/x", O_RDONLY|O_NOFOLLOW|O_NONBLOCK) = 3</a/certs/x>`:               "not a single name",
		`openat(` + at + `"../certs/x", O_RDONLY|O_NOFOLLOW|O_NONBLOCK) = 3</a/certs/x>`:                "not a single name",
		`openat(` + at + `"./sub/x", O_RDONLY|O_NOFOLLOW|O_NONBLOCK) = 3</a/certs/sub/x>`:               "not a single name",
		`openat(AT_FDCWD</root>, "/proc/self/fd/4", O_RDONLY) = 3</a/certs/x>`:                          "not a single name",
		`openat(` + at + `"x", O_RDONLY|O_NOFOLLOW|O_NONBLOCK) = 3</a/certs/x>`:                         "",
		`openat(` + at + `"./x", O_RDONLY|O_NONBLOCK|O_NOFOLLOW) = -1 ELOOP (Too many …)`:               "",
		`openat(` + at + `"./x", O_RDONLY|O_NONBLOCK) = 3</etc/shadow>`:                                 "follows links",
		`openat(` + at + `"./x", O_RDONLY|O_NOFOLLOW) = 3</a/certs/x>`:                                  "waits for a FIFO",
		`openat(` + at + `"./x", O_WRONLY|O_CREAT|O_EXCL, 0600) = 3</a/certs/x>`:                        "",
		`openat(` + at + `"./x", O_WRONLY|O_CREAT|O_TRUNC, 0600) = 3</a/certs/x>`:                       "not exclusive",
		`openat(` + at + `"./x", O_WRONLY|O_NOFOLLOW) = 3</a/certs/x>`:                                  "opens for writing",
		`openat(` + at + `".", O_RDONLY|O_NONBLOCK|O_CLOEXEC|O_DIRECTORY) = 3</a/certs>`:                "",
		`openat(5</a/certs>, "x", O_RDONLY|O_NOFOLLOW|O_NONBLOCK) = 3</a/certs/x>`:                      "",
		`openat2(5</a/certs>, "x", {flags=O_RDONLY|O_NOFOLLOW|O_NONBLOCK, mode=0}, 24) = 3</a/certs/x>`: "",
		`creat("x", 0600) = 3</a/certs/x>`:                                                              "has no anchored form",
		`renameat2(` + at + `"./y", ` + at + `"./x", RENAME_NOREPLACE) = -1 EEXIST (File exists)`:       "",
		`rename("y", "x") = 0`:                                                            "",
		`rename("/root/y", "x") = 0`:                                                      "not a single name",
		`renameat(5</tmp>, "y", ` + at + `"x") = 0`:                                       "from one folder to another",
		`link("y", "x") = 0`:                                                              "",
		`link("/root/y", "x") = 0`:                                                        "not a single name",
		`linkat(` + at + `"y", ` + at + `"x", AT_SYMLINK_FOLLOW) = 0`:                     "follows a link",
		`linkat(5</tmp>, "y", ` + at + `"x", 0) = 0`:                                      "from one folder to another",
		`symlink("/etc/shadow", "x") = 0`:                                                 "has no anchored form",
		`unlinkat(` + at + `"./x", 0) = 0`:                                                "",
		`unlink("/a/certs/x") = 0`:                                                        "not a single name",
		`mkdir("x", 0700) = 0`:                                                            "",
		`mknodat(` + at + `"x", S_IFIFO|0600) = 0`:                                        "has no anchored form",
		`fchmodat(` + at + `"./x", 0600) = 0`:                                             "has no anchored form",
		`fchownat(` + at + `"./x", 0, 0, AT_SYMLINK_NOFOLLOW) = 0`:                        "has no anchored form",
		`lchown("x", 0, 0) = 0`:                                                           "has no anchored form",
		`truncate("x", 0) = 0`:                                                            "has no anchored form",
		`utimensat(` + at + `"x", NULL, 0) = 0`:                                           "has no anchored form",
		`getxattr("x", "security.selinux", 0x7, 255) = -1 ENODATA (No data available)`:    "has no anchored form",
		`lgetxattr("./x", "security.selinux", 0x7, 255) = -1 ENODATA (No data available)`: "",
		`lgetxattr("/a/certs/x", "user./b", 0x7, 255) = -1 ENODATA (No data available)`:   "not a single name",
		`setxattr("x", "user.a", "/a/certs/y", 10, 0) = 0`:                                "has no anchored form",
		`execve("./x", ["x"], 0x7 /* 3 vars */) = 0`:                                      "has no anchored form",
		`execve("/home/u/x", ["x"], 0x7 /* 3 vars */) = -1 ENOENT (No such file …)`:       "not a single name",
		`mount("/dev/x", "/a/certs/x", NULL, MS_BIND, NULL) = 0`:                          "not a single name",
		`fchown(3</a/certs/x>, 0, 0) = 0`:                                                 "not a file that root has made",
		`utimensat(3</a/certs/x>, NULL, NULL, 0) = 0`:                                     "not a file that root has made",
		`fchown(3</root/x>, 0, 0) = 0`:                                                    "",
		`write(3</a/certs/x>, "/a/certs/x", 10) = 10`:                                     "",
	} {
		v := Judge(lines(t, start, `9 chdir("/a/certs") = 0`, "9 "+call), rule)
		if v.Sessions != 1 {
			t.Fatalf("%d sessions", v.Sessions)
		}
		switch {
		case why == "" && len(v.Broken) > 0:
			t.Errorf("%s: %v", call, v.Broken)
		case why != "" && (len(v.Broken) != 1 || !strings.HasPrefix(v.Broken[0].Why, why)):
			t.Errorf("%s: %v, want %q", call, v.Broken, why)
		}
	}
}

// TestOfItsOwn tests that root may change a file that it created exclusively, through
// its descriptor.
func TestOfItsOwn(t *testing.T) {
	v := Judge(lines(t, start, `9 chdir("/a/certs") = 0`,
		`9 openat(AT_FDCWD</a/certs>, "./.new", O_WRONLY|O_CREAT|O_EXCL, 0600) = 4</a/certs/.new>`,
		`9 fchown(4</a/certs/.new>, 980, 980) = 0`,
		`9 fsetxattr(4</a/certs/.new>, "system.posix_acl_access", "\2\0\0\0,", 28, 0) = 0`,
		`9 utimensat(4</a/certs/.new>, NULL, [{tv_sec=1, tv_nsec=2} /* 1970-… */, {tv_sec=1, tv_nsec=2}], 0) = 0`,
		`9 renameat(AT_FDCWD</a/certs>, "./.new", AT_FDCWD</a/certs>, "./x") = 0`), rule)
	if len(v.Broken) > 0 || len(v.Anchored) != 2 || v.Anchored[0].What != "create" || v.Anchored[1].What != "rename" || v.Anchored[1].Path != "/a/certs/x" {
		t.Errorf("%+v", v)
	}
}

// TestWho tests that only processes of a session, with root's rights, are judged.
func TestWho(t *testing.T) {
	const bad = ` unlink("/a/certs/x") = 0`
	for name, test := range map[string]struct {
		calls []string
		found int
	}{
		"another's":           {[]string{`9 execve("/usr/sbin/sshd", ["sshd"], 0x7) = 0`, "9" + bad}, 0},
		"ours":                {[]string{start, "9" + bad}, 1},
		"it failed to start":  {[]string{`9 execve("/usr/sbin/sh", ["sh", "-s"], 0x7) = -1 ENOENT (No such file …)`, "9" + bad}, 0},
		"not root":            {[]string{"9 setresuid(1000, 1000, 1000) = 0", start, "9" + bad}, 0},
		"through sudo":        {[]string{"9 setuid(1000) = 0", `9 execve("/usr/bin/sudo", ["sudo", "-n", "sh", "-s"], 0x7) = 0`, `9 clone(child_stack=NULL, flags=SIGCHLD) = 5 /* 10 in strace's PID NS */`, `10 setresuid(0, 0, 0) = 0`, "10" + start[1:], "10" + bad}, 1},
		"a child":             {[]string{start, `9 vfork() = 5 /* 10 in strace's PID NS */`, `10 execve("/usr/bin/rm", ["rm"], 0x7) = 0`, "10" + bad}, 1},
		"before it is known":  {[]string{start, `9 vfork( <unfinished ...>`, `10 execve("/usr/bin/rm", ["rm"], 0x7) = 0`, "10" + bad, `9 <... vfork resumed>) = 5 /* 10 in strace's PID NS */`}, 1},
		"without rights":      {[]string{start, `9 setresuid(1000, 1000, 1000) = 0`, "9" + bad}, 0},
		"setreuid":            {[]string{start, `9 setreuid(-1, 1000) = 0`, "9" + bad}, 0},
		"it keeps its rights": {[]string{start, `9 setresuid(1000, -1, 1000) = 0`, "9" + bad}, 1},
		"it does not get rid": {[]string{start, `9 setuid(1000) = -1 EPERM (Operation not permitted)`, "9" + bad}, 1},
		"exempt":              {[]string{start, `9 execve("/usr/bin/tool", ["tool"], 0x7) = 0`, `9 vfork() = 10`, "10" + bad}, 0},
		"unfinished":          {[]string{start, `9 unlink("/a/certs/x" <unfinished ...>`}, 1},
		"killed":              {[]string{start, `9 ???( <unfinished ...>`, `9 +++ killed by SIGKILL +++`}, 0},
		"under timeout": {[]string{start, `9 chdir("/a/certs") = 0`, `9 execve("/usr/bin/timeout", ["timeout", "9", "cp"], 0x7) = 0`, `9 execve("/usr/bin/cp", ["cp"], 0x7) = 0`,
			`9 openat(AT_FDCWD</a/certs>, "./x", O_RDONLY|O_NOFOLLOW) = 3</a/certs/x>`}, 0},
		"the folder of the child": {[]string{start, `9 vfork() = 10`, `10 chdir("/a/certs") = 0`, `9 unlink("x") = 0`, `10 unlink("x") = 0`}, 0},
		"by descriptor":           {[]string{start, `9 fchdir(4</a/certs>) = 0`, `9 chmod("x", 0600) = 0`}, 1},
	} {
		v := Judge(lines(t, test.calls...), rule)
		if len(v.Broken) != test.found {
			t.Errorf("%s: %v", name, v.Broken)
		}
		if name == "exempt" && v.Excused != 1 {
			t.Errorf("%s: %d", name, v.Excused)
		}
	}
}

// TestReport tests that a finding names the verb and its step, and that findings that
// differ only in variable text are joined.
func TestReport(t *testing.T) {
	v := Judge(lines(t, start, `9 write(5<pipe:[1]>, "verb=rotate\nrun=20261129-1"..., 300) = 300`,
		`9 write(1<pipe:[2]>, "step=backup\n", 12) = 12`,
		`9 vfork() = 10`,
		`10 execve("/usr/bin/rm", ["rm"], 0x7) = 0`,
		`10 unlink("/a/certs/.aoifleet-0a1b2c3d-0000-1111-2222-333344445555") = 0`,
		`10 unlink("/a/certs/.aoifleet-ffffffff-0000-1111-2222-333344445555") = 0`), rule)
	got := Group(v.Broken)
	if len(got) != 1 || !strings.HasPrefix(got[0], "  2× rotate/backup") || !strings.Contains(got[0], ` rm `) || !strings.Contains(got[0], `.aoifleet-…"`) {
		t.Errorf("%q", got)
	}
}

func TestReadRefusesGarbage(t *testing.T) {
	for _, text := range []string{"strace: attach: ptrace(PTRACE_SEIZE, 1): Operation not permitted\n", "9 1.5 hello\n"} {
		if calls, err := Read(strings.NewReader(text)); err == nil {
			t.Errorf("%q: %v", text, calls)
		}
	}
}

func TestUnquote(t *testing.T) {
	for arg, want := range map[string]string{`"a\"b\\\n\t\0\1012"`: "a\"b\\\n\t\x00A2", `"cut"...`: "cut", `"\7x"`: "\ax"} {
		if got, ok := unquote(arg); !ok || got != want {
			t.Errorf("%s: %q", arg, got)
		}
	}
	for _, arg := range []string{"NULL", "0x7f", ""} {
		if got, ok := unquote(arg); ok {
			t.Errorf("%s: %q", arg, got)
		}
	}
}
