package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"software.sslmate.com/src/go-pkcs12"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const certPath = "/etc/az-aoi-ingestion/certs/dp.p12"

func configuration(source string) string {
	return fmt.Sprintf(`agent_id: london-1
secret_providers:
  - name: dp
    key_vault: {vault_name: v, service_principal: {tenant_id: t, client_id: c, cert_path: %s}}
  - name: other
    key_vault: {vault_name: v, managed_identity: {object_id: o}}
pipelines:
  - {id: a, source: %s, sink: {}}
`, certPath, source)
}

const (
	pull = "{sftp_pull: {server: s}}"
	edrs = "{mcc_edrs: {listener: {port: 36002}}}"
)

// machine is a root directory with an agent's files.
type machine struct {
	Config
	t *testing.T
}

func newMachine(t *testing.T, source string, certificate []byte) *machine {
	t.Helper()
	dir := t.TempDir()
	m := &machine{t: t, Config: Config{
		Root: filepath.Join(dir, "root"), EntraPath: filepath.Join(dir, "entra"), FaultPath: filepath.Join(dir, "fault"),
	}}
	m.write(m.inRoot(DefaultConfigPath), configuration(source))
	m.write(m.inRoot("/proc/net/tcp"), tcpHeader)
	m.write(m.inRoot(DefaultLogPath), "")
	if certificate != nil {
		m.write(m.inRoot(certPath), string(certificate))
	}
	return m
}

func (m *machine) write(path, text string) {
	m.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) read(path string) string {
	m.t.Helper()
	data, err := os.ReadFile(m.inRoot(path))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(data)
}

func (m *machine) logged() string { return m.read(DefaultLogPath) }

// run runs the agent for d of the bubble's time and then calls look.
func (m *machine) run(d time.Duration, look func()) (err error) {
	synctest.Test(m.t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- Run(ctx, m.Config) }()
		select {
		case err = <-done:
			return
		case <-time.After(d):
		}
		if look != nil {
			look()
		}
		cancel()
		err = <-done
	})
	return err
}

// validInBubble returns a certificate that is valid for the clock of a bubble, which
// begins in the year 2000 (testing/synctest).
func validInBubble(t *testing.T) (data []byte, thumb string) {
	leaf := selfSigned(t, rsaKey(), time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC))
	return p12(t, pkcs12.Modern2023, rsaKey(), leaf), thumbprint(leaf)
}

func TestRunAuthenticates(t *testing.T) {
	good, thumb := validInBubble(t)
	tests := map[string]struct {
		source, entra, fault string
		certificate          []byte
		after                time.Duration
		want, never          string // patterns of the log
	}{
		"accepted":           {pull, thumb, "", good, 0, " INFO az_aoi_ingestion::upload: catch-up upload finished, thumbprint " + thumb, "ERROR"},
		"lower case in list": {pull, "aa\n" + strings.ToLower(thumb) + "\n", "", good, 0, "upload finished", "ERROR"},
		"not registered":     {pull, "AA", "", good, 0, "ERROR .*Failed to authenticate: AADSTS700027.*key was not found.*'" + thumb + "'", "upload finished"},
		"no file":            {pull, thumb, "", nil, 0, "cannot load PKCS12 certificate " + certPath, "upload finished"},
		"garbage":            {pull, thumb, "", []byte("not base64!"), 0, "cannot load PKCS12 certificate .*invalid byte", "upload finished"},
		"EDR source waits":   {edrs, "AA", "", good, time.Second, "Starting", "AADSTS"},
		"EDR source at last": {edrs, "AA", "", good, 3 * time.Second, "AADSTS700027", "upload finished"},
		"log only":           {pull, thumb, "log-only", good, 0, "AADSTS700027", "upload finished"},
		"for this one":       {pull, thumb, "log-only " + thumb, good, 0, "AADSTS700027", "upload finished"},
		"for another one":    {pull, thumb, "log-only " + strings.Repeat("A", 40), good, 0, "upload finished", "AADSTS"},
		"a line":             {pull, thumb, "deny-line unauthorized_client: no such thing", good, 0, "ERROR .*: unauthorized_client: no such thing\n", "thing [0-9A-F]"},
		"silent":             {pull, "AA", "silent", good, 0, "^$", "."},
		"two faults":         {pull, thumb, "log-only\ndeny-line x", good, 0, "upload: x\n(.*\n)*.*AADSTS", "finished"},
		"unknown fault":      {pull, thumb, "explode", good, 0, "unknown fault \"explode\"", "AADSTS"},
		"slow":               {pull, thumb, "slow-start 5s", good, 4 * time.Second, "^$", "."},
		"slow at last":       {pull, thumb, "slow-start 5s", good, 6 * time.Second, "upload finished", "ERROR"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, tt.source, tt.certificate)
			m.write(m.EntraPath, tt.entra)
			m.write(m.FaultPath, tt.fault)
			var log string
			if err := m.run(tt.after+100*time.Millisecond, func() { log = m.logged() }); err != nil {
				t.Fatal(err)
			}
			if !regexp.MustCompile(tt.want).MatchString(log) || regexp.MustCompile(tt.never).MatchString(log) {
				t.Errorf("log, wanted %q and never %q:\n%s", tt.want, tt.never, log)
			}
		})
	}
}

