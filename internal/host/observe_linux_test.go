package host

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// look runs the verb observe and parses its output.
func (m *machine) look(agent inventory.Agent, others ...string) (*Observation, *found, error) {
	m.t.Helper()
	r := m.run("observe", with(append(m.common(firstRun), value{"config", "/etc/az-aoi-ingestion/config.yaml"}), others...), noAnswer)
	f := parseFound([]byte(strings.Join(r.lines, "\n")))
	if !f.done || r.stderr != "" {
		m.t.Fatalf("%v", r)
	}
	f.addSaved(firstRun)
	o, err := f.observation(agent)
	if err == nil && o.Provider != nil {
		if file := f.file(o.Provider.Path); file != nil {
			o.describe(file)
		}
	}
	return o, f, err
}

// p12 returns a certificate file that encoder has written.
func p12(t *testing.T, encoder *pkcs12.Encoder) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "* agent"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	data, err := encoder.Encode(key, cert, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(data)
}

func config(path string) string {
	return "secret_providers: [{name: p, key_vault: {vault_name: v, service_principal: {tenant_id: t, client_id: c, cert_path: " + path + "}}}]\n"
}

func TestObserve(t *testing.T) {
	t.Parallel()
	modern, legacy := p12(t, pkcs12.Modern2023), p12(t, pkcs12.LegacyRC2)
	for name, text := range map[string]string{"AES-256": modern, "RC2-40": legacy} {
		t.Run(name, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				m.write("/etc/az-aoi-ingestion/config.yaml", config(certPath))
				m.write(certPath, text)
				m.logLine(time.Minute, "ERROR AADSTS1 refused")
				o, f, err := m.look(inventory.Agent{})
				if err != nil || o.Live == nil || o.File.Digest != digest(text) || o.File.Mode != "640" || o.File.Kind != "file" || o.File.Unsafe != "" {
					t.Fatalf("%+v %v", o, err)
				}
				if strings.Contains(fmt.Sprint(f.files[0]), "PRIVATE KEY") {
					t.Error("the private key was sent")
				}
				if o.Unit.Active != "active" || o.Unit.InvocationID != "before" || !strings.Contains(o.Denied, "AADSTS1") || o.Space <= 0 {
					t.Errorf("%+v", o)
				}
				if age := time.Since(o.Clock); age < 0 || age > time.Minute || time.Since(o.File.Changed) > time.Hour {
					t.Errorf("clock %v, changed %v", o.Clock, o.File.Changed)
				}
			})
		})
	}
}

// snapshot describes everything that observe must not change.
func (m *machine) snapshot() string {
	var b strings.Builder
	for _, path := range m.tree() {
		if strings.HasPrefix(path, "/unit") || strings.HasPrefix(path, "/faults") || path == "/proc/uptime" {
			continue
		}
		info, err := os.Lstat(m.root + path)
		m.must(err)
		fmt.Fprintln(&b, path, info.Mode(), info.ModTime().UnixNano(), info.Size())
		if info.Mode().IsRegular() {
			fmt.Fprintln(&b, digest(m.read(path)))
		}
	}
	return b.String()
}

func TestObserveChangesNothing(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.write("/etc/az-aoi-ingestion/config.yaml", config(certPath)+config("/none/c.p12"))
		before := m.snapshot()
		m.look(inventory.Agent{}, "path=/etc/az-aoi-ingestion/new.p12")
		if after := m.snapshot(); after != before {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
		interrupted(m)
		m.faults = ""
		before = m.snapshot()
		o, _, _ := m.look(inventory.Agent{})
		if after := m.snapshot(); after != before {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
		if open, ok := o.Unfinished(); !ok || open.State != "pending" || open.Run != firstRun || open.Owner != "operator@console" || open.AtWork || open.Left < 50*time.Second {
			t.Errorf("receipts: %+v", o.Receipts)
		}
	})
}

func TestObserveWhatIsMissing(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.must(os.RemoveAll(m.root + "/etc/az-aoi-ingestion"))
	m.must(os.Remove(m.root + logPath))
	m.state("load=not-found", "active=inactive")
	o, _, err := m.look(inventory.Agent{})
	if p := AsProblem(err); err == nil || p.Class != problem.Configuration || !strings.Contains(p.Message, "does not exist") || o.Unit.Load != "not-found" {
		t.Errorf("%+v %v", o, err)
	}
	o, _, err = m.look(inventory.Agent{CertificatePath: certPath}, "path="+certPath)
	if err != nil || o.File.Kind != "nodir" || o.File.Digest != "none" || o.Live != nil {
		t.Errorf("%+v %v", o, err)
	}
}

func TestObserveWithoutOpenSSL(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	in := m.input("observe", append(m.common(firstRun), value{"path", certPath}, value{"config", "/none"}))
	text := strings.ReplaceAll(m.onMachine(in), systemDir, tools+"/few")
	text = strings.ReplaceAll(text, "# --- machine ---\n", "")
	f := parseFound([]byte(strings.Join(m.send(text, noAnswer).lines, "\n")))
	o, err := f.observation(inventory.Agent{CertificatePath: certPath})
	m.must(err)
	o.describe(f.file(certPath))
	if !f.done || o.LiveNote != "the host has no openssl to read it" || o.File.Digest != digest(oldBytes) {
		t.Errorf("%+v", o)
	}
}

// TestObserveReportsTheMachine if it has both ids, which are cut to their length.
func TestObserveReportsTheMachine(t *testing.T) {
	t.Parallel()
	const id, boot = "0123456789abcdef0123456789abcdef", "01234567-89ab-cdef-0123-456789abcdef"
	inEachShell(t, func(t *testing.T, m *machine) {
		m.write("/proc/sys/kernel/random/boot_id", boot+"\n")
		for text, want := range map[string]string{"": "", id + "\n": id + "/" + boot, id: id + "/" + boot, id + "\nmore\n": id + "/" + boot,
			"uninitialized\n": "", strings.Repeat("a", 1<<16): ""} {
			m.write("/etc/machine-id", text)
			o, f, _ := m.look(inventory.Agent{})
			if o.Machine != want || len(f.fields["machine"]) > 81 {
				t.Errorf("%.40q: %q, %d bytes", text, o.Machine, len(f.fields["machine"]))
			}
		}
		m.must(os.Remove(m.root + "/etc/machine-id"))
		if o, _, _ := m.look(inventory.Agent{}); o.Machine != "" {
			t.Errorf("no machine id: %q", o.Machine)
		}
		m.mkdir("/etc/machine-id", 0o755)
		if o, _, _ := m.look(inventory.Agent{}); o.Machine != "" {
			t.Errorf("a folder: %q", o.Machine)
		}
	})
}
