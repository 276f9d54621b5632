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

	"github.com/kevinburke/ssh_config"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/localfile"
	"github.com/aoifleet/aoifleet/internal/problem"
)

const noProgramHint = "install the OpenSSH client, or set ssh_config: none and write what is needed into the inventory"

// readFiles is for a workstation without ssh: the library evaluates the files,
// after everything that it would misread has been refused.
func (r *Resolver) readFiles(q Query) (settings, error) {
	s := r.survey(q.File)
	if err := s.misread(); err != nil {
		return nil, &problem.Error{Class: problem.Usage, Message: "there is no ssh program, and without it the SSH configuration can't be read: " + err.Error(), Hint: noProgramHint}
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

// misread finds the first line that the library takes for something else than
// ssh does: its ? may match nothing, `Match host` takes the criteria behind it
// for patterns, quotes and comments count only at the ends of a value.
func (s *survey) misread() error {
	if s.doubt != nil {
		return s.doubt
	}
	for _, l := range s.lines {
		value, quoted := unquote(l.value)
		switch {
		case l.keyword == "match" && !strings.EqualFold(l.value, "all"):
			return fmt.Errorf("%s: Match", l.at())
		case l.keyword == "canonicalizehostname" && !strings.EqualFold(value, "no"):
			return fmt.Errorf("%s: CanonicalizeHostname", l.at())
		case l.keyword == "proxycommand": // to ssh the rest of the line as it is
			if quoted || strings.Contains(value, "#") {
				return fmt.Errorf("%s: a ProxyCommand in quotes, or with a #", l.at())
			}
		case strings.ContainsAny(value, `"'\#`) || quoted && (l.keyword == "host" || strings.ContainsAny(value, " \t")):
			return fmt.Errorf("%s: quotes, a backslash or a comment behind the value", l.at())
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

// configs parses the files of a query; one that is missing has nothing to say,
// unless it was named.
func (r *Resolver) configs(file string) ([]*ssh_config.Config, error) {
	paths := []string{file}
	if file == "" {
		paths = []string{r.options.system}
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

// several are the keywords whose values add up; of the others the first counts.
var several = map[string]bool{"identityfile": true, "certificatefile": true}

func evaluate(configs []*ssh_config.Config, q Query) (settings, error) {
	given := settings{}
	for _, keyword := range []string{"hostname", "user", "port", "identityfile", "certificatefile", "identitiesonly", "identityagent",
		"userknownhostsfile", "globalknownhostsfile", "hostkeyalias", "proxyjump", "proxycommand", "proxyusefdpass", "connecttimeout"} {
		for _, config := range configs {
			values, err := config.GetAll(q.Host, keyword)
			if err != nil {
				return nil, &problem.Error{Class: problem.Usage, Message: "can't read the SSH configuration: " + display.Mask(err.Error()), Hint: noProgramHint}
			}
			given[keyword] = append(given[keyword], values...)
		}
		if len(given[keyword]) > 1 && !several[keyword] {
			given[keyword] = given[keyword][:1]
		}
	}
	return given, nil
}

// complete does what `ssh -G` does to the settings: the command line first, then
// the files, then the defaults.
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
		"globalknownhostsfile": {"/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"}}
	if r.options.Home != "" {
		defaults["identityfile"] = defaultNames
		defaults["userknownhostsfile"] = []string{"~/.ssh/known_hosts ~/.ssh/known_hosts2"}
	}
	for keyword, values := range defaults {
		if len(s[keyword]) == 0 && values[0] != "" {
			s[keyword] = values
		}
	}
	if names(s.first("proxyjump")) && names(s.first("proxycommand")) { // to ssh the first in the files counts
		return nil, &problem.Error{Class: problem.Usage, Message: "there is no ssh program, and without it ProxyJump and ProxyCommand for one host can't be told apart", Hint: noProgramHint}
	}
	return s, r.expandGiven(s, q)
}

func names(s string) bool { return s != "" && s != None }

// expandGiven replaces the tokens that `ssh -G` replaces.
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
