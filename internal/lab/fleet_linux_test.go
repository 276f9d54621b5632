package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/lab/agent"
	"gopkg.in/yaml.v3"
)

type inventoryFile struct {
	Version  int
	Defaults struct {
		User         string
		IdentityFile string `yaml:"identity_file"`
		KnownHosts   string `yaml:"known_hosts"`
		Certificate  string
		SSHConfig    string `yaml:"ssh_config"`
		Verify       string
		Health       struct{ Window, Timeout string }
	}
	Azure   map[string]string
	Rollout struct {
		Parallel    int
		MaxFailures int `yaml:"max_failures"`
	}
	Groups map[string]struct {
		Hosts map[string]struct {
			Address string
			Port    int
			Labels  map[string]string
		}
	}
}

func TestInventory(t *testing.T) {
	f := start(t, Options{Machines: 8, Parallel: 3, MaxFailures: 2, Window: 2 * time.Second, Azure: "{proxy: 'http://127.0.0.1:9', ca_file: ca.pem}"})
	data, err := os.ReadFile(f.InventoryFile())
	if err != nil {
		t.Fatal(err)
	}
	var got inventoryFile
	decoder := yaml.NewDecoder(strings.NewReader(string(data)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&got); err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	if got.Version != 1 || got.Defaults.SSHConfig != "none" || got.Defaults.Verify != "entra" || got.Azure["ca_file"] != "ca.pem" || got.Azure["proxy"] != "http://127.0.0.1:9" || got.Rollout.Parallel != 3 || got.Rollout.MaxFailures != 2 || got.Defaults.Health.Window != "2s" || got.Defaults.User != LoginUser ||
		got.Defaults.Certificate != "certs/"+NewCertificate || got.Defaults.KnownHosts != f.KnownHostsFile() || got.Defaults.IdentityFile != f.IdentityFile() {
		t.Errorf("%+v", got)
	}
	hosts := 0
	for group, members := range got.Groups {
		for name, host := range members.Hosts {
			hosts++
			m := f.Machine(name)
			if m == nil || fmt.Sprintf("%s:%d", host.Address, host.Port) != m.Addr || host.Labels["site"] != group || !strings.HasPrefix(name, group+"-") {
				t.Errorf("%s in %s: %+v", name, group, host)
			}
		}
	}
	if hosts != 8 || len(got.Groups) != 3 {
		t.Errorf("%d hosts in %d groups", hosts, len(got.Groups))
	}
}

func TestCertificates(t *testing.T) {
	f := startWith(t, Options{})
	m := f.Machines()[0]
	for _, name := range []string{OldCertificate, NewCertificate, RefusedCertificate} {
		data, err := os.ReadFile(f.CertificateFile(name))
		if err != nil {
			t.Fatal(err)
		}
		cred, err := agent.LoadCertificate(data)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		entra, err := os.ReadFile(f.EntraFile())
		if err != nil {
			t.Fatal(err)
		}
		if accepted := strings.Contains(string(entra), cred.Thumbprint); accepted != (name != RefusedCertificate) {
			t.Errorf("%s accepted: %v", name, accepted)
		}
	}
	if f.OldThumbprint() == f.NewThumbprint() || m.LiveThumbprint() != f.OldThumbprint() {
		t.Errorf("old %s, new %s, live %s", f.OldThumbprint(), f.NewThumbprint(), m.LiveThumbprint())
	}
	info, err := os.Stat(m.inRoot(CertificatePath))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// A rotation: the file is replaced, the agent restarted, and the log shows the result.
func TestRotation(t *testing.T) {
	f := startWith(t, Options{})
	m := f.Machines()[0]
	eventually(t, "the first upload", func() bool { log, _ := m.AgentLog(); return strings.Contains(log, f.OldThumbprint()) })
	before := m.AgentState()
	for name, want := range map[string]string{RefusedCertificate: "AADSTS700027", NewCertificate: "upload finished, thumbprint " + f.NewThumbprint()} {
		r := onHost(t, m, "cp "+f.CertificateFile(name)+" $ROOT"+CertificatePath, "systemctl restart "+Unit)
		if r.status != 0 {
			t.Fatalf("%+v", r)
		}
		eventually(t, want, func() bool { log, _ := m.AgentLog(); return strings.Contains(log, want) })
	}
	after := m.AgentState()
	if after.Active != "active" || after.InvocationID == before.InvocationID || after.Restarts != 0 || after.StartedAt <= before.StartedAt {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

func TestOptions(t *testing.T) {
	config := "agent_id: mine\nsecret_providers: []\npipelines: []\n"
	f := start(t, Options{
		Machines: 2, NoLive: true, New: []byte("not a certificate"),
		Name:          func(i int) string { return fmt.Sprintf("vm%d", i) },
		Group:         func(string) string { return "all-of-them" },
		Configuration: func(name string) string { return map[string]string{"vm0": config}[name] },
	})
	if f.NewThumbprint() != "" || f.Machine("vm1").LiveThumbprint() != "" || f.Machine("vm2") != nil {
		t.Error("thumbprints without certificates, or a machine too many")
	}
	for name, want := range map[string]string{"vm0": "agent_id: mine", "vm1": "agent_id: vm1"} {
		data, err := os.ReadFile(f.Machine(name).inRoot(agent.DefaultConfigPath))
		if err != nil || !strings.HasPrefix(string(data), want) {
			t.Errorf("%s: %s, %v", name, data, err)
		}
	}
}

func TestOptionsRefused(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		opts Options
		want string
	}{
		"too many":  {Options{Machines: MaxMachines + 1}, "1 to 10000"},
		"negative":  {Options{Machines: -1}, "1 to 10000"},
		"same name": {Options{Machines: 2, Name: func(int) string { return "a" }}, "two machines"},
		"path name": {Options{Name: func(int) string { return "../a" }}, "can't be called"},
		"directory": {Options{Dir: filepath.Join(t.TempDir(), "a b")}, "only letters"},
		"not empty": {Options{Dir: full}, "not empty"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f, err := Start(context.Background(), tt.opts)
			if f != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(full, "mine")); err != nil {
		t.Error(err)
	}
}

func TestClose(t *testing.T) {
	f, err := Start(context.Background(), Options{Machines: 3})
	if err != nil {
		t.Fatal(err)
	}
	c := begin(t, mustDial(t, f.Machines()[0]), "sudo -n sh -s", hostScript("trap '' PIPE HUP TERM; sleep 600 & echo $!; wait"))
	eventually(t, "the script runs", func() bool { return c.stdout.String() != "" })
	left := filepath.Join("/proc", strings.TrimSpace(c.stdout.String()), "stat")
	if r := onHost(t, f.Machines()[1], "systemd-run -q --unit=u --on-active=600 /bin/sh x"); r.status != 0 {
		t.Fatalf("%+v", r)
	}
	for range 2 {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(f.Dir()); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", f.Dir(), err)
	}
	if _, err := dial(f.Machines()[2]); err == nil {
		t.Error("still takes connections")
	}
	eventually(t, "what the script left behind is gone", func() bool {
		stat, err := os.ReadFile(left)
		return err != nil || strings.Contains(string(stat), ") Z ") // dead, and its parent has not waited for it
	})
}

func TestContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	dir := t.TempDir()
	f, err := Start(ctx, Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	client := mustDial(t, f.Machines()[0])
	cancel()
	if err := client.Wait(); err == nil {
		t.Error("the connection ended well")
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "inventory.yaml")); err != nil {
		t.Errorf("a directory that was given is kept: %v", err)
	}
}

func TestManyMachines(t *testing.T) {
	f := start(t, Options{Machines: 100})
	for _, m := range f.Machines() {
		eventually(t, m.Name+" runs", func() bool { return m.AgentState().Sub == "running" })
	}
	r := mustRun(t, f.Machines()[99], "echo here", "")
	if r.stdout != "here\n" {
		t.Errorf("%+v", r)
	}
}

func TestListenerTable(t *testing.T) {
	_, m := startOne(t, Options{Name: func(int) string { return "paris-edr-1" }})
	table := func() string { data, _ := os.ReadFile(m.inRoot("/proc/net/tcp")); return string(data) }
	listens := regexp.MustCompile(`(?m)^ *[0-9]+: [0-9A-F]+:8CA1 [0-9A-F]+:[0-9A-F]+ 0A `)
	eventually(t, "it listens", func() bool { return listens.MatchString(table()) })
	if out, status := m.Systemctl("stop", Unit); status != 0 || listens.MatchString(table()) {
		t.Errorf("%s%d\n%s", out, status, table())
	}
}

// BenchmarkStart starts and closes a large fleet.
func BenchmarkStart(b *testing.B) {
	for _, machines := range []int{100, 1000} {
		b.Run(fmt.Sprint(machines), func(b *testing.B) {
			for b.Loop() {
				f, err := Start(context.Background(), Options{Machines: machines})
				if err != nil {
					b.Fatal(err)
				}
				var memory runtime.MemStats
				runtime.ReadMemStats(&memory)
				b.ReportMetric(float64(memory.HeapInuse+memory.StackInuse)/float64(machines), "B/machine")
				b.ReportMetric(float64(runtime.NumGoroutine())/float64(machines), "goroutines/machine")
				if err := f.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Each machine has its own id, also after a reboot.
func TestMachineIDs(t *testing.T) {
	f := start(t, Options{Machines: 2})
	a, b := f.machines[0], f.machines[1]
	const path = "/etc/machine-id"
	id, boot := a.read(path), a.BootID()
	if !regexp.MustCompile(`^[0-9a-f]{32}\n$`).MatchString(id) || id == b.read(path) || boot == b.BootID() {
		t.Errorf("%q and %q, booted as %s and %s", id, b.read(path), boot, b.BootID())
	}
	if err := a.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a.read(path) != id || a.BootID() == boot {
		t.Errorf("%q, booted as %s", a.read(path), a.BootID())
	}
}
