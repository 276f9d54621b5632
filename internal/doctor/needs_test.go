package doctor

import (
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/remote"
)

// TestNeeds gives one fault after another to a host on which nothing is wrong, and checks
// the one check that is concerned: its result, and what it says.
func TestNeeds(t *testing.T) {
	cut := &problem.Error{Class: problem.Unreachable, Message: "the host cannot connect to v:443: Connection refused", Hint: "how"}
	prohibited := &problem.Error{Class: problem.Command, Message: "the host's sshd does not forward: open failed", Hint: "AllowTcpForwarding"}
	zone := func(lines ...string) host.Firewall { return host.Firewall{State: "firewalld", Zones: lines} }
	for name, c := range map[string]struct {
		change             func(n *host.Needs, v *Visit)
		check, want, means string
	}{
		"vault refused":    {func(n *host.Needs, _ *Visit) { n.Vaults[0].Err = cut }, "vault", "failed", "Connection refused how"},
		"no forwarding":    {func(n *host.Needs, _ *Visit) { n.Login[0].Err = prohibited }, "entra", "unknown", "does not forward"},
		"managed identity": {func(n *host.Needs, _ *Visit) { n.Login = nil }, "entra", "ok", "no service principal"},
		"one of two": {func(n *host.Needs, _ *Visit) {
			n.Vaults = append(n.Vaults, host.Reached{Err: cut}, host.Reached{Err: prohibited})
		}, "vault", "failed", "refused how"},
		"server away": {func(n *host.Needs, _ *Visit) { n.Servers[0].Err, n.Servers[0].Keys = cut, nil }, "source_server", "failed", "refused"},

		"not compared": {func(n *host.Needs, _ *Visit) { n.Servers[0].Err, n.Servers[0].Keys = prohibited, nil }, "source_host_key", "ok", "s is known, not compared with"},
		"unknown key":  {func(n *host.Needs, _ *Visit) { n.Inspected.Servers[0].Known = nil }, "source_host_key", "failed", "/k has no key of s aoifleet secret hostkey scan"},
		"changed key":  {func(n *host.Needs, _ *Visit) { n.Servers[0].Keys[0].Fingerprint = "SHA256:y" }, "source_host_key", "failed", "s has another key than in /k: SHA256:y"},
		"other type": {func(n *host.Needs, _ *Visit) {
			n.Servers[0].Keys[0] = remote.HostKey{Type: "ssh-ed25519", Fingerprint: "SHA256:y"}
		}, "source_host_key", "failed", "another key"},
		"revoked key": {func(n *host.Needs, _ *Visit) {
			n.Inspected.Servers[0].Known = append(n.Inspected.Servers[0].Known, host.KnownKey{Type: "ssh-rsa", Fingerprint: "SHA256:x", Marker: "revoked"})
		}, "source_host_key", "failed", "revokes the key of s"},
		"authority": {func(n *host.Needs, _ *Visit) {
			n.Inspected.Servers[0].Known = []host.KnownKey{{Type: "ssh-rsa", Fingerprint: "SHA256:z", Marker: "cert-authority"}}
		}, "source_host_key", "ok", "not compared"},
		"no ssh-keygen": {func(n *host.Needs, _ *Visit) {
			n.Inspected.Servers[0].Known, n.Inspected.Servers[0].Why = nil, "the host has no ssh-keygen"
		}, "source_host_key", "unknown", "no ssh-keygen"},

		"newline":           {func(n *host.Needs, _ *Visit) { n.Inspected.Secrets[0].Form = ".N" }, "secrets", "failed", "secret pw: /s/pw ends with whitespace write only"},
		"mode":              {func(n *host.Needs, _ *Visit) { n.Inspected.Secrets[0].Mode = "644" }, "secrets", "failed", "mode 644, not 600 on the host: chmod 600 /s/pw"},
		"owner":             {func(n *host.Needs, _ *Visit) { n.Inspected.Secrets[0].Owner = "root" }, "secrets", "failed", "chown agent /s/pw"},
		"no answer":         {func(n *host.Needs, _ *Visit) { n.Inspected.Secrets[0].State = "" }, "secrets", "unknown", "no answer for pw"},
		"no user":           {func(n *host.Needs, _ *Visit) { n.Inspected.Note = "no user x" }, "secrets", "unknown", "no user x"},
		"too many":          {func(n *host.Needs, _ *Visit) { n.Inspected.More = true }, "secrets", "unknown", "more servers or secrets"},
		"helper":            {func(n *host.Needs, _ *Visit) { n.Inspected.Note, n.Inspected.Firewall.State = "why", "" }, "firewall", "unknown", "why"},
		"no secrets":        {func(n *host.Needs, _ *Visit) { n.Inspected.Secrets = nil }, "secrets", "ok", "no file secret"},
		"no configuration":  {func(_ *host.Needs, v *Visit) { v.Found.Seen.Configured = "" }, "vault", "not made", ""},
		"rules":             {func(n *host.Needs, _ *Visit) { n.Inspected.Firewall.State = "filtered" }, "firewall", "unknown", "not interpreted"},
		"no tool":           {func(n *host.Needs, _ *Visit) { n.Inspected.Firewall.State = "unknown" }, "firewall", "unknown", "no program"},
		"no listener":       {func(_ *host.Needs, v *Visit) { v.Found.Seen.Config.ListenerPort = 0 }, "firewall", "ok", "no MCC EDR source"},
		"no logrotate":      {func(_ *host.Needs, v *Visit) { v.Found.Facts.Without = []string{"logrotate", "zip"} }, "agent_tools", "failed", "no logrotate, zip, which the agent's vendor requires on the host: dnf install logrotate zip"},
		"full log":          {func(_ *host.Needs, v *Visit) { v.Found.Facts.LogSpace = 63 << 20 }, "log_space", "failed", "only 66 MB"},
		"log space unknown": {func(_ *host.Needs, v *Visit) { v.Found.Facts.LogSpace = -1 }, "log_space", "unknown", "does not report"},

		"zone closed": {func(n *host.Needs, _ *Visit) {
			n.Inspected.Firewall = zone("public (default, active)", "  target: default", "  services: cockpit ssh", "  ports: 36000/tcp 36001/udp", "  rich rules: ", "trusted", "  target: ACCEPT")
		}, "firewall", "failed", "no active zone (public) on the host: firewall-cmd --permanent --zone=public --add-port=36001/tcp"},
		"zone open": {func(n *host.Needs, _ *Visit) {
			n.Inspected.Firewall = zone("public (active)", "  ports: 36000-36010/tcp", "trusted (active)", "  target: ACCEPT")
		}, "firewall", "ok", "admits port 36001 (public; trusted)"},
		"zone with a service": {func(n *host.Needs, _ *Visit) {
			n.Inspected.Firewall = zone("public (active)", "  services: ssh agent")
		}, "firewall", "unknown", "may admit"},
		"zone with a rule": {func(n *host.Needs, _ *Visit) {
			n.Inspected.Firewall = zone("public (active)", "  rich rules: ", "\trule family=\"ipv4\" accept")
		}, "firewall", "unknown", "may admit"},
		"one zone of two": {func(n *host.Needs, _ *Visit) {
			n.Inspected.Firewall = zone("a (active)", "  ports: 36001/tcp", "b (active)", "  ports: ")
		}, "firewall", "unknown", "in zone a, but not in b"},
		"no zone": {func(n *host.Needs, _ *Visit) { n.Inspected.Firewall = zone("public", "  ports: 36001/tcp") }, "firewall", "unknown", "no active zone"},
	} {
		t.Run(name, func(t *testing.T) {
			v := healthyVisit()
			c.change(&v.Found.Needs, &v)
			for _, check := range Checks(v) {
				result := "not made"
				switch {
				case check.Failed():
					result = "failed"
				case check.OK != nil:
					result = "ok"
				case check.Message != "":
					result = "unknown"
				}
				said := check.Message + " " + check.Hint + strings.Join(check.Command, " ")
				if check.Name == c.check && (result != c.want || !strings.Contains(said, c.means)) {
					t.Errorf("%s: %q", result, said)
				}
			}
		})
	}
}

// TestFewAreNamed: a configuration with many faults does not flood the report.
func TestFewAreNamed(t *testing.T) {
	v := healthyVisit()
	for range 9 {
		v.Found.Inspected.Secrets = append(v.Found.Inspected.Secrets, host.Secret{FileSecret: host.FileSecret{Name: "x", Path: "/x"}, State: "missing"})
	}
	for _, c := range Checks(v) {
		if c.Name == "secrets" && !strings.HasSuffix(c.Message, "; and 6 more") {
			t.Errorf("%+v", c)
		}
	}
}
