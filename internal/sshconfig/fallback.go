package sshconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kevinburke/ssh_config"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/localfile"
	"github.com/aoifleet/aoifleet/internal/problem"
)

const noProgramHint = "install the OpenSSH client, or set ssh_config: none and write the settings into the inventory"

// readFiles returns the settings on a workstation without ssh: a library evaluates the
// files. readFiles refuses everything that the library would misread.
func (r *Resolver) readFiles(q Query) (settings, error) {
	s := r.survey(q.File)
	if err := s.misread(); err != nil {
		return nil, &problem.Error{Class: problem.Usage, Message: "can't read the SSH configuration without an ssh program: " + err.Error(), Hint: noProgramHint}
	}
	configs, err := r.configs(q.File)
	if err != nil {
		return nil, err
	}
	given, err := evaluate(configs, q)
	if err != nil {
		return nil, err
	}
	return r.complete(given, q)
}

// misread returns an error for the first line that the library and ssh read differently.
// In the library, ? matches the empty string too, `Match host` reads the criteria after
// the patterns as patterns, and quotes and comments are recognised only at the ends of a
// value.
func (s *survey) misread() error {
	if s.doubt != nil {
		return s.doubt
	}
	for _, l := range s.lines {
		value, quoted := unquote(l.value)
		switch {
		case !utf8.ValidString(l.value):
			return fmt.Errorf("%s: not UTF-8", l.at())
		case l.keyword == "match" && !strings.EqualFold(l.value, "all"):
			return fmt.Errorf("%s: Match", l.at())
		case l.keyword == "canonicalizehostname" && !strings.EqualFold(value, "no"):
			return fmt.Errorf("%s: CanonicalizeHostname", l.at())
		case l.keyword == "proxycommand": // to ssh, the rest of the line unchanged
			if quoted || strings.Contains(value, "#") {
				return fmt.Errorf("%s: a ProxyCommand in quotes, or with a #", l.at())
			}
		case strings.ContainsAny(value, `"'#`) || escapes(value) || quoted && (l.keyword == "host" || strings.ContainsAny(value, " \t")):
			return fmt.Errorf("%s: quotes, a backslash or a comment after the value", l.at())
		case l.keyword == "host" && strings.Contains(value, "?"):
			return fmt.Errorf("%s: a pattern with ?", l.at())
		case (l.keyword == "host" || l.keyword == "include") && strings.Contains(value, "\t"):
			return fmt.Errorf("%s: a tab", l.at())
		case l.keyword == "include" && !absolute(value):
			return fmt.Errorf("%s: Include with a relative path", l.at())
		}
	}
	return nil
}

