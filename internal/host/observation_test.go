package host

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/test/fuzz"
)

const answer = `uptime=1000.50
clock=1800000000.250000000
unit=LoadState=loaded
unit=ActiveState=active
unit=NRestarts=3
unit=InvocationID=abc
unit=ExecMainStartTimestampMonotonic=990500000
config=secret_providers: [{name: p, key_vault: {service_principal: {cert_path: /p}}}]
certificate=/q
kind=missing
certificate=/p
kind=file
real=/real p
attributes=1:agent:agents:640:2345:1799999999.123456789:system_u:object_r:etc_t:s0
digest=abcd
readonly=/x
receipt=pending run=r-1 owner=operator@console with spaces 
receipt=confirmed run=r-0 owner=x
denied=AADSTS1 ` + "\x1b[31mred" + `
space=4096
unheard=of
observed=yes
`

func TestObservation(t *testing.T) {
	f := parseFound([]byte(answer))
	o, err := f.observation(inventory.Agent{})
	if err != nil || !f.done {
		t.Fatal(err)
	}
	o.describe(f.file(o.Provider.Path))
	want := Unit{Load: "loaded", Active: "active", InvocationID: "abc", Restarts: 3, Started: time.Unix(1799999990, 250000000)}
	if o.Unit != want {
		t.Errorf("unit %+v", o.Unit)
	}
	file := File{Path: "/p", Real: "/real p", Kind: "file", Owner: "agent:agents", Mode: "640",
		Size: 2345, Changed: time.Unix(1799999999, 123456789), Digest: "abcd", ReadOnly: true}
	if o.File != file {
		t.Errorf("file %+v", o.File)
	}
	if open, ok := o.Unfinished(); !ok || open != (Receipt{State: "pending", Run: "r-1", Owner: "operator@console with spaces"}) || len(o.Receipts) != 2 {
		t.Errorf("receipts %+v", o.Receipts)
	}
	if o.Denied != "AADSTS1 red" || o.Space != 4096 || o.Live != nil || o.LiveNote != "openssl on the host shows no certificate in it" {
		t.Errorf("%+v", o)
	}
}

func TestLiveNote(t *testing.T) {
	for text, want := range map[string]string{
		"kind=missing":              "there is no file",
		"kind=other":                "there is no file",
		"kind=file\nno_openssl=yes": "the host has no openssl to read it",
		"kind=file\npem=garbage":    "openssl on the host shows no certificate in it",
		"kind=file\npem=-----BEGIN CERTIFICATE-----\npem=AAAA\npem=-----END CERTIFICATE-----": "the host sent an unreadable certificate: malformed certificate",
	} {
		f := parseFound([]byte("certificate=/p\n" + text))
		o := &Observation{}
		o.describe(f.file("/p"))
		if o.LiveNote != want || o.Live != nil {
			t.Errorf("%s: %q", text, o.LiveNote)
		}
	}
}

func TestProcessIsOlder(t *testing.T) {
	at := time.Unix(1800000000, 0)
	for _, c := range []struct {
		started, changed time.Time
		want             bool
	}{
		{at, at.Add(time.Second), true},
		{at.Add(time.Second), at, false},
		{at, at, false},
		{at, at.Add(50 * time.Millisecond), false}, // within the kernel's coarse clock
		{at, at.Add(51 * time.Millisecond), true},
		{time.Time{}, at, false},
		{at, time.Time{}, false},
	} {
		o := &Observation{Unit: Unit{Started: c.started}, File: File{Changed: c.changed}}
		if o.ProcessIsOlder() != c.want {
			t.Errorf("started %v, changed %v: want %v", c.started, c.changed, c.want)
		}
	}
}

