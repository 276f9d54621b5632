package planfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/test/fuzz"
)

func sum(c string) string { return strings.Repeat(c, 64) }

// example returns a plan that has every key.
func example() *Plan {
	at := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	wave := 1
	return &Plan{
		SchemaVersion: SchemaVersion, Kind: Kind, ToolVersion: "v1", PlanID: "20261123-090000-AAAA", CreatedAt: at, Owner: "op@vm",
		Inventory:    Inventory{"fleet.yaml", sum("1")},
		Certificates: []Certificate{{"NEW", "CN=x", at.AddDate(1, 0, 0), sum("2")}},
		Policy:       Policy{Parallel: 2, MaxFailures: "10%", CountUnreachable: true, Force: true, Deadman: true},
		Hosts: []Host{
			{Name: "a", Address: "10.0.0.1", Wave: &wave, Action: "rotate", Reason: "new certificate", New: &New{"NEW", sum("2")}, Seen: &Seen{
				HostKey: "SHA256:k", Provider: "p", ClientID: "c", File: File{"/c", sum("3"), "root:root", "600"}, Live: &Live{"OLD", at},
				Unit: Unit{"u.service", "loaded", "active", "enabled"}, Unfinished: "r",
			}},
			{Name: "b", Address: "b", Action: "none", Reason: "no", Outcome: "refused", Error: &problem.Error{Class: problem.Disk, Message: "full", Hint: "free some"}},
			{Name: "c", Address: "c", Action: "none", Outcome: "current", New: &New{"NEW", sum("2")}, Seen: &Seen{HostKey: "SHA256:k"}},
		},
	}
}

// encoded returns p with its digest, as JSON without white space.
func encoded(t testing.TB, p *Plan) []byte {
	data, err := p.seal()
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := json.Compact(&text, data); err != nil {
		t.Fatal(err)
	}
	return text.Bytes()
}

// sealed returns example with its digest, as Read returns it.
func sealed(t testing.TB) *Plan {
	p := example()
	encoded(t, p)
	return p
}

func TestWriteAndRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plan.json")
	for range 2 { // a plan may replace a plan
		if err := MayWrite(path); err != nil {
			t.Fatal(err)
		}
		if err := Write(path, example()); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Read(path)
	if err != nil || !reflect.DeepEqual(got, sealed(t)) {
		t.Errorf("%+v, %v", got, err)
	}
	info, err := os.Stat(path)
	if err != nil || runtime.GOOS != "windows" && info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

// A plan that can't be written leaves the old one unchanged, and no other file.
func TestWriteFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "plan.json")
	if err := Write(path, example()); err != nil {
		t.Fatal(err)
	}
	bad := example()
	bad.Hosts[0].Reason = "two\nlines"
	if err := Write(path, bad); err == nil {
		t.Error("a plan that can't be read was written")
	}
	var problem *problem.Error
	if err := write(path, example(), 1000); !errors.As(err, &problem) || problem.Hint == "" {
		t.Errorf("too large: %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(filepath.Join(dir, "folder"), example()); err == nil {
		t.Error("a folder was replaced")
	}
	if got, err := Read(path); err != nil || !reflect.DeepEqual(got, sealed(t)) {
		t.Errorf("%+v, %v", got, err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("left behind: %v", entries)
	}
}

// A plan with more entries than a plan can have is refused before they take memory.
func TestListsAreBounded(t *testing.T) {
	whole := string(encoded(t, example()))
	for name, text := range map[string]string{
		"hosts":        strings.Replace(whole, `"hosts":[`, `"hosts":[`+strings.Repeat("{},", 150_000), 1),
		"no hosts":     strings.Replace(whole, `"hosts":[`, `"hosts":[`+strings.Repeat("null,", 150_000), 1),
		"certificates": strings.Replace(whole, `"certificates":[`, `"certificates":[`+strings.Repeat("{},", 150_000), 1),
		"keys":         strings.Replace(whole, `"policy":{`, `"policy":{`+strings.Repeat(`"force":true,`, 110_000), 1),
		"deep":         strings.Replace(whole, `"hosts":[`, `"x":`+strings.Repeat("[", 9000)+strings.Repeat("]", 9000)+`,"hosts":[`+strings.Repeat("{},", 150_000), 1),
		"after text":   strings.Replace(whole, `"hosts":[`, `"hosts":[{"name":"\"[\\"},`+strings.Repeat("{},", 150_000), 1),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Parse([]byte(text))
		runtime.ReadMemStats(&after)
		if err == nil || err.Error() != "is damaged: a list in it has more than 100000 entries" {
			t.Errorf("%s: %v", name, err)
		}
		if bytes := after.TotalAlloc - before.TotalAlloc; bytes > uint64(5*len(text)) { // buffers of the decoder
			t.Errorf("%s: %d bytes are allocated for %d bytes of text", name, bytes, len(text))
		}
	}
	full, commas := example(), example()
	for i := range 3000 {
		commas.Hosts = append(commas.Hosts, Host{Name: fmt.Sprint(i), Action: "none", Outcome: "refused", Reason: "x}" + strings.Repeat(",", 40) + "{"})
		full.Hosts = append(full.Hosts, Host{Name: fmt.Sprintf("a,[%d", i), Action: "none", Outcome: "refused", Reason: `"[,,,,,,,,\`})
	}
	for _, p := range []*Plan{full, commas} {
		if _, err := Parse(encoded(t, p)); err != nil {
			t.Errorf("a large plan: %v", err)
		}
	}
}

func TestMayWrite(t *testing.T) {
	dir := t.TempDir()
	plan, other, link := filepath.Join(dir, "plan"), filepath.Join(dir, "other"), filepath.Join(dir, "link")
	if err := Write(plan, example()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(other, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, version := range map[string]int{"earlier": 1, "later": 3, "unversioned": 0} {
		p := example()
		p.SchemaVersion = version
		if err := os.WriteFile(filepath.Join(dir, name), encoded(t, p), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]string{plan: "", filepath.Join(dir, "earlier"): "", filepath.Join(dir, "later"): "not a saved plan", filepath.Join(dir, "unversioned"): "not a saved plan", filepath.Join(dir, "new"): "", other: "not a saved plan", dir: "not a regular file",
		filepath.Join(dir, "none", "new"): "does not exist", filepath.Join(other, "new"): ""}
	if runtime.GOOS != "windows" {
		if err := os.Symlink(plan, link); err != nil {
			t.Fatal(err)
		}
		tests[link] = "not a regular file"
		tests[filepath.Join(other, "new")] = "can't be read"
	}
	for path, want := range tests {
		err := MayWrite(path)
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || err.(*problem.Error).Hint == "") {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

// Every defect of a file that Parse refuses.
func TestParseRefuses(t *testing.T) {
	whole := string(encoded(t, example()))
	with := func(change func(*Plan)) string {
		p := example()
		change(p)
		return string(encoded(t, p))
	}
	tests := []struct{ name, data, want string }{
		{"empty", "", "is not a saved plan"},
		{"no JSON", "hosts:\n", "is not a saved plan"},
		{"another document", `{"schema_version":1,"hosts":[]}`, "is not a saved plan"},
		{"a list", "[]", "is not a saved plan"},
		{"another kind", strings.Replace(whole, Kind, "aoifleet-plam", 1), "is not a saved plan"},
		{"later", with(func(p *Plan) { p.SchemaVersion = 3 }), "is a saved plan of schema version 3; this program reads 2"},
		{"later, with other keys", `{"schema_version":3,"kind":"aoifleet-plan","stages":[]}`, "schema version 3"},
		{"earlier, without a digest", with(func(p *Plan) { p.SchemaVersion = 1 }), "is a saved plan of schema version 1; this program reads 2"},
		{"cut", whole[:len(whole)-20], "is damaged: it ends too early"},
		{"cut early", whole[:60], "is damaged: it ends too early"},
		{"a byte wrong", strings.Replace(whole, `"policy":{`, `"policy":(`, 1), "is damaged: it is not JSON from byte"},
		{"more", whole + "{}", "is damaged: data follows the plan"},
		{"a wrong type", strings.Replace(whole, `"parallel":2`, `"parallel":"2"`, 1), "is damaged: line 1: policy.parallel must be a whole number, not a string"},
		{"a wrong type inside a list", strings.Replace(whole, `"wave":1`, "\n\"wave\":[1]", 1), "is damaged: line 2: hosts.wave must be a whole number, not a list"},
		{"a list for a mapping", strings.Replace(whole, `"seen":{`, `"seen":[{}],"x":{`, 1), "is damaged: line 1: hosts.seen must be an object, not a list"},
		{"a number that is too large", strings.Replace(whole, `"parallel":2`, `"parallel":1e99`, 1), "is damaged: line 1: policy.parallel must be a whole number, not another number"},
		{"not a time", strings.Replace(whole, `"created_at":"2026`, `"created_at":"x2026`, 1), "is damaged: a time in it is not in the form of RFC 3339"},
		{"not a text", strings.Replace(whole, `"created_at":"2026-11-23T09:00:00Z"`, `"created_at":5`, 1), "is damaged: a time in it is not in the form of RFC 3339"},
		{"an unknown key", strings.Replace(whole, `"policy":{`, `"policy":{"sook":"1h",`, 1), `a key that this version does not know: "sook"`},
		{"an unknown key with escapes", strings.Replace(whole, `"policy":{`, `"policy":{"\u001b[2J":1,`, 1), `does not know: "`},
		{"too large", strings.Repeat(" ", MaxSize+1), "is larger than 64 MiB"},
		{"an open text", whole[:strings.LastIndex(whole, `"`)], "is damaged: it ends too early"},
		{"text outside of a list", `{"kind":"aoifleet-plan","schema_version":2},,`, "is damaged"},

		{"no digest", with(func(p *Plan) { p.Inventory.SHA256 = "1" }), "no digest of the inventory"},
		{"no id", with(func(p *Plan) { p.PlanID = "" }), "no creation time"},
		{"no time", with(func(p *Plan) { p.CreatedAt = time.Time{} }), "no creation time"},
		{"no policy", with(func(p *Plan) { p.Policy.Parallel = 0 }), "no policy"},
		{"no budget", with(func(p *Plan) { p.Policy.MaxFailures = "" }), "no policy"},
		{"no hosts", with(func(p *Plan) { p.Hosts = nil }), "it has 0 hosts"},
		{"no name", with(func(p *Plan) { p.Hosts[1].Name = "" }), "host 2 has no unique name"},
		{"the same twice", with(func(p *Plan) { p.Hosts[1].Name = "a" }), "host 2 has no unique name"},
		{"an unknown action", with(func(p *Plan) { p.Hosts[0].Action = "reboot" }), "host a has no known action"},
		{"an unknown outcome", with(func(p *Plan) { p.Hosts[1].Outcome = "gone" }), "host b has no known outcome"},
		{"action and outcome", with(func(p *Plan) { p.Hosts[1].Action = "rotate" }), "host b has no action that matches its outcome"},
		{"neither", with(func(p *Plan) { p.Hosts[0].Action = "none" }), "host a has no action that matches its outcome"},
		{"no new certificate", with(func(p *Plan) { p.Hosts[0].New = nil }), "host a has no new certificate"},
		{"another command", with(func(p *Plan) { p.Command = "rollback" }), "a command that this version does not know"},
		{"an upgrade to nothing", with(func(p *Plan) { p.Command = "upgrade" }), "a command that this version does not know"},
		{"a version without an upgrade", with(func(p *Plan) { p.To = "2.0.0" }), "a command that this version does not know"},
		{"an upgrade without a package", with(func(p *Plan) { p.Command, p.To = "upgrade", "2.0.0" }), "host a has no complete package"},
		{"a package without an upgrade", with(func(p *Plan) { p.Hosts[0].Package = &Package{"a", "apt", "1", "2"} }), "host a has no complete package"},
		{"no version", with(func(p *Plan) {
			p.Command, p.To, p.Hosts[0].Package = "upgrade", "2.0.0", &Package{"a", "apt", "1", ""}
		}), "host a has no complete package"},
		{"no digest of it", with(func(p *Plan) { p.Hosts[2].New.FileSHA256 = "" }), "host c has no new certificate"},
		{"not seen", with(func(p *Plan) { p.Hosts[0].Seen = nil }), "host a has no record of its observed state"},
		{"no host key", with(func(p *Plan) { p.Hosts[0].Seen.HostKey = "" }), "host a has no record of its observed state"},
		{"a control character", with(func(p *Plan) { p.Hosts[0].Seen.File.Owner = "\x1b[2J" }), "has a control character"},
		{"a text too long", with(func(p *Plan) { p.Hosts[1].Error.Hint = strings.Repeat("x", maxText+1) }), "too long"},
	}
	for _, tt := range tests {
		p, err := Parse([]byte(tt.data))
		if p != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	if _, err := Parse([]byte(whole)); err != nil {
		t.Errorf("the example: %v", err)
	}
}

func TestReadNamesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.json")
	if _, err := Read(path); err == nil || !strings.HasPrefix(err.Error(), path+" can't be read: ") || strings.Count(err.Error(), path) != 1 {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); err == nil || err.Error() != path+" is not a saved plan" || err.(*problem.Error).Hint == "" {
		t.Error(err)
	}
}

// FuzzParse: a plan that is accepted is safe to print and survives a round trip, its digest is
// that of its content, and a refused one has an error of one line.
func FuzzParse(f *testing.F) {
	whole := encoded(f, example())
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add(bytes.Replace(whole, []byte("CN=x"), []byte("CN=\\u001b"), 1))
	f.Add(append([]byte("[{"), whole...))
	f.Add([]byte(`{"kind":"aoifleet-plan","schema_version":1,"hosts":[{"name":"a","action":"none","outcome":"current","new":null,"seen":null}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if parseOne(t, data) != nil {
			return
		}
		// Most changes break the digest only: the rest must be right without its protection.
		var head struct{ Digest string }
		if json.Unmarshal(data, &head) == nil && head.Digest != "" {
			parseOne(t, bytes.Replace(data, []byte(head.Digest), []byte(digestOf(data, head.Digest)), 1))
		}
	})
}

// parseOne parses a plan and checks the result; nil if it is refused.
func parseOne(t *testing.T, data []byte) *Plan {
	t.Helper()
	var p *Plan
	var err error
	fuzz.Bounded(t, 1<<20+1000*len(data), func() { p, err = Parse(data) })
	if err != nil {
		fuzz.Line(t, err.Error(), 1000)
		return nil
	}
	if err := plainText(reflect.ValueOf(p)); err != nil || digestOf(data, p.Digest) != p.Digest {
		t.Errorf("%+v: %v", p, err)
	}
	again, err := Parse(encoded(t, p))
	if err != nil || !bytes.Equal(encoded(t, p), encoded(t, again)) {
		t.Errorf("%+v became %+v, %v", p, again, err)
	}
	return p
}
