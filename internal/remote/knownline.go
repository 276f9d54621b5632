package remote

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/display"
)

// The markers of a line of known_hosts (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).
const (
	markerAuthority = "@cert-authority"
	markerRevoked   = "@revoked"
)

// knownLine is a line of a known_hosts file that is neither empty nor a comment.
type knownLine struct {
	file   string
	number int
	marker string // "", markerAuthority or markerRevoked
	hosts  string // names and patterns in lower case, or a hashed name; "": not readable
	simple bool   // hosts is a single name
	salt   []byte // of a hashed name; nil: hosts has names or patterns
	hash   []byte // HMAC-SHA1 of the name with salt
	key    ssh.PublicKey
	wrong  string // why the line is not usable; then key is nil
}

// place returns the file and line, for a message.
func (l *knownLine) place() string {
	return fmt.Sprintf("%s:%d", display.Sanitise(l.file, 400), l.number)
}

// parseKnownHosts returns the lines of a file. Like ssh (hostkeys_foreach_file in
// OpenSSH's hostfile.c) it rejects no file for a line that is not usable.
func parseKnownHosts(file, text string) []knownLine {
	var lines []knownLine
	number := 0
	for raw := range strings.SplitSeq(text, "\n") {
		number++
		if l, ok := parseKnownLine(raw); ok {
			l.file, l.number = file, number
			lines = append(lines, l)
		}
	}
	return lines
}

// parseKnownLine returns false for an empty line or a comment. A line that may be an
// @revoked one and is not usable has that marker: it may revoke any key.
func parseKnownLine(raw string) (knownLine, bool) {
	text, _, _ := strings.Cut(raw, "\x00")                           // ssh reads a C string
	text = strings.TrimRight(strings.TrimLeft(text, " \t"), " \t\r") // to ssh a CR may begin a name
	revokes := mayRevoke(raw)
	if (text == "" || text[0] == '#') && !revokes {
		return knownLine{}, false
	}
	var l knownLine
	if err := l.parse(text); err != nil {
		l.key, l.wrong = nil, err.Error()
		if len(text) < len(raw) && strings.Contains(raw, "\x00") {
			l.wrong = "a zero byte, as in UTF-16"
		}
		if revokes && l.marker != markerRevoked {
			l = knownLine{marker: markerRevoked, wrong: l.wrong}
		}
	}
	return l, true
}

// withoutEncoding removes byte order marks and the zeros of UTF-16.
var withoutEncoding = strings.NewReplacer("\x00", "", "\ufeff", "", "\xff\xfe", "", "\xfe\xff", "")

// mayRevoke returns whether a line has the marker @revoked, also in another encoding
// or after another marker.
func mayRevoke(raw string) bool {
	for i, word := range strings.Fields(strings.ToLower(withoutEncoding.Replace(raw))) {
		switch {
		case i > 1 || word[0] == '#':
			return false
		case strings.HasPrefix(word, markerRevoked):
			return true
		}
	}
	return false
}

// parse sets the fields from the text of a line.
func (l *knownLine) parse(text string) error {
	marker, rest := nextWord(text)
	if marker != "" && marker[0] == '@' {
		// To ssh a marker ends with a space if the line has one (check_markers in hostfile.c).
		if marker != markerRevoked && (marker != markerAuthority || strings.HasPrefix(text[len(marker):], "\t") && strings.Contains(text, " ")) {
			return errors.New("unknown marker")
		}
		l.marker, text = marker, rest
	}
	hosts, rest := nextWord(text)
	if rest == "" || rest[0] == '#' {
		return errors.New("no key")
	}
	if hosts[0] == '@' {
		return errors.New("two markers")
	}
	if hosts[0] == '|' {
		if l.salt, l.hash = parseHash(hosts); l.salt == nil {
			return errors.New("damaged hashed name")
		}
		l.hosts = hosts
	} else {
		l.hosts = strings.Clone(strings.ToLower(hosts)) // not a part of the whole file
		l.simple = len(hosts) < maxPattern && !strings.ContainsAny(hosts, "*?!,")
	}
	keyType, rest := nextWord(rest)
	blob, _ := nextWord(rest)
	var err error
	l.key, err = parseKnownKey(keyType, blob)
	return err
}

func nextWord(s string) (word, rest string) {
	end := strings.IndexAny(s, " \t")
	if end < 0 {
		return s, ""
	}
	return s[:end], strings.TrimLeft(s[end:], " \t")
}

func parseKnownKey(keyType, blob string) (ssh.PublicKey, error) {
	if strings.Trim(keyType, "0123456789") == "" {
		return nil, errors.New("a key of SSH protocol 1")
	}
	data, err := base64.StdEncoding.Strict().DecodeString(blob)
	if err != nil || len(data) == 0 {
		return nil, errors.New("damaged key")
	}
	key, err := ssh.ParsePublicKey(data)
	switch {
	case err != nil && strings.Contains(err.Error(), "unknown key algorithm"):
		return nil, fmt.Errorf("unknown key type %s", display.Quote(keyType, 40))
	case err != nil:
		return nil, errors.New("damaged key")
	case !isOfType(keyType, key.Type()): // ssh accepts the names of RSA's signatures too
		return nil, errors.New("the key is not of the type that the line names")
	}
	return key, nil
}

// parseHash returns salt and hash of a hashed name, |1|SALT|HASH; nil if it is damaged.
func parseHash(name string) (salt, hash []byte) {
	first, second, _ := strings.Cut(strings.TrimPrefix(name, "|1|"), "|")
	code := base64.StdEncoding
	salt, _ = code.DecodeString(first)
	hash, _ = code.DecodeString(second)
	if len(salt) != sha1.Size || name != "|1|"+code.EncodeToString(salt)+"|"+code.EncodeToString(hash) { // ssh compares the text
		return nil, nil
	}
	return salt, hash
}

// matches returns whether the line is for a name of knownNames (match_maybe_hashed
// in hostfile.c). A line that revokes an unknown key for unknown hosts is for all.
func (l *knownLine) matches(name string) bool {
	switch {
	case l.hosts == "":
		return l.marker == markerRevoked
	case l.simple:
		return l.hosts == name
	case l.salt != nil:
		mac := hmac.New(sha1.New, l.salt)
		mac.Write([]byte(name))
		return bytes.Equal(l.hash, mac.Sum(nil))
	}
	return matchesList(l.hosts, name)
}

// maxPattern is the length from which on ssh matches nothing with a list
// (match_pattern_list in OpenSSH's match.c).
const maxPattern = 1023

// matchesList returns whether a list of patterns matches name; a negated pattern that
// matches rejects it.
func matchesList(list, name string) bool {
	found := false
	for pattern := range strings.SplitSeq(list, ",") {
		pattern, negated := strings.CutPrefix(pattern, "!")
		switch {
		case len(pattern) >= maxPattern:
			return false
		case !matchesPattern(pattern, name):
		case negated:
			return false
		default:
			found = true
		}
	}
	return found
}

// matchesPattern returns whether a pattern with * and ? matches all of name. It goes
// back to the last * only: its time is bounded by the product of the lengths.
func matchesPattern(pattern, name string) bool {
	p, n, star, next := 0, 0, -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, next = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			p, n = p+1, n+1
		case star >= 0:
			next++
			p, n = star+1, next
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
