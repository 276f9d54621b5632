package fleet

import (
	"crypto/ed25519"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

const siteInventory = `version: 1
defaults: {user: agent, identity_file: key, known_hosts: kh, ssh_config: none, certificate: own.p12}
groups:
  north:
    health: {window: 7s}
    hosts:
      north-[1-2]: {}
      north-3: {certificate: {command: "cat {name}.p12"}}
  other:
    hosts: {other-1: {labels: {site: north}, certificate: none}}
  south:
    hosts: {south-1: {}}
`

// siteFolder returns a folder with an inventory and what it names.
func siteFolder(t *testing.T) (file string, write func(name, text string)) {
	t.Helper()
	dir := t.TempDir()
	write = func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("fleet.yaml", siteInventory)
	write("key", newKey(t))
	write("own.p12", newP12(t))
	return filepath.Join(dir, "fleet.yaml"), write
}

// newKey returns a private key of OpenSSH that nothing accepts.
func newKey(t *testing.T) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block))
}

func newP12(t *testing.T) string {
	t.Helper()
	c, _, err := certificate.New(pkix.Name{CommonName: "site"}, 2048, 24*time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return string(c.Canonical())
}

func siteCaller(said *[]string) Caller {
	return Caller{Getenv: func(string) string { return "" }, Event: func(rollout.Event) {},
		Say: func(line string) { *said = append(*said, line) }}
}

func openSite(t *testing.T, file, name string) *Site {
	t.Helper()
	s, err := OpenSite(t.Context(), siteCaller(new([]string)), file, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func dataOf(t *testing.T, r *SiteRun, name string) rollout.HostData {
	t.Helper()
	return rollout.DataOf(r.hosts[name])
}

// What keeps a worker from starting is said with what to do.
func TestSiteThatCannotBeOpened(t *testing.T) {
	file, write := siteFolder(t)
	for _, c := range []struct{ inventory, site, want, hint string }{
		{siteInventory, "nroth", `belongs to the site "nroth"`, `did you mean "north"?`},
		{siteInventory, "", `belongs to the site ""`, "the sites are north, south"},
		{"version: 1\nhosts: {a: {known_hosts: k, user: u}}\n", "north", "has a site", "label site"},
		{siteInventory + "  x: 1\n", "north", "fleet.yaml:", ""},
		{strings.Replace(siteInventory, "identity_file: key", "identity_file: no-key", 1), "north", "no-key", ""},
		{strings.Replace(siteInventory, "identity_file: key", "password_from: ask", 1), "north", "password_from: ask needs a terminal", "{command: …}"},
	} {
		write("fleet.yaml", c.inventory)
		_, err := OpenSite(t.Context(), siteCaller(new([]string)), file, c.site)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v", c.want, err)
		}
		if p := problem.As(err); c.hint != "" && (p == nil || !strings.Contains(p.Hint, c.hint)) {
			t.Errorf("%q: %+v", c.want, p)
		}
	}
	if _, err := OpenSite(t.Context(), siteCaller(new([]string)), os.DevNull, "north"); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Error(err)
	}
	write("fleet.yaml", siteInventory)
	if err := os.Remove(filepath.Join(filepath.Dir(file), "own.p12")); err != nil {
		t.Fatal(err)
	}
	var said []string
	s, err := OpenSite(t.Context(), siteCaller(&said), file, "north")
	if err != nil || !strings.Contains(strings.Join(said, "\n"), "warning: "+filepath.Dir(file)+"/own.p12: does not exist") {
		t.Error(err, said)
	}
	s.Close()
}

// A host is that of the worker's inventory; what the run says of it must be the same.
func TestSiteHosts(t *testing.T) {
	file, _ := siteFolder(t)
	r, done, err := openSite(t, file, "north").Run("20261123-084512-K3F9")
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	for want, edit := range map[string]func(*rollout.HostData){
		"":                   func(*rollout.HostData) {},
		"north: address":     func(d *rollout.HostData) { d.Address = "127.0.0.1" },
		"north: agent.unit":  func(d *rollout.HostData) { d.Agent.Unit = "sshd.service" },
		"north: health.deny": func(d *rollout.HostData) { d.Health.Deny = []string{"x"} },
		"not in the inventory of the worker at north": func(d *rollout.HostData) { d.Name = "north-9" },
		"belongs to another site: south":              func(d *rollout.HostData) { d.Name = "south-1" },
	} {
		d := dataOf(t, r, "north-1")
		edit(&d)
		h, err := r.Host(d, true)
		if want == "" && (err != nil || h.User != "agent") || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v", want, err)
		}
		// An interrupted run is recovered also if the settings have changed since.
		if _, err := r.Host(d, false); (err == nil) != (want == "" || strings.Contains(want, "health")) {
			t.Errorf("%q: %v", want, err)
		}
	}
}

