package newinventory

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/jump"
	"github.com/aoifleet/aoifleet/internal/problem"
)

const lineForm = "write a name, [USER@]ADDRESS[:PORT], or NAME and one of these; a # begins a comment"

// FromList makes an inventory of a list of hosts, as for a loop of a shell: on each line a name,
// [user@]address[:port], or a name and one of these. what names a line in errors: "line".
func FromList(text, what string) (*Draft, error) {
	d := &Draft{Strict: true, From: "The VMs with ingestion agents, and how to reach them."}
	if !utf8.ValidString(text) {
		return nil, problem.New(problem.Usage, "save it as UTF-8", "the list of hosts is not UTF-8 text")
	}
	n, seen := 0, map[string]string{}
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		n++
		line, _, _ = strings.Cut(line, "#")
		if strings.TrimSpace(line) == "" {
			continue
		}
		h, wrong := listed(strings.Fields(line))
		h.from = fmt.Sprintf("%s %d", what, n)
		if wrong == "" && seen[h.name] != "" {
			wrong = "the host is also on " + seen[h.name]
		}
		if wrong != "" {
			return nil, problem.New(problem.Usage, lineForm, "%s: %s", h.from, wrong)
		}
		seen[h.name] = h.from
		d.hosts = append(d.hosts, h)
	}
	return d, nil
}

// listed reads the words of one line. What is wrong does not quote them: one may be a password.
func listed(words []string) (h *host, wrong string) {
	h = &host{Settings: Settings{}}
	if len(words) > 2 {
		return h, fmt.Sprintf("it has %d words", len(words))
	}
	target := words[len(words)-1]
	if _, err := netip.ParseAddr(words[0]); err == nil && len(words) == 2 { // as in /etc/hosts
		target, words[0] = words[0], target
	}
	hop, err := jump.Parse(target)
	if err != nil {
		return h, err.Error()
	}
	h.address = hop.Host
	h.name = nameOf(hop.Host)
	if len(words) == 2 {
		h.name = words[0]
	}
	h.login(hop.User, hop.Port)
	return h, ""
}

// login stores the user and the port, if they are given.
func (h *host) login(user string, port int) {
	if user != "" {
		h.Set("user", user)
	}
	if port != 0 {
		h.Set("port", port)
	}
}

// nameOf returns the name of a host that has only an address: the address, of an IPv6 address
// with "-" for what a name can't have.
func nameOf(address string) string {
	if ip, err := netip.ParseAddr(address); err == nil && ip.Is6() {
		return "ip-" + strings.Trim(strings.NewReplacer(":", "-", "%", "-").Replace(address), "-")
	}
	return address
}

// OneOrMore returns the value of a setting for a text, or for several with a comma between two.
func OneOrMore(text string) any {
	if list := strings.Split(text, ","); len(list) > 1 {
		return list
	}
	return text
}

// With stores a setting of all hosts, and returns what is wrong with it, "" if nothing.
func (d *Draft) With(key string, value any, env inventory.Env) string {
	if d.Defaults == nil {
		d.Defaults = Settings{}
	}
	d.Defaults.Set(key, value)
	return d.Defaults.Check(key, env)
}
