package report

import (
	"strconv"
	"strings"
	"testing"
)

// inOrder keeps the order of the list.
func TestInOrder(t *testing.T) {
	for text, names := range map[string][]string{
		"b-02, a-[01-02], b-01 (4 hosts)": {"b-02", "a-01", "a-02", "b-01"},
		"a-[1-2], a-10 (3 hosts)":         {"a-1", "a-2", "a-10"},
		"one":                             {"one"},
	} {
		if got := (View{}).inOrder(names); got != text {
			t.Errorf("%q, want %q", got, text)
		}
	}
}

// Hosts with the same failure are one group: their addresses are folded by port, and
// fingerprints that differ are left out.
func TestPlaces(t *testing.T) {
	print := strings.Repeat("A", 42)
	for want, lines := range map[string][]string{
		"timed out (10.20.0.[11-13]:22)":                               {"timed out (10.20.0.11:22)", "timed out (10.20.0.12:22)", "timed out (10.20.0.13:22)"},
		"refused (10.0.0.[1-2]:2222, a.example:22)":                    {"refused (10.0.0.1:2222)", "refused (a.example:22)", "refused (10.0.0.2:2222)"},
		"refused (a:1, b:1, c:1, and 2 more)":                          {"refused (a:1)", "refused (b:1)", "refused (c:1)", "refused (d:1)", "refused (e:1)"},
		"refused ([2001:db8::1]:22)":                                   {"refused ([2001:db8::1]:22)"},
		"host key ssh-rsa SHA256:… is unknown":                         {"host key ssh-rsa SHA256:" + print + "B is unknown", "host key ssh-rsa SHA256:" + print + "C is unknown"},
		"host key ssh-rsa SHA256:" + print + "B is unknown":            {"host key ssh-rsa SHA256:" + print + "B is unknown"},
		"no place, 10.0.0.1:22 and (this) count for nothing, also 1:2": {"no place, 10.0.0.1:22 and (this) count for nothing, also 1:2"},
	} {
		var g grouped
		for i, line := range lines {
			g.add("x", 0, "h-"+strconv.Itoa(i), line, "hint")
		}
		var out strings.Builder
		if g.write(&out, View{}); len(g.list) != 1 || !strings.Contains(out.String(), " "+want+"\n") {
			t.Errorf("%q: %s", want, &out)
		}
	}
}
