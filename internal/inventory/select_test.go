package inventory

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/display"
)

const fleet = `version: 1
hosts:
  lab-vm: {labels: {site: lab}}
groups:
  london:
    labels: {site: london, tier: gold}
    hosts:
      london-edr-[01-12]: {}
      sftp-1: {labels: {tier: "a*b"}}
  paris:
    labels: {site: paris}
    hosts:
      paris-edr-[1-3]: {}
`

func TestSelect(t *testing.T) {
	inv := parse(t, fleet)
	const (
		london = "london-edr-01 london-edr-02 london-edr-03 london-edr-04 london-edr-05 london-edr-06 " +
			"london-edr-07 london-edr-08 london-edr-09 london-edr-10 london-edr-11 london-edr-12 sftp-1"
		paris = "paris-edr-1 paris-edr-2 paris-edr-3"
		all   = "lab-vm " + london + " " + paris
	)
	for limit, want := range map[string]string{
		"":                                   all,
		"all":                                all,
		"*":                                  all,
		"lab-vm":                             "lab-vm",
		"paris":                              paris,
		"london":                             london,
		"lon*":                               london, // the group's name matches too, as in Ansible
		"london-*":                           strings.TrimSuffix(london, " sftp-1"),
		"*-edr-?":                            paris,
		"paris-edr-[13]":                     "paris-edr-1 paris-edr-3",
		"[p,:]ari[s]":                        paris,
		"paris-edr-[!13]":                    "paris-edr-2",
		"paris-edr-[0-9]":                    paris,
		"lab[x-]vm":                          "lab-vm", // a "-" at the end is no range
		"[k-m]a*":                            "lab-vm",
		"london-edr-[03-05]":                 "london-edr-03 london-edr-04 london-edr-05",
		"london-edr-[09-12]":                 "london-edr-09 london-edr-10 london-edr-11 london-edr-12",
		"*-edr-[02-03]":                      "london-edr-02 london-edr-03",
		"paris-edr-[2-999999999]":            "paris-edr-2 paris-edr-3",
		"london-edr-[01-02],lab-vm":          "lab-vm london-edr-01 london-edr-02",
		"paris-edr-3,paris-edr-1":            "paris-edr-1 paris-edr-3",
		"paris, lab-vm ,paris-edr-1":         "lab-vm " + paris,
		"lab-vm:paris":                       "lab-vm " + paris,
		"all:&paris":                         paris,
		"&paris":                             paris,
		"london:&tier=gold:&*-0[1-2]":        "london-edr-01 london-edr-02",
		"lab-vm,paris:&site=p*":              paris,
		"paris:!paris-edr-2":                 "paris-edr-1 paris-edr-3",
		"!paris-edr-2:paris":                 "paris-edr-1 paris-edr-3", // exclusion is applied last in any position
		"!london":                            "lab-vm " + paris,
		"!london:!paris-edr-[1-2]":           "lab-vm paris-edr-3",
		"site=paris":                         paris,
		"site=*":                             all,
		"site=[lp]*:!lab-vm:!london":         paris,
		"tier=a*b":                           "sftp-1",
		"all:!tier=gold:!tier=a*b":           "lab-vm " + paris,
		"site=lab,london-edr-[01-02]:!a*b=x": "",
	} {
		hosts, err := inv.Select(limit)
		if want == "" {
			if err == nil {
				t.Errorf("%q selects %s", limit, hostNames(hosts))
			}
			continue
		}
		if err != nil || hostNames(hosts) != want {
			t.Errorf("%q\ngot  %s (%v)\nwant %s", limit, hostNames(hosts), err, want)
		}
	}
}

