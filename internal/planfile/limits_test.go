package planfile

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// What is at a limit is accepted; one more is refused (TestParseRefuses, TestWriteFails).
func TestLimitsAreInclusive(t *testing.T) {
	p := example()
	p.Policy.Parallel = 1
	p.Hosts[1].Error.Hint = strings.Repeat("x", maxText)
	data := encoded(t, p)
	if _, err := Parse(data); err != nil {
		t.Error(err)
	}
	sealed, err := p.seal()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "plan")
	if err := write(path, p, len(sealed)); err != nil {
		t.Errorf("a plan of the largest size is not written: %v", err)
	}
	if err := write(path, p, len(sealed)-1); err == nil {
		t.Error("a larger one is")
	}
}

// The largest fleet of an inventory fits into a plan.
func TestLargestFleet(t *testing.T) {
	p := example()
	for i := len(p.Hosts); i < maxHosts; i++ {
		p.Hosts = append(p.Hosts, Host{Name: strconv.Itoa(i), Action: "none", Outcome: "refused"})
	}
	if err := p.check(); err != nil {
		t.Error(err)
	}
	p.Hosts = append(p.Hosts, Host{Name: "more", Action: "none", Outcome: "refused"})
	if err := p.check(); err == nil {
		t.Error("a larger one does too")
	}
	if text := `{"hosts":[` + strings.TrimSuffix(strings.Repeat("{},", maxHosts), ",") + "]}"; crowded([]byte(text)) {
		t.Error("a list of the largest fleet is refused")
	}
	if text := strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + "[" + strings.Repeat("0,", maxHosts) + "0]"; !crowded([]byte(text)) {
		t.Error("a list of more is not")
	}
}

// A plan that goes on beyond the largest size is not one, although its first bytes are.
func TestLargerFileIsNoPlan(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plan")
	data := encoded(t, example())
	if err := os.WriteFile(path, append(data, bytes.Repeat([]byte(" "), MaxSize+1-len(data))...), 0o600); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(path); err != nil {
		t.Error(err)
	} else if _, err := Parse(data[:MaxSize]); err != nil {
		t.Errorf("a plan of the largest size: %v", err)
	}
	if _, err := Read(path); err == nil || !strings.Contains(err.Error(), "is larger than 64 MiB") {
		t.Errorf("%v", err)
	}
	if err := MayWrite(path); err == nil || !strings.Contains(err.Error(), "is not a saved plan") {
		t.Errorf("over it: %v", err)
	}
}
