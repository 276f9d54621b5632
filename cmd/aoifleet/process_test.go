//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/charmbracelet/x/vt"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

func processCommands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"begin": begin, "until": until, "reaches": reaches, "shows": shows, "resize": resize, "press": press, "type": typeLine, "signal": signalIt, "finish": finish,
	}
}

// begun is a command that runs in the background.
type begun struct {
	cmd            *exec.Cmd
	terminal       *os.File // the operator's side; nil: none
	screen         *screen
	stdout, stderr *output
	done           chan error
	before         []string // the journals of earlier runs
}

// output keeps what is written to it and signals each change.
type output struct {
	mu      sync.Mutex
	text    []byte
	changed chan struct{}
}

func newOutput() *output { return &output{changed: make(chan struct{}, 1)} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	o.text = append(o.text, p...)
	o.mu.Unlock()
	select {
	case o.changed <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text)
}

// begin: begin [-terminal] PROGRAM ARGS starts a program in the background, one at a time.
// With -terminal its stdin and stderr are a terminal.
func begin(ts *testscript.TestScript, _ bool, args []string) {
	b := &begun{stdout: newOutput(), stderr: newOutput(), done: make(chan error, 1)}
	b.before = journals(ts)
	shown := make(chan struct{}) // closed when all that it has written is here
	onTerminal := args[0] == "-terminal"
	if onTerminal {
		args = args[1:]
	}
	path, err := lookPath(ts, args[0])
	ts.Check(err)
	b.cmd = exec.Command(path, args[1:]...)
	b.cmd.Dir = ts.Getenv("WORK")
	for _, name := range []string{"AOIFLEET_INVENTORY", "HOME", "PATH", "TMPDIR", "GORACE", "XDG_STATE_HOME", "AOIFLEET_ENGINE", "FAKE_ENGINE", "HTTPS_PROXY", "SSL_CERT_FILE",
		"AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_TOKEN_CREDENTIALS"} {
		b.cmd.Env = append(b.cmd.Env, name+"="+ts.Getenv(name))
	}
	b.cmd.Stdout, b.cmd.Stderr = b.stdout, b.stderr
	if onTerminal {
		ts.Check(b.onTerminal(shown))
	} else {
		close(shown) // Wait waits for that
		ts.Check(b.cmd.Start())
	}
	go func() {
		err := b.cmd.Wait()
		<-shown
		b.done <- err
	}()
	ts.Defer(func() { _ = b.cmd.Process.Kill() })
	theState(ts).begun = b
}

func lookPath(ts *testscript.TestScript, name string) (string, error) {
	// The PATH of the scripts is that of this process: see testscript.Main.
	if ts.Getenv("PATH") != os.Getenv("PATH") {
		return "", fmt.Errorf("the script has changed PATH")
	}
	return exec.LookPath(name)
}

// onTerminal starts the command on a pseudo-terminal of its own (pts(4)), and
// closes shown when that has been read to its end.
func (b *begun) onTerminal(shown chan<- struct{}) error {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		return err
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		return err
	}
	slave, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer slave.Close()
	b.cmd.Stdin, b.cmd.Stderr = slave, slave
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	b.cmd.Env = append(b.cmd.Env, "TERM=xterm")
	b.terminal, b.screen = master, &screen{emulator: vt.NewEmulator(80, 24)}
	if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: 80, Row: 24}); err != nil {
		return err
	}
	if err := b.cmd.Start(); err != nil {
		return err
	}
	// Reading fails with EIO when the last slave is closed.
	go func() {
		defer close(shown)
		_, _ = io.Copy(io.MultiWriter(b.screen, b.stderr), master)
	}()
	return nil
}

// screen is what a terminal shows. Only some of the methods of vt.SafeEmulator lock it.
type screen struct {
	mu       sync.Mutex
	emulator *vt.Emulator
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.emulator.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.emulator.String()
}

func (s *screen) CursorHidden() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.emulator.CursorHidden()
}

func (s *screen) Resize(columns, rows int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.emulator.Resize(columns, rows)
}

func theBegun(ts *testscript.TestScript) *begun {
	b := theState(ts).begun
	if b == nil {
		ts.Fatalf("nothing was begun")
	}
	return b
}

