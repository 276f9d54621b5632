//go:build linux

package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/lab"
	"github.com/aoifleet/aoifleet/internal/report"
)

// A host has sudo's password and sends it back: on standard error, in colours and
// over lines, in sudo's refusal, in the agent's log and configuration, in the name
// of a file that it finds and in what health.command says. It is in no output and
// in no file of the workstation, and the hosts are rotated all the same, also where
// the password is in the path of the certificate, or is a word that all hosts say.
func TestSecretsSentBack(t *testing.T) {
	t.Parallel()
	for name, password := range map[string]string{"phrase": "Corr3ct h0rse ünd", "in the path": "az-aoi-ingestion", "a word of all hosts": "active"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			names := []string{"tells", "unhealthy"}
			f := startFleet(t, lab.Options{Machines: len(names), Name: func(i int) string { return names[i] }, Parallel: 2, MaxFailures: 99})
			for _, m := range f.Machines() {
				setFault(t, f, m.Name, "sudo-tells")
				sendBack(t, m, password)
			}
			setFault(t, f, "unhealthy", "sudo-tells", "log-only "+f.NewThumbprint())
			file := filepath.Join(f.Dir(), "password")
			replaceIn(t, f.InventoryFile(), "defaults:\n", "defaults:\n  sudo: {password_from: {file: "+file+"}}\n")
			if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			said := ""
			var files []string
			for _, format := range report.Formats {
				files = append(files, "--report", filepath.Join(f.Dir(), "report."+format))
			}
			for _, args := range [][]string{{"plan"}, {"doctor", "--verbose"}, {"doctor", "-o", "json"}, {"status"}, {"plan", "-o", "json", "--out", f.Dir() + "/plan.json"},
				{"rotate", "--yes", "-o", "json"}, {"status", "-o", "json"}, {"recover", "--yes"}, {"backups", "list", "-o", "json"}, {"plan", "-o", "json"}, {"runs", "list"}} {
				if slices.Contains([]string{"plan", "doctor", "status", "rotate", "recover"}, args[0]) {
					args = append(args, files...)
				}
				_, stdout, stderr := call(f, args...)
				for _, format := range report.Formats {
					text, _ := os.ReadFile(filepath.Join(f.Dir(), "report."+format))
					said += string(text)
				}
				said += strings.Join(args, " ") + "\n" + stdout + stderr
				if args[0] == "backups" { // a password that is refused once is not tried again
					setFault(t, f, "tells", "sudo-tells fails")
				}
			}
			for _, want := range []string{`"rotated": 1`, `"rolled_back": 1`, "sudo refused after the password", "[redacted]", "<!DOCTYPE html>", "<testsuites", "## ❌ aoifleet"} {
				if !strings.Contains(said, want) {
					t.Errorf("no %s in:\n%s", want, said)
				}
			}
			if f.Machine("tells").LiveThumbprint() != f.NewThumbprint() {
				t.Error("nothing was rotated")
			}
			if name == "phrase" { // the others are words that the program says by itself
				hidesSecret(t, "the output", said, password)
				for _, path := range []string{"state", "plan.json"} {
					eachFile(t, filepath.Join(f.Dir(), path), func(file, text string) { hidesSecret(t, file, text, password) })
				}
			}
		})
	}
}

var longAgo = time.Now().Add(-48 * time.Hour)

// sendBack puts the password into everything that a host reports.
func sendBack(t *testing.T, m *lab.Machine, password string) {
	t.Helper()
	replaceIn(t, m.Root+"/etc/az-aoi-ingestion/config.yaml", "secret_providers:\n  - name: ", "secret_providers:\n  - name: "+password+" ")
	replaceIn(t, m.Root+"/etc/az-aoi-ingestion/config.yaml", "tenant_id: ", "tenant_id: "+password+"-")
	log, err := os.OpenFile(m.Root+"/var/log/az-aoi-ingestion/stdout.log", os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.WriteString("AADSTS700027 \x1b[3m" + password[:3] + "\x1b[0m" + password[3:] + "\n"); err != nil || log.Close() != nil {
		t.Fatal(err)
	}
	for _, path := range []string{m.Home + "/.aoifleet-" + password, m.Root + "/var/lib/aoifleet/" + lab.Unit + "/staged-" + password} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, longAgo, longAgo); err != nil {
			t.Fatal(err)
		}
	}
}

func replaceIn(t *testing.T, path, from, to string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), from) {
		t.Fatalf("no %q in %s: %v\n%s", from, path, err, text)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), from, to, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}

func eachFile(t *testing.T, dir string, do func(path, text string)) {
	t.Helper()
	found := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		found++
		text, err := os.ReadFile(path)
		do(path, string(text))
		return err
	})
	if err != nil || found == 0 {
		t.Errorf("%s: %d files, %v", dir, found, err)
	}
}

// hidesSecret checks text for the secret itself and for the secret as JSON and Go quote it.
func hidesSecret(t *testing.T, where, text, secret string) {
	t.Helper()
	flat := strings.NewReplacer("\n", "", `\n`, "").Replace(text)
	if at := strings.Index(flat, secret[3:]); at >= 0 {
		t.Errorf("%s shows the password: …%s", where, flat[max(0, at-200):min(len(flat), at+40)])
	}
}
