package sshconfig

import (
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A process for each of ten thousand hosts is a minute of a processor, for
// answers that are all the same. What makes them differ is few things: the
// patterns of Host and Match, tokens in values, the command of `Match exec`, and
// CanonicalizeHostname. Where the files have none but the first, hosts of which
// each pattern matches both or neither get the same answer, but for HostName
// where it is the host itself; where they have more, or anything that is not
// plain, each host has a process of its own.

// kind is equal for queries that get the same answer.
func (r *Resolver) kind(q Query) string {
	parts := []string{q.File, q.User, strconv.Itoa(q.Port), strconv.FormatBool(q.Direct)}
	s := r.survey(q.File)
	if !s.alike || !r.knowsFiles(q.File) || !plainHost(q.Host) {
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

// knowsFiles: an ssh that was built for another place than /etc/ssh, or has
// another home directory, reads other files than the survey.
func (r *Resolver) knowsFiles(file string) bool {
	p := r.options.Program
	usual := slices.Contains([]string{"/usr/bin/ssh", "/bin/ssh"}, filepath.Clean(p)) && r.options.Home != ""
	return p == "" || !r.options.HomeGuessed && (file != "" || usual)
}

// plainHost: ssh compares some patterns with the name in lower case, some as it
// is written.
func plainHost(host string) bool {
	return strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789.-_:") == ""
}

// judge collects the patterns, and tells whether nothing else counts.
func (s *survey) judge() {
	s.alike = s.doubt == nil
	for _, l := range s.lines {
		switch l.keyword {
		case "host":
			s.note(strings.Fields(l.value))
		case "match":
			s.judgeMatch(l.value)
		case "canonicalizehostname":
			s.alike = s.alike && strings.EqualFold(l.value, "no")
		case "hostname", "user", "port", "identityfile", "certificatefile", "identityagent", "userknownhostsfile",
			"globalknownhostsfile", "hostkeyalias", "proxyjump":
			s.alike = s.alike && !strings.Contains(l.value, "%")
		}
	}
}

// note adds patterns; path.Match understands them as ssh does where they are
// made of what names are made of, * and ?.
func (s *survey) note(patterns []string) {
	for _, pattern := range patterns {
		pattern = strings.TrimPrefix(pattern, "!")
		if !plainHost(strings.NewReplacer("*", "", "?", "").Replace(pattern)) {
			if lower := strings.ToLower(pattern); lower != pattern {
				s.note([]string{lower}) // Match host compares in lower case; nothing plain matches the other
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

// judgeMatch reads the criteria of a Match. All but exec depend on the host
// through its name and HostName alone, and within one kind these differ only
// where HostName is the host itself.
func (s *survey) judgeMatch(value string) {
	words := strings.Fields(strings.ToLower(value))
	if strings.ContainsAny(value, `"'\#=%$`) {
		s.alike = false
		return
	}
	for i := 0; i < len(words); i++ {
		switch strings.TrimPrefix(words[i], "!") {
		case "all", "canonical", "final":
		case "host", "originalhost":
			if i++; i < len(words) {
				s.note(strings.Split(words[i], ","))
			}
		case "user", "localuser", "localnetwork", "tagged":
			i++
		default:
			s.alike = false
			return
		}
	}
}