// until: until REGEXP waits for text on the stderr of the program.
func until(ts *testscript.TestScript, _ bool, args []string) {
	b := theBegun(ts)
	want := regexp.MustCompile("(?m)" + args[0])
	deadline := time.After(time.Minute)
	for !want.MatchString(b.stderr.String()) {
		select {
		case <-b.stderr.changed:
		case err := <-b.done:
			b.done <- err
			if !want.MatchString(b.stderr.String()) {
				ts.Fatalf("it ended (%v) without %q:\n%s\n%s", err, args[0], b.stdout, b.stderr)
			}
		case <-deadline:
			ts.Fatalf("never said %q:\n%s", args[0], b.stderr)
		}
	}
}

// shows: shows REGEXP waits until the terminal of the program shows text.
func shows(ts *testscript.TestScript, _ bool, args []string) {
	b, want := theBegun(ts), regexp.MustCompile("(?m)"+args[0])
	deadline := time.After(time.Minute)
	for !want.MatchString(b.shown()) {
		select {
		case <-b.stderr.changed:
		case err := <-b.done:
			b.done <- err
			if !want.MatchString(b.shown()) {
				ts.Fatalf("it ended (%v) without %q:\n%s", err, args[0], b.shown())
			}
		case <-deadline:
			ts.Fatalf("the terminal never showed %q:\n%s", args[0], b.shown())
		}
	}
}

// shown returns what the terminal shows.
func (b *begun) shown() string {
	lines := strings.Split(b.screen.String(), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " ")
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n") + "\n"
}

// resize: resize COLUMNS ROWS changes the size of the terminal.
func resize(ts *testscript.TestScript, _ bool, args []string) {
	b := theBegun(ts)
	columns, err := strconv.Atoi(args[0])
	ts.Check(err)
	rows, err := strconv.Atoi(args[1])
	ts.Check(err)
	b.screen.Resize(columns, rows)
	ts.Check(unix.IoctlSetWinsize(int(b.terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: uint16(columns), Row: uint16(rows)}))
}

// press: press KEY presses Control and a letter, such as C.
func press(ts *testscript.TestScript, _ bool, args []string) {
	_, err := theBegun(ts).terminal.Write([]byte{args[0][0] & 0x1f})
	ts.Check(err)
}

// reaches: reaches HOST STEP waits until the journal of the program's run has the step, which
// is before the step starts on the host.
func reaches(ts *testscript.TestScript, _ bool, args []string) {
	b, want := theBegun(ts), fmt.Sprintf(`"host":%q,"step":%q`, args[0], args[1])
	await(ts, want, func() bool {
		for _, path := range journals(ts) {
			if text, err := os.ReadFile(path); err == nil && !slices.Contains(b.before, path) && strings.Contains(string(text), want) {
				return true
			}
		}
		return false
	})
}

// journals returns the paths of all journals.
func journals(ts *testscript.TestScript) []string {
	paths, err := filepath.Glob(filepath.Join(ts.Getenv("XDG_STATE_HOME"), "aoifleet", "runs", "*"))
	ts.Check(err)
	return paths
}

// typeLine: type [-hidden] TEXT types a line on the terminal of the program; with -hidden,
// once the terminal does not echo.
func typeLine(ts *testscript.TestScript, _ bool, args []string) {
	terminal := theBegun(ts).terminal
	if args[0] == "-hidden" {
		args = args[1:]
		await(ts, "a terminal without echo", func() bool {
			state, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
			ts.Check(err)
			return state.Lflag&unix.ECHO == 0
		})
	}
	_, err := terminal.WriteString(args[0] + "\n")
	ts.Check(err)
}

// signalIt: signal INT|TERM|KILL
func signalIt(ts *testscript.TestScript, _ bool, args []string) {
	number := unix.SignalNum("SIG" + args[0])
	ts.Check(theBegun(ts).cmd.Process.Signal(number))
}

// finish: finish CODE waits for the end of the program; stdout and stderr are then the
// program's, and the file screen is what its terminal shows. The code of one that was killed
// is -1.
func finish(ts *testscript.TestScript, _ bool, args []string) {
	b := theBegun(ts)
	theState(ts).begun = nil
	var err error
	select {
	case err = <-b.done:
	case <-time.After(time.Minute):
		ts.Fatalf("it does not end:\n%s", b.stderr)
	}
	if b.terminal != nil {
		_ = b.terminal.Close()
		ts.Check(os.WriteFile(ts.MkAbs("screen"), []byte(b.shown()), 0o600))
		if b.screen.CursorHidden() {
			ts.Fatalf("the cursor is hidden")
		}
	}
	_, _ = io.WriteString(ts.Stdout(), b.stdout.String())
	_, _ = io.WriteString(ts.Stderr(), b.stderr.String())
	if got := exitCode(ts, err); strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}
