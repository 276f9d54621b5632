//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/lab"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// startFleet starts a lab for tests that check more than a script can.
func startFleet(t *testing.T, opts lab.Options) *lab.Fleet {
	t.Helper()
	opts.Dir = t.TempDir()
	opts.Group = func(string) string { return "fleet" }
	opts.RestartDelay = 100 * time.Millisecond
	f, err := lab.Start(context.Background(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func setFault(t *testing.T, f *lab.Fleet, name string, faults ...string) {
	t.Helper()
	if err := f.Machine(name).SetFault(faults...); err != nil {
		t.Fatal(err)
	}
}

// call runs the program in this process, on the lab's inventory.
func call(f *lab.Fleet, args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	p := &process{
		stdin: strings.NewReader(""), stdout: &out, stderr: &err, home: "/no-home", user: "operator", owner: "operator@workstation",
		getenv: func(name string) string {
			return map[string]string{
				"AOIFLEET_INVENTORY": f.InventoryFile(),
				"XDG_STATE_HOME":     filepath.Join(f.Dir(), "state"), "LocalAppData": filepath.Join(f.Dir(), "state"),
			}[name]
		},
	}
	signals := make(chan os.Signal)
	defer close(signals)
	return run(context.Background(), p, signals, args), out.String(), err.String()
}

// keys are the keys of one JSON object.
type keys struct{ must, may []string }

func (k keys) check(t *testing.T, where string, object map[string]json.RawMessage) {
	t.Helper()
	allowed := map[string]bool{}
	for _, key := range k.must {
		allowed[key] = true
		if _, ok := object[key]; !ok {
			t.Errorf("%s has no %q", where, key)
		}
	}
	for _, key := range k.may {
		allowed[key] = true
	}
	for key := range object {
		if !allowed[key] {
			t.Errorf("%s has %q", where, key)
		}
	}
}

// The contract of docs/reference.md: these keys and no others.
var (
	documentKeys    = keys{must: []string{"schema_version", "tool_version", "run_id", "command", "started_at", "finished_at", "duration_ms", "exit_code", "owner", "inventory", "totals", "hosts"}, may: []string{"service_principals", "estimated_ms", "policy", "next", "undo", "warnings"}}
	hostKeys        = keys{must: []string{"name", "address", "outcome", "proof", "wave", "verified", "steps", "old", "new", "error"}, may: []string{"note", "notes", "evidence", "site", "client_id", "duration_ms"}}
	actionKeys      = []string{"action", "reason"}
	stepKeys        = keys{must: []string{"name", "ok", "at_ms", "ms"}}
	certificateKeys = keys{must: []string{"thumbprint", "sha256", "subject", "not_after"}}
	errorKeys       = keys{must: []string{"class", "message"}, may: []string{"hint"}}
	unitKeys        = keys{must: []string{"name", "active_state", "sub_state", "unit_file_state", "restarts", "started_at"}}
)

func object(t *testing.T, text []byte) map[string]json.RawMessage {
	t.Helper()
	var o map[string]json.RawMessage
	if err := json.Unmarshal(text, &o); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return o
}

func TestJSONKeys(t *testing.T) {
	t.Parallel()
	names := []string{"well", "refused", "away", "stopped"}
	f := startFleet(t, lab.Options{Machines: len(names), Name: func(i int) string { return names[i] }, Parallel: 4, MaxFailures: 99})
	setFault(t, f, "refused", "log-only "+f.NewThumbprint())
	setFault(t, f, "away", "unreachable")
	if out, status := f.Machine("stopped").Systemctl("stop", lab.Unit); status != 0 {
		t.Fatal(out)
	}
	tests := []struct {
		args     []string
		code     int
		host     keys
		outcomes map[string]string // null where it is not decided
	}{
		{[]string{"plan"}, problem.ExitUnreachable, with(hostKeys, actionKeys...), map[string]string{"well": "", "refused": "", "away": "unreachable", "stopped": "refused"}},
		{[]string{"plan", "--offline"}, problem.ExitOK, with(hostKeys, actionKeys...), map[string]string{"well": "", "refused": "", "away": "", "stopped": ""}},
		{[]string{"plan configure", "--edit", ".x = 1"}, problem.ExitUnreachable, keys{with(hostKeys, actionKeys...).must, append([]string{"files"}, hostKeys.may...)}, map[string]string{"well": "", "refused": "", "away": "unreachable", "stopped": "refused"}},
		{[]string{"plan upgrade", "--to", "2.0.0"}, problem.ExitUnreachable, keys{with(hostKeys, actionKeys...).must, append([]string{"files", "package"}, hostKeys.may...)}, map[string]string{"well": "", "refused": "", "away": "unreachable", "stopped": "refused"}},
		{[]string{"rotate", "--yes"}, problem.ExitRolledBack, with(hostKeys, actionKeys...), map[string]string{"well": "rotated", "refused": "rolled_back", "away": "unreachable", "stopped": "refused"}},
		{[]string{"status"}, problem.ExitUnreachable, keys{hostKeys.must, append([]string{"days_left", "unit", "backup_count", "unfinished", "leftovers", "drifted", "rotated", "agent_version", "config_sha256", "last_upload"}, hostKeys.may...)}, map[string]string{"well": "", "refused": "", "away": "unreachable", "stopped": ""}},
	}
	for _, tt := range tests {
		code, stdout, _ := call(f, append(append(strings.Fields(tt.args[0]), tt.args[1:]...), "-o", "json")...)
		if code != tt.code {
			t.Errorf("%v: exit code %d, want %d\n%s", tt.args, code, tt.code, stdout)
		}
		checkDocument(t, fmt.Sprint(tt.args), object(t, []byte(stdout)), code, tt.args[0], tt.host, tt.outcomes)
	}
}

func with(k keys, more ...string) keys {
	return keys{append(append([]string{}, k.must...), more...), k.may}
}

func checkDocument(t *testing.T, where string, doc map[string]json.RawMessage, code int, command string, host keys, outcomes map[string]string) {
	t.Helper()
	documentKeys.check(t, where, doc)
	if string(doc["exit_code"]) != fmt.Sprint(code) || string(doc["schema_version"]) != "1" || string(doc["command"]) != fmt.Sprintf("%q", command) {
		t.Errorf("%s: exit_code %s, schema_version %s, command %s", where, doc["exit_code"], doc["schema_version"], doc["command"])
	}
	totals := map[string]int{}
	var hosts []json.RawMessage
	for key, into := range map[string]any{"hosts": &hosts, "totals": &totals} {
		if err := json.Unmarshal(doc[key], into); err != nil {
			t.Fatal(err)
		}
	}
	if len(hosts) != len(outcomes) {
		t.Fatalf("%s: %d hosts", where, len(hosts))
	}
	for _, text := range hosts {
		h := object(t, text)
		var name, outcome string
		_ = json.Unmarshal(h["name"], &name)
		_ = json.Unmarshal(h["outcome"], &outcome)
		where := where + " " + name
		host.check(t, where, h)
		if outcome != outcomes[name] {
			t.Errorf("%s: outcome %q, want %q", where, outcome, outcomes[name])
		}
		if outcome != "" {
			totals[outcome]--
		} else if strings.HasPrefix(command, "plan") {
			totals["to_change"]--
		}
		checkParts(t, where, h)
	}
	for outcome, n := range totals {
		if n != 0 {
			t.Errorf("%s: totals count %d too many %s", where, n, outcome)
		}
	}
}

// checkParts checks the objects inside a host.
func checkParts(t *testing.T, where string, h map[string]json.RawMessage) {
	t.Helper()
	for key, k := range map[string]keys{"old": certificateKeys, "new": certificateKeys, "error": errorKeys, "unit": unitKeys} {
		if text, ok := h[key]; ok && string(text) != "null" {
			k.check(t, where+" "+key, object(t, text))
		}
	}
	if string(h["old"]) == "null" && h["note"] == nil {
		t.Errorf("%s: no old certificate, and no note", where)
	}
	var steps []json.RawMessage
	if err := json.Unmarshal(h["steps"], &steps); err != nil || steps == nil {
		t.Errorf("%s: steps %s", where, h["steps"])
	}
	for _, s := range steps {
		stepKeys.check(t, where+" step", object(t, s))
	}
}
