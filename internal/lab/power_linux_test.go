package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/aoifleet/aoifleet/internal/lab/agent"
	"golang.org/x/crypto/ssh"
)

// dead reports whether a process, by its decimal id, has ended.
func dead(pid string) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strings.TrimSpace(pid), "stat"))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

// read returns the content of a file of the machine, or "" if it is missing.
func (m *Machine) read(path string) string {
	data, _ := os.ReadFile(m.inRoot(path))
	return string(data)
}

func mustReboot(t testing.TB, m *Machine) {
	t.Helper()
	if err := m.Reboot(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// awaitBoot dials until the machine answers.
func awaitBoot(t testing.TB, m *Machine) {
	t.Helper()
	eventually(t, "it has booted", func() bool {
		client, err := dial(m)
		closeIf(client)
		return err == nil
	})
}

func TestReboot(t *testing.T) {
	_, m := startOne(t, Options{})
	before, boot, log := m.AgentState(), m.BootID(), m.read(agent.DefaultLogPath)
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\n$`).MatchString(m.read(bootIDPath)) {
		t.Errorf("boot id %q", m.read(bootIDPath))
	}
	client := mustDial(t, m)
	// timeout(1) creates its own process group, and holds the lock as well.
	c := begin(t, client, "sudo -n sh -s", hostScript(
		"trap 'echo saw >$ROOT/tmp/saw' TERM HUP EXIT", "exec 7>$ROOT/tmp/lock", "flock -n 7",
		"timeout 600 sh -c 'trap \"\" TERM; sleep 601' & echo $!",
		"systemd-run -q --unit=long --on-active=600 sh -c true",
		"systemd-run -q --unit=runs --on-active=1 /bin/sh -c 'echo $$ >'$ROOT'/tmp/timed; sleep 602'",
		"read -r line; echo ended >$ROOT/tmp/saw"))
	eventually(t, "the timed service runs", func() bool { return m.read("/tmp/timed") != "" && c.stdout.String() != "" })
	if got := m.Timers(); len(got) != 2 {
		t.Errorf("timers %v", got)
	}
	mustReboot(t, m)

	var lost *ssh.ExitMissingError
	if err := c.session.Wait(); !errors.As(err, &lost) {
		t.Errorf("the client has heard %v", err)
	}
	if !dead(c.stdout.String()) || !dead(m.read("/tmp/timed")) {
		t.Error("a process has lived on")
	}
	if m.read("/tmp/saw") != "" {
		t.Error("the script saw something")
	}
	after := m.AgentState()
	if after.Active != "active" || after.InvocationID == before.InvocationID || after.Restarts != 0 {
		t.Errorf("the agent before %+v, after %+v", before, after)
	}
	if m.BootID() == boot || len(m.Timers()) != 0 {
		t.Errorf("boot id %s, then %s; timers %v", boot, m.BootID(), m.Timers())
	}
	if now := m.read(agent.DefaultLogPath); !strings.HasPrefix(now, log) || strings.Contains(now, "Shutting down") {
		t.Errorf("the log: %s", now)
	}
	r := onHost(t, m, "flock -n $ROOT/tmp/lock echo free", "systemctl show -p LoadState,ActiveState long.timer")
	if r.stdout != "free\nLoadState=not-found\nActiveState=inactive\n" {
		t.Errorf("%+v", r)
	}
}

func TestPowerCutAndBoot(t *testing.T) {
	_, m := startOne(t, Options{})
	client := mustDial(t, m)
	boot := m.BootID()
	if r := onHost(t, m, "systemd-run -q --unit=u --on-active=600 sh -c true"); r.status != 0 || len(m.Timers()) != 1 {
		t.Fatalf("%+v", r)
	}
	for range 2 {
		m.PowerCut()
	}
	if names := m.Timers(); len(names) != 0 {
		t.Errorf("timers %v", names)
	}
	if err := client.Wait(); err == nil {
		t.Error("the connection ended well")
	}
	if _, err := dial(m); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a machine that is off: %v", err)
	}
	if out, status := m.Systemctl("restart", Unit); status == 0 || m.AgentState().Active == "active" {
		t.Errorf("the agent runs without power: %s%+v", out, m.AgentState())
	}
	if err := m.SetFault("no-sftp"); err != nil { // opens no port
		t.Fatal(err)
	}
	if _, err := dial(m); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a machine that is off: %v", err)
	}
	for range 2 { // the second changes nothing
		if err := m.Boot(context.Background()); err != nil {
			t.Fatal(err)
		}
		if m.BootID() == boot {
			t.Error("the boot id is the old one, or changes without a boot")
		}
		boot = ""
	}
	mustRun(t, m, "true", "")
}

func TestRebootKeepsWhatIsEnabled(t *testing.T) {
	for verb, want := range map[string]string{"disable": "disabled inactive loaded", "mask": "masked inactive masked", "enable": "enabled active loaded"} {
		_, m := startOne(t, Options{})
		m.Systemctl(verb, Unit)
		mustReboot(t, m)
		if s := m.AgentState(); s.File+" "+s.Active+" "+s.Load != want {
			t.Errorf("%s: %+v", verb, s)
		}
	}
}

func TestRebootUnreachable(t *testing.T) {
	_, m := startOne(t, Options{})
	if err := m.SetFault("unreachable"); err != nil {
		t.Fatal(err)
	}
	mustReboot(t, m)
	if _, err := dial(m); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v", err)
	}
	if err := m.SetFault(); err != nil {
		t.Fatal(err)
	}
	mustDial(t, m)
}

// A boot waits while a guard runs; it ends with its context, or a power cut.
func TestBootCutShort(t *testing.T) {
	for name, wantErr := range map[string]error{"power": errCutInBoot, "context": context.Canceled} {
		t.Run(name, func(t *testing.T) {
			_, m := startOne(t, Options{})
			m.PowerCut()
			log := m.read(agent.DefaultLogPath)
			m.writeGuard(t, "hangs", "[Unit]\nBefore="+Unit+"\n[Service]\nExecStart=/bin/sh -c \"echo > "+m.Root+"/tmp/began; sleep 600\"\n")
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			booted := make(chan error, 1)
			go func() { booted <- m.Boot(ctx) }()
			eventually(t, "the guard runs", func() bool { return m.read("/tmp/began") != "" })
			if name == "power" {
				m.PowerCut()
			} else {
				cancel()
			}
			if err := <-booted; !errors.Is(err, wantErr) {
				t.Errorf("the boot: %v", err)
			}
			if _, err := dial(m); !errors.Is(err, syscall.ECONNREFUSED) || m.AgentState().Active == "active" || m.read(agent.DefaultLogPath) != log {
				t.Errorf("%v, %+v, %s", err, m.AgentState(), m.read(agent.DefaultLogPath))
			}
			if err := os.Remove(m.inRoot(unitDir + "/aoifleet-guard-hangs.service")); err != nil {
				t.Fatal(err)
			}
			if err := m.Boot(context.Background()); err != nil {
				t.Fatal(err)
			}
			mustDial(t, m)
		})
	}
}

// Reboots, power cuts, commands and the close of the fleet happen at any time.
func TestCloseInReboots(t *testing.T) {
	f, m := startOne(t, Options{Notice: func(string) {}})
	var all sync.WaitGroup
	repeat := func(do func(i int) error) {
		all.Go(func() {
			for i := 0; f.ctx.Err() == nil; i++ {
				_ = do(i)
			}
		})
	}
	boots := make(chan bool, 1000)
	for range 2 {
		repeat(func(int) error { err := m.Reboot(f.ctx); boots <- true; return err })
	}
	repeat(func(int) error { m.PowerCut(); return m.Boot(f.ctx) })
	repeat(func(i int) error {
		m.Systemctl("restart", Unit)
		return m.SetFault([]string{"unreachable", "immutable"}[i%2])
	})
	repeat(func(int) error {
		client, err := dial(m)
		if err == nil {
			defer client.Close()
			_, err = run(client, "sudo -n sh -s", hostScript("systemd-run --unit=u$$ --on-active=1 sh -c true; timeout 9 sleep 9"))
		}
		return err
	})
	for range 10 {
		<-boots
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	all.Wait()
	if pids := marked(m.mark()); len(pids) != 0 {
		t.Errorf("left: %v", pids)
	}
}

// No other process gets the port of a machine that is off.
func TestPortIsKept(t *testing.T) {
	f := start(t, Options{Machines: 2})
	m, other := f.Machines()[0], f.Machines()[1]
	m.PowerCut()
	port, err := net.ResolveTCPAddr("tcp", m.Addr)
	if err != nil {
		t.Fatal(err)
	}
	thief := net.Dialer{LocalAddr: port}
	if conn, err := thief.Dial("tcp", other.Addr); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a connection from %s: %v", m.Addr, err)
		if err == nil {
			_ = conn.Close()
		}
	}
	if err := m.Boot(context.Background()); err != nil {
		t.Error(err)
	}
	mustDial(t, m)
}

func TestKillMarked(t *testing.T) {
	f := start(t, Options{Machines: 2})
	talks := make([]runningCommand, 2)
	for i, m := range f.Machines() {
		talks[i] = begin(t, mustDial(t, m), "sudo -n sh -s", hostScript("setsid sleep 600 & echo $!; wait"))
		eventually(t, "it runs", func() bool { return talks[i].stdout.String() != "" })
	}
	if !killMarked(f.Machines()[0].mark(), patience) {
		t.Error("not all were killed")
	}
	if got := fmt.Sprint(dead(talks[0].stdout.String()), dead(talks[1].stdout.String())); got != "true false" {
		t.Errorf("dead: %s, want that of the first machine only", got)
	}
}
