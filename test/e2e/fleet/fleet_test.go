//go:build linux

package fleet

import (
	"fmt"
	"strings"
	"testing"
)

func TestOptionsAreChecked(t *testing.T) {
	many := make([]Spec, maxHosts+1)
	for i := range many {
		many[i].Name = fmt.Sprintf("h%d", i)
	}
	for _, test := range []struct {
		name    string
		options Options
		want    string // part of the error; empty: none
	}{
		{"good", Options{AgentBinary: "a", Hosts: []Spec{{Name: "london-1"}, {Name: "p", Release: "bullseye", MaxStartups: "10:30:100"}}}, ""},
		{"most hosts", Options{AgentBinary: "a", Hosts: many[:maxHosts]}, ""},
		{"no agent", Options{Hosts: []Spec{{Name: "a"}}}, "no agent binary"},
		{"no hosts", Options{AgentBinary: "a"}, "0 hosts"},
		{"too many", Options{AgentBinary: "a", Hosts: many}, "1001 hosts"},
		{"twice", Options{AgentBinary: "a", Hosts: []Spec{{Name: "a"}, {Name: "a"}}}, `"a" is there twice`},
		{"path as a name", Options{AgentBinary: "a", Hosts: []Spec{{Name: "../a"}}}, "host name"},
		{"no name", Options{AgentBinary: "a", Hosts: []Spec{{}}}, "host name"},
		{"long name", Options{AgentBinary: "a", Hosts: []Spec{{Name: strings.Repeat("a", 64)}}}, "host name"},
		{"release with a slash", Options{AgentBinary: "a", Hosts: []Spec{{Name: "a", Release: "a/b"}}}, "code name"},
		{"second line for sshd", Options{AgentBinary: "a", Hosts: []Spec{{Name: "a", MaxStartups: "1\nPort 23"}}}, "MaxStartups"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := test.options.complete()
			switch {
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want %q", err, test.want)
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want == "" && (got.Hosts[0].Release != "bookworm" || got.Cache != DefaultCache || got.Dir != DefaultDir):
				t.Errorf("defaults are missing: %+v", got)
			}
		})
	}
}

func TestAddressesDiffer(t *testing.T) {
	f := &Fleet{session: &session{name: "x"}}
	seen := map[string]string{}
	for i := range maxHosts {
		h := f.newHost(i, Spec{Name: fmt.Sprintf("h%d", i)})
		if other, twice := seen[h.Addr]; twice {
			t.Errorf("%s and %s are both %s", h.Name, other, h.Addr)
		}
		seen[h.Addr] = h.Name
	}
	if f.newHost(maxHosts-1, Spec{}).Addr != "127.0.13.250" || f.newHost(0, Spec{}).Addr != "127.0.10.1" {
		t.Error("the first and the last address are not what is documented")
	}
}
