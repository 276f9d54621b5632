package site

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/engine/internal/protocol"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/lab"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// The worker's own inventory and certificate decide.
func TestWhatAWorkerRefuses(t *testing.T) {
	w := newWorld(t, 2)
	name := w.Machines()[0].Name
	for want, edit := range map[string]func(*protocol.OneHost){
		"speaks version 1 of the protocol, the run version 2":      func(q *protocol.OneHost) { q.Version++ },
		"belongs to another site: paris":                           func(q *protocol.OneHost) { q.Host = rollout.DataOf(w.hosts["paris-sftp-01"]) },
		"defined otherwise on the worker at london: health.window": func(q *protocol.OneHost) { q.Host.Health.Window = 0 },
		"is not the unit sshd.service":                             func(q *protocol.OneHost) { q.Unit = "sshd.service" },
	} {
		q := w.one(name)
		edit(&q)
		if p := w.stage(q); p == nil || !strings.Contains(p.Message, want) {
			t.Errorf("%q: %+v", want, p)
		}
	}
	q := w.rotation(name)
	data, err := os.ReadFile(w.CertificateFile(lab.OldCertificate))
	if err == nil {
		err = os.WriteFile(filepath.Join(filepath.Dir(w.CertificateFile(lab.OldCertificate)), lab.NewCertificate), data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	q.Run.ID, q.Digest = "20261124-084512-K3F9", w.cert.Digest()
	want := "the certificate on the worker at london is another one: " + w.OldThumbprint() + ", until "
	if p := w.stage(q); p == nil || !strings.Contains(p.Message, want) {
		t.Error(p)
	}
	if r := w.report(protocol.Rotate, q); r.Ending != host.Refused || !strings.Contains(r.Problem.Message, want) {
		t.Errorf("%+v", r.Problem)
	}
	if err := os.WriteFile(w.InventoryFile(), []byte("version: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if p := w.stage(q); p == nil || !strings.Contains(p.Message, "the worker at london can't use its inventory") {
		t.Error(p)
	}
	if w.Machines()[0].LiveThumbprint() != w.OldThumbprint() {
		t.Error("it was rotated")
	}
}

// The password of sudo leaves a worker by no answer, also if the host sends it back.
func TestPasswordOfSudo(t *testing.T) {
	w := newWorld(t, 1)
	m := w.Machines()[0]
	const password = "correct horse battery"
	inventoryFile, err := os.ReadFile(w.InventoryFile())
	if err == nil {
		err = os.WriteFile(filepath.Join(w.Dir(), "sudo"), []byte(password), 0o600)
	}
	if err == nil {
		text := strings.Replace(string(inventoryFile), "defaults:", "defaults:\n  sudo: {password_from: {file: sudo}}", 1)
		err = os.WriteFile(w.InventoryFile(), []byte(text), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := m.SetFault("sudo-tells fails"); err != nil {
		t.Fatal(err)
	}
	var look protocol.LookData
	if err := w.ask(protocol.Observe, w.one(m.Name), &look); err != nil || look.Problem == nil {
		t.Error(err, look.Problem)
	}
	if sent := w.sent.String(); strings.Contains(sent, password) || !strings.Contains(sent, "redacted") {
		t.Error(sent)
	}
	if err := m.SetFault("sudo-tells"); err != nil {
		t.Fatal(err)
	}
	if p := w.stage(w.one(m.Name)); p != nil {
		t.Fatal(p)
	}
	if r := w.report(protocol.Rotate, w.rotation(m.Name)); r.Ending != host.Rotated {
		t.Errorf("%+v", r)
	}
	if strings.Contains(w.sent.String(), password) {
		t.Error(w.sent.String())
	}
}

// A host that is down, or that has another key, was not changed.
func TestUnreachable(t *testing.T) {
	w := newWorld(t, 1)
	m := w.Machines()[0]
	q := w.rotation(m.Name)
	for _, fault := range []string{"unreachable", "changed-host-key"} {
		if err := m.SetFault(fault); err != nil {
			t.Fatal(err)
		}
		q.Run.ID = strings.Replace(q.Run.ID, "K3F9", "K3"+strings.ToUpper(fault[:2]), 1)
		if r := w.report(protocol.Rotate, q); r.Ending != host.Unsent || r.Problem == nil {
			t.Errorf("%+v", r)
		}
		if r := w.report(protocol.Recover, q); r.Ending != host.Unsent {
			t.Errorf("%+v", r)
		}
	}
}