// escapes reports whether ssh reads a backslash of s, or the library may, as an escape. That
// of a Windows path it does not.
func escapes(s string) bool {
	return strings.HasSuffix(s, `\`) || strings.Contains(s, `\\`) || strings.Contains(s, `\ `) || strings.Contains(s, "\\\t")
}

func unquote(s string) (string, bool) {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		return s[1 : len(s)-1], true
	}
	return s, false
}

func absolute(paths string) bool {
	for _, p := range strings.Fields(paths) {
		if !filepath.IsAbs(p) {
			return false
		}
	}
	return true
}

// configs parses the files of a query. A missing file is an error only if the query names
// it.
func (r *Resolver) configs(file string) ([]*ssh_config.Config, error) {
	paths := []string{file}
	if file == "" {
		paths = []string{r.options.systemFile()}
		if r.options.Home != "" {
			paths = slices.Insert(paths, 0, filepath.Join(r.userFolder(), "config"))
		}
	}
	var configs []*ssh_config.Config
	for _, path := range paths {
		text, err := localfile.ReadRegular(path, maxFile)
		if file == "" && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, &problem.Error{Class: problem.Usage, Message: "can't read the SSH configuration: " + display.Mask(err.Error())}
		}
		config, err := ssh_config.Decode(bytes.NewReader(append(text, '\n')))
		if err != nil {
			return nil, &problem.Error{Class: problem.Usage, Message: "can't read " + display.Mask(path) + ": " + display.Mask(err.Error()), Hint: noProgramHint}
		}
		configs = append(configs, config)
	}
	return configs, nil
}

// cumulative has the keywords whose values accumulate; for others the first value counts.
var cumulative = map[string]bool{"identityfile": true, "certificatefile": true}

// evaluate returns the values of all supported keywords for the host of a query.
func evaluate(configs []*ssh_config.Config, q Query) (settings, error) {
	given := settings{}
	for _, keyword := range []string{"hostname", "user", "port", "identityfile", "certificatefile", "identitiesonly", "identityagent",
		"userknownhostsfile", "globalknownhostsfile", "hostkeyalias", "checkhostip", "proxyjump", "proxycommand", "proxyusefdpass", "connecttimeout"} {
		for _, config := range configs {
			values, err := config.GetAll(q.Host, keyword)
			if err != nil {
				return nil, &problem.Error{Class: problem.Usage, Message: "can't read the SSH configuration: " + display.Mask(err.Error()), Hint: noProgramHint}
			}
			given[keyword] = append(given[keyword], values...)
		}
		if len(given[keyword]) > 1 && !cumulative[keyword] {
			given[keyword] = given[keyword][:1]
		}
	}
	return given, nil
}

// complete adds the command line and the defaults to the settings of the files, as `ssh
// -G` does: the command line comes first, the defaults last.
func (r *Resolver) complete(s settings, q Query) (settings, error) {
	set := func(keyword, value string) {
		if value != "" {
			s[keyword] = []string{value}
		}
	}
	set("user", q.User)
	if q.Port != 0 {
		set("port", strconv.Itoa(q.Port))
	}
	if q.Direct {
		set("proxyjump", None)
		set("proxycommand", None)
	}
	defaults := map[string][]string{"user": {r.options.User}, "port": {"22"},
		"globalknownhostsfile": {r.options.systemFolder + "/ssh_known_hosts " + r.options.systemFolder + "/ssh_known_hosts2"}}
	if r.options.Home != "" {
		defaults["identityfile"] = defaultNames
		defaults["userknownhostsfile"] = []string{"~/.ssh/known_hosts ~/.ssh/known_hosts2"}
	}
	for keyword, values := range defaults {
		if len(s[keyword]) == 0 && values[0] != "" {
			s[keyword] = values
		}
	}
	if isSet(s.first("proxyjump")) && isSet(s.first("proxycommand")) { // ssh uses the first in the files
		return nil, &problem.Error{Class: problem.Usage, Message: "ProxyJump and ProxyCommand for one host are not supported without an ssh program", Hint: noProgramHint}
	}
	return s, r.expandGiven(s, q)
}

// isSet reports whether a value is neither empty nor none.
func isSet(s string) bool { return s != "" && s != None }

// expandGiven replaces the tokens that `ssh -G` replaces, and checks numbers.
func (r *Resolver) expandGiven(s settings, q Query) error {
	x := expander{options: r.options, host: Host{Alias: q.Host, HostName: q.Host, User: s.first("user"), HostKeyAlias: s.first("hostkeyalias")}}
	var err error
	if name := s.first("hostname"); name != "" {
		if x.host.HostName, err = replace("HostName", name, map[byte]string{'%': "%", 'h': q.Host}); err != nil {
			return err
		}
	}
	s["hostname"] = []string{x.host.HostName}
	if x.host.Port, err = strconv.Atoi(s.first("port")); err != nil {
		return &problem.Error{Class: problem.Usage, Message: "Port is not a number: " + quote(s.first("port"))}
	}
	for _, keyword := range []string{"userknownhostsfile", "identityagent"} {
		value := s.first(keyword)
		if value == "" {
			continue
		}
		if value, err = replace(keyword, value, x.tokens()); err != nil {
			return err
		}
		s[keyword] = []string{value}
	}
	if value := s.first("connecttimeout"); value != "" && !allDigits(value) && value != None {
		d, err := time.ParseDuration(value)
		if err != nil {
			return &problem.Error{Class: problem.Usage, Message: "ConnectTimeout is not a time: " + quote(value)}
		}
		s["connecttimeout"] = []string{strconv.Itoa(int(d.Seconds()))}
	}
	return nil
}

func allDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }
