package inventory

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/secretsource"
)

// No file causes a panic or hangs. An accepted inventory is as the documentation of
// Inventory says; a refused one has an error.
func FuzzParse(f *testing.F) {
	seeds := []string{
		"", "[1]: 2\n<<: {a: 1}", everyKey, fleet, "version: 1\nhosts: {a-[01-12]: {address: 10.0.0.[1-12]}}\n",
		"version: 1\nhosts:\n  a[x-z]-[08-11]: {labels: {a: b}}\n", "a: &a [x]\nb: &b [*a,*a]\nc: [*b,*b]\n", "a: &a {b: *a}\n",
		"version: 1\nhosts: {a: {<<: [{port: 1}]}}\n", "\xef\xbb\xbfversion: 1\r\nhosts:\r\n  a:\r\n", "---\n---\n", "? [a]\n: b\n",
		"version: 1\nhosts: {? {a: b} : c}\n", strings.Repeat("[", 200), strings.Repeat("a: {", 100), "%YAML 1.1\n--- !!map {}\n",
		"version: 1\nhosts: {a: {jump: [ssh://u%40x;y@h:2/, u:p@h]}}\n", "version: 1\nhosts: {“a”: {user: ‘b’, address: c–d}}\n\u00a0x：y\n",
		"version: 1\nhosts: {a: }\ndefaults: {health: {deny: ['(']}, connect_timeout: 1d2h, labels: {x: !!int y}}\n",
	}
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	for _, pattern := range []string{"testdata/*.yaml", "../../examples/*.yaml"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		inv, err := Parse("inv.yaml", data, testEnv)
		if err == nil {
			checkInventory(t, inv)
			checkSchema(t, data, nil)
			return
		}
		var errs Errors
		if inv != nil || !errors.As(err, &errs) || len(errs) == 0 || err.Error() == "" {
			t.Fatalf("%v and %v", inv, err)
		}
		for _, e := range errs {
			if e.Message == "" || strings.ContainsAny(e.Error()+e.Hint, "\n\x1b") {
				t.Fatalf("bad error %q (%q)", e.Error(), e.Hint)
			}
		}
	})
}

func checkInventory(t *testing.T, inv *Inventory) {
	t.Helper()
	names := map[string]bool{}
	if len(inv.Hosts) == 0 || len(inv.Hosts) > maxHosts {
		t.Fatalf("%d hosts", len(inv.Hosts))
	}
	for _, h := range inv.Hosts {
		if names[h.Name] || nameProblem(h.Name) != "" || h.User == "" || h.Port < 1 || h.Port > 65535 {
			t.Fatalf("bad host %+v", h)
		}
		names[h.Name] = true
		for _, path := range append([]string{h.KnownHosts}, h.IdentityFiles...) {
			if !filepath.IsAbs(path) {
				t.Fatalf("%s is not absolute", path)
			}
		}
		if h.Certificate != "" && (h.CertificateCommand != "" || !filepath.IsAbs(h.Certificate) && !strings.HasPrefix(h.Certificate, "keyvault://")) || h.ConnectTimeout <= 0 || h.Health.Timeout <= 0 || h.Health.Window < 0 {
			t.Fatalf("bad host %+v", h)
		}
		for _, hop := range h.Jump {
			if p, _ := addressProblem(hop.Host); p != "" || hop.Port < 0 || hop.Port > 65535 || strings.HasPrefix(hop.User, "-") {
				t.Fatalf("bad hop %+v", hop)
			}
		}
		if h.SSHConfig != "" && h.SSHConfig != "none" && !filepath.IsAbs(h.SSHConfig) {
			t.Fatalf("bad ssh_config %q", h.SSHConfig)
		}
		checkSecrets(t, h)
		if !strings.HasPrefix(h.Agent.Config, "/") || !strings.HasSuffix(h.Agent.Unit, ".service") || h.Agent.Unit[0] == '-' {
			t.Fatalf("bad agent %+v", h.Agent)
		}
		for _, p := range append(h.Health.Expect, h.Health.Deny...) {
			if _, err := regexp.CompilePOSIX(p); err != nil || p == "" || strings.ContainsAny(p, "\n\x00") {
				t.Fatalf("bad pattern %q", p)
			}
		}
	}
	if inv.Rollout.Parallel < 1 || inv.Rollout.MaxFailures.Of(10) < 1 || len(inv.Rollout.Batches) == 0 ||
		inv.Rollout.MaxUnavailable.Label != "" && inv.Rollout.MaxUnavailable.Count < 1 {
		t.Fatalf("bad rollout %+v", inv.Rollout)
	}
	if len(inv.Hosts) > 1000 {
		return // selecting each would take long
	}
	for _, h := range inv.Hosts {
		if got, err := inv.Select(h.Name); err != nil || len(got) == 0 {
			t.Fatalf("%s selects %d hosts: %v", h.Name, len(got), err)
		}
	}
}

func checkSecrets(t *testing.T, h Host) {
	t.Helper()
	for _, s := range []secretsource.Source{h.PasswordFrom, h.PassphraseFrom, h.SudoPassword} {
		given := 0
		for _, is := range []bool{s.Ask, s.File != "", s.Env != "", s.Command != ""} {
			if is {
				given++
			}
		}
		if given > 1 || s.File != "" && !filepath.IsAbs(s.File) {
			t.Fatalf("bad source %+v", s)
		}
	}
	if (h.Sudo == SudoPassword) != (h.SudoPassword != secretsource.Source{}) {
		t.Fatalf("sudo %v with %+v", h.Sudo, h.SudoPassword)
	}
	for _, print := range h.HostKeyFingerprints {
		if len(print) != len("SHA256:")+43 {
			t.Fatalf("bad fingerprint %q", print)
		}
	}
}

// No selector causes a panic or hangs. The hosts are in order without duplicates, and an
// error has a message of one line.
func FuzzSelect(f *testing.F) {
	for _, s := range []string{
		"", "all", "london:&tier=gold:!*-0[1-2]", "london-edr-[03-05],lab-vm", "[!a-c]*", "a=b*", "*?*?*", "[9-1]", "[", "]", "&", "!", "\xff*",
		"a[1-999999999]b[0-999999999]", strings.Repeat("*a", 100), "[\\]", "[^]", "site=[!l]*",
	} {
		f.Add(s)
	}
	inv, err := Parse("inv.yaml", []byte(fleet), testEnv)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, limit string) {
		hosts, err := inv.Select(limit)
		if err != nil {
			for _, e := range err.(Errors) {
				if e.Message == "" || strings.ContainsAny(e.Error()+e.Hint, "\n\x1b") {
					t.Fatalf("bad error %q", e.Error())
				}
			}
			return
		}
		at := 0
		for _, h := range hosts {
			for ; at < len(inv.Hosts) && inv.Hosts[at].Name != h.Name; at++ {
			}
			if at++; at > len(inv.Hosts) {
				t.Fatalf("%q: %s is out of order or duplicate", limit, h.Name)
			}
		}
		if len(hosts) == 0 {
			t.Fatalf("%q selects nothing and is no error", limit)
		}
	})
}