// Registered is called each time, and the file is not read.
func TestRunAsksRegistered(t *testing.T) {
	good, thumb := validInBubble(t)
	m := newMachine(t, pull, good)
	m.write(m.EntraPath, thumb)
	var known atomic.Bool
	m.Registered = func(asked string) bool { return asked == thumb && known.Load() }
	err := m.run(100*time.Millisecond, func() {
		if !strings.Contains(m.logged(), "AADSTS700027") {
			t.Errorf("no refusal:\n%s", m.logged())
		}
		known.Store(true)
		time.Sleep(4 * time.Second)
		if !strings.Contains(m.logged(), "upload finished") {
			t.Errorf("no upload after the certificate was registered:\n%s", m.logged())
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRunTriesAgain(t *testing.T) {
	good, thumb := validInBubble(t)
	m := newMachine(t, pull, good)
	m.write(m.EntraPath, "AA")
	err := m.run(7*time.Second, func() {
		if n := strings.Count(m.logged(), "AADSTS700027"); n != 3 {
			t.Errorf("%d refusals in 7 s, want 3:\n%s", n, m.logged())
		}
		m.write(m.EntraPath, thumb)
		time.Sleep(4 * time.Second)
		if !strings.Contains(m.logged(), "upload finished") {
			t.Errorf("no upload after the certificate was registered:\n%s", m.logged())
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRunExpired(t *testing.T) {
	leaf := selfSigned(t, rsaKey(), time.Date(1999, 6, 1, 0, 0, 0, 0, time.UTC))
	m := newMachine(t, pull, p12(t, pkcs12.Modern2023, rsaKey(), leaf))
	_ = m.run(100*time.Millisecond, func() {
		if !strings.Contains(m.logged(), "AADSTS700027") || !strings.Contains(m.logged(), "certificate expired") {
			t.Error(m.logged())
		}
	})
}

func TestRunExits(t *testing.T) {
	good, thumb := validInBubble(t)
	tests := map[string]struct {
		config, fault string
		life          time.Duration // 0: immediately
		want          string        // of the error; empty: it does not exit
	}{
		"healthy":            {configuration(pull), "", time.Hour, ""},
		"broken YAML":        {"agent_id: [", "", 0, "yaml"},
		"crafted YAML":       {"[1]: 2\n<<: {a: 1}\n", "", 0, "yaml"},
		"no agent_id":        {"pipelines: []\n", "", 0, "agent_id"},
		"no cert_path":       {"agent_id: a\nsecret_providers: [{key_vault: {service_principal: {}}}]\n", "", 0, "cert_path"},
		"port":               {configuration("{mcc_edrs: {listener: {port: 70000}}}"), "", 0, "70000"},
		"exit-at-start":      {configuration(pull), "exit-at-start", 0, "exit requested"},
		"exit for this one":  {configuration(pull), "exit-at-start " + thumb, 0, "exit requested"},
		"exit-after":         {configuration(pull), "exit-after 3s", 3 * time.Second, "exit requested"},
		"exit in slow start": {configuration(pull), "slow-start 9s\nexit-after 3s", 3 * time.Second, "exit requested"},
		"crash-loop":         {configuration(pull), "crash-loop", crashLoopLife, "exit requested"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, pull, good)
			m.write(m.inRoot(DefaultConfigPath), tt.config)
			m.write(m.FaultPath, tt.fault)
			if err := m.run(tt.life+time.Millisecond, nil); tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
			} else if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want %q", err, tt.want)
			}
			if tt.life > time.Millisecond && tt.want != "" {
				if err := m.run(tt.life-time.Millisecond, nil); err != nil {
					t.Fatalf("exits before its time: %v", err)
				}
			}
		})
	}
}

func TestListenInTable(t *testing.T) {
	good, _ := validInBubble(t)
	for fault, listens := range map[string]bool{"": true, "no-listen": false} {
		m := newMachine(t, edrs, good)
		m.write(m.FaultPath, fault)
		_ = m.run(100*time.Millisecond, func() {
			// 36002 is 8CA2; 0A is TCP_LISTEN (proc_net_tcp(5)).
			got := regexp.MustCompile(`(?m)^ *[0-9]+: [0-9A-F]+:8CA2 [0-9A-F]+:[0-9A-F]+ 0A `).MatchString(m.read("/proc/net/tcp"))
			if got != listens {
				t.Errorf("fault %q: listens %v, want %v:\n%s", fault, got, listens, m.read("/proc/net/tcp"))
			}
		})
		if got := m.read("/proc/net/tcp"); got != tcpHeader {
			t.Errorf("after the end: %q", got)
		}
	}
}

func TestListenOnSocket(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	_ = free.Close()
	stop, err := listenTCP(port)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("record")); err != nil {
		t.Fatal(err)
	}
	if _, err := listenTCP(port); err == nil {
		t.Error("two listeners on one port")
	}
	stop()
	if _, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
		t.Error("still listening")
	}
}

func TestLogFormat(t *testing.T) {
	at := time.Date(2024, 4, 30, 18, 16, 0, 544000, time.FixedZone("", 3600))
	tests := map[string]struct {
		colour bool
		level  string
		want   string
	}{
		"INFO":   {false, "INFO", "2024-04-30T17:16:00.000544Z  INFO m::p: text\n"},
		"ERROR":  {false, "ERROR", "2024-04-30T17:16:00.000544Z ERROR m::p: text\n"},
		"colour": {true, "INFO", "\x1b[2m2024-04-30T17:16:00.000544Z\x1b[0m \x1b[32m INFO\x1b[0m \x1b[2mm::p\x1b[0m\x1b[2m:\x1b[0m text\n"},
	}
	for name, tt := range tests {
		l := &logger{colour: tt.colour}
		if got := l.format(at, tt.level, "m::p", "text"); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestLogRotated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l := &logger{path: path}
	l.line("INFO", "m", "one")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	l.line("INFO", "m", "two")
	data, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(data), "one") || !strings.Contains(string(data), "two") {
		t.Errorf("%q, %v", data, err)
	}
}

func TestParseFault(t *testing.T) {
	thumb := strings.Repeat("ab", 20)
	tests := map[string]struct {
		want Fault
		ok   bool
	}{
		"silent":                  {Fault{Word: "silent"}, true},
		"silent " + thumb:         {Fault{Word: "silent", Thumbprint: strings.ToUpper(thumb)}, true},
		"exit-after 3s " + thumb:  {Fault{Word: "exit-after", Argument: "3s", Thumbprint: strings.ToUpper(thumb)}, true},
		"deny-line a  b":          {Fault{Word: "deny-line", Argument: "a  b"}, true},
		"deny-line a b " + thumb:  {Fault{Word: "deny-line", Argument: "a b", Thumbprint: strings.ToUpper(thumb)}, true},
		"deny-line " + thumb:      {Fault{}, false},
		"deny-line a version:2":   {Fault{Word: "deny-line", Argument: "a", Version: "2"}, true},
		"silent version:2.0-1":    {Fault{Word: "silent", Version: "2.0-1"}, true},
		"deny-line":               {Fault{}, false},
		"exit-after":              {Fault{}, false},
		"exit-after soon":         {Fault{}, false},
		"exit-after -1s":          {Fault{}, false},
		"silent please":           {Fault{}, false},
		"explode":                 {Fault{}, false},
		"":                        {Fault{}, false},
		"silent " + thumb + "zz":  {Fault{}, false},
		"  slow-start   250ms   ": {Fault{Word: "slow-start", Argument: "250ms"}, true},
	}
	for line, tt := range tests {
		got, err := ParseFault(line)
		if (err == nil) != tt.ok || tt.ok && got != tt.want {
			t.Errorf("ParseFault(%q) = %+v, %v", line, got, err)
		}
		if word, _, _ := strings.Cut(strings.TrimSpace(line), " "); IsFault(word) != (word != "" && word != "explode") {
			t.Errorf("IsFault(%q) = %v", word, IsFault(word))
		}
	}
}

func TestErrFault(t *testing.T) {
	m := newMachine(t, pull, nil)
	m.write(m.FaultPath, "exit-at-start")
	if err := Run(t.Context(), m.Config); !errors.Is(err, ErrFault) {
		t.Errorf("%v", err)
	}
}

func FuzzParseSettings(f *testing.F) {
	f.Add([]byte(configuration(pull)))
	f.Add([]byte(configuration(edrs)))
	f.Add([]byte("[1]: 2\n<<: {a: 1}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := parseSettings(data); err == nil && (s.AgentID == "" || s.port < 0 || s.port > 65535) {
			t.Fatalf("%+v", s)
		}
	})
}
