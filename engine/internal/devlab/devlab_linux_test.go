package devlab

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/lab"
)

// The VMs of a site are reached with what is in its folder, and with nothing in another folder. All
// folders have the same inventory, and none has a file that others can read.
func TestOnlyTheSiteReachesItsVMs(t *testing.T) {
	dir := t.TempDir()
	l, err := Start(context.Background(), filepath.Join(dir, "dev"), func(text string) { t.Error(text) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	keys, _ := filepath.Glob(filepath.Join(l.Dir, "*/id_*"))
	if len(keys) != 2 {
		t.Fatalf("keys to log in with: %v", keys)
	}
	for _, from := range Sites {
		for _, to := range Sites {
			err := login(filepath.Join(l.Dir, from, "id_ed25519"), l.Fleets[to].Machines()[0])
			if (err == nil) != (from == to) {
				t.Errorf("with the key of %s to %s: %v", from, to, err)
			}
		}
	}
	text, err := os.ReadFile(l.Inventory("workstation"))
	if err != nil {
		t.Fatal(err)
	}
	for _, site := range Sites {
		if other, err := os.ReadFile(l.Inventory(site)); err != nil || !bytes.Equal(text, other) {
			t.Errorf("%s has another inventory: %v", site, err)
		}
		inv, err := inventory.Load(l.Inventory(site), inventory.Env{})
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range inv.Hosts {
			m := l.Fleets[h.Site()].Machine(h.Name)
			if m == nil || h.IdentityFiles[0] != filepath.Join(l.Dir, site, "id_ed25519") {
				t.Errorf("%s of site %s: %v", h.Name, h.Site(), h.IdentityFiles)
			}
		}
	}
	if a, b := l.Fleets[Sites[0]], l.Fleets[Sites[1]]; a.NewThumbprint() != b.NewThumbprint() || a.OldThumbprint() != b.OldThumbprint() {
		t.Error("the sites have different certificates")
	}
}

// Each has the payload keys that it needs and no other.
func TestPayloadKeys(t *testing.T) {
	l, err := Start(context.Background(), t.TempDir(), func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	for who, want := range map[string]string{"control": "lab site-london site-paris", "workstation": "lab", "london": "site-london", "paris": "site-paris"} {
		text, err := os.ReadFile(l.Keys(who))
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for line := range strings.Lines(string(text)) {
			names = append(names, strings.Fields(line)[0])
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s has %s, not %s", who, got, want)
		}
		if info, err := os.Stat(l.Keys(who)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", who, info.Mode(), err)
		}
	}
	if _, err := Start(context.Background(), l.Dir, func(string) {}); err == nil || !strings.Contains(err.Error(), "not a new or empty folder") {
		t.Errorf("a second one in the same folder: %v", err)
	}
}

func login(key string, m *lab.Machine) error {
	text, err := os.ReadFile(key)
	if err != nil {
		return err
	}
	signer, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return err
	}
	c, err := ssh.Dial("tcp", m.Addr, &ssh.ClientConfig{User: lab.LoginUser, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: time.Minute})
	if err == nil {
		err = c.Close()
	}
	return err
}
