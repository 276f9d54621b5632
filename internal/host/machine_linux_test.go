package host

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The agent of the machines, and the texts of its certificate file: one line each, so that
// the systemctl stand-in can record what the agent has read.
const (
	unitName  = "az-aoi-ingestion.service"
	logPath   = "/var/log/az-aoi-ingestion/stdout.log"
	certPath  = "/etc/az-aoi-ingestion/certificate.p12"
	diagsTool = "/usr/bin/microsoft/az-aoi-ingestion-gather-diags"
	oldBytes  = "MIIold"
	newBytes  = "MIInew"
	badBytes  = "BADnew" // the agent is refused with it
	thirdOne  = "MIIthird"
	firstRun  = "20261123T090000Z-aaaa"
	secondRun = "20261123T100000Z-bbbb"
	systemDir = "/usr/sbin:/usr/bin:/sbin:/bin"
)

// machine is a directory that host.sh uses as its whole machine.
type machine struct {
	t       *testing.T
	root    string // also the working directory, as of SFTP and sudo
	path    string // of the certificate, below root
	before  string // the text of the certificate file at first
	shell   []string
	text    string // the script
	faults  string // a directory of stand-ins, first on PATH
	only    string // the whole PATH, if not empty
	once    bool   // no rotation after a recovery
	environ []string
	hangUp  bool // close the input right after sending
	helper  bool // run the installed script, with values only

	packages bool // the agent is a package, see testdata/dpkg
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	// Not t.TempDir(): the test's name is in its path, with all its characters.
	root, err := os.MkdirTemp("", "host-machine")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	if root, err = filepath.EvalSymlinks(root); err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, root: root, path: certPath, before: oldBytes, shell: []string{"dash"}, text: sent}
	for _, dir := range []string{"/proc/net", "/proc/sys/kernel/random", "/proc/sys/fs", "/tool", "/unit/timers", "/var/lib", "/faults", "/etc/systemd/system", filepath.Dir(diagsTool), filepath.Dir(logPath), filepath.Dir(certPath)} {
		m.mkdir(dir, 0o755)
	}
	m.must(os.Symlink("/proc/uptime", root+"/proc/uptime"))
	m.must(os.Symlink(tools+"/gather-diags", root+diagsTool))
	m.write("/proc/net/tcp", "  sl  local_address rem_address   st\n")
	m.write("/proc/sys/kernel/random/boot_id", "first-boot\n")
	for _, kind := range []string{"hardlinks", "symlinks"} {
		m.write("/proc/sys/fs/protected_"+kind, "1\n")
	}
	// The agent's user can enter the root folder, as on a host.
	m.must(os.Chmod(root, 0o755))
	m.must(os.Chmod(root+"/tool", 0o1777))
	m.write("/faults/count", "0\n")
	m.write("/faults/plan", "none\n")
	m.write("/etc/az-aoi-ingestion/config.yaml", "agent_id: a\n")
	m.write(logPath, "2026-11-23T08:00:00.000000Z  INFO agent: started\n")
	m.write(certPath, oldBytes)
	m.must(os.Chmod(root+certPath, 0o640))
	m.state("load=loaded active=active sub=running id=before restarts=0 failure=success limit=no shows=0 starts=0 started=0 pid=0 action= wanted=multi-user.target",
		"live="+root+certPath, "log="+root+logPath, "loaded="+oldBytes)
	m.state("user="+serviceUser(t), "group="+serviceGroup(t))
	m.hook("on-restart", "log INFO agent: started\ncase $loaded in BAD*) log 'ERROR azure: AADSTS700027: refused' ;; esac\n")
	return m
}

// serviceUser returns a user to whom this process may give files.
func serviceUser(t *testing.T) string {
	t.Helper()
	if os.Getuid() == 0 {
		return "daemon"
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return me.Username
}

func serviceGroup(t *testing.T) string {
	t.Helper()
	owner, err := user.Lookup(serviceUser(t))
	if err != nil {
		t.Fatal(err)
	}
	group, err := user.LookupGroupId(owner.Gid)
	if err != nil {
		t.Fatal(err)
	}
	return group.Name
}

func (m *machine) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) mkdir(path string, mode os.FileMode) {
	m.t.Helper()
	m.must(os.MkdirAll(m.root+path, 0o755))
	m.must(os.Chmod(m.root+path, mode))
}

func (m *machine) write(path, text string) {
	m.t.Helper()
	m.must(os.WriteFile(m.root+path, []byte(text), 0o644))
}

// read returns the text of a file, and "(none)" if there is no file.
func (m *machine) read(path string) string {
	m.t.Helper()
	data, err := os.ReadFile(m.root + path)
	if errors.Is(err, os.ErrNotExist) {
		return "(none)"
	}
	m.must(err)
	return string(data)
}

