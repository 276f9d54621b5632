package host

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/problem"
)

const secrets = "/etc/az-aoi-ingestion/secrets"

// ofAgent gives a file to the agent's user.
func (m *machine) ofAgent(path, text string, mode os.FileMode) {
	m.t.Helper()
	m.write(path, text)
	m.must(os.Chmod(m.root+path, mode))
	m.toAgent(path)
}

func (m *machine) toAgent(path string) {
	m.t.Helper()
	u, err := user.Lookup(serviceUser(m.t))
	m.must(err)
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	m.must(os.Lchown(m.root+path, uid, gid))
}

// inspect runs the verb and parses its output, in which no secret may be.
func (m *machine) inspect(config AgentConfig, hidden ...string) *Inspection {
	m.t.Helper()
	i, values := inspection(config, "salt")
	r := m.run("inspect", append(m.common(firstRun), values...), noAnswer)
	out := strings.Join(r.lines, "\n")
	for _, text := range hidden {
		if strings.Contains(out, text) {
			m.t.Errorf("%q is in the answer:\n%s", text, out)
		}
	}
	if r.stderr != "" {
		m.t.Errorf("%v", r)
	}
	m.must(i.parse(out))
	return i
}

func TestInspectSecrets(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.text = strings.Replace(sent, "within=12", "within=100", 1) // also on a busy machine
		m.text = strings.Replace(m.text, "timeout -k 2 16 head", "timeout -k 2 116 head", 1)
		m.mkdir(secrets, 0o700)
		m.toAgent(secrets)
		me := serviceUser(t)
		var config AgentConfig
		want := map[string]string{} // name: in the problem
		add := func(name, kind, problem string) {
			config.FileSecrets = append(config.FileSecrets, FileSecret{Name: name, Kind: kind, Path: secrets + "/" + name})
			want[name] = problem
		}
		file := func(name, text string, mode os.FileMode, problem string) {
			m.ofAgent(secrets+"/"+name, text, mode)
			add(name, "password", problem)
		}
		file("well", "geheim", 0o600, "")
		file("newline", "geheim\n", 0o600, "ends with whitespace")
		file("crlf", "geheim\r\n", 0o600, "ends with whitespace")
		file("blank", " geheim", 0o600, "starts with whitespace")
		file("letters", "Ngeheim N", 0o600, "")
		file("bom", "\xef\xbb\xbfgeheim", 0o600, "byte order mark")
		file("empty", "", 0o600, "is empty")
		file("open", "geheim", 0o640, "has mode 640, not 600")
		file("large", strings.Repeat("geheim", 20000), 0o600, "has 120000 bytes")
		file("key", "-----geheim-----\n", 0o600, "")
		config.FileSecrets[len(config.FileSecrets)-1].Kind = "private_key"
		m.ofAgent(secrets+"/typed.txt", "geheim", 0o600)
		add("typed", "password", "only a file with an extension")
		add("absent", "password", "does not exist")
		m.mkdir(secrets+"/folder", 0o700)
		add("folder", "password", "is not a regular file")
		m.must(exec.Command("mkfifo", m.root+secrets+"/pipe").Run())
		add("pipe", "password", "is not a regular file")
		config.FileSecrets = append(config.FileSecrets, FileSecret{Name: "x", Path: "/nowhere/x"}, FileSecret{Name: "y"})
		want["x"], want["y"] = "the folder of /nowhere/x does not exist", "has no absolute secrets_directory"
		if onRoot(t) {
			m.write(secrets+"/root", "geheim")
			m.must(os.Chmod(m.root+secrets+"/root", 0o600))
			add("root", "password", me+" can't read")
			m.write(secrets+"/roots", "geheim")
			add("roots", "password", "belongs to root, not to "+me)
		}
		before := m.snapshot()
		i := m.inspect(config, "geheim", "Ngeheim")
		if i.User != me || i.Note != "" {
			t.Errorf("%+v", i)
		}
		for _, s := range i.Secrets {
			text := ""
			if p := s.Problem(i.User); p != nil {
				text = p.Message
			}
			if (text == "") != (want[s.Name] == "") || !strings.Contains(text, want[s.Name]) {
				t.Errorf("%s: %q, want %q: %+v", s.Name, text, want[s.Name], s)
			}
		}
		sum := sha256.Sum256([]byte("saltgeheim"))
		if s := i.Secrets[0]; s.Digest != fmt.Sprintf("%x", sum)[:8] || s.Size != 6 || s.Changed.IsZero() || s.Mode != "600" {
			t.Errorf("%+v", s)
		}
		if after := m.snapshot(); after != before {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
	})
}

// TestInspectReadsNothingOfRoot: a configuration that names root's files does not make
// root read them.
func TestInspectReadsNothingOfRoot(t *testing.T) {
	t.Parallel()
	if !onRoot(t) {
		return
	}
	inEachShell(t, func(t *testing.T, m *machine) {
		m.mkdir(secrets, 0o755)
		m.write("/etc/shadow", "root:geheim")
		m.must(os.Chmod(m.root+"/etc/shadow", 0o600))
		m.must(os.Symlink(m.root+"/etc/shadow", m.root+secrets+"/link"))
		i := m.inspect(AgentConfig{
			FileSecrets: []FileSecret{{Name: "shadow", Path: "/etc/shadow"}, {Name: "link", Path: secrets + "/link"}},
			Servers:     []Server{{Endpoint: Endpoint{"h", 22}, KnownHosts: "/etc/shadow"}},
		}, "geheim")
		for _, s := range i.Secrets {
			if s.State != "denied" || s.Digest != "-" || s.Form != "." {
				t.Errorf("%+v", s)
			}
		}
		if s := i.Servers[0]; s.Why != "the agent's user can't read /etc/shadow" {
			t.Errorf("%+v", s)
		}
	})
}