func TestSelectErrors(t *testing.T) {
	inv := parse(t, fleet)
	const empty = "it has an empty part (separate parts with one comma: a,b)"
	for limit, want := range map[string]string{
		"lodnon":                    `selector "lodnon": no host or group has this name (did you mean "london"?)`,
		"lab-wm":                    `selector "lab-wm": no host or group has this name (did you mean "lab-vm"?)`,
		"berlin":                    `selector "berlin": no host or group has this name (groups are london, paris)`,
		"berlin*":                   `selector "berlin*": no host or group has this name (groups are london, paris)`,
		"all:!berlin":               `selector "berlin": no host or group has this name (groups are london, paris)`,
		"LONDON":                    `selector "LONDON": no host or group has this name (groups are london, paris)`,
		"lodnon,site=pari":          "selector \"lodnon\": no host or group has this name (did you mean \"london\"?)\nselector \"site=pari\": no host has that value (did you mean \"paris\"?)",
		"sit=paris":                 `selector "sit=paris": no host has the label "sit" (did you mean "site"?)`,
		"site=":                     `selector "site=": no host has that value`,
		"london-edr-[13-20]":        `selector "london-edr-[13-20]": no host or group has this name (groups are london, paris)`,
		"london-edr-[12-01]":        `selector "london-edr-[12-01]": the range [12-01] runs backwards`,
		"a[0000000001-0000000002]":  `selector "a[0000000001-0000000002]": "[0000000001-0000000002]" is not a range such as [01-12] or [a-c]`,
		"a[0-18446744073709551615]": `selector "a[0-18446744073709551615]": "[0-18446744073709551615]" is not a range such as [01-12] or [a-c]`,
		"a[c-a]":                    `selector "a[c-a]": "[c-a]" is neither a range nor a set of characters`,
		"a[b-\x1b]":                 `selector "a[b-\x1b]": "[b-\x1b]" is neither a range nor a set of characters`,
		"a[]":                       `selector "a[]": it has empty brackets`,
		"a[!]":                      `selector "a[!]": it has empty brackets`,
		"a]":                        `selector "a]": it has an unmatched bracket`,
		"a[1-2,b":                   `selector "a[1-2,b": it has a "[" without a "]"`,
		"paris,":                    `selector "paris,": ` + empty,
		",":                         `selector ",": ` + empty,
		" ":                         `selector " ": ` + empty,
		"paris:!":                   `selector "paris:!": ` + empty,
		"paris:&london":             `selector "paris:&london": it selects no host`,
		"!all":                      `selector "!all": it selects no host`,
		"\x1b[31m":                  `selector "\x1b[31m": it has a "[" without a "]"`,
		"\xff*":                     `selector "\xff*": it is too long or not a glob`,
	} {
		hosts, err := inv.Select(limit)
		var errs Errors
		if err == nil || err.Error() != want || !errors.As(err, &errs) {
			t.Errorf("%q\ngot  %v (%d hosts)\nwant %s", limit, err, len(hosts), want)
		}
	}
}

func TestSelectDoesNotChangeTheInventory(t *testing.T) {
	inv := parse(t, fleet)
	hosts, err := inv.Select("")
	if err != nil {
		t.Fatal(err)
	}
	hosts[0].Name = "changed"
	if inv.Hosts[0].Name != "lab-vm" {
		t.Error("the selected hosts are not a copy")
	}
}

// The pattern of a span matches exactly the texts of the span.
func TestSpanPattern(t *testing.T) {
	for _, text := range []string{"0-0", "3-7", "0-9", "8-12", "12-34", "1-100", "95-105", "99-1001", "01-12", "000-123", "007-107", "199-201"} {
		s, err := parseSpan(text)
		if err != nil {
			t.Fatal(err)
		}
		re := regexp.MustCompile(`\A` + s.pattern() + `\z`)
		in := map[string]bool{}
		for i := range s.size() {
			in[s.at(i)] = true
		}
		for _, width := range []int{0, 2, 3, 4} {
			for n := range 1100 {
				v := span{lo: n, hi: n, width: width}.at(0)
				if re.MatchString(v) != in[v] {
					t.Fatalf("[%s]: %s matches: %v, want %v", text, v, !in[v], in[v])
				}
			}
		}
	}
}

