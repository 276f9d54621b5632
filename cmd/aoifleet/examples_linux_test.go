package main

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/lab"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// The examples of the help work as they stand, on a lab with their groups: those that read,
// before and after a rotation. Others need a certificate, an operator, or ask.
func TestExamplesOnTheLab(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	names := []string{"london-edr-01", "london-edr-02", "paris-sftp-01"}
	f, err := lab.Start(context.Background(), lab.Options{Dir: dir, Machines: len(names), Parallel: 3, RestartDelay: 100 * time.Millisecond,
		Name: func(i int) string { return names[i] }, Group: func(name string) string { g, _, _ := strings.Cut(name, "-"); return g }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	words := strings.NewReplacer("fleet.yaml", f.InventoryFile(), "certs/fleet.p12.b64", f.CertificateFile(lab.NewCertificate),
		"plan.json", filepath.Join(dir, "plan.json"), "run.", filepath.Join(dir, "run."), "=diags", "="+filepath.Join(dir, "diags"), "site=lon*", "london")
	before, _ := filepath.Glob("*")
	reads := []string{"plan", "plan upgrade", "status", "doctor", "runs list", "backups list", "hostkeys scan", "inventory list", "inventory validate", "certificate inspect", "sudoers", "version", "help", "completion bash"}
	tried := map[string]bool{}
	try := func(verb string, args []string) {
		for i := range args {
			args[i] = words.Replace(args[i])
		}
		tried[verb] = true
		if code, stdout, stderr := call(f, args...); code != problem.ExitOK && code != problem.ExitRefused || strings.Contains(stderr, "error:") {
			t.Errorf("aoifleet %s: exit code %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
		}
	}
	for _, verb := range reads {
		for _, args := range exampleLines(t, examples[verb]) {
			if !slices.Contains(args, "--add") { // it asks
				try(verb, args)
			}
		}
	}
	if code, stdout, stderr := call(f, "rotate", "--yes"); code != problem.ExitOK {
		t.Fatalf("%d\n%s%s", code, stdout, stderr)
	}
	for verb, marks := range map[string]string{"rollback": "last", "runs show": "last", "backups prune": "--dry-run", "recover": "--dry-run", "rotate": "--yes"} {
		for _, args := range exampleLines(t, examples[verb]) {
			if slices.Contains(args, marks) {
				try(verb, args)
			}
		}
	}
	if after, _ := filepath.Glob("*"); !slices.Equal(after, before) {
		t.Errorf("files were written into the folder of the source: %v", after)
	}
	if want := len(reads) + 5; len(tried) != want {
		t.Errorf("%d commands were tried, not %d", len(tried), want)
	}
}
