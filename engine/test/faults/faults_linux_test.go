// Package faults interrupts rollouts on a real server with real programs: workers are killed, the
// server stops, a site is cut off. Every VM ends with the old certificate or the new one and a
// healthy agent, and the result says which.
package faults

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/engine/internal/devlab"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// slow makes a VM of London restart its agent slowly, so that it can be met in the middle of it.
func (e *engine) slow(restart string) string {
	e.t.Helper()
	name := devlab.VM("london", 0)
	e.fault(name, "restart-slow "+restart)
	return name
}

// fault sets the fault of a VM.
func (e *engine) fault(name, fault string) {
	e.t.Helper()
	if err := e.machine(name).SetFault(fault); err != nil {
		e.t.Fatal(err)
	}
}

// meet waits until a VM is in the middle of its change.
func (e *engine) meet(name string) {
	e.t.Helper()
	m := e.machine(name)
	e.eventually("a change of "+name, time.Minute, func() bool { return inHand(m) && m.LiveThumbprint() == e.lab.Fleets["london"].NewThumbprint() })
}

func count(outcomes map[string]rollout.Outcome, o rollout.Outcome) (n int) {
	for _, is := range outcomes {
		if is == o {
			n++
		}
	}
	return n
}

// All are rotated but one, whose sudo fails, and neither the database of the server nor a log has anything
// secret; the database has no name of a host either.
func TestNothingSecretIsStored(t *testing.T) {
	e := start(t)
	e.lock()
	e.workers()
	e.makePlan()
	name := devlab.VM("paris", devlab.VMs-1)
	e.fault(name, "sudo-tells fails")
	outcomes := e.end(e.begin())
	if n := count(outcomes, rollout.Rotated); n != 2*devlab.VMs-1 {
		t.Errorf("%v", outcomes)
	}
	if !strings.Contains(e.log(), display.Redacted) {
		t.Errorf("no log has what sudo of %s has said\n%s", name, e.log())
	}
	for _, who := range append([]string{"control"}, devlab.Sites...) {
		e.kill(who)
	}
	if err := e.server.Stop(); err != nil {
		t.Fatal(err)
	}
	size := 0
	err := filepath.WalkDir(filepath.Join(e.dir, "temporal"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		size += len(data)
		e.hasNothing(path, data, true)
		return err
	})
	if err != nil || size < 100_000 {
		t.Errorf("%d bytes were searched, %v", size, err)
	}
	e.hasNothing("the logs of the workers", []byte(e.log()), false)
}

// password is the passphrase of the login keys, and what sudo asks for.
const password = "correct horse battery"

// lock has the workers of the sites use a password, which the sudo of each VM sends back.
func (e *engine) lock() {
	e.t.Helper()
	for _, site := range devlab.Sites {
		in := func(name string) string { return filepath.Join(e.lab.Dir, site, name) }
		text, err := os.ReadFile(in("id_ed25519"))
		key, errKey := ssh.ParseRawPrivateKey(text)
		block, errLock := ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(password))
		inventory, errRead := os.ReadFile(in("inventory.yaml"))
		if err := errors.Join(err, errKey, errLock, errRead); err != nil {
			e.t.Fatal(err)
		}
		const locked = "identity_file: locked\n  passphrase_from: {file: password}\n  sudo: {password_from: {file: password}}"
		inventory = bytes.Replace(inventory, []byte("identity_file: id_ed25519"), []byte(locked), 1)
		for name, text := range map[string][]byte{"locked": pem.EncodeToMemory(block), "password": []byte(password),
			"inventory.yaml": inventory} {
			err = errors.Join(err, os.WriteFile(in(name), text, 0o600))
		}
		if err != nil {
			e.t.Fatal(err)
		}
		for i := range devlab.VMs {
			e.fault(devlab.VM(site, i), "sudo-tells")
		}
	}
}

// hasNothing looks for secrets in data, as they are and in other forms; names are those of hosts.
func (e *engine) hasNothing(where string, data []byte, names bool) {
	e.t.Helper()
	data = append(data, unpacked(data)...)
	secrets := e.secrets()
	if len(secrets) < 20 {
		e.t.Fatalf("%d secrets", len(secrets))
	}
	for what, secret := range secrets {
		raw, _ := base64.StdEncoding.DecodeString(string(secret))
		for _, form := range [][]byte{secret, raw, []byte(base64.StdEncoding.EncodeToString(secret))[:24]} {
			if len(form) >= 16 && bytes.Contains(data, form) {
				e.t.Errorf("%s has %s", where, what)
			}
		}
	}
	for _, text := range []string{devlab.VM("london", 2), devlab.VM("paris", 2), e.lab.Fleets["london"].NewThumbprint(), "az-aoi-ingestion"} {
		if names && bytes.Contains(data, []byte(text)) {
			e.t.Errorf("%s has %s", where, text)
		}
	}
}

// unpacked returns what is compressed in data, as far as that is in one piece: each payload is compressed
// before it is encrypted, and would hide its text also if it were not encrypted.
func unpacked(data []byte) []byte {
	var all bytes.Buffer
	for at, b := range data {
		if b != 0x78 { // zlib's first byte
			continue
		}
		if r, err := zlib.NewReader(bytes.NewReader(data[at:])); err == nil {
			_, _ = io.Copy(&all, r)
		}
	}
	return all.Bytes()
}

