package host

import (
	"os/exec"
	"testing"
)

func TestFindVersion(t *testing.T) {
	p := &Package{Installed: "1:1.9.0-3", Available: []string{"1:2.0.0-2.el9", "1:2.0.0-1.el9", "2.0.0~rc1-1", "1.9.0"}}
	for to, want := range map[string]string{
		"2.0.0": "1:2.0.0-2.el9", "2.0.0-1.el9": "1:2.0.0-1.el9", "1:2.0.0-1.el9": "1:2.0.0-1.el9", "2.0.0~rc1": "2.0.0~rc1-1",
		"1.9.0": "1.9.0", "1.9.0-3": "1:1.9.0-3", "2.0": "", "": "", "2.0.0-1": "", "1": "",
	} {
		if got := p.Find(to); got != want {
			t.Errorf("%q: %q, want %q", to, got, want)
		}
	}
}

// TestLowerVersion: dpkg sets the rule for the pairs that it also knows.
func TestLowerVersion(t *testing.T) {
	for _, it := range []struct {
		version, installed string
		want               bool
	}{
		{"1.9.0-1", "2.0.0-1", true}, {"2.0.0-1", "1.9.0-1", false}, {"1.10.0", "1.9.0", false}, {"2.0.0~rc1-1", "2.0.0-1", true}, {"2.0.0-1", "2.0.0~rc1-1", false},
		{"1:1.0-1", "2.0-1", false}, {"2.0-1", "1:1.0-1", true}, {"2.0.0-1", "2.0.0-2", true}, {"2.0.0-1", "2.0.0-1", false}, {"2.0", "2.0-1", true},
		{"2.0.0-1ubuntu2", "2.0.0-1ubuntu10", true}, {"2.007", "2.7", false}, {"0:2.0-1", "2.0-1", false}, {"99999999999999999999-1", "1-1", false},
		{"2.0.0+b1-1", "2.0.0-1", false}, {"2.0.0-1", "2.0.0+b1-1", true}, {"1.0a-1", "1.0.1-1", true}, {"2.0.0-rc1-1", "2.0.0-1", false}, {"1.0~~-1", "1.0~-1", true},
	} {
		if got := (&Package{Installed: it.installed}).Lower(it.version); got != it.want {
			t.Errorf("%s lower than %s: %v", it.version, it.installed, got)
		}
		if err := exec.Command("dpkg", "--compare-versions", it.version, "lt", it.installed).Run(); (err == nil) != it.want {
			t.Errorf("dpkg: %s lower than %s: %v", it.version, it.installed, err)
		}
	}
	if sorted := (&Package{Installed: "b", Available: []string{"a", "b", "c"}}); sorted.Lower("a") || !sorted.Lower("c") {
		t.Error("the manager's order does not count")
	}
}
