package inventory

import (
	"fmt"
	"strings"
	"testing"
)

func addresses(hosts []Host) string {
	list := make([]string, len(hosts))
	for i, h := range hosts {
		list[i] = h.Address
	}
	return strings.Join(list, " ")
}

func TestRanges(t *testing.T) {
	for _, c := range []struct{ entry, names, addresses string }{
		{"a-[1-3]: {}", "a-1 a-2 a-3", "a-1 a-2 a-3"},
		{"a-[08-11]: {}", "a-08 a-09 a-10 a-11", "a-08 a-09 a-10 a-11"},
		{"a-[8-11]: {}", "a-8 a-9 a-10 a-11", "a-8 a-9 a-10 a-11"},
		{"a-[0-1]b[x-y]: {}", "a-0bx a-0by a-1bx a-1by", "a-0bx a-0by a-1bx a-1by"},
		{"vm[A-B]: {}", "vmA vmB", "vmA vmB"},
		{"a-[01-03]: {address: \"10.0.0.[9-11]\"}", "a-01 a-02 a-03", "10.0.0.9 10.0.0.10 10.0.0.11"},
		{"r[1-2]n[a-b]: {address: \"10.0.[1-2].[5-6]\"}", "r1na r1nb r2na r2nb", "10.0.1.5 10.0.1.6 10.0.2.5 10.0.2.6"},
		{"a-[1-4]: {address: \"[a-b][1-2].example.net\"}", "a-1 a-2 a-3 a-4", "a1.example.net a2.example.net b1.example.net b2.example.net"},
		{"a-[1-1]: {address: 10.0.0.1}", "a-1", "10.0.0.1"},
		{"a: {address: \"fe80::1%eth0\"}", "a", "fe80::1%eth0"},
		{"a-[1-2]: {address: \"fd00::[1-2]\"}", "a-1 a-2", "fd00::1 fd00::2"},
		{"édr-1: {address: 10.0.0.1}", "édr-1", "10.0.0.1"},
	} {
		hosts := parse(t, "version: 1\nhosts:\n  "+c.entry+"\n").Hosts
		if hostNames(hosts) != c.names || addresses(hosts) != c.addresses {
			t.Errorf("%s\ngot  %s / %s\nwant %s / %s", c.entry, hostNames(hosts), addresses(hosts), c.names, c.addresses)
		}
	}
}