// A changed inventory is used at once, a broken one never.
func TestSiteReadsItsInventoryAgain(t *testing.T) {
	file, write := siteFolder(t)
	s := openSite(t, file, "north")
	window := func() (time.Duration, error) {
		r, done, err := s.Run("20261123-084512-K3F9")
		if err != nil {
			return 0, err
		}
		defer done()
		return dataOf(t, r, "north-1").Health.Window, nil
	}
	expect := func(want time.Duration, text string) {
		t.Helper()
		got, err := window()
		if got != want || text == "" && err != nil || text != "" && (err == nil || !strings.Contains(err.Error(), text)) {
			t.Errorf("%s, %v", got, err)
		}
	}
	expect(7*time.Second, "")
	write("fleet.yaml", strings.Replace(siteInventory, "7s", "8s", 1))
	expect(8*time.Second, "")
	write("fleet.yaml", siteInventory[:len(siteInventory)/2])
	expect(0, "the worker at north can't use its inventory: "+file)
	if _, err := window(); problem.As(err) == nil {
		t.Errorf("%#v", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	expect(0, "no such file")
	write("fleet.yaml", siteInventory)
	expect(7*time.Second, "")
	// A file that has not changed for a while is not parsed again.
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(file, old, old); err != nil {
		t.Fatal(err)
	}
	expect(7*time.Second, "")
	inv := s.inv
	if expect(7*time.Second, ""); s.inv != inv {
		t.Error("it was parsed again")
	}
	write("fleet.yaml", strings.Replace(siteInventory, "7s", "9s", 1))
	expect(9*time.Second, "")
}

// Each run reads the certificates anew, each source once.
func TestSiteCertificates(t *testing.T) {
	file, write := siteFolder(t)
	s := openSite(t, file, "north")
	digest := func(run, name string) string {
		t.Helper()
		r, done, err := s.Run(run)
		if err != nil {
			t.Fatal(err)
		}
		defer done()
		c, err := r.Certificate(t.Context(), r.mine[name])
		if err != nil {
			return err.Error()
		}
		return c.Digest()
	}
	first := digest("20261123-084512-K3F9", "north-1")
	write("own.p12", newP12(t))
	if again := digest("20261123-084512-K3F9", "north-2"); len(first) != 64 || again != first {
		t.Error(first, again)
	}
	next := digest("20261124-084512-K3F9", "north-1")
	if next == first || len(next) != 64 {
		t.Error(next)
	}
	if text := digest("20261123-084512-K3F9", "other-1"); !strings.Contains(text, "names no certificate") {
		t.Error(text)
	}
	if text := digest("20261123-084512-K3F9", "north-3"); !strings.Contains(text, "the certificate's command") {
		t.Error(text)
	}
	t.Chdir(filepath.Dir(file))
	write("north-3.p12", newP12(t)) // what has failed is tried again
	if got := digest("20261123-084512-K3F9", "north-3"); len(got) != 64 || got == first {
		t.Error(got)
	}
}

// A run is closed once nothing uses it, and their number is bounded.
func TestSiteRunsEnd(t *testing.T) {
	file, _ := siteFolder(t)
	s := openSite(t, file, "north")
	s.idle = 0
	var all []func()
	for i := range maxSiteRuns {
		_, done, err := s.Run(fmt.Sprintf("20261123-084512-K3F%d", i))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, done)
	}
	if _, _, err := s.Run("20261123-084512-K3FX"); err == nil || !strings.Contains(err.Error(), "already works for 16 runs") {
		t.Error(err)
	}
	r, again, err := s.Run("20261123-084512-K3F0")
	if err != nil {
		t.Fatal(err)
	}
	all[0]()
	all[0]() // a second time does nothing
	if s.runs[siteKey{s.inv.Digest, "20261123-084512-K3F0"}] != r {
		t.Error("a run that is used was closed")
	}
	for _, done := range append(all[1:], again) {
		done()
	}
	for tick := time.Tick(time.Millisecond); ; <-tick {
		s.mu.Lock()
		left := len(s.runs)
		s.mu.Unlock()
		if left == 0 {
			break
		}
	}
	if _, done, err := s.Run("20261123-084512-K3FX"); err != nil {
		t.Error(err)
	} else {
		done()
	}
}

// What nothing uses any more makes way for the next run, the longest unused first.
func TestSiteMakesWay(t *testing.T) {
	file, _ := siteFolder(t)
	s := openSite(t, file, "north")
	s.idle = time.Hour
	use := func(id string) (*SiteRun, func()) {
		t.Helper()
		r, done, err := s.Run(id)
		if err != nil {
			t.Fatal(err)
		}
		return r, done
	}
	rollout, rolloutDone := use("20261123-084512-K3FX")
	first, done := use("20261123-084512-K3F0")
	done()
	second, done := use("20261123-084512-K3F1")
	done()
	for i := range maxSiteRuns - 2 { // one more than there is place for
		_, done := use(fmt.Sprintf("20261123-084513-K3F%d", i))
		done()
	}
	if r, _ := use("20261123-084512-K3FX"); r != rollout {
		t.Error("a run that is used made way")
	}
	if r, _ := use("20261123-084512-K3F1"); r != second {
		t.Error("the second made way")
	}
	if r, _ := use("20261123-084512-K3F0"); r == first {
		t.Error("the first did not make way")
	}
	if len(s.runs) != maxSiteRuns {
		t.Errorf("%d runs", len(s.runs))
	}
	rolloutDone()
}
