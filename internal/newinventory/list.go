package newinventory

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/jump"
	"github.com/aoifleet/aoifleet/internal/problem"
)

const lineForm = "write a name, [USER@]ADDRESS[:PORT], or NAME and one of these; a # after a space begins a comment"

// FromList makes an inventory of a list of hosts, as for a loop of a shell: on each line a name,
// [user@]address[:port], or a name and one of these. what names a line in errors: "line".
func FromList(text, what string) (*Draft, error) {
	d := &Draft{Strict: true, From: "The VMs with ingestion agents, and how to reach them."}
	if !utf8.ValidString(text) {
		return nil, problem.New(problem.Usage, "save it as UTF-8", "the list of hosts is not UTF-8 text")
	}
	n, seen := 0, map[string]string{}
	for line := range strings.Lines(text) {
		n++
		words := strings.Fields(line)
		if comment := slices.IndexFunc(words, func(w string) bool { return w[0] == '#' }); comment >= 0 {
			words = words[:comment]
		}
		if len(words) == 0 {
			continue
		}
		h, wrong := listed(words)
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
	if len(words) == 2 && isIP(words[0]) && !isIP(target) { // as in /etc/hosts
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
	if hop.User != "" {
		h.Set("user", hop.User)
	}
	if hop.Port != 0 {
		h.Set("port", hop.Port)
	}
	return h, ""
}

func isIP(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
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

// AskSudo is the setting sudo of hosts whose password for sudo is asked for.
const AskSudo = "{password_from: ask}"

// With stores a setting of all hosts, as Set does, and returns what is wrong with it, "" if nothing.
func (d *Draft) With(key string, value any, env inventory.Env) string {
	if d.Defaults == nil {
		d.Defaults = Settings{}
	}
	if d.Defaults.Set(key, value); key == "sudo" && value == AskSudo {
		d.Defaults[key] = AskSudo
	}
	return d.Defaults.Check(key, env)
}