func TestSuggest(t *testing.T) {
	words := []string{"port", "user", "via", "certificate", "known_hosts", "health", "healthy"}
	for word, want := range map[string]string{
		"prot": "port", "healht": "health", "prt": "port", "uesr": "user", "va": "via", "vai": "via", "vixx": "",
		"portxy": "port", "portxyz": "", "cretificaxy": "", "certificat": "certificate", "cretifciate": "certificate", "known-hosts": "known_hosts", "xyz": "", "": "",
	} {
		if got := display.Nearest(word, func(yield func(string) bool) {
			for _, w := range words {
				if !yield(w) {
					return
				}
			}
		}); got != want {
			t.Errorf("%q suggests %q, want %q", word, got, want)
		}
	}
}

func TestAmount(t *testing.T) {
	for _, c := range []struct {
		a     Amount
		total int
		want  int
		text  string
	}{
		{Amount{}, 10, 1, "1"},
		{Count(3), 10, 3, "3"},
		{Count(0), 10, 1, "1"},
		{Count(20), 10, 20, "20"},
		{Percent(10), 10, 1, "10%"},
		{Percent(10), 11, 2, "10%"},
		{Percent(1), 0, 1, "1%"},
		{Percent(1), -5, 1, "1%"},
		{Percent(100), 7, 7, "100%"},
		{Percent(250), 7, 7, "100%"},
		{Percent(33), 100_000, 33_000, "33%"},
		{Percent(100), 1<<63 - 1, 1<<63 - 1, "100%"},
	} {
		if got := c.a.Of(c.total); got != c.want || c.a.String() != c.text {
			t.Errorf("%s of %d is %d, want %d (%s)", c.a, c.total, got, c.want, c.text)
		}
	}
}

func TestSudoString(t *testing.T) {
	if SudoNone.String() != "none" || SudoPasswordless.String() != "passwordless" {
		t.Errorf("%s, %s", SudoNone, SudoPasswordless)
	}
}

// A file of names is bounded like any selector, and selects nothing that it does not name.
func TestSelectFile(t *testing.T) {
	inv := parse(t, fleet)
	write := func(text string) string {
		path := filepath.Join(t.TempDir(), "names")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return "@" + path
	}
	name := inv.Hosts[0].Name
	for text, want := range map[string]string{
		"\ufeff" + name + "\r\n\n # none\n" + name + "# again": "",
		name + "\n@" + name:             `selector "@`,
		name + "\nno such":              `:2: selector "no such": no host or group has this name`,
		strings.Repeat("a*\n", 1001):    "more than 1000 globs",
		"# " + name:                     "has no name",
		strings.Repeat(name+"\n", 9999): "",
		strings.Repeat("x", 32<<20):     "is larger than",
	} {
		limit := write(text)
		hosts, err := inv.Select(limit)
		if want == "" && (err != nil || len(hosts) != 1) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.20q: %d hosts, %.200v, want %q", text, len(hosts), err, want)
		}
	}
	if _, err := inv.Select("@/dev/zero"); err == nil || !strings.Contains(err.Error(), "is a device") {
		t.Error(err)
	}
}

// The names of a range that do not exist are known.
func TestPickAbsent(t *testing.T) {
	inv := parse(t, "version: 1\nhosts: {'a-[01-03]': , b-1: }\ngroups: {g-1: {hosts: {c: }}}\n")
	for limit, want := range map[string]string{
		"a-[01-05]": "a-[04-05]", "a-[01-03]": "", "a-0[1-9],b-1": "a-[04-09]", "a-*": "", "g-[1-2]": "g-2", "all": "", "!b-[1-2]": "b-2", "a-[01-99999]": "",
	} {
		_, absent, err := inv.Pick(limit)
		if got := strings.Join(Fold(absent), ","); err != nil && limit != "a-[01-99999]" || got != want {
			t.Errorf("%s: %q, %v, want %q", limit, got, err, want)
		}
	}
	if _, absent, err := inv.Pick("b-[1-100000]"); err != nil || len(absent) != 99999 {
		t.Errorf("%d, %v", len(absent), err)
	}
	if _, absent, err := inv.Pick("b-[1-999999999]"); err != nil || absent != nil {
		t.Errorf("%d, %v", len(absent), err)
	}
}
