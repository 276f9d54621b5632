package certsource

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// agentFile writes an agent's file and returns its path.
func agentFile(t *testing.T, name string, now time.Time) string {
	t.Helper()
	subject, err := certificate.ParseSubject("CN=" + name)
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := certificate.New(subject, 2048, 24*time.Hour, now)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, c.Canonical(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func targets(sources ...string) []rollout.Target {
	list := make([]rollout.Target, len(sources))
	for i, s := range sources {
		list[i].Host = &inventory.Host{Name: "vm-" + string(rune('1'+i)), Certificate: s}
	}
	return list
}

// Every target gets its certificate, targets of one source the same value, and the
// inventory's host stays unchanged.
func TestReadTargets(t *testing.T) {
	now := time.Now()
	one, two := agentFile(t, "one", now), agentFile(t, "two", now)
	list := targets(one, "", one)
	if err := (&Reader{Now: now}).ReadTargets(context.Background(), list, ""); err != nil {
		t.Fatal(err)
	}
	if list[0].Certificate == nil || list[0].Certificate != list[2].Certificate || list[0].Source != one || list[1].Certificate != nil || list[1].Source != "" {
		t.Errorf("%+v", list)
	}
	list = targets(one, "")
	if err := (&Reader{Now: now}).ReadTargets(context.Background(), list, two); err != nil {
		t.Fatal(err)
	}
	for _, target := range list {
		if target.Source != two || target.Certificate == nil || target.Certificate.Leaf.Subject != "CN=two" {
			t.Errorf("%+v", target)
		}
	}
	if list[0].Host.Certificate != one || list[1].Host.Certificate != "" {
		t.Errorf("the hosts were changed: %+v, %+v", list[0].Host, list[1].Host)
	}
}

// One error lists all problems, and the certificates that could be read are set.
func TestReadTargetsFails(t *testing.T) {
	now := time.Now()
	good := agentFile(t, "good", now)
	list := targets(good, "/no/such/file", "keyvault://bad.vault.azure.net/fleet")
	err := (&Reader{Now: now}).ReadTargets(context.Background(), list, "")
	if p := problem.As(err); p == nil || p.Class != problem.Certificate || strings.Count(p.Message, "\n") != 1 || !strings.Contains(p.Message, "/no/such/file: does not exist") {
		t.Errorf("%v", err)
	}
	if list[0].Certificate == nil || list[1].Certificate != nil || list[2].Certificate != nil {
		t.Errorf("%+v", list)
	}
	err = (&Reader{Now: now}).ReadTargets(context.Background(), targets("", ""), "")
	if p := problem.As(err); p == nil || p.Class != problem.Usage || p.Message != "no certificate is named for 2 hosts: vm-[1-2]" {
		t.Errorf("%v", err)
	}
}

// Offline no certificate is fetched, and a note lists those skipped.
func TestReadTargetsOffline(t *testing.T) {
	var notes []string
	reader := &Reader{Now: time.Now(), Offline: true, Note: func(line string) { notes = append(notes, line) }}
	list := targets("KEYVAULT://Contoso-kv/fleet", "keyvault://contoso-kv/fleet")
	if err := reader.ReadTargets(context.Background(), list, ""); err != nil {
		t.Fatal(err)
	}
	const source = "keyvault://contoso-kv/fleet"
	if list[0].Source != source || list[1].Source != source || len(notes) != 1 || notes[0] != "not fetched (--offline): "+source {
		t.Errorf("%+v, %q", list, notes)
	}
}

// Each distinct command runs once, also with a name that needs care, and the first before the
// others; if it fails none of them runs.
func TestReadTargetsCommands(t *testing.T) {
	now := time.Now()
	file, ran := agentFile(t, "one", now), filepath.Join(t.TempDir(), "ran")
	list := targets("", "", "", "")
	names := []string{"a.b_c-1", "zürich", "same", "same"}
	line := "echo {name} \"{name}\" '{name}' >>" + ran + "; cat " + file
	for i := range list {
		list[i].Host.Name, list[i].Host.CertificateCommand = names[i], line
	}
	if err := (&Reader{Now: now}).ReadTargets(context.Background(), list, ""); err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(ran)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	slices.Sort(lines[1:])
	if got := strings.Join(lines, ","); got != "a.b_c-1 a.b_c-1 a.b_c-1,same same same,zürich zürich zürich" {
		t.Errorf("ran %q", got)
	}
	for _, target := range list {
		if target.Certificate == nil || target.Command != line {
			t.Errorf("%+v", target)
		}
	}
	for i := range list {
		list[i].Host.CertificateCommand = "echo {name} >>" + ran + "2; exit 1"
	}
	err := (&Reader{Now: now}).ReadTargets(context.Background(), list, "")
	if text, _ := os.ReadFile(ran + "2"); !problem.Is(err, problem.Usage) || string(text) != "a.b_c-1\n" {
		t.Errorf("%v, ran %q", err, text)
	}
}
