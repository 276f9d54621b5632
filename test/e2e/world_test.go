//go:build e2e && linux

package e2e

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/test/e2e/fleet"
)

// world is a fleet of real hosts, the built program, and certificates with
// increasing expiry dates.
type world struct {
	t       *testing.T
	fleet   *fleet.Fleet
	program string
	dir     string
	certs   map[string]*certificate.Certificate
	// defaults are added to the inventory's defaults, or replace them.
	defaults map[string]any
	// configured is the run that has changed the configurations (TestRotate).
	configured string
}

// newWorld boots the hosts with the certificate "old"; Entra knows all certificates
// except "refused".
func newWorld(t *testing.T, specs ...fleet.Spec) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), certs: map[string]*certificate.Certificate{}}
	for i, name := range []string{"old", "refused", "new", "newer", "newest"} {
		w.certs[name] = makeCertificate(t, name, time.Now().AddDate(0, i+1, 0))
		if err := os.WriteFile(w.file(name), w.certs[name].Canonical(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.program = filepath.Join(w.dir, "aoifleet")
	build := exec.Command("go", "build", "-o", w.program, "github.com/aoifleet/aoifleet/cmd/aoifleet")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	w.fleet = boot(t, fleet.Options{Hosts: specs, Certificate: w.certs["old"].Canonical()})
	for _, h := range w.fleet.Hosts {
		w.entra(h, "old", "new", "newer", "newest")
	}
	return w
}

func (w *world) file(certificate string) string { return filepath.Join(w.dir, certificate+".p12.b64") }

func makeCertificate(t *testing.T, name string, until time.Time) *certificate.Certificate {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := certificate.Pack(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// entra sets the registered certificates of a host.
func (w *world) entra(h *fleet.Host, names ...string) {
	w.t.Helper()
	var lines strings.Builder
	for _, name := range names {
		lines.WriteString(w.certs[name].Leaf.Thumbprint + "\n")
	}
	w.write(h, "/etc/aoi-standin/entra", lines.String())
}

// write writes a file to a host's disk.
func (w *world) write(h *fleet.Host, path, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(h.Root, path), []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// run runs the program inside the network namespace and returns its document
// and exit code.
func (w *world) run(verb, certificate string, rollout map[string]any, more ...string) (*report.Document, int) {
	w.t.Helper()
	inventory := filepath.Join(w.dir, "inventory.yaml")
	defaults := map[string]any{"health": map[string]any{"window": "2s", "timeout": "20s"}}
	maps.Copy(defaults, w.defaults)
	if err := w.fleet.WriteInventory(inventory, fleet.Inventory{Certificate: w.file(certificate), Rollout: rollout,
		Defaults: defaults}); err != nil {
		w.t.Fatal(err)
	}
	args := slices.Concat(strings.Fields(verb), []string{"-i", inventory, "-o", "json"}, more)
	if verb, _, _ := strings.Cut(verb, " "); slices.Contains([]string{"rotate", "configure", "rollback", "recover", "install-helper", "secret", "upgrade"}, verb) {
		args = append(args, "--yes")
	}
	cmd := w.fleet.Command(w.t.Context(), w.program, args...)
	cmd.Env = w.environment()
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		w.t.Fatal(err)
	}
	document := &report.Document{}
	if len(out) > 0 {
		if err := json.Unmarshal(out, document); err != nil {
			w.t.Fatalf("%v: %s", err, out)
		}
	}
	w.t.Logf("%s %s: exit code %d, %v\n%s", verb, certificate, code, document.Totals, complaint.String())
	return document, code
}

// background starts the program on one host, with the current w.defaults.
func (w *world) background(verb, certificate string, h *fleet.Host) *exec.Cmd {
	w.t.Helper()
	inventory := filepath.Join(w.dir, "background.yaml")
	if err := w.fleet.WriteInventory(inventory, fleet.Inventory{Certificate: w.file(certificate), Defaults: w.defaults}); err != nil {
		w.t.Fatal(err)
	}
	cmd := w.fleet.Command(w.t.Context(), w.program, append(strings.Fields(verb), "-i", inventory, "--yes", "--limit", h.Name)...)
	cmd.Env = w.environment()
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	return cmd
}

// environment keeps the program's records out of the user's home.
func (w *world) environment() []string {
	return append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(w.dir, "state"))
}

// shell runs a command as root on a host.
func (w *world) shell(h *fleet.Host, command string) string {
	w.t.Helper()
	out, err := h.Shell(w.t.Context(), command)
	if err != nil {
		w.t.Errorf("%s: %v", h.Name, err)
	}
	return strings.TrimSpace(out)
}

// expect checks the exit code and the number of hosts by outcome.
func (w *world) expect(document *report.Document, code, wantCode int, outcomes map[string]int) {
	w.t.Helper()
	delete(document.Totals, "to_change") // of a plan; no outcome
	ok := code == wantCode && document.ExitCode == code && len(document.Totals) == len(outcomes)
	for outcome, n := range outcomes {
		ok = ok && document.Totals[outcome] == n
	}
	if !ok {
		w.t.Errorf("exit code %d, totals %v; want %d, %v", code, document.Totals, wantCode, outcomes)
		for _, h := range document.Hosts {
			if h.Error != nil {
				w.t.Logf("%s: %s: %s; %v", h.Name, h.Error.Class, h.Error.Message, h.Notes)
			}
		}
	}
}

// live checks a host's disk: the certificate's bytes, owner and mode, and the absence
// of leftovers of a transaction.
func (w *world) live(h *fleet.Host, certificate string) {
	w.t.Helper()
	w.liveAt(h, fleet.CertificatePath, certificate)
}

// liveAt is live for a certificate at another path.
func (w *world) liveAt(h *fleet.Host, path, certificate string) {
	w.t.Helper()
	got, err := os.ReadFile(filepath.Join(h.Root, path))
	if err != nil || string(got) != string(w.certs[certificate].Canonical()) {
		w.t.Errorf("%s: the live file is not %q, %v", h.Name, certificate, err)
	}
	if !h.Running() {
		return
	}
	if owner := w.shell(h, "stat -c '%U:%G %a' "+path); owner != "az-aoi-ingestion:az-aoi-ingestion 600" {
		w.t.Errorf("%s: the live file belongs to %s", h.Name, owner)
	}
	left := w.shell(h, "ls -Ad /home/azureuser/.aoifleet-* "+filepath.Dir(path)+"/.aoifleet-* /var/lib/aoifleet/*/staged-* "+
		"/var/lib/aoifleet/*/pending /var/lib/aoifleet/*/undoing /var/lib/aoifleet/*/backups/*/host.sh /var/lib/aoifleet/*/backups/*/deadline "+
		"/etc/systemd/system/aoifleet-* /etc/systemd/system/*/aoifleet-* 2>/dev/null; "+
		"systemctl list-units --no-legend 'aoifleet-*'; systemctl list-timers --all --no-legend 'aoifleet-*'")
	if left != "" {
		w.t.Errorf("%s: left behind: %s", h.Name, left)
	}
}

// invocation returns systemd's invocation id of the agent's current process.
func (w *world) invocation(h *fleet.Host) string {
	w.t.Helper()
	return w.shell(h, "systemctl show -p ActiveState -p InvocationID -p NRestarts "+fleet.AgentUnit)
}