// state adds assignments to the state of the unit, one each or space-separated.
func (m *machine) state(assignments ...string) {
	m.t.Helper()
	f, err := os.OpenFile(m.root+"/unit/state", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	m.must(err)
	defer f.Close()
	for _, a := range assignments {
		if strings.Count(a, "=") > 1 {
			m.state(strings.Fields(a)...)
			continue
		}
		key, text, _ := strings.Cut(a, "=")
		fmt.Fprintf(f, "%s='%s'\n", key, text)
	}
}

// unit returns a variable of the unit's state.
func (m *machine) unit(name string) string {
	text := ""
	for line := range strings.Lines(m.read("/unit/state")) {
		if key, value, _ := strings.Cut(strings.TrimSpace(line), "="); key == name {
			text = strings.Trim(value, "'")
		}
	}
	return text
}

// hook sets shell code that the systemctl stand-in runs, see testdata/systemctl.
func (m *machine) hook(name, text string) { m.write("/unit/"+name, text) }

func (m *machine) stateDir() string { return "/var/lib/aoifleet/" + unitName }

// stage stages a file, as the verb stage does.
func (m *machine) stage(run, text string) {
	m.t.Helper()
	m.mkdir("/var/lib/aoifleet", 0o700)
	m.mkdir(m.stateDir(), 0o700)
	m.write(m.stateDir()+"/staged-"+run, text)
}

// result is the output of a verb.
type result struct {
	lines  []string
	stderr string
	exit   int
}

// get returns the last value of a key; all returns all of them.
func (r result) get(key string) string {
	if all := r.all(key); len(all) > 0 {
		return all[len(all)-1]
	}
	return ""
}

func (r result) all(key string) []string {
	var found []string
	for _, line := range r.lines {
		if k, text, _ := strings.Cut(line, "="); k == key {
			found = append(found, text)
		}
	}
	return found
}

func (r result) String() string {
	return fmt.Sprintf("exit %d\n%s\nstderr: %s", r.exit, strings.Join(r.lines, "\n"), r.stderr)
}

// Special answers at the verdict.
const (
	noAnswer = ""        // the script's input is closed
	silence  = "\x00..." // it stays open
)

// run sends a verb like a VM, and answers the verdict.
func (m *machine) run(verb string, values []value, answer string) result {
	m.t.Helper()
	return m.send(m.input(verb, values), answer)
}

// input returns the whole input of a process: the script, unless the helper is installed,
// and one call.
func (m *machine) input(verb string, values []value) string {
	m.t.Helper()
	if m.helper {
		in, err := helperCall(verb, values)
		m.must(err)
		return string(in)
	}
	in, err := call(verb, values, thenExit)
	m.must(err)
	if m.text != sent { // changed by the test
		return string(openingOf(m.text)) + string(in)
	}
	var shell shell
	return string(bytes.Join(append(shell.needed(verb, values), in), nil))
}

// send runs text with `sh -s`, in a process group of its own.
func (m *machine) send(text, answer string) result {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	program := "-s"
	if m.helper {
		program = m.root + HelperPath
	}
	cmd := exec.CommandContext(ctx, m.shell[0], append(append([]string{}, m.shell[1:]...), program)...)
	cmd.Dir = m.root
	cmd.Env = append([]string{"PATH=" + systemDir, "MACHINE=" + m.root, "TOOLS=" + tools}, m.environ...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	m.must(err)
	stdout, err := cmd.StdoutPipe()
	m.must(err)
	m.must(cmd.Start())
	m.write("/faults/pid", strconv.Itoa(cmd.Process.Pid)+"\n")
	_, _ = io.WriteString(stdin, m.withStandIns(text)) // a script that ends early shows in its output
	if m.hangUp {
		stdin.Close()
	}
	r := result{}
	lines := bufio.NewScanner(stdout)
	lines.Split(scanWhole)
	for lines.Scan() {
		r.lines = append(r.lines, lines.Text())
		if strings.HasPrefix(lines.Text(), "verdict=") && answer != silence {
			_, _ = io.WriteString(stdin, answer)
			stdin.Close()
		}
	}
	stdin.Close()
	_ = cmd.Wait() // its status is in ProcessState
	m.gone(cmd)
	r.stderr, r.exit = stderr.String(), cmd.ProcessState.ExitCode()
	return r
}

// command returns a command with the environment of the script.
func (m *machine) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = m.root, []string{"PATH=" + systemDir, "MACHINE=" + m.root, "TOOLS=" + tools}
	return cmd
}

// onMachine sets PATH and ROOT of this machine in the machine block of each copy of the
// script, as the lab does.
func (m *machine) onMachine(text string) string {
	path := tools + "/bin:" + systemDir
	if m.only != "" {
		path = m.only
	} else if m.faults != "" {
		path = m.faults + ":" + path
	}
	if m.packages {
		path = strings.Replace(path, tools+"/bin", tools+"/pkg:"+tools+"/bin", 1) + ":" + m.root + "/pkg"
	}
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(text, "# --- machine ---\n")
		_, after, ok2 := strings.Cut(rest, "# --- end machine ---\n")
		if !ok || !ok2 {
			return b.String() + text // the rest, or cut by a test
		}
		fmt.Fprintf(&b, "%sPATH=%s\nexport PATH\nROOT=%s\n", before, path, m.root)
		text = after
	}
}