func TestHostErrors(t *testing.T) {
	const odd = ` has a character other than letters, digits, ".", "_" and "-"`
	const same = " | the ranges in the name and in the address must have the same length"
	const badName = "host name "
	for _, c := range []struct{ entry, want string }{
		{"a-[1-3]: {address: \"10.0.0.[1-2]\"}", "3:22 the name expands to 3, the address to 2" + same},
		{"a-[1-3]: {address: 10.0.0.1}", "3:22 the name expands to 3, the address to 1 host" + same},
		{"a: {address: \"10.0.0.[1-2]\"}", "3:16 the name expands to 1 host, the address to 2" + same},
		{"a: {address: \"10.0.[1-999].[1-999]\"}", "3:16 the name expands to 1 host, the address to more than 100000" + same},
		{"a: {address: \"10.0.[1-1000].[1-100]\"}", "3:16 the name expands to 1 host, the address to 100000" + same},
		{"a-[3-1]: {}", badName + `"a-[3-1]": the range [3-1] runs backwards`},
		{"a-[1:3]: {}", badName + `"a-[1:3]": "[1:3]" is not a range such as [01-12] or [a-c]`},
		{"a-[a-C]: {}", badName + `"a-[a-C]": "[a-C]" is not a range such as [01-12] or [a-c]`},
		{"a-[1-03]: {}", badName + `"a-[1-03]": both ends of [1-03] must have the same number of digits`},
		{"a-[10-0]: {}", badName + `"a-[10-0]": the range [10-0] runs backwards`},
		{"a-[01-3]: {}", badName + `"a-[01-3]": both ends of [01-3] must have the same number of digits`},
		{"a-[1-3: {}", badName + `"a-[1-3": a "[" without a "]"`},
		{"a-1-3]: {}", badName + `"a-1-3]"` + odd},
		{"a-[1-100001]: {}", "more than 100000 hosts"},
		{"a-[0-999999999]b[0-999999999]: {}", "more than 100000 hosts"},
		{"\"\": {}", badName + `"" is empty`},
		{"-a: {}", badName + `"-a" starts with "-"`},
		{"a b: {}", badName + `"a b"` + odd},
		{"a*: {}", badName + `"a*"` + odd},
		{"a=b: {}", badName + `"a=b"` + odd},
		{"'a,b': {}", badName + `"a,b"` + odd},
		{"'!a': {}", badName + `"!a"` + odd},
		{"../../etc: {}", badName + `"../../etc"` + odd},
		{"..: {}", badName + `".." can't be part of a file name`},
		{"\"a\\u202eb\": {}", badName + `"a\u202eb"` + odd + " | the invisible character U+202E is in it: write nothing"},
		{"all: {}", badName + `"all" is reserved: as a selector it means every host`},
		{"a[k-m]l: {}", badName + `"all" is reserved: as a selector it means every host`},
		{strings.Repeat("a", 254) + ": {}", badName + `"` + strings.Repeat("a", 60) + `"… is longer than 253 bytes`},
		{"\"fd00::1\": {}", badName + `"fd00::1"` + odd + ` | give the host a name, and set its "address" to this`},
		{"édr: {}", `address "édr" is not a host name or IP address | give the host an "address"`},
		{"a: {address: 10.0.0.256}", `address "10.0.0.256" is not a host name or IP address`},
		{"a-[1-9]: {address: \"10.0.0.[250-258]\"}", `address "10.0.0.256" is not a host name or IP address`},
		{"a: {address: -oProxyCommand=x}", `address "-oProxyCommand=x" starts with "-"`},
		{"a: {address: me@vm}", `address "me@vm" contains a user | set the user with the key "user"`},
		{"a: {address: \"vm:22\"}", `address "vm:22" contains a port | set the port with the key "port"`},
		{"a: {address: \"[::1]:22\"}", `address "[::1]:22" has brackets that are not a range | write an IPv6 address without brackets; set the port with the key "port"`},
		{"a: {address: \"a b\"}", `address "a b" is not a host name or IP address`},
		{"a: {address: \":::\"}", `address ":::" is not a host name or IP address`},
		{"a: {address: }", "address has no value | leave it out"},
		{"a: {hosts: {}}", `unknown key "hosts" in a host | "hosts" belongs at the top level`},
		{"a: 5", "a host must be a mapping (lines of key: value)"},
		{"[1-2]-a: {}", `3:3 not valid YAML: did not find expected key | text that starts with "[" needs quotes: "[1-2]-a"`},
		{"london: {}", `host "london" has the name of the group at inv.yaml:5:3`},
	} {
		got := problems(t, "version: 1\nhosts:\n  "+c.entry+"\ngroups:\n  london: {}\n")
		s := strings.Join(got, "\n")
		if c.want[0] != '3' {
			_, s, _ = strings.Cut(s, " ")
		}
		if s != c.want {
			t.Errorf("%.60s\ngot  %s\nwant %s", c.entry, s, c.want)
		}
	}
}

func TestGroupErrors(t *testing.T) {
	const twice = "inv.yaml:%s | a host belongs to one group; use labels for a second grouping"
	for _, c := range []struct{ text, want string }{
		{"hosts: {a: }\ngroups: {b: {hosts: {a: }}}", `3:22 host "a" is defined twice; first at ` + fmt.Sprintf(twice, "2:9")},
		{"groups: {b: {hosts: {\"a-[1-3]\": }}, c: {hosts: {\"a-[2-5]\": }}}", `2:49 host "a-2" is defined twice; first at ` + fmt.Sprintf(twice, "2:22")},
		{"groups: {b: {hosts: {a: }}, b: {}}", `2:29 group "b" is given twice; first at inv.yaml:2:10`},
		{"groups: {b: {hosts: {a: }, children: {}}}", `2:28 unknown key "children" in a group | a group contains hosts only; use labels for a second grouping`},
		{"groups: {b: {hosts: {a: }, address: x}}", `2:28 unknown key "address" in a group | "address" belongs in a host`},
		{"groups:\n  b-[1-2]: {hosts: {a: }}", `3:3 group name "b-[1-2]" has a range, which only hosts can have`},
		{"groups: {all: {hosts: {a: }}}", `2:10 group name "all" is reserved: as a selector it means every host`},
		{"hosts: {a: }\ngroups: []", "3:9 groups must be a mapping (lines of key: value)"},
	} {
		if got := strings.Join(problems(t, "version: 1\n"+c.text+"\n"), "\n"); got != c.want {
			t.Errorf("%s\ngot  %s\nwant %s", c.text, got, c.want)
		}
	}
}

// The largest fleet fits; what is too many is reported once, with the first place.
func TestMostHosts(t *testing.T) {
	got := problems(t, "version: 1\nhosts:\n  a-[1-99999]:\n  b:\n  c:\n  d:\n")
	if len(got) != 1 || got[0] != "5:3 more than 100000 hosts" {
		t.Errorf("got %q", got)
	}
}