// A worker that dies in the middle of a change takes the confirmation with it: the host undoes, and
// the next worker learns it from the host.
func TestWorkerIsKilled(t *testing.T) {
	e := start(t)
	e.workers()
	e.makePlan()
	name := e.slow("6s")
	run := e.begin()
	e.meet(name)
	e.kill("london")
	e.worker("london")
	outcomes := e.end(run)
	if outcomes[name] != rollout.RolledBack {
		t.Errorf("%s is %s: %v", name, outcomes[name], outcomes)
	}
}

// The control worker may die in a soak, or at any other time: the next one goes on where it was.
func TestControlIsKilled(t *testing.T) {
	e := start(t)
	e.workers()
	e.makePlan()
	run := e.begin()
	for _, step := range []string{"wave", "soak"} {
		e.eventually("the "+step, 2*time.Minute, func() bool { return e.state().Step == step })
		e.kill("control")
		e.worker("control")
	}
	if outcomes := e.end(run); count(outcomes, rollout.Rotated) != 2*devlab.VMs {
		t.Errorf("%v", outcomes)
	}
}

// The server stops in the middle of a change and comes back: what the workers do meanwhile counts.
func TestServerRestarts(t *testing.T) {
	e := start(t)
	e.workers()
	e.makePlan()
	name := e.slow("3s")
	run := e.begin()
	e.meet(name)
	if err := e.server.Stop(); err != nil {
		t.Fatal(err)
	}
	m := e.machine(name)
	e.eventually("the end of the change without a server", time.Minute, func() bool { return !inHand(m) })
	var err error
	if e.server, err = restart(e); err != nil {
		t.Fatal(err)
	}
	outcomes := e.end(run)
	if !outcomes[name].HasNew() && outcomes[name] != rollout.RolledBack {
		t.Errorf("%s is %s: %v", name, outcomes[name], outcomes)
	}
}

// A site that is cut off from the server ends what it has begun by itself. Meanwhile the other site
// goes on, and nothing is said of the hosts that can't be asked.
func TestSiteIsCutOff(t *testing.T) {
	e := start(t)
	p := newProxy(t, e.server.Address())
	e.worker("control")
	e.worker("paris")
	e.worker("london", "--address", p.address())
	e.makePlan()
	name := e.slow("6s")
	run := e.begin()
	e.meet(name)
	p.set(true)
	m := e.machine(name)
	e.eventually("the end of the change", 2*time.Minute, func() bool { return !inHand(m) })
	e.eventually("the loss to be noticed", 2*time.Minute, e.lost)
	p.set(false)
	outcomes := e.end(run)
	if !outcomes[name].HasNew() && outcomes[name] != rollout.RolledBack {
		t.Errorf("%s is %s: %v", name, outcomes[name], outcomes)
	}
}

// A worker that stands still, as a suspended VM does, is taken for lost. It goes on later, when
// another one has asked the host already: what the host says counts, for both.
func TestWorkerStandsStill(t *testing.T) {
	e := start(t)
	e.workers()
	e.makePlan()
	name := e.slow("6s")
	run := e.begin()
	e.meet(name)
	still := e.runs["london"]
	if err := syscall.Kill(-still.Process.Pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	e.worker("london") // the one that stands still is killed in the end, by its own Cleanup
	t.Cleanup(func() { _ = syscall.Kill(-still.Process.Pid, syscall.SIGKILL); _ = still.Wait() })
	e.eventually("the loss to be noticed", 3*time.Minute, e.lost)
	if err := syscall.Kill(-still.Process.Pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	e.end(run)
}

// A worker without the keys, or that does not encrypt, does nothing.
func TestWithoutTheKeys(t *testing.T) {
	e := start(t)
	e.worker("control")
	e.worker("london")
	e.worker("paris", "--plaintext")
	e.makePlan()
	for _, entry := range e.plan.Entries {
		if (entry.Outcome == "") != (entry.Host.Site() == "london") {
			t.Errorf("%s: %s, %v", entry.Host.Name, entry.Outcome, entry.Problem)
		}
	}
	e.kill("paris")
	others, err := os.ReadFile(e.lab.Keys("london"))
	if err != nil {
		t.Fatal(err)
	}
	wrong := filepath.Join(e.dir, "wrong-keys") // under the name that a worker at paris needs to start
	if err := os.WriteFile(wrong, bytes.ReplaceAll(others, []byte("site-london"), []byte("site-paris")), 0o600); err != nil {
		t.Fatal(err)
	}
	e.worker("paris", "--payload-keys", wrong)
	e.makePlan()
	for _, entry := range e.plan.Entries {
		if (entry.Outcome == "") != (entry.Host.Site() == "london") {
			t.Errorf("%s: %s, %v", entry.Host.Name, entry.Outcome, entry.Problem)
		}
	}
	for i := range devlab.VMs {
		if m := e.machine(devlab.VM("paris", i)); m.LiveThumbprint() != e.lab.Fleets["paris"].OldThumbprint() || m.Execs().Execs > 0 {
			t.Errorf("%s was reached", m.Name)
		}
	}
	if log := e.log(); !strings.Contains(log, "encrypted") {
		t.Error(log)
	}
}