// TestInspectKnownHosts compares with ssh-keygen: plain and hashed names, other ports,
// markers.
func TestInspectKnownHosts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("ssh-keygen", "-lf", key+".pub").Output()
	if err != nil {
		t.Fatal(err)
	}
	printed := strings.Fields(string(out))[1]
	hashed := filepath.Join(dir, "hashed")
	if err := os.WriteFile(hashed, []byte("hashed.example.net "+string(public)+"[hashed.example.net]:2222 "+string(public)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("ssh-keygen", "-H", "-f", hashed).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(hashed)
	if err != nil || strings.Contains(string(text), "example.net") {
		t.Fatalf("%v: %s", err, text)
	}
	inEachShell(t, func(t *testing.T, m *machine) {
		m.write("/known", "plain.example.net,10.0.0.1 "+string(public)+string(text)+"@revoked bad.example.net "+string(public)+"broken.example.net ssh-ed25519 %%%\n")
		m.must(os.Chmod(m.root+"/known", 0o644))
		var config AgentConfig
		for _, e := range []Endpoint{{"plain.example.net", 22}, {"10.0.0.1", 22}, {"hashed.example.net", 22}, {"hashed.example.net", 2222}, {"plain.example.net", 2222}, {"bad.example.net", 22}, {"-F", 22}} {
			config.Servers = append(config.Servers, Server{Endpoint: e, KnownHosts: "/known"})
		}
		config.Servers = append(config.Servers, Server{Endpoint: Endpoint{"h", 22}, KnownHosts: "/absent"})
		i := m.inspect(config)
		one := fmt.Sprint([]KnownKey{{"ssh-ed25519", printed, ""}})
		for n, want := range []string{one, one, one, one, "[]", fmt.Sprint([]KnownKey{{"ssh-ed25519", printed, "revoked"}}), "the agent's configuration has no valid", "[]"} {
			s := i.Servers[n]
			if got := fmt.Sprint(s.Known); got != want && (s.Why == "" || !strings.HasPrefix(s.Why, want)) {
				t.Errorf("%v: %s %q, want %s", s.Endpoint, got, s.Why, want)
			}
		}
	})
	t.Run("no ssh-keygen", func(t *testing.T) {
		m := newMachine(t)
		m.without("ssh-keygen")
		for _, tool := range []string{"sh", "setpriv"} { // of the agent's user
			path, err := exec.LookPath(tool)
			m.must(err)
			m.must(os.Symlink(path, m.only+"/"+tool))
		}
		m.write("/known", "")
		if s := m.inspect(AgentConfig{Servers: []Server{{Endpoint: Endpoint{"h", 22}, KnownHosts: "/known"}}}).Servers[0]; s.Why != "the host has no ssh-keygen" {
			t.Error(s.Why)
		}
	})
}

// TestInspectFirewall: the answers of firewall-cmd and nft, each a stand-in.
func TestInspectFirewall(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.without("firewall-cmd")
	look := func() Firewall { return m.inspect(AgentConfig{ListenerPort: 36001}).Firewall }
	put := func(name, text string) {
		path := m.only + "/" + name
		_ = os.Remove(path)
		m.must(os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755))
	}
	put("nft", "exit 1")
	for _, c := range []struct{ program, text, state string }{
		{"nft", "exit 1", "unknown"},
		{"nft", "echo 'table ip t { chain c { } }'", "none"},
		{"nft", "echo 'type filter hook input priority 0; policy accept;'", "filtered"},
		{"firewall-cmd", "echo not running; exit 252", "filtered"},
		{"firewall-cmd", "case $1 in --state) echo running ;; *) printf 'public (active)\\n  ports: 36001/tcp\\n' ;; esac", "firewalld"},
	} {
		put(c.program, c.text)
		if got := look(); got.State != c.state || c.state == "firewalld" && len(got.Zones) != 2 {
			t.Errorf("%s: %s: %+v", c.program, c.text, got)
		}
	}
	m.must(os.Remove(m.only + "/firewall-cmd"))
	put("nft", ":")
	m.write("/proc/net/ip_tables_names", "filter\n")
	if got := look(); got.State != "filtered" {
		t.Errorf("iptables: %+v", got)
	}
}

// TestInspectIsNotForTheHelper: its caller could guess passwords with a salt of its own.
func TestInspectIsNotForTheHelper(t *testing.T) {
	t.Parallel()
	i := &Inspection{}
	m := newMachine(t)
	withHelper(m)
	_, values := inspection(AgentConfig{FileSecrets: []FileSecret{{Name: "x", Path: secrets + "/x"}}}, "salt")
	err := i.parse(strings.Join(m.run("inspect", append(m.common(firstRun), values...), noAnswer).lines, "\n"))
	if p := problem.As(err); p == nil || p.Class != problem.Configuration || !strings.Contains(p.Message, "the helper looks at no secrets") {
		t.Errorf("%v", err)
	}
}
