package inventory

import (
	"slices"
	"strings"
	"testing"
)

// One machine under two names is refused in every spelling of its address, and the error
// has the position of both.
func TestOneMachineTwice(t *testing.T) {
	const hint = ` | remove one of them; if it is another machine in another network, set its "jump"`
	tests := []struct{ name, text, want string }{
		{"address", "hosts:\n  a: {address: 10.0.0.1}\n  b: {address: 10.0.0.1}\n", `4:16 host "b" has the address and port of host "a" at inv.yaml:3:16` + hint},
		{"case", "hosts:\n  a: {address: vm.example.net}\n  b: {address: VM.Example.Net}\n", `4:16 host "b" has the address and port of host "a" at inv.yaml:3:16` + hint},
		{"final dot", "hosts:\n  a: {address: vm.example.net.}\n  b: {address: vm.example.net}\n", `4:16 host "b" has the address and port of host "a" at inv.yaml:3:16` + hint},
		{"IPv6", "hosts:\n  a: {address: \"fd00::1\"}\n  b: {address: \"FD00:0:0::0001\"}\n", `4:16 host "b" has the address and port of host "a" at inv.yaml:3:16` + hint},
		{"IPv4 in IPv6", "hosts:\n  a: {address: 10.0.0.1}\n  b: {address: \"::ffff:10.0.0.1\"}\n", `4:16 host "b" has the address and port of host "a" at inv.yaml:3:16` + hint},
		{"a name is an address", "hosts:\n  vm-1: {}\n  b: {address: VM-1}\n", `4:16 host "b" has the address and port of host "vm-1" at inv.yaml:3:3` + hint},
		{"names in two cases", "hosts:\n  vm-1: {}\n  VM-1: {}\n", `4:3 host "VM-1" has the address and port of host "vm-1" at inv.yaml:3:3` + hint},
		{"groups", "groups:\n  g: {hosts: {a: {address: 10.0.0.1}}}\n  h: {hosts: {b: {address: 10.0.0.1}}}\n", `4:28 host "b" has the address and port of host "a" at inv.yaml:3:28` + hint},
		{"a range meets another", "hosts:\n  a-[1-3]: {address: \"10.0.0.[1-3]\"}\n  b-[1-9]: {address: \"10.0.0.[2-10]\"}\n", `4:22 host "b-1" has the address and port of host "a-2" at inv.yaml:3:22` + hint},
		{"a range meets itself", "hosts:\n  a-[1-2]b[1-2]: {address: \"10.0.0.[1-2][1-2]\"}\n  x: {address: 10.0.0.21}\n", `4:16 host "x" has the address and port of host "a-2b1" at inv.yaml:3:28` + hint},
		{"user", "hosts:\n  a: {address: 10.0.0.1, user: u}\n  b: {address: 10.0.0.1, user: v}\n", `4:16 host "b" has the address and port of host "a" at inv.yaml:3:16` + hint},
		{"port", "hosts:\n  a: {address: 10.0.0.1, port: 2222}\n  b: {address: 10.0.0.1, port: 2222}\n", `4:16 host "b" has the address and port of host "a" at inv.yaml:3:16` + hint},
		{"the default port", "defaults: {ssh_config: none}\nhosts:\n  a: {address: 10.0.0.1, port: 22}\n  b: {address: 10.0.0.1}\n", `5:16 host "b" has the address and port of host "a" at inv.yaml:4:16` + hint},
		{"jump host", "defaults: {jump: gate}\nhosts:\n  a: {address: 10.0.0.1}\n  b: {address: 10.0.0.1, jump: GATE.}\n", `5:16 host "b" has the address and port of host "a" at inv.yaml:4:16` + hint},
		{"its default port", "defaults: {ssh_config: none}\nhosts:\n  a: {address: 10.0.0.1, jump: gate}\n  b: {address: 10.0.0.1, jump: \"gate:22\"}\n", `5:16 host "b" has the address and port of host "a" at inv.yaml:4:16` + hint},
		{"no jump host", "defaults: {ssh_config: none}\nhosts:\n  a: {address: 10.0.0.1, jump: none}\n  b: {address: 10.0.0.1}\n", `5:16 host "b" has the address and port of host "a" at inv.yaml:4:16` + hint},
	}
	for _, tt := range tests {
		if got := problems(t, "version: 1\n"+tt.text); !slices.Equal(got, []string{tt.want}) {
			t.Errorf("%s\ngot  %s\nwant %s", tt.name, strings.Join(got, "\n     "), tt.want)
		}
	}
}

// Hosts that may be two machines are accepted.
func TestTwoMachines(t *testing.T) {
	for name, text := range map[string]string{
		"another port":          "hosts:\n  a: {address: 10.0.0.1, port: 22}\n  b: {address: 10.0.0.1, port: 23}\n",
		"another jump host":     "hosts:\n  a: {address: 10.0.0.1, jump: east}\n  b: {address: 10.0.0.1, jump: west}\n",
		"one more jump host":    "hosts:\n  a: {address: 10.0.0.1, jump: east}\n  b: {address: 10.0.0.1, jump: [east, west]}\n",
		"the other way round":   "hosts:\n  a: {address: 10.0.0.1, jump: [west, east]}\n  b: {address: 10.0.0.1, jump: [east, west]}\n",
		"none":                  "hosts:\n  a: {address: 10.0.0.1, jump: east}\n  b: {address: 10.0.0.1, jump: none}\n",
		"another port on it":    "hosts:\n  a: {address: 10.0.0.1, jump: east}\n  b: {address: 10.0.0.1, jump: \"east:2222\"}\n",
		"another user on it":    "hosts:\n  a: {address: 10.0.0.1, jump: east}\n  b: {address: 10.0.0.1, jump: me@east}\n",
		"ssh_config may say":    "hosts:\n  a: {address: 10.0.0.1, port: 22}\n  b: {address: 10.0.0.1}\n",
		"or name a jump host":   "hosts:\n  a: {address: vm, jump: none}\n  b: {address: vm}\n",
		"another configuration": "hosts:\n  a: {address: vm, ssh_config: east}\n  b: {address: vm, ssh_config: west}\n",
		"another zone":          "hosts:\n  a: {address: \"fe80::1%eth0\"}\n  b: {address: \"fe80::1%eth1\"}\n",
	} {
		if got := problems(t, "version: 1\n"+text); len(got) > 0 {
			t.Errorf("%s: %s", name, strings.Join(got, "\n"))
		}
	}
}
