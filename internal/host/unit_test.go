package host

import (
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/inventory"
)

func TestParseSpan(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"1min 30s": 90 * time.Second, "1min 30.500000s": 90*time.Second + 500*time.Millisecond, "100ms": 100 * time.Millisecond, "5us": 5 * time.Microsecond,
		"1d 2h 3min 1ms": 26*time.Hour + 3*time.Minute + time.Millisecond, "1month 2w": Endless, "1w": Endless, "2y": Endless, "infinity": Endless,
		"": 0, "s": 0, "-5s": 0, "1e9s": Endless, "999999d": Endless, "NaNs": 0, "soon": 0, "1min soon": 0,
	} {
		if got := parseSpan(text); got != want {
			t.Errorf("%q is %v, want %v", text, got, want)
		}
	}
}

func TestSlowProblem(t *testing.T) {
	const m = time.Minute
	for name, c := range map[string]struct {
		unit Unit
		says string // "": nothing
	}{
		"systemd's own":       {Unit{Type: "simple", StopTime: 90 * time.Second, StartTime: 90 * time.Second}, ""},
		"just in time":        {Unit{Type: "exec", StopTime: 2 * m, StartTime: Endless}, ""},
		"slow to stop":        {Unit{Type: "idle", StopTime: 2*m + 1}, "set health.timeout to"},
		"slow to start":       {Unit{Type: "notify", StopTime: 90 * time.Second, StartTime: 90 * time.Second}, "may take 3m0s, longer than health.timeout (2m0s)"},
		"no end of the stop":  {Unit{Type: "simple", StopTime: Endless}, "has no time-out"},
		"no end of the start": {Unit{Type: "forking", StopTime: m, StartTime: Endless}, "set TimeoutStopSec="},
		"unknown":             {Unit{}, ""},
	} {
		p := c.unit.SlowProblem("a.service", 2*m)
		if (p == nil) != (c.says == "") || p != nil && !strings.Contains(p.Message+" "+p.Hint, c.says) {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

// TestLimitsIncludeAnUndo: the limit on a transaction includes its undo.
func TestLimitsIncludeAnUndo(t *testing.T) {
	h := inventory.Health{Timeout: 20 * time.Second, Window: time.Second}
	for _, c := range []struct {
		unit Unit
		undo time.Duration
	}{
		{Unit{StopTime: 90 * time.Second, StartTime: 90 * time.Second}, 190*time.Second + h.Timeout + time.Second},
		{Unit{StopTime: time.Second, StartTime: time.Second}, 2*h.Timeout + time.Second},
		{Unit{StopTime: time.Second, StartTime: Endless}, 10*time.Minute + h.Timeout + time.Second},
		{Unit{StopTime: parseSpan("1000d"), StartTime: parseSpan("1000d")}, 10*time.Minute + h.Timeout + time.Second},
		{Unit{}, 10*time.Minute + h.Timeout + time.Second},
	} {
		if got := c.unit.UndoTime(h); got != c.undo {
			t.Errorf("%+v: %v, want %v", c.unit, got, c.undo)
		}
		if got := c.unit.conversationTime(h); got < 2*h.Timeout+h.Window+c.undo {
			t.Errorf("%+v: the conversation ends after %v", c.unit, got)
		}
	}
}

// TestProofTakesTime: the limits, and the dead-man switch by default, include the wait for a proof.
func TestProofTakesTime(t *testing.T) {
	with, without := inventory.Health{Timeout: time.Second, ProofTimeout: time.Hour}, inventory.Health{Timeout: time.Second}
	for name, limit := range map[string]func(inventory.Health) time.Duration{"settle": Unit{}.SettleTime, "end": Unit{}.EndTime,
		"conversation": Unit{}.conversationTime, "hold": inventory.Health.Hold} {
		longer := time.Hour
		if name == "settle" {
			longer *= 2 // with the switch
		}
		if got := limit(with) - limit(without); got != longer {
			t.Errorf("%s: %v longer, want %v", name, got, longer)
		}
	}
}

// TestUnitIsCalledByItsName once that is known and valid.
func TestUnitIsCalledByItsName(t *testing.T) {
	for id, want := range map[string]string{"own.service": "own.service", "foo@a.service": "foo@a.service", `x\x2d.service`: `x\x2d.service`,
		"": "ali.service", "../x.service": "ali.service", "-x.service": "ali.service", ".x.service": "ali.service", "a.timer": "ali.service", "a b.service": "ali.service", strings.Repeat("x", 300) + ".service": "ali.service"} {
		f := parseFound([]byte("unit=Id=" + id + "\n"))
		v := New(nil, inventory.Host{Agent: inventory.Agent{Unit: "ali.service"}}, Run{ID: "r"}, nil)
		v.unit = f.unitState(time.Time{}, 0)
		for _, value := range v.common() {
			if value.key == "unit" && value.text != want {
				t.Errorf("own name %q: asks for %q", id, value.text)
			}
		}
	}
}

// TestDiagnosticsTakeTime: the limits include the time by which host.sh extends the deadline.
func TestDiagnosticsTakeTime(t *testing.T) {
	with, without := inventory.Health{Timeout: time.Second, Diagnostics: true}, inventory.Health{Timeout: time.Second}
	host := BeforeUndo + (10+MaxDiagnostics>>24)*time.Second + 65*time.Second
	for name, limit := range map[string]func(inventory.Health) time.Duration{"settle": Unit{}.SettleTime, "end": Unit{}.EndTime} {
		if longer := limit(with) - limit(without); longer < host {
			t.Errorf("%s: %v longer, want %v", name, longer, host)
		}
	}
}
