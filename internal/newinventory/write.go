package newinventory

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// keys are the settings that a new inventory may have, in their order, with an example that
// stands as a comment in place of a value.
var keys = []struct{ name, example, about string }{
	{"user", "azureuser", "the login; without it that of ssh_config, else your own"},
	{"port", "", "SSH"},
	{"identity_file", "~/.ssh/id_ed25519", "not needed where ssh_config names it"},
	{"certificate", "certs/fleet.p12.b64", "relative to this file; certs/{name}.p12.b64: one for each host"},
	{"jump", "operator@bastion.example.net", "the jump host, or a list of them; without it that of ssh_config"},
	{"password_from", "", "of the login: ask, {file: PATH}, {env: NAME} or {command: …}"},
	{"sudo", "{password_from: ask}", "without it passwordless; none: the login is root"},
	{"verify", "entra", "asks Azure, before any host is changed, whether it accepts the certificate"},
	{"labels", "{site: london}", "of your choice, for --limit site=london and max_unavailable_per"},
}

const rollout = `rollout:
  parallel: 1                                # agents that restart at once
  # canary: 1                                # hosts of the first wave
  # soak: 10m                                # how long a wave is watched before the next
  # max_unavailable_per: {label: site, count: 1}   # restarts at once among hosts with the same label
`

// text is an inventory while it is written.
type text struct {
	strings.Builder
	count int           // of lines
	hosts map[int]*host // by the number of their line
}

func (t *text) line(indent int, line string) {
	fmt.Fprintf(t, "%*s%s\n", indent, "", line)
	t.count++
}

// write returns the text, and the hosts by the numbers of their lines.
func (d *Draft) write() ([]byte, map[int]*host) {
	t := text{hosts: map[int]*host{}}
	defaults := maps.Clone(d.Defaults)
	if defaults == nil {
		defaults = Settings{}
	}
	maps.Copy(defaults, common(d.hosts))
	d.writeHead(&t, defaults)
	groups, order := d.byGroup()
	if len(groups[""]) > 0 {
		t.addHosts(0, groups[""], defaults)
	}
	if len(order) > 0 {
		t.line(0, "groups:")
	}
	for _, name := range order {
		t.line(2, flow(name)+":")
		shared := common(groups[name]).without(defaults)
		for _, pair := range shared.pairs() {
			t.line(4, pair)
		}
		t.addHosts(4, groups[name], defaults, shared)
	}
	return []byte(t.String()), t.hosts
}

func (t *text) addHosts(indent int, hosts []*host, outer ...Settings) {
	t.line(indent, "hosts:")
	for _, h := range hosts {
		pairs := h.without(outer...).pairs()
		if h.address != h.name {
			pairs = slices.Insert(pairs, 0, "address: "+flow(h.address))
		}
		t.line(indent+2, flow(h.name)+": {"+strings.Join(pairs, ", ")+"}")
		t.hosts[t.count] = h
	}
}

func (d *Draft) writeHead(t *text, defaults Settings) {
	t.line(0, "# yaml-language-server: $schema="+Schema)
	t.line(0, "# "+d.From)
	t.line(0, "# All keys: aoifleet help inventory")
	if notes := d.Notes(); len(notes) > 0 {
		t.line(0, "#")
		t.line(0, "# To review, because it is not carried over or may not be as meant:")
		for _, note := range notes {
			t.line(0, "# - "+note)
		}
	}
	t.line(0, "version: 1")
	t.line(0, fmt.Sprintf("%-44s # %s", "defaults:", "of all hosts; a group or a host may have its own"))
	for _, k := range keys {
		line := defaults.pair(k.name)
		if line == "" && k.example == "" {
			continue
		} else if line == "" {
			line = "# " + k.name + ": " + k.example
		}
		t.line(2, fmt.Sprintf("%-42s # %s", line, k.about))
	}
	for line := range strings.Lines(rollout) {
		t.line(0, strings.TrimSuffix(line, "\n"))
	}
}

// byGroup returns the hosts of each group, and the groups in the order of their first host.
func (d *Draft) byGroup() (groups map[string][]*host, order []string) {
	groups = map[string][]*host{}
	for _, h := range d.hosts {
		if h.group != "" && groups[h.group] == nil {
			order = append(order, h.group)
		}
		groups[h.group] = append(groups[h.group], h)
	}
	return groups, order
}

// pairs returns "key: value" of all settings, in their order.
func (s Settings) pairs() []string {
	var list []string
	for _, k := range keys {
		if pair := s.pair(k.name); pair != "" {
			list = append(list, pair)
		}
	}
	return list
}

// pair returns "key: value", "" if there is no value.
func (s Settings) pair(key string) string {
	if key != "labels" && s[key] != "" {
		return key + ": " + s[key]
	}
	var labels []string
	for _, k := range slices.Sorted(maps.Keys(s)) {
		if name, ok := strings.CutPrefix(k, key+"."); ok {
			labels = append(labels, flow(name)+": "+s[k])
		}
	}
	if labels == nil {
		return ""
	}
	return key + ": {" + strings.Join(labels, ", ") + "}"
}
