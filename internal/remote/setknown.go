package remote

import (
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// KnownChange is a known_hosts file as SetKnownHosts changes it. Keys are TYPE FINGERPRINT.
type KnownChange struct {
	Text            []byte
	Known           []string // keys that it had already
	Added, Replaced []string
	Kept            []string // of the same name, of other types
}

// Suspect reports whether the file had keys for the name, but none of the new ones, or another
// one of the same type.
func (c KnownChange) Suspect() bool {
	return len(c.Replaced) > 0 || len(c.Known) == 0 && len(c.Kept) > 0
}

// SetKnownHosts returns a known_hosts file in which keys, of different types, are those of name:
// HOST, or [HOST]:PORT. Other keys of these types are no longer for this name; all other lines
// stay as they are. It is an error if the file revokes a key, or if a pattern gives name another
// one: then other hosts may depend on that line.
func SetKnownHosts(text []byte, name string, keys []HostKey) (KnownChange, *problem.Error) {
	var c KnownChange
	var lines []string
	place := make([]int, len(keys)) // of the replaced line, counted from 1
	known := make([]bool, len(keys))
	number := 0
	for raw := range strings.Lines(string(text)) {
		number++
		lines = append(lines, raw)
		l, ok := parseKnownLine(strings.TrimSuffix(raw, "\n"))
		if !ok || !l.matches(name) && !l.matches(strings.ToLower(name)) {
			continue
		}
		at := slices.IndexFunc(keys, func(k HostKey) bool { return l.key != nil && k.Type == l.key.Type() })
		switch {
		case l.marker == markerRevoked && (l.key == nil || at >= 0 && sameKey(l.key, keys[at].key)):
			return c, problem.New(problem.Configuration, "use no server with this key", "line %d of the file revokes the server's key, or can't be read", number)
		case l.marker != "" || l.key == nil:
		case at < 0:
			c.Kept = append(c.Kept, describe(l.key))
		case sameKey(l.key, keys[at].key):
			known[at] = true
		default:
			if lines[number-1], ok = l.without(name, raw); !ok {
				return c, problem.New(problem.Configuration, "correct that line on the host", "line %d of the file has a pattern that gives the server another key", number)
			}
			c.Replaced = append(c.Replaced, describe(l.key))
			if place[at] == 0 {
				place[at] = number
			}
		}
	}
	if n := len(lines); n > 0 && !strings.HasSuffix(lines[n-1], "\n") && slices.Contains(known, false) {
		lines[n-1] = strings.TrimPrefix(lines[n-1]+"\n", "\n") // it may be empty now
	}
	for i, k := range keys {
		// Not knownhosts.Line: it writes an IPv6 address as [ADDRESS], which OpenSSH does not find.
		line := name + " " + string(ssh.MarshalAuthorizedKey(k.key)) // ends the line
		switch {
		case known[i]:
			c.Known = append(c.Known, describe(k.key))
			continue
		case place[i] > 0:
			lines[place[i]-1] += line
		default:
			lines = append(lines, line)
		}
		c.Added = append(c.Added, describe(k.key))
	}
	c.Text = []byte(strings.Join(lines, ""))
	return c, nil
}

// without returns the line without a name: "" if it is for no other one. It is false if a pattern
// still matches.
func (l knownLine) without(name, raw string) (string, bool) {
	if l.salt != nil {
		return "", true // a hash is of one name
	}
	list, rest := nextWord(strings.TrimLeft(raw, " \t"))
	others := slices.DeleteFunc(strings.Split(list, ","), func(n string) bool { return strings.EqualFold(n, name) })
	l.hosts, l.simple = strings.ToLower(strings.Join(others, ",")), false
	if len(others) == 0 {
		return "", true
	}
	return strings.Join(others, ",") + " " + rest, !l.matches(strings.ToLower(name))
}
