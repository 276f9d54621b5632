package sshconfig

import (
	"net/netip"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// One process for each of ten thousand hosts takes a minute of processor time, for the
// same answer each time. Answers differ only by the patterns of Host and Match, by tokens
// in values, the command of `Match exec`, and CanonicalizeHostname. If the files have
// only patterns, two hosts that match the same patterns get the same answer, except for
// HostName if it is the host itself. Otherwise, or if any line is unusual, each host gets
// its own process.

// kind returns a key that is equal for queries with the same answer.
func (r *Resolver) kind(q Query) string {
	parts := []string{q.File, q.User, strconv.Itoa(q.Port), strconv.FormatBool(q.Direct)}
	s := r.survey(q.File)
	if !s.alike || !r.knowsFiles(q.File) || !plainHost(q.Host) || isRewritten(q.Host) {
		return strings.Join(append(parts, "host", q.Host), "\x00")
	}
	bits := make([]byte, len(s.patterns))
	for i, pattern := range s.patterns {
		bits[i] = '0'
		if matched, _ := path.Match(pattern, q.Host); matched {
			bits[i] = '1'
		}
	}
	return strings.Join(append(parts, "like", string(bits)), "\x00")
}

// knowsFiles reports whether ssh reads the same files as the survey. An ssh that was
// built for another directory than /etc/ssh, or has another home directory, does not.
func (r *Resolver) knowsFiles(file string) bool {
	p := r.options.Program
	usual := slices.Contains([]string{"/usr/bin/ssh", "/bin/ssh"}, filepath.Clean(p)) && r.options.Home != ""
	return p == "" || !r.options.HomeGuessed && (file != "" || usual)
}

// plainHost reports whether a name is in lower case and has no unusual characters: ssh
// compares some patterns with the lower-case name and some with the name as written.
func plainHost(host string) bool {
	return strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789.-_:") == ""
}

// isRewritten reports whether host may be an address in a form that ssh replaces by the
// usual one (resolve_addr in OpenSSH's ssh.c): 2001:db8:0::1, 10.1, 0x7f000001. Then its
// HostName is that of no other host.
func isRewritten(host string) bool {
	ip, err := netip.ParseAddr(host)
	if err == nil {
		return ip.String() != host || ip.Is6() && strings.HasPrefix(host, "::")
	}
	return host != "" && host[0] <= '9' && strings.Trim(host, "0123456789abcdefx.") == ""
}

// analyse collects the patterns and sets alike.
func (s *survey) analyse() {
	s.alike = s.doubt == nil
	for _, l := range s.lines {
		switch l.keyword {
		case "host":
			s.addPatterns(strings.Fields(l.value))
		case "match":
			s.analyseMatch(l.value)
		case "canonicalizehostname":
			s.alike = s.alike && strings.EqualFold(l.value, "no")
		case "hostname", "user", "port", "identityfile", "certificatefile", "identityagent", "userknownhostsfile",
			"globalknownhostsfile", "hostkeyalias", "proxyjump":
			s.alike = s.alike && !strings.Contains(l.value, "%")
		}
	}
}

// addPatterns adds patterns. path.Match and ssh agree on patterns that consist of the
// characters of names, * and ?; others clear alike.
func (s *survey) addPatterns(patterns []string) {
	for _, pattern := range patterns {
		pattern = strings.TrimPrefix(pattern, "!")
		if !plainHost(strings.NewReplacer("*", "", "?", "").Replace(pattern)) {
			if lower := strings.ToLower(pattern); lower != pattern {
				s.addPatterns([]string{lower}) // Match host compares in lower case; no plain host matches the original
				continue
			}
			s.alike = false
			continue
		}
		if !slices.Contains(s.patterns, pattern) {
			s.patterns = append(s.patterns, pattern)
		}
	}
}

// analyseMatch analyses the criteria of a Match. All except exec depend only on the host's
// name and HostName, and within one kind these differ only if HostName is the host itself.
func (s *survey) analyseMatch(value string) {
	criteria := strings.Fields(strings.ToLower(value))
	if strings.ContainsAny(value, `"'\#=%$`) {
		s.alike = false
		return
	}
	for i := 0; i < len(criteria); i++ {
		switch strings.TrimPrefix(criteria[i], "!") {
		case "all", "canonical", "final":
		case "host", "originalhost":
			if i++; i < len(criteria) {
				s.addPatterns(strings.Split(criteria[i], ","))
			}
		case "user", "localuser", "localnetwork", "tagged":
			i++
		default:
			s.alike = false
			return
		}
	}
}
