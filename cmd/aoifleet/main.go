// aoifleet rotates the service principal certificate of a fleet of Azure
// Operator Insights ingestion agents over SSH.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"charm.land/lipgloss/v2"
	"golang.org/x/term"

	"github.com/aoifleet/aoifleet/internal/sshconfig"
)

func main() {
	os.Exit(realMain())
}

// realMain collects the process's streams and environment; nothing below it uses them
// directly. It returns the exit code.
func realMain() int {
	cleanPath()
	p := &process{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		getenv: os.Getenv,
		asks:   term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stderr.Fd())),
		shows:  [2]bool{term.IsTerminal(int(os.Stdout.Fd())), term.IsTerminal(int(os.Stderr.Fd()))},
		home:   home(),
		user:   userName(),
		owner:  owner(),
	}
	p.ssh = sshOptions(p.user)
	p.talker = findTalker()
	if p.asks {
		p.readSecret = readSecret
	}
	if width, _, err := term.GetSize(int(os.Stderr.Fd())); err == nil {
		p.width = width
	}
	if width, _, err := term.GetSize(int(os.Stdout.Fd())); err == nil {
		p.outWidth = width
	}
	lipgloss.EnableLegacyWindowsANSI(os.Stdout)
	lipgloss.EnableLegacyWindowsANSI(os.Stderr)
	// Otherwise a reader that exits, as in `aoifleet rotate | head`, would kill the run in
	// the middle of a change (os/signal, "SIGPIPE").
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, ending()...)
	defer signal.Stop(signals)
	return run(context.Background(), p, signals, os.Args[1:])
}

// cleanPath makes this process and its children start no program from the current
// directory, in which others may write: not ssh, sh or az, and no command of these. It
// removes the relative elements of PATH. Without PATH the system's default applies, as in
// execvp(3); a shell's own default may have the current directory.
func cleanPath() {
	whole := slices.DeleteFunc(filepath.SplitList(os.Getenv("PATH")), func(dir string) bool { return !filepath.IsAbs(dir) })
	path := strings.Join(whole, string(filepath.ListSeparator))
	if path == "" && runtime.GOOS != "windows" {
		path = "/usr/bin:/bin"
	}
	_ = os.Setenv("PATH", path)
	_ = os.Setenv("NoDefaultCurrentDirectoryInExePath", "1") // Windows searches it first
}

// process is the environment of the program.
type process struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	asks           bool // stdin and stderr are a terminal: the operator can be asked
	// readSecret reads a line from the terminal without echo; nil: there is no terminal.
	readSecret func(context.Context) (string, error)
	shows      [2]bool // stdout and stderr are terminals
	width      int     // of the terminal of stderr, in columns
	outWidth   int     // of stdout, if it is a terminal; else 0
	home, user string
	owner      string // USER@HOST, recorded in every trace of a run
	ssh        sshconfig.Options
	azure      *http.Transport // to Azure; nil: http.DefaultTransport
	talker     string          // the path of aoifleet-engine; "": not found
}

// sshOptions returns what package sshconfig needs from this process.
func sshOptions(user string) sshconfig.Options {
	o := sshconfig.Options{User: user, Getenv: os.Getenv}
	o.Program, _ = exec.LookPath("ssh") // "": not installed
	o.Home, o.HomeGuessed = sshHome()
	o.HostName, _ = os.Hostname()
	return o
}

// sshHome returns the home directory in the user database, which ssh uses, or $HOME if
// there is none.
func sshHome() (dir string, guessed bool) {
	if u, err := user.LookupId(strconv.Itoa(os.Getuid())); err == nil && u.HomeDir != "" {
		return u.HomeDir, false
	}
	return home(), true
}

// findTalker returns the path of aoifleet-engine: beside this program, else in PATH.
func findTalker() string {
	name := "aoifleet-engine"
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	if own, err := os.Executable(); err == nil {
		if beside := filepath.Join(filepath.Dir(own), name); isRegular(beside) {
			return beside
		}
	}
	path, err := exec.LookPath(name)
	if err != nil { // not installed, or found below the current folder, which may be anyone's
		return ""
	}
	return path
}

func home() string {
	dir, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return dir
}

// userName returns the login name; on Windows without the domain, as ssh there uses it.
func userName() string {
	if u, err := user.Current(); err == nil {
		if runtime.GOOS == "windows" {
			return u.Username[strings.LastIndex(u.Username, `\`)+1:]
		}
		return u.Username
	}
	return os.Getenv("USER")
}

func owner() string {
	name, err := os.Hostname()
	if err != nil {
		name = "unknown"
	}
	return fmt.Sprintf("%s@%s", userName(), name)
}

// readSecret reads a line from the terminal without echo. When ctx ends it restores the
// terminal, so that the shell echoes what is typed next.
func readSecret(ctx context.Context) (string, error) {
	fd := int(os.Stdin.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	type answer struct {
		text []byte
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		text, err := term.ReadPassword(fd)
		answers <- answer{text, err}
	}()
	select {
	case <-ctx.Done():
		_ = term.Restore(fd, before)
		return "", ctx.Err()
	case got := <-answers:
		return string(got.text), got.err
	}
}
