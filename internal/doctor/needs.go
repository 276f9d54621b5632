package doctor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/remote"
)

// leastLogSpace is the free space below which the agent's log and metrics may soon stop.
const leastLogSpace = 64 << 20

// installation checks what the vendor has installed with the agent, and the log's disk.
func (c chart) installation(facts *host.Facts) {
	if len(facts.Without) > 0 {
		c.fail("agent_tools", "the host has no "+strings.Join(facts.Without, ", ")+", which the agent's vendor requires", onTheHost(install(facts, facts.Without...)))
	} else {
		c.ok("agent_tools", "logrotate, zip")
	}
	switch {
	case facts.LogSpace < 0:
		c.unknown("log_space", "the host does not report the free space of the agent's log")
	case facts.LogSpace < leastLogSpace:
		c.fail("log_space", fmt.Sprintf("only %d MB are free for the agent's log", facts.LogSpace/1e6), "free at least 64 MB; is logrotate running?")
	default:
		c.ok("log_space", fmt.Sprintf("%d MB free", facts.LogSpace/1e6))
	}
}

// needs checks what the agent needs besides its certificate, if its configuration is known.
func (c chart) needs(v Visit) {
	seen, needs := v.Found.Seen, v.Found.Needs
	if seen == nil || seen.Configured == "" || !c.passed("configuration") {
		return
	}
	c.reached("entra", "no service principal", needs.Login)
	c.reached("vault", "no vault", needs.Vaults)
	c.reached("source_server", "no SFTP source", needs.Servers)
	i := needs.Inspected
	if i == nil {
		return
	}
	c.hostKeys(i, needs.Servers)
	c.secrets(i)
	c.firewall(i, seen.Config.ListenerPort)
}

// findings are the results of one check for several things.
type findings struct{ good, bad, unknown, hints []string }

func (f *findings) failed(p *problem.Error) {
	f.bad = append(f.bad, p.Message)
	if p.Hint != "" && !slices.Contains(f.hints, p.Hint) {
		f.hints = append(f.hints, p.Hint)
	}
}

// conclude sets the check: a failure counts most, then what is unknown.
func (c chart) conclude(name, none string, f findings) {
	switch {
	case len(f.bad) > 0:
		c.fail(name, few(f.bad), few(f.hints))
	case len(f.unknown) > 0:
		c.unknown(name, few(f.unknown))
	case len(f.good) == 0:
		c.ok(name, none)
	default:
		c.ok(name, few(f.good))
	}
}

// few returns the first of texts.
func few(texts []string) string {
	const most = 3
	if len(texts) > most {
		return strings.Join(texts[:most], "; ") + fmt.Sprintf("; and %d more", len(texts)-most)
	}
	return strings.Join(texts, "; ")
}

// reached checks that the host can connect.
func (c chart) reached(name, none string, results []host.Reached) {
	var f findings
	for _, r := range results {
		p := problemOf(r.Err)
		switch {
		case p == nil:
			f.good = append(f.good, r.String())
		case r.Unknown():
			if !slices.Contains(f.unknown, p.Message) {
				f.unknown = append(f.unknown, p.Message)
			}
		default:
			f.failed(p)
		}
	}
	c.conclude(name, none, f)
}

// hostKeys checks that the host keys of the SFTP servers are known, and are those that
// the servers have, as far as these answered.
func (c chart) hostKeys(i *host.Inspection, reached []host.Reached) {
	var f findings
	scan := false
	for n, s := range i.Servers {
		file := display.Sanitise(s.KnownHosts, 4096)
		var state remote.KeyState = "not compared"
		if n < len(reached) && len(reached[n].Keys) == 1 {
			state = s.States(reached[n].Keys)[0]
		}
		wrong := ""
		switch {
		case s.Why != "":
			f.unknown = append(f.unknown, s.Why)
		case len(s.Known) == 0:
			wrong = file + " has no key of " + s.KnownName()
		case state == remote.KeyChanged || state == remote.KeyNew:
			wrong = s.KnownName() + " has another key than in " + file + ": " + reached[n].Keys[0].Fingerprint
		case state == remote.KeyRevoked:
			wrong = file + " revokes the key of " + s.KnownName()
		case state == remote.KeyKnown:
			f.good = append(f.good, s.KnownName()+" is known")
		default:
			f.good = append(f.good, s.KnownName()+" is known, not compared with the server's key")
		}
		if wrong != "" {
			f.failed(&problem.Error{Message: wrong})
			scan = true
		}
	}
	c.conclude("source_host_key", "no SFTP source", f)
	if scan {
		c.failWithCommand("source_host_key", few(f.bad), "secret", "hostkey", "scan")
	}
}

