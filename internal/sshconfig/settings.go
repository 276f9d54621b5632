package sshconfig

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// settings is the output of `ssh -G`: keywords in lower case, with their values in order.
// Tokens are replaced only in HostName, UserKnownHostsFile and IdentityAgent.
type settings map[string][]string

// parseOutput parses the output of `ssh -G`.
func parseOutput(out []byte) settings {
	s := settings{}
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, maxOutput)
	for lines.Scan() {
		keyword, value, _ := strings.Cut(strings.TrimRight(lines.Text(), "\r"), " ")
		keyword = strings.ToLower(keyword)
		s[keyword] = append(s[keyword], value)
	}
	return s
}

// first returns the first value of a keyword, "" if there is none.
func (s settings) first(keyword string) string {
	if values := s[keyword]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// forHost returns the settings for host, given those of another host that ssh treats the
// same: they differ if HostName is the host itself.
func (s settings) forHost(asked, host string) settings {
	if asked == host || s.first("hostname") != asked {
		return s
	}
	own := settings{}
	for keyword, values := range s {
		own[keyword] = values
	}
	own["hostname"] = []string{host}
	return own
}

// host returns the settings that this program uses.
func (s settings) host(q Query, opt Options) (Host, error) {
	h := Host{Alias: q.Host, HostName: s.first("hostname"), User: s.first("user"), HostKeyAlias: s.first("hostkeyalias"),
		IdentitiesOnly: isYes(s.first("identitiesonly")), CheckHostIP: isYes(s.first("checkhostip"))}
	var err error
	if h.Port, err = strconv.Atoi(s.first("port")); err != nil || h.Port < 1 || h.Port > 65535 || h.HostName == "" || h.User == "" {
		return h, &problem.Error{Class: problem.Usage, Message: "ssh -G printed no valid host name, port and user", Hint: opt.try(q)}
	}
	if h.ConnectTimeout, err = seconds(s.first("connecttimeout")); err != nil {
		return h, err
	}
	x := expander{options: opt, host: h}
	steps := []func() error{
		func() error { return x.identities(s, &h) },
		func() (err error) { h.IdentityAgent, err = x.agent(s.first("identityagent")); return },
		func() (err error) {
			h.KnownHosts, err = x.knownHosts("UserKnownHostsFile", s.first("userknownhostsfile"))
			return
		},
		func() (err error) {
			h.SystemKnownHosts, err = x.knownHosts("GlobalKnownHostsFile", s.first("globalknownhostsfile"))
			return
		},
		func() error { return x.proxy(s, &h) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return h, err
		}
	}
	return h, nil
}

// isYes reports whether a value is one that ssh takes for yes; `ssh -G` prints yes.
func isYes(s string) bool { return strings.EqualFold(s, "yes") || strings.EqualFold(s, "true") }

// seconds parses ConnectTimeout as `ssh -G` prints it.
func seconds(s string) (time.Duration, error) {
	if s == "" || s == None {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > 24*60*60 {
		return 0, &problem.Error{Class: problem.Usage, Message: "ConnectTimeout is not a number of seconds within a day: " + quote(s)}
	}
	return time.Duration(n) * time.Second, nil
}

// defaultNames are the identity files that ssh tries if none is configured.
var defaultNames = []string{"~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ecdsa_sk", "~/.ssh/id_ed25519",
	"~/.ssh/id_ed25519_sk", "~/.ssh/id_xmss", "~/.ssh/id_dsa"}

// isDefault reports whether names is ssh's default list, which has at least four names in
// every version.
func isDefault(names []string) bool {
	return len(names) >= 4 && !slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(defaultNames, name) })
}

// identities sets the identity and certificate files.
func (x expander) identities(s settings, h *Host) error {
	h.IdentityGiven = len(s["identityfile"]) > 0 && !isDefault(s["identityfile"])
	for _, name := range s["identityfile"] {
		if name == None {
			continue
		}
		path, err := x.path("IdentityFile", name)
		if err != nil {
			return err
		}
		if h.IdentityGiven || exists(path) || exists(path+".pub") {
			h.IdentityFiles = append(h.IdentityFiles, path)
		}
	}
	for _, name := range s["certificatefile"] {
		if name == None {
			continue
		}
		path, err := x.path("CertificateFile", name)
		if err != nil {
			return err
		}
		h.CertificateFiles = append(h.CertificateFiles, path)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// knownHosts returns a list of files. none is the null device, which many configurations
// set to have no known hosts.
func (x expander) knownHosts(keyword, value string) ([]string, error) {
	var paths []string
	for _, name := range splitPaths(value) {
		if name == None {
			name = os.DevNull
		}
		name = strings.Replace(name, programDataMark+`\ssh`, x.options.systemFolder, 1)
		path, err := x.tilde(keyword, name)
		if err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// splitPaths splits a list of paths, which `ssh -G` joins with spaces and without the
// quotes of paths that contain spaces: a path starts with a slash, a tilde or a drive.
func splitPaths(s string) []string {
	var paths []string
	for word := range strings.SplitSeq(s, " ") {
		starts := word != "" && (word[0] == '/' || word[0] == '~' || filepath.VolumeName(word) != "" || strings.HasPrefix(word, programDataMark) || word == None)
		if starts || len(paths) == 0 {
			paths = append(paths, word)
		} else {
			paths[len(paths)-1] += " " + word
		}
	}
	return slices.DeleteFunc(paths, func(path string) bool { return strings.TrimSpace(path) == "" })
}

// proxy sets the jump hosts, or else the proxy command.
func (x expander) proxy(s settings, h *Host) error {
	jump, err := x.command("ProxyJump", s.first("proxyjump"))
	if err != nil {
		return err
	}
	if h.Jump, err = parseHops(jump); err != nil || h.Jump != nil {
		return err
	}
	if line := s.first("proxycommand"); line != None {
		h.ProxyCommand, err = x.command("ProxyCommand", line)
	}
	if s.first("proxyusefdpass") == "yes" && h.ProxyCommand != "" {
		return &problem.Error{Class: problem.Usage, Message: "ProxyUseFdpass is not supported", Hint: "use jump in the inventory, or ProxyJump"}
	}
	return err
}

// quote shows a text of a configuration in a message.
func quote(s string) string { return display.Quote(s, 100) }
