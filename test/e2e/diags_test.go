//go:build e2e && linux

package e2e

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/test/e2e/fleet"
)

// TestDiagnostics downloads the diagnostics of real hosts: on request, and before a
// rollback.
func TestDiagnostics(t *testing.T) {
	w := newWorld(t, fleet.Spec{Name: "london-1"}, fleet.Spec{Name: "paris-1", Release: "bullseye"})
	out := filepath.Join(w.dir, "out")
	document, code := w.run("gather-diags", "new", nil, "--dir", out)
	if code != 0 || len(document.Hosts) != 2 {
		t.Fatalf("exit code %d: %+v", code, document.Hosts)
	}
	for i, h := range w.fleet.Hosts {
		checkZip(t, document.Hosts[i].Diagnostics, filepath.Join(out, h.Name+".zip"), "catch-up upload finished")
		noDiagnosticsOn(w, h)
	}

	hung := w.fleet.Host("london-1")
	w.write(hung, fleet.DiagsPath, "hangs\n")
	document, code = w.run("gather-diags", "new", nil, "--dir", filepath.Join(w.dir, "hung"), "--timeout", "2s")
	if e := document.Hosts[0].Error; code != 5 || e == nil || e.Class != "timeout" {
		t.Errorf("exit code %d, %+v", code, e)
	}
	noDiagnosticsOn(w, hung)
	if n := w.shell(hung, "pgrep -fc '^sleep 3600' || :"); n != "0" {
		t.Errorf("%s processes of the tool are left", n)
	}
	w.write(hung, fleet.DiagsPath, "large 40000000\n")
	document, code = w.run("gather-diags", "new", nil, "--dir", filepath.Join(w.dir, "large"), "--limit", hung.Name)
	if d := document.Hosts[0].Diagnostics; code != 0 || d == nil || d.Bytes != 40_000_000 || digestOf(t, d.File) != d.SHA256 {
		t.Errorf("exit code %d, %+v, %+v", code, d, document.Hosts[0].Error)
	}
	noDiagnosticsOn(w, hung)
	w.write(hung, fleet.DiagsPath, "\n")

	// Before a rollback the tool sees the refused agent.
	document, code = w.rotateWithDiagnostics("refused")
	w.expect(document, code, 6, map[string]int{"rolled_back": 2})
	for i, h := range w.fleet.Hosts {
		w.live(h, "old")
		d := document.Hosts[i].Diagnostics
		checkZip(t, d, filepath.Join(w.dir, "diags-"+document.RunID, h.Name+".zip"), w.certs["refused"].Leaf.Thumbprint)
		noDiagnosticsOn(w, h)
	}
	w.write(hung, fleet.DiagsPath, "fails out of order\n")
	document, code = w.rotateWithDiagnostics("refused", "--limit", hung.Name)
	w.expect(document, code, 6, map[string]int{"rolled_back": 1})
	if h := document.Hosts[0]; h.Diagnostics != nil || !strings.Contains(strings.Join(h.Notes, "\n"), "no diagnostics: ") {
		t.Errorf("%+v", h)
	}
	w.live(hung, "old")
}