// secrets checks the form, owner and mode of the file secrets.
func (c chart) secrets(i *host.Inspection) {
	var f findings
	for _, s := range i.Secrets {
		p := s.Problem(i.User)
		switch {
		case s.Path != "" && i.Note != "":
			f.unknown = []string{i.Note}
		case s.Path != "" && s.State == "":
			f.unknown = append(f.unknown, "the host gave no answer for "+display.Sanitise(s.Name, 200))
		case p != nil:
			f.failed(p)
		default:
			f.good = append(f.good, display.Sanitise(s.Name, 200))
		}
	}
	if i.More {
		f.unknown = append(f.unknown, "the configuration has more servers or secrets than are checked")
	}
	c.conclude("secrets", "no file secret", f)
}

// firewall checks that the port of the MCC EDR listener is not closed. It judges only what
// is certain.
func (c chart) firewall(i *host.Inspection, port int) {
	const name = "firewall"
	switch f := i.Firewall; {
	case port == 0:
		c.ok(name, "no MCC EDR source")
	case f.State == "" && i.Note != "":
		c.unknown(name, i.Note)
	case f.State == "none":
		c.ok(name, "the host has none")
	case f.State == "firewalld":
		c.zones(readZones(f.Zones, port), port)
	case f.State == "filtered":
		c.unknown(name, "the host has packet filter rules, which are not interpreted")
	default:
		c.unknown(name, "no program on the host tells whether it has a packet filter")
	}
}

// zones are firewalld's active zones, by whether they admit a port.
type zones struct{ open, closed, unsure []string }

func (c chart) zones(z zones, port int) {
	switch {
	case len(z.unsure) > 0:
		c.unknown("firewall", fmt.Sprintf("firewalld has services or rules in zone %s that may admit port %d", few(z.unsure), port))
	case len(z.closed) == 0 && len(z.open) == 0:
		c.unknown("firewall", "firewalld reports no active zone")
	case len(z.closed) == 0:
		c.ok("firewall", fmt.Sprintf("firewalld admits port %d (%s)", port, few(z.open)))
	case len(z.open) > 0:
		c.unknown("firewall", fmt.Sprintf("firewalld admits port %d in zone %s, but not in %s", port, few(z.open), few(z.closed)))
	default:
		fix := fmt.Sprintf("firewall-cmd --permanent --zone=%s --add-port=%d/tcp && firewall-cmd --reload", display.ArgOn("linux", z.closed[0]), port)
		c.fail("firewall", fmt.Sprintf("firewalld admits port %d in no active zone (%s)", port, few(z.closed)), onTheHost(fix))
	}
}

// knownServices are services of firewalld that use other ports than a listener may.
var knownServices = []string{"cockpit", "dhcpv6-client", "mdns", "ssh"}

// readZones reads the output of firewall-cmd --list-all-zones: a line for each zone, with
// "active" in parentheses, and indented lines KEY: VALUE, and a line for each rich rule.
func readZones(lines []string, port int) (z zones) {
	zone, open, unsure := "", false, false
	end := func() {
		switch {
		case zone == "":
		case open:
			z.open = append(z.open, zone)
		case unsure:
			z.unsure = append(z.unsure, zone)
		default:
			z.closed = append(z.closed, zone)
		}
		zone, open, unsure = "", false, false
	}
	for _, line := range lines {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		words := strings.Fields(value)
		switch {
		case line != "" && !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "\t"):
			end()
			name, state, _ := strings.Cut(line, " (")
			if slices.Contains(strings.FieldsFunc(state, func(r rune) bool { return r == ',' || r == ' ' || r == ')' }), "active") {
				zone = display.Sanitise(name, 100)
			}
		case key == "target":
			open = open || value == " ACCEPT"
		case key == "ports":
			open = open || slices.ContainsFunc(words, func(w string) bool { return includes(w, port) })
		case key == "services":
			unsure = unsure || slices.ContainsFunc(words, func(w string) bool { return !slices.Contains(knownServices, w) })
		case key == "protocols", key == "forward-ports", key == "source-ports", strings.HasPrefix(key, "rule "):
			unsure = unsure || len(words) > 0 || strings.HasPrefix(key, "rule ")
		}
	}
	end()
	return z
}

// includes reports whether PORT/tcp or FIRST-LAST/tcp includes a port.
func includes(text string, port int) bool {
	span, found := strings.CutSuffix(text, "/tcp")
	first, last, many := strings.Cut(span, "-")
	if !many {
		last = first
	}
	from, err := strconv.Atoi(first)
	to, err2 := strconv.Atoi(last)
	return found && err == nil && err2 == nil && from <= port && port <= to
}
