package lab

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aoifleet/aoifleet/internal/lab/agent"
	"golang.org/x/crypto/ssh"
)

// Unit is the agent's unit on every machine.
const Unit = "az-aoi-ingestion.service"

const loopback = "127.0.0.1"

// Machine is one simulated VM.
type Machine struct {
	Name string
	Addr string // host:port of its SSH server
	Root string // its root directory: Root + "/etc/…" is its /etc/…
	Home string // the login directory of LoginUser

	dir        string
	fleet      *Fleet
	hostKey    ssh.Signer
	otherKey   func() (ssh.Signer, error) // for a changed host key
	agentFault string                     // path of the agent's fault file

	faults      faults
	connections atomic.Int64
	execs       atomic.Int64
	transfers   atomic.Int64

	applying sync.Mutex        // held while the faults are applied
	linked   map[string]string // linked stand-ins of faults: program to file

	power   sync.Mutex // held during a boot or a power cut
	current atomic.Pointer[life]

	reservation io.Closer // of its port, for as long as the fleet lives
	listening   sync.Mutex
	listener    net.Listener // nil while off or unreachable
}

// Counts are the uses of a machine since the start.
type Counts struct {
	Connections int64 // accepted TCP connections
	Execs       int64 // commands run over SSH
	Transfers   int64 // SFTP sessions
}

// Execs returns the uses of the machine.
func (m *Machine) Execs() Counts {
	return Counts{Connections: m.connections.Load(), Execs: m.execs.Load(), Transfers: m.transfers.Load()}
}

func (f *Fleet) newMachine(name string) (*Machine, error) {
	dir := filepath.Join(f.dir, "machines", name)
	m := &Machine{
		Name: name, Root: filepath.Join(dir, "root"), Home: filepath.Join(dir, "home"),
		dir: dir, fleet: f, agentFault: filepath.Join(dir, "fault"), otherKey: sync.OnceValues(newHostKey),
	}
	m.current.Store(m.newLife())
	if err := m.createFiles(); err != nil {
		return nil, err
	}
	var err error
	if m.hostKey, err = newHostKey(); err != nil {
		return nil, err
	}
	m.Addr, m.reservation, err = reservePort()
	return m, err
}

// createFiles creates the machine's files.
func (m *Machine) createFiles() error {
	if err := os.MkdirAll(m.Home, 0o700); err != nil {
		return err
	}
	for _, dir := range []string{"etc/az-aoi-ingestion/certs", "var/log/az-aoi-ingestion", "var/lib", "etc/systemd/system", "proc/net", "proc/sys/kernel/random", "proc/sys/fs", "tmp"} {
		if err := os.MkdirAll(filepath.Join(m.Root, dir), 0o755); err != nil {
			return err
		}
	}
	configuration := m.fleet.opts.Configuration(m.Name)
	if configuration == "" {
		configuration = defaultConfiguration(m.Name)
	}
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails
	files := map[string]string{
		"/etc/machine-id":       hex.EncodeToString(id) + "\n",
		agent.DefaultConfigPath: configuration,
		agent.DefaultLogPath:    "",
		"/proc/net/tcp":         "",
		"/proc/net/tcp6":        "",

		"/proc/sys/fs/protected_hardlinks": "1\n",
		"/proc/sys/fs/protected_symlinks":  "1\n",
	}
	for path, text := range files {
		if err := os.WriteFile(m.inRoot(path), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := os.Symlink("/proc/uptime", m.inRoot("/proc/uptime")); err != nil {
		return err
	}
	return errors.Join(m.linkDiags(), m.writeCertificate(), m.createSource(), m.installPackage())
}

// writeCertificate writes the live certificate, with the time of the start of its
// validity: the agent has been started since.
func (m *Machine) writeCertificate() error {
	if m.fleet.opts.NoLive {
		return nil
	}
	path := m.inRoot(CertificatePath)
	if err := os.WriteFile(path, m.fleet.certs.old, 0o600); err != nil {
		return err
	}
	then := time.Now().Add(-340 * day)
	return os.Chtimes(path, then, then)
}

func (m *Machine) inRoot(path string) string { return filepath.Join(m.Root, path) }

func (m *Machine) port() int {
	_, port, _ := net.SplitHostPort(m.Addr)
	var n int
	_, _ = fmt.Sscan(port, &n)
	return n
}

// runAgent runs the process of the agent's unit. A missing program is an exit with 203 (systemd.exec(5)).
func (m *Machine) runAgent(ctx context.Context, ready func()) error {
	version := m.Version()
	if version == "" {
		return errors.New("203/EXEC")
	}
	return agent.Run(ctx, agent.Config{
		Root: m.Root, Version: version, EntraPath: m.fleet.EntraFile(), Registered: m.fleet.opts.Registered, FaultPath: m.agentFault, Load: m.fleet.load, Ready: ready,
	})
}

// LiveThumbprint returns the SHA-1 thumbprint of the current certificate file,
// in upper-case hexadecimal; empty if the agent could not load it.
func (m *Machine) LiveThumbprint() string {
	data, err := os.ReadFile(m.inRoot(CertificatePath))
	if err != nil {
		return ""
	}
	cred, err := m.fleet.load(data)
	if err != nil {
		return ""
	}
	return cred.Thumbprint
}

// AgentState returns systemd's state of the agent's unit.
func (m *Machine) AgentState() UnitState { return m.systemd().state(Unit) }

// AgentLog returns the agent's current log.
func (m *Machine) AgentLog() (string, error) {
	data, err := os.ReadFile(m.inRoot(agent.DefaultLogPath))
	return string(data), err
}

// Systemctl runs `systemctl ARGS` on the machine, and returns its output, both
// streams together, and its exit status.
func (m *Machine) Systemctl(args ...string) (output string, status int) {
	r := m.systemd().systemctl(args)
	for _, line := range append(r.out, r.err...) {
		output += line + "\n"
	}
	return output, r.status
}