// TestDiagnosticsWithoutRights tests that the tool has only the agent's rights, and
// that an attacker with these rights can neither read root's files nor make root write.
func TestDiagnosticsWithoutRights(t *testing.T) {
	w := newWorld(t, fleet.Spec{Name: "london-1"}, fleet.Spec{Name: "paris-1", Release: "bullseye"})
	const secret = "root:$6$secret"
	w.onAllHosts("printf '%s' '" + secret + "' >/opt/secret; chmod 600 /opt/secret; install -d -m 1777 /report")
	gather := func(t *testing.T, tool string, more ...string) (*report.Document, int) {
		w.t = t
		for _, h := range w.fleet.Hosts {
			w.write(h, "/etc/aoi-standin/tool", tool+"\n")
			w.shell(h, "chmod 755 /etc/aoi-standin/tool")
		}
		return w.run("gather-diags", "new", nil, append([]string{"--dir", filepath.Join(t.TempDir(), "out")}, more...)...)
	}
	const writeIdentity = "cat /proc/self/status >/report/status; id -un >/report/name; env >/report/env; ls -l /proc/self/fd >/report/fd"
	t.Run("who it is", func(t *testing.T) {
		document, code := gather(t, writeIdentity)
		for i, h := range w.fleet.Hosts {
			if code != 0 || document.Hosts[i].Diagnostics == nil {
				t.Fatalf("%s: exit code %d, %+v", h.Name, code, document.Hosts[i].Error)
			}
			status := w.shell(h, "cat /report/status")
			for _, line := range []string{"Uid:\t980\t980\t980\t980", "Gid:\t980\t980\t980\t980", "NoNewPrivs:\t1", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "CapInh:\t0000000000000000"} {
				if !strings.Contains(status, line+"\n") {
					t.Errorf("%s: no %q in\n%s", h.Name, line, status)
				}
			}
			if env := w.shell(h, "cat /report/env"); strings.Contains(env, "SUDO_") || strings.Contains(env, "/root") {
				t.Errorf("%s: %s", h.Name, env)
			}
			noDiagnosticsOn(w, h)
		}
	})
	t.Run("as root", func(t *testing.T) {
		_, code := gather(t, "rm -f /report/*; "+writeIdentity, "--as-root")
		for _, h := range w.fleet.Hosts {
			if name := w.shell(h, "cat /report/name"); code != 0 || name != "root" {
				t.Errorf("%s: exit code %d, the tool ran as %q", h.Name, code, name)
			}
			noDiagnosticsOn(w, h)
		}
	})
	t.Run("link of the agent's", func(t *testing.T) {
		document, code := gather(t, "mv /var/log/az-aoi-ingestion/stdout.log /var/log/az-aoi-ingestion/was; ln -s /opt/secret /var/log/az-aoi-ingestion/stdout.log")
		for i, h := range w.fleet.Hosts {
			d := document.Hosts[i].Diagnostics
			if code != 0 || d == nil {
				t.Fatalf("%s: exit code %d, %+v", h.Name, code, document.Hosts[i].Error)
			}
			if text := packed(t, d.File); strings.Contains(text, secret) {
				t.Errorf("%s: root's file is in the zip: %q", h.Name, text)
			}
			w.shell(h, "cd /var/log/az-aoi-ingestion && mv was stdout.log")
		}
	})
	for name, c := range map[string]struct{ tool, expected string }{
		"symbolic link": {"ln -s /opt/secret a.zip; exit 0", "not a regular file"},
		"hard link":     {"ln /opt/secret a.zip || exit 7", "as user az-aoi-ingestion (exit status 7)"},
		"FIFO":          {"mkfifo a.zip; exit 0", "not a regular file"},
		"folder":        {"mkdir a.zip; exit 0", "not a regular file"},
		"two zips":      {"echo PK >a.zip; echo PK >b.zip; exit 0", "more than one zip"},
		"endless":       {"exec cat /dev/zero >a.zip", "writes more than 2097152 bytes"},
		"its folder":    {"cd ..; mv out x && exit 0; ln -s /root out", "as user az-aoi-ingestion"},
		"open for ever": {"setsid sleep 3600 & exit 3", "(exit status 3)"},
	} {
		t.Run(name, func(t *testing.T) {
			document, code := gather(t, c.tool, "--timeout", "10s", "--max-size", "2")
			for i, h := range w.fleet.Hosts {
				got := document.Hosts[i]
				if code != 5 || got.Diagnostics != nil || got.Error == nil || !strings.Contains(got.Error.Message, c.expected) || strings.Contains(got.Error.Message, secret) {
					t.Errorf("%s: exit code %d, %+v, %+v", h.Name, code, got.Diagnostics, got.Error)
				}
				if text := w.shell(h, "cat /opt/secret; stat -c ' %u:%a' /opt/secret"); text != secret+" 0:600" {
					t.Errorf("%s: root's file: %s", h.Name, text)
				}
				noDiagnosticsOn(w, h)
				w.shell(h, "pkill -f '^sleep 3600' || :")
			}
		})
	}
}

// rotateWithDiagnostics rotates with health.diagnostics, in the world's own folder.
func (w *world) rotateWithDiagnostics(certificate string, more ...string) (*report.Document, int) {
	w.t.Helper()
	inventory := filepath.Join(w.dir, "diagnosed.yaml")
	if err := w.fleet.WriteInventory(inventory, fleet.Inventory{Certificate: w.file(certificate), Rollout: map[string]any{"parallel": 2, "max_failures": 5},
		Defaults: map[string]any{"health": map[string]any{"window": "2s", "timeout": "20s", "diagnostics": true}}}); err != nil {
		w.t.Fatal(err)
	}
	cmd := w.fleet.Command(w.t.Context(), w.program, append([]string{"rotate", "--yes", "-o", "json", "-i", inventory}, more...)...)
	cmd.Env, cmd.Dir = w.environment(), w.dir
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.t.Fatal(err)
	}
	document := &report.Document{}
	if err := json.Unmarshal(out, document); err != nil {
		w.t.Fatalf("%v: %s", err, out)
	}
	for i := range document.Hosts {
		if d := document.Hosts[i].Diagnostics; d != nil {
			d.File = filepath.Join(w.dir, d.File)
		}
	}
	return document, cmd.ProcessState.ExitCode()
}

func checkZip(t *testing.T, d *report.Diagnostics, file, expected string) {
	t.Helper()
	if d == nil || d.File != file {
		t.Fatalf("diagnostics %+v, want %s", d, file)
	}
	info, err := os.Stat(file)
	if err != nil || info.Size() != d.Bytes || info.Mode().Perm() != 0o600 || digestOf(t, file) != d.SHA256 {
		t.Errorf("%s: %v, %v; said %+v", file, info, err, d)
	}
	if text := packed(t, file); !strings.Contains(text, expected) {
		t.Errorf("%s: no %q in %s", file, expected, text)
	}
}

// packed returns the log in a zip of the stand-in.
func packed(t *testing.T, file string) string {
	t.Helper()
	z, err := zip.OpenReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	entry, err := z.Open("log.txt")
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(entry)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func digestOf(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// noDiagnosticsOn checks that no copy of root or the login user, and no temporary file
// of the tool, is left.
func noDiagnosticsOn(w *world, h *fleet.Host) {
	w.t.Helper()
	if left := w.shell(h, "ls -Ad /home/azureuser/.aoifleet-* /var/lib/aoifleet/*/diags-* /var/lib/aoifleet-diags-* /tmp/tmp.* 2>/dev/null || :"); left != "" {
		w.t.Errorf("%s: left: %s", h.Name, left)
	}
}