func TestSeconds(t *testing.T) {
	for text, want := range map[string]time.Time{
		"1.5": time.Unix(1, 500000000), " 7 ": time.Unix(7, 0), "1.123456789999": time.Unix(1, 123456789),
		"": {}, "x": {}, "99999999999999999999": {}, "1.x": time.Unix(1, 0),
		"253402300799": time.Unix(253402300799, 0), "253402300800": {}, "-99999999999": {},
	} {
		if got := seconds(text); !got.Equal(want) {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// TestRunsOnlyWhileActive: the start time of a unit that is not active belongs to a process
// that has ended.
func TestRunsOnlyWhileActive(t *testing.T) {
	for _, state := range []string{"failed", "inactive", "activating", ""} {
		f := parseFound([]byte(strings.Replace(answer, "ActiveState=active", "ActiveState="+state, 1)))
		if o, _ := f.observation(inventory.Agent{}); !o.Unit.Started.IsZero() {
			t.Errorf("%s: started %v", state, o.Unit.Started)
		}
	}
}

// TestTimesCanBeWritten: no time from a host makes the fleet's document impossible to
// write.
func TestTimesCanBeWritten(t *testing.T) {
	for _, clock := range []string{"253402300799", "0", ""} {
		out := strings.NewReplacer("clock=1800000000.250000000", "clock="+clock, "Monotonic=990500000", "Monotonic=9000000000000000000", "uptime=1000.50", "uptime=0").Replace(answer)
		o, err := parseFound([]byte(out)).observation(inventory.Agent{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := json.Marshal(o.Unit.Started.UTC()); err != nil {
			t.Errorf("%s: %v", clock, err)
		}
	}
	about := `{"thumbprint":"` + strings.Repeat("AB", 20) + `","sha256":"` + strings.Repeat("cd", 32) + `","not_after":"9999-12-31T23:59:59%s"}`
	for zone, want := range map[string]bool{"Z": true, "-01:00": false} {
		if _, ok := parseAbout(strings.Replace(about, "%s", zone, 1)); ok != want {
			t.Errorf("zone %s: %v", zone, ok)
		}
	}
}

// TestListsAreShort: a host can't fill the screen, or keep the program busy, with a list.
func TestListsAreShort(t *testing.T) {
	var out, names strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&out, "leftover=%d\n", i)
		names.WriteString(provider(fmt.Sprintf("p%d", i), fmt.Sprintf("/%d", i)))
	}
	o, _ := parseFound([]byte(out.String())).observation(inventory.Agent{})
	if len(o.Leftover) != maxShown || o.Leftover[0] != "0" {
		t.Errorf("%d leftovers", len(o.Leftover))
	}
	cfg, err := parseAgentConfig("secret_providers:\n" + names.String())
	if err == nil {
		_, err = cfg.choose(inventory.Agent{})
	}
	fuzz.Problem(t, err, 1500)
}

// FuzzObservation: no output of a host causes a panic or is shown unsanitised, takes long or
// can't be written as JSON.
func FuzzObservation(f *testing.F) {
	f.Add([]byte(answer), "")
	f.Add([]byte("pem=x\nkind=file\nconfig_missing=\ncertificate=/p\nattributes=::::::::\npem=-----BEGIN CERTIFICATE-----\n"), "/p")
	f.Add([]byte("clock=-9223372036854775808.9\nuptime=9223372036854775807\nunit=ActiveState=active\nunit=ExecMainStartTimestampMonotonic=9223372036854775807"), "")
	f.Add([]byte("receipt=\nreceipt= run= owner=\nunit\n=\n"), "")
	f.Add([]byte("unit=TimeoutStopUSec=1min 30.5s\nunit=TimeoutStartUSec=1e300s NaNs infinity\nunit=Id=a@.service\nbackup=a b c\nleftover=\x1b\nreceipt=pending run=r owner=\nreceipt_left=-1\nreceipt_pid=2\n"), "")
	f.Fuzz(func(t *testing.T, out []byte, path string) {
		var o *Observation
		var err error
		fuzz.Bounded(t, 16<<20+4000*len(out), func() {
			found := parseFound(out)
			o, err = found.observation(inventory.Agent{Config: "/etc/agent.yaml", CertificatePath: path})
			if o.Provider != nil {
				if file := found.file(o.Provider.Path); file != nil {
					o.describe(file)
				}
			}
		})
		if err != nil {
			fuzz.Problem(t, err, 1000)
		}
		o.ProcessIsOlder()
		receipt, _ := o.Unfinished()
		shown := []string{o.Denied, o.LiveNote, o.File.Kind, o.File.Owner, o.File.Mode, o.File.Digest, o.File.Unsafe, o.File.Untrusted, o.Machine, o.Settings,
			o.Unit.ID, o.Unit.Type, o.Unit.Load, o.Unit.Active, o.Unit.Sub, o.Unit.File, o.Unit.Result, receipt.State, receipt.Run, receipt.Owner, receipt.Interrupted(), o.Config.AgentID}
		for _, b := range o.Backups {
			shown = append(shown, b.Run, b.Old, b.New)
		}
		for _, text := range append(shown, o.Leftover...) {
			fuzz.Line(t, text, 4096)
			if text != display.Sanitise(text, 4096) {
				t.Errorf("not sanitised: %q", text)
			}
		}
		fuzz.Line(t, o.File.Real, 4096)
		if o.Unit.StopTime < 0 || o.Unit.StartTime < 0 || o.Unit.UndoTime(inventory.Health{}) < 0 || o.Unit.SlowProblem("u", 0) == nil && o.Unit.RestartTime() > 0 {
			t.Errorf("%+v", o.Unit)
		}
		if _, err := json.Marshal(o); err != nil {
			t.Error(err)
		}
	})
}

// TestMachine: only a complete machine id with a complete boot id identifies a machine;
// anything else never makes two hosts look like one.
func TestMachine(t *testing.T) {
	const id, boot = "0123456789abcdef0123456789abcdef", "01234567-89ab-cdef-0123-456789abcdef"
	tests := []struct{ says, want string }{
		{id + " " + boot, id + "/" + boot},
		{"", ""}, {" ", ""}, {" " + boot, ""}, {id + " ", ""}, {id, ""},
		{"uninitialized " + boot, ""},
		{strings.ToUpper(id) + " " + boot, ""},
		{id + "0 " + boot, ""}, {id[1:] + " " + boot, ""}, {id + " " + boot + "0", ""}, {id + " " + boot[1:], ""},
		{id + "  " + boot, ""}, {id + " " + boot + "\x1b[31m", ""}, {strings.Repeat("0", 1<<20), ""},
	}
	for _, tt := range tests {
		f := parseFound([]byte(strings.Replace(answer, "uptime=", "machine="+tt.says+"\nuptime=", 1)))
		if o, err := f.observation(inventory.Agent{}); err != nil || o.Machine != tt.want {
			t.Errorf("%.80q: %.80q, want %q, %v", tt.says, o.Machine, tt.want, err)
		}
	}
}
